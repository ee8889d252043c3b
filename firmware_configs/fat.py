"""A FAT16 or FAT32 file system inside a file, read and changed in place: no mount, no root, any operating system.

Why its own: of what PyPI has, pyfatfs needs PyFilesystem2 (unmaintained; it imports pkg_resources, which setuptools has dropped),
fatfs-ng takes ASCII names only and cannot say how much is free, nobodd is under the GPL. mtools and fsck.fat check this in the tests.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import struct
import typing

from edge.errors import InputError
from firmware_configs import fat_names as names
from firmware_configs.fat_table import Table, read_geometry

STAMP = datetime.datetime(2025, 1, 1)
"""Date of every file that is written, so the same input gives the same bytes."""
CHUNK_BYTES = 1 << 20
MOST_DEPTH = 64
"""Folders in folders."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file or folder as its folder lists it."""

    name: str
    is_folder: bool
    size_bytes: int
    cluster: int
    """Where it begins; 0 if it is empty, and for the root folder of a FAT16."""
    short: bytes = b""
    """The 11 bytes of its short name."""
    at: int = 0
    """Where its short entry lies in its folder, in bytes."""
    slots: int = 1
    """Entries that it takes, the parts of its long name first."""


Source = bytes | typing.BinaryIO
"""What is written to a file: bytes, or an open file from where it stands."""


class FatVolume:
    """The FAT file system at ``start`` bytes of ``file``, ``size_bytes`` large; paths are written with ``/``, without one in front.

    Every change is on ``file`` when the call returns. A folder is changed last, so a file that fails to be written is not listed.

    Raises:
        InputError: it is no FAT16 or FAT32, or damaged; also from every method, when a name cannot be, or something is not there.
    """

    def __init__(self, file: typing.BinaryIO, start: int, size_bytes: int, where: str):
        self._file, self._start, self._where = file, start, where
        file.seek(start)
        self._geometry = read_geometry(file.read(512), size_bytes, where)
        self._table = Table(file, start, self._geometry, where)
        self._root = Entry("", True, 0, self._geometry.root_cluster)

    @property
    def cluster_bytes(self) -> int:
        return self._geometry.cluster_bytes

    @property
    def free_bytes(self) -> int:
        return self._table.free * self.cluster_bytes

    # -- reading

    def list(self, path: str = "") -> tuple[Entry, ...]:
        """What is in the folder ``path``, in its order."""
        return tuple(self._entries(self._folder(path)))

    def find(self, path: str) -> Entry | None:
        """The file or folder at ``path``; None if there is none."""
        here: Entry | None = self._root
        for name in names.split(path):
            if here is None or not here.is_folder:
                return None
            wanted = names.folded(name)
            here = next((e for e in self._entries(here) if wanted in (names.folded(e.name), names.plain(e.short))), None)
        return here

    def read(self, path: str) -> bytes:
        """The content of the file at ``path``."""
        return b"".join(self.chunks(path))

    def chunks(self, path: str) -> collections.abc.Iterator[bytes]:
        """The content of the file at ``path``, in order."""
        entry = self.find(path)
        if entry is None or entry.is_folder:
            raise InputError(f"{self._where}: no file {path} on the boot partition; give an image of Raspberry Pi OS")
        left = entry.size_bytes
        for place, size in self._runs(self._table.chain(entry.cluster)):
            size = min(size, left)
            self._file.seek(place)
            while size:
                data = self._file.read(min(size, CHUNK_BYTES))
                if not data:
                    raise InputError(f"{self._where}: ends inside the file {path}; download the image again")
                size, left = size - len(data), left - len(data)
                yield data
        if left:
            raise InputError(f"{self._where}: the file {path} is {left} bytes shorter than its folder says; download the image again")

    def walk(self, path: str = "") -> collections.abc.Iterator[str]:
        """Paths of all files in the folder ``path`` and below it."""
        if path.count("/") >= MOST_DEPTH:
            raise InputError(f"{self._where}: the FAT file system is damaged, folders go round in a circle; download the image again")
        for entry in self.list(path):
            inside = f"{path}/{entry.name}" if path else entry.name
            if entry.is_folder:
                yield from self.walk(inside)
            else:
                yield inside

    # -- changing

    def write(self, path: str, source: Source, size_bytes: int | None = None) -> None:
        """Makes or replaces the file at ``path``, with the folders above it; ``size_bytes`` is needed for an open file."""
        size = len(source) if isinstance(source, bytes) else size_bytes
        if size is None or size >= 1 << 32:
            raise InputError(f"{self._where}: {path} has {size} bytes; a FAT file system takes less than 4 GiB")
        *above, name = names.split(path) or ("",)
        names.check(name)
        folder = self.make_folder("/".join(above))
        before = self.find(path)
        if before and before.is_folder:
            raise InputError(f"{self._where}: {path} is a folder on the boot partition; a file cannot replace it")
        taken = self._table.take(-(-size // self.cluster_bytes))
        try:
            self._fill(taken, source, size, path)
            if before:
                self._update(folder, before, taken[0] if taken else 0, size)
            else:
                self._enter(folder, name, names.ARCHIVE, taken[0] if taken else 0, size)
        except (OSError, InputError):
            self._table.release(taken)
            raise
        if before:
            self._table.release(self._table.chain(before.cluster))
        self._save()

    def make_folder(self, path: str) -> Entry:
        """The folder at ``path``, made with those above it if it is not there."""
        here, so_far = self._root, ""
        for name in names.split(path):
            so_far = f"{so_far}/{name}" if so_far else name
            found = self.find(so_far)
            if found is None:
                (cluster,) = self._table.take(1)
                above = 0 if here is self._root else here.cluster
                dots = self._entry(b".          ", names.FOLDER, cluster, 0) + self._entry(b"..         ", names.FOLDER, above, 0)
                self._fill([cluster], dots.ljust(self.cluster_bytes, b"\0"), self.cluster_bytes, so_far)
                try:
                    self._enter(here, name, names.FOLDER, cluster, 0)
                except InputError:
                    self._table.release([cluster])
                    raise
                self._save()
                found = self.find(so_far)
            if found is None or not found.is_folder:
                raise InputError(f"{self._where}: {so_far} is a file on the boot partition; a folder cannot replace it")
            here = found
        return here

    def delete(self, path: str) -> None:
        """Deletes the file at ``path``, or the folder with all that is in it."""
        entry = self.find(path)
        if entry is None or entry is self._root:
            raise InputError(f"{self._where}: {path or 'the root folder'} cannot be deleted: no such file or folder on the boot partition")
        if entry.is_folder:
            for inside in self.list(path):
                self.delete(f"{path}/{inside.name}")
        folder = self._folder("/".join(names.split(path)[:-1]))
        content = self._content(folder)
        for slot in range(entry.slots):
            content[entry.at - slot * names.ENTRY_BYTES] = names.DELETED
        self._store(folder, content)
        self._table.release(self._table.chain(entry.cluster))
        self._save()

    def missing_bytes(self, files: collections.abc.Mapping[str, int]) -> int:
        """Bytes by which the free space is too small for ``files`` (path -> bytes); 0 if they fit. At worst a cluster too careful."""
        clusters = 0
        new: dict[str, dict[str, int]] = {}
        for path, size in files.items():
            clusters += -(-size // self.cluster_bytes)
            parts = names.split(path)
            for depth in range(1, len(parts) + 1):
                at = "/".join(parts[:depth])
                if self.find(at) is None:
                    above = names.folded("/".join(parts[: depth - 1]))
                    new.setdefault(above, {})[names.folded(parts[depth - 1])] = names.slots(parts[depth - 1])
                    if depth < len(parts):
                        new.setdefault(names.folded(at), {})
        for path, inside in new.items():
            found = self.find(path)
            more = sum(inside.values()) * names.ENTRY_BYTES
            if found is None:
                clusters += -(-(more + 2 * names.ENTRY_BYTES) // self.cluster_bytes)
            else:
                content = self._content(found)
                over = _end(content) + more - len(content)
                if over > 0 and not path and not self._geometry.wide:
                    raise InputError(f"{self._where}: the root folder of the boot partition is full; put files into folders")
                clusters += max(0, -(-over // self.cluster_bytes))
        # A file is replaced by a new one beside it, so what is replaced stays until then.
        return max(0, clusters - self._table.free) * self.cluster_bytes

    # -- folders as bytes

    def _folder(self, path: str) -> Entry:
        entry = self.find(path) if path else self._root
        if entry is None or not entry.is_folder:
            raise InputError(f"{self._where}: no folder {path} on the boot partition")
        return entry

    def _content(self, folder: Entry) -> bytearray:
        if not folder.cluster:
            self._file.seek(self._start + self._geometry.root_at)
            return bytearray(self._file.read(self._geometry.root_bytes))
        content = bytearray()
        for place, size in self._runs(self._table.chain(folder.cluster)):
            self._file.seek(place)
            content += self._file.read(size)
        return content

    def _store(self, folder: Entry, content: bytearray) -> None:
        """Writes a folder that may have grown; InputError if it cannot grow."""
        if not folder.cluster:
            if len(content) > self._geometry.root_bytes:
                raise InputError(f"{self._where}: the root folder of the boot partition is full; put files into folders")
            self._file.seek(self._start + self._geometry.root_at)
            self._file.write(content)
            return
        chain = self._table.chain(folder.cluster)
        chain += self._table.take(len(content) // self.cluster_bytes - len(chain), after=chain[-1])
        self._fill(chain, bytes(content), len(content), folder.name)

    def _entries(self, folder: Entry) -> collections.abc.Iterator[Entry]:
        content = self._content(folder)
        parts: list[bytes] = []
        for at in range(0, _end(content), names.ENTRY_BYTES):
            entry = bytes(content[at : at + names.ENTRY_BYTES])
            if entry[11] & 0x3F == names.LONG and entry[0] != names.DELETED:
                parts.append(entry)
                continue
            if entry[0] != names.DELETED and not entry[11] & names.VOLUME and not entry.startswith((b".  ", b".. ")):
                short, (high,), (low, size) = entry[:11], struct.unpack_from("<H", entry, 20), struct.unpack_from("<HI", entry, 26)
                long = names.long_name(parts, short)
                name = names.plain(short, entry[12]) if long is None else long
                cluster = low | (high << 16 if self._geometry.wide else 0)
                yield Entry(name, bool(entry[11] & names.FOLDER), size, cluster, short, at, 1 + (len(parts) if long is not None else 0))
            parts = []

    def _enter(self, folder: Entry, name: str, attributes: int, cluster: int, size: int) -> None:
        """Adds an entry to a folder, in the first gap that is wide enough."""
        content = self._content(folder)
        short = names.short_name(name, {entry.short for entry in self._entries(folder)})
        entry = names.long_parts(name, short) + self._entry(short, attributes, cluster, size)
        at = _gap(content, len(entry))
        if at + len(entry) > len(content):
            # FAT32 folders grow by clusters of zeros, which mark their end.
            grown = -(-(at + len(entry)) // self.cluster_bytes) * self.cluster_bytes
            content = content.ljust(grown, b"\0")
        content[at : at + len(entry)] = entry
        self._store(folder, content)

    def _update(self, folder: Entry, entry: Entry, cluster: int, size: int) -> None:
        """Points an entry to other content; its names stay as they were."""
        content = self._content(folder)
        attributes = content[entry.at + 11] & ~names.READ_ONLY | names.ARCHIVE
        content[entry.at + 13 : entry.at + 32] = self._entry(entry.short, attributes, cluster, size)[13:]
        content[entry.at + 11] = attributes
        self._store(folder, content)

    def _entry(self, short: bytes, attributes: int, cluster: int, size: int) -> bytes:
        date = (STAMP.year - 1980) << 9 | STAMP.month << 5 | STAMP.day
        time = STAMP.hour << 11 | STAMP.minute << 5 | STAMP.second // 2
        fields = (short, attributes, 0, 0, time, date, date, cluster >> 16, time, date, cluster & 0xFFFF, size)
        return struct.pack("<11sBBBHHHHHHHI", *fields)

    # -- clusters

    def _place(self, cluster: int) -> int:
        return self._start + self._geometry.data_at + (cluster - 2) * self.cluster_bytes

    def _runs(self, chain: collections.abc.Sequence[int]) -> collections.abc.Iterator[tuple[int, int]]:
        """Place and size in bytes of every stretch of neighbouring clusters."""
        begin = 0
        for i in range(1, len(chain) + 1):
            if i == len(chain) or chain[i] != chain[i - 1] + 1:
                yield self._place(chain[begin]), (i - begin) * self.cluster_bytes
                begin = i

    def _fill(self, chain: collections.abc.Sequence[int], source: Source, size_bytes: int, name: str) -> None:
        left, at = size_bytes, 0
        for place, size in self._runs(chain):
            self._file.seek(place)
            size = min(size, left)
            while size:
                step = min(size, CHUNK_BYTES)
                data = source[at : at + step] if isinstance(source, bytes) else source.read(step)
                if not data:
                    raise InputError(f"{name}: ended after {at} of {size_bytes} bytes while it was copied; leave it alone meanwhile")
                self._file.write(data)
                at, size, left = at + len(data), size - len(data), left - len(data)

    def _save(self) -> None:
        self._table.save()
        self._file.flush()


def _end(content: bytearray) -> int:
    """Where the entries of a folder end: at the first that begins with zero."""
    ends = (at for at in range(0, len(content), names.ENTRY_BYTES) if not content[at])
    return next(ends, len(content))


def _gap(content: bytearray, size: int) -> int:
    """The first place for ``size`` bytes of neighbouring entries: deleted ones, or those behind the end."""
    run, end = 0, _end(content)
    for at in range(0, end, names.ENTRY_BYTES):
        run = run + names.ENTRY_BYTES if content[at] == names.DELETED else 0
        if run == size:
            return at + names.ENTRY_BYTES - size
    return end
