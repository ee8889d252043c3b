"""ONNX files, as PyTorch, tf2onnx and scikit-learn's converter write them: read, checked, and written anew for TensorFlow.

Networks over images and sequences become channels-last, which is what the device's kernels work in: their inputs and outputs
change with them, and ``notes`` says so. Nothing in a file is run but by onnxruntime, whose operators touch nothing outside.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import pathlib
import re
import typing

import numpy as np
import onnx

from convert.readers import first_line
from convert.readers.onnx import axes as onnx_axes
from convert.readers.onnx import file as onnx_file
from convert.readers.onnx import graph as onnx_graph
from convert.readers.onnx import layout as onnx_layout
from convert.readers.onnx import rewrite as onnx_rewrite
from convert.recipe import LstmForm
from convert.source import Samples
from edge.errors import ConversionError, InputError


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output, in the file and in public."""

    name: str
    public: str
    sizes: tuple[int, ...]
    """In the order of the file."""
    order: tuple[int, ...]
    """Axis k in public is axis ``order[k]`` in the file."""

    @property
    def batched(self) -> bool:
        """Whether the first axis in public is a batch of one; if not, the whole of it is one sample."""
        return bool(self.order) and self.sizes[self.order[0]] == 1

    @property
    def held_sizes(self) -> tuple[int, ...]:
        """In the order of the public, as many axes as in the file."""
        return tuple(self.sizes[axis] for axis in self.order)

    @property
    def public_sizes(self) -> tuple[int, ...]:
        """With a batch axis of one in front and at least one axis behind."""
        sizes = self.held_sizes if self.batched else (1, *self.held_sizes)
        return sizes if len(sizes) > 1 else (1, 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """In public, without the batch axis."""
        return self.public_sizes[1:]

    def in_file(self, sample: np.ndarray) -> np.ndarray:
        """One public sample, (*shape), as the file has it."""
        return np.ascontiguousarray(sample.reshape(self.held_sizes).transpose(np.argsort(self.order)))

    def in_public(self, array: np.ndarray) -> np.ndarray:
        """An array as the file has it, as one public sample."""
        return array.transpose(self.order).reshape(self.shape)


class OnnxSource:
    """A model from an ONNX file (``convert.source.Source``)."""

    produces: typing.Literal["saved_model", "tflite"] = "saved_model"

    def __init__(self, name: str, model: onnx.ModelProto, graph: onnx_graph.Graph, ports: tuple[list[Port], list[Port]], notes: list[str]):
        # TensorFlow takes seconds to load: only behind all that can be refused without it.
        from convert.readers.onnx import lowering as onnx_lowering

        self.name = name
        self.inputs: dict[str, tuple[int, ...]] = {port.public: port.shape for port in ports[0]}
        self.outputs: tuple[str, ...] = tuple(port.public for port in ports[1])
        self.weights = _count_weights(model, graph)
        self.forms: tuple[LstmForm, ...] = onnx_lowering.forms(graph)
        self.notes = tuple(notes)
        self._model, self._graph = model, graph
        self._inputs, self._outputs = ports

    def export(self, folder: pathlib.Path, form: LstmForm) -> tuple[dict[str, str], dict[str, str]]:
        """Write ``folder``/saved_model (signature serving_default, batch of one, static shapes).

        Returns:
            Public input names -> signature names, and the same for the outputs.

        Raises:
            ConversionError: a node cannot be written.
        """
        import tensorflow as tf

        from convert.readers.onnx import lowering as onnx_lowering
        from convert.readers.onnx.values import Value

        specs = [tf.TensorSpec(port.public_sizes, tf.float32, name=f"input_{i}") for i, port in enumerate(self._inputs)]

        def serve(*tensors):
            values = {}
            for port, tensor in zip(self._inputs, tensors, strict=True):
                values[port.name] = Value(tf.reshape(tensor, port.held_sizes), port.order)
            results = onnx_lowering.lower(self._graph, values, form)
            arranged = {}
            for i, port in enumerate(self._outputs):
                # An output may be an input or another output; the identity gives each a tensor of its own.
                arranged[f"output_{i}"] = tf.identity(tf.reshape(results[port.name].arranged(port.order), port.public_sizes))
            return arranged

        module = tf.Module()
        try:
            module.serve = tf.function(serve, input_signature=specs, autograph=False)
            tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.serve.get_concrete_function())
        except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
            raise ConversionError(f"{self.name!r} cannot be exported: {first_line(error)}") from error
        inputs = {port.public: f"input_{i}" for i, port in enumerate(self._inputs)}
        return inputs, {port.public: f"output_{i}" for i, port in enumerate(self._outputs)}

    def predict(self, samples: Samples) -> dict[str, np.ndarray]:
        """What onnxruntime makes of the file as it is: (samples, *shape) of every output, float32."""
        idle = onnx_graph.zeros(self._session)
        kinds = {name: array.dtype for name, array in idle.items()}
        rows: list[list[np.ndarray]] = []
        for i in range(min(len(values) for values in samples.values())):
            fed = {port.name: port.in_file(np.asarray(samples[port.public][i])).astype(kinds[port.name]) for port in self._inputs}
            rows.append(self._session.run([port.name for port in self._outputs], {**idle, **fed}))
        columns = zip(self._outputs, zip(*rows, strict=True), strict=True)
        return {port.public: np.stack([port.in_public(array) for array in arrays]).astype(np.float32) for port, arrays in columns}

    @functools.cached_property
    def _session(self) -> typing.Any:
        return onnx_graph.session_of(self._model)


def read_onnx(path: pathlib.Path, *, pins: collections.abc.Mapping[str, int] | None = None) -> OnnxSource:
    """The model in an ONNX file.

    Args:
        path: the file; external data is looked for beside it.
        pins: size of open axes other than the batch, by symbolic name or by "input:axis".

    Raises:
        InputError: the file is damaged, invalid, too large or refers to files elsewhere; an axis is open; an input is not
            floating point; an operator is not supported; or no output is left.
    """
    try:
        return _read(path, pins or {})
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from error


def _read(path: pathlib.Path, pins: collections.abc.Mapping[str, int]) -> OnnxSource:
    model = onnx_file.load(path)
    values = {value.name: value for value in onnx_axes.true_inputs(model)}
    shapes, notes = onnx_axes.fix({name: onnx_axes.axes_of(value) for name, value in values.items()}, pins)
    outputs, left_out = _wanted_outputs(model)
    graph = onnx_graph.build(model, shapes, outputs, _supported())
    for name in graph.inputs:
        onnx_axes.check_float(values[name])
    onnx_rewrite.fuse_gelu(graph)
    softened = onnx_rewrite.soften_masks(graph)
    taken: set[str] = set()
    inputs = [_port(name, graph, onnx_layout.input_order(graph, name), taken) for name in graph.inputs]
    taken = set()
    ports = [_port(name, graph, onnx_layout.output_order(graph, name), taken) for name in graph.outputs]
    if not inputs:
        raise InputError("no input has an effect on an output")
    notes = [note for note in notes if not any(f"input {name!r}" in note for name in shapes if name not in graph.inputs)]
    notes += [f"input {name!r} has no effect and is left out" for name in shapes if name not in graph.inputs]
    notes += left_out + [
        note for kind, group in (("input", inputs), ("output", ports)) for port in group for note in _port_notes(kind, port)
    ]
    if softened:
        notes.append(f"what masks add in front of a softmax is {onnx_rewrite.MASKED:g} at least, for int8 has no room for infinity")
    if any(node.kind == "Erf" for node in graph.nodes):
        notes.append("erf, for which no runtime has a kernel, is approximated to 4e-5")
    return OnnxSource(path.stem, model, graph, (inputs, ports), notes)


def _supported() -> frozenset[onnx_graph.Key]:
    from convert.readers.onnx import lowering as onnx_lowering

    return onnx_lowering.supported()


def _wanted_outputs(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """The outputs that depend on an input and are floating point; and of the others, what they are."""
    constant, wanted, left_out = onnx_graph.constant_outputs(model), [], []
    for output in model.graph.output:
        kind = output.type.tensor_type.elem_type if output.type.HasField("tensor_type") else None
        if output.name in constant:
            left_out.append(f"output {output.name!r} is the same whatever comes in, and is left out")
        elif kind not in onnx_axes.FLOATS:
            what = "no tensor" if kind is None else onnx.TensorProto.DataType.Name(kind).lower()
            left_out.append(f"output {output.name!r} is {what}, not floating point, and is left out")
        else:
            wanted.append(output.name)
    if not wanted:
        raise InputError(f"no output is left: {'; '.join(left_out)}; export the scores (scikit-learn: options={{'zipmap': False}})")
    return wanted, left_out


def _port(name: str, graph: onnx_graph.Graph, order: tuple[int, ...], taken: set[str]) -> Port:
    public = plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    number = 1
    while public in taken:
        number += 1
        public = f"{plain}_{number}"
    taken.add(public)
    return Port(name, public, graph.shapes[name], order)


def _port_notes(kind: str, port: Port) -> list[str]:
    notes = []
    if port.order != tuple(range(len(port.order))):
        here = tuple(port.sizes[axis] for axis in port.order)
        layout = "batch-first" if port.order[0] else "channels-last"
        notes.append(f"{kind} {port.public!r} is {layout}: {port.sizes} in the file, {here} here")
    if not port.batched:
        notes.append(f"{kind} {port.public!r} has no batch axis of one in front: the whole of it, {port.sizes}, is one sample")
    if port.public != port.name:
        notes.append(f"{kind} {port.name!r} is called {port.public!r}")
    return notes


def _count_weights(model: onnx.ModelProto, graph: onnx_graph.Graph) -> int:
    """Floating point numbers in the initializers that the graph reads, before anything is folded."""
    needed, readers = set(graph.outputs), {name: node for node in model.graph.node for name in node.output}
    asked, seen = list(needed), set()
    while asked:
        name = asked.pop()
        if name not in seen:
            seen.add(name)
            asked += list(readers[name].input) if name in readers else []
    trained = [tensor for tensor in model.graph.initializer if tensor.name in seen and tensor.data_type in onnx_axes.FLOATS and tensor.dims]
    lists = [node.attributes.get(name, ()) for node in graph.nodes if node.domain for name in ("coefficients", "intercepts")]
    return sum(int(np.prod(tensor.dims)) for tensor in trained) + sum(map(len, lists))
