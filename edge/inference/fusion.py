"""From the embeddings that are present to one estimate: windows, mask, feedback, calibration. ``Embedding`` -> ``Estimate``."""

from __future__ import annotations

import collections.abc
import typing

import numpy as np

from edge.inference.form import Form
from edge.inference.windows import Windows
from edge.types import Absence, Embedding, Estimate, Modality


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
    """The fusion stage with its memory: the previous soft prediction goes back in, as in Edu-EmotionNet's feedback loop, and the
    embeddings of earlier steps, where the stage looks back.

    The memory starts empty, the previous prediction uniform, and it is so again after a gap of everything, for what somebody felt
    before a break says nothing about now.

    Args:
        stage: takes and gives what ``form`` says.
        form: from ``read_form``.
        labels: number of labels.
        temperature: divides the logits of what is given out; the memory keeps the uncalibrated softmax, as in training.
        max_age_ns: of each modality, age at which an embedding is stale; of use to a stage that looks back.
        forget_after_ns: gap between two estimates after which the memory is reset.
    """

    def __init__(
        self,
        stage: Stage,
        form: Form,
        *,
        labels: int,
        temperature: float,
        max_age_ns: collections.abc.Mapping[Modality, int] | None = None,
        forget_after_ns: int = 2_000_000_000,
    ):
        self._stage, self._form = stage, form
        shapes = {m: (form.steps, width) if m in form.windowed else (width,) for m, width in form.widths.items()}
        self._zeros = {modality: np.zeros(shape, np.float32) for modality, shape in shapes.items()}
        self._uniform = np.full(labels, 1 / labels, np.float32)
        self._temperature = temperature
        self._forget_after_ns = forget_after_ns
        self._previous = self._uniform
        self._last_ns: int | None = None
        self._windows: Windows | None = None
        if form.looks_back:
            self._windows = Windows(form.widths, steps=form.steps, step_ns=form.step_ns, max_age_ns=max_age_ns or {})

    @property
    def looks_back(self) -> bool:
        """Whether ``note`` must be told what modalities say between two estimates."""
        return self._windows is not None

    def note(self, t_ns: int, said: Embedding | Absence) -> None:
        """What one modality says at ``t_ns``, between two estimates."""
        if self._windows is not None and said.modality in self._zeros:
            self._windows.note(t_ns, said.modality, said if isinstance(said, Embedding) else None)

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
        gap = self._last_ns is None or t_ns - self._last_ns > self._forget_after_ns
        if self._windows is not None:
            if gap and self._last_ns is not None:
                self._windows.forget(self._last_ns)
            for modality in self._zeros:
                self._windows.note(t_ns, modality, present.get(modality))
        if not present:
            return None
        if gap:
            self._previous = self._uniform
        self._last_ns = t_ns
        mask = np.array([modality in present for modality in self._zeros], np.float32)
        answer = self._stage.run(**self._arrays(t_ns, present, mask))
        logits = answer["logits"]
        weights = answer["weights"] if self._form.weights else mask
        if not (np.isfinite(logits).all() and np.isfinite(weights).all()):
            self._previous = self._uniform
            if self._windows is not None:
                self._windows.forget()
            raise NonFiniteError("fusion")
        self._previous = softmax(logits)
        return Estimate(t_ns, softmax(logits, self._temperature), self._shares(weights * mask, mask), absent)

    def _arrays(self, t_ns: int, present: collections.abc.Mapping[Modality, Embedding], mask: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of the stage."""
        form = self._form
        arrays: dict[str, np.ndarray] = {m: present[m].vector if m in present else zeros for m, zeros in self._zeros.items()}
        if self._windows is not None:
            here = np.zeros((form.steps, len(mask)), np.float32)
            for i, modality in enumerate(form.widths):
                window, here[:, i] = self._windows.at(t_ns, modality)
                # A mask that speaks of now calls the whole window absent.
                if modality in form.windowed:
                    arrays[modality] = window if modality in present or form.mask != "now" else self._zeros[modality]
            if form.mask == "steps":
                mask = here
        if form.mask != "none":
            arrays["mask"] = mask
        if form.previous:
            arrays["previous"] = self._previous
        return arrays

    def _shares(self, weights: np.ndarray, mask: np.ndarray) -> dict[Modality, float]:
        """Weights of the modalities present, scaled to sum to 1; equal shares should int8 have rounded all of them to 0."""
        total = float(weights.sum())
        shares = weights / total if total > 0 else mask / mask.sum()
        return {modality: float(shares[i]) for i, modality in enumerate(self._zeros) if mask[i]}
