"""The fusion on inputs that are late: all of them by the same time, or each by its own."""

from __future__ import annotations

import collections.abc
import typing

import numpy as np

from convert.evaluation.fused import Companions, Pools, draw
from convert.training.datasets.speech import LABELS
from edge.inference.fusion import softmax
from edge.inference.model import Model

DELAYS_STEPS = (0, 1, 2, 4, 8, 12)
STEPS = 40
CHANGE = 20
"""Step at which the learner changes; all before it count as little as all after it."""
SEQUENCES = 300


def late(before: np.ndarray, after: np.ndarray, delays: np.ndarray, step: int) -> np.ndarray:
    """What is given to the fusion at ``step``: the input of ``delays`` steps ago, the first one before there was any.

    Args:
        before, after: (count, width), until ``CHANGE`` and from it on.
        delays: int (count,), at least 0.
        step: from 0.
    """
    return np.where((step - delays >= CHANGE)[:, None], after, before)


def run(model: Model, before: Companions, after: Companions, pools: Pools, delays: collections.abc.Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether the fusion names the label that holds now: bool (count, STEPS), the feedback going on from step to step."""
    old, new, count = before.vectors(pools), after.vectors(pools), len(before.labels)
    right = np.zeros((count, STEPS), bool)
    previous = np.full((count, len(LABELS)), 1 / len(LABELS), np.float32)
    mask = np.ones(len(pools), np.float32)
    for step in range(STEPS):
        given = {name: late(old[name], new[name], delays[name], step) for name in pools}
        truth = after.labels if step >= CHANGE else before.labels
        for i in range(count):
            logits = model.run(**{name: values[i] for name, values in given.items()}, mask=mask, previous=previous[i])["logits"]
            right[i, step] = logits.argmax() == truth[i]
            previous[i] = softmax(logits)
    return right


def curves(model: Model, pools: Pools, *, seed: int, cadence_ms: int, count: int = SEQUENCES) -> dict[str, typing.Any]:
    """Accuracy while a learner changes once from one label to another, over how late the inputs are.

    ``stale``: every modality gives the embedding of k steps ago. ``skewed``: each modality has its own delay, drawn for every
    sequence from 0 to k, one of them 0 and one of them k, so that the fused inputs are of moments k steps apart. ``after_change`` is
    the accuracy after the change alone.
    """
    rng = np.random.default_rng(seed)
    before, after = draw(pools, count, seed), draw(pools, count, seed + 1)
    order = np.stack([rng.permutation(len(pools)) for _ in range(count)])
    share = rng.random((count, len(pools)))
    made: dict[str, typing.Any] = {}
    for name in ("stale", "skewed"):
        points = []
        for k in DELAYS_STEPS:
            delays = {modality: np.full(count, k) for modality in pools}
            if name == "skewed":
                own = np.rint(share * k).astype(int)
                own[np.arange(count), order[:, 0]], own[np.arange(count), order[:, -1]] = k, 0
                delays = {modality: own[:, m] for m, modality in enumerate(pools)}
            right = run(model, before, after, pools, delays)
            scores = {"accuracy": float(right.mean()), "after_change": float(right[:, CHANGE:].mean())}
            points.append({"value": k, "late_ms": k * cadence_ms, "samples": count} | scores)
        title = "inputs of k steps ago" if name == "stale" else "modalities up to k steps apart"
        made[name] = {"title": title, "unit": f"steps of {cadence_ms} ms", "points": points}
    return made
