"""From a trained model to a checked ``.tflite``: calibrate, convert, compare, count."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np

from convert import verify
from convert.quantize import Samples, quantize
from convert.recipe import DEFAULT_RECIPE, LstmForm, Recipe, find_recipe
from convert.worker import Progress, Worker
from edge.errors import ConversionError
from edge.inference.model import Model

if typing.TYPE_CHECKING:
    import keras

LOWERING_TOLERANCE = 1e-3
"""How far the float flatbuffer may be from Keras, relative to the largest output; measured: 1e-6."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What was measured of one conversion."""

    name: str
    recipe: str
    lstm_form: LstmForm
    bytes: int
    float_bytes: int
    weights: int
    macs: int
    operators: dict[str, int]
    lowering_error: float
    """Largest difference between the float flatbuffer and Keras, relative to the largest output."""
    verification: verify.Verification | None
    """Float against converted; None if no samples were given."""

    def as_dict(self) -> dict[str, typing.Any]:
        """Plain numbers and strings, for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        size = f"{self.bytes / 1e3:.0f} kB of {self.float_bytes / 1e3:.0f} kB"
        return f"{self.verification or self.name}; {self.recipe}, {size}, {self.weights / 1e3:.0f} k weights, {self.macs / 1e6:.1f} M MACs"


@dataclasses.dataclass(frozen=True)
class Converted:
    """One stage, ready for a bundle."""

    name: str
    content: bytes
    """The ``.tflite``."""
    float_content: bytes
    """The same graph in float32."""
    inputs: dict[str, str]
    """Public name -> tensor name."""
    outputs: dict[str, str]
    weights: int
    """Numbers that training set, normalization included."""
    macs: int
    """Multiply-accumulates of one inference."""
    report: Report

    def model(self, *, threads: int = 1) -> Model:
        """The converted model, in the interpreter that works here."""
        return Model(self.content, name=self.name, inputs=self.inputs, outputs=self.outputs, threads=threads)

    def float_model(self, *, threads: int = 1) -> Model:
        """The float model, in the same interpreter."""
        return Model(self.float_content, name=f"{self.name} in float", inputs=self.inputs, outputs=self.outputs, threads=threads)


def convert_model(
    model: keras.Model,
    calibration: Samples | None,
    *,
    name: str | None = None,
    recipe: str | Recipe = DEFAULT_RECIPE,
    lstm_form: LstmForm | None = None,
    verification: Samples | None = None,
    min_agreement: float | None = None,
    worker: Worker | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Convert a Keras model and check what came out.

    Args:
        model: with fixed shapes but for the batch; a dict of outputs keeps its keys as public names.
        calibration: input name -> (samples, *shape), at least ``recipe.minimum_samples``; from training data, as the device
            will see them.
        name: of the stage; ``model.name`` if None.
        recipe: "static_wi8_ai8", "dynamic_wi8_afp32", "float32", or a Recipe.
        lstm_form: "fused" or "unrolled", instead of the recipe's own.
        verification: held-back samples to compare on; those of the calibration if None.
        min_agreement: gate on top-1 agreement with float, 0 to 1.
        worker: a running one, to convert several models without starting the converter each time.
        progress: called with a few words at every stage.

    Raises:
        InputError: the samples or the recipe cannot be used.
        ConversionError: the conversion failed, or computes something else than Keras, or missed the gate.
    """
    recipe, name = find_recipe(recipe), name or model.name
    if lstm_form is not None:
        recipe = dataclasses.replace(recipe, lstm_form=lstm_form)
    made = quantize(model, calibration, name=name, recipe=recipe, worker=worker, progress=progress)
    if progress is not None:
        progress("comparing")
    reference = Model(made.float_content, name=f"{name} in float", inputs=made.inputs, outputs=made.outputs)
    converted = Model(made.content, name=name, inputs=made.inputs, outputs=made.outputs)
    lowering_error = _lowering_error(model, reference, name)
    samples = verification if verification is not None else calibration
    if samples is not None and list(samples) != list(made.inputs) and len(samples) == len(made.inputs) == 1:
        samples = dict(zip(made.inputs, samples.values(), strict=True))
    checked = verify.compare(reference, converted, samples) if samples is not None else None

    from convert import flatbuffer, macs

    weights, count = int(model.count_params()), macs.count_macs(made.float_content)
    report = Report(
        name=name,
        recipe=recipe.name,
        lstm_form=recipe.lstm_form,
        bytes=len(made.content),
        float_bytes=len(made.float_content),
        weights=weights,
        macs=count,
        operators=flatbuffer.histogram(made.content),
        lowering_error=lowering_error,
        verification=checked,
    )
    if checked is not None and min_agreement is not None:
        checked.check(min_agreement)
    return Converted(name, made.content, made.float_content, made.inputs, made.outputs, weights, count, report)


def _lowering_error(model: keras.Model, reference: Model, name: str, samples: int = 8) -> float:
    """Largest difference between Keras and the float flatbuffer on noise, relative to the largest output.

    Raises:
        ConversionError: they compute different things, so that no quantization could be trusted.
    """
    from convert import lowering

    random = np.random.default_rng(0)
    names = lowering.input_names(model)
    inputs = {key: random.uniform(-1, 1, (samples, *x.shape[1:])).astype(np.float32) for key, x in zip(names, model.inputs, strict=True)}
    expected = lowering.predict(model, inputs)
    got = verify.outputs_of(reference, inputs)
    worst = 0.0
    for key, values in expected.items():
        error = float(np.abs(got[key] - values).max() / max(1.0, float(np.abs(values).max())))
        if not error <= LOWERING_TOLERANCE:
            raise ConversionError(f"{name!r}: output {key!r} of the float flatbuffer is {error:.2g} off Keras: a layer is exported wrongly")
        worst = max(worst, error)
    return worst
