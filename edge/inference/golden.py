"""Golden vectors: inputs and outputs of a stage as its tensors store them, to tell whether it computes the same elsewhere."""

from __future__ import annotations

import collections.abc
import dataclasses

import numpy as np

from edge.errors import InferenceError
from edge.inference.model import Model

_INPUT, _OUTPUT = "input_", "output_"


def golden(model: Model, samples: collections.abc.Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run ``model`` on samples and keep what went in and what came out.

    Args:
        model: a stage.
        samples: public input name -> real numbers (samples, *shape).

    Returns:
        ``input_<name>`` and ``output_<name>``: arrays (samples, *shape) of the tensors' own type, int8 for an int8 stage.
    """
    stored = model.quantize(**samples)
    outputs = _run(model, stored)
    return {**{_INPUT + name: values for name, values in stored.items()}, **{_OUTPUT + name: values for name, values in outputs.items()}}


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far a stage is from its golden vectors: in steps (LSB) for integer outputs, absolute for float ones; 0 is bit by bit the same."""

    largest: float
    mean: float
    """Over all elements of the output where it is largest."""


def compare_golden(model: Model, stored: collections.abc.Mapping[str, np.ndarray]) -> Difference:
    """Run ``model`` on golden inputs and compare what comes out, the worst output counting.

    Raises:
        InferenceError: the vectors are not of this stage, or it fails on them.
    """
    inputs = {name.removeprefix(_INPUT): values for name, values in stored.items() if name.startswith(_INPUT)}
    expected = {name.removeprefix(_OUTPUT): values for name, values in stored.items() if name.startswith(_OUTPUT)}
    outputs = _run(model, inputs)
    largest = mean = 0.0
    for name, values in outputs.items():
        if name not in expected or expected[name].shape != values.shape or expected[name].dtype != values.dtype:
            raise InferenceError(f"golden vectors do not fit stage {model.name!r}: output {name!r} is {values.dtype} {values.shape}")
        if values.size:
            difference = np.abs(values.astype(np.float64) - expected[name])
            # NaN is as far off as can be, and no comparison tells it.
            difference = np.where(np.isnan(difference), np.inf, difference)
            largest, mean = max(largest, float(np.max(difference))), max(mean, float(np.mean(difference)))
    return Difference(largest, mean)


def check_golden(model: Model, stored: collections.abc.Mapping[str, np.ndarray]) -> float:
    """``compare_golden``'s largest difference; 0 is exact."""
    return compare_golden(model, stored).largest


def _run(model: Model, inputs: collections.abc.Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    counts = {len(values) for values in inputs.values()}
    if len(counts) != 1 or counts == {0}:
        raise InferenceError(f"golden vectors of stage {model.name!r} have {sorted(counts)} samples of its inputs: give as many of each")
    rows = [model.run_quantized(**{name: values[i] for name, values in inputs.items()}) for i in range(counts.pop())]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
