"""Frames as cameras lay them out in memory -> luma, and chroma at half its size, in full-range BT.601 and at the size wanted.

Where the camera's size is another one, the middle of the wanted shape is cut out and area-averaged: nothing is ever stretched.
Full range (JFIF): Y, Cb, Cr in 0 to 255, 128 is grey. Limited range (ITU-R BT.601-7, section 2.5.4): Y 16 to 235, Cb and Cr 16 to 240.
"""

from __future__ import annotations

import dataclasses
import io
import typing

import numpy as np

from edge.errors import SensorError
from edge.preprocess.image import area_weights, resize_area

Planes = tuple[np.ndarray, np.ndarray | None]
"""Luma uint8 (height, width), and Cb and Cr uint8 (2, height / 2, width / 2) or None."""

PIXEL_FORMATS: dict[str, float] = {
    **dict.fromkeys(("GREY", "MJPG"), 1.0),
    **dict.fromkeys(("NV12", "NV21", "YU12", "YV12"), 1.5),
    **dict.fromkeys(("YUYV", "UYVY", "YVYU", "VYUY"), 2.0),
}
"""Those that are understood, by their V4L2 names, and the bytes of a pixel (for MJPG, at most about)."""

_PACKED = {"YUYV": (0, 1, 3), "YVYU": (0, 3, 1), "UYVY": (1, 0, 2), "VYUY": (1, 2, 0)}
"""Places of Y, Cb and Cr in the four bytes of two pixels."""

LUMA_601 = (0.299, 0.114)
"""Weights of red and blue in luma (ITU-R BT.601-7, section 2.5.1)."""
LUMA_709 = (0.2126, 0.0722)
"""The same of ITU-R BT.709-6, section 3.2."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a camera lays out its frames.

    Raises:
        SensorError: the format is none of ``PIXEL_FORMATS``, or the size is odd where pixels share chroma.
    """

    pixel_format: str
    width: int
    height: int
    stride: int = 0
    """Bytes from one row of luma (or packed pixels) to the next; 0 if rows follow each other. A chroma plane has half of it."""
    limited: bool = False
    """Limited range; full otherwise. A JPEG is always full."""
    bt709: bool = False
    """Luma and chroma of BT.709; BT.601 otherwise. A JPEG is always BT.601."""

    def __post_init__(self) -> None:
        if self.pixel_format not in PIXEL_FORMATS:
            raise SensorError(f"pixel format {self.pixel_format!r}: not understood; known: {', '.join(PIXEL_FORMATS)}")
        if self.width < 2 or self.height < 2 or (self.pixel_format != "GREY" and (self.width % 2 or self.height % 2)):
            raise SensorError(f"camera frame of {self.width}x{self.height} {self.pixel_format}: both must be even; choose another size")

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return self.stride or self.width * (2 if self.pixel_format in _PACKED else 1)

    def planes(self, buffer: np.ndarray) -> list[np.ndarray]:
        """Y, and Cb and Cr if there are any, of a raw frame uint8 (n,): views, no copies; chroma at the camera's resolution.

        Raises:
            ValueError: the buffer is too short.
        """
        height, width, stride = self.height, self.width, self.row_bytes
        if self.pixel_format in _PACKED:
            pixels = _rows(buffer, 0, height, 2 * width, stride)
            y, cb, cr = _PACKED[self.pixel_format]
            return [pixels[:, y::2], pixels[:, cb::4], pixels[:, cr::4]]
        luma = _rows(buffer, 0, height, width, stride)
        if self.pixel_format == "GREY":
            return [luma]
        begin = stride * height
        if self.pixel_format in ("NV12", "NV21"):
            both = _rows(buffer, begin, height // 2, width, stride)
            first, second = both[:, 0::2], both[:, 1::2]
        else:
            first = _rows(buffer, begin, height // 2, width // 2, stride // 2)
            second = _rows(buffer, begin + stride // 2 * (height // 2), height // 2, width // 2, stride // 2)
        return [luma, first, second] if self.pixel_format in ("NV12", "YU12") else [luma, second, first]


def _rows(buffer: np.ndarray, begin: int, rows: int, row_bytes: int, stride: int) -> np.ndarray:
    """(rows, row_bytes) of a buffer uint8 (n,), without a copy; the padding of the last row may be missing."""
    end = begin + (rows - 1) * stride + row_bytes
    if stride < row_bytes or len(buffer) < end:
        raise ValueError(f"frame of {len(buffer)} bytes with rows of {stride}: {end} bytes with rows of {row_bytes} are needed")
    return np.lib.stride_tricks.as_strided(buffer[begin:end], (rows, row_bytes), (stride, 1), writeable=False)


class Converter:
    """Turns frames into planes of the size wanted.

    Args:
        layout: of the frames.
        width, height: wanted, both even.
        colour: False gives luma alone.
        upside_down: turn by 180 degrees.
    """

    def __init__(self, layout: Layout, width: int, height: int, *, colour: bool = True, upside_down: bool = False):
        self._layout, self._size = layout, (height, width)
        self._colour, self._upside_down = colour, upside_down
        self._fits: dict[tuple[tuple[int, int], tuple[int, int]], _Fit] = {}

    def __call__(self, buffer: np.ndarray) -> Planes:
        """Luma and chroma of one frame uint8 (n,), of which nothing is kept; chroma is None without ``colour`` and of grey frames.

        Raises:
            ValueError: the frame is damaged: too short, or no JPEG.
            SensorError: Pillow, which decodes JPEG, is missing.
        """
        layout = self._layout
        if layout.pixel_format == "MJPG":
            planes, limited, bt709 = self._decoded(buffer), False, False
        else:
            planes, limited, bt709 = layout.planes(buffer), layout.limited, layout.bt709
        if not self._colour and not bt709:
            planes = planes[:1]
        if self._upside_down:
            planes = [plane[::-1, ::-1] for plane in planes]
        height, width = self._size
        luma = self._fitted(planes[0], planes[0].shape, height, width)
        luma = _LUMA_TABLE[luma] if limited else luma
        if len(planes) == 1:
            return luma, None
        chroma = np.stack([self._fitted(plane, planes[0].shape, height // 2, width // 2) for plane in planes[1:]])
        chroma = _CHROMA_TABLE[chroma] if limited else chroma
        if bt709:
            luma, chroma = _to_601(luma, chroma)
        return luma, chroma if self._colour else None

    def _fitted(self, plane: np.ndarray, frame: tuple[int, ...], height: int, width: int) -> np.ndarray:
        key = (plane.shape[0], plane.shape[1]), (height, width)
        if key not in self._fits:
            self._fits[key] = _Fit(key[0], (frame[0], frame[1]), self._size, key[1])
        return self._fits[key](plane)

    def _decoded(self, data: np.ndarray) -> list[np.ndarray]:
        """Y, Cb, Cr of a JPEG, all of its size; at a half, quarter or eighth of it where that is still as large as wanted."""
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError:
            raise SensorError("MJPEG camera: the package Pillow is missing; install it: pip install pillow") from None
        height, width = self._size
        if bytes(data[:2]) != b"\xff\xd8":
            raise ValueError("no JPEG: it does not begin with FF D8")
        try:
            with Image.open(io.BytesIO(data.tobytes()), formats=("JPEG",)) as image:
                if image.size != (self._layout.width, self._layout.height):
                    raise ValueError(f"JPEG of {image.width}x{image.height}: {self._layout.width}x{self._layout.height} was agreed")
                # Scaling in the frequency domain averages areas; the rest of the way is done as for raw frames.
                image.draft("YCbCr" if self._colour else "L", (width, height))
                image.load()
                pixels = np.asarray(image if image.mode in ("L", "YCbCr") else image.convert("YCbCr"))
        except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ValueError(f"damaged JPEG: {error}") from error
        return [pixels] if pixels.ndim == 2 else [pixels[..., k] for k in range(3)]


class _Fit:
    """The middle of a plane, at another size: crop to the shape of ``wanted``, then area average.

    Args:
        plane: its height and width; chroma may be smaller than the frame.
        frame: height and width of its frame's luma.
        wanted: height and width of the frame that is made.
        out: height and width that the plane gets.
    """

    def __init__(self, plane: tuple[int, int], frame: tuple[int, int], wanted: tuple[int, int], out: tuple[int, int]):
        scale = min(frame[0] / wanted[0], frame[1] / wanted[1])
        spans = []
        for k in range(2):
            length = wanted[k] * scale * plane[k] / frame[k]
            spans.append(((plane[k] - length) / 2, (plane[k] + length) / 2))
        (self._top, bottom), (self._left, right) = ((round(a, 6), round(b, 6)) for a, b in spans)
        self._out = out
        self._bottom, self._right = bottom, right
        whole = all(float(edge).is_integer() for edge in (self._top, bottom, self._left, right))
        self._sliced = whole and (bottom - self._top) % out[0] == 0 and (right - self._left) % out[1] == 0
        if not self._sliced:
            self._down = _taps(area_weights(plane[0], out[0], self._top, bottom))
            self._across = _taps(area_weights(plane[1], out[1], self._left, right))

    def __call__(self, plane: np.ndarray) -> np.ndarray:
        """uint8 (h, w) -> uint8, contiguous and never the plane's own memory."""
        if not self._sliced:
            rows = sum(plane[places] * weights[:, None] for places, weights in self._down)
            return _rounded(sum(np.take(rows, places, axis=1) * weights for places, weights in self._across))
        part = plane[int(self._top) : int(self._bottom), int(self._left) : int(self._right)]
        return part.copy(order="C") if part.shape == self._out else _rounded(resize_area(part, *self._out))


def _taps(weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """A band matrix (out, in) as few pairs of places (out,) and weights float32 (out,), for each row's first input, its second, ...

    A row has hardly more inputs than the scale, so this is a hundredth of the work of the matrix product.
    """
    first = (weights > 0).argmax(axis=1)
    width = int((weights > 0).sum(axis=1).max())
    places = np.minimum(first[:, None] + np.arange(width), weights.shape[1] - 1)
    # a place that was pushed back to the edge is another tap's already
    own = first[:, None] + np.arange(width) < weights.shape[1]
    values = np.where(own, np.take_along_axis(weights, places, axis=1), 0.0).astype(np.float32)
    return [(np.ascontiguousarray(places[:, k]), np.ascontiguousarray(values[:, k])) for k in range(width)]


def _rounded(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0.0, 255.0) + 0.5).astype(np.uint8)


_LEVELS = np.arange(256, dtype=np.float64)
_LUMA_TABLE = _rounded((_LEVELS - 16.0) * (255.0 / 219.0))
_CHROMA_TABLE = _rounded((_LEVELS - 128.0) * (255.0 / 224.0) + 128.0)


def _matrix(weights: tuple[float, float]) -> np.ndarray:
    """R, G, B -> Y, Cb, Cr about 0, full range, from the luma weights of red and blue (BT.601-7, section 2.5)."""
    red, blue = weights
    luma = np.array([red, 1.0 - red - blue, blue])
    return np.stack([luma, (np.array([0.0, 0.0, 1.0]) - luma) / (2.0 - 2.0 * blue), (np.array([1.0, 0.0, 0.0]) - luma) / (2.0 - 2.0 * red)])


_601_FROM_709: typing.Final = (_matrix(LUMA_601) @ np.linalg.inv(_matrix(LUMA_709))).astype(np.float32)


def _to_601(luma: np.ndarray, chroma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Full-range BT.709 -> full-range BT.601, for the same red, green and blue."""
    centred = chroma.astype(np.float32) - 128.0
    turned = np.tensordot(_601_FROM_709[:, 1:], centred, 1)
    # luma's own weight is 1 in luma and 0 in chroma: both matrices take grey to grey
    added = turned[0].repeat(2, axis=0).repeat(2, axis=1)
    return _rounded(luma + added), _rounded(turned[1:] + 128.0)
