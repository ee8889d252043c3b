"""ONNX convolutions and pooling, channels-last; along one axis they run as images of one row."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np
import tensorflow as tf

from convert.readers.onnx.shapes import repeat_edges
from convert.readers.onnx.table import Call, operator
from convert.readers.onnx.values import Operand, Value, as_float, channels_last


@dataclasses.dataclass(frozen=True)
class Window:
    """How a kernel walks over its places, one number an axis; always two axes."""

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    """With the gaps that dilation makes."""
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    outputs: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    """Padding that a window reaches; what none reaches is left out."""

    @property
    def same(self) -> bool:
        """Whether this is what TensorFlow pads by itself."""
        wanted = []
        for size, kernel, stride in zip(self.sizes, self.kernel, self.strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            wanted.append((-(-size // stride), total // 2, total - total // 2))
        return wanted == list(zip(self.outputs, self.before, self.after, strict=True))

    @property
    def padded(self) -> bool:
        return any(self.before) or any(self.after)

    @property
    def widths(self) -> list[tuple[int, int]]:
        """Of a tensor (N, H, W, C), as tf.pad takes them."""
        return [(0, 0), *zip(self.before, self.after, strict=True), (0, 0)]


def _window(call: Call, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    """From the attributes of the node; a single axis gets a second one of size one in front."""
    rank = len(kernel)
    strides, dilations = (list(call.attribute(name) or [1] * rank) for name in ("strides", "dilations"))
    pads, automatic = list(call.attribute("pads") or [0] * 2 * rank), call.attribute("auto_pad", "NOTSET")
    outputs = call.shape[2:]
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    before, after = pads[:rank], []
    for axis in range(rank):
        # How far the last window reaches over the end; less than no place is no padding.
        needed = (outputs[axis] - 1) * strides[axis] + reach[axis] - sizes[axis]
        if automatic.startswith("SAME"):
            before[axis] = (max(needed, 0) + (automatic == "SAME_LOWER")) // 2
        elif automatic == "VALID":
            before[axis] = 0
        after.append(max(needed - before[axis], 0))
    columns = [list(column) for column in (sizes, reach, strides, dilations, outputs, before, after)]
    if rank == 1:
        columns = [[first, *column] for first, column in zip((1, 1, 1, 1, 1, 0, 0), columns, strict=True)]
    return Window(*(tuple(column) for column in columns))


def image_of(call: Call, operand: Operand) -> typing.Any:
    """Data as (N, H, W, C)."""
    x = call.value(operand)
    if len(x.shape) not in (3, 4):
        raise call.refusal(f"its data has {len(x.shape) - 2} axes beside batch and channels; 1 and 2 are supported")
    tensor = x.arranged(channels_last(len(x.shape)))
    return tensor if len(x.shape) == 4 else tf.expand_dims(tensor, 1)


def image_result(call: Call, tensor: typing.Any, *, nonnegative: bool = False) -> Value:
    rank = len(call.shape)
    return Value(tensor if rank == 4 else tf.squeeze(tensor, 1), channels_last(rank), nonnegative)


def _kernel(call: Call, operand: Operand) -> np.ndarray:
    weights = as_float(call.known("kernel", operand))
    return weights if weights.ndim == 4 else np.expand_dims(weights, 2)


@operator("Conv")
def _convolution(call: Call, x: Operand, weights: Operand, bias: Operand | None = None) -> Value:
    image, known = image_of(call, x), call.known("kernel", weights)
    kernel, groups = _kernel(call, known), call.attribute("group", 1)
    window = _window(call, call.value(x).shape[2:], known.shape[2:])
    padding = "SAME" if window.same else "VALID"
    if padding == "VALID" and window.padded:
        image = tf.pad(image, window.widths)
    channels, strides, dilations = int(image.shape[3]), [1, *window.strides, 1], [1, *window.dilations, 1]
    # The raw operators: TensorFlow's own functions write dilation as a rearrangement of the image.
    if groups == channels > 1:
        held = kernel.reshape(groups, -1, *kernel.shape[2:]).transpose(2, 3, 0, 1)
        result = tf.raw_ops.DepthwiseConv2dNative(input=image, filter=held, strides=strides, padding=padding, dilations=dilations)
    else:
        held = kernel.transpose(2, 3, 1, 0)
        result = tf.raw_ops.Conv2D(input=image, filter=held, strides=strides, padding=padding, dilations=dilations)
    return image_result(call, result if bias is None else tf.nn.bias_add(result, as_float(call.known("bias", bias))))


@operator("ConvTranspose")
def _transposed_convolution(call: Call, x: Operand, weights: Operand, bias: Operand | None = None) -> Value:
    image, known = image_of(call, x), call.known("kernel", weights)
    rank = known.ndim - 2
    if call.attribute("group", 1) != 1 or any(step != 1 for step in call.attribute("dilations") or [1]):
        raise call.refusal("groups and dilation are not supported in a transposed convolution")
    strides = list(call.attribute("strides") or [1] * rank)
    sizes, outputs = call.value(x).shape[2:], call.shape[2:]
    whole = [(size - 1) * stride + reach for size, stride, reach in zip(sizes, strides, known.shape[2:], strict=True)]
    before = list((call.attribute("pads") or [0] * 2 * rank)[:rank])
    automatic = call.attribute("auto_pad", "NOTSET")
    if automatic.startswith("SAME") or call.attribute("output_shape"):
        for axis in range(rank):
            extra = (call.attribute("output_padding") or [0] * rank)[axis]
            total = max(whole[axis] + extra - outputs[axis], 0)
            before[axis] = total // 2 if automatic == "SAME_UPPER" else total - total // 2
    if rank == 1:
        strides, before, whole, outputs = [1, *strides], [0, *before], [1, *whole], (1, *outputs)
    held = _kernel(call, known).transpose(2, 3, 1, 0)
    units = held.shape[2]
    shape = (int(image.shape[0]), *outputs, units)
    # TensorFlow's SAME cuts the smaller half in front, from an output of size times stride.
    same = all(
        output == size * stride and cut == max(reach - stride, 0) // 2
        for output, size, stride, cut, reach in zip(outputs, image.shape[1:3], strides, before, held.shape[:2], strict=True)
    )
    if same:
        result = tf.nn.conv2d_transpose(image, held, shape, strides, "SAME")
    else:
        result = tf.nn.conv2d_transpose(image, held, (shape[0], *whole, units), strides, "VALID")
        missing = [max(start + output - size, 0) for start, output, size in zip(before, outputs, whole, strict=True)]
        if any(missing):
            result = tf.pad(result, [(0, 0), *((0, more) for more in missing), (0, 0)])
        if list(result.shape) != list(shape):
            (top, left), (height, width) = before, outputs
            result = result[:, top : top + height, left : left + width]
    return image_result(call, result if bias is None else tf.nn.bias_add(result, as_float(call.known("bias", bias))))


# ---- pooling


@operator("MaxPool")
def _max_pool(call: Call, x: Operand) -> tuple[Value | None, ...]:
    if any(shape is not None for shape in call.shapes[1:]):
        raise call.refusal("its indices are read, which is not supported")
    image, value = image_of(call, x), call.value(x)
    window = _window(call, value.shape[2:], tuple(call.attribute("kernel_shape")))
    if any(step != 1 for step in window.dilations):
        raise call.refusal("dilation is not supported in pooling")
    padding = "SAME" if window.same else "VALID"
    if padding == "VALID" and window.padded:
        # Never by the lowest number, which would spoil the range of int8. The edge again changes no maximum.
        image = tf.pad(image, window.widths) if value.nonnegative else repeat_edges(image, window.widths)
    pooled = tf.nn.max_pool2d(image, window.kernel, window.strides, padding)
    return image_result(call, pooled, nonnegative=value.nonnegative), *(None for _ in call.shapes[1:])


@operator("AveragePool")
def _average_pool(call: Call, x: Operand) -> Value:
    image, value = image_of(call, x), call.value(x)
    window = _window(call, value.shape[2:], tuple(call.attribute("kernel_shape")))
    if any(step != 1 for step in window.dilations):
        raise call.refusal("dilation is not supported in pooling")
    counted = bool(call.attribute("count_include_pad", 0))
    if not window.padded or (window.same and not counted):
        pooled = tf.nn.avg_pool2d(image, window.kernel, window.strides, "SAME" if window.padded else "VALID")
        return image_result(call, pooled, nonnegative=value.nonnegative)
    pooled = tf.nn.avg_pool2d(tf.pad(image, window.widths), window.kernel, window.strides, "VALID")
    rows, columns = (_share(call, window, axis, counted) for axis in (0, 1))
    correction = np.outer(rows, columns).astype(np.float32)[None, :, :, None]
    if not np.allclose(correction, 1):
        pooled = pooled * correction
    return image_result(call, pooled, nonnegative=value.nonnegative)


def _share(call: Call, window: Window, axis: int, counted: bool) -> np.ndarray:
    """Kernel size over the places that count in each window: inside the image, or also in the padding that the node asks for."""
    start, end = 0, window.sizes[axis]
    if counted:
        pads, rank = call.attribute("pads"), len(call.shape) - 2
        own = axis - (2 - rank)
        start, end = -window.before[axis], end + (pads[rank + own] if pads and own >= 0 else window.after[axis])
    first = np.arange(window.outputs[axis]) * window.strides[axis] - window.before[axis]
    inside = np.minimum(first + window.kernel[axis], end) - np.maximum(first, start)
    return window.kernel[axis] / inside


@operator("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(call: Call, x: Operand) -> Value:
    x = call.value(x)
    reduce = tf.reduce_mean if call.node.kind == "GlobalAveragePool" else tf.reduce_max
    axes = [x.position(axis) for axis in range(2, len(x.shape))]
    return x.with_tensor(reduce(x.tensor, axes, keepdims=True), nonnegative=x.nonnegative)
