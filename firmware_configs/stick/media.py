"""The stick: a folder on a FAT or exFAT file system, on which the new content takes the place of the old, whole or not at all.

FAT cannot exchange two folders at once. Between the two renames the old content lies beside under another name, and comes back with the
next writing if power fails just then.
"""

from __future__ import annotations

import collections.abc
import contextlib
import errno
import hashlib
import math
import os
import pathlib
import shutil
import stat

from edge.archive import sync_folder
from edge.errors import EdgeError, InputError
from firmware_configs.progress import Progress, silent
from firmware_configs.stick import FOLDER
from firmware_configs.stick.repository import Release
from firmware_configs.unpack import CHUNK_BYTES

OLD = f"{FOLDER}.old"
WRITING = f"{FOLDER}.writing"
_CLUSTER = 128 << 10
"""Each file takes whole clusters: 128 KiB on a large exFAT stick."""


def check_stick(stick: pathlib.Path) -> None:
    """Whether ``stick`` can be written: it is there, and what lies where the update goes is a folder.

    Raises:
        InputError: it is not.
    """
    try:
        if not stat.S_ISDIR(stick.stat().st_mode):
            raise InputError(f"{stick}: is no folder; give the folder under which the stick is mounted")
    except OSError as error:
        raise InputError(
            f"{stick}: cannot be read ({error.strerror or error}); give the folder under which the stick is mounted"
        ) from error
    if not os.access(stick, os.W_OK):
        raise InputError(f"{stick}: cannot be written; look for a switch on the stick, and at who owns the folder")
    for name in (FOLDER, OLD, WRITING):
        mode = _mode(stick / name)
        if mode is not None and not stat.S_ISDIR(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "no folder"
            raise InputError(f"{stick / name}: is {kind}, which was not made by affectkit; delete it, or format the stick")


def refuse_full(stick: pathlib.Path, sizes: collections.abc.Iterable[int]) -> None:
    """InputError, saying how much is missing, if the stick cannot hold files of these ``sizes`` in bytes beside what it holds."""
    need = sum(-(-size // _CLUSTER) * _CLUSTER for size in sizes) + 4 * _CLUSTER
    missing = need - shutil.disk_usage(stick).free
    if missing > 0:
        advice = f"delete {FOLDER} on it" if (stick / FOLDER).exists() else "delete something on it"
        raise InputError(
            f"{stick}: {math.ceil(missing / 1e5) / 10:.1f} MB more are needed of {need / 1e6:.1f} MB; {advice}, or take a larger stick"
        )


def write_stick(stick: pathlib.Path, release: Release, progress: Progress = silent) -> None:
    """Puts ``release`` onto the stick and reads it back; the old content stays until the new is whole.

    Raises:
        InputError: the stick is full, write-protected, or not what it should be.
        EdgeError: it failed, or gives back other than what was written.
    """
    check_stick(stick)
    recover(stick)
    refuse_full(stick, (file.bytes for file in release.files.values()))
    writing, final, old = (stick / name for name in (WRITING, FOLDER, OLD))
    with _told(stick):
        try:
            writing.mkdir()
            folders = {writing}
            for done, (path, file) in enumerate(release.files.items()):
                target = writing / path.removeprefix(f"{FOLDER}/")
                for parent in reversed(target.relative_to(writing).parents[:-1]):
                    with contextlib.suppress(FileExistsError):
                        (writing / parent).mkdir()
                    folders.add(writing / parent)
                _write(target, file.content, file.sha256)
                progress((done + 1) / (2 * len(release.files)))
            for folder in (*folders, stick):
                sync_folder(folder)
            for done, (path, file) in enumerate(release.files.items()):
                _compare(writing / path.removeprefix(f"{FOLDER}/"), file.bytes, file.sha256)
                progress(0.5 + (done + 1) / (2 * len(release.files)))
            if final.exists():
                final.rename(old)
                sync_folder(stick)
            writing.rename(final)
            sync_folder(stick)
        except BaseException:
            if not _there(final) and _there(old):
                old.rename(final)
            shutil.rmtree(writing, ignore_errors=True)
            raise
        # The new content is in its place: what is left of the old one goes with the next writing.
        shutil.rmtree(old, ignore_errors=True)
        sync_folder(stick)


def recover(stick: pathlib.Path) -> None:
    """Brings a stick into order whose writing was cut off: the old content back if there is no new one, and no remains."""
    with _told(stick):
        if _there(stick / OLD) and not _there(stick / FOLDER):
            (stick / OLD).rename(stick / FOLDER)
        for name in (OLD, WRITING):
            if _there(stick / name):
                shutil.rmtree(stick / name)


def _write(path: pathlib.Path, content: bytes | pathlib.Path, sha256: str) -> None:
    """A new file; never through a link."""
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o644), "wb") as out:
        if isinstance(content, bytes):
            digest.update(content)
            out.write(content)
        else:
            with content.open("rb") as source:
                while data := source.read(CHUNK_BYTES):
                    digest.update(data)
                    out.write(data)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != sha256:
        raise InputError(f"{path.name}: the bundle has changed since it was signed; write the stick again")


def _compare(path: pathlib.Path, size: int, sha256: str) -> None:
    """Reads back from the stick itself where the system allows, not from memory."""
    digest, length = hashlib.sha256(), 0
    with path.open("rb") as stream:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while data := stream.read(CHUNK_BYTES):
            digest.update(data)
            length += len(data)
    if (length, digest.hexdigest()) != (size, sha256):
        raise EdgeError(f"{path}: the stick gives back other than what was written; take another stick")


def _mode(path: pathlib.Path) -> int | None:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _there(path: pathlib.Path) -> bool:
    return _mode(path) is not None


@contextlib.contextmanager
def _told(stick: pathlib.Path) -> collections.abc.Iterator[None]:
    """What the file system complains of, in one line."""
    try:
        yield
    except EdgeError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(f"{stick}: is full; what was on it is as before: delete something on it, or take a larger stick") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise InputError(f"{stick}: cannot be written ({why}); look for a switch on the stick, and at who owns the folder") from error
        raise EdgeError(f"{stick}: failed ({why}); plug the stick in again, and write it anew") from error
