"""Quantization-aware fine-tuning, for networks that lose more than half a point when they are converted.

As in Jacob et al. (2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference", section 3):
the forward pass rounds weights and activations as the device will, the backward pass takes rounding for the identity (straight-through
estimator) and stops at values that were clipped. Weights are symmetric int8, one scale an output channel, but one a tensor in dense
layers; activations are asymmetric int8, one range a tensor: what ``convert.quantize`` makes. Batch normalization is folded, with the
statistics that it learnt (Krishnamoorthi, 2018, section 3.2.2: frozen); its scale and offset go on learning.

Ranges are not learnt: they are measured on calibration samples of the float network, by the rule of ``convert.ranges``, and anew before
each round of training. So the network that comes out is an ordinary float one, trained for the very ranges that the converter will
find. Convolutions, dense layers, batch normalization, sums, and what is pointwise or moves values, are emulated. Recurrent layers,
separable convolutions, layers that are called twice and networks within networks compute in float, and only what they give is rounded.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import pathlib

import keras
import numpy as np
from keras import layers, ops

from convert import lowering, ranges
from convert.training.fit import Schedule, fit
from edge.errors import InputError

HALF_A_POINT = 0.005
SAMPLES = 200
"""Of the calibration, from which ranges are measured; as many as the converter narrows them by."""
ROUND = Schedule(epochs=1, batch=64, learning_rate=5e-4, weight_decay=0.0, warmup_epochs=0, ema_momentum=None)

_LINEAR = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_MOVING = (
    *(layers.Reshape, layers.Flatten, layers.Permute, layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D),
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.Cropping1D),
    *(layers.Cropping2D, layers.ZeroPadding1D, layers.ZeroPadding2D, layers.UpSampling2D, layers.RepeatVector),
    *(layers.AveragePooling1D, layers.AveragePooling2D),
)
"""What they give has the range of what they get."""


def worth_it(float_score: float, int8_score: float) -> bool:
    """Whether converting costs more than half a point; scores (accuracy, UAR) in [0, 1], of the same people."""
    return float_score - int8_score > HALF_A_POINT


def fine_tune(
    model: keras.Model,
    make: collections.abc.Callable[[np.ndarray, np.random.Generator], tuple[object, object]],
    *,
    rows: int,
    calibration: collections.abc.Mapping[str, np.ndarray],
    loss,
    output: str | None = "probabilities",
    rounds: int = 4,
    schedule: Schedule = ROUND,
    name: str,
    work: pathlib.Path,
    seed: int,
) -> keras.Model:
    """Train a float network on as it will be in int8; returns an ordinary float network of the same form, ``model`` is left as it is.

    Args:
        model: a trained functional network in float32.
        make: row numbers and generator -> (inputs, targets), as ``convert.training.fit.fit`` takes it.
        rows: how many training rows there are.
        calibration: input name -> (samples, *shape), the samples that the converter will get.
        loss: of ``output``, as ``keras.Model.compile`` takes it.
        output: what learns; None for all outputs, with a ``loss`` that fits them.
        rounds: how often ranges are measured and trained on; each is annealed and the next starts warm (Loshchilov & Hutter, 2017).
        schedule: of one round.
        name, work, seed: as ``fit`` takes them; a second call goes on where the first was cut.

    Raises:
        InputError: the calibration lacks an input of the network.
    """
    if missing := [key for key in lowering.input_names(model) if key not in calibration]:
        raise InputError(f"{model.name}: calibration lacks the input {', '.join(missing)}; it has {', '.join(calibration)}")
    learning = _copy(model)
    emulated = _Emulated(learning)
    trained = emulated.model
    if output is not None:
        answers = dict(zip(lowering.output_names(model), keras.tree.flatten(trained.output), strict=True))
        if output not in answers:
            raise InputError(f"{model.name} has no output {output}: it has {', '.join(answers)}")
        trained = keras.Model(trained.input, answers[output])
    for number in range(rounds):
        emulated.measure(calibration)
        fit(trained, make, rows=rows, schedule=schedule, loss=loss, name=f"{name}-qat{number}", work=work, seed=seed + number)
    made = _copy(model)
    made.set_weights(learning.get_weights())
    return made


def _copy(model: keras.Model) -> keras.Model:
    """The same network with weights of its own."""
    made = keras.models.clone_model(model)
    made.set_weights(model.get_weights())
    return made


@dataclasses.dataclass(frozen=True)
class Point:
    """A tensor that is int8 on the device: what a layer gives once, after what is fused into it."""

    layer: str
    narrowed: bool
    """Whether the converter narrows its range to that of least error."""


def points(model: keras.Model) -> list[Point]:
    """Where the converted network rounds activations, its inputs left out; in the order of the layers."""
    producers, consumers = _edges(model)
    outputs = {tensor._keras_history.operation.name for tensor in keras.tree.flatten(model.outputs)}
    found: dict[str, Point] = {}
    summed: set[str] = set()
    """Layers whose tensor is written by a convolution, a product or a sum."""
    for layer in model.layers:
        if isinstance(layer, (layers.InputLayer, layers.Softmax, *_MOVING)) or len(layer._inbound_nodes) != 1:
            continue
        before = producers[layer.name]
        fused = len(before) == 1 and before[0] in summed and before[0] not in found
        if isinstance(layer, (*_LINEAR, layers.Add)) or fused:
            summed.add(layer.name)
        after = consumers[layer.name]
        if layer.name in summed and layer.name not in outputs and len(after) == 1 and _fuses(layer, after[0]):
            continue
        exact = layer.name in outputs or any(isinstance(one, layers.Softmax) for one in after)
        found[layer.name] = Point(layer.name, layer.name in summed and not exact)
    return list(found.values())


def _fuses(layer: layers.Layer, after: layers.Layer) -> bool:
    """Whether the converter makes one operator of a layer and the only one behind it."""
    if isinstance(after, layers.BatchNormalization):
        return isinstance(layer, _LINEAR) and layer.activation is keras.activations.linear
    if getattr(layer, "activation", keras.activations.linear) is not keras.activations.linear:
        return False
    if isinstance(after, layers.ReLU):
        return after.max_value in (None, 6.0) and not after.negative_slope and not after.threshold
    return isinstance(after, layers.Activation) and after.activation in (keras.activations.relu, keras.activations.relu6)


def _edges(model: keras.Model) -> tuple[dict[str, list[str]], dict[str, list[layers.Layer]]]:
    """Names of the layers before, and the layers behind, each layer."""
    producers: dict[str, list[str]] = collections.defaultdict(list)
    consumers: dict[str, list[layers.Layer]] = collections.defaultdict(list)
    for layer in model.layers:
        for node in layer._inbound_nodes:
            for tensor in node.input_tensors:
                before = tensor._keras_history.operation
                producers[layer.name].append(before.name)
                consumers[before.name].append(layer)
    return producers, consumers


class _Emulated:
    """A network that computes as its converted self would: ``model`` shares its weights with the float one."""

    def __init__(self, plain: keras.Model):
        self._points = points(plain)
        _, consumers = _edges(plain)
        watched = [plain.get_layer(point.layer).output for point in self._points]
        self._observer = keras.Model(plain.inputs, watched) if watched else None
        self._names = lowering.input_names(plain)
        once = {layer.name for layer in plain.layers if len(layer._inbound_nodes) == 1}
        self._inputs = {key: _Rounded(name=f"round_input_{i}") for i, key in enumerate(self._names)}
        self._rounded = {point.layer: _Rounded(name=f"round_{point.layer}") for point in self._points}

        def emulate(layer, *args, **kwargs):
            if layer.name in once and isinstance(layer, _LINEAR):
                behind = consumers[layer.name]
                folded = behind[0] if len(behind) == 1 and _fuses(layer, behind[0]) else None
                x = _Linear(layer, folded if isinstance(folded, layers.BatchNormalization) else None)(args[0])
            elif layer.name in once and isinstance(layer, layers.BatchNormalization):
                x = _Frozen(layer)(args[0])
            else:
                x = layer(*args, **kwargs)
            return self._rounded[layer.name](x) if layer.name in self._rounded else x

        inner = keras.models.clone_model(plain, clone_function=lambda layer: layer, call_function=emulate)
        fresh = [keras.Input(tensor.shape[1:], name=key) for key, tensor in zip(self._names, plain.inputs, strict=True)]
        rounded = [self._inputs[key](x) for key, x in zip(self._names, fresh, strict=True)]
        self.model = keras.Model(fresh, inner(keras.tree.pack_sequence_as(lowering._functional(inner)._inputs_struct, rounded)))

    def measure(self, calibration: collections.abc.Mapping[str, np.ndarray]) -> None:
        """Set every range to what the converter would find."""
        count = min(len(calibration[key]) for key in self._names)
        some = np.linspace(0, count - 1, min(count, SAMPLES)).astype(int)
        inputs = [np.asarray(calibration[key], np.float32)[some] for key in self._names]
        for key, values in zip(self._names, inputs, strict=True):
            self._inputs[key].set(float(values.min()), float(values.max()))
        if self._observer is None:
            return
        structured = keras.tree.pack_sequence_as(lowering._functional(self._observer)._inputs_struct, inputs)
        given = self._observer(structured, training=False)
        for point, tensor in zip(self._points, keras.tree.flatten(given), strict=True):
            values = np.asarray(tensor)
            low, high = float(values.min()), float(values.max())
            if point.narrowed and high > low:
                low, high = ranges.least_error(np.histogram(values, ranges.BINS, (low, high))[0], low, high)
            self._rounded[point.layer].set(low, high)


class _Rounded(layers.Layer):
    """Any tensor -> the same on the 256 steps of its range, which contains 0 and is nudged so that 0 is a step."""

    def __init__(self, name: str | None = None):
        super().__init__(name=name)
        self.supports_jit = False  # XLA would take longer to compile a network than a round takes to train it

    def build(self, shape):
        self.low = self.add_weight(shape=(), initializer="zeros", trainable=False, name="low")
        self.high = self.add_weight(shape=(), initializer="ones", trainable=False, name="high")

    def set(self, low: float, high: float) -> None:
        """Take this range, from now on."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = max(high - low, 1e-6) / ranges.STEPS
        zero = round(-low / step)
        self.low.assign(-zero * step)
        self.high.assign((ranges.STEPS - zero) * step)

    def call(self, x):
        clipped = ops.clip(x, self.low, self.high)
        step = (self.high - self.low) / ranges.STEPS
        return clipped + ops.stop_gradient(ops.round(clipped / step) * step - clipped)


class _Linear(layers.Layer):
    """A convolution or a dense layer whose weights are rounded; they stay those of ``inner``.

    One scale an output channel makes the same of a kernel and of the folded one; a dense layer's one scale does not.
    """

    def __init__(self, inner: layers.Layer, folded: layers.BatchNormalization | None):
        super().__init__(name=f"rounded_{inner.name}")
        self.inner, self.folded = inner, folded
        self.built = True

    def call(self, x):
        inner, kernel = self.inner, self.inner.kernel
        depthwise = isinstance(inner, (layers.DepthwiseConv1D, layers.DepthwiseConv2D))
        if isinstance(inner, layers.Dense):
            factor = ops.ones(()) if self.folded is None else ops.stop_gradient(_factor(self.folded))
            factor = ops.where(factor == 0, 1.0, factor)
            kernel = _symmetric(kernel * factor, None) / factor
            y = ops.matmul(x, kernel)
        elif depthwise:
            kernel = _symmetric(kernel, tuple(range(len(kernel.shape) - 2)))
            strides, rate = inner.strides, inner.dilation_rate
            y = ops.depthwise_conv(x, kernel, strides=strides, padding=inner.padding, dilation_rate=rate, data_format=inner.data_format)
        else:
            y = inner.convolution_op(x, _symmetric(kernel, tuple(range(len(kernel.shape) - 1))))
        if inner.use_bias:
            y = y + inner.bias
        return inner.activation(y)

    def compute_output_shape(self, shape):
        return self.inner.compute_output_shape(shape)


class _Frozen(layers.Layer):
    """Batch normalization with the statistics it has, in training too; scale and offset stay those of ``inner``."""

    def __init__(self, inner: layers.BatchNormalization):
        super().__init__(name=f"frozen_{inner.name}")
        self.inner = inner
        self.built = True

    def call(self, x):
        factor = _factor(self.inner)
        offset = -ops.stop_gradient(self.inner.moving_mean) * factor
        return x * factor + (offset + self.inner.beta if self.inner.center else offset)


def _factor(normalization: layers.BatchNormalization):
    """By what it multiplies each channel: gamma / sqrt(variance + epsilon)."""
    scale = ops.rsqrt(ops.stop_gradient(normalization.moving_variance) + normalization.epsilon)
    return scale * normalization.gamma if normalization.scale else scale


def _symmetric(weights, axes: tuple[int, ...] | None):
    """Weights on the 255 steps of int8 without -128, one scale for all that lie along ``axes``; the gradient passes."""
    step = ops.maximum(ops.max(ops.abs(weights), axis=axes, keepdims=True), 1e-8) / 127.0
    return weights + ops.stop_gradient(ops.round(weights / step) * step - weights)
