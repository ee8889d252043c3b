"""What exporters write in a way that the device does not take well, written anew in the graph."""

from __future__ import annotations

import collections.abc
import math

import numpy as np

from convert.readers.onnx.graph import Graph, Node

_GRID = np.linspace(-6, 6, 241)
_LARGEST = 12
"""Operators in one activation; the tanh form of GELU takes eight."""

_erf = np.vectorize(math.erf)
_FUNCTIONS: dict[str, collections.abc.Callable[..., np.ndarray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Tanh": np.tanh, "Erf": _erf,
}  # fmt: skip

_GELU = {
    "none": 0.5 * _GRID * (1 + _erf(_GRID / math.sqrt(2))),
    "tanh": 0.5 * _GRID * (1 + np.tanh(math.sqrt(2 / math.pi) * (_GRID + 0.044715 * _GRID**3))),
}
"""Hendrycks and Gimpel 2016, equation in section 2 and its approximation."""


MASKED = -64.0
"""Stands for minus infinity in front of a softmax: exp(-64) is nothing in float, and int8 still resolves the other scores."""


def soften_masks(graph: Graph) -> int:
    """Raise what constant masks add to scores, or put in their place, in front of a softmax alone, to MASKED; how many masks."""
    consumers, softened = graph.consumers(), 0
    for node in graph.nodes:
        readers = consumers.get(node.outputs[0], [])
        if node.kind not in ("Add", "Where") or not readers or any(reader.kind != "Softmax" for reader in readers):
            continue
        for name in node.inputs:
            mask = graph.constants.get(name)
            if mask is not None and mask.dtype.kind == "f" and mask.size and mask.min() < MASKED and consumers[name] == [node]:
                graph.constants[name] = np.maximum(mask, MASKED).astype(mask.dtype)
                softened += 1
    return softened


def fuse_gelu(graph: Graph) -> int:
    """Put a Gelu in place of operators that compute one from a single value; how many.

    Before opset 20 there is no such operator: PyTorch writes x * 0.5 * (1 + erf(x / sqrt 2)), in an order that varies.
    """
    producers = graph.producers()
    places = {id(node): place for place, node in enumerate(graph.nodes)}
    fused = 0
    for place, node in enumerate(graph.nodes):
        if node.kind != "Mul":
            continue
        for leaf, region in _regions(node, graph, producers, places):
            form = _gelu_form(leaf, sorted(region, key=lambda inner: places[id(inner)]), graph)
            if form is not None:
                graph.nodes[place] = Node("", "Gelu", node.name, (leaf,), node.outputs, {"approximate": form}, 20)
                fused += 1
                break
    graph.prune()
    return fused


def _regions(
    node: Node, graph: Graph, producers: dict[str, Node], places: dict[int, int]
) -> collections.abc.Iterator[tuple[str, list[Node]]]:
    """Growing groups of operators that end in ``node`` and depend on one value, with that value."""
    region, leaves = [node], {name for name in node.inputs if name not in graph.constants}
    while len(region) < _LARGEST:
        if len(leaves) == 1:
            yield next(iter(leaves)), region
        latest = max(leaves, key=lambda name: places[id(producers[name])] if name in producers else -1, default="")
        maker = producers.get(latest)
        if maker is None or maker.kind not in _FUNCTIONS or maker.domain:
            return
        region.append(maker)
        leaves = (leaves - {latest}) | {name for name in maker.inputs if name not in graph.constants}


def _gelu_form(leaf: str, region: list[Node], graph: Graph) -> str | None:
    if not {"Erf", "Tanh"}.intersection(node.kind for node in region):
        return None
    values = {leaf: _GRID}
    for node in region:
        arguments = [values.get(name, graph.constants.get(name)) for name in node.inputs]
        if any(
            argument is None or (argument is not values.get(name) and argument.size != 1)
            for name, argument in zip(node.inputs, arguments, strict=True)
        ):
            return None
        with np.errstate(all="ignore"):
            values[node.outputs[0]] = _FUNCTIONS[node.kind](*(np.asarray(argument, np.float64).reshape(-1) for argument in arguments))
    result = values[region[-1].outputs[0]]
    return next((form for form, expected in _GELU.items() if np.allclose(result, expected, atol=2e-6)), None)
