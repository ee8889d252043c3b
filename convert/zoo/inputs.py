"""Inputs that look like the device's, made up: to calibrate and compare a network before there is data.

Every maker takes a shape and gives a function of (generator, count) -> float32 (count, *shape), in the range that preprocessing
keeps to. They exercise ranges and masks; what accuracy a network has is for real data to say.
"""

from __future__ import annotations

import collections.abc

import numpy as np

Maker = collections.abc.Callable[[np.random.Generator, int], np.ndarray]
Draw = collections.abc.Callable[[np.random.Generator, int], dict[str, np.ndarray]]

ABSENT_RATE = 0.25
STAYS = 0.9
"""How much of a value is left one step later: windows of embeddings and signals change slowly."""


def draw(**makers: Maker) -> Draw:
    """A function that draws every input; with an input ``mask``, what it calls absent is 0, as the device feeds it.

    ``mask`` (modalities,), or (steps, modalities) over windows (steps, width), goes by the order of the other inputs.
    """

    def samples(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        drawn = {name: make(rng, count) for name, make in makers.items()}
        if "mask" in drawn:
            mask = drawn["mask"]
            for i, name in zip(range(mask.shape[-1]), drawn, strict=False):
                present = mask[..., i]
                drawn[name] = drawn[name] * present.reshape(*present.shape, *(1,) * (drawn[name].ndim - present.ndim))
        return drawn

    return samples


def images(height: int, width: int, channels: int) -> Maker:
    """Pictures in [-1, 1]: blotches of two sizes and grain, under varied light and contrast."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        picture = 0.15 * rng.standard_normal((count, height, width, channels), np.float32)
        for block in (max(1, height // 3), max(1, height // 8)):
            coarse = rng.standard_normal((count, -(-height // block), -(-width // block), channels), np.float32)
            picture += 0.4 * coarse.repeat(block, axis=1).repeat(block, axis=2)[:, :height, :width]
        light, contrast = rng.normal(0, 0.3, (2, count, 1, 1, 1))
        return np.clip(picture * np.exp(contrast) + light, -1, 1).astype(np.float32)

    return make


def clips(frames: int, height: int, width: int, channels: int) -> Maker:
    """Frames (frames, height, width, channels) in [-1, 1]: one picture that turns into another."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        first, last = (images(height, width, channels)(rng, count)[:, None] for _ in range(2))
        share = np.linspace(0, 1, frames, dtype=np.float32).reshape(1, frames, 1, 1, 1)
        grain = 0.05 * rng.standard_normal((count, frames, height, width, channels), np.float32)
        return np.clip((1 - share) * first + share * last + grain, -1, 1)

    return make


def flattened(frames: Maker) -> Maker:
    """Each frame of a clip as one row: (frames, height * width * channels)."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        drawn = frames(rng, count)
        return drawn.reshape(*drawn.shape[:2], -1)

    return make


def log_mel(frames: int, mels: int) -> Maker:
    """Log-mel in [0, 1.25], 0 before the voice begins: syllables over a spectrum that falls, as ``edge.preprocess.speech`` gives."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        time, band = np.arange(frames), np.arange(mels)
        rate, phase, tilt, tone = rng.random((4, count, 1, 1))
        syllables = 0.5 + 0.5 * np.sin(2 * np.pi * (time[None, :, None] * (0.02 + 0.04 * rate) + phase))
        spectrum = 1 - (0.2 + 0.6 * tilt) * band / mels + 0.2 * np.sin(2 * np.pi * band * (0.05 + 0.2 * tone))
        level = syllables * spectrum + 0.1 * rng.standard_normal((count, frames, mels))
        begin = (rng.random((count, 1, 1)) * 0.5 * frames) * (rng.random((count, 1, 1)) < 0.3)
        return (np.clip(level, 0, 1.25) * (time[None, :, None] >= begin)).astype(np.float32)

    return make


def embeddings(width: int) -> Maker:
    """What a ReLU gives: half of it 0, the rest up to about 4; some samples are strong and some weak."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        return np.maximum(rng.standard_normal((count, width)) * np.exp(rng.normal(0, 0.3, (count, 1))), 0).astype(np.float32)

    return make


def embedding_windows(steps: int, width: int) -> Maker:
    """Windows (steps, width) of such embeddings, newest last."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        return np.maximum(_wander(rng, count, steps, width), 0).astype(np.float32)

    return make


def signals(steps: int, channels: int) -> Maker:
    """Standardized body signals (steps, channels) in [-3, 3] that wander."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        return np.clip(_wander(rng, count, steps, channels), -3, 3).astype(np.float32)

    return make


def counts(width: int) -> Maker:
    """Behaviour features in [0, 1]: rates of clicks, keys and pauses, mostly small."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        return np.clip(rng.gamma(1.0, 0.2, (count, width)), 0, 1).astype(np.float32)

    return make


def masks(modalities: int) -> Maker:
    """1 present, 0 absent; at least one is present, for with none the stage is not run."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        mask = (rng.random((count, modalities)) >= ABSENT_RATE).astype(np.float32)
        mask[np.arange(count), rng.integers(0, modalities, count)] = 1
        return mask

    return make


def mask_windows(steps: int, modalities: int) -> Maker:
    """Masks (steps, modalities), newest last: absence comes in bursts, and at least one is present at the newest step."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        drawn = np.stack([masks(modalities)(rng, count) for _ in range(steps)], axis=1)
        for step in range(steps - 2, -1, -1):
            stays = rng.random((count, 1)) < STAYS
            drawn[:, step] = np.where(stays, drawn[:, step + 1], drawn[:, step])
        return drawn

    return make


def predictions(classes: int) -> Maker:
    """Previous soft predictions (classes,) that sum to 1: sure, unsure, and uniform as at the start."""

    def make(rng: np.random.Generator, count: int) -> np.ndarray:
        drawn = rng.dirichlet(np.full(classes, 0.5), count)
        drawn[rng.random(count) < 0.1] = 1 / classes
        return drawn.astype(np.float32)

    return make


def _wander(rng: np.random.Generator, count: int, steps: int, width: int) -> np.ndarray:
    """Standard normal at every step (count, steps, width), correlated by ``STAYS`` from step to step."""
    walk = rng.standard_normal((count, steps, width))
    for step in range(1, steps):
        walk[:, step] = STAYS * walk[:, step - 1] + np.sqrt(1 - STAYS**2) * walk[:, step]
    return walk
