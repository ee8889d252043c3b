"""The image of a card: its partitions, and the FAT file system that the board boots from, changed in place.

Sources: UEFI Specification 2.10, section 5 (GPT, and the legacy MBR before it).
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import struct
import typing
import zlib

from edge.errors import InputError
from firmware_configs.fat import FatVolume

SECTOR_BYTES = 512
_FAT_TYPES = (0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF)
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
_MOST_ENTRIES = 1024


@dataclasses.dataclass(frozen=True)
class Partition:
    """A stretch of a disk."""

    number: int
    """Its place in the table, from 1."""
    start_byte: int
    size_bytes: int
    may_be_fat: bool
    """Whether its type allows a FAT file system; any type does in a GPT."""
    kind: int = 0
    """Its type in a DOS table; 0 in a GPT."""


def partitions(file: typing.BinaryIO, where: str) -> tuple[Partition, ...]:
    """The partitions of the disk in ``file``, from a DOS or GPT partition table.

    Raises:
        InputError: there is no table, it is damaged, or a partition goes beyond the end of ``file``.
    """
    size = file.seek(0, 2)
    file.seek(0)
    first = file.read(SECTOR_BYTES)
    if len(first) < SECTOR_BYTES or first[510:] != b"\x55\xaa":
        raise InputError(f"{where}: is not the image of a disk (no partition table); give an .img of Raspberry Pi OS")
    found = []
    for number in range(1, 5):
        entry = first[446 + 16 * (number - 1) :][:16]
        kind, (start, sectors) = entry[4], struct.unpack_from("<II", entry, 8)
        if kind == _PROTECTIVE:
            return _in_file(_gpt(file, where), size, where)
        if entry[0] not in (0, 0x80):
            raise InputError(f"{where}: is not the image of a disk (no partition table); give an .img of Raspberry Pi OS")
        if kind and sectors and kind not in _EXTENDED:
            found.append(Partition(number, start * SECTOR_BYTES, sectors * SECTOR_BYTES, kind in _FAT_TYPES, kind))
    return _in_file(tuple(found), size, where)


def is_gpt(file: typing.BinaryIO) -> bool:
    """Whether the partition table of the disk in ``file`` is a GPT."""
    file.seek(446)
    entries = file.read(64)
    return any(entries[place] == _PROTECTIVE for place in range(4, len(entries), 16))


def _gpt(file: typing.BinaryIO, where: str) -> tuple[Partition, ...]:
    file.seek(SECTOR_BYTES)
    header = file.read(SECTOR_BYTES)
    length = struct.unpack_from("<I", header, 12)[0] if len(header) == SECTOR_BYTES else 0
    if header[:8] != b"EFI PART" or not 92 <= length <= SECTOR_BYTES:
        raise InputError(f"{where}: the GPT partition table is missing or damaged; download the image again")
    if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != struct.unpack_from("<I", header, 16)[0]:
        raise InputError(f"{where}: the GPT partition table is damaged (wrong checksum); download the image again")
    at, count, each, checksum = struct.unpack_from("<QIII", header, 72)
    if each < 128 or each > 4096 or count > _MOST_ENTRIES:
        raise InputError(f"{where}: the GPT partition table is damaged ({count} entries of {each} bytes); download the image again")
    file.seek(at * SECTOR_BYTES)
    table = file.read(count * each)
    if zlib.crc32(table) != checksum:
        raise InputError(f"{where}: the GPT partition table is damaged (wrong checksum); download the image again")
    found = []
    for number in range(1, count + 1):
        kind, first, last = struct.unpack_from("<16s16xQQ", table, (number - 1) * each)
        if any(kind):
            found.append(Partition(number, first * SECTOR_BYTES, (last - first + 1) * SECTOR_BYTES, True))
    return tuple(found)


def _in_file(found: tuple[Partition, ...], size: int, where: str) -> tuple[Partition, ...]:
    for partition in found:
        missing = partition.start_byte + partition.size_bytes - size
        if missing > 0:
            raise InputError(f"{where}: ends {missing} bytes before partition {partition.number} does; copy or download the image again")
    return found


def boot_partition(file: typing.BinaryIO, where: str) -> Partition:
    """The first partition with a FAT16 or FAT32 file system. InputError if there is none."""
    for partition in partitions(file, where):
        file.seek(partition.start_byte)
        sector = file.read(SECTOR_BYTES)
        # NTFS and exFAT share the type numbers and the signature, and have no tables where a FAT has.
        if partition.may_be_fat and sector[510:] == b"\x55\xaa" and sector[3:8] not in (b"NTFS ", b"EXFAT") and sector[16]:
            return partition
    raise InputError(f"{where}: has no FAT partition to boot from; give an .img of Raspberry Pi OS")


@contextlib.contextmanager
def open_boot(path: pathlib.Path, *, write: bool = False) -> typing.Iterator[FatVolume]:
    """The boot file system of the image (or card) at ``path``.

    Raises:
        InputError: it cannot be opened, is no image, or has no FAT partition.
    """
    try:
        file = path.open("r+b" if write else "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror or error}") from error
    with file:
        partition = boot_partition(typing.cast(typing.BinaryIO, file), str(path))
        yield FatVolume(typing.cast(typing.BinaryIO, file), partition.start_byte, partition.size_bytes, str(path))
