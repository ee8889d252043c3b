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
from edge.inference.fusion import softmax

STRESS_GIVEN_LABEL = np.array([0.5, 0.0, 0.0, 1.0])
"""Chance that a companion for each label is taken from stress: rest goes with the low-arousal quadrants, stress with ``tense``;
``positive`` is aroused without being stress, so either may accompany it, and physiology tells it from nothing."""
STRESS_SPEAKS_FOR = np.array([0.0, -0.5, -0.4, 0.5])
"""How the log-odds of stress count for each label at first. Rest is ``calm`` by definition, and speaks for ``low`` a little less, for
two labels that are always equal would be told apart by rounding alone."""

SCHEDULE = Schedule(epochs=3, batch=128, learning_rate=1e-3, weight_decay=5e-2)
"""Short: it starts from what each encoder says alone (``first_evidence``), and only four speakers teach it."""
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


Evidence = collections.abc.Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Modality -> kernel (width, labels) and bias (labels,)."""


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


def first_evidence(
    pools: collections.abc.Mapping[str, Pool],
    encoders: collections.abc.Mapping[str, keras.Model],
    label_of_class: collections.abc.Mapping[str, np.ndarray],
) -> Evidence:
    """What each modality says of the labels on its own, as linear maps of its embedding: where the fusion's training starts.

    A modality that tells the labels themselves: its layer ``logits``. Physiology tells rest from stress: its log-odds count for labels
    that go with stress and against those that go with rest. Another one tells classes of which several make a label: logistic
    regression, on the pool's embeddings, of what its own probabilities sum up to and of the true label, half and half, as if all labels
    were equally common.

    Args:
        pools: of people whom the encoders never saw.
        encoders: in float, each with a layer ``logits`` on its embedding.
        label_of_class: modality -> int (classes,), the label that each class of its encoder belongs to.
    """
    made: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, pool in pools.items():
        kernel, bias = (np.asarray(value, np.float64) for value in encoders[name].get_layer("logits").get_weights())
        if name == "physiology":
            odds, offset = kernel[:, 1] - kernel[:, 0], bias[1] - bias[0]
            kernel, bias = np.outer(odds, STRESS_SPEAKS_FOR), offset * STRESS_SPEAKS_FOR
        elif name in label_of_class:
            member = np.eye(len(LABELS))[label_of_class[name]]
            kernel, bias = _regress(pool, softmax(pool.vectors @ kernel + bias) @ member)
        made[name] = kernel.astype(np.float32), bias.astype(np.float32)
    return made


def _regress(pool: Pool, opinion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a logistic regression on soft targets: a row for every sample and label, weighted by how true it is."""
    from sklearn.linear_model import LogisticRegression

    one_hot = np.eye(len(LABELS))[pool.labels]
    truth = (opinion + one_hot) / 2 / np.maximum(one_hot.mean(axis=0), 1e-3)
    rows = np.repeat(pool.vectors, len(LABELS), axis=0)
    line = LogisticRegression(C=0.5, max_iter=3000).fit(rows, np.tile(np.arange(len(LABELS)), len(pool.labels)), truth.ravel())
    return line.coef_.T, line.intercept_


def train(
    pools: collections.abc.Mapping[str, Pool],
    work: pathlib.Path,
    *,
    seed: int,
    evidence: Evidence | None = None,
    schedule: Schedule = SCHEDULE,
    name: str = "",
) -> keras.Model:
    """The trained fusion.

    Args:
        pools: embeddings of people whom the encoders never saw, in the order of the mask.
        work: folder for checkpoints.
        seed: of first weights and companions.
        evidence: where to start; at random if None.
        schedule, name: length and speed, and what the checkpoint is called.
    """
    keras.utils.set_random_seed(seed)
    cell = fusion({name: pool.vectors.shape[1] for name, pool in pools.items()}, len(LABELS))
    if evidence is not None:
        for modality, (kernel, bias) in evidence.items():
            alone = cell.get_layer(f"evidence_{modality}")
            alone.set_weights([kernel, bias])
            alone.trainable = False  # few people teach the fusion: what an encoder learnt from many must not bend to them
            scores = cell.get_layer(f"score_{modality}")
            scores.set_weights([np.zeros_like(value) for value in scores.get_weights()])  # nobody is trusted more at first
        cell.get_layer("recall").set_weights([np.eye(len(LABELS), dtype=np.float32), np.zeros(len(LABELS), np.float32)])
        gate = cell.get_layer("gate")
        gate.set_weights([np.zeros_like(value) for value in gate.get_weights()])
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
