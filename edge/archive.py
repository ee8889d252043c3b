"""Zip files that come from elsewhere, opened with suspicion; and zip files that are the same bytes every time.

Bundles and sessions are both zips with a JSON manifest: what is common to them is here.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import struct
import typing
import zipfile
import zlib

from edge.errors import InputError

_DATE = (1980, 1, 1, 0, 0, 0)
_ENCRYPTED = 0x1
_ALREADY_SMALL = (".webp", ".png", ".jpg", ".jpeg", ".flac", ".npz")
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, KeyError, SyntaxError, RuntimeError, MemoryError)
_MAX_JSON_BYTES = 4 << 20
_MAX_KEY = 128


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to, so that a small file cannot fill the memory of a small board."""

    parts: int
    total_bytes: int


def message(error: BaseException) -> str:
    """The error's text in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def complaining(where: str, kind: type[InputError]) -> collections.abc.Iterator[None]:
    """Turn whatever reading a damaged file raises into one line of ``kind``."""
    try:
        yield
    except InputError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise kind(f"{where}: cannot be read ({(error.strerror or message(error)).lower()}); check the path and its permissions") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        MemoryError,
    ) as error:
        raise kind(f"{where}: damaged or cut short ({message(error)}); copy it again from where it came") from error


def check_archive(archive: zipfile.ZipFile, *, where: str, kind: type[InputError], limits: Limits) -> None:
    """Refuse what an honest writer never makes: doubled or unsafe names, encryption, odd compression, bombs.

    Sizes are those that the directory declares; ``zipfile`` reads no more than that from a part, and checks its CRC-32.
    """
    parts = archive.infolist()
    if len(parts) > limits.parts:
        raise kind(f"{where}: {len(parts)} parts, at most {limits.parts} are allowed; not made by affectkit")
    total = sum(part.file_size for part in parts)
    if total > limits.total_bytes:
        raise kind(f"{where}: unpacks to {total} bytes, at most {limits.total_bytes} are allowed; not made by affectkit")
    seen: set[str] = set()
    for part in parts:
        name = part.orig_filename
        pieces = name.split("/")
        if not name.isprintable() or "\\" in name or ":" in name or any(piece in ("", ".", "..") for piece in pieces):
            raise kind(f"{where}: part name {name!r} is unsafe; not made by affectkit")
        if name.casefold() in seen:
            raise kind(f"{where}: part {name} is there twice; not made by affectkit")
        seen.add(name.casefold())
        if part.flag_bits & _ENCRYPTED or part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise kind(f"{where}: part {name} is encrypted or packed in an unknown way; not made by affectkit")


def read_part(archive: zipfile.ZipFile, name: str) -> bytes:
    """Content of one part: no more is unpacked than the directory declares, and its CRC-32 is compared.

    ``ZipFile.read`` unpacks all there is and then cuts it to the declared size: 300 kB can become any amount of memory.
    """
    with archive.open(name) as part:
        return part.read(archive.getinfo(name).file_size)


def add_part(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Append one part so that the same content gives the same bytes, whatever the day or the user."""
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith(_ALREADY_SMALL) else zipfile.ZIP_DEFLATED
    archive.writestr(info, content, compresslevel=9)


@contextlib.contextmanager
def beside(path: pathlib.Path, *, overwrite: bool, kind: type[InputError]) -> collections.abc.Iterator[typing.BinaryIO]:
    """A file to write; on success it is synced and takes the name ``path``, on any error it is removed.

    Raises:
        kind: ``path`` exists and ``overwrite`` is False, or it cannot be written.
    """
    if path.exists() and not overwrite:
        raise kind(f"{path}: exists already; choose another name or ask to overwrite it")
    _clear_away(path)
    writing = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        try:
            with open(writing, "xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(writing, path)
            sync_folder(path.parent)
        except OSError as error:
            if isinstance(error, InputError):
                raise
            raise kind(
                f"{path}: cannot be written ({(error.strerror or message(error)).lower()}); check the folder and its space"
            ) from error
    finally:
        writing.unlink(missing_ok=True)


def _clear_away(path: pathlib.Path) -> None:
    """Remove what processes that were killed left of ``path``: it is torn, and may hold what nobody agreed to keep."""
    before = f".{path.name}.writing-"
    for left in path.parent.glob(before.replace("[", "[[]") + "*"):
        process = left.name.removeprefix(before)
        gone = process == str(os.getpid()) or not os.path.exists(f"/proc/{process}")  # numbers start anew with each boot
        if process.isdigit() and gone and os.path.exists("/proc/self"):
            with contextlib.suppress(OSError):
                left.unlink()


def sync_folder(folder: pathlib.Path) -> None:
    """Make the rename itself last through a power cut; file systems that cannot do it are left alone."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# --- JSON, read strictly -----------------------------------------------------------------------------------------------


def _refuse_constant(text: str) -> typing.NoReturn:
    raise ValueError(f"{text} is not a number in JSON")


def _refuse_doubles(pairs: list[tuple[str, typing.Any]]) -> dict[str, typing.Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key is there twice")
    for key in table:
        if not key.isprintable() or len(key) > _MAX_KEY:
            raise ValueError(f"unprintable or overlong key {key!r:.40}")
    return table


def parse_json(content: bytes, *, where: str, kind: type[InputError]) -> Fields:
    """A JSON object, without NaN, doubled keys or absurd depth."""
    if len(content) > _MAX_JSON_BYTES:
        raise kind(f"{where}: {len(content)} bytes of JSON, at most {_MAX_JSON_BYTES} are allowed; not made by affectkit")
    try:
        table = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_doubles)
    except (ValueError, RecursionError) as error:
        raise kind(f"{where}: not readable as JSON ({message(error)}); copy the file again from where it came") from error
    return Fields(table, where=where, kind=kind)


def dump_json(table: collections.abc.Mapping[str, typing.Any]) -> bytes:
    """JSON that people can read, the same bytes for the same content.

    Raises:
        ValueError: a number is not finite.
        TypeError: something in it is not of JSON.
    """
    return (json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


class Fields:
    """A JSON object read key by key: a wrong type, a missing key or one left over is an error that names it."""

    def __init__(self, table: object, *, where: str, kind: type[InputError]):
        self.where, self.kind = where, kind
        if not isinstance(table, dict):
            raise self.error(f"an object is expected, got {type(table).__name__}")
        self._table = dict(table)

    def error(self, what: str) -> InputError:
        return self.kind(f"{self.where}: {what}; the file is damaged or was not made by affectkit")

    def take(self, key: str, *default: typing.Any) -> typing.Any:
        if key not in self._table and default:
            return default[0]
        if key not in self._table:
            raise self.error(f"{key} is missing")
        return self._table.pop(key)

    def text(self, key: str, *default: str) -> str:
        value = self.take(key, *default)
        if not isinstance(value, str) or not value.isprintable():
            raise self.error(f"{key} must be printable text, got {value!r:.60}")
        return value

    def whole(self, key: str, *, least: int = 0, most: int = 1 << 53) -> int:
        value = self.take(key)
        if type(value) is not int or not least <= value <= most:
            raise self.error(f"{key} must be a whole number from {least} to {most}, got {value!r:.60}")
        return value

    def number(self, key: str, *default: float, least: float = -math.inf, most: float = math.inf) -> float:
        value = self.take(key, *default)
        if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= most:
            raise self.error(f"{key} must be a number from {least:g} to {most:g}, got {value!r:.60}")
        return value

    def texts(self, key: str, *, least: int = 0) -> tuple[str, ...]:
        values = self.take(key)
        if not isinstance(values, list) or len(values) < least or not all(isinstance(v, str) and v.isprintable() for v in values):
            raise self.error(f"{key} must be a list of at least {least} printable texts")
        return tuple(values)

    def items(self, key: str, *default: list[typing.Any]) -> list[typing.Any]:
        values = self.take(key, *default)
        if not isinstance(values, list):
            raise self.error(f"{key} must be a list, got {type(values).__name__}")
        return values

    def inner(self, key: str) -> Fields:
        return Fields(self.take(key), where=f"{self.where}, {key}", kind=self.kind)

    def names(self) -> tuple[str, ...]:
        return tuple(self._table)

    def done(self) -> None:
        """Nothing may be left: an unknown key in a file of this format is a mistake, not an extension."""
        if self._table:
            raise self.error(f"unknown key {sorted(self._table)[0]!r:.60}")
