"""What every reader gives: a trained model that can compute in float, and can be written for the converter."""

from __future__ import annotations

import collections.abc
import pathlib
import typing

import numpy as np

from convert.recipe import LstmForm

Samples = collections.abc.Mapping[str, np.ndarray]
"""Input name -> float32 (samples, *shape of the input)."""


class Source(typing.Protocol):
    """A trained model, whatever wrote it. Names are the public ones, shapes are without the batch axis, images are NHWC."""

    name: str
    inputs: dict[str, tuple[int, ...]]
    """In the order of the model; every axis fixed."""
    outputs: tuple[str, ...]
    weights: int
    """Numbers that training set, normalization included."""
    forms: tuple[LstmForm, ...]
    """In which forms its recurrent layers can be written; one entry where it has none, or no choice."""
    notes: tuple[str, ...]
    """What the reader changed or fixed, a sentence each: a layout, an open axis."""

    @property
    def produces(self) -> typing.Literal["saved_model", "tflite"]:
        """What ``export`` writes."""
        ...

    def export(self, folder: pathlib.Path, form: LstmForm) -> tuple[dict[str, str], dict[str, str]]:
        """Write ``folder``/saved_model (signature serving_default, batch of one, static shapes) or ``folder``/float.tflite.

        Returns:
            Public input names -> signature names (for a .tflite: tensor names), and the same for the outputs.

        Raises:
            ConversionError: a layer cannot be written.
        """
        ...

    def predict(self, samples: Samples) -> dict[str, np.ndarray]:
        """What the framework that wrote the model computes: (samples, *shape) of every output, float32."""
        ...
