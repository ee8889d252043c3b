"""Writing an image straight to a card in a reader: only to one that is removable, not in use and large enough, and read back.

Linux only, where the kernel says all this in ``/proc`` and ``/sys``; elsewhere make image files and write them with Raspberry Pi
Imager.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import errno
import os
import pathlib
import re
import stat
import sys
import typing

from edge.errors import InputError
from firmware_configs.progress import Progress, silent
from firmware_configs.unpack import CHUNK_BYTES

SECTOR_BYTES = 512
"""Unit of ``/sys/block/NAME/size``, whatever the disk's own."""
_BLKFLSBUF = 0x1261


class DeviceFile(typing.Protocol):
    """What is needed of an open device."""

    def write(self, data: bytes, /) -> int | None: ...
    def read(self, size: int, /) -> bytes | None: ...
    def seek(self, place: int, /) -> int: ...
    def close(self) -> None: ...


@dataclasses.dataclass(frozen=True)
class Disks:
    """Where the kernel tells of disks; other folders for tests."""

    mounts: pathlib.Path = pathlib.Path("/proc/mounts")
    swaps: pathlib.Path = pathlib.Path("/proc/swaps")
    block: pathlib.Path = pathlib.Path("/sys/block")


@dataclasses.dataclass(frozen=True)
class Disk:
    """A disk that may be written to."""

    path: pathlib.Path
    size_bytes: int
    model: str
    """As its maker calls it; empty if nobody says."""

    def __str__(self) -> str:
        return f"{self.path} ({', '.join(filter(None, (self.model, f'{self.size_bytes / 1e9:.1f} GB')))})"


def check_device(path: pathlib.Path, need_bytes: int, disks: Disks | None = None) -> Disk:
    """The disk at ``path``, if it may be written to.

    Raises:
        InputError: it is no whole disk, not removable, write-protected, without a card, smaller than ``need_bytes``, or it or a
            partition of it is mounted, used for swapping or part of another device.
    """
    if disks is None:
        if not sys.platform.startswith("linux"):
            raise InputError(f"{path}: cards are written on Linux only; make images with -o and write them with Raspberry Pi Imager")
        disks = Disks()
        if not path.exists() or not stat.S_ISBLK(path.stat().st_mode):
            raise InputError(f"{path}: is no disk; `lsblk` lists them")
        path = path.resolve()
    folder = disks.block / path.name
    if not folder.is_dir():
        whole = next((disk.name for disk in disks.block.glob("*") if (disk / path.name).is_dir()), None)
        hint = f"is a partition; give the whole disk, {path.with_name(whole)}" if whole else "is no disk; `lsblk` lists them"
        raise InputError(f"{path}: {hint}")
    parts = {path.name} | {part.name for part in folder.iterdir() if (part / "partition").exists()}
    for part in sorted(parts):
        where = folder if part == path.name else folder / part
        if (where / "holders").is_dir() and any((where / "holders").iterdir()):
            raise InputError(f"{path}: {part} is in use by another device (encryption, RAID or LVM); give another disk")
    for table, what in ((disks.mounts, "mounted"), (disks.swaps, "used for swapping")):
        for used, at in _used(table):
            if used in parts:
                raise InputError(f"{path}: {used} is {what}{f' at {at}' if at else ''}; unmount it first: umount /dev/{used}")
    # Readers on USB are removable; those built in are not, and say that they hold an SD card.
    if _word(folder / "removable") != "1" and _word(folder / "device" / "type") != "SD":
        raise InputError(f"{path}: is no removable disk; give the disk of a card reader")
    if _word(folder / "ro") == "1":
        raise InputError(f"{path}: is write-protected; move the switch at the side of the card")
    digits = _word(folder / "size")
    size = int(digits) * SECTOR_BYTES if digits.isdigit() else 0
    if not size:
        raise InputError(f"{path}: there is no card in it; put one in")
    if size < need_bytes:
        raise InputError(f"{path}: has {size} bytes, {need_bytes - size} too few; take a larger card")
    return Disk(path, size, " ".join(filter(None, (_word(folder / "device" / "vendor"), _word(folder / "device" / "model")))))


def _word(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _used(table: pathlib.Path) -> collections.abc.Iterator[tuple[str, str]]:
    """Name of the device and where it is used, for every line of ``/proc/mounts`` or ``/proc/swaps``."""
    for line in _word(table).splitlines():
        cells = line.split()
        if len(cells) >= 2 and cells[0].startswith("/"):
            device = pathlib.Path(cells[0])
            # /dev/disk/by-uuid/... and the like are links to the name that counts.
            name = device.resolve().name if device.is_symlink() else device.name
            yield name, re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), cells[1]) if cells[1].startswith("/") else ""


def _open(path: pathlib.Path) -> DeviceFile:
    # Exclusive: the kernel refuses if somebody mounts it in this moment.
    flags = os.O_RDWR | getattr(os, "O_EXCL", 0) | getattr(os, "O_CLOEXEC", 0)
    return typing.cast(DeviceFile, os.fdopen(os.open(path, flags), "r+b", buffering=0))


def write_device(
    image: pathlib.Path,
    device: pathlib.Path,
    progress: Progress = silent,
    opened: collections.abc.Callable[[pathlib.Path], DeviceFile] = _open,
    spans: collections.abc.Sequence[tuple[int, int]] | None = None,
) -> None:
    """Writes ``image`` to ``device`` and compares every byte that was written with what is read back from the card.

    ``spans`` are first byte and size of what is written, the first from byte 0; what is between them stays on the card as it was. None
    is all. The first MiB, with the partition table, is written last: a card that was cut off on the way does not look like one that
    works.

    Raises:
        InputError: no right to write, a write or read that fails, or a byte that differs.
    """
    places = [
        (place, min(CHUNK_BYTES, start + size - place))
        for start, size in (spans or ((0, image.stat().st_size),))
        for place in range(start, start + size, CHUNK_BYTES)
    ]
    try:
        card = opened(device)
    except OSError as error:
        hint = "; run as root, or join the group disk" if error.errno in (errno.EACCES, errno.EPERM) else ""
        hint = "; it is in use, unmount it" if error.errno == errno.EBUSY else hint
        raise InputError(f"{device}: cannot be opened: {error.strerror or error}{hint}") from error
    try:
        with contextlib.closing(card), image.open("rb") as source:
            _put(card, 0, bytes(places[0][1]))
            for done, (place, size) in enumerate((*places[1:], places[0]), 1):
                source.seek(place)
                _put(card, place, source.read(size))
                progress(0.5 * done / len(places))
            _settle(card)
            for done, (place, size) in enumerate(places, 1):
                source.seek(place)
                card.seek(place)
                if _got(card, size) != source.read(size):
                    raise InputError(
                        f"{device}: what was read back differs near byte {place}; the card is worn or counterfeit, take another"
                    )
                progress(0.5 + 0.5 * done / len(places))
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{device}: failed: {error.strerror or error}; take another card or reader") from error


def _put(card: DeviceFile, place: int, data: bytes) -> None:
    card.seek(place)
    view = memoryview(data)
    while view:
        written = card.write(bytes(view)) or 0
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        view = view[written:]


def _got(card: DeviceFile, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (data := card.read(size - len(found))):
        found += data
    return bytes(found)


def _settle(card: DeviceFile) -> None:
    """Puts all on the card, and forgets what is kept in memory, so that reading asks the card."""
    fileno = getattr(card, "fileno", None)
    if fileno is None:
        return
    os.fsync(fileno())
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if stat.S_ISBLK(os.fstat(fileno()).st_mode):
        import fcntl

        # Needs root; without it the advice above has to do.
        with contextlib.suppress(OSError):
            fcntl.ioctl(fileno(), _BLKFLSBUF, 0)
