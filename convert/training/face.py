"""Recipe of the face encoder: FER2013, seven classes, augmentation for low-quality video."""

from __future__ import annotations

import collections.abc
import functools
import pathlib
import typing

import keras
import numpy as np
import tensorflow as tf

from convert.training.datasets.fer2013 import FER_SIZE_PX, Faces, fer2013
from convert.training.fit import Schedule, fit
from convert.zoo.face import FACE_CLASSES, face_encoder

SCHEDULE = Schedule(epochs=48, batch=128, learning_rate=3e-3, weight_decay=5e-3)
FINISH = Schedule(epochs=20, batch=128, learning_rate=2e-3, weight_decay=1e-2)
"""A second, milder round on softened labels: FER2013's own agree with people about 65 % of the time (Goodfellow et al., 2013)."""
TEACHER_SHARE = 0.6
"""Share of the teachers' opinion in the second round's targets (Hinton et al., 2015, with temperature 1)."""
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


def augment(images: np.ndarray, rng: np.random.Generator, *, strength: float = 1.0) -> tf.Tensor:
    """Crops as a detector and a cheap camera give them: moved, turned, mirrored, dim, blurred, partly covered.

    Args:
        images: float32 (n, 48, 48, 1) in [-1, 1].
        rng: source of every random choice.
        strength: scales sizes and chances of all distortions but the mirror.
    """
    n, size = len(images), FER_SIZE_PX
    angle = rng.normal(0.0, np.deg2rad(8.0) * strength, n)
    scale = np.exp(rng.normal(0.0, 0.08 * strength, n))
    mirror = rng.choice([-1.0, 1.0], n)
    shift = rng.normal(0.0, 2.2 * strength, (n, 2))
    centre = (size - 1) / 2
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    rows = np.zeros((n, 8), np.float32)
    rows[:, 0], rows[:, 1] = cos * mirror, -sin
    rows[:, 3], rows[:, 4] = sin * mirror, cos
    rows[:, 2] = centre + shift[:, 0] - centre * (rows[:, 0] + rows[:, 1])
    rows[:, 5] = centre + shift[:, 1] - centre * (rows[:, 3] + rows[:, 4])
    x = tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=rows, output_shape=[size, size], interpolation="BILINEAR", fill_mode="REFLECT", fill_value=0.0
    )
    if rng.random() < 0.15 * strength:  # whole batches keep this one cheap resize
        small = int(rng.integers(14, 36))
        x = tf.image.resize(tf.image.resize(x, (small, small), method="area"), (size, size))
    gain = np.exp(rng.normal(0.0, 0.2 * strength, (n, 1, 1, 1))).astype(np.float32)
    offset = rng.normal(0.0, 0.12 * strength, (n, 1, 1, 1)).astype(np.float32)
    x = tf.clip_by_value(x * gain + offset, -1.0, 1.0)
    cover = np.ones((n, size, size, 1), np.float32)
    for i in np.flatnonzero(rng.random(n) < 0.35 * strength):
        height, width = rng.integers(8, 24, 2)
        top, left = rng.integers(0, size - height), rng.integers(0, size - width)
        cover[i, top : top + height, left : left + width] = 0.0
    shade = rng.uniform(-1.0, 1.0, (n, 1, 1, 1)).astype(np.float32)
    return x * cover + (1.0 - cover) * shade


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


def train(data: pathlib.Path, work: pathlib.Path, *, seed: int, schedule: Schedule = SCHEDULE, finish: Schedule = FINISH) -> keras.Model:
    """The trained face encoder; on two CPU cores about 30 s an epoch."""
    keras.utils.set_random_seed(seed)
    learn, _ = split_training(data, seed)
    images, targets = normalize(learn.images), keras.utils.to_categorical(learn.labels, FACE_CLASSES)
    public = fer2013(data, "PublicTest")
    model = face_encoder()
    head = keras.Model(model.input, model.output["probabilities"])
    name = f"face-seed{seed}-epochs{schedule.epochs}"
    options: dict[str, typing.Any] = {
        "rows": len(images),
        "metrics": ["accuracy"],
        "validation": (normalize(public.images), keras.utils.to_categorical(public.labels, FACE_CLASSES)),
        "work": work,
        "seed": seed,
    }
    hard = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    fit(head, functools.partial(_batch, images, targets, 1.0), schedule=schedule, loss=hard, name=name, **options)

    kept = work / f"{name}-opinions.npy"
    if not kept.exists():
        np.save(kept, opinions([head, *teachers(data)], images))
    soft = (1.0 - TEACHER_SHARE) * targets + TEACHER_SHARE * np.load(kept)
    loss = keras.losses.CategoricalCrossentropy()
    fit(head, functools.partial(_batch, images, soft, 0.6), schedule=finish, loss=loss, name=f"{name}-finish{finish.epochs}", **options)
    return model


def _batch(images: np.ndarray, targets: np.ndarray, strength: float, rows: np.ndarray, rng: np.random.Generator):
    return augment(images[rows], rng, strength=strength), targets[rows]
