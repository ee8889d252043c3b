"""Multiply-accumulates and stored weights of a ``.tflite``, from its shapes."""

from __future__ import annotations

import math
import typing

from convert import flatbuffer


def count_macs(content: bytes) -> int:
    """Multiply-accumulates of one inference: convolutions, dense layers, matrix products and LSTMs; nothing else counts.

    Every output element of a convolution takes kernel height x kernel width x input channels of them, of a dense layer its
    input width, of an LSTM step (input width + units) x 4 x units.
    """
    model = flatbuffer.unpack(content)

    def shape(index: int) -> tuple[int, ...]:
        return flatbuffer.shape_of(model, index)

    total = 0
    for operator in flatbuffer.operators(model):
        ins, outs = operator.inputs, operator.outputs
        if operator.name == "CONV_2D":
            total += math.prod(shape(outs[0])) * math.prod(shape(ins[1])[1:])
        elif operator.name == "DEPTHWISE_CONV_2D":
            total += math.prod(shape(outs[0])) * math.prod(shape(ins[1])[1:3])
        elif operator.name == "TRANSPOSE_CONV":
            total += math.prod(shape(ins[2])) * math.prod(shape(ins[1])[:3])
        elif operator.name == "FULLY_CONNECTED":
            total += math.prod(shape(outs[0])) * shape(ins[1])[-1]
        elif operator.name == "BATCH_MATMUL":
            total += math.prod(shape(outs[0])) * shape(ins[0])[-2 if operator.options.adjX else -1]
        elif operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            batch, steps, width = shape(ins[0])
            units = shape(outs[0])[-1]
            total += batch * steps * 4 * units * (width + units)
    return total


def count_weights(content: bytes) -> int:
    """Numbers stored as weights or biases of more than one element; shared ones count once, folded normalization not at all."""
    model = flatbuffer.unpack(content)
    numeric = ("INT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32")
    shapes_and_axes = ["RESHAPE", "STRIDED_SLICE", "SLICE", "TRANSPOSE", "MEAN", "SUM", "PAD", "SPLIT", "EXPAND_DIMS", "GATHER"]
    sizes: dict[typing.Any, int] = {}
    for operator in flatbuffer.operators(model):
        for position, index in enumerate(operator.inputs):
            tensor = model.subgraphs[0].tensors[index]
            data = model.buffers[tensor.buffer].data
            parameter = operator.name in shapes_and_axes and (position > 0 or operator.name == "SPLIT")
            count = math.prod(flatbuffer.shape_of(model, index))
            if data is not None and len(data) and count > 1 and not parameter and flatbuffer.TYPES[tensor.type] in numeric:
                sizes[tensor.buffer] = count
    return sum(sizes.values())
