"""FER2013: grey faces from the web, seven expressions, no names of people."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import pathlib
import zipfile
import zlib

import numpy as np

from convert.training.datasets import Found, files_in, listing, read_table, require, set_folder
from edge.errors import InputError

FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER_SIZE_PX = 48
FER_SPLITS = ("Training", "PublicTest", "PrivateTest")
FER_FOLDERS = ("fer2013", "fer-2013", "fer_2013")
EXPRESSION_OF = {name: name for name in FER_CLASSES} | {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "happiness": "happy", "sadness": "sad", "surprised": "surprise",
}  # fmt: skip
"""Other words that copies of the set use -> the class."""
_TABLES = ("fer2013.csv", "icml_face_data.csv")
_PICTURES = (".jpg", ".jpeg", ".png")
_PUBLISHED = {"Training": 28709, "PublicTest": 3589, "PrivateTest": 3589}


@dataclasses.dataclass(frozen=True)
class Faces:
    """Grey faces: ``images`` uint8 (n, 48, 48), ``labels`` int64 (n,) into ``classes``."""

    images: np.ndarray
    labels: np.ndarray
    people: np.ndarray | None = None
    """(n,) who is shown; None where the set names nobody, as FER2013."""
    classes: tuple[str, ...] = FER_CLASSES


@dataclasses.dataclass(frozen=True)
class Tiles:
    """All pictures of the set in the order of the file: as ``Faces``, and ``usage`` (n,), the split of each."""

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray

    def faces(self, split: str) -> Faces:
        """A split as ``fer2013`` gives it."""
        keep = (self.usage == split) & ~in_other_split(self.images, self.usage)
        if split == "Training":
            keep &= ~_two_labels(self)
        return Faces(self.images[keep], self.labels[keep])


def fer2013(data: pathlib.Path, split: str) -> Faces:
    """FER2013 (Goodfellow et al., 2013); duplicates across splits dropped, and for training also the
    pictures that carry two different labels.

    Three layouts are known, looked for in this order: mosaics (``Training.png`` with ``Training_labels.npz``); the official
    table (``fer2013.csv`` or ``icml_face_data.csv``: emotion, pixels, Usage); Kaggle's folders (``train/angry/*.jpg``,
    ``test/...``), whose file names tell the public from the private test set (``PublicTest_...``).

    Args:
        data: folder that holds ``fer2013/``.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``; ``test``, of folders whose file names do not tell the two apart.

    Raises:
        InputError: a part is missing, damaged or of another size.
    """
    folder = require(set_folder(data, FER_FOLDERS), "the FER2013 set")
    if (folder / f"{split}_labels.npz").exists() or (folder / f"{split}.png").exists():
        return _mosaic(folder, split)
    table = fer_table(folder)
    if table is not None:
        tiles = read_tiles(table)
    elif (folder / "train").is_dir() or (folder / "test").is_dir():
        tiles = _tree(folder)
    else:
        raise InputError(f"{folder}: no {split} in it: needs {split}.png and {split}_labels.npz, fer2013.csv, or train/ and test/")
    found = tiles.faces(split)
    if not len(found.labels):
        hint = "; its file names do not tell PublicTest from PrivateTest: ask for 'test'" if "test" in tiles.usage else ""
        raise InputError(f"{table or folder}: no {split} in it, only {listing(sorted(set(tiles.usage)))}{hint}")
    return found


def _mosaic(folder: pathlib.Path, split: str) -> Faces:
    from PIL import Image

    labels, drop = _mosaic_labels(folder, split)
    path = require(folder / f"{split}.png", "the mosaic")
    try:
        with Image.open(path) as picture:
            mosaic = np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({error}); fetch the set again") from None
    rows, columns = mosaic.shape[0] // FER_SIZE_PX, mosaic.shape[1] // FER_SIZE_PX
    if rows * columns < len(labels):
        raise InputError(f"{path}: {rows * columns} faces for {len(labels)} labels; fetch the set again")
    tiles = mosaic.reshape(rows, FER_SIZE_PX, columns, FER_SIZE_PX).swapaxes(1, 2).reshape(-1, FER_SIZE_PX, FER_SIZE_PX)
    return Faces(tiles[: len(labels)][~drop].copy(), labels[~drop])


def _mosaic_labels(folder: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    path = require(folder / f"{split}_labels.npz", "the label file")
    try:
        with path.open("rb") as file, np.load(file) as table:
            labels = table["labels"].astype(np.int64)
            drop = table["dup_in_other_split"].astype(bool)
            if split == "Training":
                drop = drop | table["label_conflict"].astype(bool)
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a whole table of labels ({' '.join(str(error).split())}); fetch the set again") from None
    if labels.shape != drop.shape or labels.min(initial=0) < 0 or labels.max(initial=0) >= len(FER_CLASSES):
        raise InputError(f"{path}: {labels.size} labels, {drop.size} flags; needs as many, and labels from 0 to 6; fetch the set again")
    return labels, drop


def fer_table(folder: pathlib.Path) -> pathlib.Path | None:
    """The official table, if it is here."""
    return next((folder / name for name in _TABLES if (folder / name).exists()), None)


def read_tiles(path: pathlib.Path) -> Tiles:
    """The official table, about 300 MB as text: columns emotion (0 to 6), pixels (2304 numbers), Usage.

    Raises:
        InputError: a column is missing, or a row has no 2304 numbers from 0 to 255, no class or no known split.
    """
    rows = read_table(path, {"emotion", "pixels", "Usage"}, "the table of FER2013")
    images, labels = bytearray(), np.empty(len(rows), np.int64)
    for i, row in enumerate(rows):
        try:
            pixels = bytes(map(int, row["pixels"].split()))
            labels[i] = int(row["emotion"])
        except ValueError:
            raise InputError(f"{path}: line {i + 2} holds no numbers from 0 to 255; fetch it again") from None
        if len(pixels) != FER_SIZE_PX**2:
            raise InputError(f"{path}: line {i + 2} has {len(pixels)} pixels, needs {FER_SIZE_PX**2}; fetch it again")
        if not 0 <= labels[i] < len(FER_CLASSES) or row["Usage"] not in FER_SPLITS:
            raise InputError(f"{path}: line {i + 2}: emotion {labels[i]}, Usage {row['Usage']!r}; needs 0 to 6, {', '.join(FER_SPLITS)}")
        images += pixels
    pixels_of = np.frombuffer(bytes(images), np.uint8).reshape(-1, FER_SIZE_PX, FER_SIZE_PX)
    return Tiles(pixels_of, labels, np.array([row["Usage"] for row in rows]))


def _tree(folder: pathlib.Path) -> Tiles:
    listed = _tree_files(folder)
    images = np.stack([read_grey(path) for path, _, _ in listed])
    return Tiles(images, np.array([label for _, label, _ in listed], np.int64), np.array([usage for _, _, usage in listed]))


def _tree_files(folder: pathlib.Path) -> list[tuple[pathlib.Path, int, str]]:
    """(file, class, split) of ``train/angry/Training_3908.jpg`` and the like."""
    listed = []
    for part in ("train", "test"):
        for path in files_in(folder / part, "*/*", _PICTURES):
            word = path.parent.name.lower()
            if word not in EXPRESSION_OF:
                raise InputError(f"{path.parent}: {word!r} is no expression of FER2013; known are {', '.join(FER_CLASSES)}")
            told = path.name.split("_")[0]
            usage = "Training" if part == "train" else told if told in FER_SPLITS[1:] else "test"
            listed.append((path, FER_CLASSES.index(EXPRESSION_OF[word]), usage))
    if not listed:
        raise InputError(f"{folder}: train/ and test/ hold no pictures; needs train/angry/*.jpg and so on")
    return listed


def read_grey(path: pathlib.Path, size_px: int = FER_SIZE_PX, *, resize: bool = False) -> np.ndarray:
    """A picture as uint8 (size_px, size_px); another size is an InputError, or area-averaged if ``resize``."""
    from PIL import Image

    from edge.preprocess.image import resize_area

    try:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({error}); fetch it again") from None
    if grey.shape == (size_px, size_px):
        return grey
    if not resize:
        raise InputError(f"{path}: {grey.shape[1]}x{grey.shape[0]} pixels, needs {size_px}x{size_px}; fetch the set again")
    return np.clip(np.rint(resize_area(grey, size_px, size_px)), 0, 255).astype(np.uint8)


def _digests(images: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]


def in_other_split(images: np.ndarray, usage: np.ndarray) -> np.ndarray:
    """bool (n,): the same pixels are in another split too."""
    digests, splits = _digests(images), collections.defaultdict(set)
    for digest, split in zip(digests, usage, strict=True):
        splits[digest].add(str(split))
    return np.array([len(splits[digest]) > 1 for digest in digests], bool)


def _two_labels(tiles: Tiles) -> np.ndarray:
    """bool (n,): the same pixels are in the same split with another label."""
    digests, labels = _digests(tiles.images), collections.defaultdict(set)
    keys = [(digest, str(split)) for digest, split in zip(digests, tiles.usage, strict=True)]
    for key, label in zip(keys, tiles.labels, strict=True):
        labels[key].add(int(label))
    return np.array([len(labels[key]) > 1 for key in keys], bool)


def survey_fer2013(data: pathlib.Path) -> Found:
    """What of FER2013 is here, as it was published, before duplicates are dropped."""
    folder = require(set_folder(data, FER_FOLDERS), "the FER2013 set")
    counts: collections.Counter[str] = collections.Counter()
    classes: set[int] = set()
    table = fer_table(folder)
    if any((folder / f"{split}_labels.npz").exists() or (folder / f"{split}.png").exists() for split in FER_SPLITS):
        layout = "mosaics"
        for split in FER_SPLITS:
            if (folder / f"{split}_labels.npz").exists() or (folder / f"{split}.png").exists():
                labels, _ = _mosaic_labels(folder, split)
                require(folder / f"{split}.png", "the mosaic")
                counts[split] += len(labels)
                classes |= set(labels.tolist())
    elif table is not None:
        layout = table.name
        for row in read_table(table, {"emotion", "pixels", "Usage"}):
            counts[row["Usage"]] += 1
            classes |= {int(row["emotion"])} if row["emotion"].isdigit() else set()
    else:
        layout = "folders"
        for _, label, usage in _tree_files(folder):
            counts[usage] += 1
            classes.add(label)
        lacking = [f"{part}/" for part in ("train", "test") if not (folder / part).is_dir()]
        lacking += [name for i, name in enumerate(FER_CLASSES) if i not in classes]
        if lacking:
            raise InputError(f"{folder}: {listing(lacking)} not there; fetch the set again")
    parts = [f"{split} {counts[split]} of {of}" for split, of in _PUBLISHED.items() if counts[split] < of and "test" not in counts]
    parts += [f"test {counts['test']} of 7178"] if 0 < counts["test"] < 7178 else []
    return Found(sum(counts.values()), "pictures", len(classes), None, "; ".join([layout, *parts]))
