"""Loops of a frozen TensorFlow graph written out step by step, as often as they run.

The converter has no int8 form of a while loop: it crashes while calibrating one. A recurrent layer in a SavedModel is such a loop
over lists of tensors, with a count that is known as soon as the shapes are. So the graph is walked once: what is known is computed,
lists become lists, loops are repeated, and every other operator is called again as it stands.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_library, op_def_registry

from edge.errors import ConversionError

STEPS_AT_MOST = 2000
LOOPS = ("While", "StatelessWhile")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf")
_SAME = ("Identity", "StopGradient", "PreventGradient", "EnsureShape", "Snapshot")

Value = typing.Any
"""A symbolic tensor, a NumPy array where it is known, or a list of either (a TensorList)."""


class Walk:
    """Calls the nodes of a graph again.

    Args:
        definition: a frozen graph, with the functions it calls in its library.
        name: of the model, for errors.
    """

    def __init__(self, definition: typing.Any, name: str):
        self._definition = definition
        self._functions = {function.signature.name: function for function in definition.library.function}
        self._name = name

    def run(self, inputs: collections.abc.Mapping[str, Value], outputs: collections.abc.Sequence[str]) -> list[Value]:
        """Values of ``outputs`` (tensor names) with placeholders (node name -> tensor) given."""
        scope = _Scope(self._definition.node, dict(inputs))
        return [self._tensor(scope, name) for name in outputs]

    def _call(self, function: str, arguments: list[Value]) -> list[Value]:
        body = self._functions[function]
        names = [argument.name for argument in body.signature.input_arg]
        scope = _Scope(body.node_def, dict(zip(names, arguments, strict=True)))
        return [self._tensor(scope, body.ret[argument.name]) for argument in body.signature.output_arg]

    def _tensor(self, scope: _Scope, name: str) -> Value:
        node, _, place = name.partition(":")
        if node in scope.given:
            return scope.given[node]
        if node not in scope.results:
            self._compute(scope, node)
        results = scope.results[node]
        argument, _, index = place.rpartition(":")
        if not argument and not place.isdecimal() and place:
            argument, index = place, "0"
        # "node", "node:1" in a graph; "node:output:0" in a function.
        start = results.starts[argument] if argument else 0
        return results.values[start + int(index or 0)]

    def _compute(self, scope: _Scope, wanted: str) -> None:
        """Results of a node and of all before it; no recursion, for an unrolled graph is thousands deep."""
        waiting = [wanted]
        while waiting:
            name = waiting[-1]
            if name in scope.results or name in scope.given:
                waiting.pop()
                continue
            node = scope.nodes[name]
            sources = [source.split(":")[0] for source in node.input if not source.startswith("^")]
            missing = [source for source in sources if source not in scope.results and source not in scope.given]
            if missing:
                waiting += missing
                continue
            arguments = [self._tensor(scope, source) for source in node.input if not source.startswith("^")]
            scope.results[name] = self._node(node, arguments, starting=scope.starting)
            waiting.pop()

    def _node(self, node: typing.Any, arguments: list[Value], *, starting: bool) -> _Results:
        if node.op == "Const":
            return _Results([tf.make_ndarray(node.attr["value"].tensor)], {"output": 0})
        if node.op in _SAME:
            return _Results(arguments[:1], {"output": 0})
        if node.op in LOOPS:
            return _Results(self._loop(node, arguments), {"output": 0})
        if node.op in _CALLS:
            return _Results(self._call(node.attr["f"].func.name, arguments), {"output": 0})
        if node.op in _BRANCHES:
            condition = _known(arguments[0])
            if condition is None:
                raise ConversionError(f"{self._name!r}: node {node.name!r} branches on its input, which no device graph can: rewrite it")
            branch = node.attr["then_branch" if condition else "else_branch"].func.name
            return _Results(self._call(branch, arguments[1:]), {"output": 0})
        if node.op in _LISTS:
            return _Results([_LISTS[node.op](*arguments)], dict.fromkeys(("output_handle", "handle", "tensor", "item", "length"), 0))
        if node.op == "Split" and starting:
            return _Results(_slices(arguments[1], _whole(arguments[0]), node.attr["num_split"].i), {"output": 0})
        shorter = _without_zeros(node, arguments)
        return _Results([shorter], {"z": 0, "product": 0}) if shorter is not None else _plain(node, arguments, self._name)

    def _loop(self, node: typing.Any, state: list[Value]) -> list[Value]:
        condition, body = node.attr["cond"].func.name, node.attr["body"].func.name
        for _ in range(STEPS_AT_MOST):
            goes_on = _known(self._call(condition, state)[0])
            if goes_on is None:
                what = "runs until something in its input says so, and its length is not fixed"
                raise ConversionError(f"{self._name!r}: loop {node.name!r} {what}: give the .keras file, or a model without it")
            if not goes_on:
                return state
            state = self._call(body, state)
        raise ConversionError(f"{self._name!r}: loop {node.name!r} runs more than {STEPS_AT_MOST} times: shorten the input")


class _Scope:
    """One graph or function body while it is walked."""

    def __init__(self, nodes: typing.Any, given: dict[str, Value]):
        self.nodes = {node.name: node for node in nodes}
        self.given = given
        self.results: dict[str, _Results] = {}
        self.starting = any(isinstance(value, np.ndarray) and _is_zero_state(value) for value in given.values())
        """The first step of a recurrent layer, whose states are zero."""


def _is_zero_state(value: np.ndarray) -> bool:
    return value.dtype.kind == "f" and value.ndim == 2 and not np.any(value)


def _slices(value: Value, axis: int, count: int) -> list[Value]:
    """SPLIT as slices: those that nobody reads go, where an unread part of a SPLIT would stay, in float."""
    size = int(value.shape[axis]) // count
    axis %= len(value.shape)
    return [value[(slice(None),) * axis + (slice(i * size, (i + 1) * size),)] for i in range(count)]


class _Results:
    """What a node gave: all its tensors, and where each of its named outputs starts among them."""

    def __init__(self, values: list[Value], starts: dict[str, int]):
        self.values, self.starts = values, starts


def _set(items: list[Value], index: Value, item: Value) -> list[Value]:
    changed = list(items)
    changed[_whole(index)] = item
    return changed


def _whole(value: Value) -> int:
    return int(np.ravel(_known(value))[0])


def _stack(items: list[Value], *_: Value) -> Value:
    return np.stack(items) if all(isinstance(item, np.ndarray) for item in items) else tf.stack(items)


_LISTS: dict[str, collections.abc.Callable[..., Value]] = {
    "TensorListReserve": lambda shape, count: [None] * _whole(count),
    "EmptyTensorList": lambda shape, most: [],
    "TensorListFromTensor": lambda tensor, shape: tf.unstack(tensor, axis=0),
    "TensorListGetItem": lambda items, index, shape: items[_whole(index)],
    "TensorListSetItem": _set,
    "TensorListPushBack": lambda items, item: [*items, item],
    "TensorListStack": _stack,
    "TensorListLength": lambda items: np.int32(len(items)),
}


def _known(value: Value) -> typing.Any:
    """The value as NumPy if it does not depend on the input, else None."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value
    return tf.get_static_value(value)


def _without_zeros(node: typing.Any, arguments: list[Value]) -> Value | None:
    """What a sum or product with a known zero comes to, None where there is none: the states that a recurrent layer starts from.

    Left to the converter, parts of the first step are dropped after calibration, and their neighbours stay in float.
    """
    if node.op not in ("Mul", "Add", "AddV2", "MatMul") or len(arguments) != 2:
        return None
    zero = [isinstance(value, (np.ndarray, np.generic)) and not np.any(value) for value in arguments]
    if zero == [False, False]:
        return None
    shapes = [tf.TensorShape(value.shape) for value in arguments]
    kind = next(value.dtype if zeroed else None for value, zeroed in zip(arguments, zero, strict=True) if zeroed)
    if node.op == "MatMul":
        return np.zeros((shapes[0][0], shapes[1][1]), kind) if not (node.attr["transpose_a"].b or node.attr["transpose_b"].b) else None
    shape = tf.broadcast_static_shape(*shapes)
    if not shape.is_fully_defined():
        return None
    if node.op == "Mul":
        return np.zeros(tuple(shape), kind)
    rest = arguments[zero.index(True) - 1]
    return rest if tf.TensorShape(rest.shape) == shape else None


def _plain(node: typing.Any, arguments: list[Value], name: str) -> _Results:
    """Call an operator again: at once where all it reads is known, as part of the new graph otherwise."""
    definition = op_def_registry.get(node.op)
    if definition is None:
        raise ConversionError(f"{name!r}: node {node.name!r} is {node.op}, which this TensorFlow does not know: give the .keras file")
    options, rest = _attributes(definition, node), list(arguments)
    inferred: set[str] = set()
    for argument in definition.input_arg:
        inferred |= {argument.type_attr, argument.number_attr, argument.type_list_attr}
        if argument.number_attr or argument.type_list_attr:
            key = argument.number_attr or argument.type_list_attr
            count = node.attr[key].i if argument.number_attr else len(node.attr[key].list.type)
            options[argument.name], rest = rest[:count], rest[count:]
        else:
            options[argument.name], rest = rest[0], rest[1:]
    accepted = {key: value for key, value in options.items() if key not in inferred}
    if node.op in ("Shape", "Size", "Rank") and arguments[0].shape.is_fully_defined():
        shape = np.array(tuple(arguments[0].shape), options["out_type"].as_numpy_dtype if node.op != "Rank" else np.int32)
        known = {"Shape": shape, "Size": np.prod(shape), "Rank": np.int32(len(shape))}[node.op]
        return _Results([np.asarray(known)], _starts(definition, node))
    if all(isinstance(value, (np.ndarray, np.generic)) for value in arguments):
        # A graph of its own, for eager calls name their arguments otherwise than nodes do.
        with tf.Graph().as_default() as graph:
            made = _tensors(op_def_library.apply_op(node.op, **accepted))
            with tf.compat.v1.Session(graph=graph) as session:
                return _Results([np.asarray(value) for value in session.run(made)], _starts(definition, node))
    return _Results(_tensors(op_def_library.apply_op(node.op, **accepted)), _starts(definition, node))


def _tensors(made: typing.Any) -> list[typing.Any]:
    return [part for part in tf.nest.flatten(made) if isinstance(part, tf.Tensor)]


def _starts(definition: typing.Any, node: typing.Any) -> dict[str, int]:
    starts, at = {}, 0
    for argument in definition.output_arg:
        starts[argument.name] = at
        many = argument.number_attr or argument.type_list_attr
        at += (node.attr[many].i or len(node.attr[many].list.type)) if many else 1
    return starts


def _attributes(definition: typing.Any, node: typing.Any) -> dict[str, typing.Any]:
    options = {}
    for attribute in definition.attr:
        if attribute.name not in node.attr:
            continue
        value = node.attr[attribute.name]
        kind = value.WhichOneof("value")
        if kind == "type":
            options[attribute.name] = tf.as_dtype(value.type)
        elif kind == "shape":
            options[attribute.name] = tf.TensorShape(value.shape)
        elif kind == "list":
            several = value.list
            options[attribute.name] = list(several.i) or list(several.f) or list(several.b) or list(several.s) or [
                tf.as_dtype(one) for one in several.type
            ]  # fmt: skip
        elif kind == "s":
            options[attribute.name] = value.s.decode()
        elif kind is not None:
            options[attribute.name] = getattr(value, kind)
    return options
