"""Recipe of the face encoder: FER2013, seven classes, augmentation for low-quality video."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import pathlib

import keras
import numpy as np
import tensorflow as tf

from convert.training.datasets.fer2013 import FER_SIZE_PX, FER_SPLITS, Faces, fer2013, in_other_split
from convert.training.degrade import face as degrade
from convert.training.fit import Schedule, fit_in_bfloat16
from convert.zoo.face import FACE_CLASSES, face_encoder, mirrored


@dataclasses.dataclass(frozen=True)
class Round:
    """One time through a schedule; a later round starts from the weights before it, and they teach it too (Furlanello et al., 2018)."""

    schedule: Schedule
    covered: float = 0.5
    """Share of the spoilt faces whose trouble is cover."""


ROUNDS = (
    Round(Schedule(epochs=60, batch=128, learning_rate=3e-3, weight_decay=1e-2)),
    Round(Schedule(epochs=140, batch=128, learning_rate=2e-3, weight_decay=3e-2), covered=0.6),
)


def scaled_rounds(scale: float) -> tuple[Round, ...]:
    """``ROUNDS`` with so many times the epochs, at least one each, for quick trials."""
    return tuple(
        dataclasses.replace(turn, schedule=dataclasses.replace(turn.schedule, epochs=max(1, round(turn.schedule.epochs * scale))))
        for turn in ROUNDS
    )


TEACHER_SHARE = 0.5
"""Share of the teachers' opinion in the targets (Hinton et al., 2015, with temperature 1); FER2013's labels agree with people about
65 % of the time (Goodfellow et al., 2013)."""
SPOILT = 0.35
"""Share of the faces that are covered, shrunk, blurred, compressed or dimmed, on top of being moved."""
HELD_OUT_FACES = 2500
"""Training faces that the encoder never sees: the fusion learns on them, temperature and int8 ranges come from others."""


def split_training(data: pathlib.Path, seed: int) -> tuple[Faces, Faces]:
    """FER2013 Training as (for the encoder, held out for the fusion), without pictures of PublicTest; FER2013 names no people."""
    faces, public = fer2013(data, "Training"), fer2013(data, "PublicTest")
    usage = np.repeat(FER_SPLITS[:2], [len(faces.labels), len(public.labels)])
    # Some copies of the set do not mark all of them.
    twice = in_other_split(np.concatenate([faces.images, public.images]), usage)[: len(faces.labels)]
    order = np.random.default_rng(seed).permutation(len(faces.labels))
    held, learn = (part[~twice[part]] for part in (order[:HELD_OUT_FACES], order[HELD_OUT_FACES:]))
    return Faces(faces.images[learn], faces.labels[learn]), Faces(faces.images[held], faces.labels[held])


def normalize(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 48, 48) -> float32 (n, 48, 48, 1) in [-1, 1], as ``edge.preprocess.face`` does for one crop."""
    return images[..., None].astype(np.float32) / 127.5 - 1.0


def augment(images: np.ndarray, rng: np.random.Generator, *, spoilt: float = SPOILT, covered: float = 0.5) -> np.ndarray:
    """Crops as a detector and a cheap camera give them: moved, turned, mirrored; some of them covered, small, blurred or dim.

    Args:
        images: uint8 (n, 48, 48).
        rng: source of every random choice.
        spoilt: share of the faces that are degraded on top of being moved.
        covered: share of those whose trouble is cover.

    Returns:
        float32 (n, 48, 48, 1) in [-1, 1].
    """
    n = len(images)
    made = np.empty((n, FER_SIZE_PX, FER_SIZE_PX), np.float32)
    turn, scale = rng.normal(0.0, 8.0, n), np.exp(rng.normal(0.0, 0.08, n))
    right, down, mirror = rng.normal(0.0, 2.0, n), rng.normal(0.0, 2.0, n), rng.random(n) < 0.5
    for i in range(n):
        face = degrade.move(images[i], turn_deg=turn[i], scale=scale[i], right_px=right[i], down_px=down[i], mirror=bool(mirror[i]))
        made[i] = _spoil(face, rng, covered) if rng.random() < spoilt else face
    gain = np.exp(rng.normal(0.0, 0.15, (n, 1, 1))).astype(np.float32)
    offset = rng.normal(0.0, 0.1, (n, 1, 1)).astype(np.float32)
    return np.clip((made / 127.5 - 1.0) * gain + offset, -1.0, 1.0)[..., None]


def _spoil(face: np.ndarray, rng: np.random.Generator, covered: float) -> np.ndarray:
    """One trouble, or two: half of all or more are cover, for nothing else costs as much."""
    for _ in range(1 + (rng.random() < 0.3)):
        if rng.random() < covered:
            face = degrade.cover(face, rng.uniform(0.1, 0.7), rng)
            continue
        kind = rng.random()
        if kind < 0.5:
            face = degrade.shrink(face, int(rng.integers(12, 36)))
        elif kind < 0.66:
            face = degrade.blur(face, rng.uniform(0.5, 2.5))
        elif kind < 0.84:
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
                given = model.predict(seen, batch_size=256, verbose=0)
                total[first : first + 1024] += given["probabilities"] if isinstance(given, dict) else given
    return total / total.sum(axis=1, keepdims=True)


def teachers(data: pathlib.Path) -> list[keras.Model]:
    """The FER2013 classifiers at hand in ``data/models/mini_xception`` (Arriaga et al., 2017); they teach and are not shipped."""
    return [keras.models.load_model(path, compile=False) for path in sorted((data / "models" / "mini_xception").glob("*.hdf5"))]


def soft_targets(
    data: pathlib.Path, work: pathlib.Path, learn: Faces, seed: int, more: collections.abc.Mapping[str, keras.Model] | None = None
) -> np.ndarray:
    """Labels of ``split_training(data, seed)[0]`` mixed with the teachers' opinion, float32 (n, 7); opinions are kept in ``work``.

    Args:
        data: folder of the sets, with or without teachers.
        work: folder for opinions.
        learn: the faces; ``seed`` is the one they were split by.
        seed: see ``learn``.
        more: teachers beside those at hand, by the name their opinions are kept under.

    Returns:
        The labels alone where there is no teacher.
    """
    work.mkdir(parents=True, exist_ok=True)
    hard = keras.utils.to_categorical(learn.labels, FACE_CLASSES).astype(np.float32)
    parts = []
    wanted = {"": teachers(data)} | {name: [model] for name, model in (more or {}).items()}
    for name, models in wanted.items():
        kept = work / f"face-seed{seed}-opinions{name}-of{len(hard)}.npy"
        if models and not kept.exists():
            np.save(kept, opinions(models, normalize(learn.images)))
        parts += [np.load(kept)] * len(models) if models else []
    return hard if not parts else ((1.0 - TEACHER_SHARE) * hard + TEACHER_SHARE * np.mean(parts, axis=0)).astype(np.float32)


def train(data: pathlib.Path, work: pathlib.Path, *, seed: int, rounds: collections.abc.Sequence[Round] = ROUNDS) -> keras.Model:
    """The trained face encoder, both ways round; on two CPU cores 25 s an epoch where the processor computes in bfloat16, else 50 s."""
    learn, _ = split_training(data, seed)
    public = fer2013(data, "PublicTest")
    model: keras.Model | None = None
    name = f"face-seed{seed}"
    for turn in rounds:
        soft = soft_targets(data, work, learn, seed, None if model is None else {name.removeprefix(f"face-seed{seed}"): model})
        name += f"-epochs{turn.schedule.epochs}"
        model = fit_in_bfloat16(
            functools.partial(_started, model),
            functools.partial(_batch, learn.images, soft, turn.covered),
            rows=len(learn.labels),
            schedule=turn.schedule,
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
            metrics=["accuracy"],
            validation=(normalize(public.images), keras.utils.to_categorical(public.labels, FACE_CLASSES)),
            name=name,
            work=work,
            seed=seed,
        )
    if model is None:
        raise ValueError("no round to train")
    return mirrored(model)


def _started(before: keras.Model | None) -> keras.Model:
    """A new encoder, or one of the present policy with the weights of ``before``."""
    model = face_encoder()
    if before is not None:
        model.set_weights(before.get_weights())
    return model


def _batch(
    images: np.ndarray, targets: np.ndarray, covered: float, rows: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    return augment(images[rows], rng, covered=covered), targets[rows]
