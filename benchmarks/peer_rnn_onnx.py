"""Taught Keras LSTMs and GRUs as ONNX files with ONNX's own recurrent operators, as PyTorch's exporter writes them.

tf2onnx turns a Keras 3 recurrent layer into a Loop, which no quantizer enters: from these files every converter that reads ONNX has
the same chance.
"""

from __future__ import annotations

import pathlib
import typing

import numpy as np

OPSET = 17


class _Writer:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes: list[typing.Any] = []
        self.weights: list[typing.Any] = []

    def weight(self, name: str, array: np.ndarray) -> str:
        from onnx import numpy_helper

        whole = array.dtype.kind in "iu"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.int64 if whole else np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: typing.Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]


def write(model: typing.Any, path: pathlib.Path) -> None:
    """Write a Keras model of one input, recurrent layers and one dense softmax to ``path``.

    ONNX orders LSTM gates input, output, forget, cell (ONNX operators, LSTM), Keras input, forget, cell, output; both order GRU gates
    update, reset, hidden, and Keras resets after the product (``linear_before_reset``).
    """
    import keras
    import onnx
    from onnx import TensorProto, helper

    writer = _Writer()
    steps, width = model.inputs[0].shape[1:]
    name = writer.node("Transpose", ["frames"], ["steps_first"], perm=[1, 0, 2])
    recurrent = [layer for layer in model.layers if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)]
    for number, layer in enumerate(recurrent):
        both = isinstance(layer, keras.layers.Bidirectional)
        parts = [layer.forward_layer, layer.backward_layer] if both else [layer]
        name = _recurrent(writer, name, number, parts, sequence=layer.return_sequences)
    kernel, bias = (np.asarray(value) for value in model.layers[-1].get_weights())
    writer.node("Gemm", [name, writer.weight("kernel", kernel), writer.weight("bias", bias)], ["logits"])
    writer.node("Softmax", ["logits"], ["probabilities"], axis=-1)
    graph = helper.make_graph(
        writer.nodes,
        model.name,
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, steps, width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, kernel.shape[1]])],
        writer.weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, path)


def _recurrent(writer: _Writer, name: str, number: int, parts: list[typing.Any], *, sequence: bool) -> str:
    """One layer; in and out are (steps, 1, width), or (1, width) of the last step."""
    kind = type(parts[0]).__name__
    units = parts[0].units
    order = [0, 3, 1, 2] if kind == "LSTM" else [0, 1, 2]

    def gates(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array[..., i * units : (i + 1) * units] for i in order], axis=-1)

    weights = [[np.asarray(value) for value in part.get_weights()] for part in parts]
    kernel = np.stack([gates(w[0]).T for w in weights])
    recurrent = np.stack([gates(w[1]).T for w in weights])
    if kind == "LSTM":
        bias = np.stack([np.concatenate([gates(w[2]), np.zeros(4 * units)]) for w in weights])
    else:
        bias = np.stack([np.concatenate([gates(w[2][0]), gates(w[2][1])]) for w in weights])
    stored = [writer.weight(f"{part}_{number}", array) for part, array in (("w", kernel), ("r", recurrent), ("b", bias))]
    options: dict[str, typing.Any] = {"hidden_size": units, "direction": "bidirectional" if len(parts) > 1 else "forward"}
    if kind == "GRU":
        options["linear_before_reset"] = 1
    every, last = f"every_{number}", f"last_{number}"
    zero = writer.weight(f"zero_{number}", np.zeros((len(parts), 1, units)))
    # No sequence lengths; the states at the start are written out, as PyTorch does: onnx2tf fails without.
    writer.node(kind, [name, *stored, "", *[zero] * (2 if kind == "LSTM" else 1)], [every, last], **options)
    if sequence:  # (steps, directions, 1, units)
        turned = writer.node("Transpose", [every], [f"turned_{number}"], perm=[0, 2, 1, 3])
        shape = writer.weight(f"shape_{number}", np.array([0, 0, -1]))
        return writer.node("Reshape", [turned, shape], [f"joined_{number}"])
    turned = writer.node("Transpose", [last], [f"turned_{number}"], perm=[1, 0, 2])
    return writer.node("Reshape", [turned, writer.weight(f"shape_{number}", np.array([0, -1]))], [f"joined_{number}"])
