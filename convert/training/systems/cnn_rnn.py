"""Recipe of ``cnn_rnn`` for faces: a MobileNetV2-style backbone for each look, a GRU with temporal attention over the looks.

*Interpretation*: the source is a review, so the sizes are ours. The backbone is MobileNetV2's table with one block a row, at a stride of 2
from the first convolution on. The loss is focal (Lin et al., 2017, gamma = 2, without alpha). A CNN alone (mean over time) and an
RNN alone (12x12 pixels a look) are trained beside it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import pathlib

import keras
import numpy as np
from keras import layers

from convert.training import face
from convert.training.datasets.fer2013 import FER_CLASSES, Faces
from convert.training.fit import Schedule, fit
from convert.training.systems import frames
from convert.training.systems.system import Figures, Judged, Paper, Runners, Say, Score, Trained, keras_runner, renamed, scaled, terms
from convert.zoo import cnn_rnn
from convert.zoo.cnn_rnn import Recurrent, Row
from edge.preprocess.face import FaceParameters

STEPS = 10
STEP_MS = 250
TABLE = (Row(1, 16, 1, 1), Row(6, 24, 1, 2), Row(6, 32, 2, 2), Row(6, 64, 2, 1))
WIDTH = 0.75
LAST = 128
CNN = Schedule(epochs=8, batch=128, learning_rate=4e-3, weight_decay=1e-2)
HEAD = Schedule(epochs=6, batch=128, learning_rate=2e-3, weight_decay=1e-2)
FACES, VIEWS = 8000, 4
HEADS: tuple[tuple[str, bool, Recurrent, bool], ...] = (
    ("GRU with temporal attention", False, "gru", True),
    ("CNN only: mean over time", False, "none", False),
    ("RNN only: GRU over 12x12 pixels a look", True, "gru", False),
)
"""In words, whether it sees pixels in place of embeddings, RNN, attention; the first is the system, the others are compared with it."""
PAPER = Paper(
    citation="Basavaprasad & Chandrashekhar, Emotion recognition in online learning using CNNs and RNNs, IJECS 7 (2), 82-91, 2025",
    figure="none of its own: it is a review, and says that CNN and RNN together do better than either alone",
    protocol="those of the works that it reviews; not known here one by one",
)


def frame_encoder() -> keras.Model:
    """Face (48, 48, 1) in [-1, 1] -> ``embedding`` (128,)."""
    return cnn_rnn.frame_encoder(table=TABLE, width=WIDTH, last=LAST, stride=2)


def focal() -> keras.losses.Loss:
    """Focal loss over soft targets."""
    return keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, label_smoothing=0.05)


def judge(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> Score:
    """As ``convert.training.systems.system`` says; FER2013 names nobody, so ``learnt`` does not matter."""
    return frames.judge_faces(data, seed=seed, steps=STEPS)


def recipe(data: pathlib.Path, work: pathlib.Path, *, seed: int, say: Say, epochs_scale: float = 1.0) -> Trained:
    """Train what ``work`` does not hold yet; on one core about ten minutes."""
    learn, held = face.split_training(data, seed)
    targets = face.soft_targets(data, work, learn, seed)
    cnn = dataclasses.replace(CNN, epochs=scaled(CNN.epochs, epochs_scale))
    schedule = dataclasses.replace(HEAD, epochs=scaled(HEAD.epochs, epochs_scale))
    say(f"frame encoder, {cnn.epochs} epochs")
    name = f"cnn_rnn-seed{seed}-epochs{cnn.epochs}"
    encoder = _encoder(learn, targets, cnn, name, work, seed)
    encode = keras_runner(encoder)
    few = frames.thin(learn, FACES)
    rows = np.linspace(0, len(learn.labels) - 1, len(few.labels)).astype(int)
    _, scored = frames.scored_faces(data)
    variants: dict[str, tuple[keras.Model, Figures]] = {}
    for kind, pixels, recurrent, attention in HEADS:
        say(f"head: {kind}, {schedule.epochs} epochs")
        looking = keras_runner(_pixels()) if pixels else encode
        features = cnn_rnn.PIXELS**2 if pixels else LAST
        keras.utils.set_random_seed(seed)
        head = cnn_rnn.sequence_head(steps=STEPS, features=features, classes=len(FER_CLASSES), recurrent=recurrent, attention=attention)
        kept = f"{name}-head{schedule.epochs}-{recurrent}{'-pixels' if pixels else ''}"
        seen = np.zeros((len(few.labels), 1, 1), np.float16)
        if not (work / f"{kept}.done.weights.h5").exists():
            seen = frames.views(looking, few.images, VIEWS, np.random.default_rng(seed))
        frames.train_head(head, seen, targets[rows], steps=STEPS, schedule=schedule, loss=focal(), name=kept, work=work, seed=seed)
        fusion = renamed(head, {"embeddings": "face"}, ("logits",), name="fusion")
        judged = frames.held_still(scored, {"face": looking, "fusion": keras_runner(fusion)}, STEPS)
        variants[kind] = fusion, frames.figures(f"{kind}, float", judged)
        frames.announce(say, kind, variants[kind][1])
    (fusion, _), *others = variants.values()
    return _trained(
        data, (learn, held), encoder, fusion, tuple(row for _, row in others), (cnn.epochs, schedule.epochs), seed, epochs_scale
    )


def _encoder(learn: Faces, targets: np.ndarray, schedule: Schedule, name: str, work: pathlib.Path, seed: int) -> keras.Model:
    """The backbone, learnt behind a dense layer of its own."""

    def make(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return face.augment(learn.images[rows], rng), targets[rows]

    keras.utils.set_random_seed(seed)
    inner = frame_encoder()
    probabilities = layers.Dense(len(FER_CLASSES), activation="softmax")(layers.Dropout(0.3)(inner.output))
    stills = keras.Model(inner.input, probabilities)
    fit(stills, make, rows=len(learn.labels), schedule=schedule, loss=focal(), metrics=["accuracy"], name=name, work=work, seed=seed)
    return keras.Model(inner.input, {"embedding": inner.output}, name="face")


def _pixels() -> keras.Model:
    inner = cnn_rnn.frame_encoder(backbone="pixels")
    return keras.Model(inner.input, {"embedding": inner.output}, name="pixels")


def _trained(
    data: pathlib.Path,
    pictures: tuple[Faces, Faces],
    encoder: keras.Model,
    fusion: keras.Model,
    others: tuple[Figures, ...],
    epochs: tuple[int, int],
    seed: int,
    epochs_scale: float,
) -> Trained:
    learn, held = pictures
    split, scored = frames.scored_faces(data)
    floats = {"face": keras_runner(encoder), "fusion": keras_runner(fusion)}
    rng = np.random.default_rng(seed)
    check = frames.thin(held, 400)
    return Trained(
        name="cnn_rnn",
        labels=FER_CLASSES,
        summary=f"Seven expressions from the last {STEPS} looks at a face, one every {STEP_MS} ms: a MobileNetV2-style CNN for each look, "
        "a GRU with temporal attention over them.",
        networks={"face": encoder, "fusion": fusion},
        calibration={
            "face": {"face": face.augment(learn.images[rng.permutation(len(learn.labels))[:800]], rng)},
            "fusion": frames.fusion_samples(learn.images, 400, STEPS, seed),
        },
        verification={
            "face": {"face": face.normalize(check.images)},
            "fusion": frames.fusion_samples(check.images, 400, STEPS, seed + 1),
        },
        preprocess={"face": dataclasses.asdict(FaceParameters()), "fusion": {"step_ms": STEP_MS, "steps": STEPS}},
        learnt_people={},
        terms=terms("FER2013"),
        people=(frames.PEOPLE.format(split=split),),
        paper=PAPER,
        score=judge(data, learnt={}, seed=seed),
        temper=functools.partial(_temper, frames.thin(held, 1000)),
        seed=seed,
        baselines=(frames.linear(learn, scored), *others),
        other_splits=(frames.random_split(floats, held, STEPS),),
        notes=(
            "The sequences are views of one still, moved and partly degraded: FER2013 has no video, so the GRU has learnt no true "
            "dynamics of expressions.",
            "The source is a review: all sizes are ours, one block a row of MobileNetV2's table, focal loss.",
            *frames.teachers_note(data),
            f"Trained for {epochs[0]} epochs of the CNN and {epochs[1]} of each head, as a CPU allows; more would help.",
        ),
        epochs_scale=epochs_scale,
    )


def _temper(held: Faces, runners: Runners) -> Judged:
    return frames.held_still(held, runners, STEPS)
