"""A whole ONNX graph as TensorFlow operators, node by node; each is held against the shape that onnxruntime found."""

from __future__ import annotations

import collections.abc

import tensorflow as tf

from convert.readers import first_line
from convert.readers.onnx import (  # noqa: F401  (importing one fills the table)
    attention,
    dense,
    normalization,
    operators,
    recurrent,
    resize,
    shapes,
    spatial,
)
from convert.readers.onnx.graph import Graph, Key, Node
from convert.readers.onnx.table import OPERATORS, Call
from convert.readers.onnx.values import Operand, Value
from convert.recipe import LstmForm
from edge.errors import ConversionError


def supported() -> frozenset[Key]:
    """Domain and name of all operators that can be written."""
    return frozenset(OPERATORS)


def forms(graph: Graph) -> tuple[LstmForm, ...]:
    """In which forms the recurrent layers can be written."""
    fused = any(recurrent.can_fuse(node, graph) for node in graph.nodes)
    return ("fused", "unrolled") if fused else ("unrolled",)


def lower(graph: Graph, inputs: collections.abc.Mapping[str, Value], form: LstmForm) -> dict[str, Value]:
    """The outputs of the graph by name; called while TensorFlow traces.

    Raises:
        ConversionError: a node has a form that cannot be written.
    """
    values = dict(inputs)
    read = {*graph.outputs, *graph.consumers()}
    for node in graph.nodes:
        found = tuple(graph.shapes[name] if name in read else None for name in node.outputs)
        for name, value in zip(node.outputs, _write(Call(node, found, form), graph, values), strict=False):
            if name not in read or value is None:
                continue
            if value.shape != graph.shapes[name]:
                raise ConversionError(f"{node} cannot be written: it came to shape {value.shape}, and in ONNX it is {graph.shapes[name]}")
            values[name] = value
    return {name: values[name].settled() for name in graph.outputs}


def _write(call: Call, graph: Graph, values: dict[str, Value]) -> tuple[Value | None, ...]:
    entry = OPERATORS[call.node.key]

    def operand(name: str) -> Operand | None:
        if not name:
            return None
        if name in graph.constants:
            return graph.constants[name]
        return values[name] if entry.takes_flattened else values[name].settled()

    try:
        result = entry.write(call, *map(operand, call.node.inputs))
    except (ValueError, TypeError, NotImplementedError, KeyError, IndexError, tf.errors.OpError) as error:
        raise _failure(call.node, error) from error
    return result if isinstance(result, tuple) else (result,)


def _failure(node: Node, error: Exception) -> ConversionError:
    return ConversionError(f"{node} cannot be written: {first_line(error)}")
