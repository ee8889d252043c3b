"""From a trained model to a checked ``.tflite``: calibrate, convert, compare, count."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from convert import flatbuffer, macs, verify
from convert.quantize import Quantized, quantize
from convert.recipe import DEFAULT_RECIPE, LstmForm, Recipe, find_recipe
from convert.report import Report
from convert.source import Samples, Source
from convert.worker import Progress, Worker
from edge.errors import ConversionError
from edge.inference.model import Model, Tensor

if typing.TYPE_CHECKING:
    import keras

LOWERING_TOLERANCE = 1e-3
"""How far the float flatbuffer may be from what trained the model, relative to the largest output; measured: 1e-6."""


@dataclasses.dataclass(frozen=True)
class Converted:
    """One stage, ready for a bundle."""

    name: str
    made: Quantized
    weights: int
    """Numbers that training set, normalization included."""
    macs: int
    """Multiply-accumulates of one inference."""
    report: Report

    @property
    def content(self) -> bytes:
        """The ``.tflite``."""
        return self.made.content

    @property
    def float_content(self) -> bytes:
        """The same graph in float32."""
        return self.made.float_content

    @property
    def inputs(self) -> dict[str, str]:
        """Public name -> tensor name."""
        return self.made.inputs

    @property
    def outputs(self) -> dict[str, str]:
        """Public name -> tensor name."""
        return self.made.outputs

    def model(self, *, threads: int = 1) -> Model:
        """The converted model, in the interpreter that works here."""
        return Model(self.content, name=self.name, inputs=self.inputs, outputs=self.outputs, threads=threads)

    def float_model(self, *, threads: int = 1) -> Model:
        """The float model, in the same interpreter."""
        return Model(self.float_content, name=f"{self.name} in float", inputs=self.inputs, outputs=self.outputs, threads=threads)


def as_source(model: keras.Model | Source) -> Source:
    """A Keras model as a source; a source as it is."""
    from convert.readers.keras import as_source as from_keras

    return from_keras(model)


def convert_model(
    model: keras.Model | Source,
    calibration: Samples | None,
    *,
    name: str | None = None,
    recipe: str | Recipe = DEFAULT_RECIPE,
    lstm_form: LstmForm | None = None,
    verification: Samples | None = None,
    labels: np.ndarray | None = None,
    classes: collections.abc.Sequence[str] = (),
    min_agreement: float | None = None,
    worker: Worker | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Convert a model and check what came out.

    Args:
        model: what a reader gave, or a Keras model with fixed shapes but for the batch; a dict of outputs keeps its keys as
            public names.
        calibration: input name -> (samples, *shape), at least ``recipe.minimum_samples``; from training data, as the device
            will see them.
        name: of the stage; the model's if None.
        recipe: a name in ``recipe.RECIPES``, or a Recipe.
        lstm_form: "fused" or "unrolled", instead of the recipe's own.
        verification: held-back samples to compare on; those of the calibration if None.
        labels: int (samples of ``verification``,), the true classes, where they are known.
        classes: their names.
        min_agreement: gate on top-1 agreement with float, 0 to 1.
        worker: a running one, to convert several models without starting the converter each time.
        progress: called with a few words at every stage.

    Raises:
        InputError: the samples or the recipe cannot be used.
        ConversionError: the conversion failed, or computes something else than the original, or missed the gate.
    """
    source = as_source(model)
    recipe, name = find_recipe(recipe), name or source.name
    if lstm_form is not None:
        recipe = dataclasses.replace(recipe, lstm_form=lstm_form)
    if recipe.lstm_form not in source.forms:
        recipe = dataclasses.replace(recipe, lstm_form=source.forms[0])
    made = quantize(source, calibration, name=name, recipe=recipe, worker=worker, progress=progress)
    if progress is not None:
        progress("comparing")
    reference = Model(made.float_content, name=f"{name} in float", inputs=made.inputs, outputs=made.outputs)
    converted = Model(made.content, name=name, inputs=made.inputs, outputs=made.outputs)
    samples = _by_name(verification if verification is not None else calibration, made.inputs)
    lowering_error = _lowering_error(source, reference, name, samples)
    checked = verify.compare(reference, converted, samples, labels=labels, classes=classes) if samples is not None else None
    details = converted.details()
    report = Report(
        name=name,
        source={"notes": list(source.notes)},
        recipe=recipe.name,
        lstm_form=recipe.lstm_form if len(source.forms) > 1 else None,
        inputs={key: _described(tensor) for key, tensor in details.inputs.items()},
        outputs={key: _described(tensor) for key, tensor in details.outputs.items()},
        bytes=len(made.content),
        float_bytes=len(made.float_content),
        weights=source.weights,
        macs=macs.count_macs(made.float_content),
        operators=flatbuffer.histogram(made.content),
        lowering_error=lowering_error,
        verification=checked,
    )
    if checked is not None and min_agreement is not None:
        checked.check(min_agreement)
    return Converted(name, made, report.weights, report.macs, report)


def _by_name(samples: Samples | None, inputs: collections.abc.Mapping[str, str]) -> Samples | None:
    """A single array fits a single input, whatever it is called."""
    if samples is None or len(samples) != 1 or len(inputs) != 1:
        return samples
    return dict(zip(inputs, samples.values(), strict=True))


def _described(tensor: Tensor) -> dict[str, typing.Any]:
    return {"shape": list(tensor.shape), "dtype": tensor.dtype, "scale": tensor.scale, "zero_point": tensor.zero_point}


def _lowering_error(source: Source, reference: Model, name: str, samples: Samples | None, count: int = 8) -> float:
    """Largest difference between the original and the float flatbuffer, relative to the largest output.

    On the given samples where there are any, for a network may make nothing of noise.

    Raises:
        ConversionError: they compute different things, so that no quantization could be trusted.
    """
    random = np.random.default_rng(0)
    if samples is not None:
        inputs = {key: np.asarray(samples[key][:count], np.float32) for key in source.inputs}
    else:
        inputs = {key: random.uniform(-1, 1, (count, *shape)).astype(np.float32) for key, shape in source.inputs.items()}
    expected = source.predict(inputs)
    got = verify.outputs_of(reference, inputs)
    worst = 0.0
    for key, values in expected.items():
        error = float(np.abs(got[key] - values).max() / max(1.0, float(np.abs(values).max())))
        if not error <= LOWERING_TOLERANCE:
            raise ConversionError(
                f"{name!r}: output {key!r} of the float flatbuffer is {error:.2g} off the original: a layer is exported wrongly"
            )
        worst = max(worst, error)
    return worst
