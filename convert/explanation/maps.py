"""Where in a window the answer comes from: parts of it are removed one after the other, and the answer asked for each time.

Occlusion sensitivity (Zeiler & Fergus 2014, section 4.2): no gradient is needed, so it is the int8 model of the device that is asked.
A part is worth what the probability of the label drops by without it; below 0 it spoke against the label.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import typing

import numpy as np

from convert.explanation.decider import Decider
from edge.types import Modality

PATCH_SHARE = 0.25
"""Side of the patch that slides over the face, of the face's."""
FACE_CELLS = 48
"""The face map has at most this many cells each way ..."""
FACE_BLOCKS = 12
"""... and so many blocks."""
CHECK_SHARE = 0.2
"""Of the blocks that can be removed at all, so many are removed in the deletion check."""
RANDOM_DRAWS = 100
WEAK_SHARE, SURE_SHARE = 0.2, 0.05
"""Of the draws: a map is weak if no more of them cost more than its own blocks, and believed if no more than the smaller share do."""
SHUFFLES = 3


Region = tuple[slice, slice]
"""A rectangle of a window (height, width, ...)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """What is removed for each cell of a map, and blocks that do not overlap, for the deletion check."""

    rows: int
    columns: int
    regions: tuple[Region, ...]
    """One a cell, row by row."""
    block_rows: int
    block_columns: int
    blocks: tuple[Region, ...]

    def block_worths(self, worths: np.ndarray) -> np.ndarray:
        """float64 (blocks,): the mean of a map (rows, columns) over each block."""
        strips = np.array_split(worths, self.block_rows, axis=0)
        return np.array([part.mean() for strip in strips for part in np.array_split(strip, self.block_columns, axis=1)])


def strips(length: int, count: int) -> list[slice]:
    """``length`` cut into ``count`` parts as even as whole numbers allow, as ``numpy.array_split`` does."""
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(length), count)])
    return [slice(int(begin), int(end)) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def parts(height: int, width: int, rows: int, columns: int) -> Grid:
    """A window cut into rows x columns blocks, as even as whole numbers allow; each is a cell and a block."""
    regions = tuple((y, x) for y in strips(height, rows) for x in strips(width, columns))
    return Grid(rows, columns, regions, rows, columns, regions)


def sliding(size: int) -> Grid:
    """A square patch of ``PATCH_SHARE`` that slides over a square of ``size`` px: a cell is where its middle is, cut off at the edges."""
    stride = -(-size // FACE_CELLS)
    half, count = PATCH_SHARE * size / 2, -(-size // stride)
    middles = [min((cell + 0.5) * stride, size - 0.5) for cell in range(count)]
    begins = [math.floor(middle - half + 0.5) for middle in middles]  # round would go to even, and take every other place twice
    near = [slice(max(0, begin), min(size, begin + max(1, round(2 * half)))) for begin in begins]
    blocks = min(FACE_BLOCKS, count)
    # Along the same lines as the means of ``block_worths``.
    lines = [slice(strip.start * stride, min(strip.stop * stride, size)) for strip in strips(count, blocks)]
    return Grid(count, count, tuple((y, x) for y in near for x in near), blocks, blocks, tuple((y, x) for y in lines for x in lines))


def without(window: np.ndarray, regions: collections.abc.Iterable[Region], fill: float) -> np.ndarray:
    """A copy of ``window`` (height, width, ...) with ``fill`` in ``regions``."""
    changed = window.copy()
    for region in regions:
        changed[region] = fill
    return changed


Verdict = typing.Literal["points", "weak", "chance", "flat", "empty"]
"""Of a map: it points at more than chance does; so it does, but not surely; it does not; no part of the window changes the answer by
a step of int8; there is nothing in the window that could be removed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Check:
    """What speaks for a map and against it."""

    direction: int
    """1 where the largest cell speaks for the label, -1 where it speaks against it: those blocks are removed that do."""
    drop_top: float
    """What the probability drops by without the blocks that the map ranks first ..."""
    drop_random: tuple[float, ...]
    """... and without as many others, drawn by chance, once for each draw (Samek et al. 2017)."""
    removed: int
    of: int
    """Blocks removed, of how many whose removal changes anything."""
    likeness: float | None
    """Mean size of the rank correlation with the maps of ``shuffled``; None where a map is flat."""
    shuffled: np.ndarray
    """float64 (rows, columns): the map if the fusion got the embedding's numbers in another order (after Adebayo et al. 2018)."""

    step: float
    """What one step of int8 is worth here: nothing below it can be told."""
    largest: float
    """Size of the largest cell of the map."""

    @property
    def costlier(self) -> int:
        """Draws that cost more, or gain more where ``direction`` is -1, than the blocks of the map."""
        return sum(self.direction * drop > self.direction * self.drop_top for drop in self.drop_random)

    @property
    def verdict(self) -> Verdict:
        """What the map is good for."""
        least = max(self.step, 1e-6)
        if not self.drop_random:
            return "empty"
        if max(self.largest, abs(self.drop_top)) < least:
            return "flat"
        top, mean = self.direction * self.drop_top, self.direction * float(np.mean(self.drop_random))
        if top < least or top - mean < least or self.costlier > WEAK_SHARE * len(self.drop_random):
            return "chance"
        return "weak" if self.costlier > SURE_SHARE * len(self.drop_random) else "points"


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """Worth of each cell, float64 (rows, columns), in probability."""

    worths: np.ndarray
    check: Check


class Asked:
    """The encoder of one modality at one moment: what the decision would have been with another window."""

    def __init__(self, decider: Decider, modality: Modality):
        self._decider, self._modality = decider, modality
        self._encoded = decider.moment.encoded[modality]
        self.window = self._encoded.window
        self.step = decider.step

    def embedding(self, window: np.ndarray) -> np.ndarray:
        """float32 (width,) of a window."""
        return self._encoded.model.run(**{self._encoded.input_name: window})["embedding"]

    def of_embedding(self, vector: np.ndarray) -> float:
        """Probability of the label with another embedding."""
        return float(self._decider.with_embedding(self._modality, vector)[self._decider.at])

    def __call__(self, window: np.ndarray) -> float:
        """Probability of the label with another window."""
        return self.of_embedding(self.embedding(window))


def occlusion(asked: Asked, grid: Grid, fill: float, random: np.random.Generator) -> Map:
    """The map of a window, and whether it can be believed.

    Args:
        asked: the encoder and the decision behind it.
        grid: what is removed.
        fill: what stands in its place: grey, silence, the person's usual value.
        random: draws blocks and orders.
    """
    window, shape = asked.window, (grid.rows, grid.columns)
    whole = asked.embedding(window)
    vectors = [asked.embedding(without(window, [region], fill)) for region in grid.regions]
    worths = _drops(asked, whole, vectors).reshape(shape)
    orders = [random.permutation(len(whole)) for _ in range(SHUFFLES)]
    shuffled = [_drops(asked, whole[order], [vector[order] for vector in vectors]).reshape(shape) for order in orders]
    likenesses = [like for other in shuffled if (like := rank_correlation(worths, other)) is not None]
    likeness = float(np.mean(np.abs(likenesses))) if likenesses else None
    direction = 1 if worths.max() >= -worths.min() else -1
    top, draws, of = _deleted(asked, grid, fill, direction * worths, random)
    removed = max(1, round(CHECK_SHARE * of)) if of else 0
    return Map(worths, Check(direction, top, draws, removed, of, likeness, shuffled[0], asked.step, float(np.abs(worths).max())))


def _drops(asked: Asked, whole: np.ndarray, vectors: collections.abc.Iterable[np.ndarray]) -> np.ndarray:
    base = asked.of_embedding(whole)
    return np.array([base - asked.of_embedding(vector) for vector in vectors])


def _deleted(
    asked: Asked, grid: Grid, fill: float, worths: np.ndarray, random: np.random.Generator
) -> tuple[float, tuple[float, ...], int]:
    """Drops without the blocks that ``worths`` has highest and without as many drawn by chance, and how many blocks can be removed."""
    window, base = asked.window, asked(asked.window)
    # What is filled already, such as the silence before a voice, can be removed without loss: it would flatter the map.
    able = np.array([place for place, block in enumerate(grid.blocks) if (window[block] != fill).any()], int)
    if not len(able):
        return 0.0, (), 0
    count = max(1, round(CHECK_SHARE * len(able)))

    def drop(places: np.ndarray) -> float:
        return base - asked(without(window, [grid.blocks[place] for place in places], fill))

    order = np.argsort(-grid.block_worths(worths)[able], kind="stable")
    draws = tuple(drop(random.choice(able, count, replace=False)) for _ in range(RANDOM_DRAWS))
    return drop(able[order[:count]]), draws, len(able)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's, with mean ranks for ties; None where all values of one are the same."""
    ranks = [_ranks(values.ravel()) for values in (one, other)]
    if any(rank.std() == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[place]
