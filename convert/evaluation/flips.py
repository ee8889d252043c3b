"""How often the answer changes while nothing does: a steady learner before jittery sensors, through Fusion and Smoother."""

from __future__ import annotations

import collections.abc
import itertools
import typing

import numpy as np

from convert.evaluation.fused import Companions, Pools, draw, presences
from convert.training.degrade import face as degrade
from edge.bundle import Bundle
from edge.inference.form import Form
from edge.inference.fusion import Fusion
from edge.inference.model import Model
from edge.inference.smoothing import Smoother
from edge.types import MODALITIES, Embedding, Modality

COMPANIONS = 100
FORMS = 16
"""Jittered forms of each input; every new input is one of them, at random."""
SECONDS = 60
SETTLE_S = 5
"""Not counted: the answer may still be found."""
NEWS_EVERY_MS = {"face": 250, "speech": 500, "physiology": 1000}
"""How often each modality has something new, at most."""
FACE_NOISE = 2.0 / 127.5
SPEECH_NOISE = 1.0 / 60.0
"""1 dB, of a window's span of 60."""
PHYSIOLOGY_NOISE = 0.05

Encode = collections.abc.Callable[[np.ndarray], np.ndarray]
"""Encoder inputs (n, ...) -> embeddings (n, width)."""


def jitter_face(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A box that trembles, and a camera's noise: half a pixel, a degree, 1 % of size, 2 grey levels of 255 (standard deviations).

    Args:
        face: float32 (size, size, 1) in [-1, 1]; not changed.
        rng: of every random choice.
    """
    turn, grow, right, down = rng.normal(0.0, (1.0, 0.01, 0.5, 0.5))
    moved = degrade.move(face[..., 0], turn_deg=turn, scale=1.0 + grow, right_px=right, down_px=down, mirror=False)
    return np.clip(moved + rng.normal(0.0, FACE_NOISE, moved.shape), -1.0, 1.0)[..., None].astype(np.float32)


def jitter_speech(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A little noise on every frame that is not silent, and the voice half a decibel up or down; float32 (frames, mels)."""
    noise = rng.normal(0.0, SPEECH_NOISE, window.shape) + rng.normal(0.0, SPEECH_NOISE / 2)
    return np.where(window > 0.0, np.maximum(window + noise, 0.0), window).astype(np.float32)


def jitter_physiology(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise on every channel that is no flag and is measured, a twentieth of its spread between people; float32 (steps, channels)."""
    flags = np.isin(window, (0.0, 1.0)).all(axis=0)
    noise = rng.normal(0.0, PHYSIOLOGY_NOISE, window.shape) * (window != 0.0)
    return np.where(flags, window, window + noise).astype(np.float32)


JITTER = {"face": jitter_face, "speech": jitter_speech, "physiology": jitter_physiology}


def jittered(inputs: np.ndarray, modality: str, encode: Encode, rng: np.random.Generator, forms: int = FORMS) -> np.ndarray:
    """Embeddings (n, forms, width) of ``forms`` jittered forms of each of ``inputs`` (n, ...)."""
    some = np.stack([JITTER[modality](sample, rng) for sample in inputs for _ in range(forms)])
    return encode(some).reshape(len(inputs), forms, -1)


def count_changes(answers: collections.abc.Sequence[str | None]) -> tuple[int, int]:
    """(flips, changes) of what is given out, None being "unsure".

    A flip is another label than the last one given, whatever was unsure in between; a change is any difference from one decision to
    the next, into and out of "unsure" too.
    """
    told = [answer for answer in answers if answer is not None]
    flips = sum(a != b for a, b in itertools.pairwise(told))
    return flips, sum(a != b for a, b in itertools.pairwise(answers))


def measure(
    bundle: Bundle,
    fusion: Model,
    pools: Pools,
    inputs: collections.abc.Mapping[str, np.ndarray],
    encoders: collections.abc.Mapping[str, Encode],
    *,
    seed: int,
    count: int = COMPANIONS,
) -> dict[str, typing.Any]:
    """Flips and changes a minute on steady inputs, by what is present.

    Args:
        bundle: gives temperature, ``abstain_below``, ``switch_margin`` and the cadence of decisions.
        fusion: its stage.
        pools: embeddings that companions are drawn from.
        inputs: {modality: encoder inputs (n, ...)}, row by row what ``pools`` hold.
        encoders: {modality: encoder}.
        seed: of companions and jitter.
        count: companions, each held for ``SECONDS``.
    """
    rng = np.random.default_rng(seed)
    drawn = draw(pools, count, seed + 3)
    forms = {name: jittered(inputs[name][drawn.rows[name]], name, encoders[name], rng) for name in pools}
    return {
        "companions": count,
        "seconds": SECONDS,
        "not_counted_s": SETTLE_S,
        "by_presence": {present: _one(bundle, fusion, pools, drawn, forms, here, seed) for present, here in presences(list(pools)).items()},
    }


def _one(
    bundle: Bundle,
    model: Model,
    pools: Pools,
    drawn: Companions,
    forms: collections.abc.Mapping[str, np.ndarray],
    here: np.ndarray,
    seed: int,
) -> dict[str, typing.Any]:
    manifest = bundle.manifest
    modalities = [name for name in MODALITIES if name in pools]
    widths = {name: pools[name].vectors.shape[1] for name in modalities}
    rng = np.random.default_rng(seed + 4)
    steps = SECONDS * 1000 // manifest.cadence_ms
    settled = SETTLE_S * 1000 // manifest.cadence_ms
    present = [name for name, there in zip(modalities, here, strict=True) if there]
    every = {name: max(1, NEWS_EVERY_MS[name] // manifest.cadence_ms) for name in present}
    flips, changes, unsure, right = [], [], [], []
    for i, label in enumerate(drawn.labels):
        fusion = Fusion(model, Form(widths=widths), labels=len(manifest.labels), temperature=manifest.temperature)
        smoother = Smoother(
            manifest.labels, abstain_below=manifest.abstain_below, switch_margin=manifest.switch_margin, settle_ms=manifest.settle_ms
        )
        said: dict[Modality, Embedding] = {}
        answers: list[str | None] = []
        for step in range(steps):
            t_ns = step * manifest.cadence_ms * 1_000_000
            for name in present:
                if step % every[name] == 0:
                    said[name] = Embedding(name, t_ns, forms[name][i, rng.integers(forms[name].shape[1])], 1.0)
            estimate = fusion.estimate(t_ns, said, {})
            assert estimate is not None  # something is always present
            answers.append(smoother.decide(estimate, {}).label)
        told = answers[settled:]
        flip, change = count_changes(told)
        flips.append(flip)
        changes.append(change)
        unsure.append(np.mean([answer is None for answer in told]))
        right += [answer == manifest.labels[label] for answer in told if answer is not None]
    minutes = (SECONDS - SETTLE_S) / 60
    return {
        "flips_per_minute": float(np.mean(flips) / minutes),
        "changes_per_minute": float(np.mean(changes) / minutes),
        "companions_that_flip": float(np.mean(np.array(flips) > 0)),
        "most_flips_per_minute": float(np.max(flips) / minutes),
        "unsure": float(np.mean(unsure)),
        "accuracy_when_sure": float(np.mean(right)) if right else None,
    }
