"""Float ``.tflite`` files, from whatever converter: they are quantized as they are. Weights may be stored in int8 or float16."""

from __future__ import annotations

import pathlib
import re
import struct
import typing

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert import flatbuffer, macs, readers, weights
from convert.readers import first_line
from convert.recipe import LstmForm
from convert.source import Samples
from edge.errors import EdgeError, InputError
from edge.inference.model import Model

MAXIMUM_BYTES = 1 << 30
_INTERMEDIATES = ("input_to_input", "input_to_forget", "input_to_cell", "input_to_output", "effective_hidden_scale")


class TfliteSource:
    """One float flatbuffer."""

    produces: typing.Final = "tflite"

    def __init__(self, path: pathlib.Path, content: bytes, pins: readers.Pins):
        self.name = path.stem
        self.forms: tuple[LstmForm, ...] = ("fused",)
        # The converter's other forms need the layers, which the flatbuffer no longer has.
        self.notes: tuple[str, ...] = ()
        model = _parse(path, content)
        _check_float(path, model)
        stored = weights.dequantize_weights(model)
        if stored:
            self.notes = (f"{stored} weight tensors were stored in int8 or float16, and are taken as the real numbers they stand for",)
        graph = model.subgraphs[0]
        names = _named(model)
        readers.check_pins(pins, _pin(path, model, pins))
        _add_intermediates(model)
        self.inputs = {names[int(i)]: flatbuffer.shape_of(model, int(i))[1:] for i in graph.inputs}
        self.outputs = tuple(names[int(i)] for i in graph.outputs)
        self._tensors = {name: graph.tensors[i].name.decode() for i, name in names.items()}
        self._content = flatbuffer.pack(model)
        self.weights = macs.count_weights(self._content)
        try:
            self._model = Model(
                self._content,
                name=self.name,
                inputs={name: self._tensors[name] for name in self.inputs},
                outputs={name: self._tensors[name] for name in self.outputs},
            )
        except EdgeError as error:
            raise InputError(f"{path} cannot be used: {first_line(error)}") from error

    def export(self, folder: pathlib.Path, form: LstmForm) -> tuple[dict[str, str], dict[str, str]]:
        """Write ``folder``/source.tflite."""
        (folder / "source.tflite").write_bytes(self._content)
        return {name: self._tensors[name] for name in self.inputs}, {name: self._tensors[name] for name in self.outputs}

    def predict(self, samples: Samples) -> dict[str, np.ndarray]:
        """What the file computes in the device's interpreter."""
        count = min(len(values) for values in samples.values())
        rows = [self._model.run(**{name: np.asarray(values[i], np.float32) for name, values in samples.items()}) for i in range(count)]
        return {name: np.stack([row[name] for row in rows]) for name in self.outputs}


def read_tflite(path: pathlib.Path, *, pins: readers.Pins | None = None) -> TfliteSource:
    """The model in a float ``.tflite``.

    Raises:
        InputError: the file is damaged, quantized already, holds custom operators, several graphs or inputs that are not float,
            or leaves an axis open that is not pinned.
    """
    if path.stat().st_size > MAXIMUM_BYTES:
        raise InputError(f"{path} holds {path.stat().st_size / 1e9:.1f} GB: refused above {MAXIMUM_BYTES >> 30} GB")
    return TfliteSource(path, path.read_bytes(), pins or {})


def _parse(path: pathlib.Path, content: bytes) -> typing.Any:
    if len(content) < 16 or content[4:8] != b"TFL3":
        raise InputError(f"{path} is no .tflite file: it starts with {content[:8]!r}")
    try:
        model = flatbuffer.unpack(content)
        complete = all(buffer.offset == 0 or buffer.offset + buffer.size <= len(content) for buffer in model.buffers)
        if not complete or not model.subgraphs or not model.subgraphs[0].operators:
            raise ValueError("it ends early" if not complete else "it holds no graph")
        flatbuffer.histogram(content)
    except (ValueError, IndexError, TypeError, AttributeError, struct.error, MemoryError) as error:
        raise InputError(f"{path} is damaged: {first_line(error)}") from error
    return model


def _check_float(path: pathlib.Path, model: typing.Any) -> None:
    graph = model.subgraphs[0]
    custom = sorted({o.name for g in range(len(model.subgraphs)) for o in flatbuffer.operators(model, g) if o.name.startswith("CUSTOM:")})
    if custom:
        raise InputError(f"{path} has operators that are not builtin: {', '.join(custom)}: convert the model it came from")
    if len(model.subgraphs) > 1:
        raise InputError(f"{path} has {len(model.subgraphs)} graphs (a loop, or several functions): convert the model it came from")
    integer = (schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT16)
    computed = {int(i) for i in graph.inputs} | {i for operator in flatbuffer.operators(model) for i in operator.outputs}
    quantized = [graph.tensors[i] for i in sorted(computed) if graph.tensors[i].type in integer]
    if quantized:
        raise InputError(f"{path} is quantized already (tensor {quantized[0].name.decode()!r}): give the float model it was made from")
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        if tensor.type != schema.TensorType.FLOAT32:
            kind = flatbuffer.TYPES[tensor.type].lower()
            raise InputError(f"{path}: tensor {tensor.name.decode()!r} is {kind}: only float32 inputs and outputs can be converted")


def _named(model: typing.Any) -> dict[int, str]:
    """Public names of inputs and outputs: the signature's where there is one, else the tensors', without what no name may hold."""
    graph = model.subgraphs[0]
    signature = next(iter(model.signatureDefs or []), None)
    told = {int(e.tensorIndex): e.name.decode() for e in [*signature.inputs, *signature.outputs]} if signature is not None else {}
    names: dict[int, str] = {}
    for index in (*graph.inputs, *graph.outputs):
        index = int(index)
        plain = re.sub(r"[^A-Za-z0-9_]", "_", told.get(index) or graph.tensors[index].name.decode().split(":")[0]).strip("_") or "tensor"
        taken = {name for other, name in names.items() if other != index}
        names[index] = plain if plain not in taken else f"{plain}_{index}"
    return names


def _pin(path: pathlib.Path, model: typing.Any, pins: readers.Pins) -> set[str]:
    """Refuse open axes: inner shapes were computed from them, and cannot be mended here."""
    graph = model.subgraphs[0]
    for index in graph.inputs:
        tensor = graph.tensors[index]
        signature = tensor.shapeSignature
        opened = [i for i, size in enumerate(signature) if size < 0 and i > 0] if signature is not None and len(signature) else []
        if opened:
            name = tensor.name.decode()
            raise InputError(f"{path}: input {name!r} has an open axis {opened[0]}: convert the model it came from with a fixed size")
        if tensor.shape is None or len(tensor.shape) < 2 or tensor.shape[0] != 1:
            shape = tuple(int(n) for n in tensor.shape) if tensor.shape is not None else ()
            raise InputError(f"{path}: input {tensor.name.decode()!r} has shape {shape}: a batch of one, (1, ...), is needed")
    return set()


def _add_intermediates(model: typing.Any) -> None:
    """Give sequence LSTMs the tensors in which the calibrator records ranges; not every converter writes them."""
    graph = model.subgraphs[0]
    for number, operator in enumerate(graph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        lstm = max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
        if not lstm or (operator.intermediates is not None and len(operator.intermediates)):
            continue
        indices = []
        for name in _INTERMEDIATES:
            tensor = schema.TensorT()
            tensor.name, tensor.shape = f"{name}_{number}".encode(), np.array([0], np.int32)
            tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0
            graph.tensors.append(tensor)
            indices.append(len(graph.tensors) - 1)
        operator.intermediates = np.array(indices, np.int32)
