"""Child of ``benchmarks.peers``: runs converted files in their interpreters, and compares or measures them.

In a process of its own, for a file of another converter may end the interpreter.

    python -m benchmarks.peer_run compare JOB.json     {"path", "verification", "reference", "labels", "golden"}
    python -m benchmarks.peer_run measure JOB.json     {"paths": {name: path}, "verification", "reference"}
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import json
import pathlib
import sys
import tempfile
import typing

import numpy as np

from convert import flatbuffer, latency, verify
from edge.errors import InferenceError
from edge.inference.golden import golden
from edge.inference.model import Model, probe

Arrays = dict[str, np.ndarray]
MATCHING = 8
"""Samples on which outputs are told apart where names do not."""
GOLDEN = 8
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear")
"""Operators between float and integer, which are part of no float island."""


class Fitted:
    """A file in its interpreter, with the inputs and outputs of the network that it was made from.

    Args:
        path: a ``.tflite`` or ``.onnx``.
        samples: input name -> (samples, *shape), as the network takes them.
        reference: output name -> (samples, *shape), what the network computes.

    Raises:
        InferenceError: the file cannot be run, or takes or gives something else.
    """

    def __init__(self, path: pathlib.Path, samples: Arrays, reference: Arrays):
        inner: typing.Any = _Onnx(path) if path.suffix == ".onnx" else _Tflite(path)
        self.runtime: str = inner.runtime
        self.inner = inner
        self._run = inner.run
        shapes = {name: values.shape[1:] for name, values in samples.items()}
        self.inputs = matched_inputs(shapes, inner.inputs)
        self._moved = {
            name: _mover(shapes[name], inner.inputs[tensor]) for name, tensor in self.inputs.items() if shapes[name] != inner.inputs[tensor]
        }
        rows = [
            self._raw({name: values[i] for name, values in samples.items()})
            for i in range(min(MATCHING, len(next(iter(samples.values())))))
        ]
        got = {tensor: np.stack([row[tensor] for row in rows]) for tensor in rows[0]}
        self.outputs = matched_outputs({name: values[: len(rows)] for name, values in reference.items()}, got)
        self._shapes = {name: reference[name].shape[1:] for name in self.outputs}

    def _raw(self, arrays: Arrays) -> Arrays:
        for name, move in self._moved.items():
            arrays[name] = move(arrays[name])
        return self._run(**{tensor: arrays[name] for name, tensor in self.inputs.items()})

    def run(self, **arrays: np.ndarray) -> Arrays:
        """One inference, as ``edge.inference.model.Model.run``."""
        results = self._raw(arrays)
        return {name: results[tensor].reshape(self._shapes[name]) for name, tensor in self.outputs.items()}


class _Tflite:
    """A ``.tflite``, inputs and outputs by tensor name."""

    def __init__(self, path: pathlib.Path):
        content = path.read_bytes()
        graph = flatbuffer.unpack(content).subgraphs[0]
        names = [{graph.tensors[i].name.decode(): graph.tensors[i].name.decode() for i in ends} for ends in (graph.inputs, graph.outputs)]
        self.model = Model(content, name="the file", inputs=names[0], outputs=names[1])
        self.runtime = self.model.runtime
        self.inputs = {name: tensor.shape for name, tensor in self.model.details().inputs.items()}

    def run(self, **arrays: np.ndarray) -> Arrays:
        return self.model.run(**arrays)


class _Onnx:
    """An ONNX file in ONNX Runtime, one thread."""

    def __init__(self, path: pathlib.Path):
        try:
            import onnxruntime
        except ImportError as error:
            raise InferenceError(f"onnxruntime is not installed here: {error}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self.inputs = {value.name: tuple(value.shape[1:]) for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, **arrays: np.ndarray) -> Arrays:
        values = self._session.run(self._outputs, {name: array[None] for name, array in arrays.items()})
        return {name: np.asarray(value)[0] for name, value in zip(self._outputs, values, strict=True)}


def _mover(shape: tuple[int, ...], wanted: tuple[int, ...]) -> collections.abc.Callable[[np.ndarray], np.ndarray]:
    """From channels last to channels first, or a mere other shape.

    Raises:
        InferenceError: the sizes do not fit.
    """
    if np.prod(shape) != np.prod(wanted):
        raise InferenceError(f"it takes {wanted}, and the network {shape}")
    if tuple(np.moveaxis(np.empty(shape), -1, 0).shape) == wanted and shape[-1] > 1:
        return lambda array: np.ascontiguousarray(np.moveaxis(array, -1, 0))
    return lambda array: array.reshape(wanted)


def matched_inputs(
    shapes: collections.abc.Mapping[str, tuple[int, ...]], found: collections.abc.Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Which tensor takes which input: by name without what converters add, else by size.

    Raises:
        InferenceError: an input is left without tensor.
    """
    plain = {tensor.removeprefix("serving_default_").split(":")[0]: tensor for tensor in found}
    matches: dict[str, str] = {}
    for name, shape in shapes.items():
        left = [tensor for tensor in found if tensor not in matches.values()]
        if plain.get(name) in left:
            matches[name] = plain[name]
            continue
        fitting = [tensor for tensor in left if np.prod(found[tensor]) == np.prod(shape)]
        if len(fitting) != 1:
            raise InferenceError(f"it takes {', '.join(f'{t} {found[t]}' for t in found)}, and no one of them is input {name!r} {shape}")
        matches[name] = fitting[0]
    return matches


def matched_outputs(reference: Arrays, got: Arrays) -> dict[str, str]:
    """Which tensor is which output: of those of its size, the one nearest to it.

    Raises:
        InferenceError: an output is left without tensor.
    """
    matches: dict[str, str] = {}
    for name, values in reference.items():
        left = [tensor for tensor in got if tensor not in matches.values() and got[tensor].size == values.size]
        if not left:
            raise InferenceError(f"it gives {', '.join(f'{t} {got[t].shape[1:]}' for t in got)}, and no output {name!r} {values.shape[1:]}")
        matches[name] = min(left, key=lambda tensor: float(np.abs(got[tensor].reshape(values.shape) - values).mean()))
    return matches


@dataclasses.dataclass(frozen=True)
class Operators:
    """What a file computes with."""

    all: dict[str, int]
    floats: dict[str, int]
    """Those that read or write floating point, conversions to and from integers left out."""


def operators(path: pathlib.Path) -> Operators:
    """Count; in ONNX after ONNX Runtime's own optimization, for it fuses quantized operators only then."""
    found = _onnx_operators(path) if path.suffix == ".onnx" else _tflite_operators(path)
    every, floats = collections.Counter[str](), collections.Counter[str]()
    for name, is_float in found:
        every[name] += 1
        floats[name] += is_float and name not in CONVERSIONS
    return Operators(dict(sorted(every.items())), {name: count for name, count in sorted(floats.items()) if count})


def _tflite_operators(path: pathlib.Path) -> list[tuple[str, bool]]:
    model = flatbuffer.unpack(path.read_bytes())
    found = []
    for number, graph in enumerate(model.subgraphs):
        for operator in flatbuffer.operators(model, number):
            types = {graph.tensors[i].type for i in (*operator.inputs, *operator.outputs)}
            found.append((operator.name, bool(types & flatbuffer.FLOATS)))
    return found


def _onnx_operators(path: pathlib.Path) -> list[tuple[str, bool]]:
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        optimized = pathlib.Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(optimized), 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(optimized).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    return [(node.op_type, any(types.get(name) == onnx.TensorProto.FLOAT for name in node.output)) for node in graph.node]


def compare(job: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """One file against the network, on every sample; golden vectors of a ``.tflite`` are written to ``job["golden"]``."""
    path = pathlib.Path(job["path"])
    samples, reference = _arrays(job["verification"]), _arrays(job["reference"])
    fitted = Fitted(path, samples, reference)
    got = verify.outputs_of(typing.cast(Model, fitted), samples)
    labels = np.load(job["labels"]) if job.get("labels") else None
    checked = verify.compare_answers(reference, got, name="the file", runtime=fitted.runtime, labels=labels)
    counted = operators(path)
    told: dict[str, typing.Any] = {"verification": checked.as_dict(), "operators": counted.all, "float_operators": counted.floats}
    if isinstance(fitted.inner, _Tflite):
        model = fitted.inner.model
        given = {tensor: np.stack([_moved(fitted, name, row) for row in samples[name][:GOLDEN]]) for name, tensor in fitted.inputs.items()}
        np.savez(job["golden"], **golden(model, given))  # type: ignore[arg-type]
        details = model.details()
        told["inputs"] = {name: tensor.name for name, tensor in details.inputs.items()}
        told["outputs"] = {name: tensor.name for name, tensor in details.outputs.items()}
    return told


def _moved(fitted: Fitted, name: str, row: np.ndarray) -> np.ndarray:
    return fitted._moved[name](row) if name in fitted._moved else row


def measure(job: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """All files in turn, in this one process, one thread each."""
    samples, reference = _arrays(job["verification"]), _arrays(job["reference"])
    fitted = {name: Fitted(pathlib.Path(path), samples, reference) for name, path in job["paths"].items()}
    times = latency.measure(typing.cast(dict[str, Model], fitted), samples)
    return {"runtime": str(probe()), "latency": {name: dataclasses.asdict(time) for name, time in times.items()}}


def _arrays(path: str) -> Arrays:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


if __name__ == "__main__":
    print(json.dumps({"compare": compare, "measure": measure}[sys.argv[1]](json.loads(pathlib.Path(sys.argv[2]).read_text()))))
