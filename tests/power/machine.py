"""One command in an emulated machine on a stock Debian kernel, and the log of all that its disk was told meanwhile.

The machine is virtme-ng's, as for ``make test-kernel``: it sees this one's files read-only, and has besides a disk of its own, mounted
at /mnt as a card's data partition is. QEMU's ``blklogwrites`` driver stands between the machine and the disk's image.
"""

from __future__ import annotations

import collections.abc
import pathlib
import shlex
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "kernel"))
from prepare import CannotError, Machine, cache_folder, prepare, run_machine

__all__ = ["CannotError", "Machine", "cache_folder", "disk_bytes", "make_disk", "prepare", "record"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUEST = pathlib.Path(__file__).resolve().with_name("guest.sh")
MARK_SECTORS = 64
"""Behind the file system: a program in the machine leaves words there, which stand in the log in their order."""


def make_disk(image: pathlib.Path, megabytes: int, folder: pathlib.Path) -> int:
    """An ext4 file system as the kit's data partition has, with ``folder``'s files, and room for marks; its length in bytes."""
    length = megabytes << 20
    with image.open("wb") as stream:
        stream.truncate(length)
    # lazy initialisation would have the kernel write for minutes what has nothing to do with the update
    options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0"
    command = [
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-F",
        "-b",
        "4096",
        "-L",
        "AFFECTKIT",
        "-E",
        options,
        "-d",
        str(folder),
        str(image),
        f"{length // 1024}k",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotError(f"mke2fs: {done.stderr.strip()}")
    with image.open("r+b") as stream:
        stream.truncate(length + MARK_SECTORS * 512)
    return length


def disk_bytes(image: pathlib.Path) -> int:
    """Length of the file system; behind it are marks."""
    return image.stat().st_size - MARK_SECTORS * 512


def record(
    machine: Machine,
    image: pathlib.Path,
    log: pathlib.Path,
    command: collections.abc.Sequence[str],
    out: pathlib.Path,
    limit_s: float,
) -> int | None:
    """Run ``command`` with the disk ``image`` at /mnt and all that it is told in ``log``; its status, or None if it did not end in time.

    ``out`` takes what is printed (console.txt, output.txt); the command may write there, too.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "status").unlink(missing_ok=True)
    with log.open("wb") as stream:
        stream.truncate(4 << 30)  # with holes: the driver writes up to here
    disk = (
        f"-blockdev driver=raw,node-name=image,file.driver=file,file.filename={image} "
        f"-blockdev driver=raw,node-name=log,file.driver=file,file.filename={log} "
        "-blockdev driver=blklogwrites,node-name=cut,file=image,log=log,log-sector-size=512 "
        "-device virtio-blk-pci,drive=cut,serial=powercut,write-cache=on"
    )
    length = disk_bytes(image)
    guest = shlex.join([str(GUEST), str(length), str(out), *command])
    inside = f"sh {guest} > {shlex.quote(str(out))}/output.txt 2>&1; echo $? > {shlex.quote(str(out))}/status; sync"
    virtme = [
        *(str(machine.virtme / "vng"), "--verbose", "--disable-kvm", "--disable-microvm", "--force-9p", "--run", str(machine.kernel)),
        *("--memory", "2G", "--cpus", "2", "--rwdir", str(out), f"--qemu-opts={disk}", "--", inside),
    ]
    return run_machine(["nice", "-n", "5", *virtme], machine.virtme, out, ROOT, limit_s)
