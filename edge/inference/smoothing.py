"""From an estimate to what is given out: abstention and hysteresis. ``Estimate`` -> ``Decision``."""

from __future__ import annotations

import collections.abc
import math
import typing

from edge.types import Absence, Decision, Estimate, Modality


class Smoother:
    """Averages estimates over ``settle_ms``; holds a label until another leads by ``switch_margin``; "unsure" below ``abstain_below``.

    The average is exponential in time: p += (1 - exp(-dt / settle_ms)) (estimate - p). Unlike feedback into the fusion it steadies the
    answer without making it surer. It begins anew where there was no estimate.

    Args:
        labels: the bundle's labels, in the order of the probabilities.
        abstain_below: least calibrated probability, in [0, 1], with which a label is given out.
        switch_margin: lead in probability, in [0, 1], that a new label needs over the one held.
        settle_ms: time constant of the average; 0 takes every estimate as it is.
    """

    def __init__(self, labels: collections.abc.Sequence[str], *, abstain_below: float, switch_margin: float, settle_ms: float = 0.0):
        self._labels = tuple(labels)
        self._abstain_below = abstain_below
        self._switch_margin = switch_margin
        self._settle_ns = settle_ms * 1e6
        self._held: int | None = None
        self._mean: list[float] | None = None
        self._last_ns = 0

    def nothing(self, t_ns: int, absent: collections.abc.Mapping[Modality, Absence]) -> Decision:
        """The decision of a tick with no estimate: there is none, and what came before is forgotten."""
        self._held = self._mean = None
        return Decision(t_ns, None, "no decision", 0.0, {}, {}, absent, {})

    def decide(self, estimate: Estimate, ends_ns: collections.abc.Mapping[Modality, int]) -> Decision:
        """The decision for ``estimate``; ``ends_ns`` are the capture times of the newest samples behind it, by modality.

        ``confidence`` is the probability of the label given out, or of the leading one when it abstains.
        """
        probabilities = self._settled(estimate)
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

    def _settled(self, estimate: Estimate) -> list[float]:
        newest = [float(p) for p in estimate.probabilities]
        if self._settle_ns <= 0.0:
            return newest
        if self._mean is not None:
            gain = 1.0 - math.exp(-(estimate.t_ns - self._last_ns) / self._settle_ns)
            newest = [before + gain * (now - before) for before, now in zip(self._mean, newest, strict=True)]
        self._mean, self._last_ns = newest, estimate.t_ns
        return newest
