"""FERPlus: FER2013's pictures, each judged by ten people: eight expressions, as shares of their votes."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from convert.training.datasets import Found, listing, read_table, require, set_folder
from convert.training.datasets.fer2013 import FER_FOLDERS, FER_SIZE_PX, FER_SPLITS, Faces, in_other_split, read_grey, read_tiles
from edge.errors import InputError

FERPLUS_CLASSES = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
"""The columns of votes, in their order, in FER2013's words."""
FERPLUS_FOLDERS = ("ferplus", "FERPlus-master", "fer+")
_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
_TREE = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


@dataclasses.dataclass(frozen=True)
class Votes:
    """Faces with shares of votes: ``images`` uint8 (n, 48, 48), ``shares`` float32 (n, 8) that add up to 1.

    ``majority`` int64 (n,) is into ``FERPLUS_CLASSES``, or -1 where no expression has more than half of the votes.
    """

    images: np.ndarray
    shares: np.ndarray
    majority: np.ndarray

    def faces(self) -> Faces:
        """Those with a majority alone, with hard labels."""
        keep = self.majority >= 0
        return Faces(self.images[keep], self.majority[keep], classes=FERPLUS_CLASSES)


def judge(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What ten people's votes say (Barsoum et al., 2016, section 3, and the rule of majority in the authors' code).

    An expression with a single vote is dropped as a slip. A picture is dropped if nothing is left, or if as many voted "unknown"
    or "no face" (NF) as for any expression. The majority is the expression with more than half of what is left, "unknown" and
    "no face" counted; the shares are of the eight expressions alone (interpretation: the authors' code cuts rare ones further).

    Args:
        votes: (n, 10) in the order of the file: eight expressions, unknown, NF.

    Returns:
        ``keep`` bool (n,); ``shares`` float32 (n, 8); ``majority`` int64 (n,), -1 for none. Rows not kept are zeros and -1.
    """
    counts = np.where(votes > 1, votes, 0).astype(np.float64)
    best, other, total = counts[:, :8].max(axis=1), counts[:, 8:].max(axis=1), counts[:, :8].sum(axis=1)
    keep = (best > 0) & (best > other)
    shares = np.where(keep[:, None], counts[:, :8] / np.maximum(total, 1)[:, None], 0.0).astype(np.float32)
    majority = np.where(keep & (best > 0.5 * counts.sum(axis=1)), counts[:, :8].argmax(axis=1), -1)
    return keep, shares, majority.astype(np.int64)


def ferplus(data: pathlib.Path, split: str) -> Votes:
    """FERPlus (Barsoum et al., 2016): votes joined with the pictures; duplicates across splits dropped.

    Two layouts: ``ferplus/fer2013new.csv`` with ``fer2013/fer2013.csv`` (their rows belong together by order alone, so no other
    copy of FER2013 will do); or the folders that the authors' script makes, ``FER2013Train/label.csv`` with
    ``fer0000000.png`` and so on, ``FER2013Valid`` (PublicTest), ``FER2013Test`` (PrivateTest).

    Args:
        data: folder that holds ``ferplus/`` and ``fer2013/``.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``.

    Raises:
        InputError: a part is missing or damaged, or the two tables are not of one order.
    """
    if split not in FER_SPLITS:
        raise InputError(f"ferplus: no split {split!r}; there are {', '.join(FER_SPLITS)}")
    votes, pictures = _parts(data)
    if pictures.is_dir():
        images, counts, usage = _tree(pictures)
    else:
        images, counts, usage = _tables(votes, pictures)
    keep, shares, majority = judge(counts)
    keep &= (usage == split) & ~in_other_split(images, usage)
    if not keep.any():
        raise InputError(f"{pictures}: no {split} in it, only {listing(sorted(set(usage)))}; fetch the set again")
    return Votes(images[keep], shares[keep], majority[keep])


def _parts(data: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """(table of votes, table of pixels), or twice the folder that holds ``FER2013Train``."""
    fer = set_folder(data, FER_FOLDERS)
    folder = set_folder(data, FERPLUS_FOLDERS)
    if not folder.exists() and not (fer / "fer2013new.csv").exists():
        require(folder, "the FERPlus set")
    for place in (folder, folder / "data"):
        if any(files.is_dir() and any(files.glob("*.png")) for files in (place / name for name in _TREE.values())):
            return place, place
    votes = next((place / "fer2013new.csv" for place in (folder, fer) if (place / "fer2013new.csv").exists()), folder / "fer2013new.csv")
    require(votes, "the table of votes")
    for place in (fer, folder):
        if (place / "fer2013.csv").exists():
            return votes, place / "fer2013.csv"
    raise InputError(
        f"{fer / 'fer2013.csv'}: missing; the votes belong to its rows by order, and no other copy of FER2013 keeps that order"
    )


def _numbers(where: str, values: list[str]) -> list[int]:
    try:
        numbers = [int(value) for value in values]
    except ValueError:
        numbers = []
    if len(numbers) != len(_COLUMNS) or min(numbers) < 0:
        raise InputError(f"{where} has no {len(_COLUMNS)} counts of votes; fetch it again")
    return numbers


def read_votes(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """(counts int64 (n, 10), usage (n,)) of ``fer2013new.csv``; rows without a picture's name, no faces, have counts of 0."""
    rows = read_table(path, {"Usage", "Image name", *_COLUMNS}, "the table of votes")
    counts = np.array([_numbers(f"{path}: line {i}", [row[name] for name in _COLUMNS]) for i, row in enumerate(rows, 2)], np.int64)
    counts[[not row["Image name"] for row in rows]] = 0
    return counts, np.array([row["Usage"] for row in rows])


def _tables(votes: pathlib.Path, pixels: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts, usage = read_votes(votes)
    tiles = read_tiles(pixels)
    if len(counts) != len(tiles.labels):
        raise InputError(f"{votes}: {len(counts)} rows for {len(tiles.labels)} pictures in {pixels}; fetch both again")
    apart = np.flatnonzero(usage != tiles.usage)
    if len(apart):
        i = int(apart[0])
        raise InputError(f"{votes}: line {i + 2} is of {usage[i]}, that of {pixels} of {tiles.usage[i]}; they are not of one order")
    return tiles.images, counts, usage


def _tree_rows(place: pathlib.Path) -> list[tuple[pathlib.Path, list[int], str]]:
    """(picture, counts, split) of every row of the label files that are there; they have no header line."""
    import csv

    rows = []
    for split, name in _TREE.items():
        if not (place / name).is_dir():
            continue
        with require(place / name / "label.csv", "the label file").open(newline="", encoding="utf-8") as lines:
            for i, row in enumerate(csv.reader(lines), 1):
                counts = _numbers(f"{place / name / 'label.csv'}: line {i}", row[2:])
                rows.append((require(place / name / row[0], "a picture"), counts, split))
    return rows


def _tree(place: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = _tree_rows(place)
    images = np.stack([read_grey(path) for path, _, _ in rows]) if rows else np.zeros((0, FER_SIZE_PX, FER_SIZE_PX), np.uint8)
    return images, np.array([counts for _, counts, _ in rows], np.int64).reshape(-1, 10), np.array([split for _, _, split in rows])


def survey_ferplus(data: pathlib.Path) -> Found:
    """What of FERPlus is here: pictures that its voters call a face with an expression."""
    votes, pictures = _parts(data)
    if pictures.is_dir():
        rows = _tree_rows(pictures)
        counts, layout = np.array([row[1] for row in rows], np.int64).reshape(-1, 10), "folders"
    else:
        counts, layout = read_votes(votes)[0], "fer2013new.csv with fer2013.csv"
        pixels = len(read_table(pictures, {"emotion", "pixels", "Usage"}))
        if pixels != len(counts):
            raise InputError(f"{votes}: {len(counts)} rows for {pixels} pictures in {pictures}; fetch both again")
    keep, _, majority = judge(counts)
    classes = len(np.unique(majority[majority >= 0]))
    return Found(int(keep.sum()), "pictures", classes, None, f"{layout}; {int((majority >= 0).sum())} with a majority")
