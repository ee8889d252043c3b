"""A trained model and samples of its inputs in, a ``.tflite`` of builtin operators out: integers throughout where the recipe says so."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile

import numpy as np

from convert import flatbuffer, weights
from convert.calibration import check_samples
from convert.recipe import DEFAULT_RECIPE, Recipe, find_recipe
from convert.source import Samples, Source
from convert.worker import Progress, Worker
from edge.errors import ConversionError


@dataclasses.dataclass(frozen=True)
class Quantized:
    """One model, converted."""

    content: bytes
    """The flatbuffer that the recipe asked for."""
    float_content: bytes
    """The same graph in float32, to compare with."""
    named: bytes
    """``content`` with the names of its inner tensors, for reports by layer."""
    float_named: bytes
    inputs: dict[str, str]
    """Public name -> tensor name, in all of them."""
    outputs: dict[str, str]


def quantize(
    source: Source,
    calibration: Samples | None,
    *,
    name: str | None = None,
    recipe: str | Recipe = DEFAULT_RECIPE,
    worker: Worker | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Convert a model, in a process of its own.

    Args:
        source: what a reader gave; ``readers.keras.KerasSource(model)`` for a Keras model at hand.
        calibration: inputs as the device will see them; may be None where the recipe quantizes no activations.
        name: how errors call it; the source's if None.
        recipe: its name, or a Recipe.
        worker: a running one, to convert several models without starting the converter each time.
        progress: called with a few words at every stage.

    Raises:
        InputError: the calibration data or the recipe cannot be used.
        ConversionError: an operator is not builtin or stays in float, or the converter failed or crashed.
    """
    recipe, name = find_recipe(recipe), name or source.name
    if recipe.calibrated:
        calibration = check_samples(calibration or {}, source.inputs, minimum=recipe.minimum_samples)
    with contextlib.ExitStack() as stack:
        worker = worker or stack.enter_context(Worker())
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="affectkit-convert-")))
        if progress is not None:
            progress("exporting")
        inputs, outputs = source.export(folder, recipe.lstm_form)
        if recipe.calibrated and calibration is not None:
            np.savez(folder / "calibration.npz", **{inputs[key]: values for key, values in calibration.items()})  # type: ignore[arg-type]
        if source.produces == "tflite" and not recipe.calibrated:
            made = _weights_only((folder / "source.tflite").read_bytes(), recipe)
        else:
            made = worker.convert(folder, recipe, name=name, progress=progress)
    by_place = source.produces == "tflite"
    reference, maps = _finish(made["float"], inputs, outputs, name, integer=False, by_place=by_place)
    converted, converted_maps = _finish(made["converted"], inputs, outputs, name, integer=recipe.calibrated, by_place=by_place)
    if maps != converted_maps:
        raise ConversionError(f"{name!r}: float and converted model name their tensors differently, {maps} and {converted_maps}")
    return Quantized(
        content=_shrunk(converted),
        float_content=_shrunk(reference),
        named=converted,
        float_named=reference,
        inputs=maps[0],
        outputs=maps[1],
    )


def _weights_only(content: bytes, recipe: Recipe) -> dict[str, bytes]:
    if recipe.weights == "float32":
        return {"float": content, "converted": content}
    model = flatbuffer.unpack(content)
    weights.quantize_weights(model)
    return {"float": content, "converted": flatbuffer.pack(model)}


def _finish(
    content: bytes, inputs: dict[str, str], outputs: dict[str, str], name: str, *, integer: bool, by_place: bool
) -> tuple[bytes, tuple[dict[str, str], dict[str, str]]]:
    """Mend, check and name what the converter wrote."""
    model = flatbuffer.unpack(content)
    flatbuffer.unclip_cells(model)
    flatbuffer.widen_cells(model)
    flatbuffer.align_states(model)
    flatbuffer.requantize_copies(model)
    flatbuffer.check_builtin(model, name)
    if integer:
        flatbuffer.check_integer(model, name)
    maps = flatbuffer.rename_by_place(model, inputs, outputs) if by_place else flatbuffer.rename(model, inputs, outputs)
    return flatbuffer.pack(model), maps


def _shrunk(content: bytes) -> bytes:
    model = flatbuffer.unpack(content)
    flatbuffer.shrink(model)
    return flatbuffer.pack(model)
