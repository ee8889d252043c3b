"""Curves of the physiology encoder: electrodes that lift, a wrist that moves, through the front that has to notice."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from convert.evaluation.curves import Predict, Trouble, points, scores
from convert.training.datasets.stress_predict import Recording
from convert.training.degrade import physiology as bad_body
from convert.training.material import physiology as physiology_material
from convert.training.physiology import walks_from_start
from edge.preprocess.physiology import PhysiologyParameters

QUICK_S = 1500
"""Of each recording where few samples are wanted: ten minutes of rest and what follows."""
LIFT_S = (2.0, 10.0)
MOTION_S = (2.0, 6.0)
MOTION_STRENGTH = 3.0
"""Standard deviation of the disturbance over that of the pulse wave."""


def lift(recording: Recording, per_minute: float, rng: np.random.Generator) -> Recording:
    """Electrodes off the skin for 2 to 10 s, so many times a minute."""
    when = bad_body.spells(len(recording.eda) / recording.eda_rate_hz, per_minute, LIFT_S, rng)
    return dataclasses.replace(recording, eda=bad_body.lift(recording.eda, recording.eda_rate_hz, when))


def move(recording: Recording, per_minute: float, rng: np.random.Generator) -> Recording:
    """A wrist that moves for 2 to 6 s, so many times a minute, three times as strongly as the pulse wave."""
    when = bad_body.spells(len(recording.ppg) / recording.ppg_rate_hz, per_minute, MOTION_S, rng)
    return dataclasses.replace(recording, ppg=bad_body.move(recording.ppg, recording.ppg_rate_hz, when, MOTION_STRENGTH, rng))


TROUBLES: tuple[Trouble[Recording], ...] = (
    Trouble("electrodes", "electrodes that lift", "times a minute", (0.0, 0.5, 1.0, 2.0, 4.0), lift),
    Trouble("motion", "a wrist that moves", "times a minute", (0.0, 1.0, 2.0, 4.0, 8.0), move),
)


def shortened(recording: Recording, seconds: int) -> Recording:
    """The first ``seconds`` of a recording."""
    ppg, eda = (x[: round(seconds * hz)] for x, hz in ((recording.ppg, recording.ppg_rate_hz), (recording.eda, recording.eda_rate_hz)))
    return dataclasses.replace(recording, ppg=ppg, eda=eda, labels=recording.labels[:seconds])


def of_physiology(
    recordings: collections.abc.Sequence[Recording],
    parameters: PhysiologyParameters,
    predict: Predict,
    *,
    quick: bool = False,
    seed: int = 0,
) -> dict[str, typing.Any]:
    """Curves over ``TROUBLES``, of fronts that run from the start of each recording.

    ``samples`` are the windows that the front still gives; ``given`` is their share of those that it gives undisturbed. With no window
    left the measures are None.
    """
    own = [shortened(recording, QUICK_S) for recording in recordings] if quick else list(recordings)

    def score(spoilt: list[Recording]) -> dict[str, typing.Any]:
        walks = walks_from_start(spoilt, parameters)
        if not any((walk.given & (walk.labels >= 0)).any() for walk in walks):
            return {"samples": 0, "accuracy": None, "uar": None, "ece": None, "given": 0}
        made = physiology_material(walks, parameters)
        return {"samples": len(made.labels), "given": len(made.labels)} | scores(made.labels, predict(made.inputs))

    told = {}
    for trouble in TROUBLES:
        curve = points(trouble, own, score, seed=seed)
        most = max(curve["points"][0]["given"], 1)
        for point in curve["points"]:
            point["given"] /= most
        told[trouble.name] = curve
    return told
