"""Cards and sticks as files: written, copied, and read without mounting anything."""

from __future__ import annotations

import pathlib
import subprocess

from base import BOOT_START, MIB, ROOT_START
from common import CannotError, run


def written(image: pathlib.Path, card: pathlib.Path, *, least_mib: int = 4096) -> pathlib.Path:
    """A card with ``image`` written to it: cards are larger than images, and a power of two as QEMU's reader wants them."""
    copied(image, card)
    size = least_mib * MIB
    while size < image.stat().st_size:
        size *= 2
    with card.open("r+b") as file:
        file.truncate(size)
    return card


def copied(image: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """A copy whose empty stretches take no room."""
    to.unlink(missing_ok=True)
    run(["cp", "--reflink=auto", "--sparse=always", str(image), str(to)], "is the disk full?")
    return to


def boot_file(card: pathlib.Path, name: str) -> str | None:
    """Text of a file of the card's boot partition; None if it is not there."""
    return fat_file(card, name, BOOT_START)


def fat_file(image: pathlib.Path, name: str, offset: int) -> str | None:
    done = subprocess.run(["mtype", "-i", f"{image}@@{offset}", f"::{name}"], capture_output=True, check=False)
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def fat_names(image: pathlib.Path, folder: str, offset: int) -> list[str]:
    """Paths of all files beneath ``folder`` of a FAT file system."""
    done = subprocess.run(["mdir", "-i", f"{image}@@{offset}", "-/", "-b", f"::{folder}"], capture_output=True, text=True, check=False)
    return [line.removeprefix("::").lstrip("/") for line in done.stdout.splitlines() if line.strip() and not line.endswith("/")]


def ext4_file(card: pathlib.Path, path: str, start: int = ROOT_START) -> str | None:
    """Text of a file of an ext4 file system that begins at byte ``start`` of ``card``; None if it is not there."""
    done = subprocess.run(
        ["debugfs", "-c", "-R", f"cat {path}", f"{card}?offset={start}"], capture_output=True, text=True, check=False, errors="replace"
    )
    return None if "File not found" in done.stderr else done.stdout


def used_bytes(card: pathlib.Path, start: int = ROOT_START) -> int:
    """Bytes in use of an ext4 file system that begins at byte ``start`` of ``card``."""
    printed = run(["dumpe2fs", "-h", f"{card}?offset={start}"], "is there an ext4 file system?")
    fields = dict(line.partition(":")[::2] for line in printed.splitlines() if ":" in line)
    # What the file system takes for itself grows with its partition, and is no file of anybody's.
    blocks, free, own = (int(fields.get(name) or 0) for name in ("Block count", "Free blocks", "Overhead clusters"))
    return (blocks - free - own) * int(fields["Block size"])


def make_stick(path: pathlib.Path, folder: pathlib.Path | None = None, *, size_mib: int = 64) -> pathlib.Path:
    """A stick as it is bought: a DOS label, one FAT32 partition at 1 MiB, with what is in ``folder``."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate((size_mib + 1) * MIB)
    run(["sh", "-c", f"echo '2048,,c' | sfdisk --quiet '{path}'"], "apt-get install fdisk")
    options = ["-F", "32", "-s", "1", "-n", "STICK", "--offset=2048", str(path), str(size_mib << 10)]
    run(["mkfs.vfat", *options], "apt-get install --reinstall dosfstools")
    if folder is not None:
        for each in sorted(folder.iterdir()):
            done = subprocess.run(["mcopy", "-s", "-Q", "-i", f"{path}@@{MIB}", str(each), "::"], capture_output=True, check=False)
            if done.returncode:
                raise CannotError(f"{each}: cannot be put onto a stick: {done.stderr.decode(errors='replace').strip()}")
    return path


STICK_START = MIB
