"""Quality over how bad the input is: one encoder, one trouble, from none of it to more than any room or face should give."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from convert.evaluation import metrics
from convert.training import speech as speech_recipe
from convert.training.datasets.fer2013 import Faces
from convert.training.datasets.speech import Clips
from convert.training.degrade import face as bad_face
from convert.training.degrade import speech as bad_speech
from convert.training.material import faces as face_material
from edge.preprocess.speech import SpeechParameters, StreamingLogMel, window_samples

Predict = collections.abc.Callable[[np.ndarray], np.ndarray]
"""Encoder inputs (n, ...) -> probabilities (n, classes)."""
Sample = typing.TypeVar("Sample")

FULL = {"face": 1000, "speech": 400}
QUICK = {"face": 250, "speech": 80}
"""Samples of each point."""


@dataclasses.dataclass(frozen=True)
class Trouble(typing.Generic[Sample]):
    """One thing that goes wrong, by how much: ``values`` go from the mildest to the worst."""

    name: str
    title: str
    unit: str
    values: tuple[float, ...]
    spoil: collections.abc.Callable[[Sample, float, np.random.Generator], Sample]


FACE_TROUBLES: tuple[Trouble[np.ndarray], ...] = (
    Trouble("occlusion", "share of the face covered", "share of the area", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), bad_face.cover),
    Trouble("size", "face width in the frame", "px", (48, 32, 24, 20, 16, 12), lambda face, px, rng: bad_face.shrink(face, int(px))),
    Trouble("blur", "out of focus", "sigma in px", (0.0, 0.5, 1.0, 1.5, 2.0, 3.0), lambda face, sigma, rng: bad_face.blur(face, sigma)),
    Trouble(
        "jpeg", "JPEG compression", "quality", (95, 50, 30, 20, 10, 5), lambda face, quality, rng: bad_face.compress(face, int(quality))
    ),
    Trouble("light", "low light", "share of the light", (1.0, 0.5, 0.25, 0.1, 0.05), bad_face.dim),
)

SPEECH_TROUBLES: tuple[Trouble[np.ndarray], ...] = (
    Trouble("noise", "stationary noise", "SNR in dB", (30, 20, 15, 10, 5, 0, -5), bad_speech.add_noise),
    Trouble("reverberation", "a room", "reverberation time in s", (0.0, 0.2, 0.4, 0.6, 0.8, 1.2), bad_speech.reverberate),
)


def thinned(count: int, most: int) -> np.ndarray:
    """At most ``most`` of ``count`` row numbers, evenly taken."""
    return np.linspace(0, count - 1, min(most, count)).astype(int) if count else np.zeros(0, int)


def points(
    trouble: Trouble[Sample],
    samples: collections.abc.Sequence[Sample],
    score: collections.abc.Callable[[list[Sample]], dict[str, typing.Any]],
    *,
    seed: int,
) -> dict[str, typing.Any]:
    """One curve: what ``score`` says of all samples after each value of the trouble.

    Chance is drawn anew for each sample and alike for each value, so that neighbouring points differ by the value alone.
    """
    made = []
    for value in trouble.values:
        spoilt = [trouble.spoil(sample, value, np.random.default_rng((seed, row))) for row, sample in enumerate(samples)]
        made.append({"value": value, "samples": len(samples)} | score(spoilt))
    return {"title": trouble.title, "unit": trouble.unit, "points": made}


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The measures of a point."""
    told = metrics.summary(labels, probabilities)
    return {key: float(told[key]) for key in ("accuracy", "uar", "ece")}  # type: ignore[arg-type]


def of_faces(found: Faces, predict: Predict, *, most: int, seed: int = 0) -> dict[str, typing.Any]:
    """Curves of a face encoder over ``FACE_TROUBLES``, on ``most`` of the faces."""
    rows = thinned(len(found.labels), most)
    labels, images = found.labels[rows], [np.ascontiguousarray(image) for image in found.images[rows]]

    def score(spoilt: list[np.ndarray]) -> dict[str, typing.Any]:
        return scores(labels, predict(face_material(Faces(np.stack(spoilt), labels)).inputs))

    return {trouble.name: points(trouble, images, score, seed=seed) for trouble in FACE_TROUBLES}


def heard(samples: np.ndarray, parameters: SpeechParameters) -> tuple[np.ndarray, bool]:
    """(the window (frames, mels) that a clip is judged by, whether the device's front gives it).

    Where the front withholds a voice as too noisy, the encoder is judged on what the front would have given without that rule; where
    it finds no voice at all, on the end of the clip.
    """
    given = speech_recipe.clip_features(samples, parameters)[-1]
    if given.any():
        return given, True
    lenient = speech_recipe.clip_features(samples, dataclasses.replace(parameters, noisy_db=-200.0))[-1]
    if lenient.any():
        return lenient, False
    log_mel = StreamingLogMel(parameters).push(samples)[0]
    return window_samples(log_mel[-parameters.frames :], parameters), False


def of_speech(clips: Clips, parameters: SpeechParameters, predict: Predict, *, most: int, seed: int = 0) -> dict[str, typing.Any]:
    """Curves of a speech encoder over ``SPEECH_TROUBLES``; ``given`` is the share of clips that the front lets through."""
    rows = thinned(len(clips), most)
    own = clips.rows(rows)

    def score(spoilt: list[np.ndarray]) -> dict[str, typing.Any]:
        windows = [heard(samples, parameters) for samples in spoilt]
        told = scores(own.labels, predict(np.stack([window for window, _ in windows])))
        return told | {"given": float(np.mean([through for _, through in windows]))}

    return {trouble.name: points(trouble, own.samples, score, seed=seed) for trouble in SPEECH_TROUBLES}
