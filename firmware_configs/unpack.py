"""An image file, packed (.xz, .zst, .gz) or not, written out as a raw image: streaming, with progress, or not at all.

Source of the .xz sizes: "The .xz File Format" 1.2.1, sections 2.1.2 (footer) and 4 (index).
"""

from __future__ import annotations

import collections.abc
import contextlib
import errno
import lzma
import os
import pathlib
import shutil
import struct
import tempfile
import typing
import zlib

from edge.errors import InputError
from firmware_configs.progress import Progress, silent

CHUNK_BYTES = 1 << 20
MOST_MEMORY_BYTES = 160 << 20
"""What a decompressor may take; the largest preset of xz takes 65 MB."""
SPARSE_BYTES = 64 << 10
"""Stretches of zeros this long are left out of the file where the file system allows."""


def unpack(source: pathlib.Path, target: pathlib.Path, progress: Progress = silent) -> int:
    """Writes the image in ``source`` to the new file ``target``; its size in bytes. Nothing is left behind if that fails.

    Memory stays below ``MOST_MEMORY_BYTES`` and a few chunks, whatever the sizes.

    Raises:
        InputError: ``source`` is missing, damaged, ends early or needs more memory; ``target`` exists; the disk is full.
    """
    need = unpacked_bytes(source)
    refuse_full(target.parent, need or 0)
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(source.open("rb"))
            out = stack.enter_context(created(target))
            size = os.fstat(raw.fileno()).st_size
            written = 0
            for data in _unpacked(raw, source):
                write_sparse(out, data)
                written += len(data)
                progress(min(raw.tell() / size, 1.0) if size else 1.0)
            out.truncate(written)
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        if "emory" in str(error):
            raise InputError(f"{source}: needs more than {MOST_MEMORY_BYTES >> 20} MB to unpack; pack it with xz -9 or less") from error
        raise InputError(f"{source}: is damaged ({error}); download it again") from error
    # More is no fault: the index of an .xz file of several streams knows the last alone.
    if need is not None and written < need:
        target.unlink(missing_ok=True)
        raise InputError(f"{source}: gave {written} bytes and says it has {need}; download it again")
    return written


def unpacked_bytes(source: pathlib.Path) -> int | None:
    """Size of the image in ``source``; None if only unpacking tells. InputError if it is missing or ends early."""
    try:
        size = source.stat().st_size
        with source.open("rb") as file:
            kind = _kind(file.read(6))
            if kind is None:
                return size
            if kind == "xz":
                return _xz_bytes(file, size, source)
            if kind == "zst":
                file.seek(0)
                return _zstd(source).get_frame_info(file.read(64)).decompressed_size
    except IsADirectoryError as error:
        raise InputError(f"{source}: is a folder; give an image file") from error
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error
    except EOFError as error:
        raise InputError(f"{source}: ends early; download it again") from error
    return None


def is_packed(source: pathlib.Path) -> bool:
    """Whether ``source`` is packed; InputError if it cannot be read."""
    try:
        with source.open("rb") as file:
            return _kind(file.read(6)) is not None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error


def _kind(head: bytes) -> str | None:
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zst"
    if head.startswith(b"PK\x03\x04"):
        raise InputError("a .zip was given as an image; unpack it and give the .img inside")
    return "gz" if head.startswith(b"\x1f\x8b") else None


def _xz_bytes(file: typing.BinaryIO, size: int, source: pathlib.Path) -> int:
    """The sum of the sizes in the index at the end of an .xz file of one stream."""
    early = InputError(f"{source}: ends early or is damaged; download it again")
    file.seek(max(size - 12, 0))
    footer = file.read(12)
    if size < 32 or footer[10:] != b"YZ" or zlib.crc32(footer[4:10]) != struct.unpack_from("<I", footer)[0]:
        raise early
    length = (struct.unpack_from("<I", footer, 4)[0] + 1) * 4
    if length > min(size, CHUNK_BYTES):
        raise early
    file.seek(size - 12 - length)
    index, at = file.read(length), 1

    def number() -> int:
        nonlocal at
        value = shift = 0
        while at < len(index):
            byte, at = index[at], at + 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise early

    if index[:1] != b"\0":
        raise early
    total = 0
    for _ in range(number()):
        number()
        total += number()
    return total


def _zstd(source: pathlib.Path) -> typing.Any:
    try:
        import backports.zstd as zstd
    except ImportError as error:
        raise InputError(f"{source}: is a .zst file, which needs backports.zstd; pip install 'affectkit[kit]'") from error
    return zstd


def _unpacked(raw: typing.BinaryIO, source: pathlib.Path) -> collections.abc.Iterator[bytes]:
    kind = _kind(raw.read(6))
    raw.seek(0)
    if kind is None:
        while data := raw.read(CHUNK_BYTES):
            yield data
    elif kind == "gz":
        yield from _inflated(raw)
    else:
        make: collections.abc.Callable[[], typing.Any]
        if kind == "zst":
            zstd = _zstd(source)
            # The window of 2 to the power of 27 bytes, 128 MB, is what the zstd command takes without being asked.
            options = {zstd.DecompressionParameter.window_log_max: 27}
            make, failed = lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError
        else:
            make, failed = lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_MEMORY_BYTES), lzma.LZMAError
        try:
            yield from _members(raw, make)
        except failed as error:
            raise lzma.LZMAError(str(error)) from error


def _members(raw: typing.BinaryIO, make: collections.abc.Callable[[], typing.Any]) -> collections.abc.Iterator[bytes]:
    """Content of one stream after the other; EOFError if the last has no end."""
    machine, data = make(), raw.read(CHUNK_BYTES)
    while data:
        out = machine.decompress(data, CHUNK_BYTES)
        if out:
            yield out
        while not machine.eof and not machine.needs_input:
            yield machine.decompress(b"", CHUNK_BYTES)
        if machine.eof:
            data = machine.unused_data.lstrip(b"\0") or raw.read(CHUNK_BYTES).lstrip(b"\0")
            if not data:
                return
            machine = make()
        else:
            data = raw.read(CHUNK_BYTES)
    raise EOFError("ends early")


def _inflated(raw: typing.BinaryIO) -> collections.abc.Iterator[bytes]:
    import gzip

    with gzip.GzipFile(fileobj=raw) as file:
        try:
            while data := file.read(CHUNK_BYTES):
                yield data
        except gzip.BadGzipFile as error:
            raise zlib.error(str(error)) from error


# -- files that are whole or not there


@contextlib.contextmanager
def created(path: pathlib.Path) -> typing.Iterator[typing.BinaryIO]:
    """A new file, deleted again if what happens inside fails; a full disk is an InputError."""
    try:
        file = path.open("xb")
    except FileExistsError as error:
        raise InputError(f"{path}: exists; delete it or write elsewhere") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        with told_if_full(path):
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            finally:
                file.close()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def told_if_full(path: pathlib.Path) -> typing.Iterator[None]:
    """Turns a full disk, or a file larger than allowed, into an InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise InputError(
                f"{path}: the disk is full, or takes no file as large (FAT: 4 GB); nothing was kept: free some space or write elsewhere"
            ) from error
        raise


def refuse_full(folder: pathlib.Path, need_bytes: int) -> None:
    """InputError if the disk of ``folder`` has less than ``need_bytes`` left."""
    missing = need_bytes - shutil.disk_usage(folder).free
    if missing > 0:
        raise InputError(f"{folder}: the disk is full: {missing} bytes are missing; free some space or write elsewhere")


def holds_holes(folder: pathlib.Path) -> bool:
    """Whether files in ``folder`` may be longer than what they take of its disk; not so on Windows and FAT."""
    with told_if_full(folder), tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(16 * CHUNK_BYTES)
        os.fsync(file.fileno())
        # In units of 512 bytes, whatever the file system's own (stat(2)).
        blocks = getattr(os.fstat(file.fileno()), "st_blocks", None)
        return blocks is not None and blocks * 512 < 8 * CHUNK_BYTES


_ZEROS = bytes(SPARSE_BYTES)


def write_sparse(out: typing.BinaryIO, data: bytes) -> None:
    """Writes ``data`` to a new file, leaving holes for long stretches of zeros; the end must be set with ``truncate``."""
    view = memoryview(data)
    for at in range(0, len(data), SPARSE_BYTES):
        part = view[at : at + SPARSE_BYTES]
        if part == _ZEROS:
            out.seek(SPARSE_BYTES, os.SEEK_CUR)
        else:
            out.write(part)


def copy_sparse(source: pathlib.Path, target: pathlib.Path, progress: Progress = silent) -> None:
    """Copies an image to a new file, holes as holes."""
    size = source.stat().st_size
    with source.open("rb") as raw, created(target) as out:
        while data := raw.read(CHUNK_BYTES):
            write_sparse(out, data)
            progress(raw.tell() / size)
        out.truncate(size)
