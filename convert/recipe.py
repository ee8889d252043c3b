"""Named recipes: how the numbers of a converted model are stored, and in which form its recurrent layers come.

A name decodes as in ai-edge-quantizer: ``static`` or ``dynamic`` ranges, ``wi8`` weights in int8, ``ai8``, ``ai16`` or
``afp32`` activations in int8, int16 or float32.
"""

from __future__ import annotations

import dataclasses
import typing

from edge.errors import InputError

LstmForm = typing.Literal["fused", "unrolled", "step"]
"""fused: one sequence operator a direction, small files; unrolled: a few small operators a time step, all of which
XNNPACK runs, in a larger file. Which is faster depends on the target: measure. step: one step an inference, states in and out
(``convert.streaming``): another interface, for those who run it as steps arrive."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to convert one model."""

    name: str
    weights: typing.Literal["int8", "float32"] = "int8"
    activations: typing.Literal["int8", "int16", "float32"] = "int8"
    lstm_form: LstmForm = "unrolled"
    minimum_samples: int = 100
    """Calibration samples needed; with 50 one measured network was ten times further off than with 100."""

    @property
    def calibrated(self) -> bool:
        """Whether activations are quantized, so that calibration samples set their ranges."""
        return self.activations != "float32"


STATIC_WI8_AI8 = Recipe("static_wi8_ai8")
STATIC_WI8_AI16 = Recipe("static_wi8_ai16", activations="int16")
DYNAMIC_WI8_AFP32 = Recipe("dynamic_wi8_afp32", activations="float32")
FLOAT32 = Recipe("float32", weights="float32", activations="float32")

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (STATIC_WI8_AI8, STATIC_WI8_AI16, DYNAMIC_WI8_AFP32, FLOAT32)}
DEFAULT_RECIPE = STATIC_WI8_AI8.name
AUTO = "auto"
"""Not a recipe: all of them are tried, in every form, and the fastest that passes the gates is kept (``convert.choose``)."""


def find_recipe(recipe: str | Recipe) -> Recipe:
    """The recipe of that name; a ``Recipe`` is given back as it is.

    Raises:
        InputError: no recipe has that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise InputError(f"no recipe is called {recipe!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[recipe]
