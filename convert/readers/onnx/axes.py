"""The axes of an ONNX model's inputs: which are open, which of them is the batch, and what each is fixed at."""

from __future__ import annotations

import collections.abc
import re

import onnx

from edge.errors import InputError

_BATCH = re.compile(r"batch|^(n|b|bs)$", re.IGNORECASE)
"""How the batch axis is called where it has a name."""
_NO_BATCH = re.compile(r"time|seq|step|frame|len", re.IGNORECASE)
"""How an axis is called that is none, though it be the first."""

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)

Axis = int | str
"""A size, or the symbolic name of an open axis: "" where it has none."""


def true_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs without those that only name a weight, which files before IR version 4 list too."""
    weights = {tensor.name for tensor in model.graph.initializer} | {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [value for value in model.graph.input if value.name not in weights]


def axes_of(value: onnx.ValueInfoProto) -> list[Axis]:
    """The axes of an input as the file has them.

    Raises:
        InputError: it is no tensor, or has not even a number of axes.
    """
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise InputError(f"input {value.name!r} is no tensor of known rank: export the model with fixed shapes")
    return [dim.dim_value if dim.dim_value > 0 else dim.dim_param for dim in value.type.tensor_type.shape.dim]


def check_float(value: onnx.ValueInfoProto) -> None:
    """Raise InputError if an input takes anything but floating point numbers."""
    kind = value.type.tensor_type.elem_type
    if kind not in FLOATS:
        name = onnx.TensorProto.DataType.Name(kind).lower() if kind in onnx.TensorProto.DataType.values() else f"type {kind}"
        raise InputError(
            f"input {value.name!r} takes {name}, and the device gives floating point numbers: "
            f"cut the model behind the lookup or cast that reads it"
        )


def fix(
    inputs: collections.abc.Mapping[str, list[Axis]], pins: collections.abc.Mapping[str, int]
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Sizes of all axes, and what was fixed, a sentence each.

    Args:
        inputs: name -> axes.
        pins: symbolic name, or "input:axis", -> size.

    Raises:
        InputError: an axis other than the batch is open and not pinned, or a pin fits none or is no size.
    """
    batches = {name: _batch_axis(axes) for name, axes in inputs.items()}
    symbols = {str(inputs[name][axis]) for name, axis in batches.items() if axis is not None} - {""}
    notes: list[str] = []
    unused = dict(pins)
    shapes = {}
    for name, axes in inputs.items():
        sizes = []
        for number, axis in enumerate(axes):
            called = f"{name}:{number}"
            chosen = next((key for key in (called, axis) if isinstance(axis, str) and key in pins), None)
            if isinstance(axis, int):
                sizes.append(axis)
            elif chosen is not None:
                unused.pop(str(chosen), None)
                sizes.append(_size(str(chosen), pins[str(chosen)]))
                notes.append(f"axis {number}{_named(axis)} of input {name!r} is pinned at {sizes[-1]}")
            elif number == batches[name] or axis in symbols:
                sizes.append(1)
                notes.append(f"the open batch axis {number}{_named(axis)} of input {name!r} is 1")
            else:
                raise InputError(f"input {name!r} has an open axis {number}{_named(axis)}: pin it with --pin {axis or called}=SIZE")
        shapes[name] = tuple(sizes)
    if unused:
        known = sorted(
            {str(axis) or f"{name}:{number}" for name, axes in inputs.items() for number, axis in enumerate(axes) if isinstance(axis, str)}
        )
        raise InputError(f"no open axis is called {next(iter(unused))!r}: the model has {', '.join(known) or 'none'}")
    return shapes, notes


def _batch_axis(axes: list[Axis]) -> int | None:
    """The open axis that is named like a batch, else the first if that is open and not named like time."""
    named = [number for number, axis in enumerate(axes) if isinstance(axis, str) and _BATCH.search(axis)]
    if named:
        return named[0]
    return 0 if axes and isinstance(axes[0], str) and not _NO_BATCH.search(axes[0]) else None


def _named(axis: Axis) -> str:
    return f" ({axis})" if axis else ""


def _size(name: str, size: int) -> int:
    if size < 1:
        raise InputError(f"--pin {name}={size}: an axis takes 1 element or more")
    return size
