"""Recipe of ``cnn_lstm``: the per-frame CNN learns on FER2013 stills behind a head of its own, the two LSTMs on views of stills.

*Interpretation*: the paper's three classes come from a mapping of action units that is not published with it, so the classes are FER2013's
seven. It trains with Adam at 1e-3, batches of 64, up to 100 epochs with early stopping; here it is AdamW with a cosine, for fewer
epochs and without a look at the scored pictures, the CNN first and the LSTMs on its kept embeddings.
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
from convert.training.datasets.fer2013 import FER_CLASSES
from convert.training.fit import Schedule, fit_in_bfloat16
from convert.training.systems import frames
from convert.training.systems.system import Judged, Paper, Runners, Say, Score, Trained, keras_runner, renamed, scaled, terms
from convert.zoo import cnn_lstm
from edge.preprocess.face import FaceParameters

STEPS = 10
STEP_MS = 250
CNN = Schedule(epochs=14, batch=128, learning_rate=2e-3, weight_decay=1e-2)
HEAD = Schedule(epochs=5, batch=64, learning_rate=1e-3, weight_decay=1e-2)
FACES, VIEWS = 7000, 4
"""The LSTMs learn on so many faces, of each of which so many views are kept: 2048 numbers a view."""
PAPER = Paper(
    citation="Bashir & Umar, Detection of students' emotions in an online learning environment using a CNN-LSTM model, Engineering "
    "Proceedings 87 (1), 116, 2025 (found by its classes and design)",
    figure="accuracy 98.0 %, recall 98 % (three classes: interest, boredom, confusion)",
    protocol="pictures of FER2013, CK+48 and JAFFE mapped to three classes by action units, divided into training and test sets; the "
    "abstract says nothing of people, and CK+48 has several pictures of each person",
)


def classifier() -> keras.Model:
    """The zoo's frame encoder with seven outputs behind it, to be trained on stills: ``embedding`` (2048,), ``probabilities`` (7,)."""
    encoder = cnn_lstm.frame_encoder()
    logits = layers.Dense(len(FER_CLASSES))(layers.Dropout(0.5)(encoder.output))
    probabilities = layers.Softmax(name="probabilities", dtype="float32")(logits)
    return keras.Model(encoder.input, {"embedding": encoder.output, "probabilities": probabilities}, name="frame_classifier")


def judge(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> Score:
    """As ``convert.training.systems.system`` says; FER2013 names nobody, so ``learnt`` does not matter."""
    return frames.judge_faces(data, seed=seed, steps=STEPS)


def recipe(data: pathlib.Path, work: pathlib.Path, *, seed: int, say: Say, epochs_scale: float = 1.0) -> Trained:
    """Train what ``work`` does not hold yet; on one core about ten minutes."""
    learn, held = face.split_training(data, seed)
    targets = face.soft_targets(data, work, learn, seed)
    cnn = dataclasses.replace(CNN, epochs=scaled(CNN.epochs, epochs_scale))
    head_schedule = dataclasses.replace(HEAD, epochs=scaled(HEAD.epochs, epochs_scale))
    say(f"frame encoder, {cnn.epochs} epochs")

    def make(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return face.augment(learn.images[rows], rng), targets[rows]

    name = f"cnn_lstm-seed{seed}-epochs{cnn.epochs}"
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.05)
    stills = fit_in_bfloat16(
        classifier, make, rows=len(learn.labels), schedule=cnn, loss=loss, metrics=["accuracy"], name=name, work=work, seed=seed
    )
    encoder = keras.Model(stills.input, {"embedding": stills.output["embedding"]}, name="face")
    encode = keras_runner(encoder)
    few = frames.thin(learn, FACES)
    rows = np.linspace(0, len(learn.labels) - 1, len(few.labels)).astype(int)
    keras.utils.set_random_seed(seed)
    head = cnn_lstm.sequence_head(steps=STEPS, features=encoder.output["embedding"].shape[-1], classes=len(FER_CLASSES))
    name = f"{name}-head{head_schedule.epochs}"
    seen = np.zeros((len(few.labels), 1, 1), np.float16)
    if not (work / f"{name}.done.weights.h5").exists():
        say(f"{VIEWS} views of {len(few.labels)} faces")
        seen = frames.views(encode, few.images, VIEWS, np.random.default_rng(seed))
    say(f"LSTM head, {head_schedule.epochs} epochs")
    frames.train_head(head, seen, targets[rows], steps=STEPS, schedule=head_schedule, loss=loss, name=name, work=work, seed=seed)
    fusion = renamed(head, {"embeddings": "face"}, ("logits",), name="fusion")

    split, scored = frames.scored_faces(data)
    floats = {"face": encode, "fusion": keras_runner(fusion)}
    alone = stills.predict(face.normalize(scored.images), batch_size=256, verbose=0)["probabilities"]
    rng = np.random.default_rng(seed)
    check = frames.thin(held, 400)
    return Trained(
        name="cnn_lstm",
        labels=FER_CLASSES,
        summary=f"Seven expressions from the last {STEPS} looks at a face, one every {STEP_MS} ms: a CNN looks, two LSTMs follow.",
        networks={"face": encoder, "fusion": fusion},
        calibration={
            "face": {"face": face.augment(learn.images[rng.permutation(len(learn.labels))[:600]], rng)},
            "fusion": frames.fusion_samples(learn.images, 300, STEPS, seed),
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
        baselines=(
            frames.linear(learn, scored),
            frames.figures("CNN only: the frame encoder with a dense layer, one still", Judged(scored.labels, np.log(alone + 1e-9))),
        ),
        other_splits=(frames.random_split(floats, frames.thin(held, 2500), STEPS),),
        notes=(
            "The sequences are views of one still, moved and partly degraded: FER2013 has no video, so the LSTMs have learnt no true "
            "dynamics of expressions.",
            "The classes are FER2013's seven and not the paper's three, whose mapping is not published with it.",
            *frames.teachers_note(data),
            "The paper trains for up to 100 epochs; this ran "
            f"{cnn.epochs} epochs of the CNN and {head_schedule.epochs} of the LSTMs on {len(few.labels)} faces.",
        ),
        epochs_scale=epochs_scale,
        lstm_form="fused",
    )


def _temper(held: face.Faces, runners: Runners) -> Judged:
    return frames.held_still(held, runners, STEPS)
