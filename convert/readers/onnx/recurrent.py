"""ONNX's LSTM, GRU and RNN, in the forms that ``convert.lowering`` makes for Keras's layers."""

from __future__ import annotations

import dataclasses
import itertools
import typing

import numpy as np
import tensorflow as tf

from convert import lowering
from convert.readers.onnx.graph import Graph, Node
from convert.readers.onnx.operators import hard_sigmoid
from convert.readers.onnx.table import Call, operator
from convert.readers.onnx.values import Operand, Value, as_float

_MARKS = itertools.count()


@dataclasses.dataclass(frozen=True)
class _Cell:
    kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Layer:
    """One direction of a layer, with what ``lowering`` reads of a Keras layer; kernels (width, gates x units)."""

    units: int
    cell: _Cell
    activation: typing.Any
    recurrent_activation: typing.Any
    go_backwards: bool
    reset_after: bool = False
    return_sequences: bool = True
    use_bias: bool = True


def can_fuse(node: Node, graph: Graph) -> bool:
    """Whether UNIDIRECTIONAL_SEQUENCE_LSTM can do it: usual activations, zero at the start, and nobody reads the last cell state."""
    if node.kind != "LSTM":
        return False
    reads = {*graph.outputs, *graph.consumers()}
    cell_read = len(node.outputs) > 2 and node.outputs[2] in reads
    states = [name for name in node.inputs[5:7] if name]
    fresh = all(name in graph.constants and not graph.constants[name].any() for name in states)
    return fresh and not cell_read and _is_standard(node.attributes)


def _is_standard(attributes: dict[str, typing.Any]) -> bool:
    wanted = ["sigmoid", "tanh", "tanh"]
    named = [name.lower() for name in attributes.get("activations", [])]
    return named in ([], wanted, wanted * 2)


_ACTIVATIONS = {"tanh": tf.tanh, "sigmoid": tf.sigmoid, "relu": tf.nn.relu}


def _activations(call: Call, usual: list[str], direction: int) -> list[typing.Any]:
    """The functions of one direction, in ONNX's order."""
    named = [name.lower() for name in call.attribute("activations") or usual * 2]
    named = named[direction * len(usual) :][: len(usual)]
    alphas, betas = (call.attribute(name) or [] for name in ("activation_alpha", "activation_beta"))
    found = []
    for name in named:
        if name == "hardsigmoid" and not alphas and not betas:
            found.append(lambda x: hard_sigmoid(x, 0.2, 0.5))
        elif name in _ACTIVATIONS:
            found.append(_ACTIVATIONS[name])
        else:
            raise call.refusal(f"activation {name!r}{' with parameters' * bool(alphas or betas)} is not supported")
    return found


def _directions(call: Call) -> list[bool]:
    """Which run backwards."""
    return {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[call.attribute("direction", "forward")]


def _sequences(call: Call, x: Operand, lengths: Operand | None) -> typing.Any:
    """(batch, steps, width)."""
    value = call.value(x)
    tensor = value.arranged((1, 0, 2))
    if lengths is not None and np.any(call.known("sequence_lens", lengths) != int(tensor.shape[1])):
        raise call.refusal("sequence_lens shorter than the input are not supported")
    if call.attribute("clip"):
        raise call.refusal("clip is not supported")
    return tensor


def _weights(call: Call, w: Operand, r: Operand, b: Operand | None, gates: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kernel, recurrent = as_float(call.known("W", w)), as_float(call.known("R", r))
    if b is None:
        b = np.zeros((kernel.shape[0], 2 * kernel.shape[1]), np.float32)
    return kernel, recurrent, as_float(call.known("B", b)).reshape(kernel.shape[0], 2, -1)


def _gates(weights: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """The blocks of the first axis in another order, and that axis last."""
    parts = np.split(weights, len(order), axis=0)
    return np.ascontiguousarray(np.concatenate([parts[gate] for gate in order], axis=0).T)


def _state(call: Call, state: Operand | None, direction: int) -> typing.Any:
    """(batch, units) of one direction; None where it is zero."""
    if state is None or (isinstance(state, np.ndarray) and not state.any()):
        return None
    tensor = as_float(state) if isinstance(state, np.ndarray) else state.ordered()
    return tf.constant(tensor[direction]) if isinstance(tensor, np.ndarray) else tensor[direction]


def _outputs(call: Call, sequences: list[typing.Any], finals: list[list[typing.Any]]) -> tuple[Value | None, ...]:
    """Y, (steps, directions, batch, units), of (batch, steps, units) of each direction, and the last states of each."""
    count = len(sequences)
    results: list[Value | None] = [None] * len(call.shapes)
    if call.shapes[0] is not None:
        joined = tf.concat(sequences, -1) if count > 1 else sequences[0]
        batch, steps, width = (int(size) for size in joined.shape)
        held = tf.reshape(joined, (batch, steps, count, width // count))
        results[0] = Value(held, (2, 0, 1, 3))
    for number, states in enumerate(finals[: len(call.shapes) - 1], start=1):
        if call.shapes[number] is not None:
            joined = tf.concat(states, -1) if count > 1 else states[0]
            batch, width = (int(size) for size in joined.shape)
            held = tf.reshape(joined, (batch, count, width // count))
            results[number] = Value(held, (1, 0, 2))
    return tuple(results)


def _forward_in_time(outputs: typing.Any, backwards: bool) -> typing.Any:
    return tf.reverse(outputs, [1]) if backwards else outputs


@operator("LSTM")
def _lstm(
    call: Call, x: Operand, w: Operand, r: Operand, b: Operand | None = None, lengths: Operand | None = None,
    h: Operand | None = None, c: Operand | None = None, peepholes: Operand | None = None,
) -> tuple[Value | None, ...]:  # fmt: skip
    tensor = _sequences(call, x, lengths)
    if peepholes is not None and np.any(call.known("P", peepholes)):
        raise call.refusal("peepholes are not supported")
    if call.attribute("input_forget", 0):
        raise call.refusal("input_forget is not supported")
    kernels, recurrents, biases = _weights(call, w, r, b, 4)
    sequences, last_h, last_c = [], [], []
    for number, backwards in enumerate(_directions(call)):
        order = (0, 2, 3, 1)  # ONNX counts input, output, forget, cell; Keras input, forget, cell, output.
        cell = _Cell(_gates(kernels[number], order), _gates(recurrents[number], order), _gates(biases[number].sum(axis=0), order))
        states = [_state(call, state, number) for state in (h, c)]
        gate, squash, squash_out = _activations(call, ["sigmoid", "tanh", "tanh"], number)
        if squash is not squash_out:
            raise call.refusal("two different activations of cell and output are not supported")
        units = recurrents.shape[2]
        cell_read = len(call.shapes) > 2 and call.shapes[2] is not None
        if call.form == "fused" and states == [None, None] and not cell_read and _is_standard(call.node.attributes):
            run = lowering._annotated_lstm(f"lstm_onnx_{next(_MARKS)}", backwards)
            zero = tf.zeros((int(tensor.shape[0]), units))
            weights = (tf.constant(cell.kernel), tf.constant(cell.recurrent_kernel), tf.constant(cell.bias))
            final_h, outputs, *_ = run(tensor, zero, zero, *weights)
            final_c = None
        else:
            layer = _Layer(units, cell, squash, gate, backwards)
            initial = _both(states, (int(tensor.shape[0]), units))
            final_h, outputs, (_, final_c) = lowering._compact_lstm(typing.cast(typing.Any, layer), tensor, initial)
        sequences.append(_forward_in_time(outputs, backwards))
        last_h.append(final_h)
        last_c.append(final_c)
    return _outputs(call, sequences, [last_h, last_c])


def _both(states: list[typing.Any], shape: tuple[int, int]) -> list[typing.Any] | None:
    """Two initial states, or None where both are zero."""
    if states == [None, None]:
        return None
    return [_nothing(shape) if state is None else state for state in states]


def _nothing(shape: tuple[int, int]) -> typing.Any:
    """A state of zeros, negative ones: the converter merges equal constants, and those of a fused LSTM beside it are overwritten."""
    return tf.constant(np.full(shape, -0.0, np.float32))


@operator("GRU")
def _gru(
    call: Call, x: Operand, w: Operand, r: Operand, b: Operand | None = None, lengths: Operand | None = None, h: Operand | None = None
) -> tuple[Value | None, ...]:
    tensor = _sequences(call, x, lengths)
    kernels, recurrents, biases = _weights(call, w, r, b, 3)
    after = bool(call.attribute("linear_before_reset", 0))
    sequences, last_h = [], []
    for number, backwards in enumerate(_directions(call)):
        order = (0, 1, 2)
        bias = biases[number] if after else biases[number].sum(axis=0)
        cell = _Cell(_gates(kernels[number], order), _gates(recurrents[number], order), bias)
        gate, squash = _activations(call, ["sigmoid", "tanh"], number)
        units, state = recurrents.shape[2], _state(call, h, number)
        initial = _nothing((int(tensor.shape[0]), units)) if state is None else state
        layer = _Layer(units, cell, squash, gate, backwards, reset_after=after)
        final, outputs, _ = lowering._gru(typing.cast(typing.Any, layer), tensor, [initial], None)
        sequences.append(_forward_in_time(outputs, backwards))
        last_h.append(final)
    return _outputs(call, sequences, [last_h])


@operator("RNN")
def _rnn(
    call: Call, x: Operand, w: Operand, r: Operand, b: Operand | None = None, lengths: Operand | None = None, h: Operand | None = None
) -> tuple[Value | None, ...]:
    tensor = _sequences(call, x, lengths)
    kernels, recurrents, biases = _weights(call, w, r, b, 1)
    sequences, last_h = [], []
    for number, backwards in enumerate(_directions(call)):
        (squash,) = _activations(call, ["tanh"], number)
        state, steps = _state(call, h, number), []
        recurrent = np.ascontiguousarray(recurrents[number].T)
        for z in lowering._projected(tensor, np.ascontiguousarray(kernels[number].T), biases[number].sum(axis=0), backwards):
            state = squash(z if state is None else z + tf.matmul(state, recurrent))
            steps.append(state)
        sequences.append(tf.stack(steps[::-1] if backwards else steps, axis=1))
        last_h.append(state)
    return _outputs(call, sequences, [last_h])
