"""Where decisions go. A sink is told how the run begins, then every decision in order, then that it is over."""

from __future__ import annotations

import dataclasses
import typing

from edge.types import Decision


@dataclasses.dataclass(frozen=True)
class Opening:
    """What is known before the first decision."""

    bundle: str
    """Name and version of the bundle."""
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    start_ns: int
    """Time 0 of the run, in the time base of the decisions."""
    cadence_ms: int
    budget_ms: int
    duration_ns: int | None
    """How long it will go on; None if until stopped."""
    fast: bool
    """True if time is virtual and runs as fast as the machine goes."""
    recording: str = ""
    """File that keeps pictures and sound of this run; none if empty."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long one decision took; measured, so no part of the decision."""

    latency_ns: int | None
    """From the capture of the newest sample used to the decision given out, the wait for the beat included; None with nothing
    present."""
    response_ns: int
    """The part of it that is ours: from the tick to the decision given out, or from the arrival of a chunk to the embedding made
    of it, whichever is longer. This is held against the budget."""
    compute_ns: int
    """Work since the tick before: fronts, encoders, fusion."""
    skipped: int
    """Ticks before this one that got no decision."""
    missed: bool
    """The response was over budget."""


class Sink(typing.Protocol):
    """A descendant must override all three; it may have ``note(event)`` too, which is told of every ``Event`` before the next decision.

    At real pace a sink has a thread of its own (``edge.outputs.outlet``).
    """

    def open(self, opening: Opening) -> None:
        """Begin. InputError if it cannot, for instance because its file exists."""
        ...

    def give(self, decision: Decision, timing: Timing) -> None:
        """Take one decision. OSError when the place it writes to fails: the sink is then closed and the run goes on."""
        ...

    def close(self) -> None:
        """End, and keep what was given so far; called once, also after a failure."""
        ...
