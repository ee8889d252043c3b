"""From the embeddings that are present to one estimate: mask, temporal feedback, calibration. ``Embedding`` -> ``Estimate``."""

from __future__ import annotations

import collections.abc
import typing

import numpy as np

from edge.types import MODALITIES, Absence, Embedding, Estimate, Modality


class Stage(typing.Protocol):
    """One model of a bundle: named float32 arrays in, named float32 arrays out, neither with a batch axis."""

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]: ...


class NonFiniteError(ArithmeticError):
    """A stage answered with NaN or infinity."""


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """exp(z / T) / sum exp(z / T) along the last axis, float32 of the shape of ``logits``; T is the calibration temperature
    (Guo et al., 2017, equation 9)."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


class Fusion:
    """The fusion stage with its memory: the previous soft prediction goes back in, as in Edu-EmotionNet's feedback loop.

    The memory starts uniform and is uniform again after a gap of everything, for what somebody felt before a break says nothing
    about now.

    Args:
        stage: takes one array a modality, ``mask`` (modalities,) of 0 or 1, ``previous`` (labels,); gives ``logits`` (labels,) and
            ``weights`` (modalities,).
        widths: length of each modality's embedding.
        labels: number of labels.
        temperature: divides the logits of what is given out; the memory keeps the uncalibrated softmax, as in training.
        forget_after_ns: gap between two estimates after which the memory is reset.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        widths: collections.abc.Mapping[Modality, int],
        labels: int,
        temperature: float,
        forget_after_ns: int = 2_000_000_000,
    ):
        self._stage = stage
        self._zeros = {modality: np.zeros(widths[modality], np.float32) for modality in MODALITIES}
        self._uniform = np.full(labels, 1 / labels, np.float32)
        self._temperature = temperature
        self._forget_after_ns = forget_after_ns
        self._previous = self._uniform
        self._last_ns: int | None = None

    def estimate(
        self,
        t_ns: int,
        present: collections.abc.Mapping[Modality, Embedding],
        absent: collections.abc.Mapping[Modality, Absence],
    ) -> Estimate | None:
        """What the modalities present say at ``t_ns``; None with none present, and the stage is not run.

        Raises:
            NonFiniteError: the stage's answer is not finite; the memory is reset, so that it cannot stay poisoned.
        """
        if not present:
            return None
        if self._last_ns is None or t_ns - self._last_ns > self._forget_after_ns:
            self._previous = self._uniform
        self._last_ns = t_ns
        mask = np.array([modality in present for modality in MODALITIES], np.float32)
        vectors: dict[str, np.ndarray] = {m: present[m].vector if m in present else self._zeros[m] for m in MODALITIES}
        answer = self._stage.run(**vectors, mask=mask, previous=self._previous)
        logits, weights = answer["logits"], answer["weights"]
        if not (np.isfinite(logits).all() and np.isfinite(weights).all()):
            self._previous = self._uniform
            raise NonFiniteError("fusion")
        self._previous = softmax(logits)
        return Estimate(t_ns, softmax(logits, self._temperature), _shares(weights * mask, mask), absent)


def _shares(weights: np.ndarray, mask: np.ndarray) -> dict[Modality, float]:
    """Weights of the modalities present, scaled to sum to 1; equal shares should int8 have rounded all of them to 0."""
    total = float(weights.sum())
    shares = weights / total if total > 0 else mask / mask.sum()
    return {modality: float(shares[i]) for i, modality in enumerate(MODALITIES) if mask[i]}
