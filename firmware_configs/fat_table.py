"""The table of a FAT16 or FAT32 file system: which clusters belong together, which are free.

Source: Microsoft, "FAT32 File System Specification" 1.03 (fatgen103), sections "Boot Sector and BPB" and "FAT Data Structure".
"""

from __future__ import annotations

import array
import dataclasses
import struct
import sys
import typing

from edge.errors import InputError

MOST_TABLE_BYTES = 64 << 20
"""A larger table is none of a boot partition, and would not fit the memory that this may use."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What the first sector of a FAT file system says; all places in bytes from its beginning."""

    sector_bytes: int
    """512, 1024, 2048 or 4096."""
    cluster_bytes: int
    tables: tuple[int, ...]
    """Where the tables begin, which are copies of one another."""
    table_bytes: int
    root_at: int
    """Where the root folder of a FAT16 begins; 0 for FAT32."""
    root_bytes: int
    """Size of the root folder of a FAT16, which cannot grow; 0 for FAT32."""
    root_cluster: int
    """First cluster of the root folder of a FAT32; 0 for FAT16."""
    info_at: int
    """Where a FAT32 notes how much is free; 0 if nowhere."""
    data_at: int
    """Where cluster 2 begins."""
    clusters: int

    @property
    def wide(self) -> bool:
        """True for FAT32."""
        return self.root_cluster > 0


def read_geometry(sector: bytes, size_bytes: int, where: str) -> Geometry:
    """The geometry in a first sector (512 bytes) of a file system in ``size_bytes``. InputError if it is no FAT16 or FAT32."""
    if len(sector) < 512 or sector[510:512] != b"\x55\xaa":
        raise InputError(f"{where}: is no FAT file system; give an image of Raspberry Pi OS")
    fields = struct.unpack_from("<HBHBHHBHHHIII", sector, 11)
    size, per_cluster, reserved, copies, root_entries, small, _, table16, _, _, _, large, table32 = fields
    if size not in (512, 1024, 2048, 4096) or per_cluster == 0 or per_cluster & (per_cluster - 1) or not 1 <= copies <= 4 or not reserved:
        raise InputError(f"{where}: is no FAT file system; give an image of Raspberry Pi OS")
    wide = table16 == 0
    table_bytes, total = (table32 if wide else table16) * size, small or large
    root_at = (reserved * size) + copies * table_bytes
    root_bytes = -(-root_entries * 32 // size) * size
    clusters = (total * size - root_at - root_bytes) // (per_cluster * size)
    if not wide and 0 < clusters < 4085:
        raise InputError(f"{where}: is a FAT12 file system; make it FAT16 or FAT32")
    entries = table_bytes // (4 if wide else 2)
    root_cluster, info = struct.unpack_from("<IHH", sector, 44)[:2] if wide else (0, 0)
    if clusters <= 0 or entries < clusters + 2 or (wide and not 2 <= root_cluster < clusters + 2) or (not wide and not root_entries):
        raise InputError(f"{where}: the FAT file system contradicts itself; download the image again")
    if wide and sector[40] & 0x80:
        raise InputError(f"{where}: the FAT file system keeps one of its tables only, which is not supported; download the image again")
    if total * size > size_bytes:
        raise InputError(f"{where}: the file system says {total * size} bytes, its partition has {size_bytes}; download the image again")
    if table_bytes > MOST_TABLE_BYTES:
        raise InputError(f"{where}: the FAT file system is too large for a boot partition ({total * size} bytes)")
    return Geometry(
        sector_bytes=size,
        cluster_bytes=per_cluster * size,
        tables=tuple(reserved * size + copy * table_bytes for copy in range(copies)),
        table_bytes=table_bytes,
        root_at=0 if wide else root_at,
        root_bytes=0 if wide else root_bytes,
        root_cluster=root_cluster,
        info_at=info * size if wide and info not in (0, 0xFFFF) else 0,
        data_at=root_at + root_bytes,
        clusters=clusters,
    )


class Table:
    """The table in memory; ``save`` writes the sectors that changed, to every copy.

    ``file`` reads and writes at ``start`` bytes; ``where`` opens the messages.
    """

    def __init__(self, file: typing.BinaryIO, start: int, geometry: Geometry, where: str):
        self._file, self._start, self._geometry, self._where = file, start, geometry, where
        self._last = 0x0FFFFFFF if geometry.wide else 0xFFFF
        self._next = array.array("I" if geometry.wide else "H")
        file.seek(start + geometry.tables[0])
        raw = file.read(geometry.table_bytes)
        if len(raw) < geometry.table_bytes:
            raise InputError(f"{where}: ends {geometry.table_bytes - len(raw)} bytes early; download the image again")
        self._next.frombytes(raw)
        if sys.byteorder == "big":
            self._next.byteswap()
        self._changed: set[int] = set()
        self._search = 2
        self.free = sum(1 for cluster in range(2, geometry.clusters + 2) if not self._value(cluster))
        """Free clusters."""

    def _value(self, cluster: int) -> int:
        return self._next[cluster] & 0x0FFFFFFF

    def _set(self, cluster: int, value: int) -> None:
        # The top four bits of a FAT32 entry belong to nobody and stay as they are.
        kept = self._next[cluster] & 0xF0000000 if self._geometry.wide else 0
        self._next[cluster] = kept | value
        self._changed.add(cluster * self._next.itemsize // self._geometry.sector_bytes)

    def chain(self, first: int) -> list[int]:
        """The clusters of a file that begins at ``first``, in order; none if ``first`` is 0. InputError if they are damaged."""
        found: list[int] = []
        cluster, end = first, self._last - 7
        while cluster and cluster < end:
            if not 2 <= cluster < self._geometry.clusters + 2 or len(found) > self._geometry.clusters:
                raise InputError(f"{self._where}: the FAT file system is damaged at cluster {cluster}; download the image again")
            found.append(cluster)
            cluster = self._value(cluster)
        if found and not cluster:
            raise InputError(f"{self._where}: the FAT file system is damaged at cluster {found[-1]}; download the image again")
        return found

    def take(self, count: int, after: int = 0) -> list[int]:
        """``count`` free clusters, chained to one another, and to ``after`` if that is given. InputError if there are not as many."""
        if count > self.free:
            missing = (count - self.free) * self._geometry.cluster_bytes
            raise InputError(f"{self._where}: the boot partition is full, {missing} bytes are missing; give less")
        found: list[int] = []
        cluster, clusters = self._search, self._geometry.clusters
        while len(found) < count:
            if not self._value(cluster):
                found.append(cluster)
            cluster = cluster + 1 if cluster < clusters + 1 else 2
        for here, there in zip(found, [*found[1:], self._last], strict=False):
            self._set(here, there)
        if after and found:
            self._set(after, found[0])
        self.free -= count
        self._search = cluster
        return found

    def release(self, clusters: list[int]) -> None:
        """Makes ``clusters`` free."""
        for cluster in clusters:
            self._set(cluster, 0)
        self.free += len(clusters)

    def save(self) -> None:
        """Writes what changed to every copy of the table, and notes what is free."""
        size, geometry = self._geometry.sector_bytes, self._geometry
        each = size // self._next.itemsize
        for sector in sorted(self._changed):
            part = self._next[sector * each : (sector + 1) * each]
            if sys.byteorder == "big":
                part.byteswap()
            for table in geometry.tables:
                self._file.seek(self._start + table + sector * size)
                self._file.write(part.tobytes())
        self._changed.clear()
        if geometry.info_at:
            self._file.seek(self._start + geometry.info_at)
            info = self._file.read(512)
            if info[:4] == b"RRaA" and info[484:488] == b"rrAa":
                self._file.seek(self._start + geometry.info_at + 488)
                self._file.write(struct.pack("<II", self.free, self._search))
