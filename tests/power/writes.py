"""The log of everything that a disk was told, as QEMU's ``blklogwrites`` and Linux's ``dm-log-writes`` write it.

The format: Documentation/admin-guide/device-mapper/log-writes.rst and drivers/md/dm-log-writes.c of Linux, block/blklogwrites.c of QEMU.
One sector of header; then for each entry a sector of description, followed by the data of a write. Integers are little-endian, 64 bits
but for the size of a sector. An entry stands in the log when the disk has said that it is done.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import pathlib
import struct

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
_HEADER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")


class LogError(ValueError):
    """The file is not such a log; the message says in one line why."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One thing that the disk was told."""

    offset: int
    """Where on the disk, in bytes."""
    length: int
    """Bytes written or discarded; 0 for a flush or a mark."""
    flags: int = 0
    data_at: int = 0
    """Where in the log its data begins."""
    mark: str = ""

    @property
    def writes(self) -> bool:
        return self.length > 0 and not self.flags & (DISCARD | MARK)


@dataclasses.dataclass(frozen=True)
class Log:
    """All entries, in the order in which the disk was done with them."""

    path: pathlib.Path
    entries: tuple[Entry, ...]
    sector: int

    def data(self, entry: Entry) -> bytes:
        """What was written. Raises LogError when the log ends within it."""
        with self.path.open("rb") as stream:
            stream.seek(entry.data_at)
            data = stream.read(entry.length)
        if len(data) != entry.length:
            raise LogError(f"{self.path}: ends within a write of {entry.length} bytes at {entry.data_at}")
        return data

    def split(self, disk_bytes: int) -> Log:
        """The same with what was written behind ``disk_bytes`` as marks: words that a program in the machine left there, in their order.

        QEMU's driver writes no entries with MARK, and nothing in the machine could ask it to.
        """
        return dataclasses.replace(self, entries=tuple(self._as_mark(one) if one.offset >= disk_bytes else one for one in self.entries))

    def _as_mark(self, entry: Entry) -> Entry:
        words = self.data(entry).split(b"\0", 1)[0].decode("utf-8", "replace") if entry.writes else ""
        return Entry(entry.offset, 0, MARK, mark=words)


def read_log(path: str | os.PathLike[str]) -> Log:
    """Raises LogError: no such log, or one that ends early."""
    where = pathlib.Path(path)
    size = where.stat().st_size
    with where.open("rb") as stream:
        header = stream.read(_HEADER.size)
        if len(header) < _HEADER.size or _HEADER.unpack(header)[0] != MAGIC:
            raise LogError(f"{where}: not a log of writes (its first 8 bytes are not {MAGIC:#x})")
        _, version, number, sector = _HEADER.unpack(header)
        if version != 1 or sector < 512 or sector & (sector - 1):
            raise LogError(f"{where}: version {version} with sectors of {sector} bytes; version 1 is read, with a power of two from 512")
        return Log(where, tuple(_entries(stream, where, number, sector, size)), sector)


def _entries(stream, where: pathlib.Path, number: int, sector: int, size: int) -> collections.abc.Iterator[Entry]:  # type: ignore[no-untyped-def]
    at = sector
    for index in range(number):
        stream.seek(at)
        head = stream.read(_ENTRY.size)
        if len(head) < _ENTRY.size:
            raise LogError(f"{where}: ends before entry {index} of {number}")
        first, sectors, flags, inline = _ENTRY.unpack(head)
        at += sector
        if flags & MARK:
            yield Entry(first * sector, 0, flags, mark=stream.read(min(inline, sector - _ENTRY.size)).decode("utf-8", "replace"))
            continue
        yield Entry(first * sector, sectors * sector, flags, at)
        if not flags & DISCARD:
            at += sectors * sector
        if at > size:
            raise LogError(f"{where}: entry {index} of {number} ends at {at}, behind the end of the file at {size}")


def write_log(path: str | os.PathLike[str], told: collections.abc.Iterable[tuple[int, bytes, int] | str], sector: int = 512) -> None:
    """A log of (offset, data, flags) and marks, as the kernel would have written it; a flush has no data."""
    body, number = [], 0
    for one in told:
        number += 1
        if isinstance(one, str):
            words = one.encode()
            body.append((_ENTRY.pack(0, 0, MARK, len(words)) + words).ljust(sector, b"\0"))
            continue
        offset, data, flags = one
        if offset % sector or len(data) % sector:
            raise LogError(f"{len(data)} bytes at {offset} are not whole sectors of {sector} bytes")
        body.append(_ENTRY.pack(offset // sector, len(data) // sector, flags, 0).ljust(sector, b"\0"))
        if not flags & DISCARD:
            body.append(data)
    pathlib.Path(path).write_bytes(_HEADER.pack(MAGIC, 1, number, sector).ljust(sector, b"\0") + b"".join(body))
