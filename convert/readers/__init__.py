"""Trained models from files, one reader a format."""

from __future__ import annotations

import collections.abc
import pathlib

from convert.source import Source
from edge.errors import InputError

KERAS, ONNX, TFLITE = (".keras", ".h5", ".hdf5"), (".onnx",), (".tflite",)
SUFFIXES = (*KERAS, *ONNX, *TFLITE)

Pins = collections.abc.Mapping[str, int]
"""Sizes of open axes: by the axis's own name (ONNX), or by "INPUT:AXIS", where axis 0 is the batch."""


def check_path(path: pathlib.Path) -> None:
    """Raise InputError if ``path`` is not a model of a known kind; costs nothing."""
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise InputError(f"{path} is a folder without saved_model.pb: give a SavedModel folder, or a file: {', '.join(SUFFIXES)}")
    elif path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is of a kind that cannot be read: give one of {', '.join(SUFFIXES)}, or a SavedModel folder")
    elif not path.is_file():
        raise InputError(f"{path} does not exist, or is no file: give a trained model")


def read(path: pathlib.Path, *, allow_code: bool = False, pins: Pins | None = None) -> Source:
    """The model in a ``.keras``, ``.h5``, ``.hdf5``, ``.onnx`` or float ``.tflite`` file, or in a SavedModel folder.

    Args:
        path: the file or folder.
        allow_code: let a Keras model with Lambda layers run the code it brings; only for files that you trust.
        pins: sizes for axes that the file leaves open.

    Raises:
        InputError: the file is missing, damaged, of another kind, brings code, or leaves an axis open that is not pinned.
    """
    check_path(path)
    suffix = path.suffix.lower()
    # TensorFlow loads in seconds, and not every format needs all of it.
    if path.is_dir():
        from convert.readers.saved_model import read_saved_model

        return read_saved_model(path, pins=pins)
    if suffix in ONNX:
        from convert.readers.onnx import read_onnx

        return read_onnx(path, pins=pins)
    if suffix in TFLITE:
        from convert.readers.tflite import read_tflite

        return read_tflite(path, pins=pins)
    from convert.readers.keras import read_keras

    return read_keras(path, allow_code=allow_code, pins=pins)


def pinned(shape: collections.abc.Sequence[int | None], name: str, pins: Pins, used: set[str]) -> tuple[int, ...]:
    """A shape with its batch axis left out and its open axes filled in from ``pins``; what was used is added to ``used``.

    Raises:
        InputError: an axis is open and not pinned.
    """
    fixed = []
    for axis, size in enumerate(shape):
        key = f"{name}:{axis}"
        if axis == 0:
            continue
        if size is None and key not in pins:
            open_shape = ", ".join("?" if n is None else str(n) for n in shape)
            raise InputError(f"input {name!r} has an open axis {axis} in ({open_shape}): fix its size with --pin {key}=SIZE")
        if size is None:
            used.add(key)
        fixed.append(int(pins[key] if size is None else size))
    return tuple(fixed)


def check_pins(pins: Pins, used: set[str]) -> None:
    """Raise InputError for a pin that no axis took: it was meant for something."""
    left = sorted(set(pins) - used)
    if left:
        raise InputError(f"no open axis is called {', '.join(left)}: leave --pin out, or name one as INPUT:AXIS")


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, cut at 200 characters."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
