"""Keras 3 ``.keras`` archives and Keras 2 ``.h5`` files. What a file would run is looked for before anything is built."""

from __future__ import annotations

import collections.abc
import json
import pathlib
import typing
import zipfile

import keras

from edge.errors import InputError

MAXIMUM_BYTES = 1 << 30
"""Of an unpacked archive; the models meant here have a few megabytes."""

CODE = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper"})
"""Classes whose configuration is code."""


def read_keras(path: pathlib.Path, *, allow_code: bool = False) -> keras.Model:
    """The model in the file, not compiled.

    Raises:
        InputError: the file is damaged, holds no model or only weights, or brings code and ``allow_code`` is not set.
    """
    configuration = _archive_configuration(path) if path.suffix.lower() == ".keras" else _h5_configuration(path)
    bringing = sorted({name.strip("_").capitalize() if name == "__lambda__" else name for name in _classes(configuration) if name in CODE})
    if bringing and not allow_code:
        raise InputError(f"{path} has {', '.join(bringing)} layers, which run code from the file: pass --allow-code if you trust it")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not allow_code)
    except Exception as error:  # Keras raises whatever its parsers raise
        raise InputError(f"{path} cannot be loaded by Keras {keras.__version__}: {_first_line(error)}") from error
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise InputError(f"{path} holds no model with known inputs: save a functional model, or call a sequential one before saving")
    return model


def _archive_configuration(path: pathlib.Path) -> typing.Any:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > MAXIMUM_BYTES:
                raise InputError(f"{path} unpacks to {unpacked / 1e9:.1f} GB: refused above {MAXIMUM_BYTES >> 30} GB")
            return json.loads(archive.read("config.json"))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} is damaged, or no .keras file: {_first_line(error)}") from error


def _h5_configuration(path: pathlib.Path) -> typing.Any:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path} is damaged, or no HDF5 file: {_first_line(error)}") from error
    if text is None:
        raise InputError(f"{path} holds weights without a model: save the whole model, not save_weights")
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} holds a damaged model configuration: {_first_line(error)}") from error


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


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
