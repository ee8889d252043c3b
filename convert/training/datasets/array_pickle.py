"""Pickles of NumPy arrays, read without running anything that is in them.

A pickle may name any function to call. Here not even NumPy's own are called: what a pickle names is looked up in a short list of
stand-ins that keep bytes, shape and type, and arrays are made of them afterwards, from number types alone.
"""

from __future__ import annotations

import math
import pathlib
import pickle
import re
import typing

import numpy as np

from edge.errors import InputError


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, name: object = "", *_: object) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def real(self) -> np.dtype:
        """Of booleans, integers and floats alone."""
        if not re.fullmatch(r"b1|[iu][1248]|f[248]", str(self.name)) or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"an array of type {self.name!r}")
        return np.dtype(f"{self.order}{self.name}")


class Packed:
    """An array as it lies in the file; ``values`` unpacks it. Stands for ``numpy.ndarray`` and what rebuilds one."""

    def __init__(self, *_: object) -> None:
        self._shape: tuple = (0,)
        self._dtype: object = None
        self._raw: object = b""
        self._order: typing.Literal["C", "F"] = "C"

    def __setstate__(self, state: tuple) -> None:
        _, self._shape, self._dtype, fortran, self._raw = state
        self._order = "F" if fortran else "C"

    def values(self) -> np.ndarray:
        """The array. Raises ValueError: not of numbers, or its bytes do not fill its shape."""
        raw = self._raw.encode("latin1") if isinstance(self._raw, str) else self._raw
        if not isinstance(self._dtype, _Dtype) or not isinstance(raw, (bytes, bytearray)):
            raise ValueError("an array of objects")
        if not all(isinstance(size, int) and size >= 0 for size in self._shape):
            raise ValueError(f"an array of shape {self._shape}")
        dtype = self._dtype.real()
        if math.prod(self._shape) * dtype.itemsize != len(raw):
            raise ValueError(f"{len(raw)} bytes for an array of shape {self._shape}")
        return np.frombuffer(raw, dtype).reshape(self._shape, order=self._order)


class _FromBuffer(Packed):
    """Stands for ``numpy._core.numeric._frombuffer`` of protocol 5."""

    def __init__(self, raw: object = b"", dtype: object = None, shape: tuple = (0,), order: str = "C", *_: object) -> None:
        super().__init__()
        self._raw, self._dtype, self._shape = raw, dtype, shape
        self._order = "F" if order == "F" else "C"


class _Scalar(Packed):
    """Stands for ``numpy.core.multiarray.scalar``."""

    def __init__(self, dtype: object = None, raw: object = b"", *_: object) -> None:
        super().__init__()
        self._raw, self._dtype, self._shape = raw, dtype, ()


class _Encoded:
    """Stands for ``_codecs.encode``, by which protocol 2 writes bytes."""

    def __new__(cls, text: str = "", *_: object) -> bytes:  # type: ignore[misc]
        return text.encode("latin1")

    def __setstate__(self, state: object) -> None:
        raise TypeError("bytes have no state")


class _NoBytes:
    """Stands for ``bytes``, by which protocol 2 writes empty ones."""

    def __new__(cls, *_: object) -> bytes:  # type: ignore[misc]
        return b""

    def __setstate__(self, state: object) -> None:
        raise TypeError("bytes have no state")


_ALLOWED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): Packed,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encoded,
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in (("set", set), ("bytes", _NoBytes))},
    **{
        (f"numpy.{core}.{name}", function): kind
        for core in ("core", "_core")
        for name, function, kind in (
            ("multiarray", "_reconstruct", Packed),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _FromBuffer),
        )
    },
}
_FAULTS = (
    pickle.UnpicklingError, ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError,
    RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What unpickling a damaged file raises."""


class _Refused(pickle.UnpicklingError):
    pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(_harmless(f"{module}.{name}")) from None


def _harmless(text: str) -> str:
    """What a file says, in one short line and without control codes."""
    return " ".join(ascii(" ".join(text.split()))[1:-1][:120].split())


def load_arrays(path: pathlib.Path) -> typing.Any:
    """The content of a pickle of dicts, lists, text, numbers and arrays; arrays are ``Packed``. Text of Python 2 is read as latin1.

    Raises:
        InputError: anything else is inside, and nothing of it was run; or the file is damaged.
    """
    with path.open("rb") as file:
        try:
            return _Unpickler(file, encoding="latin1").load()
        except _Refused as refused:
            raise InputError(f"{path}: holds {refused}, not arrays and plain values alone; not run, fetch it from its publisher") from None
        except _FAULTS as error:
            told = _harmless(f"{type(error).__name__}: {error}")
            raise InputError(f"{path}: not a whole pickle of arrays ({told}); fetch it again") from None


def unpack(path: pathlib.Path, content: typing.Any, *keys: str) -> np.ndarray:
    """The array of numbers at ``content[key][key]...``; ``path`` is for what the error says.

    Raises:
        InputError: a key is missing, or what is there is no array of numbers.
    """
    where = "/".join(keys)
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise InputError(f"{path}: has no {where}; fetch it again")
        content = content[key]
    if not isinstance(content, Packed):
        raise InputError(f"{path}: {where} is no array; fetch it again")
    try:
        return content.values()
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {where} is damaged ({error}); fetch it again") from None
