"""ONNX operators that move, cut, join and repeat elements; most of them only change what a tensor's axes are called."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from convert.readers.onnx.table import Call, operator
from convert.readers.onnx.values import Operand, Value, as_float, channels_last


@operator("Reshape", "Flatten", "Squeeze", "Unsqueeze", takes_flattened=True)
def _reshape(call: Call, x: Operand, *_: Operand) -> Value:
    return call.value(x).reshaped(call.shape)


@operator("Transpose")
def _transpose(call: Call, x: Operand) -> Value:
    x = call.value(x)
    return x.transposed(call.attribute("perm") or tuple(reversed(range(len(x.shape)))))


@operator("Concat")
def _concat(call: Call, *operands: Operand) -> Value:
    values = [operand for operand in operands if isinstance(operand, Value)]
    order = max(values, key=lambda value: math.prod(value.shape)).order
    tensors = [operand.arranged(order) if isinstance(operand, Value) else as_float(operand).transpose(order) for operand in operands]
    axis = order.index(call.attribute("axis", 1) % len(order))
    nonnegative = all(operand.nonnegative if isinstance(operand, Value) else bool(np.all(operand >= 0)) for operand in operands)
    return Value(tf.concat(tensors, axis) if len(tensors) > 1 else tensors[0], order, nonnegative)


def cut(x: Value, axis: int, part: slice) -> Value:
    """A slice along one ONNX axis, by Python's rules."""
    place, size = x.position(axis), x.shape[axis]
    taken = range(size)[part]
    if taken == range(size):
        return x
    if taken.step > 0:
        part = slice(taken.start, taken.stop, taken.step)
    else:
        part = slice(taken.start, taken.stop if taken.stop >= 0 else None, taken.step)
    return x.with_tensor(x.tensor[(slice(None),) * place + (part,)], nonnegative=x.nonnegative)


@operator("Split")
def _split(call: Call, x: Operand, sizes: Operand | None = None) -> tuple[Value | None, ...]:
    x, axis = call.value(x), call.attribute("axis", 0)
    given = call.numbers("split", sizes)
    if given is None:
        chunk = -(-x.shape[axis] // len(call.shapes))
        given = [min(chunk, x.shape[axis] - start) for start in range(0, x.shape[axis], chunk)]
    ends = np.cumsum(given).tolist()
    if all(shape is not None for shape in call.shapes) and len(set(given)) == 1:
        return tuple(x.with_tensor(part, nonnegative=x.nonnegative) for part in tf.split(x.tensor, len(given), axis=x.position(axis)))
    # A part of SPLIT that nobody reads would be left in float.
    parts = zip(call.shapes, given, ends, strict=True)
    return tuple(None if shape is None else cut(x, axis, slice(end - size, end)) for shape, size, end in parts)


@operator("Slice")
def _slice(
    call: Call,
    x: Operand,
    starts: Operand | None = None,
    ends: Operand | None = None,
    axes: Operand | None = None,
    steps: Operand | None = None,
) -> Value:
    x = call.value(x)
    first, last = call.numbers("starts", starts), call.numbers("ends", ends)
    if first is None or last is None:
        raise call.refusal("starts or ends are left out")
    along = call.numbers("axes", axes) or list(range(len(first)))
    stride = call.numbers("steps", steps) or [1] * len(first)
    for axis, start, end, step in zip(along, first, last, stride, strict=True):
        x = cut(x, axis % len(x.order), slice(start, end, step))
    return x


@operator("Gather")
def _gather(call: Call, x: Operand, indices: Operand) -> Value:
    x, picked = call.value(x), call.known("indices", indices)
    axis = call.attribute("axis", 0) % len(x.order)
    size = x.shape[axis]
    places = np.where(picked < 0, picked + size, picked).ravel().tolist()
    if places == list(range(places[0], places[0] + len(places))):
        return cut(x, axis, slice(places[0], places[0] + len(places))).reshaped(call.shape)
    gathered = tf.gather(x.tensor, np.asarray(places, np.int32), axis=x.position(axis))
    return x.with_tensor(gathered, nonnegative=x.nonnegative).reshaped(call.shape)


@operator("Expand")
def _expand(call: Call, x: Operand, *_: Operand) -> Value:
    x = call.value(x).expanded(len(call.shape))
    held = [call.shape[axis] for axis in x.order]
    return x if list(x.held_shape) == held else x.with_tensor(tf.broadcast_to(x.tensor, held), nonnegative=x.nonnegative)


@operator("Tile")
def _tile(call: Call, x: Operand, repeats: Operand) -> Value:
    x, times = call.value(x), call.numbers("repeats", repeats)
    if times is None:
        raise call.refusal("repeats are left out")
    return x.with_tensor(tf.tile(x.tensor, [times[axis] for axis in x.order]), nonnegative=x.nonnegative)


@operator("Pad")
def _pad(call: Call, x: Operand, pads: Operand | None = None, fill: Operand | None = None, axes: Operand | None = None) -> Value:
    x, mode = call.value(x), call.attribute("mode", "constant")
    amounts = call.numbers("pads", pads) or []
    value = call.attribute("value", 0.0) if fill is None else float(call.known("constant_value", fill).flat[0])
    along = call.numbers("axes", axes) or list(range(len(x.order)))
    widths = [(0, 0)] * len(x.order)
    for number, axis in enumerate(along):
        before, after = amounts[number], amounts[number + len(along)]
        x = cut(x, axis % len(x.order), slice(max(-before, 0), x.shape[axis] - max(-after, 0)))
        widths[x.position(axis)] = (max(before, 0), max(after, 0))
    if not np.any(widths):
        return x
    if mode == "edge":
        return x.with_tensor(repeat_edges(x.tensor, widths), nonnegative=x.nonnegative)
    if mode == "reflect":
        return x.with_tensor(tf.pad(x.tensor, widths, "REFLECT"), nonnegative=x.nonnegative)
    if mode != "constant":
        raise call.refusal(f"mode {mode!r} is not supported")
    return x.with_tensor(tf.pad(x.tensor, widths, constant_values=value), nonnegative=x.nonnegative and value >= 0)


def repeat_edges(tensor, widths: list[tuple[int, int]]):
    """Pad by the outermost elements: one more ring at a time, for a mirror of one is a repetition."""
    for ring in range(max(map(max, widths))):
        tensor = tf.pad(tensor, [(int(before > ring), int(after > ring)) for before, after in widths], "SYMMETRIC")
    return tensor


@operator("DepthToSpace")
def _depth_to_space(call: Call, x: Operand) -> Value:
    x, block = call.value(x), call.attribute("blocksize")
    order = channels_last(4)
    tensor = x.arranged(order)
    if call.attribute("mode", "DCR") == "CRD":  # PixelShuffle: the channel counts slowest, not fastest.
        held = [int(size) for size in tensor.shape]
        parts = tf.reshape(tensor, (held[0] * held[1], held[2], held[3] // block**2, block**2))
        tensor = tf.reshape(tf.transpose(parts, (0, 1, 3, 2)), held)
    return Value(tf.nn.depth_to_space(tensor, block), order, x.nonnegative)


@operator("SpaceToDepth")
def _space_to_depth(call: Call, x: Operand) -> Value:
    x, order = call.value(x), channels_last(4)
    return Value(tf.nn.space_to_depth(x.arranged(order), call.attribute("blocksize")), order, x.nonnegative)
