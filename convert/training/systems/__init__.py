"""Recipes of the five published systems: each trained on data at hand, packed as a bundle with a card, and a row in one table.

A recipe is a module with ``recipe`` and ``score``, as ``convert.training.systems.system`` says. It is imported when asked for, for it
brings TensorFlow.
"""

from __future__ import annotations

import importlib
import types

RECIPES = {
    "cnn_lstm": "convert.training.systems.cnn_lstm",
    "cnn_rnn": "convert.training.systems.cnn_rnn",
    "cnn_rnn_speech": "convert.training.systems.cnn_rnn_speech",
    "av_attention": "convert.training.systems.av_attention",
    "four_stream": "convert.training.systems.four_stream",
    "edu_emotionnet": "convert.training.systems.edu_emotionnet",
}
"""Name of the system, which is its bundle's too -> module of its recipe."""


def find_recipe(name: str) -> types.ModuleType:
    """The module of a recipe; ``name`` is of ``RECIPES``."""
    return importlib.import_module(RECIPES[name])
