"""FER2013: grey faces from the web, seven expressions, no names of people."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from convert.training.datasets import require
from edge.errors import InputError

FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER_SIZE_PX = 48


@dataclasses.dataclass(frozen=True)
class Faces:
    """Grey faces: ``images`` uint8 (n, 48, 48), ``labels`` int64 (n,) into ``FER_CLASSES``."""

    images: np.ndarray
    labels: np.ndarray


def fer2013(data: pathlib.Path, split: str) -> Faces:
    """FER2013 (Goodfellow et al., 2013) from its mosaic; duplicates across splits dropped, and for
    training also the pictures that carry two different labels.

    Args:
        data: folder that holds ``fer2013/``.
        split: ``Training`` or ``PublicTest``.
    """
    from PIL import Image

    folder = require(data / "fer2013", "the FER2013 set")
    with np.load(require(folder / f"{split}_labels.npz", "the label file")) as table:
        labels = table["labels"].astype(np.int64)
        drop = table["dup_in_other_split"].astype(bool)
        if split == "Training":
            drop = drop | table["label_conflict"].astype(bool)
    with Image.open(require(folder / f"{split}.png", "the mosaic")) as picture:
        mosaic = np.asarray(picture.convert("L"))
    rows, columns = mosaic.shape[0] // FER_SIZE_PX, mosaic.shape[1] // FER_SIZE_PX
    if rows * columns < len(labels):
        raise InputError(f"{folder}/{split}.png: {rows * columns} faces for {len(labels)} labels; fetch the set again")
    tiles = mosaic.reshape(rows, FER_SIZE_PX, columns, FER_SIZE_PX).swapaxes(1, 2).reshape(-1, FER_SIZE_PX, FER_SIZE_PX)
    keep = ~drop
    return Faces(tiles[: len(labels)][keep].copy(), labels[keep])
