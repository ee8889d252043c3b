"""Trained models from files, one reader a format."""

from __future__ import annotations

import pathlib
import typing

from edge.errors import InputError

if typing.TYPE_CHECKING:
    import keras

SUFFIXES = (".keras", ".h5", ".hdf5")


def check_path(path: pathlib.Path) -> None:
    """Raise InputError if ``path`` is not a file of a known kind; costs nothing."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is of a kind that cannot be read: give one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path} does not exist, or is no file: give a trained model")


def read_model(path: pathlib.Path, *, allow_code: bool = False) -> keras.Model:
    """The model in a ``.keras``, ``.h5`` or ``.hdf5`` file.

    Args:
        path: the file.
        allow_code: let a model with Lambda layers run the code it brings; only for files that you trust.

    Raises:
        InputError: the file is missing, damaged, of another kind, or brings code.
    """
    check_path(path)
    from convert.readers.keras import read_keras

    return read_keras(path, allow_code=allow_code)
