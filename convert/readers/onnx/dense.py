"""ONNX operators that are matrix products, with constant weights (FULLY_CONNECTED) or between two values (BATCH_MATMUL)."""

from __future__ import annotations

import math
import typing

import numpy as np
import tensorflow as tf

from convert.readers.onnx.table import Call, operator
from convert.readers.onnx.values import Operand, Value, as_float

_ML = "ai.onnx.ml"


def dense(x: Value, kernel: np.ndarray, bias: np.ndarray | None = None) -> Value:
    """The last ONNX axis of ``x`` times ``kernel`` (width, units); every other axis stays where it is.

    Where a flattening waits the rows of the kernel take the order of the tensor, so that the activations need not move.
    """
    kernel = as_float(kernel)
    if x.flattened:
        sizes = x.unflattened_shape
        rows = np.arange(kernel.shape[0]).reshape(sizes[1:]).transpose([axis - 1 for axis in x.order[1:]])
        x, kernel = Value.plain(tf.reshape(x.tensor, x.shape)), kernel[rows.ravel()]
    last = len(x.order) - 1
    if x.order[-1] != last:
        x = Value.plain(x.ordered())
    held = x.held_shape
    # Two axes are what every runtime's dense kernel takes; the reshapes cost nothing.
    flat = x.tensor if len(held) == 2 else tf.reshape(x.tensor, (math.prod(held[:-1]), held[-1]))
    result = tf.matmul(flat, kernel)
    if bias is not None:
        result = result + as_float(bias)
    return Value(result if len(held) == 2 else tf.reshape(result, (*held[:-1], kernel.shape[1])), x.order)


@operator("Gemm", takes_flattened=True)
def _gemm(call: Call, a: Operand, b: Operand, c: Operand | None = None) -> Value:
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    if not isinstance(b, np.ndarray) or not isinstance(a, Value) or isinstance(c, Value):
        return _gemm_of_values(call, a, b, c, alpha, beta)
    if call.attribute("transA", 0):
        a = a.settled().transposed((1, 0))
    kernel = as_float(b.T if call.attribute("transB", 0) else b) * np.float32(alpha)
    return dense(a, kernel, None if c is None else _bias(as_float(c) * np.float32(beta)))


def _bias(c: np.ndarray) -> np.ndarray:
    """As a row, which the dense kernel adds by itself, where it is one."""
    return c.reshape(-1) if c.ndim < 2 or c.shape[0] == 1 else c


def _gemm_of_values(call: Call, a: Operand, b: Operand, c: Operand | None, alpha: float, beta: float) -> Value:
    def matrix(operand: Operand, transpose: int) -> Operand:
        if transpose:
            return operand.settled().transposed((1, 0)) if isinstance(operand, Value) else operand.T
        return operand

    result = product(call, matrix(a, call.attribute("transA", 0)), matrix(b, call.attribute("transB", 0)))
    tensor = result.ordered()
    if alpha != 1:
        tensor = tensor * np.float32(alpha)
    if c is not None:
        addend = c.settled().ordered() if isinstance(c, Value) else as_float(c)
        tensor = tensor + (addend if beta == 1 else addend * np.float32(beta))
    return Value.plain(tensor)


@operator("MatMul", takes_flattened=True)
def _matmul(call: Call, a: Operand, b: Operand) -> Value:
    return product(call, a, b)


def product(call: Call, a: Operand, b: Operand) -> Value:
    """The matrix product of the last two ONNX axes, by numpy's rules."""
    if len(a.shape) < 2 or len(b.shape) < 2:
        return _vector_product(call, a, b)
    if isinstance(a, Value) and isinstance(b, np.ndarray) and _is_matrix(b):
        return dense(a, b.reshape(b.shape[-2:])) if b.ndim <= len(a.shape) else dense(a.settled().expanded(b.ndim), b.reshape(b.shape[-2:]))
    if isinstance(b, Value) and isinstance(a, np.ndarray) and a.ndim == 2:
        swapped = (*range(len(b.shape) - 2), len(b.shape) - 1, len(b.shape) - 2)
        return dense(b.settled().transposed(swapped), a.T).transposed(swapped)
    rank = max(len(a.shape), len(b.shape))
    (x, across), (y, down) = _matrices(a, rank), _matrices(b, rank)
    return Value.plain(tf.matmul(x, y, transpose_a=across, transpose_b=down))


def _is_matrix(weights: np.ndarray) -> bool:
    return math.prod(weights.shape[:-2]) == 1


def _vector_product(call: Call, a: Operand, b: Operand) -> Value:
    """numpy's rule: a vector in front is a row, one behind a column, and their axis goes away."""
    if isinstance(b, np.ndarray) and b.ndim == 1:
        b = b[:, None]
    elif len(b.shape) == 1:
        b = call.value(b).settled().reshaped((b.shape[0], 1))
    if len(a.shape) == 1:
        a = a[None] if isinstance(a, np.ndarray) else a.settled().reshaped((1, a.shape[0]))
    return product(call, a, b).reshaped(call.shape)


def _matrices(operand: Operand, rank: int) -> tuple[typing.Any, bool]:
    """A stack of matrices, and whether they are the other way round: the way that spares a transpose of their last axes."""
    if isinstance(operand, np.ndarray):
        return as_float(operand).reshape((1,) * (rank - operand.ndim) + operand.shape), False
    value = operand.settled().expanded(rank)
    swapped = value.order.index(rank - 1) < value.order.index(rank - 2)
    return value.arranged((*range(rank - 2), rank - 1, rank - 2) if swapped else tuple(range(rank))), swapped


@operator("Einsum")
def _einsum(call: Call, *operands: Operand) -> Value:
    tensors = [operand.ordered() if isinstance(operand, Value) else as_float(operand) for operand in operands]
    return Value.plain(tf.einsum(call.attribute("equation").replace(" ", ""), *tensors))


# ---- what scikit-learn's converter writes


@operator("Scaler", domain=_ML)
def _scaler(call: Call, x: Operand) -> Value:
    x = call.value(x)
    offset, scale = (np.asarray(call.attribute(name, [default]), np.float32) for name, default in (("offset", 0.0), ("scale", 1.0)))
    return x.with_tensor(x.tensor * x.constant(scale) - x.constant(offset * scale))


@operator("LinearRegressor", domain=_ML)
def _linear_regressor(call: Call, x: Operand) -> Value:
    if call.attribute("post_transform", "NONE") != "NONE":
        raise call.refusal(f"post_transform {call.attribute('post_transform')} is not supported")
    return _linear(call, x, call.attribute("targets", 1))


@operator("LinearClassifier", domain=_ML)
def _linear_classifier(call: Call, x: Operand) -> tuple[Value | None, Value]:
    if call.shapes[0] is not None:
        raise call.refusal("its labels are read: only its scores can be")
    labels = call.attribute("classlabels_ints") or call.attribute("classlabels_strings") or []
    if call.shapes[1] is not None and len(labels) == 2 and len(call.attribute("coefficients")) == call.value(x).shape[-1]:
        raise call.refusal("two classes from one row of coefficients are not supported")
    scores = _linear(call, x, len(labels))
    after = call.attribute("post_transform", "NONE")
    if after == "SOFTMAX":
        return None, scores.with_tensor(tf.nn.softmax(scores.tensor))
    if after == "LOGISTIC":
        return None, scores.with_tensor(tf.sigmoid(scores.tensor), nonnegative=True)
    if after != "NONE":
        raise call.refusal(f"post_transform {after} is not supported")
    return None, scores


def _linear(call: Call, x: Operand, units: int) -> Value:
    kernel = np.asarray(call.attribute("coefficients"), np.float32).reshape(units, -1).T
    return dense(call.value(x), kernel, np.asarray(call.attribute("intercepts", [0.0] * units), np.float32))


@operator("Normalizer", domain=_ML)
def _normalizer(call: Call, x: Operand) -> Value:
    x, norm = call.value(x), call.attribute("norm", "MAX")
    if norm == "L2":
        return x.with_tensor(x.tensor * tf.math.rsqrt(tf.reduce_sum(x.tensor * x.tensor, -1, keepdims=True)))
    if norm == "L1":
        root = tf.math.rsqrt(tf.reduce_sum(x.tensor if x.nonnegative else tf.abs(x.tensor), -1, keepdims=True))
        return x.with_tensor(x.tensor * root * root, nonnegative=x.nonnegative)
    raise call.refusal(f"norm {norm} is not supported")
