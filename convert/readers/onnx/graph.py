"""The part of an ONNX graph that depends on its inputs; all else becomes constants, computed by onnxruntime once.

With every axis fixed the arithmetic of shapes that exporters write (Shape, Gather, Concat, Range ...) is constant too, and gone.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import typing

import numpy as np
import onnx
import onnx.defs
import onnx.inliner
import onnx.numpy_helper
import onnx.shape_inference
import onnxruntime

from convert.readers import first_line
from convert.readers.onnx.file import MAXIMUM_BYTES, STANDARD
from edge.errors import InputError

Key = tuple[str, str]
"""Domain and operator; the standard domain is ""."""

_OF_SHAPES = {"Shape", "Size"}
"""Operators that look at the shape of their input alone, which is fixed."""
_NEVER_CONSTANT = {"If", "Loop", "Scan", "SequenceMap", "Multinomial", "Bernoulli"}
_HINTS = {
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), "control flow cannot be written for the device; export with fixed shapes"),
    **dict.fromkeys(
        ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
        "the file is quantized already; give the float model it was made from",
    ),
    **dict.fromkeys(("NonMaxSuppression", "TopK", "NonZero"), "cut the model in front of it and do this step outside"),
}


@dataclasses.dataclass(frozen=True)
class Node:
    """One operator with its attributes: numbers, texts, lists of them, or arrays."""

    domain: str
    kind: str
    name: str
    inputs: tuple[str, ...]
    """"" where an optional input is left out."""
    outputs: tuple[str, ...]
    attributes: dict[str, typing.Any]
    opset: int

    @property
    def key(self) -> Key:
        return self.domain, self.kind

    def __str__(self) -> str:
        return f"{self.domain and self.domain + '.'}{self.kind} {(self.name or self.outputs[0])!r}"


@dataclasses.dataclass
class Graph:
    """What has to be computed from the inputs, in order."""

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    inputs: list[str]
    outputs: list[str]
    shapes: dict[str, tuple[int, ...]]
    """Of inputs, and of all that the nodes make."""

    def producers(self) -> dict[str, Node]:
        """The node that makes a value."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read a value; a node that reads it twice comes twice."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in filter(None, node.inputs):
                found.setdefault(name, []).append(node)
        return found

    def prune(self) -> None:
        """Drop nodes whose results nobody reads."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(filter(None, node.outputs)):
                kept.append(node)
                needed.update(filter(None, node.inputs))
        self.nodes = kept[::-1]
        self.inputs = [name for name in self.inputs if name in needed]


def constant_outputs(model: onnx.ModelProto) -> set[str]:
    """Names of outputs that no input has an effect on."""
    constant = _constant_names(model.graph)
    return {output.name for output in model.graph.output if output.name in constant}


def build(
    model: onnx.ModelProto, shapes: collections.abc.Mapping[str, tuple[int, ...]], outputs: list[str], supported: collections.abc.Set[Key]
) -> Graph:
    """The graph that leads to ``outputs``.

    Args:
        model: valid and complete; not changed.
        shapes: of all inputs.
        outputs: names of those wanted, none constant.
        supported: operators that can be written; others are allowed where they are constant, or are made of supported ones.

    Raises:
        InputError: an operator is not supported, or onnxruntime cannot run the model.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    composed = sorted({_key(node) for node in _unknown(model, outputs, supported) if node.op_type not in _HINTS} & _composed(model))
    if composed:
        model = _inlined(model, composed)
    for node in _unknown(model, outputs, supported):
        raise InputError(_refusal(node, model))
    constant = _constant_names(model.graph)
    needed, wanted = _needed(model.graph, constant, outputs)
    live = [node for node in needed if wanted.intersection(node.output)]
    made = [name for node in live for name in node.output if name]
    frontier = sorted({name for node in live for name in node.input if name in constant})
    computed = _evaluate(model, needed, shapes, [*frontier, *made])
    versions = {_domain(entry.domain): entry.version for entry in model.opset_import}
    return Graph(
        nodes=[_node(node, versions) for node in live],
        constants={name: computed[name] for name in frontier},
        inputs=[name for name in shapes if name in wanted],
        outputs=outputs,
        shapes={**shapes, **{name: computed[name].shape for name in made}},
    )


def _domain(domain: str) -> str:
    return "" if domain in STANDARD else domain


def _key(node: onnx.NodeProto) -> Key:
    return _domain(node.domain), node.op_type


def _constant_names(graph: onnx.GraphProto) -> set[str]:
    """Values that depend on no input, or only on its shape."""
    names = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        domain, kind = _key(node)
        if kind in _NEVER_CONSTANT or kind.startswith("Random"):
            continue
        read = node.input[:1] if kind == "CastLike" else node.input  # of the second it reads the type alone
        free = kind == "Constant" or (bool(node.input) and names.issuperset(filter(None, read)))
        if free or (not domain and kind in _OF_SHAPES):
            names.update(filter(None, node.output))
    return names


def _needed(graph: onnx.GraphProto, constant: set[str], outputs: list[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes needed to compute ``outputs`` and the constants in front of them; and the values on the way from the inputs."""
    needed, wanted, kept = set(outputs), set(outputs), []
    for node in reversed(graph.node):
        if not needed.intersection(node.output):
            continue
        kept.append(node)
        needed.update(node.input)
        if wanted.intersection(node.output) and not constant.issuperset(filter(None, node.output)):
            wanted.update(node.input)
    return kept[::-1], wanted - constant


def _unknown(model: onnx.ModelProto, outputs: list[str], supported: collections.abc.Set[Key]) -> list[onnx.NodeProto]:
    constant = _constant_names(model.graph)
    nodes, _ = _needed(model.graph, constant, outputs)
    return [node for node in nodes if _key(node) not in supported and not constant.issuperset(filter(None, node.output))]


def _composed(model: onnx.ModelProto) -> set[Key]:
    """Operators that ONNX itself defines by simpler ones."""
    version = next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 0)
    found = set()
    for node in model.graph.node:
        if onnx.defs.has(node.op_type, max_inclusive_version=version) and _domain(node.domain) == "":
            schema = onnx.defs.get_schema(node.op_type, version)
            if schema.has_function or schema.has_context_dependent_function:  # type: ignore[attr-defined]
                found.add(_key(node))
    return found


def _inlined(model: onnx.ModelProto, kinds: list[Key]) -> onnx.ModelProto:
    """The model with these operators put in terms of simpler ones; as it is where ONNX cannot do that."""
    try:
        typed = onnx.shape_inference.infer_shapes(model)
        for tensor in typed.graph.initializer:  # The inliner asks for the type of every value.
            typed.graph.value_info.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        return onnx.inliner.inline_selected_functions(typed, kinds, inline_schema_functions=True)
    except Exception:  # what cannot be put otherwise is refused by name
        return model


def _refusal(node: onnx.NodeProto, model: onnx.ModelProto) -> str:
    domain, kind = _key(node)
    where = f"node {node.name or node.output[0]!r}" if node.name or node.output else "a node"
    version = next((entry.version for entry in model.opset_import if _domain(entry.domain) == domain), 0)
    named = f"operator {kind} of {f'domain {domain!r}' if domain else f'opset {version}'}"
    return f"{where}: {named} is not supported: {_HINTS.get(kind, 'replace it in the model, or export that part without it')}"


def _evaluate(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], shapes: collections.abc.Mapping[str, tuple[int, ...]], names: list[str]
) -> dict[str, np.ndarray]:
    """Run ``nodes`` once on zeros; what ``names`` came to."""
    own = {tensor.name: tensor for tensor in model.graph.initializer}
    known = {name: onnx.numpy_helper.to_array(own[name]) for name in names if name in own}
    asked = [name for name in names if name not in own]
    if not asked:
        return known
    trial = onnx.ModelProto()
    trial.CopyFrom(model)
    graph = trial.graph
    for field in (graph.node, graph.output, graph.value_info):
        del field[:]
    graph.node.extend(nodes)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked)
    for entry in graph.input:
        if entry.name in shapes:
            dims = entry.type.tensor_type.shape
            dims.CopyFrom(onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension(dim_value=size) for size in shapes[entry.name]]))
    _check_sizes(trial)
    try:
        session = session_of(trial, optimized=False)
        computed = session.run(asked, zeros(session))
    except Exception as error:  # onnxruntime raises classes of its own, without a common one
        raise InputError(f"onnxruntime cannot run the model: {first_line(error)}") from error
    for name, array in zip(asked, computed, strict=True):
        if not isinstance(array, np.ndarray):
            raise InputError(f"value {name!r} is no tensor but a {type(array).__name__}: export the model without sequences and maps")
        known[name] = array
    return known


def session_of(model: onnx.ModelProto, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    """onnxruntime on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


_TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "bool": np.bool_}


def zeros(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """An input of zeros; open axes are 1."""
    return {
        entry.name: np.zeros(
            [size if isinstance(size, int) else 1 for size in entry.shape],
            _TYPES.get(entry.type[7:-1], entry.type[7:-1]),  # "tensor(float)"
        )
        for entry in session.get_inputs()
    }


def _check_sizes(model: onnx.ModelProto) -> None:
    """Refuse a small file that asks for huge tensors, as far as their sizes can be told without running it."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # only a look ahead: what is wrong here is told by onnxruntime
        return
    for value in inferred.graph.value_info:
        size = 4 * math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        if size > MAXIMUM_BYTES:
            raise InputError(f"value {value.name!r} would take {size / 1e9:.1f} GB: refused above {MAXIMUM_BYTES >> 30} GB")


def _node(node: onnx.NodeProto, versions: dict[str, int]) -> Node:
    domain, kind = _key(node)
    attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
    return Node(domain, kind, node.name, tuple(node.input), tuple(node.output), attributes, versions.get(domain, 1))


def _attribute(attribute: onnx.AttributeProto) -> typing.Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, (str, int, float)):
        return value
    return [entry.decode(errors="replace") if isinstance(entry, bytes) else entry for entry in value]
