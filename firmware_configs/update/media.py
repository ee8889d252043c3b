"""Files of a stick, read with suspicion: nothing but plain files, by names that are asked for, of a size that is known before.

No folder is ever listed, so a stick with ten thousand files is as fast as one with five.
"""

from __future__ import annotations

import collections.abc
import contextlib
import errno
import os
import pathlib
import stat

from edge.errors import InputError

BLOCK = 1 << 20


class Gone(InputError):  # noqa: N818 - a file that is not there is an answer, not a failure
    """There is no such file on the stick."""


@contextlib.contextmanager
def opened(folder: pathlib.Path, name: str, most: int, called: str = "") -> collections.abc.Iterator[tuple[int, int]]:
    """A plain file of the stick: (descriptor, bytes).

    Args:
        folder: where the stick is mounted.
        name: relative, with ``/`` between folders; none of them may be a link.
        most: bytes that it may have.
        called: how errors call it; its name if empty.

    Raises:
        Gone: it is not there.
        InputError: it is a link, a device, a pipe or a folder, or too large, or the stick cannot be read.
    """
    pieces = name.split("/")
    if any(piece in ("", ".", "..") or "\0" in piece for piece in pieces):
        raise InputError(f"{name!r:.80}: not a name that a stick may have; this stick is not for this kit")
    name = called or name
    with contextlib.ExitStack() as stack, _readable(name):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, handle)
        for piece in pieces[:-1]:
            handle = os.open(piece, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
            stack.callback(os.close, handle)
        # Looked at before it is opened: to open a device is to use it.
        before = os.stat(pieces[-1], dir_fd=handle, follow_symlinks=False)
        if not stat.S_ISREG(before.st_mode):
            raise InputError(f"{name}: is {_kind(before.st_mode)}, not a plain file; make the stick again with `affectkit kit stick`")
        file = os.open(pieces[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=handle)
        stack.callback(os.close, file)
        after = os.fstat(file)
        if (after.st_dev, after.st_ino) != (before.st_dev, before.st_ino):
            raise InputError(f"{name}: changes while it is read; make the stick again with `affectkit kit stick`")
        if after.st_size > most:
            raise InputError(
                f"{name}: has {after.st_size} bytes, at most {most} are allowed; make the stick again with `affectkit kit stick`"
            )
        yield file, after.st_size


def read(folder: pathlib.Path, name: str, most: int) -> bytes:
    """Content of a small plain file of the stick; see ``opened``."""
    with opened(folder, name, most) as (file, _), _readable(name):
        content = b""
        while len(content) <= most and (block := os.read(file, min(BLOCK, most + 1 - len(content)))):
            content += block
    if len(content) > most:
        raise InputError(f"{name}: grows while it is read; make the stick again with `affectkit kit stick`")
    return content


def has_folder(folder: pathlib.Path, name: str) -> bool:
    """Whether the stick has such a folder, and no link of that name."""
    try:
        return stat.S_ISDIR(os.stat(folder / name, follow_symlinks=False).st_mode)
    except OSError:
        return False


@contextlib.contextmanager
def _readable(name: str) -> collections.abc.Iterator[None]:
    """Turn what the system says into a line of what to do."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise Gone(f"{name}: is not on the stick; make the stick again with `affectkit kit stick`") from error
    except OSError as error:
        if error.errno in _LINKS:
            raise InputError(f"{name}: is a link or not a folder; make the stick again with `affectkit kit stick`") from error
        why = (error.strerror or "error").lower()
        raise InputError(f"{name}: cannot be read ({why}); was the stick pulled out? put it in again, or try another stick") from error


_LINKS = {errno.ELOOP, errno.ENOTDIR}


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((word for test, word in kinds if test(mode)), "a device")
