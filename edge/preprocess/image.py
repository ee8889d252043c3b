"""Resize and crop by area averaging: every output pixel is the mean of what it covers, so nothing aliases.

The filter is separable: ``out = Wy @ image @ Wx.T`` with one row of weights per output pixel. Output pixel ``i`` of ``n``
over the interval ``[start, stop)`` averages the input over the ``max(step, 1)`` pixels around its centre, with
``step = (stop - start) / n``. So for ``step >= 1`` the output pixels tile the interval (box filter, equal to Pillow's ``BOX``
where ``step`` is a whole number); for ``step < 1`` the same equation is linear interpolation. Outside the image its
edge goes on.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np


@functools.lru_cache(maxsize=32)
def _whole(size_in: int, size_out: int) -> np.ndarray:
    return area_weights(size_in, size_out, 0.0, float(size_in))


def area_weights(size_in: int, size_out: int, start: float, stop: float) -> np.ndarray:
    """Weights of a one-dimensional area average.

    Args:
        size_in: input pixels; pixel ``j`` covers ``[j, j + 1)``.
        size_out: output pixels over ``[start, stop)``.
        start, stop: the interval in input pixels, ``start < stop``; may reach outside the input.

    Returns:
        float32 (size_out, size_in); each row sums to 1.
    """
    if size_in < 1 or size_out < 1 or not start < stop:
        raise ValueError(f"area_weights: {size_in} -> {size_out} pixels over [{start}, {stop}); sizes and interval must be positive")
    step = (stop - start) / size_out
    width = max(step, 1.0)
    centre = _middles(size_out) * step + start
    # Overlap of an interval with a pixel: how much less their centres are apart than their half widths together, 0 to 1. In place,
    # for this is where a crop's time goes.
    weights = np.subtract.outer(centre, _middles(size_in))
    np.abs(weights, out=weights)
    np.subtract((width + 1.0) / 2, weights, out=weights)
    np.maximum(weights, 0.0, out=weights)
    np.minimum(weights, 1.0, out=weights)
    if centre[0] - width / 2 < 0.0 or centre[-1] + width / 2 > size_in:  # the edge pixels go on for ever
        weights[:, 0] += np.clip(width / 2 - centre, 0.0, width)
        weights[:, -1] += np.clip(centre + width / 2 - size_in, 0.0, width)
    weights *= 1.0 / width
    return weights.astype(np.float32)


@functools.lru_cache(maxsize=512)
def _middles(count: int) -> np.ndarray:
    return np.arange(0.5, count)


def resize_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Whole image (h, w) of any number type -> float32 (height, width), same mean where sizes divide.

    The weights of a shape are kept, and whole-number reductions take sums of slices instead: 640x480 to 160x120 then costs
    half a million additions, not 50 million multiplications.
    """
    rows, columns = image.shape
    if rows % height == 0 and columns % width == 0:
        return _reduce(image, rows // height, columns // width)
    return _whole(rows, height) @ image.astype(np.float32) @ _whole(columns, width).T


def _reduce(image: np.ndarray, down: int, across: int) -> np.ndarray:
    if down == across == 1:
        return image.astype(np.float32)
    total = image[::down].astype(np.float32)
    for i in range(1, down):
        np.add(total, image[i::down], out=total)
    result = total[:, ::across].copy()
    for i in range(1, across):
        np.add(result, total[:, i::across], out=result)
    return result / np.float32(down * across)


def crop_area(image: np.ndarray, box: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """The part of an image inside a box, at a given size.

    Args:
        image: (h, w), any number type.
        box: x0, y0, x1, y1 in pixels, fractions allowed; outside the image its edge goes on.
        height, width: of the result.

    Returns:
        float32 (height, width), in the units of ``image``.
    """
    x0, y0, x1, y1 = box
    rows, columns = image.shape
    # one pixel more on each side than the box: interpolation looks that far
    top, bottom = _span(y0, y1, rows)
    left, right = _span(x0, x1, columns)
    down = area_weights(bottom - top, height, y0 - top, y1 - top)
    across = area_weights(right - left, width, x0 - left, x1 - left)
    return down @ image[top:bottom, left:right].astype(np.float32) @ across.T


def _span(start: float, stop: float, size: int) -> tuple[int, int]:
    """Pixels of an axis that a box needs; at least one, for a box wholly outside."""
    first = min(max(int(np.floor(start)) - 1, 0), size - 1)
    last = max(min(int(np.ceil(stop)) + 1, size), first + 1)
    return first, last


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """Where a frame went inside a network's input: ``input = frame * scale + (left, top)``, in pixels."""

    scale: float
    left: int
    top: int
    height: int
    width: int

    def to_frame(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) x0, y0, x1, y1 of the input -> the same in the frame."""
        return (boxes - np.array([self.left, self.top, self.left, self.top], np.float32)) / np.float32(self.scale)

    def inside(self, image: np.ndarray) -> np.ndarray:
        """The part of the input that shows the frame: a view, no copy."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def letterbox(frame: np.ndarray, height: int, width: int, *, fill: float) -> tuple[np.ndarray, Letterbox]:
    """A frame, as large as it fits without distortion, in the middle of a (height, width) float32 image filled with ``fill``."""
    rows, columns = frame.shape
    scale = min(height / rows, width / columns)
    inner_height, inner_width = max(1, round(rows * scale)), max(1, round(columns * scale))
    place = Letterbox(scale, (width - inner_width) // 2, (height - inner_height) // 2, inner_height, inner_width)
    result = np.full((height, width), fill, np.float32)
    place.inside(result)[:] = resize_area(frame, inner_height, inner_width)
    return result, place
