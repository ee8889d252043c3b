"""Weights in int8, activations in float, and back: what ``dynamic_wi8_afp32`` makes of a float flatbuffer, without any converter.

The kernels that take such weights quantize their input on the run, row by row (TFLite's "hybrid" kernels).
"""

from __future__ import annotations

import typing

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert import flatbuffer

# Operator -> places of its weights among the inputs, and the axis with a scale of its own (None: one scale in all).
_HYBRID: dict[str, tuple[tuple[int, ...], int | None]] = {
    "CONV_2D": ((1,), 0),
    "DEPTHWISE_CONV_2D": ((1,), 3),
    "FULLY_CONNECTED": ((1,), None),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ((1, 2, 3, 4, 5, 6, 7, 8), None),
}
SMALLEST_WEIGHTS = 1024
"""Elements under which quantizing saves nothing (the converter's own limit)."""


def quantize_weights(model: typing.Any) -> int:
    """Quantize the weights of convolutions, dense layers and LSTMs to symmetric int8, in place; how many tensors were changed.

    A tensor that any other operator reads as well is left in float.
    """
    changed = 0
    for graph in model.subgraphs:
        kernels: dict[int, int | None] = {}
        read: dict[int, int] = {}
        total: dict[int, int] = {}
        for operator, plain in zip(flatbuffer.operators(model, model.subgraphs.index(graph)), graph.operators or [], strict=True):
            places, axis = _HYBRID.get(operator.name, ((), None))
            for place, index in enumerate(plain.inputs):
                total[index] = total.get(index, 0) + 1
                if place in places and index >= 0:
                    kernels[index] = axis
                    read[index] = read.get(index, 0) + 1
        for index, axis in kernels.items():
            tensor = graph.tensors[index]
            data = model.buffers[tensor.buffer].data
            if tensor.type != schema.TensorType.FLOAT32 or data is None or read[index] != total[index]:
                continue
            values = np.frombuffer(bytes(data), np.float32).reshape(flatbuffer.shape_of(model, index))
            if values.size < SMALLEST_WEIGHTS:
                continue
            _store(model, tensor, values, axis)
            changed += 1
    for code in model.operatorCodes:
        # Hybrid kernels with these layouts exist from these versions on.
        name = flatbuffer.OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
        least = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 2}.get(name, 1)
        code.version = max(code.version, least) if changed else code.version
    return changed


def _store(model: typing.Any, tensor: typing.Any, values: np.ndarray, axis: int | None) -> None:
    others = tuple(i for i in range(values.ndim) if i != axis)
    peak = np.abs(values).max(axis=others if axis is not None else None, keepdims=True)
    scale = np.where(peak > 0, peak / 127, 1).astype(np.float32)
    stored = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(stored.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer, tensor.type = len(model.buffers) - 1, schema.TensorType.INT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = scale.ravel()
    tensor.quantization.zeroPoint = np.zeros(scale.size, np.int64)
    tensor.quantization.quantizedDimension = axis or 0


def dequantize_weights(model: typing.Any) -> int:
    """Turn constants stored in int8 (with scales) or float16 into float32, in place; how many there were.

    For flatbuffers whose activations are float: from weight-only quantization, or with DEQUANTIZE operators behind the constants,
    which are dropped.
    """
    changed = 0
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is None or not len(data):
                continue
            shape = tuple(int(n) for n in np.ravel(tensor.shape)) if tensor.shape is not None else ()
            if tensor.type == schema.TensorType.FLOAT16:
                values = np.frombuffer(bytes(data), np.float16).astype(np.float32)
            elif tensor.type == schema.TensorType.INT8 and tensor.quantization is not None and tensor.quantization.scale is not None:
                values = _real(np.frombuffer(bytes(data), np.int8).reshape(shape), tensor.quantization)
            else:
                continue
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer, tensor.type, tensor.quantization = len(model.buffers) - 1, schema.TensorType.FLOAT32, None
            changed += 1
        if changed:
            _drop_dequantize(model, graph)
    flatbuffer.drop_unused_codes(model)
    return changed


def _real(stored: np.ndarray, quantization: typing.Any) -> np.ndarray:
    scale, zero = np.asarray(quantization.scale, np.float32), np.asarray(quantization.zeroPoint, np.float32)
    if scale.size > 1:
        axis = [1] * stored.ndim
        axis[quantization.quantizedDimension] = -1
        scale, zero = scale.reshape(axis), zero.reshape(axis)
    return (stored.astype(np.float32) - zero) * scale


def _drop_dequantize(model: typing.Any, graph: typing.Any) -> None:
    """Let readers of what DEQUANTIZE gave read the constant, which is float now."""
    renamed: dict[int, int] = {}
    kept = []
    for operator, plain in zip(graph.operators, flatbuffer.operators(model, model.subgraphs.index(graph)), strict=True):
        source = plain.inputs[0] if plain.inputs else -1
        constant = source >= 0 and graph.tensors[source].type == schema.TensorType.FLOAT32
        if plain.name == "DEQUANTIZE" and constant:
            renamed[plain.outputs[0]] = source
        else:
            kept.append(operator)
    graph.operators = kept
    for operator in kept:
        operator.inputs = np.array([renamed.get(int(i), int(i)) for i in operator.inputs], np.int32)
