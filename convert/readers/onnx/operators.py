"""ONNX operators that work element by element, written so that the converter finds an int8 kernel for each.

There is none for NEG, SQUARE, ELU, NOT_EQUAL and ERF, and DIV stops where a divisor rounds to zero.
"""

from __future__ import annotations

import collections.abc
import math
import typing

import numpy as np
import onnx
import tensorflow as tf

from convert.readers.onnx.table import Call, operator
from convert.readers.onnx.values import Operand, Value, aligned, as_float

Function = collections.abc.Callable[..., typing.Any]


def negative(x):
    """-x, but as a product."""
    return x * np.float32(-1)


def softplus(x):
    """log(1 + exp(x)), with an exponential that stays within [0, 1]."""
    return tf.nn.relu(x) + tf.math.log(tf.exp(negative(tf.abs(x))) + 1.0)


def elu(x, alpha: float = 1.0, width: float = 1.0):
    """x where that is positive, else alpha (exp(x / width) - 1)."""
    positive = tf.nn.relu(x)
    below = x - positive
    return positive + (tf.exp(below if width == 1.0 else below * (1 / width)) - 1.0) * alpha


_ERF = (1.1281414802555252, 0.10408711504121185, -0.0017891420711673184)
"""erf(x) = tanh(x (a + b x^2 + c x^4)), fitted to |x| < 3.2; largest difference 4e-5."""


def erf(x):
    """The error function, by a fit: no runtime has a kernel for it."""
    a, b, c = _ERF
    x = tf.maximum(tf.minimum(x, 4.0), -4.0)
    square = x * x
    return tf.tanh(x * (a + square * (b + c * square)))


def hard_sigmoid(x, alpha: float, beta: float):
    """max(0, min(1, alpha x + beta)), through the clip to 6 that every kernel can do by the way."""
    return tf.nn.relu6(x * np.float32(6 * alpha) + np.float32(6 * beta)) * np.float32(1 / 6)


def hard_swish(x):
    """x max(0, min(1, x / 6 + 1/2)), in the form that becomes HARD_SWISH."""
    return x * tf.nn.relu6(x + 3.0) * np.float32(1 / 6)


def _unary(kind: str, function: Function, *, nonnegative: bool = False, **defaults: float) -> None:
    """Enter an operator of one input; its attributes are passed on by position, in the order of ``defaults``."""

    def write(call: Call, x: Operand) -> Value:
        x = call.value(x)
        attributes = [call.attribute(name, default) for name, default in defaults.items()]
        return x.with_tensor(function(x.tensor, *attributes), nonnegative=nonnegative)

    operator(kind, takes_flattened=True)(write)


_unary("Relu", tf.nn.relu, nonnegative=True)
_unary("Sigmoid", tf.sigmoid, nonnegative=True)
_unary("Tanh", tf.tanh)
_unary("Abs", tf.abs, nonnegative=True)
_unary("Exp", tf.exp, nonnegative=True)
_unary("Log", tf.math.log)
_unary("Neg", negative)
_unary("Erf", erf)
_unary("Softplus", softplus, nonnegative=True)
_unary("Elu", elu, alpha=1.0)
_unary("Celu", lambda x, alpha: elu(x, alpha, alpha), alpha=1.0)
_unary("Selu", lambda x, alpha, gamma: elu(x, alpha) * gamma, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875)
_unary("LeakyRelu", tf.nn.leaky_relu, alpha=0.01)
_unary("HardSigmoid", hard_sigmoid, nonnegative=True, alpha=0.2, beta=0.5)
_unary("HardSwish", hard_swish)
_unary("Mish", lambda x: x * tf.tanh(softplus(x)))
_unary("Softsign", lambda x: x * tf.math.rsqrt(tf.abs(x) + 1.0) * tf.math.rsqrt(tf.abs(x) + 1.0))
_unary("ThresholdedRelu", lambda x, alpha: tf.where(x > alpha, x, 0.0), alpha=1.0)
for _kind, _function in (
    ("Sin", tf.sin),
    ("Cos", tf.cos),
    ("Floor", tf.floor),
    ("Ceil", tf.math.ceil),
    ("Round", tf.round),
    ("Sign", tf.sign),
):
    _unary(_kind, _function)


@operator("Gelu", takes_flattened=True)
def _gelu(call: Call, x: Operand) -> Value:
    x = call.value(x)
    return x.with_tensor(tf.nn.gelu(x.tensor, approximate=call.attribute("approximate", "none") == "tanh"))


@operator("Sqrt", takes_flattened=True)
def _sqrt(call: Call, x: Operand) -> Value:
    x = call.value(x)
    return x.with_tensor(tf.sqrt(x.tensor), nonnegative=True, radicand=x.tensor)


@operator("Identity", "Dropout", takes_flattened=True)
def _identity(call: Call, x: Operand, *others: Operand) -> tuple[Value | None, ...]:
    if any(shape is not None for shape in call.shapes[1:]):
        raise call.refusal("its mask is read, which training alone has")
    return call.value(x), *(None for _ in call.shapes[1:])


@operator("Cast", "CastLike", takes_flattened=True)
def _cast(call: Call, x: Operand, like: Operand | None = None) -> Value:
    x, to = call.value(x), call.attribute("to", onnx.TensorProto.FLOAT)
    boolean = x.tensor.dtype == tf.bool
    if to == onnx.TensorProto.BOOL:
        return x if boolean else x.with_tensor(tf.logical_not(tf.equal(x.tensor, 0.0)))
    if to not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16):
        raise call.refusal(f"it makes {onnx.TensorProto.DataType.Name(to).lower()} of values that depend on the inputs")
    # A CAST would leave the integers; a choice between two constants does not.
    return x.with_tensor(tf.where(x.tensor, 1.0, 0.0), nonnegative=True) if boolean else x


# ---- two or more operands


def _is_nonnegative(operand: Operand) -> bool:
    return operand.nonnegative if isinstance(operand, Value) else bool(np.all(operand >= 0))


def _chain(kind: str, function: Function, *, nonnegative: Function = lambda known: False) -> None:
    """Enter an operator of any number of operands; ``nonnegative`` tells it of the result, from the same of each operand."""

    def write(call: Call, *operands: Operand) -> Value:
        first, *others = operands
        result: typing.Any = first
        for other in others:
            known = nonnegative([_is_nonnegative(operand) for operand in (result, other)])
            if isinstance(result, np.ndarray) and isinstance(other, np.ndarray):
                result = np.asarray(function(as_float(result), as_float(other)))
            else:
                (a, b), lead = aligned(result, other)
                result = lead.with_tensor(function(a, b), nonnegative=known)
        return call.value(result)

    operator(kind, takes_flattened=True)(write)


def _maximum(a, b):
    for x, limit in ((a, b), (b, a)):
        if isinstance(limit, np.ndarray) and not limit.any():
            return tf.nn.relu(x)
    return tf.maximum(a, b)


_chain("Add", lambda a, b: a + b, nonnegative=all)
_chain("Sum", lambda a, b: a + b, nonnegative=all)
_chain("Sub", lambda a, b: a - b)
_chain("Max", _maximum, nonnegative=any)
_chain("Min", tf.minimum, nonnegative=all)
_chain("Greater", tf.greater)
_chain("GreaterOrEqual", tf.greater_equal)
_chain("Less", tf.less)
_chain("LessOrEqual", tf.less_equal)
_chain("Equal", tf.equal)
_chain("And", tf.logical_and)
_chain("Or", tf.logical_or)
_unary("Not", tf.logical_not)


@operator("Mean")
def _mean(call: Call, *operands: Operand) -> Value:
    tensors, lead = aligned(*operands)
    return lead.with_tensor(sum(tensors[1:], tensors[0]) * np.float32(1 / len(tensors)))


@operator("Mul", takes_flattened=True)
def _mul(call: Call, a: Operand, b: Operand) -> Value:
    (x, y), lead = aligned(a, b)
    square = call.node.inputs[0] == call.node.inputs[1]
    return lead.with_tensor(x * y, nonnegative=square or (_is_nonnegative(a) and _is_nonnegative(b)))


def _divided(a: Operand, b: Value) -> Value:
    """a / b without DIV where the sign of b is known."""
    if b.radicand is not None:
        (x, y), lead = aligned(a, b.with_tensor(b.radicand))
        return lead.with_tensor(x * tf.math.rsqrt(y))
    (x, y), lead = aligned(a, b)
    if b.nonnegative:
        root = tf.math.rsqrt(y)
        return lead.with_tensor(x * root * root, nonnegative=_is_nonnegative(a))
    return lead.with_tensor(x / y)


@operator("Div", takes_flattened=True)
def _div(call: Call, a: Operand, b: Operand) -> Value:
    if isinstance(b, Value):
        return _divided(a, b)
    with np.errstate(divide="ignore"):
        (x, factor), lead = aligned(a, 1 / as_float(b))
    return lead.with_tensor(x * factor, nonnegative=_is_nonnegative(a) and _is_nonnegative(b))


@operator("Reciprocal", takes_flattened=True)
def _reciprocal(call: Call, x: Operand) -> Value:
    return _divided(np.ones(1, np.float32), call.value(x))


@operator("Pow", takes_flattened=True)
def _pow(call: Call, a: Operand, b: Operand) -> Value:
    if isinstance(b, Value):
        if isinstance(a, Value):
            (x, y), lead = aligned(a, b)
            return lead.with_tensor(tf.pow(x, y))
        (factor, y), lead = aligned(np.log(as_float(a)), b)
        return lead.with_tensor(tf.exp(y * factor), nonnegative=True)
    x, exponent = call.value(a), float(b.flat[0])
    if b.size != 1:
        (base, exponents), lead = aligned(x, b)
        return lead.with_tensor(tf.pow(base, exponents))
    if exponent == 2:
        return x.with_tensor(x.tensor * x.tensor, nonnegative=True)
    if exponent == 3:
        return x.with_tensor(x.tensor * x.tensor * x.tensor, nonnegative=x.nonnegative)
    if exponent == 0.5:
        return _sqrt(call, x)  # type: ignore[return-value]
    if exponent == -0.5:
        return x.with_tensor(tf.math.rsqrt(x.tensor), nonnegative=True)
    if exponent == -1:
        return _divided(np.ones(1, np.float32), x)
    return x if exponent == 1 else x.with_tensor(tf.pow(x.tensor, np.float32(exponent)), nonnegative=x.nonnegative)


@operator("Clip", takes_flattened=True)
def _clip(call: Call, x: Operand, low: Operand | None = None, high: Operand | None = None) -> Value:
    x = call.value(x)
    lowest = float(call.known("min", low).flat[0]) if low is not None else call.attribute("min", -math.inf)
    highest = float(call.known("max", high).flat[0]) if high is not None else call.attribute("max", math.inf)
    if abs(lowest) >= np.finfo(np.float32).max:
        lowest = -math.inf
    if abs(highest) >= np.finfo(np.float32).max:
        highest = math.inf
    if (lowest, highest) == (0, 6):
        return x.with_tensor(tf.nn.relu6(x.tensor), nonnegative=True)
    tensor = x.tensor
    if lowest == 0:
        tensor = tf.nn.relu(tensor)
    elif lowest != -math.inf:
        tensor = tf.maximum(tensor, np.float32(lowest))
    if highest != math.inf:
        tensor = tf.minimum(tensor, np.float32(highest))
    return x.with_tensor(tensor, nonnegative=lowest >= 0)


@operator("PRelu")
def _prelu(call: Call, x: Operand, slope: Operand) -> Value:
    x, slopes = call.value(x), call.known("slope", slope)
    if slopes.size == 1:
        return x.with_tensor(tf.nn.leaky_relu(x.tensor, float(slopes.flat[0])))
    held = x.constant(slopes)[0]
    # In this form it becomes PRELU.
    return x.with_tensor(tf.nn.relu(x.tensor) + (-held) * tf.nn.relu(tf.negative(x.tensor)))


@operator("Where")
def _where(call: Call, condition: Operand, a: Operand, b: Operand) -> Value:
    (chosen, x, y), lead = aligned(condition, a, b)
    return lead.with_tensor(tf.where(chosen, x, y), nonnegative=_is_nonnegative(a) and _is_nonnegative(b))
