"""Samples of one stage with labels and people: what evaluation scores and what the fusion learns on."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib

import numpy as np

from convert.training.datasets.fer2013 import FER_CLASSES, Faces
from convert.training.datasets.speech import LABELS, Clips
from convert.training.fusion import Pool
from convert.training.physiology import Walk, windows_of
from convert.zoo.physiology import PHYSIOLOGY_CLASSES
from edge.inference.model import Model
from edge.preprocess.physiology import PhysiologyParameters

QUADRANT_OF_FACE = np.array(
    [
        LABELS.index({"happy": "positive", "surprise": "positive", "neutral": "calm", "sad": "low"}.get(name, "tense"))
        for name in FER_CLASSES
    ]
)
"""FER2013 class -> index into ``LABELS``: angry, disgust and fear are ``tense``."""


@dataclasses.dataclass(frozen=True)
class Material:
    """Inputs of one stage: float32 (n, *shape); ``labels`` int (n,) into ``classes``; ``people`` (n,)."""

    stage: str
    task: str
    classes: tuple[str, ...]
    inputs: np.ndarray
    labels: np.ndarray
    people: np.ndarray

    def of(self, rows: np.ndarray) -> Material:
        """These rows alone."""
        return dataclasses.replace(self, inputs=self.inputs[rows], labels=self.labels[rows], people=self.people[rows])


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a stage made of a ``Material``: ``embedding`` (n, width), ``probabilities`` (n, classes)."""

    embedding: np.ndarray
    probabilities: np.ndarray


def answer(model: Model, input_name: str, inputs: np.ndarray) -> Answers:
    """Run one encoder over samples, one by one, as the device does."""
    rows = [model.run(**{input_name: sample}) for sample in inputs]
    return Answers(np.stack([row["embedding"] for row in rows]), np.stack([row["probabilities"] for row in rows]))


def faces(found: Faces) -> Material:
    """FER2013 tiles as the face front gives them; the set names no people, so each picture stands for itself."""
    from convert.training.face import normalize

    people = np.arange(len(found.labels)).astype(str)
    return Material("face", "seven expressions", FER_CLASSES, normalize(found.images), found.labels, people)


def speech(clips: Clips, windows: collections.abc.Sequence[np.ndarray]) -> Material:
    """One row a window; ``windows[i]`` (n, frames, mels) are those of clip i."""
    counts = [len(w) for w in windows]
    return Material(
        "speech",
        "four quadrants",
        LABELS,
        np.concatenate(list(windows)),
        np.repeat(clips.labels, counts),
        np.repeat(clips.people, counts),
    )


def physiology(walks: collections.abc.Sequence[Walk], parameters: PhysiologyParameters) -> Material:
    """One row for every window that a front gave and that has a label."""
    nothing = np.zeros(0, int)
    if not walks:
        none = np.zeros((0, parameters.window_s, parameters.channels))
        return Material("physiology", "rest or stress", PHYSIOLOGY_CLASSES, none, nothing, nothing.astype(str))
    windows = windows_of(walks, parameters)
    return Material(
        "physiology",
        "rest or stress",
        PHYSIOLOGY_CLASSES,
        windows.samples,
        windows.labels,
        windows.people.astype(str),
    )


def pool(material: Material, answers: Answers) -> Pool:
    """Embeddings with quadrant labels (for physiology: 0 rest, 1 stress), as the fusion takes them."""
    labels = QUADRANT_OF_FACE[material.labels] if material.stage == "face" else material.labels
    return Pool(answers.embedding.astype(np.float32), labels, material.people)


def require_people(material: Material, data: pathlib.Path) -> Material:
    """The same; says in one line if nobody is left."""
    from edge.errors import InputError

    if not len(material.labels):
        raise InputError(f"{data}: {material.stage}: nobody in this set was left out of training; bring people the bundle has not seen")
    return material
