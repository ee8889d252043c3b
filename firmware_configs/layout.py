"""The partitions of a card: the root made larger, and behind it a small writable partition of the kit's own, in the table alone.

File systems stay as they are: the first boot grows the root's into its partition, and makes one on partition 3. The disk id stays too,
for ``root=PARTUUID=`` in ``cmdline.txt`` and ``/etc/fstab`` are made of it. Images with a GPT are left as they are.

Sources: UEFI Specification 2.10, section 5.2.1 (legacy MBR); Linux, Documentation/filesystems/ext4/super.rst (magic and label).
"""

from __future__ import annotations

import dataclasses
import pathlib
import struct
import typing

from edge.errors import InputError
from firmware_configs.image import SECTOR_BYTES, is_gpt, partitions
from firmware_configs.unpack import told_if_full

MIB = 1 << 20
ALIGN_BYTES = 4 * MIB
"""Where Raspberry Pi OS aligns its own partitions to; cards erase in blocks of this size."""
LABEL = "AFFECTKIT"
"""Of the file system that the first boot makes on the kit's own partition."""
ROOT, DATA = 2, 3
"""Their numbers in the table."""
LINUX = 0x83
_FAR = b"\xfe\xff\xff"
"""Cylinder, head and sector of what lies beyond 8 GB; everybody reads the numbers of sectors instead."""
_MOST_SECTORS = 0xFFFFFFFF
_MOST_MIB = 1 << 16
_LEAST_DATA_MIB = 192
"""Block 32768 of 4096 bytes has the copy of the super block that usr/lib/affectkit/mend takes."""


@dataclasses.dataclass(frozen=True)
class Room:
    """What a card gets beyond its image, in MiB."""

    root_mib: int = 1024
    """For the system's partition: the kit's packages, and what an update of them needs."""
    data_mib: int = 512
    """Of the kit's own partition: bundles, decisions, reports."""

    def __post_init__(self) -> None:
        for name, value, least in (("root room", self.root_mib, 0), ("data partition", self.data_mib, _LEAST_DATA_MIB)):
            if not least <= value <= _MOST_MIB:
                raise InputError(f"{name}: got {value} MiB; it is {least} to {_MOST_MIB}")

    @property
    def size_bytes(self) -> int:
        """At most this is an image larger afterwards."""
        return (self.root_mib + self.data_mib) * MIB + ALIGN_BYTES


@dataclasses.dataclass(frozen=True)
class Table:
    """A partition table, as the manifest of a card has it."""

    disk_id: str
    """Eight hexadecimal digits, the beginning of its PARTUUIDs; empty for a GPT."""
    partitions: tuple[tuple[int, int, int, int], ...]
    """Number, type (0 for a GPT), first byte and size in bytes of each."""

    @property
    def data(self) -> tuple[int, int] | None:
        """First byte and size of partition 3, if there is one."""
        return next(((start, size) for number, _, start, size in self.partitions if number == DATA), None)


def read_table(path: pathlib.Path) -> Table:
    """The table of the image or device at ``path``. InputError if it has none, or a damaged one."""
    with _opened(path, "rb") as file:
        return _table(file, str(path))


def planned(path: pathlib.Path, room: Room, own: Table | None = None) -> Table | None:
    """The table that ``enlarge`` would write; None for a GPT, which stays. Changes nothing.

    ``own`` is the table in the manifest of an image that is a card already.

    Raises:
        InputError: it is not what an image of Raspberry Pi OS has: partition 1 to boot from and partition 2, for Linux, behind it.
    """
    with _opened(path, "rb") as file:
        return _planned(file, room, own, str(path))


def enlarge(path: pathlib.Path, room: Room, own: Table | None = None) -> Table | None:
    """Writes the table that ``planned`` gives, and makes the file as long as that says; new bytes are a hole where files have such.

    The first MiB of partition 3 is zeros: nobody takes what an earlier owner left for its file system.
    """
    with told_if_full(path), _opened(path, "r+b") as file:
        table = _planned(file, room, own, str(path))
        if table is None:
            return None
        was = file.seek(0, 2)
        for number, kind, start, size in table.partitions:
            if number == ROOT:
                file.seek(446 + 16 * (ROOT - 1) + 5)
                file.write(_FAR)
                file.seek(446 + 16 * (ROOT - 1) + 12)
                file.write(struct.pack("<I", size // SECTOR_BYTES))
            elif number == DATA:
                file.seek(446 + 16 * (DATA - 1))
                file.write(struct.pack("<B3sB3sII", 0, _FAR, kind, _FAR, start // SECTOR_BYTES, size // SECTOR_BYTES))
                if was > start:
                    file.seek(start)
                    file.write(bytes(min(MIB, was - start)))
                if was < start + size:
                    file.truncate(start + size)
        return table


def spans(table: Table | None, image_bytes: int) -> tuple[tuple[int, int], ...]:
    """First byte and size of what has to be on a card: all of an image of ``image_bytes``, and both ends of partition 3.

    Its first MiB, so that no file system of an earlier owner is found there; its last, so that a card which ends before is found out. What
    is between was never part of a file system, and whatever lies there on a card may stay. Not so long zeros in the image itself:
    they are its file system's own, and a tool that skipped them would leave an earlier owner's bytes in tables and files.
    """
    data = table.data if table else None
    if data is None:
        return ((0, image_bytes),)
    return ((0, min(image_bytes, data[0])), (data[0], MIB), (data[0] + data[1] - MIB, MIB))


def foreign(path: pathlib.Path, table: Table) -> bool:
    """Whether partition 3 holds what is neither empty nor the kit's own file system (ext4 with the label ``LABEL``)."""
    if table.data is None:
        return False
    with _opened(path, "rb") as file:
        file.seek(table.data[0])
        head = file.read(MIB)
    # The super block lies 1024 bytes in: its magic at 0x38, the label at 0x78.
    label = head[1024 + 0x78 : 1024 + 0x88].rstrip(b"\0")
    return any(head) and not (head[1024 + 0x38 : 1024 + 0x3A] == b"\x53\xef" and label == LABEL.encode())


def _opened(path: pathlib.Path, mode: str) -> typing.BinaryIO:
    try:
        return typing.cast(typing.BinaryIO, path.open(mode))
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror or error}") from error


def _table(file: typing.BinaryIO, where: str) -> Table:
    found = tuple((each.number, each.kind, each.start_byte, each.size_bytes) for each in partitions(file, where))
    if is_gpt(file):
        return Table("", found)
    file.seek(440)
    return Table(f"{struct.unpack('<I', file.read(4))[0]:08x}", found)


def _planned(file: typing.BinaryIO, room: Room, own: Table | None, where: str) -> Table | None:
    if is_gpt(file):
        return None
    table = _table(file, where)
    if own is not None and own.data is not None and own == table:
        return table
    file.seek(446)
    entries = file.read(64)
    used = [number for number in range(1, 5) if any(entries[16 * (number - 1) :][:16])]
    hint = "take an image of Raspberry Pi OS as it was downloaded, or leave its partitions alone with --no-data-partition"
    if used != [1, ROOT]:
        raise InputError(f"{where}: has partitions {', '.join(map(str, used))} instead of 1 and 2, so none can be added; {hint}")
    by_number = {number: (kind, start, size) for number, kind, start, size in table.partitions}
    kind, start, size = by_number.get(ROOT, (0, 0, 0))
    _, boot_start, boot_size = by_number.get(1, (0, 0, 0))
    if kind != LINUX or boot_start + boot_size > start:
        raise InputError(f"{where}: partition 2 is not one for Linux behind partition 1; {hint}")
    end = -(-(start + size + room.root_mib * MIB) // ALIGN_BYTES) * ALIGN_BYTES
    if (end + room.data_mib * MIB) // SECTOR_BYTES > _MOST_SECTORS:
        raise InputError(f"{where}: its partitions would end beyond 2 TiB, where such a table cannot point; give less room")
    grown = ((ROOT, LINUX, start, end - start), (DATA, LINUX, end, room.data_mib * MIB))
    return Table(table.disk_id, (*(each for each in table.partitions if each[0] == 1), *grown))
