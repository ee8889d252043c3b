"""TensorFlow SavedModel folders: the function ``serving_default``, with a batch of one."""

from __future__ import annotations

import pathlib
import re
import typing

import numpy as np
import tensorflow as tf

from convert import readers
from convert.readers import first_line
from convert.readers.unroll import LOOPS, Walk
from convert.recipe import LstmForm
from convert.source import Samples
from edge.errors import ConversionError, InputError

SIGNATURE = "serving_default"
MAXIMUM_BYTES = 1 << 30
CODE = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
"""Operators that call back into the Python that wrote them."""


class SavedModelSource:
    """One signature of a SavedModel."""

    produces: typing.Final = "saved_model"

    def __init__(self, path: pathlib.Path, *, pins: readers.Pins | None = None):
        self.name = path.name
        self.forms: tuple[LstmForm, ...] = ("unrolled",)
        try:
            # Kept alive with the function, or its variables go.
            self._loaded: typing.Any = tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow raises whatever its parsers raise
            raise InputError(f"{path} is damaged, or no SavedModel: {first_line(error)}") from error
        if SIGNATURE not in self._loaded.signatures:
            known = ", ".join(self._loaded.signatures) or "none"
            raise InputError(f"{path} has no signature {SIGNATURE!r}, it has {known}: export the model with one")
        self._function = self._loaded.signatures[SIGNATURE]
        self._check_graph(path)
        specs = self._function.structured_input_signature[1]
        self._signature_names = {_public(key): key for key in sorted(specs)}
        for key, spec in specs.items():
            if not spec.dtype.is_floating:
                raise InputError(f"{path}: input {key!r} is of type {spec.dtype.name}: only float inputs can be converted")
        used: set[str] = set()
        self.inputs = {name: readers.pinned(tuple(specs[key].shape), name, pins or {}, used) for name, key in self._signature_names.items()}
        readers.check_pins(pins or {}, used)
        notes = [f"axis {key} is fixed at {(pins or {})[key]}" for key in sorted(used)]
        if self._loops:
            notes.append("its loops are written out step by step: the .keras file, with its layers, gives more forms to choose from")
        self.notes = tuple(notes)
        self._output_names = {_public(key): key for key in sorted(self._function.structured_outputs)}
        self.outputs = tuple(self._output_names)
        self.weights = sum(int(np.prod(v.shape)) for v in self._function.graph.variables if v.dtype.is_floating)

    def _check_graph(self, path: pathlib.Path) -> None:
        definition = self._function.graph.as_graph_def()
        nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
        called = [node for node in nodes if node.op in CODE]
        if called:
            raise InputError(f"{path}: node {called[0].name!r} calls Python ({called[0].op}), which no device has: write it in TensorFlow")
        self._loops = any(node.op in LOOPS for node in nodes)

    def export(self, folder: pathlib.Path, form: LstmForm) -> tuple[dict[str, str], dict[str, str]]:
        """Write the signature again with fixed shapes."""
        inputs = {name: f"input_{i}" for i, name in enumerate(self.inputs)}
        outputs = {name: f"output_{i}" for i, name in enumerate(self.outputs)}
        specs = [tf.TensorSpec((1, *shape), tf.float32, name=inputs[name]) for name, shape in self.inputs.items()]

        def serve(*tensors):
            results = self._call(dict(zip(self.inputs, tensors, strict=True)))
            return {outputs[name]: tf.identity(tf.ensure_shape(value, (1, *value.shape[1:]))) for name, value in results.items()}

        module = tf.Module()
        module.kept = self._loaded
        try:
            module.serve = tf.function(serve, input_signature=specs, autograph=False)
            concrete = module.serve.get_concrete_function()
            if self._loops:
                concrete = self._unrolled(concrete, specs, list(outputs.values()))
                module.kept, module.serve = None, concrete
            tf.saved_model.save(module, str(folder / "saved_model"), signatures=concrete)
        except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
            raise ConversionError(f"{self.name!r} cannot be exported: {first_line(error)}") from error
        return inputs, outputs

    def _unrolled(self, concrete: typing.Any, specs: list[tf.TensorSpec], outputs: list[str]) -> typing.Any:
        """The same function with its loops written out."""
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
        walk = Walk(frozen.graph.as_graph_def(), self.name)
        places = [tensor.op.name for tensor in frozen.inputs]
        # Flattened outputs of a function are in the order of their sorted names.
        results = dict(zip(sorted(outputs), (tensor.name for tensor in frozen.outputs), strict=True))

        def serve(*tensors):
            found = walk.run(dict(zip(places, tensors, strict=True)), [results[name] for name in outputs])
            return {name: tf.identity(value) for name, value in zip(outputs, found, strict=True)}

        return tf.function(serve, input_signature=specs, autograph=False).get_concrete_function()

    def _call(self, tensors: dict[str, typing.Any]) -> dict[str, typing.Any]:
        results = self._function(**{self._signature_names[name]: tensor for name, tensor in tensors.items()})
        return {name: results[key] for name, key in self._output_names.items()}

    def predict(self, samples: Samples) -> dict[str, np.ndarray]:
        """What TensorFlow computes, one sample at a time, as the device will."""
        count = min(len(values) for values in samples.values())
        rows = [self._call({name: tf.constant(values[i : i + 1], tf.float32) for name, values in samples.items()}) for i in range(count)]
        return {name: np.concatenate([row[name].numpy() for row in rows]) for name in self.outputs}


def _public(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def read_saved_model(path: pathlib.Path, *, pins: readers.Pins | None = None) -> SavedModelSource:
    """The model in a SavedModel folder.

    Raises:
        InputError: it is damaged or too large, has no serving signature, inputs that are not float, an open axis that is not
            pinned, or calls Python.
    """
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if size > MAXIMUM_BYTES:
        raise InputError(f"{path} holds {size / 1e9:.1f} GB: refused above {MAXIMUM_BYTES >> 30} GB")
    return SavedModelSource(path, pins=pins)
