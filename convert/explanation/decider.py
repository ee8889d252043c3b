"""The fusion at one moment, asked again: with another embedding, or with less present, and everything else held."""

from __future__ import annotations

import collections.abc

import numpy as np

from convert.explanation.moment import Moment
from edge.errors import InferenceError
from edge.inference.fusion import softmax
from edge.types import MODALITIES, Modality

MEMORY = "memory"
"""The player that stands for the fusion's previous answer."""
_AGREES = 1e-5


class Decider:
    """Calibrated probabilities of one moment.

    Args:
        moment: with a fusion that was run.
        labels: of the bundle.
        temperature: of the bundle; divides the logits.

    Raises:
        InferenceError: the stage, asked again, does not answer what the decision says.
    """

    def __init__(self, moment: Moment, labels: collections.abc.Sequence[str], temperature: float):
        self.moment = moment
        self.labels = tuple(labels)
        self._temperature = temperature
        self._inputs = dict(moment.inputs)
        self.modalities: tuple[Modality, ...] = tuple(modality for modality in MODALITIES if modality in self._inputs)
        """Those that the fusion takes, in the order of its mask."""
        decision = moment.decision
        named = decision.label or max(decision.probabilities, key=lambda label: decision.probabilities[label])
        self.label = named
        """The label given out; the leading one where the decision is "unsure"."""
        self.at = self.labels.index(named)
        self.whole = self.probabilities(self._inputs)
        """float64 (labels,), with everything as it was."""
        told = np.array([decision.probabilities[label] for label in self.labels])
        if "logits" in moment.answer:
            told = softmax(moment.answer["logits"], temperature).astype(np.float64)
        if np.abs(told - self.whole).max() > _AGREES:
            raise InferenceError(f"explain: the fusion says {self.whole.round(4)} when asked again, and said {told.round(4)} at first")

    def probabilities(self, inputs: collections.abc.Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 (labels,), calibrated, of any inputs of the fusion stage."""
        return softmax(self.moment.fusion.run(**inputs)["logits"], self._temperature).astype(np.float64)

    def with_embedding(self, modality: Modality, vector: np.ndarray) -> np.ndarray:
        """float64 (labels,) as if the newest window of ``modality`` had been encoded to ``vector`` (width,).

        A fusion over several steps has it wherever it held the embedding that was replaced.
        """
        held = self._inputs[modality]
        if held.ndim == 1:
            return self.probabilities({**self._inputs, modality: vector})
        same = (held == self.moment.encoded[modality].embedding).all(axis=-1)
        same[-1] |= not same.any()
        return self.probabilities({**self._inputs, modality: np.where(same[:, None], vector, held)})

    @property
    def players(self) -> tuple[str, ...]:
        """What was there to decide from: the modalities that were present, and the memory of a fusion that has one."""
        present = [one for one in self.modalities if one in self.moment.decision.weights or self._inputs[one].any() or self._present(one)]
        return (*present, MEMORY) if "previous" in self._inputs else tuple(present)

    def _present(self, modality: Modality) -> bool:
        mask = self._inputs.get("mask")
        return mask is not None and bool(mask[..., self.modalities.index(modality)].any())

    def of_only(self, players: collections.abc.Collection[str]) -> np.ndarray:
        """float64 (labels,) with nothing but ``players``: the others are absent, as the device makes them absent.

        Without a modality the device decides nothing and runs no stage. Then the memory alone stands for what was given out the tick
        before, and nothing at all for equal chances.
        """
        inputs = dict(self._inputs)
        remembers = "previous" in inputs
        equal = np.full(len(self.labels), 1 / len(self.labels))
        if not any(modality in players for modality in self.modalities):
            if not (remembers and MEMORY in players):
                return equal
            return softmax(np.log(np.maximum(inputs["previous"], 1e-12)), self._temperature).astype(np.float64)
        for place, modality in enumerate(self.modalities):
            if modality in players:
                continue
            inputs[modality] = np.zeros_like(inputs[modality])
            if "mask" in inputs:
                inputs["mask"] = inputs["mask"].copy()
                inputs["mask"][..., place] = 0
        if remembers and MEMORY not in players:
            inputs["previous"] = equal.astype(np.float32)
        return self.probabilities(inputs)

    @property
    def step(self) -> float:
        """What one step of the int8 answer moves the probability of the label by: p (1 - p) scale / temperature; 0 for floats."""
        scale = self.moment.fusion.details().outputs["logits"].scale
        p = float(self.whole[self.at])
        return p * (1 - p) * scale / self._temperature
