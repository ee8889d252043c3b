"""Recipe of the fusion: constructed companions (same label, different people), modality dropout, temporal feedback.

No public set has face, voice and body signals of the same learners, so a training example joins a face, a voice and a pulse of
people who share nothing but the label. What the fusion claims is what is measured on people nobody trained on.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib

import keras
import numpy as np

from convert.training.datasets.speech import LABELS
from convert.training.fit import Schedule, fit
from convert.zoo.fusion import fusion
from edge.errors import InputError

STRESS_GIVEN_LABEL = np.array([0.5, 0.0, 0.0, 1.0])
"""Chance that a companion for each label is taken from stress: rest goes with the low-arousal quadrants, stress with ``tense``;
``positive`` is aroused without being stress, so either may accompany it, and physiology tells it from nothing."""

SCHEDULE = Schedule(epochs=5, batch=128, learning_rate=3e-3, weight_decay=5e-2)
"""Short and strongly regularized: four speakers teach it, and 24 epochs on them cost 5 points on other people."""
STEPS = 8
STAYS = 0.97
"""Chance that a companion stays from one step to the next: what a camera sees 250 ms later is hardly news, and a feedback that
learnt from independent draws would grow sure of anything that lasts."""
EXAMPLES = 24_000
FEEDBACK_WEIGHT = 0.05
"""lambda of KL(previous, stop-gradient, to current) in Edu-EmotionNet's loss: steadies the answer, small so as not to freeze it."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """Embeddings of one modality: ``vectors`` float32 (n, width), ``labels`` int (n,), ``people`` (n,).

    For face and speech a label is an index into ``LABELS``; for physiology it is 0 for rest and 1 for stress.
    """

    vectors: np.ndarray
    labels: np.ndarray
    people: np.ndarray

    def rows_by_label(self) -> dict[int, np.ndarray]:
        return {int(label): np.flatnonzero(self.labels == label) for label in np.unique(self.labels)}


def companions(pools: collections.abc.Mapping[str, Pool], labels: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One row number of every modality's pool for each label: {modality: int (n,)}.

    Raises:
        InputError: a pool has nobody who shows a class that is wanted.
    """
    rows: dict[str, np.ndarray] = {}
    for name, pool in pools.items():
        wanted = (rng.random(len(labels)) < STRESS_GIVEN_LABEL[labels]).astype(int) if name == "physiology" else labels
        chosen = np.empty(len(labels), int)
        candidates_of = pool.rows_by_label()
        if unshown := set(np.unique(wanted).tolist()) - set(candidates_of):
            raise InputError(f"{name}: nobody shows class {min(unshown)}, so no companions can be drawn; bring people who show every class")
        for label, candidates in candidates_of.items():
            here = wanted == label
            chosen[here] = rng.choice(candidates, here.sum())
        rows[name] = chosen
    return rows


def sequences(
    pools: collections.abc.Mapping[str, Pool],
    count: int,
    steps: int,
    rng: np.random.Generator,
    *,
    absent_rate: float | None,
    switch_rate: float = 0.3,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Constructed sequences: {modality: (count, steps, width), "mask": (count, steps, modalities)} and labels (count, steps).

    A companion mostly stays from step to step (``STAYS``). Absence comes in bursts, and at least one modality is present at every
    step.

    Args:
        absent_rate: chance that a modality is absent at a step; None draws a rate for every sequence (0 to 0.7).
        switch_rate: chance that the label changes once within a sequence.
    """
    labels = np.repeat(rng.integers(0, len(LABELS), count)[:, None], steps, axis=1)
    for i in np.flatnonzero(rng.random(count) < switch_rate):
        labels[i, rng.integers(1, steps) :] = rng.integers(0, len(LABELS))
    rows = {name: np.empty((count, steps), int) for name in pools}
    for step in range(steps):
        fresh = companions(pools, labels[:, step], rng)
        for name in pools:
            stays = (labels[:, step] == labels[:, step - 1]) & (rng.random(count) < STAYS) if step else np.zeros(count, bool)
            rows[name][:, step] = np.where(stays, rows[name][:, step - 1], fresh[name])
    names = list(pools)
    rate = np.full((count, 1, 1), absent_rate) if absent_rate is not None else rng.uniform(0.0, 0.7, (count, 1, len(names)))
    drawn = rng.random((count, steps, len(names)))
    for step in range(1, steps):  # bursts: most steps keep the state of the step before
        keep = rng.random((count, len(names))) < 0.7
        drawn[:, step] = np.where(keep, drawn[:, step - 1], drawn[:, step])
    mask = (drawn >= rate).astype(np.float32)
    nobody = mask.sum(axis=2) == 0
    mask[nobody, rng.integers(0, len(names), nobody.sum())] = 1.0
    inputs = {name: pools[name].vectors[rows[name]] * mask[:, :, i : i + 1] for i, name in enumerate(names)}
    return inputs | {"mask": mask}, labels


class _Unrolled(keras.layers.Layer):
    """The fusion over ``steps`` steps, each fed with the soft prediction of the one before (uniform at the start)."""

    def __init__(self, cell: keras.Model, steps: int, labels: int, **options):
        super().__init__(**options)
        self.cell, self.steps, self.labels = cell, steps, labels

    def call(self, inputs, training=None):
        *streams, mask = inputs
        previous = keras.ops.ones_like(mask[:, 0, :1]) * keras.ops.ones((1, self.labels)) / self.labels
        outputs = []
        for step in range(self.steps):
            answer = self.cell([*(x[:, step] for x in streams), mask[:, step], previous], training=training)
            previous = keras.ops.softmax(answer["logits"])
            outputs.append(previous)
        return keras.ops.stack(outputs, axis=1)


def _feedback_loss(targets, predicted):
    """Cross-entropy at every step + lambda KL(previous, stop-gradient, to current) where the label stays."""
    predicted = keras.ops.clip(predicted, 1e-6, 1.0)
    entropy = -keras.ops.mean(keras.ops.sum(targets * keras.ops.log(predicted), axis=-1))
    before, now = keras.ops.stop_gradient(predicted[:, :-1]), predicted[:, 1:]
    stays = keras.ops.sum(targets[:, :-1] * targets[:, 1:], axis=-1)
    divergence = keras.ops.sum(before * (keras.ops.log(before) - keras.ops.log(now)), axis=-1)
    return entropy + FEEDBACK_WEIGHT * keras.ops.mean(stays * divergence)


def train(
    pools: collections.abc.Mapping[str, Pool], work: pathlib.Path, *, seed: int, schedule: Schedule = SCHEDULE, name: str = ""
) -> keras.Model:
    """The trained fusion; ``pools`` hold embeddings of people whom the encoders never saw, in the order of the mask."""
    keras.utils.set_random_seed(seed)
    cell = fusion({name: pool.vectors.shape[1] for name, pool in pools.items()}, len(LABELS))
    streams = [keras.Input((STEPS, pool.vectors.shape[1]), name=name) for name, pool in pools.items()]
    mask = keras.Input((STEPS, len(pools)), name="mask")
    unrolled = keras.Model([*streams, mask], _Unrolled(cell, STEPS, len(LABELS), name="unrolled")([*streams, mask]))

    def make(rows: np.ndarray, rng: np.random.Generator):
        inputs, labels = sequences(pools, len(rows), STEPS, rng, absent_rate=None)
        for stream in pools:
            noise = rng.normal(1.0, 0.1, inputs[stream].shape)
            inputs[stream] = (inputs[stream] * noise).astype(np.float32)
        return inputs, keras.utils.to_categorical(labels, len(LABELS))

    fit(
        unrolled,
        make,
        rows=EXAMPLES,
        schedule=schedule,
        loss=_feedback_loss,
        name=name or f"fusion-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )
    return cell
