"""Keras 3 ``.keras`` archives and Keras 2 ``.h5`` files. What a file would run is looked for before anything is built."""

from __future__ import annotations

import collections.abc
import json
import pathlib
import typing
import zipfile

import keras
import numpy as np

from convert import lowering, readers
from convert.readers import first_line
from convert.recipe import LstmForm
from convert.source import Samples
from edge.errors import InputError

MAXIMUM_BYTES = 1 << 30
"""Of an unpacked archive; the models meant here have a few megabytes."""

CODE = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper"})
"""Classes whose configuration is code."""


LEGACY: dict[str, dict[str, typing.Any]] = {
    "DepthwiseConv2D": {"groups": 1},
    "SeparableConv1D": {"groups": 1},
    "SeparableConv2D": {"groups": 1},
    "Conv2DTranspose": {"groups": 1},
    "LSTM": {"time_major": False},
    "GRU": {"time_major": False},
    "SimpleRNN": {"time_major": False},
    "Bidirectional": {"time_major": False},
}
"""Arguments that Keras 2 wrote and Keras 3 refuses, with the value under which they mean nothing."""


def _tolerant(name: str, neutral: dict[str, typing.Any]) -> type:
    """A layer that takes Keras 2's configuration as well."""
    base = getattr(keras.layers, name)

    def from_config(cls: type, config: dict[str, typing.Any]) -> typing.Any:
        kept = {key: value for key, value in config.items() if not (key in neutral and value == neutral[key])}
        return super(made, cls).from_config(kept)  # type: ignore

    made = type(name, (base,), {"from_config": classmethod(from_config), "__module__": base.__module__})
    return made


class KerasSource:
    """A Keras model in memory, with fixed shapes but for the batch.

    Raises:
        InputError: an input has an open axis.
        ConversionError: it is no functional or built sequential model.
    """

    produces: typing.Final = "saved_model"

    def __init__(self, model: keras.Model, *, name: str | None = None, notes: tuple[str, ...] = ()):
        self.model = model
        self.name = name or model.name
        names = lowering.input_names(model)
        self.inputs = {key: readers.pinned(tuple(x.shape), key, {}, set()) for key, x in zip(names, model.inputs, strict=True)}
        self.outputs = lowering.output_names(model)
        self.weights = int(model.count_params())
        self.forms: tuple[LstmForm, ...] = ("fused", "unrolled") if _has_lstm(model) else ("unrolled",)
        self.notes = notes

    def export(self, folder: pathlib.Path, form: LstmForm) -> tuple[dict[str, str], dict[str, str]]:
        """Write ``folder``/saved_model; see ``lowering.export``."""
        return lowering.export(self.model, folder / "saved_model", lstm_form=form)

    def predict(self, samples: Samples) -> dict[str, np.ndarray]:
        """What Keras computes."""
        return lowering.predict(self.model, samples)


def as_source(model: typing.Any) -> typing.Any:
    """A source as it is; a Keras model as a source."""
    return KerasSource(model) if isinstance(model, keras.Model) else model


def _has_lstm(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.LSTM) for layer in model._flatten_layers())


def read_keras(path: pathlib.Path, *, allow_code: bool = False, pins: readers.Pins | None = None) -> KerasSource:
    """The model in the file, not compiled.

    Raises:
        InputError: the file is damaged, holds no model or only weights, leaves an axis open that is not pinned, or brings code
            and ``allow_code`` is not set.
    """
    configuration = _archive_configuration(path) if path.suffix.lower() == ".keras" else _h5_configuration(path)
    bringing = sorted({name.strip("_").capitalize() if name == "__lambda__" else name for name in _classes(configuration) if name in CODE})
    if bringing and not allow_code:
        raise InputError(f"{path} has {', '.join(bringing)} layers, which run code from the file: pass --allow-code if you trust it")
    try:
        legacy = {name: _tolerant(name, neutral) for name, neutral in LEGACY.items()} if path.suffix.lower() != ".keras" else None
        model = keras.models.load_model(path, custom_objects=legacy, compile=False, safe_mode=not allow_code)
    except Exception as error:  # Keras raises whatever its parsers raise
        raise InputError(f"{path} cannot be loaded by Keras {keras.__version__}: {first_line(error)}") from error
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise InputError(f"{path} holds no model with known inputs: save a functional model, or call a sequential one before saving")
    model, notes = _fixed(model, pins or {}, path)
    return KerasSource(model, name=path.stem, notes=notes)


def _fixed(model: keras.Model, pins: readers.Pins, path: pathlib.Path) -> tuple[keras.Model, tuple[str, ...]]:
    """The model with the open axes of its inputs pinned."""
    used: set[str] = set()
    names = lowering.input_names(model)
    shapes = {name: readers.pinned(tuple(x.shape), name, pins, used) for name, x in zip(names, model.inputs, strict=True)}
    readers.check_pins(pins, used)
    if not used:
        return model, ()
    inputs = [keras.Input(shape, name=name) for name, shape in shapes.items()]
    try:
        outputs = lowering.call(model, inputs)
        fixed = keras.Model(inputs, outputs, name=model.name)
    except Exception as error:  # the same: whatever its layers raise
        raise InputError(f"{path} cannot take the sizes that --pin gives: {first_line(error)}") from error
    return fixed, tuple(f"axis {key} is fixed at {pins[key]}" for key in sorted(used))


def _archive_configuration(path: pathlib.Path) -> typing.Any:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > MAXIMUM_BYTES:
                raise InputError(f"{path} unpacks to {unpacked / 1e9:.1f} GB: refused above {MAXIMUM_BYTES >> 30} GB")
            return json.loads(archive.read("config.json"))
    except InputError:
        raise
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} is damaged, or no .keras file: {first_line(error)}") from error


def _h5_configuration(path: pathlib.Path) -> typing.Any:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path} is damaged, or no HDF5 file: {first_line(error)}") from error
    if text is None:
        raise InputError(f"{path} holds weights without a model: save the whole model, not save_weights")
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} holds a damaged model configuration: {first_line(error)}") from error


def _classes(node: typing.Any) -> collections.abc.Iterator[str]:
    """All class names in a configuration, however deep."""
    if isinstance(node, dict):
        name = node.get("class_name")
        if isinstance(name, str):
            yield name.rsplit(">", 1)[-1]
        for value in node.values():
            yield from _classes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _classes(value)
