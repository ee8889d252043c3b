"""Loaders for the public sets, a file each: every loader checks what it finds and names what is missing.

Each returns arrays with a ``person`` column where the set names people, because every split in this project is by person.
"""

from __future__ import annotations

import pathlib

from edge.errors import InputError


def require(path: pathlib.Path, what: str) -> pathlib.Path:
    """Return ``path`` if it exists; otherwise say which part of the data is missing."""
    if not path.exists():
        raise InputError(f"{path}: {what} is missing; point --data at the folder that holds it")
    return path
