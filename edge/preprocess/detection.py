"""From the detector's raw grids to faces in frame pixels: decoding and non-maximum suppression."""

from __future__ import annotations

import collections.abc
import dataclasses

import numpy as np

from edge.preprocess.image import Letterbox, letterbox

Run = collections.abc.Callable[[np.ndarray], collections.abc.Mapping[str, np.ndarray]]
"""The network: float32 (height, width, 1) in [-1, 1] -> its outputs by name."""


@dataclasses.dataclass(frozen=True)
class DetectorParameters:
    """How a detector's numbers read, and how sure it must be; stored in the bundle."""

    height_px: int = 120
    width_px: int = 160
    strides_px: tuple[int, ...] = (8, 16)
    """Pixels from cell to cell, per grid; outputs are named ``scores_<stride>`` and ``boxes_<stride>``."""
    sides_px: tuple[float, ...] = (24.0, 72.0)
    """Side of the square that a box output of 0 means, per grid."""
    reach_cells: float = 2.0
    """How far from a cell's middle the largest offset (1.0) points, in cells."""
    reach_octaves: float = 1.5
    """How many doublings of the side the largest size (1.0) means."""
    score_at_least: float = 0.4
    overlap_at_most: float = 0.3
    """Intersection over union above which the weaker of two faces is dropped."""
    most_faces: int = 16
    dim_below: float = 80.0
    """Mean luma, 0..255, to which darker frames are multiplied up."""
    most_gain: float = 4.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides_px", tuple(self.strides_px))
        object.__setattr__(self, "sides_px", tuple(self.sides_px))
        if len(self.strides_px) != len(self.sides_px) or not self.strides_px:
            raise ValueError(f"DetectorParameters: {len(self.strides_px)} strides for {len(self.sides_px)} sides; give one side per grid")

    def cells(self, stride_px: int) -> tuple[int, int]:
        """Rows and columns of a grid: what is left of the frame counts as a cell."""
        return -(-self.height_px // stride_px), -(-self.width_px // stride_px)


def decode(parameters: DetectorParameters, outputs: collections.abc.Mapping[str, np.ndarray]) -> np.ndarray:
    """Squares of every cell that is sure enough, strongest first, not yet thinned.

    For the cell in row ``r``, column ``c`` of the grid of stride ``S`` with outputs ``score``, ``(u, v, w)``::

        x = (c + 1/2) S + u S reach_cells,  y = (r + 1/2) S + v S reach_cells,  side = sides_px 2^(w reach_octaves)

    Args:
        parameters: of the detector that made the outputs.
        outputs: ``scores_S`` (rows, columns, 1) in [0, 1] and ``boxes_S`` (rows, columns, 3) in [-1, 1], per stride.

    Returns:
        float32 (n, 5): x0, y0, x1, y1 in input pixels, score.
    """
    found = []
    for stride, base in zip(parameters.strides_px, parameters.sides_px, strict=True):
        scores, boxes = outputs[f"scores_{stride}"][..., 0], outputs[f"boxes_{stride}"]
        if scores.shape != parameters.cells(stride) or boxes.shape != (*scores.shape, 3):
            got, want = (scores.shape, boxes.shape), parameters.cells(stride)
            raise ValueError(f"decode: grid {stride} has shapes {got}, not {want} cells; model and parameters differ")
        sure = np.flatnonzero(scores >= parameters.score_at_least)
        if not len(sure):
            continue
        rows, columns = np.divmod(sure, scores.shape[1])
        u, v, w = boxes[rows, columns].T
        x = (columns + 0.5 + u * parameters.reach_cells) * stride
        y = (rows + 0.5 + v * parameters.reach_cells) * stride
        half = base / 2 * np.exp2(w * parameters.reach_octaves)
        found.append(np.stack([x - half, y - half, x + half, y + half, scores[rows, columns]], axis=1))
    if not found:
        return np.zeros((0, 5), np.float32)
    every = np.concatenate(found).astype(np.float32)
    return every[np.argsort(-every[:, 4], kind="stable")]


def overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, (n, m), of boxes (n, >=4) with others (m, >=4); 0 where both are empty."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:4], others[None, :, 2:4])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas, other_areas = (np.prod(np.maximum(b[:, 2:4] - b[:, :2], 0.0), axis=1) for b in (boxes, others))
    return shared / np.maximum(areas[:, None] + other_areas[None, :] - shared, 1e-9)


def suppress(boxes: np.ndarray, *, overlap_at_most: float, most: int) -> np.ndarray:
    """Non-maximum suppression that blends: each face kept is the mean, weighted by score, of the boxes that it beats.

    Blending steadies the box from frame to frame (Bazarevsky et al., 2019, section 3.3).

    Args:
        boxes: float32 (n, 5), strongest first.
        overlap_at_most: intersection over union that two kept faces may have.
        most: how many to keep.

    Returns:
        float32 (k, 5), strongest first.
    """
    # Plain numbers: for the handful of boxes that a frame has, numpy's calls cost more than the arithmetic.
    kept: list[tuple[float, ...]] = []
    left: list[list[float]] = boxes.tolist()
    while left and len(kept) < most:
        first = left[0]
        near, rest = [first], []
        for box in left[1:]:
            shared = _shared(first, box)
            if shared <= overlap_at_most:
                rest.append(box)
            elif shared > 0.5:  # blend only with near twins: a loose match that is merely dropped must not pull the box
                near.append(box)
        weights = [max(box[4], 1e-6) for box in near]
        total = sum(weights)
        mean = [sum(weight * box[side] for weight, box in zip(weights, near, strict=True)) / total for side in range(4)]
        kept.append((*mean, first[4]))
        left = rest
    return np.array(kept, np.float32).reshape(-1, 5)


def _shared(box: collections.abc.Sequence[float], other: collections.abc.Sequence[float]) -> float:
    """``overlap`` of two boxes."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    shared = width * height
    areas = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / max(areas - shared, 1e-9)


def prepare(parameters: DetectorParameters, frame: np.ndarray) -> tuple[np.ndarray, Letterbox]:
    """What the network sees of a frame, and where the frame lies in it.

    Dim frames are multiplied up, so that a dark room costs noise but no contrast.

    Args:
        parameters: of the detector.
        frame: uint8 (h, w).

    Returns:
        float32 (height_px, width_px, 1) in [-1, 1], bars at 0; and the place.
    """
    image, place = letterbox(frame, parameters.height_px, parameters.width_px, fill=127.5)
    inside = place.inside(image)
    mean = float(inside.mean())
    if mean < parameters.dim_below:
        inside *= min(parameters.dim_below / max(mean, 1.0), parameters.most_gain)
        np.minimum(inside, 255.0, out=inside)
    return (image / 127.5 - 1.0)[..., None], place


Store = collections.abc.Callable[[np.ndarray], np.ndarray]
"""Numbers in [-1, 1] -> as the network's input tensor stores them."""


def prepare_stored(parameters: DetectorParameters, frame: np.ndarray, store: Store) -> tuple[np.ndarray, Letterbox] | None:
    """What ``prepare`` gives, as ``store`` stores it, bit for bit, by a table over sums of whole pixels: a tenth of the work.

    Args:
        parameters: of the detector.
        frame: uint8 (h, w).
        store: of the network's input.

    Returns:
        (height_px, width_px, 1) in the stored type, and the place; None for frames that are not a whole number of times as large.
    """
    rows, columns = frame.shape
    p = parameters
    if rows % p.height_px or columns % p.width_px or rows // p.height_px != columns // p.width_px:
        return None
    times = rows // p.height_px
    if times == 1:
        total = frame
    else:
        total = frame[::times].astype(np.uint32 if times > 15 else np.uint16)
        for i in range(1, times):
            total += frame[i::times]
        narrow = total[:, ::times].copy()
        for i in range(1, times):
            narrow += total[:, i::times]
        total = narrow
    image = np.arange(255 * times * times + 1, dtype=np.float32) / np.float32(times * times)
    mean = float(np.add.reduce(total, axis=None, dtype=np.int64)) / (total.size * times * times)
    if mean < p.dim_below:
        image *= min(p.dim_below / max(mean, 1.0), p.most_gain)
        np.minimum(image, 255.0, out=image)
    return store(image / 127.5 - 1.0).take(total)[..., None], Letterbox(1.0 / times, 0, 0, p.height_px, p.width_px)


class Detector:
    """A network and its parameters as one call: uint8 frame (h, w) -> float32 (n, 5) x0, y0, x1, y1, score in frame pixels.

    Boxes are squares in the convention of FER2013 tiles; they may reach outside the frame.

    Args:
        parameters: how to read it.
        run: the network; takes its input stored, too, where ``store`` is given.
        store: of a network of integers; None for one of floats.
    """

    def __init__(self, parameters: DetectorParameters, run: Run, store: Store | None = None):
        self.parameters, self._run, self._store = parameters, run, store

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        stored = None if self._store is None else prepare_stored(self.parameters, frame, self._store)
        image, place = stored or prepare(self.parameters, frame)
        boxes = decode(self.parameters, self._run(image))
        boxes = suppress(boxes, overlap_at_most=self.parameters.overlap_at_most, most=self.parameters.most_faces)
        boxes[:, :4] = place.to_frame(boxes[:, :4])
        return boxes
