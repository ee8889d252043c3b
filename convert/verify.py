"""Float against converted model, side by side in the device's own interpreter, sample by sample."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from convert.evaluation import metrics
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
class Task:
    """How often float and converted model are right, where the labels of the samples are known."""

    output: str
    classes: tuple[str, ...]
    majority: float
    """Accuracy of always saying the commonest class."""
    float_accuracy: float
    accuracy: float
    float_uar: float
    """Unweighted average recall (balanced accuracy)."""
    uar: float
    float_ece: float
    """Expected calibration error of the probabilities, 15 bins."""
    ece: float
    float_confusion: list[list[int]]
    """Row: true class; column: answer."""
    confusion: list[list[int]]

    @property
    def drop(self) -> float:
        """Accuracy lost by converting, 0 to 1; negative where it was gained."""
        return self.float_accuracy - self.accuracy


@dataclasses.dataclass(frozen=True)
class Verification:
    """What ``compare`` measured, output by output."""

    name: str
    runtime: str
    samples: int
    outputs: dict[str, OutputError]
    task: Task | None = None

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


CLASSES_AT_MOST = 100
"""A network with one unnamed vector of at most this many numbers at its end is taken for a classifier."""


def kind_of(name: str, values: np.ndarray, *, alone: bool = False) -> Kind:
    """How to compare an output: by what its numbers are, and for logits by its name or, where it is the only output, its width.

    Args:
        name: of the output.
        values: (samples, *shape).
        alone: whether the model has no other output.
    """
    flat = values.reshape(len(values), -1)
    if values.ndim == 2 and flat.shape[1] > 1:
        if "logits" in name:
            return "logits"
        if "weights" in name:
            return "values"  # of an attention: which is largest decides nothing, and equal ones change places for nothing
        if flat.min() >= 0 and np.abs(flat.sum(axis=1) - 1).max() < 1e-3:
            return "probabilities"
        if alone and flat.shape[1] <= CLASSES_AT_MOST:
            return "logits"
    return "values"


def output_error(name: str, reference: np.ndarray, converted: np.ndarray, *, alone: bool = False) -> OutputError:
    """Compare one output over all samples; both arrays (samples, *shape)."""
    kind = kind_of(name, reference, alone=alone)
    if kind == "values":
        span = float(np.ptp(reference)) or 1.0
        difference = np.abs(reference - converted) / span
        return OutputError(kind, None, float(difference.max()), float(difference.mean()))
    agreement = float((reference.argmax(axis=-1) == converted.argmax(axis=-1)).mean())
    if kind == "logits":
        reference, converted = softmax(reference), softmax(converted)
    difference = np.abs(reference - converted)
    return OutputError(kind, agreement, float(difference.max()), float(difference.mean()))


def compare(
    reference: Model,
    converted: Model,
    samples: collections.abc.Mapping[str, np.ndarray],
    *,
    labels: np.ndarray | None = None,
    classes: collections.abc.Sequence[str] = (),
) -> Verification:
    """Run both models on the same samples.

    Args:
        reference: the float model.
        converted: the one in doubt, with the same inputs and outputs.
        samples: input name -> real numbers (samples, *shape); held back from calibration if the numbers are to mean anything.
        labels: int (samples,), the true classes, if known.
        classes: their names.

    Raises:
        InputError: there are no samples, or labels that no output can tell.
    """
    count = min((len(values) for values in samples.values()), default=0)
    if count == 0:
        raise InputError(f"no samples to verify {converted.name!r} on: give at least one, better some hundreds")
    expected, got = outputs_of(reference, samples), outputs_of(converted, samples)
    return compare_answers(expected, got, name=converted.name, runtime=converted.runtime, labels=labels, classes=classes)


def compare_answers(
    expected: dict[str, np.ndarray],
    got: dict[str, np.ndarray],
    *,
    name: str,
    runtime: str,
    labels: np.ndarray | None = None,
    classes: collections.abc.Sequence[str] = (),
) -> Verification:
    """Compare answers at hand: outputs by name, (samples, *shape) each; see ``compare``."""
    count = min(len(values) for values in expected.values())
    alone = len(expected) == 1
    outputs = {key: output_error(key, expected[key], got[key], alone=alone) for key in expected}
    task = None
    if labels is not None:
        task = _task(outputs, expected, got, np.asarray(labels), tuple(classes))
    return Verification(name, runtime, count, outputs, task)


def _task(
    outputs: dict[str, OutputError], expected: dict[str, np.ndarray], got: dict[str, np.ndarray], labels: np.ndarray, names: tuple[str, ...]
) -> Task:
    # Probabilities rather than logits where a model has both, for their calibration is what the device shows.
    order = sorted((o for o in outputs if outputs[o].kind != "values"), key=lambda o: outputs[o].kind != "probabilities")
    telling = next((o for o in order if expected[o].shape[1] > int(labels.max())), None)
    if telling is None or labels.min() < 0:
        raise InputError(f"labels run from {int(labels.min())} to {int(labels.max())}, and no output has as many classes: leave labels out")
    logits = outputs[telling].kind == "logits"
    before, after = (softmax(x) if logits else x for x in (expected[telling], got[telling]))
    width = before.shape[1]
    tables = [metrics.confusion(labels, x.argmax(axis=1), width) for x in (before, after)]
    return Task(
        output=telling,
        classes=names if len(names) == width else tuple(str(i) for i in range(width)),
        majority=metrics.majority(labels, width)["accuracy"],
        float_accuracy=float(np.mean(before.argmax(axis=1) == labels)),
        accuracy=float(np.mean(after.argmax(axis=1) == labels)),
        float_uar=metrics.uar(tables[0]),
        uar=metrics.uar(tables[1]),
        float_ece=metrics.expected_calibration_error(labels, before),
        ece=metrics.expected_calibration_error(labels, after),
        float_confusion=tables[0].tolist(),
        confusion=tables[1].tolist(),
    )
