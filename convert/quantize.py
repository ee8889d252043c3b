"""A Keras model and samples of its inputs in, a ``.tflite`` of builtin operators out: integers throughout for ``static_wi8_ai8``."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import pathlib
import tempfile
import typing

import numpy as np

from convert import flatbuffer
from convert.calibration import check_samples
from convert.recipe import DEFAULT_RECIPE, Recipe, find_recipe
from convert.worker import Progress, Worker
from edge.errors import ConversionError

if typing.TYPE_CHECKING:
    import keras

Samples = collections.abc.Mapping[str, np.ndarray]
"""Input name -> float32 (samples, *shape of the input)."""


@dataclasses.dataclass(frozen=True)
class Quantized:
    """One model, converted."""

    content: bytes
    """The flatbuffer that the recipe asked for."""
    float_content: bytes
    """The same graph in float32, to compare with."""
    inputs: dict[str, str]
    """Public name -> tensor name, in both flatbuffers."""
    outputs: dict[str, str]


def quantize(
    model: keras.Model,
    calibration: Samples | None,
    *,
    name: str | None = None,
    recipe: str | Recipe = DEFAULT_RECIPE,
    worker: Worker | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Convert a Keras model, in a process of its own.

    Args:
        model: with fixed shapes but for the batch.
        calibration: inputs as the device will see them; may be None where the recipe quantizes no activations.
        name: how errors call it; ``model.name`` if None.
        recipe: its name, or a Recipe.
        worker: a running one, to convert several models without starting the converter each time.
        progress: called with a few words at every stage.

    Raises:
        InputError: the calibration data or the recipe cannot be used.
        ConversionError: an operator is not builtin or stays in float, or the converter failed or crashed.
    """
    recipe, name = find_recipe(recipe), name or model.name
    # TensorFlow and Keras load in seconds: only for those who convert.
    from convert import lowering

    if recipe.calibrated:
        shapes = {key: tuple(x.shape[1:]) for key, x in zip(lowering.input_names(model), model.inputs, strict=True)}
        calibration = check_samples(calibration or {}, shapes, minimum=recipe.minimum_samples)
    with contextlib.ExitStack() as stack:
        worker = worker or stack.enter_context(Worker())
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="affectkit-convert-")))
        if progress is not None:
            progress("exporting")
        inputs, outputs = lowering.export(model, folder / "saved_model", lstm_form=recipe.lstm_form)
        if recipe.calibrated and calibration is not None:
            np.savez(folder / "calibration.npz", **{inputs[key]: values for key, values in calibration.items()})  # type: ignore[arg-type]
        made = worker.convert(folder, recipe, name=name, progress=progress)
    reference, *maps = _finish(made["float"], inputs, outputs, name, integer=False, keep_names=recipe.keep_names)
    content, *converted_maps = _finish(made["converted"], inputs, outputs, name, integer=recipe.calibrated, keep_names=recipe.keep_names)
    if maps != converted_maps:
        raise ConversionError(f"{name!r}: float and converted model name their tensors differently, {maps} and {converted_maps}")
    return Quantized(content=content, float_content=reference, inputs=maps[0], outputs=maps[1])


def _finish(
    content: bytes, inputs: dict[str, str], outputs: dict[str, str], name: str, *, integer: bool, keep_names: bool
) -> tuple[bytes, dict[str, str], dict[str, str]]:
    """Mend, check, name and shrink what the converter wrote."""
    model = flatbuffer.unpack(content)
    flatbuffer.unclip_cells(model)
    flatbuffer.widen_cells(model)
    flatbuffer.align_states(model)
    flatbuffer.requantize_copies(model)
    flatbuffer.check_builtin(model, name)
    if integer:
        flatbuffer.check_integer(model, name)
    input_map, output_map = flatbuffer.rename(model, inputs, outputs)
    if not keep_names:
        flatbuffer.shrink(model)
    return flatbuffer.pack(model), input_map, output_map
