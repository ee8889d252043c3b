"""Names in a FAT folder: long names in UTF-16 and the short ones of eight and three characters behind them.

Source: Microsoft, "FAT32 File System Specification" 1.03 (fatgen103), sections "FAT Directory Structure" and "FAT Long Directory
Entries".
"""

from __future__ import annotations

import collections.abc
import struct

from edge.errors import InputError

ENTRY_BYTES = 32
READ_ONLY, HIDDEN, SYSTEM, VOLUME, FOLDER, ARCHIVE = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
LONG = READ_ONLY | HIDDEN | SYSTEM | VOLUME
"""Attributes that mark a part of a long name."""
DELETED = 0xE5
UNITS_PER_PART = 13
MOST_UNITS = 255
_FORBIDDEN = frozenset('"*/:<>?\\|')
_SHORT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789$%'-_@~`!(){}^#&")


def split(path: str) -> tuple[str, ...]:
    """The names in ``path``, which is written with ``/``; InputError if one of them cannot be on a FAT file system."""
    names = tuple(name for name in path.split("/") if name)
    for name in names:
        check(name)
    return names


def check(name: str) -> None:
    """InputError unless ``name`` can be the long name of a file on Linux, macOS and Windows alike."""
    bad = next((c for c in name if c in _FORBIDDEN or ord(c) < 0x20 or 0xD800 <= ord(c) < 0xE000 or ord(c) == 0x7F), None)
    if not name or name in (".", ".."):
        raise InputError(f"file name {name!r}: is no name; use letters and digits")
    if bad is not None:
        raise InputError(f"file name {name!r}: {bad!r} cannot be in a name on a FAT file system; rename it")
    if name[-1] in " ." or name[0] == " ":
        raise InputError(f"file name {name!r}: begins or ends with a space, or ends with a dot; rename it")
    if (units := len(name.encode("utf-16-le")) // 2) > MOST_UNITS:
        raise InputError(f"file name {name[:20]!r}...: has {units} characters; a FAT file system takes {MOST_UNITS}")


def folded(name: str) -> str:
    """``name`` as it is compared: letters of one kind, as two names that differ in these alone are the same file."""
    return "".join(upper if len(upper := c.upper()) == 1 else c for c in name)


def slots(name: str) -> int:
    """Entries of 32 bytes that a file of this name takes: the short one and the parts of the long one."""
    units = len(name.encode("utf-16-le")) // 2
    return 1 + (0 if is_short(name) else -(-units // UNITS_PER_PART))


def is_short(name: str) -> bool:
    """Whether the short entry alone says ``name``: at most eight and three capitals and digits."""
    base, dot, extension = name.partition(".")
    return 1 <= len(base) <= 8 and set(base + extension) <= _SHORT and (1 <= len(extension) <= 3 if dot else not extension)


def short_name(name: str, taken: collections.abc.Container[bytes]) -> bytes:
    """The 11 bytes of the short name behind ``name``, other than those in ``taken``: capitals and a number, as NAME~1.EXT."""
    if is_short(name):
        base, _, extension = name.partition(".")
        return base.ljust(8).encode("ascii") + extension.ljust(3).encode("ascii")
    stem, dot, ending = name.lstrip(".").rpartition(".")
    if not dot:
        stem, ending = ending, ""
    base, extension = _capitals(stem) or "_", _capitals(ending)[:3]
    for number in range(1, 1_000_000):
        tail = f"~{number}"
        found = (base[: 8 - len(tail)] + tail).ljust(8).encode("ascii") + extension.ljust(3).encode("ascii")
        if found not in taken:
            return found
    raise InputError(f"file name {name!r}: a million names like it are in its folder; rename it")


def _capitals(text: str) -> str:
    return "".join(c if c in _SHORT else "_" for c in text.upper() if c not in " .")


def plain(short: bytes, case: int = 0) -> str:
    """The 11 bytes of a short name as people write it; ``case`` is byte 12 of its entry (0x08 small base, 0x10 small extension)."""
    first = b"\xe5" if short[0] == 0x05 else short[:1]
    base, extension = (first + short[1:8]).decode("cp437").rstrip(), short[8:11].decode("cp437").rstrip()
    base, extension = base.lower() if case & 0x08 else base, extension.lower() if case & 0x10 else extension
    return f"{base}.{extension}" if extension else base


def checksum(short: bytes) -> int:
    """What ties the parts of a long name to their short one (fatgen103, "ChkSum")."""
    total = 0
    for byte in short:
        total = ((total >> 1) | (total << 7)) + byte & 0xFF
    return total


def long_parts(name: str, short: bytes) -> bytes:
    """The entries of the long name, last part first, as they lie before the short entry; nothing if none is needed."""
    if is_short(name):
        return b""
    raw = name.encode("utf-16-le")
    count = -(-len(raw) // (2 * UNITS_PER_PART))
    if len(raw) < 2 * UNITS_PER_PART * count:
        raw = (raw + b"\0\0").ljust(2 * UNITS_PER_PART * count, b"\xff")
    entries = b""
    for number in range(count, 0, -1):
        part = raw[26 * (number - 1) : 26 * number]
        order = number | (0x40 if number == count else 0)
        entries += struct.pack("<B10sBBB12sH4s", order, part[:10], LONG, 0, checksum(short), part[10:22], 0, part[22:])
    return entries


def long_name(parts: collections.abc.Sequence[bytes], short: bytes) -> str | None:
    """The name in the entries before a short one, in the order in which they lie; None if they do not belong to it."""
    if not parts or not parts[0][0] & 0x40 or (parts[0][0] & 0x3F) != len(parts):
        return None
    if any((part[0] & 0x3F) != len(parts) - i or part[13] != checksum(short) for i, part in enumerate(parts)):
        return None
    raw = b"".join(part[1:11] + part[14:26] + part[28:32] for part in reversed(parts))
    text = raw.decode("utf-16-le", errors="replace")
    return text.partition("\0")[0]
