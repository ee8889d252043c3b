"""From an estimate to what is given out: abstention and hysteresis. ``Estimate`` -> ``Decision``."""

from __future__ import annotations

import collections.abc
import typing

from edge.types import Absence, Decision, Estimate, Modality


class Smoother:
    """Holds a label until another leads it by ``switch_margin``; says "unsure" below ``abstain_below``.

    Smoothing in time is the fusion's (its previous answer is one of its inputs); here only the label is kept from flickering.

    Args:
        labels: the bundle's labels, in the order of the probabilities.
        abstain_below: least calibrated probability, in [0, 1], with which a label is given out.
        switch_margin: lead in probability, in [0, 1], that a new label needs over the one held.
    """

    def __init__(self, labels: collections.abc.Sequence[str], *, abstain_below: float, switch_margin: float):
        self._labels = tuple(labels)
        self._abstain_below = abstain_below
        self._switch_margin = switch_margin
        self._held: int | None = None

    def nothing(self, t_ns: int, absent: collections.abc.Mapping[Modality, Absence]) -> Decision:
        """The decision of a tick with no estimate: there is none, and the label held is forgotten."""
        self._held = None
        return Decision(t_ns, None, "no decision", 0.0, {}, {}, absent, {})

    def decide(self, estimate: Estimate, ends_ns: collections.abc.Mapping[Modality, int]) -> Decision:
        """The decision for ``estimate``; ``ends_ns`` are the capture times of the newest samples behind it, by modality.

        ``confidence`` is the probability of the label given out, or of the leading one when it abstains.
        """
        probabilities = [float(p) for p in estimate.probabilities]
        chosen = leading = max(range(len(probabilities)), key=probabilities.__getitem__)
        if self._held is not None and probabilities[leading] - probabilities[self._held] < self._switch_margin:
            # A label that has sunk below the threshold is not worth holding on to when the leading one is above it.
            chosen = self._held if probabilities[self._held] >= self._abstain_below else leading
        state: typing.Literal["decided", "unsure"] = "decided" if probabilities[chosen] >= self._abstain_below else "unsure"
        if state == "decided":
            self._held = chosen
        else:
            chosen = leading
        return Decision(
            t_ns=estimate.t_ns,
            label=self._labels[chosen] if state == "decided" else None,
            state=state,
            confidence=probabilities[chosen],
            probabilities=dict(zip(self._labels, probabilities, strict=True)),
            weights=estimate.weights,
            absent=estimate.absent,
            ends_ns=ends_ns,
        )
