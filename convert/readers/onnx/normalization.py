"""ONNX operators that normalize or reduce, along whichever axes the tensor holds them in."""

from __future__ import annotations

import collections.abc
import math
import typing

import numpy as np
import tensorflow as tf

from convert.readers.onnx.table import Call, operator
from convert.readers.onnx.values import Operand, Value, aligned, as_float, channels_last


def _per_channel(array: np.ndarray, rank: int) -> np.ndarray:
    """(channels,) against axis 1."""
    return as_float(array).reshape(-1, *(1,) * (rank - 2)) if rank > 2 else as_float(array)


@operator("BatchNormalization", takes_flattened=True)
def _batch_normalization(call: Call, x: Operand, *parameters: Operand) -> tuple[Value | None, ...]:
    x = call.value(x)
    if call.attribute("training_mode", 0) or any(shape is not None for shape in call.shapes[1:]):
        raise call.refusal("it is in training mode: export the model after eval()")
    if not call.attribute("spatial", 1):
        raise call.refusal("spatial=0 is not supported")
    names = ("scale", "B", "mean", "var")
    scale, bias, mean, variance = (np.asarray(call.known(name, array), np.float64) for name, array in zip(names, parameters, strict=True))
    factor = scale / np.sqrt(variance + call.attribute("epsilon", 1e-5))
    rank = len(x.shape)
    # A product and a sum by constants, which the converter folds into the convolution in front.
    (tensor, slope), lead = aligned(x, _per_channel(factor, rank))
    (tensor, offset), lead = aligned(lead.with_tensor(tensor * slope), _per_channel(bias - mean * factor, rank))
    return lead.with_tensor(tensor + offset), *(None for _ in call.shapes[1:])


def _standardized(tensor: typing.Any, axes: list[int], epsilon: float):
    """Subtract the mean, divide by the deviation; centred * centred, for SQUARED_DIFFERENCE loses its range in calibration."""
    centred = tensor - tf.reduce_mean(tensor, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    return centred * tf.math.rsqrt(variance + epsilon)


@operator("LayerNormalization")
def _layer_normalization(call: Call, x: Operand, scale: Operand, bias: Operand | None = None) -> tuple[Value | None, ...]:
    x = call.value(x)
    if any(shape is not None for shape in call.shapes[1:]):
        raise call.refusal("its mean or deviation is read, which is not supported")
    rank = len(x.shape)
    axes = [x.position(axis) for axis in range(call.attribute("axis", -1) % rank, rank)]
    result = x.with_tensor(_standardized(x.tensor, axes, call.attribute("epsilon", 1e-5)))
    for array, function in ((scale, tf.multiply), (bias, tf.add)):
        if array is not None:
            (tensor, parameter), lead = aligned(result, array)
            result = lead.with_tensor(function(tensor, parameter))
    return result, *(None for _ in call.shapes[1:])


@operator("RMSNormalization")
def _rms_normalization(call: Call, x: Operand, scale: Operand) -> Value:
    x = call.value(x)
    rank = len(x.shape)
    axes = [x.position(axis) for axis in range(call.attribute("axis", -1) % rank, rank)]
    power = tf.reduce_mean(x.tensor * x.tensor, axes, keepdims=True)
    (tensor, slope), lead = aligned(x.with_tensor(x.tensor * tf.math.rsqrt(power + call.attribute("epsilon", 1e-5))), scale)
    return lead.with_tensor(tensor * slope)


@operator("InstanceNormalization")
def _instance_normalization(call: Call, x: Operand, scale: Operand, bias: Operand) -> Value:
    x = call.value(x)
    axes = [x.position(axis) for axis in range(2, len(x.shape))]
    slope, offset = (x.constant(_per_channel(call.known(name, array), len(x.shape))) for name, array in (("scale", scale), ("B", bias)))
    return x.with_tensor(_standardized(x.tensor, axes, call.attribute("epsilon", 1e-5)) * slope + offset)


@operator("GroupNormalization")
def _group_normalization(call: Call, x: Operand, scale: Operand, bias: Operand) -> Value:
    x, groups = call.value(x), call.attribute("num_groups")
    batch, channels, *places = x.shape
    order = channels_last(len(x.shape))
    grouped = tf.reshape(x.arranged(order), (batch, math.prod(places), groups, channels // groups))
    normal = tf.reshape(_standardized(grouped, [1, 3], call.attribute("epsilon", 1e-5)), (batch, *places, channels))
    slope, offset = (as_float(call.known(name, array)) for name, array in (("scale", scale), ("bias", bias)))
    return Value(normal * slope + offset, order)


@operator("LpNormalization")
def _lp_normalization(call: Call, x: Operand) -> Value:
    x, norm = call.value(x), call.attribute("p", 2)
    axis = x.position(call.attribute("axis", -1))
    if norm == 2:
        return x.with_tensor(x.tensor * tf.math.rsqrt(tf.reduce_sum(x.tensor * x.tensor, axis, keepdims=True)))
    root = tf.math.rsqrt(tf.reduce_sum(tf.abs(x.tensor), axis, keepdims=True))
    return x.with_tensor(x.tensor * root * root)


# ---- softmax


@operator("Softmax", "LogSoftmax")
def _softmax(call: Call, x: Operand) -> Value:
    x = call.value(x)
    function = tf.nn.softmax if call.node.kind == "Softmax" else tf.nn.log_softmax
    rank, positive = len(x.shape), call.node.kind == "Softmax"
    axis = call.attribute("axis", -1 if call.opset >= 13 else 1) % rank
    if call.opset < 13:  # All axes from here on were one.
        longer = [k for k in range(axis, rank) if x.shape[k] != 1]
        if len(longer) > 1:
            flat = x.reshaped((math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))).settled().ordered()
            return Value(function(flat), (0, 1), positive).reshaped(x.shape)
        axis = longer[0] if longer else rank - 1
    order = (*(k for k in x.order if k != axis), axis)  # The kernel works along the last axis.
    return Value(function(x.arranged(order)), order, positive)


# ---- reductions


def _reduction(
    kind: str, function: collections.abc.Callable[..., typing.Any], *, before: typing.Any = None, nonnegative: bool = False
) -> None:
    """Enter a reduction: ``function`` along axes of what ``before`` makes of the tensor."""

    def write(call: Call, x: Operand, axes: Operand | None = None) -> Value:
        x = call.value(x)
        along = call.numbers("axes", axes)
        if not along:
            if call.attribute("noop_with_empty_axes", 0):
                return x
            along = list(range(len(x.shape)))
        places = [x.position(axis) for axis in along]
        tensor = x.tensor if before is None else before(x.tensor)
        keep = bool(call.attribute("keepdims", 1))
        order = x.order
        if not keep:
            gone = {axis % len(order) for axis in along}
            left = [axis for axis in range(len(order)) if axis not in gone]
            order = tuple(left.index(axis) for axis in order if axis not in gone)
        positive = nonnegative or (x.nonnegative and kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"))
        result = Value(function(tensor, axis=places, keepdims=keep), order, positive)
        return result.with_tensor(tf.sqrt(result.tensor), nonnegative=True, radicand=result.tensor) if kind == "ReduceL2" else result

    operator(kind)(write)


def _log_sum_exp(tensor, axis, keepdims):
    largest = tf.reduce_max(tensor, axis, keepdims=True)
    total = tf.math.log(tf.reduce_sum(tf.exp(tensor - largest), axis, keepdims=True)) + largest
    return total if keepdims else tf.squeeze(total, axis)


def _squared(tensor):
    return tensor * tensor


_reduction("ReduceMean", tf.reduce_mean)
_reduction("ReduceSum", tf.reduce_sum)
_reduction("ReduceMax", tf.reduce_max)
_reduction("ReduceMin", tf.reduce_min)
_reduction("ReduceProd", tf.reduce_prod)
_reduction("ReduceL1", tf.reduce_sum, before=tf.abs, nonnegative=True)
_reduction("ReduceL2", tf.reduce_sum, before=_squared)
_reduction("ReduceSumSquare", tf.reduce_sum, before=_squared, nonnegative=True)
_reduction("ReduceLogSumExp", _log_sum_exp)
