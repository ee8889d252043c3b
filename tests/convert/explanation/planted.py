"""A moment whose causes are known: stages of one matrix each, in the real interpreter."""

from __future__ import annotations

import collections.abc

import numpy as np
from linear_stage import Shape, linear

from convert.explanation.decider import Decider
from convert.explanation.moment import Encoded, Moment
from edge.inference.fusion import softmax
from edge.inference.model import Model
from edge.types import MODALITIES, Decision, Modality

LABELS = ("positive", "calm", "low", "tense")
WIDTH = 4
INPUT: dict[Modality, str] = {"face": "face", "speech": "log_mel", "physiology": "physiology"}


def stage(inputs: collections.abc.Mapping[str, Shape], outputs: collections.abc.Mapping[str, np.ndarray]) -> Model:
    """A stage that multiplies its inputs, one after the other, by a matrix for each output."""
    return Model(linear(inputs, outputs), name="made", inputs={name: name for name in inputs}, outputs={name: name for name in outputs})


def looking_at(modality: Modality, region: np.ndarray, window: np.ndarray) -> Encoded:
    """An encoder whose first number is the mean of ``window`` over ``region`` (height, width), and whose others are 0."""
    matrix = np.zeros((WIDTH, window.size), np.float32)
    matrix[0] = (region / region.sum()).reshape(-1)
    made = stage({INPUT[modality]: window.shape}, {"embedding": matrix})
    return Encoded(made, INPUT[modality], window, made.run(**{INPUT[modality]: window})["embedding"])


def adding(gains: collections.abc.Mapping[str, float], *, memory: float = 0.0, mask: bool = True) -> Model:
    """A fusion that adds the first number of each embedding, times its gain, to the logit of the first label."""
    inputs: dict[str, Shape] = {modality: (WIDTH,) for modality in MODALITIES if modality in gains}
    row = np.zeros((len(LABELS), WIDTH * len(inputs)), np.float32)
    for place, modality in enumerate(inputs):
        row[0, WIDTH * place] = gains[modality]
    if mask:
        inputs["mask"] = (len(gains),)
        row = np.hstack([row, np.zeros((len(LABELS), len(gains)), np.float32)])
    if memory:
        inputs["previous"] = (len(LABELS),)
        row = np.hstack([row, memory * np.eye(len(LABELS), dtype=np.float32)])
    return stage(inputs, {"logits": row})


def decider(fusion: Model, encoded: dict[Modality, Encoded], *, previous: np.ndarray | None = None, temperature: float = 1.0) -> Decider:
    """The moment at which ``encoded`` was all that was present."""
    takes = fusion.details().inputs
    used = [modality for modality in MODALITIES if modality in takes]
    inputs = {one: encoded[one].embedding if one in encoded else np.zeros(WIDTH, np.float32) for one in used}
    if "mask" in takes:
        inputs["mask"] = np.array([one in encoded for one in used], np.float32)
    if previous is not None:
        inputs["previous"] = previous
    told = softmax(fusion.run(**inputs)["logits"], temperature)
    probabilities = dict(zip(LABELS, map(float, told), strict=True))
    weights: dict[Modality, float] = {one: 1 / len(encoded) for one in encoded}
    decision = Decision(0, "positive", "decided", probabilities["positive"], probabilities, weights, {}, dict.fromkeys(weights, 0))
    return Decider(Moment(0, decision, fusion, inputs, encoded), LABELS, temperature)
