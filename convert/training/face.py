"""Recipe of the face encoder: FER2013, seven classes, augmentation for low-quality video."""

from __future__ import annotations

import collections.abc
import functools
import pathlib

import keras
import numpy as np
import tensorflow as tf

from convert.training.datasets.fer2013 import FER_SIZE_PX, Faces, fer2013
from convert.training.degrade import face as degrade
from convert.training.fit import Schedule, fit_in_bfloat16
from convert.zoo.face import FACE_CLASSES, face_encoder

SCHEDULE = Schedule(epochs=60, batch=128, learning_rate=3e-3, weight_decay=1e-2)
TEACHER_SHARE = 0.5
"""Share of the teachers' opinion in the targets (Hinton et al., 2015, with temperature 1); FER2013's labels agree with people about
65 % of the time (Goodfellow et al., 2013)."""
SPOILT = 0.35
"""Share of the faces that are covered, shrunk, blurred, compressed or dimmed, on top of being moved."""
HELD_OUT_FACES = 2500
"""Training faces that the encoder never sees: the fusion learns on them, temperature and int8 ranges come from others."""


def split_training(data: pathlib.Path, seed: int) -> tuple[Faces, Faces]:
    """FER2013 Training as (for the encoder, held out for the fusion); FER2013 names no people."""
    faces = fer2013(data, "Training")
    order = np.random.default_rng(seed).permutation(len(faces.labels))
    held, learn = order[:HELD_OUT_FACES], order[HELD_OUT_FACES:]
    return Faces(faces.images[learn], faces.labels[learn]), Faces(faces.images[held], faces.labels[held])


def normalize(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 48, 48) -> float32 (n, 48, 48, 1) in [-1, 1], as ``edge.preprocess.face`` does for one crop."""
    return images[..., None].astype(np.float32) / 127.5 - 1.0


def augment(images: np.ndarray, rng: np.random.Generator, *, spoilt: float = SPOILT) -> np.ndarray:
    """Crops as a detector and a cheap camera give them: moved, turned, mirrored; some of them covered, small, blurred or dim.

    Args:
        images: uint8 (n, 48, 48).
        rng: source of every random choice.
        spoilt: share of the faces that are degraded on top of being moved.

    Returns:
        float32 (n, 48, 48, 1) in [-1, 1].
    """
    n = len(images)
    made = np.empty((n, FER_SIZE_PX, FER_SIZE_PX), np.float32)
    turn, scale = rng.normal(0.0, 8.0, n), np.exp(rng.normal(0.0, 0.08, n))
    right, down, mirror = rng.normal(0.0, 2.0, n), rng.normal(0.0, 2.0, n), rng.random(n) < 0.5
    for i in range(n):
        face = degrade.move(images[i], turn_deg=turn[i], scale=scale[i], right_px=right[i], down_px=down[i], mirror=bool(mirror[i]))
        made[i] = _spoil(face, rng) if rng.random() < spoilt else face
    gain = np.exp(rng.normal(0.0, 0.15, (n, 1, 1))).astype(np.float32)
    offset = rng.normal(0.0, 0.1, (n, 1, 1)).astype(np.float32)
    return np.clip((made / 127.5 - 1.0) * gain + offset, -1.0, 1.0)[..., None]


def _spoil(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One trouble, or two: half of all are cover, for nothing else costs as much."""
    for _ in range(1 + (rng.random() < 0.3)):
        kind = rng.random()
        if kind < 0.5:
            face = degrade.cover(face, rng.uniform(0.1, 0.7), rng)
        elif kind < 0.75:
            face = degrade.shrink(face, int(rng.integers(12, 36)))
        elif kind < 0.83:
            face = degrade.blur(face, rng.uniform(0.5, 2.5))
        elif kind < 0.92:
            face = degrade.compress(np.ascontiguousarray(face), int(rng.integers(8, 60)))
        else:
            face = degrade.dim(face, rng.uniform(0.08, 0.6), rng)
    return face


def opinions(models: collections.abc.Sequence[keras.Model], images: np.ndarray) -> np.ndarray:
    """Mean probabilities (n, 7) of ``models`` over each face and its mirror image; each model takes the size it was built for.

    Args:
        images: float32 (n, 48, 48, 1) in [-1, 1].
    """
    total = np.zeros((len(images), FACE_CLASSES), np.float32)
    for model in models:
        size = model.input_shape[1]
        for first in range(0, len(images), 1024):
            x = images[first : first + 1024]
            x = x if size == FER_SIZE_PX else tf.image.resize(x, (size, size)).numpy()
            for seen in (x, x[:, :, ::-1]):
                total[first : first + 1024] += model.predict(seen, batch_size=256, verbose=0)
    return total / total.sum(axis=1, keepdims=True)


def teachers(data: pathlib.Path) -> list[keras.Model]:
    """The FER2013 classifiers at hand in ``data/models/mini_xception`` (Arriaga et al., 2017); they teach and are not shipped."""
    return [keras.models.load_model(path, compile=False) for path in sorted((data / "models" / "mini_xception").glob("*.hdf5"))]


def train(data: pathlib.Path, work: pathlib.Path, *, seed: int, schedule: Schedule = SCHEDULE) -> keras.Model:
    """The trained face encoder; on two CPU cores 35 s an epoch where the processor computes in bfloat16, else 50 s."""
    learn, _ = split_training(data, seed)
    hard = keras.utils.to_categorical(learn.labels, FACE_CLASSES)
    work.mkdir(parents=True, exist_ok=True)
    kept = work / f"face-seed{seed}-opinions.npy"
    if not kept.exists():
        np.save(kept, opinions(teachers(data), normalize(learn.images)))
    soft = (1.0 - TEACHER_SHARE) * hard + TEACHER_SHARE * np.load(kept)
    public = fer2013(data, "PublicTest")
    return fit_in_bfloat16(
        face_encoder,
        functools.partial(_batch, learn.images, soft.astype(np.float32)),
        rows=len(learn.labels),
        schedule=schedule,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        metrics=["accuracy"],
        validation=(normalize(public.images), keras.utils.to_categorical(public.labels, FACE_CLASSES)),
        name=f"face-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )


def _batch(images: np.ndarray, targets: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return augment(images[rows], rng), targets[rows]
