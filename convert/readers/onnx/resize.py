"""ONNX's Resize and Upsample, by the runtime's two kernels for it where they compute the same."""

from __future__ import annotations

import typing

import numpy as np
import tensorflow as tf

from convert.readers.onnx.spatial import image_of, image_result
from convert.readers.onnx.table import Call, operator
from convert.readers.onnx.values import Operand, Value


def _sources(kind: str, size: int, output: int, scale: float) -> np.ndarray:
    """Where each output element lies in the input (ONNX operator Resize, attribute coordinate_transformation_mode)."""
    places = np.arange(output, dtype=np.float64)
    if kind == "align_corners":
        return places * (size - 1) / (output - 1) if output > 1 else places * 0
    if kind == "pytorch_half_pixel" and output == 1:
        return places * 0
    if kind in ("half_pixel", "pytorch_half_pixel"):
        return (places + 0.5) / scale - 0.5
    if kind == "half_pixel_symmetric":
        middle = output / (scale * size)
        return size / 2 * (1 - middle) + (places + 0.5) / scale - 0.5
    return places / scale


def _nearest(places: np.ndarray, mode: str, size: int) -> np.ndarray:
    rounded = {
        "floor": np.floor(places), "ceil": np.ceil(places),
        "round_prefer_ceil": np.floor(places + 0.5), "round_prefer_floor": np.ceil(places - 0.5),
    }[mode]  # fmt: skip
    return np.clip(rounded, 0, size - 1).astype(np.int32)


@operator("Resize", "Upsample")
def _resize(call: Call, x: Operand, *parameters: Operand | None) -> Value:
    value = call.value(x)
    mode, rank = call.attribute("mode", "nearest"), len(value.shape)
    old = call.node.kind == "Upsample" or call.opset < 11
    kind = "asymmetric" if old else call.attribute("coordinate_transformation_mode", "half_pixel")
    if kind == "tf_crop_and_resize" or mode == "cubic" or call.attribute("antialias", 0):
        raise call.refusal(f"mode {mode!r} with {kind!r}{', antialias' * bool(call.attribute('antialias', 0))} is not supported")
    scales = _scales(call, value.shape, parameters, old)
    if value.shape[:2] != call.shape[:2]:
        raise call.refusal("it resizes the batch or the channels")
    image = image_of(call, x)
    sizes, outputs = [int(size) for size in image.shape[1:3]], [1] * (4 - rank) + list(call.shape[2:])
    places = [
        _sources(kind, size, output, scale) for size, output, scale in zip(sizes, outputs, [1.0] * (4 - rank) + scales[2:], strict=True)
    ]
    if mode == "nearest":
        rounding = "floor" if old else call.attribute("nearest_mode", "round_prefer_floor")
        picked = [_nearest(place, rounding, size) for place, size in zip(places, sizes, strict=True)]
        return image_result(call, _picked(image, picked, sizes, outputs), nonnegative=value.nonnegative)
    for half, corners in ((True, False), (False, True), (False, False)):
        own = "half_pixel" if half else "align_corners" if corners else "asymmetric"
        theirs = [_sources(own, size, output, output / size) for size, output in zip(sizes, outputs, strict=True)]
        if all(np.allclose(np.clip(a, 0, size - 1), np.clip(b, 0, size - 1)) for a, b, size in zip(places, theirs, sizes, strict=True)):
            resized = tf.raw_ops.ResizeBilinear(images=image, size=outputs, align_corners=corners, half_pixel_centers=half)
            return image_result(call, resized, nonnegative=value.nonnegative)
    raise call.refusal(f"linear interpolation with {kind!r} and these scales is not supported: give sizes, not scales")


def _scales(call: Call, shape: tuple[int, ...], parameters: tuple[Operand | None, ...], old: bool) -> list[float]:
    given = call.attribute("scales")
    if given is None:
        given = parameters[0 if old else 1] if len(parameters) > (0 if old else 1) else None
    ratios = [output / size for output, size in zip(call.shape, shape, strict=True)]
    numbers = [] if given is None else np.ravel(call.known("scales", np.asarray(given) if isinstance(given, list) else given)).tolist()
    axes = call.attribute("axes") or list(range(len(shape)))
    if len(numbers) == len(axes):
        for axis, scale in zip(axes, numbers, strict=True):
            ratios[axis] = scale
    return [float(ratio) for ratio in ratios]


def _picked(image: typing.Any, picked: list[np.ndarray], sizes: list[int], outputs: list[int]) -> typing.Any:
    """The elements at these rows and columns, by the kernel for it where that picks the same."""
    for half, corners in ((False, False), (True, False), (False, True)):
        alike = all(
            np.array_equal(places, _kernel_picks(size, output, half, corners))
            for places, size, output in zip(picked, sizes, outputs, strict=True)
        )
        if alike:
            return tf.raw_ops.ResizeNearestNeighbor(images=image, size=outputs, align_corners=corners, half_pixel_centers=half)
    for axis, (places, size) in enumerate(zip(picked, sizes, strict=True)):
        if places.tolist() != list(range(size)):
            image = tf.gather(image, places, axis=axis + 1)
    return image


def _kernel_picks(size: int, output: int, half: bool, corners: bool) -> np.ndarray:
    """What RESIZE_NEAREST_NEIGHBOR picks (tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h)."""
    scale = np.float32((size - 1) / (output - 1) if corners and output > 1 else size / output)
    places = (np.arange(output, dtype=np.float32) + np.float32(0.5 if half else 0)) * scale
    picked = np.floor(places + np.float32(0.5)) if corners else np.floor(places)
    return np.minimum(picked, size - 1).astype(np.int32)
