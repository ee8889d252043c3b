"""Loaders for the public sets, a file each: every loader checks what it finds and names what is missing.

Each returns arrays with a ``person`` column where the set names people, because every split in this project is by person.
``survey_*`` beside a loader says what is there without reading it all, for ``affectkit data``.
"""

from __future__ import annotations

import collections.abc
import csv
import dataclasses
import pathlib

from edge.errors import InputError


@dataclasses.dataclass(frozen=True)
class Found:
    """A set that is there and lacks nothing that it lists itself."""

    samples: int
    unit: str
    """What a sample is: pictures, clips, videos, recordings."""
    classes: int
    people: int | None
    """None where the set names nobody."""
    note: str
    """The layout that was found, and how much of what was published it is."""


def require(path: pathlib.Path, what: str) -> pathlib.Path:
    """Return ``path`` if it exists; otherwise say which part of the data is missing."""
    if not path.exists():
        raise InputError(f"{path}: {what} is missing; point --data at the folder that holds it")
    return path


def set_folder(data: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path:
    """Where a set lies in ``data``: the first of ``names`` that is there, in any case; ``data / names[0]`` if none is."""
    for name in names:
        if (data / name).is_dir():
            return data / name
    wanted = {name.lower() for name in names}
    if data.is_dir():
        for path in sorted(data.iterdir()):
            if path.name.lower() in wanted and path.is_dir():
                return path
    return data / names[0]


def files_in(folder: pathlib.Path, pattern: str, suffixes: tuple[str, ...]) -> list[pathlib.Path]:
    """Files that match, sorted; hidden ones (``._name``, left by macOS) are left out."""
    return sorted(
        path for path in folder.glob(pattern) if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def read_table(path: pathlib.Path, columns: collections.abc.Collection[str], what: str = "the label file") -> list[dict[str, str]]:
    """Rows of a CSV with a header line, blanks around names and values dropped.

    Raises:
        InputError: no such file, not a table of text, no rows, a column is not there, or a row is short.
    """
    require(path, what)
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            header = [name.strip() for name in next(reader, [])]
            raw = [row for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of text ({error}); fetch it again") from None
    if not raw or not set(columns) <= set(header):
        raise InputError(f"{path}: needs rows with the columns {', '.join(sorted(columns))}; fetch the set again")
    for number, row in enumerate(raw, 2):
        if len(row) < len(header):
            raise InputError(f"{path}: line {number} has {len(row)} of {len(header)} values; fetch it again")
    return [dict(zip(header, (value.strip() for value in row), strict=False)) for row in raw]


def listing(names: collections.abc.Iterable[object], limit: int = 3) -> str:
    """ "a, b, c and 12 more": enough to find them by."""
    words = [str(name) for name in names]
    shown = ", ".join(words[:limit])
    return f"{shown} and {len(words) - limit} more" if len(words) > limit else shown
