"""Which inputs and outputs are images or sequences with their channels in ONNX's axis 1, and are channels-last in public."""

from __future__ import annotations

from convert.readers.onnx.graph import Graph, Node

_SPATIAL = {
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "Upsample", "BatchNormalization",
    "InstanceNormalization", "GroupNormalization", "DepthToSpace", "SpaceToDepth", "PRelu",
}  # fmt: skip
"""Operators whose data has channels in axis 1."""

_RECURRENT = {"LSTM", "GRU", "RNN"}

_KEEPING = {
    "Abs", "Add", "Cast", "Celu", "Clip", "Concat", "Div", "Dropout", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "Pad", "Pow", "Reciprocal", "Relu", "Selu", "Sigmoid", "Slice",
    "Softmax", "Softplus", "Split", "Sqrt", "Sub", "Sum", "Tanh", "Where",
}  # fmt: skip
"""Operators that leave every axis where it is."""

_Order = tuple[int, ...]


def _last(rank: int, channel: int) -> _Order:
    return (*(axis for axis in range(rank) if axis != channel), channel)


def input_order(graph: Graph, name: str) -> _Order:
    """The axes of an input in the order in which it is public: channels last if a convolution or pooling meets it so.

    A batch of image sequences, (N, T, C, H, W), that is folded into the batch counts as images. Sequences that have time in front
    of a batch of one, as recurrent layers take them, get the batch first.
    """
    rank, consumers = len(graph.shapes[name]), graph.consumers()
    asked, seen = [(name, 0)], set()
    while asked:
        value, folded = asked.pop()
        if value in seen:
            continue
        seen.add(value)
        for node in consumers.get(value, []):
            if node.kind in _SPATIAL and node.inputs[0] == value and len(graph.shapes[value]) > 2:
                return _last(rank, 1 + folded)
            if node.kind in _RECURRENT and graph.shapes[value][0] != 1 == graph.shapes[value][1]:
                return (1, 0, 2)
            if _keeps(graph, node, value):
                asked += [(output, folded) for output in node.outputs if output]
            elif node.kind == "Reshape" and graph.shapes[node.outputs[0]][1:] == graph.shapes[value][2:] and rank == 5:
                asked.append((node.outputs[0], 1))
    return tuple(range(rank))


def output_order(graph: Graph, name: str) -> _Order:
    """The same for an output, by what made it."""
    rank, producers = len(graph.shapes[name]), graph.producers()
    asked, seen = [name], set()
    while asked and rank > 2:
        value = asked.pop()
        node = producers.get(value)
        if value in seen or node is None:
            continue
        seen.add(value)
        if node.kind in _SPATIAL and node.outputs[0] == value:
            return _last(rank, 1)
        if node.kind in _KEEPING:
            asked += [source for source in node.inputs if source in graph.shapes and _keeps(graph, node, source)]
    return tuple(range(rank))


def _keeps(graph: Graph, node: Node, value: str) -> bool:
    return node.kind in _KEEPING and not node.domain and len(graph.shapes[node.outputs[0]]) == len(graph.shapes[value])
