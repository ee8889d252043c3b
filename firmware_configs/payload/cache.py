"""Where downloads are kept, so that nothing is fetched twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import tempfile
import typing

from edge.errors import InputError
from firmware_configs.unpack import told_if_full


def cache_folder(*names: str) -> pathlib.Path:
    """A folder below $XDG_CACHE_HOME/affectkit, or ~/.cache/affectkit; made if it is not there."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = base.joinpath("affectkit", *names)
    try:
        with told_if_full(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: cannot be made: {error.strerror or error}; set XDG_CACHE_HOME to a folder that can") from error
    return folder


def sha256_of(path: pathlib.Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_cached(path: pathlib.Path, sha256: str) -> bool:
    """Whether the file is there and whole."""
    return path.is_file() and sha256_of(path) == sha256


@contextlib.contextmanager
def folder_for(parent: pathlib.Path, prefix: str) -> typing.Iterator[pathlib.Path]:
    """A folder to work in on the same disk as ``parent``, gone at the end."""
    with tempfile.TemporaryDirectory(prefix=f".{prefix}-", dir=parent, ignore_cleanup_errors=True) as name:
        yield pathlib.Path(name)
