"""Float against converted model, side by side in the device's own interpreter, sample by sample."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from edge.errors import ConversionError, InputError
from edge.inference.fusion import softmax
from edge.inference.model import Model

Kind = typing.Literal["probabilities", "logits", "values"]
"""probabilities: rows that sum to 1; logits: compared after softmax; values: compared in units of their own range."""


@dataclasses.dataclass(frozen=True)
class OutputError:
    """How one output of the converted model differs from the float one."""

    kind: Kind
    agreement: float | None
    """Share of samples whose largest element is the same; None for plain values."""
    max_error: float
    """Largest absolute difference: of probabilities, or of values divided by the span (max - min) that float takes."""
    mean_error: float
    """Mean absolute difference, in the same unit."""


@dataclasses.dataclass(frozen=True)
class Verification:
    """What ``compare`` measured, output by output."""

    name: str
    runtime: str
    samples: int
    outputs: dict[str, OutputError]

    @property
    def agreement(self) -> float | None:
        """The lowest agreement of any output; None if no output has one."""
        return min((o.agreement for o in self.outputs.values() if o.agreement is not None), default=None)

    def check(self, min_agreement: float) -> None:
        """Raise ConversionError if an output agrees less often than ``min_agreement`` (0 to 1)."""
        for name, output in self.outputs.items():
            if output.agreement is not None and output.agreement < min_agreement:
                raise ConversionError(
                    f"{self.name!r}: output {name!r} agrees with float on {output.agreement:.1%} of {self.samples} samples, "
                    f"below {min_agreement:.1%}: calibrate on more varied samples, or take --recipe float32"
                )

    def as_dict(self) -> dict[str, typing.Any]:
        """Plain numbers and strings, for a JSON report."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        parts = []
        for name, output in self.outputs.items():
            agreed = "" if output.agreement is None else f"{output.agreement:.1%} agree, "
            parts.append(f"{name} {agreed}error max {output.max_error:.3f} mean {output.mean_error:.4f}")
        return f"{self.name}: {'; '.join(parts)} ({self.samples} samples, {self.runtime})"


def outputs_of(model: Model, samples: collections.abc.Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of every sample, (samples, *shape) each."""
    count = min(len(values) for values in samples.values())
    rows = [model.run(**{name: values[i] for name, values in samples.items()}) for i in range(count)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def kind_of(name: str, values: np.ndarray) -> Kind:
    """How to compare an output: by what its numbers are, and for logits by its name, for nothing else tells them from values."""
    flat = values.reshape(len(values), -1)
    if values.ndim == 2 and flat.shape[1] > 1:
        if "logits" in name:
            return "logits"
        if flat.min() >= 0 and np.abs(flat.sum(axis=1) - 1).max() < 1e-3:
            return "probabilities"
    return "values"


def output_error(name: str, reference: np.ndarray, converted: np.ndarray) -> OutputError:
    """Compare one output over all samples; both arrays (samples, *shape)."""
    kind = kind_of(name, reference)
    if kind == "values":
        span = float(np.ptp(reference)) or 1.0
        difference = np.abs(reference - converted) / span
        return OutputError(kind, None, float(difference.max()), float(difference.mean()))
    agreement = float((reference.argmax(axis=-1) == converted.argmax(axis=-1)).mean())
    if kind == "logits":
        reference, converted = softmax(reference), softmax(converted)
    difference = np.abs(reference - converted)
    return OutputError(kind, agreement, float(difference.max()), float(difference.mean()))


def compare(reference: Model, converted: Model, samples: collections.abc.Mapping[str, np.ndarray]) -> Verification:
    """Run both models on the same samples.

    Args:
        reference: the float model.
        converted: the one in doubt, with the same inputs and outputs.
        samples: input name -> real numbers (samples, *shape); held back from calibration if the numbers are to mean anything.

    Raises:
        InputError: there are no samples.
    """
    count = min((len(values) for values in samples.values()), default=0)
    if count == 0:
        raise InputError(f"no samples to verify {converted.name!r} on: give at least one, better some hundreds")
    expected, got = outputs_of(reference, samples), outputs_of(converted, samples)
    outputs = {name: output_error(name, expected[name], got[name]) for name in expected}
    return Verification(converted.name, converted.runtime, count, outputs)
