"""Export a Keras 3 model in a form from which the TFLite converter makes fused, integer-only operators.

What Keras writes by default stands in the way of int8, so a few layers are written differently while the model is traced:

- LSTM carries the ``api_implements`` mark from which the converter makes UNIDIRECTIONAL_SEQUENCE_LSTM (Keras 2 had it), or is
  unrolled compactly; GRU is unrolled compactly. A while loop crashes the converter in calibration.
- LayerNormalization is subtract, multiply, rsqrt; Keras's own form holds a NEG, which has no int8 kernel.
- TimeDistributed folds time into the batch: one copy of the network instead of one a step.

All of them compute what Keras computes; the pipeline checks the float result against Keras.
"""

from __future__ import annotations

import collections.abc
import contextlib
import itertools
import pathlib
import typing

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from convert.recipe import LstmForm
from edge.errors import ConversionError

_MARKS = itertools.count()
"""TensorFlow takes functions of one mark for the same thing, and swaps them at will: no mark comes twice in a process."""

Loop = collections.abc.Callable[..., tuple[typing.Any, typing.Any, list[typing.Any]]]


def export(model: keras.Model, folder: pathlib.Path, *, lstm_form: LstmForm = "unrolled") -> tuple[dict[str, str], dict[str, str]]:
    """Write ``model`` as a SavedModel with a batch of one and static shapes.

    Returns:
        Public input names -> signature names, and the same for the outputs; signature names are plain ("input_0"), for public
        names may hold anything.

    Raises:
        ConversionError: an input has an open axis, or a layer cannot be exported.
    """
    public_inputs, public_outputs = list(input_names(model)), list(output_names(model))
    inputs = {name: f"input_{i}" for i, name in enumerate(public_inputs)}
    outputs = {name: f"output_{i}" for i, name in enumerate(public_outputs)}
    specs = []
    for tensor, name in zip(model.inputs, public_inputs, strict=True):
        if any(size is None for size in tensor.shape[1:]):
            raise ConversionError(f"input {name!r} of {model.name!r} has an open axis, {tuple(tensor.shape)}: build it with fixed sizes")
        specs.append(tf.TensorSpec((1, *tensor.shape[1:]), tf.float32, name=inputs[name]))

    def serve(*tensors):
        # An output may be an input or another output; the identity gives each a tensor of its own.
        return {outputs[name]: tf.identity(result) for name, result in call(model, list(tensors)).items()}

    module = tf.Module()
    # Only the variables: saving the model itself would trace Keras's own serving function, with an open batch.
    module.kept = [variable.value for variable in model.variables]
    try:
        with lowered(lstm_form):
            module.serve = tf.function(serve, input_signature=specs, autograph=False)
            tf.saved_model.save(module, str(folder), signatures=module.serve.get_concrete_function())
    except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
        raise ConversionError(f"{model.name!r} cannot be exported: {_first_line(error)}") from error
    return inputs, outputs


def input_names(model: keras.Model) -> tuple[str, ...]:
    """The model's input names, in the order of ``model.inputs``."""
    return tuple(tensor.name for tensor in model.inputs)


def output_names(model: keras.Model) -> tuple[str, ...]:
    """The keys of a dict of outputs, otherwise the names of the layers that make them; in the order of ``model.outputs``."""
    structure, count = _functional(model)._outputs_struct, len(model.outputs)
    if isinstance(structure, dict) and len(structure) == count:
        places = keras.tree.pack_sequence_as(structure, list(range(count)))
        return tuple(sorted(places, key=places.__getitem__))
    names = tuple(_functional(model).output_names)
    return names if len(set(names)) == len(names) else tuple(f"output_{i}" for i in range(len(names)))


def _functional(model: keras.Model) -> typing.Any:
    """The graph of layers within a model.

    Raises:
        ConversionError: it has none: a subclassed model, or one not built.
    """
    inner = getattr(model, "_functional", None) or model
    if not hasattr(inner, "_outputs_struct"):
        raise ConversionError(f"{model.name!r} is no functional or built sequential model: its inputs and outputs are not known")
    return inner


def call(model: keras.Model, tensors: list[typing.Any]) -> dict[str, typing.Any]:
    """Run ``model`` on tensors in the order of ``model.inputs``; outputs by public name."""
    structured = keras.tree.pack_sequence_as(_functional(model)._inputs_struct, tensors)
    return dict(zip(output_names(model), keras.tree.flatten(model(structured, training=False)), strict=True))


def predict(model: keras.Model, samples: collections.abc.Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What Keras itself computes: public input names -> (samples, *shape) in, public output names -> (samples, *shape) out."""
    return {name: result.numpy() for name, result in call(model, [tf.constant(samples[name]) for name in input_names(model)]).items()}


@contextlib.contextmanager
def lowered(lstm_form: LstmForm = "unrolled") -> collections.abc.Iterator[None]:
    """While this is open, Keras layers trace into forms that convert to int8. Not for two threads at once."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_replaced(layers.RNN, "inner_loop", lambda original: _unrolled_by_keras(original)))
        stack.enter_context(_replaced(layers.LSTM, "inner_loop", lambda original: _lstm(lstm_form)))
        stack.enter_context(_replaced(layers.GRU, "inner_loop", lambda original: _gru))
        stack.enter_context(_replaced(layers.LayerNormalization, "call", _layer_normalization))
        stack.enter_context(_replaced(layers.TimeDistributed, "call", _time_distributed))
        yield


@contextlib.contextmanager
def _replaced(owner: type, attribute: str, make: collections.abc.Callable) -> collections.abc.Iterator[None]:
    original = getattr(owner, attribute)
    setattr(owner, attribute, make(original))
    try:
        yield
    finally:
        setattr(owner, attribute, original)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _value(variable):
    # A variable handed into the annotated function is a resource there, and the converter crashes on it.
    return tf.convert_to_tensor(variable)


def _is_zero(tensor) -> bool:
    constant = tf.get_static_value(tensor)
    return constant is not None and not np.any(constant)


def _is(function, name: str) -> bool:
    return function is getattr(keras.activations, name)


# ---- recurrent layers


def _unrolled_by_keras(original: Loop) -> Loop:
    def inner_loop(self, sequences, initial_state, mask, training=False):
        unroll, self.unroll = self.unroll, True
        try:
            return original(self, sequences, initial_state, mask, training=training)
        finally:
            self.unroll = unroll

    return inner_loop


def _lstm(form: LstmForm) -> Loop:
    def inner_loop(self, sequences, initial_state, mask, training=False):
        if mask is not None:
            return layers.RNN.inner_loop(self, sequences, initial_state, mask, training=training)
        standard = _is(self.activation, "tanh") and _is(self.recurrent_activation, "sigmoid")
        fresh = all(_is_zero(state) for state in initial_state)
        # The fused operator knows one pair of activations, starts from zero and keeps its state to itself.
        if form == "fused" and standard and fresh and self.use_bias and not self.return_state and not self.stateful:
            run = _annotated_lstm(f"lstm_{next(_MARKS)}", self.go_backwards)
            weights = (_value(self.cell.kernel), _value(self.cell.recurrent_kernel), _value(self.cell.bias))
            last, outputs, *_ = run(sequences, *initial_state, *weights)
            return last, outputs, list(initial_state)
        return _compact_lstm(self, sequences, None if fresh else initial_state)

    return inner_loop


def _annotated_lstm(mark: str, go_backwards: bool):
    """A function with the mark, arguments and results that TFLite's PrepareCompositeFunctions pass fuses on.

    (input (batch, time, width), h, c, kernel, recurrent kernel, bias) -> (last, outputs, h, c, runtime); of the results only
    the first two survive the fusion.
    """

    def standard_lstm(inputs, h, c, kernel, recurrent_kernel, bias):
        batch, steps, units = inputs.shape[0], inputs.shape[1], recurrent_kernel.shape[0]
        sequence = tf.transpose(inputs, [1, 0, 2])
        if go_backwards:
            sequence = tf.reverse(sequence, [0])

        def step(state, x):
            h, c = state
            i, f, g, o = tf.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            return tf.sigmoid(o) * tf.tanh(c), c

        hs, cs = tf.scan(step, sequence, (h, c))
        outputs = tf.ensure_shape(tf.transpose(hs, [1, 0, 2]), (batch, steps, units))
        last, cell = (tf.ensure_shape(x[-1], (batch, units)) for x in (hs, cs))
        return last, outputs, last, cell, tf.constant(1.0)

    marks = {"api_implements": mark, "api_preferred_device": "CPU", "time_major": False, "go_backwards": go_backwards}
    return tf.function(standard_lstm, autograph=False, experimental_attributes=marks)


def _projected(inputs, kernel, bias, go_backwards: bool) -> list:
    """Input projections of all steps from one matrix product, as a list over time."""
    batch, steps, width = inputs.shape
    projected = tf.matmul(tf.reshape(inputs, (batch * steps, width)), kernel)
    if bias is not None:
        projected = projected + bias
    unstacked = tf.unstack(tf.reshape(projected, (batch, steps, -1)), axis=1)
    return unstacked[::-1] if go_backwards else unstacked


def _compact_lstm(layer: layers.LSTM, sequences, initial_state):
    """One step is a product, a sigmoid over three gates, two tanh and the state's arithmetic."""
    units, squash, gate = layer.units, layer.activation, layer.recurrent_activation

    def gates_together(weights):
        i, f, g, o = tf.split(_value(weights), 4, axis=-1)
        return tf.concat([i, f, o, g], axis=-1)

    kernel, recurrent = gates_together(layer.cell.kernel), gates_together(layer.cell.recurrent_kernel)
    bias = gates_together(layer.cell.bias) if layer.use_bias else None
    h: typing.Any
    c: typing.Any
    h, c = initial_state or (None, None)
    hs: list[typing.Any] = []
    for z in _projected(sequences, kernel, bias, layer.go_backwards):
        if h is not None:
            z = z + tf.matmul(h, recurrent)
        gates, g = gate(z[:, : 3 * units]), squash(z[:, 3 * units :])
        if c is None:  # A forget gate that nothing reads would be left without a range, and so in float.
            c = gates[:, :units] * g
            o = gates[:, 2 * units :]
        else:
            i, f, o = tf.split(gates, 3, axis=-1)
            c = f * c + i * g
        h = o * squash(c)
        hs.append(h)
    return h, tf.stack(hs, axis=1) if layer.return_sequences else h[:, None], [h, c]


def _gru(layer: layers.GRU, sequences, initial_state, mask, training=False):
    """Both forms of Keras's GRU (``reset_after`` or not), unrolled; state = update * state + (1 - update) * candidate."""
    if mask is not None:
        return layers.RNN.inner_loop(layer, sequences, initial_state, mask, training=training)
    units, squash, gate = layer.units, layer.activation, layer.recurrent_activation
    kernel, recurrent = _value(layer.cell.kernel), _value(layer.cell.recurrent_kernel)
    bias: typing.Any = _value(layer.cell.bias) if layer.use_bias else None
    pair = bias is not None and layer.reset_after
    input_bias, recurrent_bias = tuple(tf.unstack(bias)) if pair else (bias, None)
    # No first state where it is zero: as a constant it would be merged with a fused LSTM's state of the same width, which changes.
    h: typing.Any = None if _is_zero(initial_state[0]) else initial_state[0]
    hs: list[typing.Any] = []

    def two_gates(z):
        both = gate(z)
        # The first step's reset gate may meet zeros and drop out; the unread half of a SPLIT would stay in float.
        return tf.split(both, 2, axis=-1) if hs else (both[:, :units], both[:, units:])

    for z in _projected(sequences, kernel, input_bias, layer.go_backwards):
        if h is None:
            update, reset = two_gates(z[:, : 2 * units] if recurrent_bias is None else z[:, : 2 * units] + recurrent_bias[: 2 * units])
            inner = z[:, 2 * units :]
            candidate = squash(inner if recurrent_bias is None else inner + reset * recurrent_bias[2 * units :])
            h = candidate - update * candidate
        else:
            if layer.reset_after:
                inner = tf.matmul(h, recurrent)
                if recurrent_bias is not None:
                    inner = inner + recurrent_bias
                update, reset = two_gates(z[:, : 2 * units] + inner[:, : 2 * units])
                candidate = squash(z[:, 2 * units :] + reset * inner[:, 2 * units :])
            else:
                inner = tf.matmul(h, recurrent[:, : 2 * units])
                update, reset = two_gates(z[:, : 2 * units] + inner)
                candidate = squash(z[:, 2 * units :] + tf.matmul(reset * h, recurrent[:, 2 * units :]))
            h = candidate + update * (h - candidate)
        hs.append(h)
    return h, tf.stack(hs, axis=1) if layer.return_sequences else h[:, None], [h]


# ---- other layers


def _layer_normalization(original):
    def call(self, inputs):
        if self.rms_scaling:
            return original(self, inputs)
        axes = list(self.axis) if isinstance(self.axis, (list, tuple)) else [self.axis]
        centred = inputs - tf.reduce_mean(inputs, axes, keepdims=True)
        # centred * centred, for SQUARED_DIFFERENCE loses its range in calibration.
        variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
        result = centred * tf.math.rsqrt(variance + self.epsilon)
        shape = [size if axis in [a % len(inputs.shape) for a in axes] else 1 for axis, size in enumerate(inputs.shape)]
        if self.gamma is not None:
            result = result * tf.reshape(_value(self.gamma), shape)
        return result if self.beta is None else result + tf.reshape(_value(self.beta), shape)

    return call


def _time_distributed(original):
    def call(self, inputs, training=None, mask=None):
        batch, steps = inputs.shape[:2]
        if mask is not None or batch is None or steps is None:
            return original(self, inputs, training=training, mask=mask)
        options = {"training": training} if self.layer._call_has_training_arg else {}
        result = self.layer.call(tf.reshape(inputs, (batch * steps, *inputs.shape[2:])), **options)
        return tf.reshape(result, (batch, steps, *result.shape[1:]))

    return call
