"""What the converter leaves to be mended, checked and counted in a ``.tflite`` flatbuffer."""

from __future__ import annotations

import collections
import collections.abc
import copy
import dataclasses
import typing

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.errors import ConversionError

OPERATORS: dict[int, str] = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES: dict[int, str] = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
FLOATS = {schema.TensorType.FLOAT16, schema.TensorType.FLOAT32, schema.TensorType.FLOAT64}

SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of the main graph; tensors are indices, without those left out (-1)."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: typing.Any


def unpack(content: bytes) -> typing.Any:
    """The flatbuffer as a tree of mutable objects (``schema.ModelT``)."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors and strings once and points to them: thousands of zero points and shapes in a file are the same few."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 (the library's name)
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        key = ("text", s.encode(encoding, errors) if isinstance(s, str) else bytes(s))
        if key not in self._written:
            self._written[key] = super().CreateString(s, encoding, errors)
        return self._written[key]


class _Once:
    """Stands for a table while packing: writes itself the first time, and is pointed to ever after."""

    def __init__(self, table: typing.Any):
        self.table = table
        self._at: int | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        if self._at is None:
            self._at = self.table.Pack(builder)
        return self._at


def pack(model: typing.Any) -> bytes:
    """The bytes of a tree of objects; the same tree gives the same bytes.

    What is equal is written once, as the format allows: an unrolled LSTM shrinks by a quarter, a small network of separable
    convolutions by a sixth.
    """
    holders = [(tensor, "quantization") for graph in model.subgraphs for tensor in graph.tensors]
    holders += [(operator, "builtinOptions") for graph in model.subgraphs for operator in graph.operators or []]
    shared: dict[typing.Any, _Once] = {}
    kept = []
    for owner, field in holders:
        table = getattr(owner, field)
        if table is not None:
            kept.append((owner, field, table))
            setattr(owner, field, shared.setdefault(_content(table), _Once(table)))
    builder = _SharingBuilder()
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    finally:
        for owner, field, table in kept:
            setattr(owner, field, table)
    return bytes(builder.Output())


def _content(table: typing.Any) -> typing.Any:
    """What makes two tables the same; a table within the table only makes it itself."""
    values: list[typing.Any] = [type(table).__name__]
    for key, value in sorted(vars(table).items()):
        if isinstance(value, np.ndarray):
            values.append((key, value.dtype.str, value.tobytes()))
        elif value is None or isinstance(value, (int, float, bool, str, bytes)):
            values.append((key, value))
        else:
            values.append((key, id(value)))
    return tuple(values)


def _code(model: typing.Any, operator: typing.Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _indices(numbers: typing.Any) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers if n >= 0) if numbers is not None else ()


def operators(model: typing.Any, graph: int = 0) -> list[Operator]:
    """All operators of one graph, in order; a custom one is named "CUSTOM:" and its code."""
    found = []
    for operator in model.subgraphs[graph].operators or []:
        code = _code(model, operator)
        name = OPERATORS.get(code, f"operator {code}")
        if code == schema.BuiltinOperator.CUSTOM:
            name = f"CUSTOM:{model.operatorCodes[operator.opcodeIndex].customCode.decode()}"
        found.append(Operator(name, _indices(operator.inputs), _indices(operator.outputs), operator.builtinOptions))
    return found


def histogram(content: bytes) -> dict[str, int]:
    """How often each operator occurs, all graphs together."""
    model = unpack(content)
    names = [operator.name for graph in range(len(model.subgraphs)) for operator in operators(model, graph)]
    return dict(sorted(collections.Counter(names).items()))


HIDDEN_STATE, CELL_STATE, HIDDEN = 18, 19, 4
"""Which inputs of a sequence LSTM hold its states, and which intermediate the scale of the hidden one."""
FINEST_CELL_SCALE = 2.0**-15


def widen_cells(model: typing.Any) -> int:
    """Give int16 cell states a range of at least [-1, 1]: for finer ones the int8 kernel has no tanh and returns old memory.

    (``ApplyTanh`` in kernels/internal covers 0 to 6 integer bits; calibration on cells that stay small asks for fewer than 0.)
    """
    changed = 0
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            if _code(model, operator) != schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
                continue
            cell = graph.tensors[operator.inputs[CELL_STATE]]
            if cell.type == schema.TensorType.INT16 and cell.quantization.scale[0] < FINEST_CELL_SCALE:
                cell.quantization.scale = np.array([FINEST_CELL_SCALE], np.float32)
                changed += 1
    return changed


def align_states(model: typing.Any) -> int:
    """Give the hidden state of int8 sequence LSTMs the quantization of their output, which the kernel takes for the same.

    The kernel writes each step once, as output and as state. Where the converter unifies the scale of the output with a
    neighbour's, in front of a CONCATENATION as in every bidirectional layer, it forgets the state: the recurrent product is
    then off by the ratio of the scales.
    """
    changed = 0
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            if _code(model, operator) != schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
                continue
            output = graph.tensors[operator.outputs[0]]
            if output.type != schema.TensorType.INT8 or operator.intermediates is None or len(operator.intermediates) <= HIDDEN:
                continue
            for index in (operator.inputs[HIDDEN_STATE], operator.intermediates[HIDDEN]):
                tensor = graph.tensors[index]
                if not same_quantization(tensor, output):
                    tensor.quantization.scale, tensor.quantization.zeroPoint = output.quantization.scale, output.quantization.zeroPoint
                    changed += 1
    return changed


COPYING = ("REVERSE_V2", "RESHAPE", "TRANSPOSE", "STRIDED_SLICE", "SLICE", "SQUEEZE", "EXPAND_DIMS", "GATHER", "TILE")
"""Operators that move int8 values from their first input to their output as they are."""


def requantize_copies(model: typing.Any) -> int:
    """Put a QUANTIZE behind operators that copy values and yet have another scale at their output than at their input.

    The converter leaves such at REVERSE_V2 in front of a CONCATENATION, the backward half of a bidirectional layer.
    """
    changed = 0
    for graph in model.subgraphs:
        operators_now = []
        for operator in graph.operators or []:
            operators_now.append(operator)
            if OPERATORS.get(_code(model, operator)) not in COPYING:
                continue
            source, target = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
            if source.type != schema.TensorType.INT8 or target.type != schema.TensorType.INT8 or same_quantization(source, target):
                continue
            between = copy.copy(target)
            between.quantization, between.name = source.quantization, target.name + b"_as_copied"
            graph.tensors.append(between)
            quantize = schema.OperatorT()
            quantize.opcodeIndex = _quantize_code(model)
            quantize.inputs, quantize.outputs = np.array([len(graph.tensors) - 1], np.int32), operator.outputs
            quantize.builtinOptionsType, quantize.builtinOptions = schema.BuiltinOptions.QuantizeOptions, schema.QuantizeOptionsT()
            operator.outputs = quantize.inputs
            operators_now.append(quantize)
            changed += 1
        graph.operators = operators_now
    return changed


def _quantize_code(model: typing.Any) -> int:
    """Index of the code of QUANTIZE, added if there is none."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.QUANTIZE:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.QUANTIZE
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def drop_unused_codes(model: typing.Any) -> None:
    """Forget operator codes that no operator has: a runtime refuses a file over a code that it does not know, used or not."""
    used = sorted({operator.opcodeIndex for graph in model.subgraphs for operator in graph.operators or []})
    place = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[old] for old in used]
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            operator.opcodeIndex = place[operator.opcodeIndex]


def same_quantization(first: typing.Any, second: typing.Any) -> bool:
    """Whether two tensors store the same real value as the same number."""
    pairs = [(t.quantization.scale, t.quantization.zeroPoint) if t.quantization is not None else (None, None) for t in (first, second)]
    return all(np.array_equal(a, b) for a, b in zip(*pairs, strict=True))


def unclip_cells(model: typing.Any) -> int:
    """Set ``cellClip`` of sequence LSTMs to 0, which is no clip: the converter writes 10, and Keras clips nothing."""
    changed = 0
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            if _code(model, operator) == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM and operator.builtinOptions.cellClip:
                operator.builtinOptions.cellClip = 0.0
                changed += 1
    return changed


def rename(
    model: typing.Any, inputs: collections.abc.Mapping[str, str], outputs: collections.abc.Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Give input and output tensors their public names, found through the signature.

    Args:
        model: the tree of objects, changed in place.
        inputs: public name -> signature name.
        outputs: public name -> signature name.

    Returns:
        Public name -> tensor name, of inputs and of outputs.

    Raises:
        ConversionError: the converter dropped an input or output.
    """
    signature = next((s for s in model.signatureDefs or [] if s.signatureKey == SIGNATURE.encode()), None)
    if signature is None:
        raise ConversionError("the converter wrote no signature, so inputs and outputs cannot be told apart; convert from Keras")
    graph = model.subgraphs[signature.subgraphIndex or 0]
    taken: set[int] = set()
    maps: list[dict[str, str]] = []
    for kind, wanted, entries in (("input", inputs, signature.inputs), ("output", outputs, signature.outputs)):
        indices = {entry.name.decode(): int(entry.tensorIndex) for entry in entries}
        made: dict[str, str] = {}
        for public, name in wanted.items():
            if name not in indices:
                raise ConversionError(f"{kind} {public!r} has no effect in the model and was dropped: remove it")
            index = indices[name]
            if index not in taken:
                graph.tensors[index].name = public.encode()
                taken.add(index)
            made[public] = graph.tensors[index].name.decode()
        maps.append(made)
    return maps[0], maps[1]


def rename_by_place(
    model: typing.Any, inputs: collections.abc.Mapping[str, str], outputs: collections.abc.Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The same as ``rename`` for a flatbuffer made from a flatbuffer, where the order of inputs and outputs is kept.

    Raises:
        ConversionError: an input or output was dropped.
    """
    graph = model.subgraphs[0]
    maps: list[dict[str, str]] = []
    for kind, names, indices in (("input", inputs, graph.inputs), ("output", outputs, graph.outputs)):
        if len(names) != len(indices):
            raise ConversionError(f"the converter made {len(indices)} {kind}s of {len(names)}: {', '.join(names)}")
        for public, index in zip(names, indices, strict=True):
            graph.tensors[index].name = public.encode()
        maps.append({public: public for public in names})
    # Signatures may still tell the old names.
    model.signatureDefs = []
    return maps[0], maps[1]


def shrink(model: typing.Any) -> None:
    """Drop what no runtime reads: inner tensor names, repeated shapes, empty buffers, the converter's own notes."""
    for graph in model.subgraphs:
        kept = {*_indices(graph.inputs), *_indices(graph.outputs)}
        for index, tensor in enumerate(graph.tensors):
            tensor.shapeSignature = None
            if index not in kept:
                tensor.name = None
    notes = [entry for entry in model.metadata or [] if entry.name == b"min_runtime_version"]
    model.metadata = notes
    used = {0} | {entry.buffer for entry in notes}
    filled = [buffer.data is not None and len(buffer.data) > 0 for buffer in model.buffers]
    used |= {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors if filled[tensor.buffer]}
    order = sorted(used)
    renumbered = {old: new for new, old in enumerate(order)}
    model.buffers = [model.buffers[old] for old in order]
    for entry in notes:
        entry.buffer = renumbered[entry.buffer]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = renumbered.get(tensor.buffer, 0)


def check_builtin(model: typing.Any, name: str) -> None:
    """Raise ConversionError if an operator is custom, which needs code that no supported runtime has."""
    names = {operator.name for graph in range(len(model.subgraphs)) for operator in operators(model, graph)}
    custom = [name.removeprefix("CUSTOM:") for name in sorted(names) if name.startswith("CUSTOM:")]
    if custom:
        raise ConversionError(f"{name!r} needs operators that are not builtin: {', '.join(custom)}; replace those layers")


def check_integer(model: typing.Any, name: str) -> None:
    """Raise ConversionError if any operator reads or writes float, for the converter leaves such in silence."""
    for number, graph in enumerate(model.subgraphs):
        for operator in operators(model, number):
            for index in (*operator.inputs, *operator.outputs):
                tensor = graph.tensors[index]
                if tensor.type in FLOATS:
                    what = f"tensor {tensor.name.decode()!r} of {operator.name} is {TYPES[tensor.type].lower()}"
                    raise ConversionError(f"{name!r} is not integer-only: {what}; write that layer otherwise, or take --recipe float32")


def shape_of(model: typing.Any, index: int, graph: int = 0) -> tuple[int, ...]:
    """Shape of a tensor; () for a scalar."""
    shape = model.subgraphs[graph].tensors[index].shape
    return tuple(int(n) for n in np.ravel(shape)) if shape is not None else ()
