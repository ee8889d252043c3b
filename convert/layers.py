"""Per-layer quantization error: which operator to blame.

The float and the converted flatbuffer run on the same samples with all tensors kept, and tensors are matched by name, for the
quantizer keeps the names of the float graph. That gives the error that has gathered up to each operator. What an operator adds by
itself is told by running its float self, alone, on the very inputs that the converted one had.
"""

from __future__ import annotations

import collections.abc
import copy
import math
import typing
import warnings

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert import flatbuffer
from convert.report import LayerError
from edge.inference.model import probe

SAMPLES = 32
"""As many show where the error arises; a network of 60 layers takes under a second."""
STEP_SAMPLES = 8
"""For the operators one by one."""
_PLUMBING = ("QUANTIZE", "DEQUANTIZE")
_NO_SIGNAL_DB = 120.0
"""Reported where both agree exactly, for JSON has no infinity."""


class _Run:
    """One interpreter that keeps its inner tensors."""

    def __init__(self, content: bytes):
        self.model = flatbuffer.unpack(content)
        self.graph = self.model.subgraphs[0]
        make = probe().interpreter
        with warnings.catch_warnings():
            # It warns that this is for debugging, which is what this is.
            warnings.simplefilter("ignore")
            self.interpreter = make(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
        self.interpreter.allocate_tensors()

    def run(self, inputs: collections.abc.Mapping[str, np.ndarray]) -> None:
        for index in self.graph.inputs:
            tensor = self.graph.tensors[index]
            self.interpreter.set_tensor(int(index), _stored(inputs[tensor.name.decode()][None], tensor))
        self.interpreter.reset_all_variables()
        self.interpreter.invoke()

    def value(self, index: int) -> np.ndarray:
        """A tensor's content as real numbers."""
        return _real(self.interpreter.get_tensor(index), self.graph.tensors[index])


def _scale(tensor: typing.Any) -> tuple[float, int] | None:
    quantization = tensor.quantization
    if tensor.type not in (schema.TensorType.INT8, schema.TensorType.INT16) or quantization is None or quantization.scale is None:
        return None
    return float(quantization.scale[0]), int(quantization.zeroPoint[0])


def _limits(tensor: typing.Any) -> np.iinfo:
    return np.iinfo(np.int8 if tensor.type == schema.TensorType.INT8 else np.int16)


def _stored(values: np.ndarray, tensor: typing.Any) -> np.ndarray:
    scale = _scale(tensor)
    if scale is None:
        return np.asarray(values, np.float32)
    limits = _limits(tensor)
    return np.clip(np.rint(values / scale[0]) + scale[1], limits.min, limits.max).astype(limits.dtype)


def _real(values: np.ndarray, tensor: typing.Any) -> np.ndarray:
    scale = _scale(tensor)
    return values.astype(np.float64) if scale is None else (values.astype(np.float64) - scale[1]) * scale[0]


def layer_errors(
    float_named: bytes, named: bytes, samples: collections.abc.Mapping[str, np.ndarray], *, count: int = SAMPLES
) -> tuple[LayerError, ...]:
    """Compare every operator's output with its float self.

    Args:
        float_named: the float flatbuffer, with the names of its inner tensors.
        named: the converted one, from it.
        samples: tensor name of each input -> real numbers (samples, *shape).
        count: how many samples to use.

    Returns:
        One entry an operator that both graphs have, in the order of the converted graph.
    """
    reference, converted = _Run(float_named), _Run(named)
    places = {reference.graph.tensors[i].name: i for o in flatbuffer.operators(reference.model) for i in o.outputs}
    pairs = []
    for number, operator in enumerate(flatbuffer.operators(converted.model)):
        if operator.name in _PLUMBING:
            continue
        for index in operator.outputs[:1]:
            twin = places.get(converted.graph.tensors[index].name)
            if twin is not None and reference.graph.tensors[twin].type == schema.TensorType.FLOAT32:
                pairs.append((number, operator.name, index, twin))
    sums = {number: _Sums() for number, *_ in pairs}
    met: list[dict[bytes, np.ndarray]] = []
    wanted = _inputs_of(reference, [twin for *_, twin in pairs])
    for row in range(min(count, *(len(values) for values in samples.values()))):
        inputs = {name: np.asarray(values[row], np.float32) for name, values in samples.items()}
        reference.run(inputs)
        converted.run(inputs)
        for number, _, index, twin in pairs:
            expected, got = reference.value(twin), converted.value(index)
            sums[number].add(expected, got.reshape(expected.shape), _stored_range(converted.graph.tensors[index]))
        if row < STEP_SAMPLES:
            tensors = enumerate(converted.graph.tensors)
            met.append({tensor.name: converted.value(index).astype(np.float32) for index, tensor in tensors if tensor.name in wanted})
    steps = {number: _step_sqnr_db(reference, twin, met) for number, _, _, twin in pairs}
    return tuple(
        _row(number, operator, converted.graph.tensors[index], sums[number], steps[number]) for number, operator, index, _ in pairs
    )


def _writers(run: _Run) -> dict[int, typing.Any]:
    return {int(index): operator for operator in run.graph.operators for index in operator.outputs}


def _varying(run: _Run, operator: typing.Any) -> list[int]:
    """Inputs of an operator that are no constants and no states."""
    tensors, buffers = run.graph.tensors, run.model.buffers

    def constant(index: int) -> bool:
        data = buffers[tensors[index].buffer].data
        return data is not None and len(data) > 0

    return [int(i) for i in operator.inputs if i >= 0 and not tensors[i].isVariable and not constant(i)]


def _inputs_of(run: _Run, outputs: list[int]) -> set[bytes]:
    """Names of all that the operators that write ``outputs`` read, and the outputs themselves."""
    writers = _writers(run)
    read = {index for output in outputs for index in _varying(run, writers[output])}
    return {run.graph.tensors[index].name for index in read | set(outputs)}


def _step_sqnr_db(run: _Run, output: int, met: list[dict[bytes, np.ndarray]]) -> float | None:
    """SQNR of one operator by itself: its converted output against what the float operator makes of the same inputs."""
    operator = _writers(run)[output]
    read, tensors = _varying(run, operator), run.graph.tensors
    if not met or not read or any(tensors[index].name not in met[0] for index in (*read, output)):
        return None
    interpreter = probe().interpreter(model_content=_alone(run.model, operator, read), num_threads=1)
    interpreter.allocate_tensors()
    places = [entry["index"] for entry in interpreter.get_input_details()]
    result = interpreter.get_output_details()[list(operator.outputs).index(output)]["index"]
    signal = error = 0.0
    for values in met:
        for place, index in zip(places, read, strict=True):
            interpreter.set_tensor(place, values[tensors[index].name].reshape(flatbuffer.shape_of(run.model, index)))
        interpreter.reset_all_variables()
        interpreter.invoke()
        expected = interpreter.get_tensor(result).astype(np.float64)
        difference = expected - values[tensors[output].name].reshape(expected.shape)
        signal, error = signal + float((expected * expected).sum()), error + float((difference * difference).sum())
    return sqnr_db(signal, error)


def _alone(model: typing.Any, operator: typing.Any, read: list[int]) -> bytes:
    """A flatbuffer of one operator with its constants."""
    part, graph = copy.copy(model), copy.copy(model.subgraphs[0])
    used = [
        int(i) for i in (*operator.inputs, *operator.outputs, *(() if operator.intermediates is None else operator.intermediates)) if i >= 0
    ]
    order = sorted(set(used))
    place = {old: new for new, old in enumerate(order)}
    buffers = [model.buffers[0], *(model.buffers[graph.tensors[i].buffer] for i in order)]
    graph.tensors = []
    for new, old in enumerate(order):
        tensor = copy.copy(model.subgraphs[0].tensors[old])
        tensor.buffer, tensor.shapeSignature = new + 1, None
        graph.tensors.append(tensor)
    moved = copy.copy(operator)
    for field in ("inputs", "outputs", "intermediates"):
        indices = getattr(operator, field)
        if indices is not None:
            setattr(moved, field, np.array([place.get(int(i), -1) for i in indices], np.int32))
    graph.operators = [moved]
    graph.inputs = np.array([place[i] for i in read], np.int32)
    graph.outputs = moved.outputs
    part.subgraphs, part.buffers, part.signatureDefs, part.metadata, part.metadataBuffer = [graph], buffers, None, None, None
    return flatbuffer.pack(part)


def _stored_range(tensor: typing.Any) -> tuple[float, float] | None:
    scale = _scale(tensor)
    if scale is None:
        return None
    limits = _limits(tensor)
    return (limits.min - scale[1]) * scale[0], (limits.max - scale[1]) * scale[0]


class _Sums:
    """What one operator's outputs add up to over the samples."""

    def __init__(self) -> None:
        self.signal = self.error = self.largest = 0.0
        self.count = self.clipped = self.elements = 0
        self.low, self.high = math.inf, -math.inf

    def add(self, expected: np.ndarray, got: np.ndarray, stored: tuple[float, float] | None) -> None:
        difference = expected - got
        self.signal += float((expected * expected).sum())
        self.error += float((difference * difference).sum())
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))
        self.low, self.high = min(self.low, float(expected.min(initial=math.inf))), max(self.high, float(expected.max(initial=-math.inf)))
        self.elements, self.count = expected.size, self.count + expected.size
        if stored is not None:
            self.clipped += int(((expected < stored[0]) | (expected > stored[1])).sum())


def sqnr_db(signal: float, error: float) -> float:
    """Signal-to-quantization-noise ratio, 10 log10(signal power / noise power), at most 120 dB."""
    if error <= 0:
        return _NO_SIGNAL_DB
    return min(_NO_SIGNAL_DB, 10 * math.log10(max(signal, 1e-30) / error))


def _row(number: int, operator: str, tensor: typing.Any, sums: _Sums, step_sqnr_db: float | None) -> LayerError:
    scale = _scale(tensor)
    root = math.sqrt(sums.error / max(sums.count, 1))
    return LayerError(
        index=number,
        operator=operator,
        name=tensor.name.decode(errors="replace"),
        elements=sums.elements,
        sqnr_db=sqnr_db(sums.signal, sums.error),
        step_sqnr_db=step_sqnr_db,
        error_steps=root / scale[0] if scale is not None else None,
        max_error=sums.largest,
        float_range=(sums.low, sums.high),
        stored_range=_stored_range(tensor),
        clipped_share=sums.clipped / max(sums.count, 1),
    )
