"""What there is time for: ``Budget`` and ``Deadline`` are limits, ``Cost`` is what a stage has taken so far, ``Ticks`` is the beat."""

from __future__ import annotations

import dataclasses
import math

from edge.errors import ConfigError

MS = 1_000_000
"""Nanoseconds in a millisecond."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """A decision every ``cadence_ms``, given out at most ``budget_ms`` after its tick.

    Raises:
        ConfigError: a limit is not positive, or the budget is longer than the cadence.
    """

    cadence_ms: int = 250
    """Time between two decisions."""
    budget_ms: int = 200
    """Time from a tick until its decision must be out."""

    def __post_init__(self) -> None:
        if not 0 < self.budget_ms <= self.cadence_ms:
            raise ConfigError(
                f"budget: got budget_ms {self.budget_ms} and cadence_ms {self.cadence_ms}; a budget is above 0 and at most the cadence"
            )

    @property
    def cadence_ns(self) -> int:
        return self.cadence_ms * MS

    @property
    def budget_ns(self) -> int:
        return self.budget_ms * MS

    def deadline(self, tick_ns: int) -> Deadline:
        """When the decision of the tick at ``tick_ns`` must be out."""
        return Deadline(tick_ns + self.budget_ns)


@dataclasses.dataclass(frozen=True)
class Deadline:
    """A point in time by which work must be done; ``Deadline(None)`` never comes."""

    at_ns: int | None

    def remaining_ns(self, now_ns: int) -> float:
        """Time left at ``now_ns``; negative once it has passed, infinite if it never comes."""
        return math.inf if self.at_ns is None else self.at_ns - now_ns

    def fits(self, cost_ns: float, now_ns: int) -> bool:
        """Whether work of ``cost_ns`` begun at ``now_ns`` is done in time."""
        return cost_ns <= self.remaining_ns(now_ns)

    def sooner_by(self, reserve_ns: float) -> Deadline:
        """What must be done by then if ``reserve_ns`` of work come after it."""
        return self if self.at_ns is None else Deadline(self.at_ns - round(reserve_ns))


NEVER = Deadline(None)
"""For replay as fast as the machine goes, where virtual time makes nothing late."""


HALF_LIFE_NS = 30_000 * MS
"""Time in which an estimate that nothing confirms loses half of its weight."""


MOST_GROWTH, LEAST_OUTLIER_NS = 4.0, 10 * MS
"""One run counts as at most four times what was expected, or 10 ms: the process may have been stopped in the middle of it. What is a
hundred times slower from now on is still known as that after six runs."""


class Cost:
    """Running estimate of what a piece of work takes: smoothed mean plus twice the smoothed deviation, in ns.

    The estimator of a round-trip time in TCP (Jacobson 1988, gains 1/8 and 1/4): follows a change of load within about ten
    samples and does not take one outlier for the rule. Work that is left out is never measured, so an estimate fades with the time
    since its last measurement: what was too slow is tried again, later the slower it was.
    """

    def __init__(self, prior_ns: float = 0.0):
        self._mean_ns = prior_ns
        self._deviation_ns = 0.0
        self._measured = False
        self._since_ns: int | None = None

    def expected_ns(self, now_ns: int) -> float:
        """What it will take if begun at ``now_ns``."""
        if self._since_ns is None:
            self._since_ns = now_ns
        return (self._mean_ns + 2 * self._deviation_ns) * 0.5 ** ((now_ns - self._since_ns) / HALF_LIFE_NS)

    def add(self, taken_ns: float, now_ns: int) -> None:
        """Learn from a run that ended at ``now_ns``; the first replaces the prior, if there was one within the same limits."""
        self._since_ns = now_ns
        if not self._measured:
            if self._mean_ns:
                taken_ns = min(taken_ns, max(MOST_GROWTH * self._mean_ns, LEAST_OUTLIER_NS))
            self._mean_ns, self._deviation_ns, self._measured = taken_ns, taken_ns / 4, True
            return
        most_ns = max(MOST_GROWTH * (self._mean_ns + 2 * self._deviation_ns), LEAST_OUTLIER_NS)
        error = min(taken_ns, most_ns) - self._mean_ns
        self._mean_ns += error / 8
        self._deviation_ns += (abs(error) - self._deviation_ns) / 4


class Ticks:
    """The beat of decisions: tick k is at ``start_ns + k * cadence_ns``, k = 1, 2, ..., whatever happened in between."""

    def __init__(self, start_ns: int, cadence_ns: int):
        self._start_ns = start_ns
        self._cadence_ns = cadence_ns
        self._next = 1

    @property
    def next_ns(self) -> int:
        return self._start_ns + self._next * self._cadence_ns

    def begin_after(self, now_ns: int) -> None:
        """Leave out what was due up to ``now_ns``, uncounted: the run was not yet under way."""
        self._next = max(self._next, (now_ns - self._start_ns) // self._cadence_ns + 1)

    def take(self) -> int:
        """The next tick, in ns."""
        tick_ns = self.next_ns
        self._next += 1
        return tick_ns

    def coming_ns(self, now_ns: int) -> int:
        """The tick that ``take_latest`` would give at ``now_ns``, or the next one if none is due."""
        return self._start_ns + self._latest(now_ns) * self._cadence_ns

    def take_latest(self, now_ns: int) -> tuple[int, int]:
        """The newest tick that is due at ``now_ns`` and how many before it were slept through: (ns, count).

        A decision for a moment long past helps nobody, so after a hold-up the beat goes on from now; what was skipped is counted.
        """
        latest = self._latest(now_ns)
        skipped, self._next = latest - self._next, latest
        return self.take(), skipped

    def _latest(self, now_ns: int) -> int:
        return max(self._next, (now_ns - self._start_ns) // self._cadence_ns)
