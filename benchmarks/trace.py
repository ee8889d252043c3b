"""What a run is watched with: models that note when they ran, models that are slower than they are, a sink that keeps everything."""

from __future__ import annotations

import array
import collections.abc
import dataclasses
import time
import typing
import zlib

import numpy as np

from edge.outputs import Opening, Timing
from edge.types import MODALITIES, Decision, Event

_BURNT = bytes(1 << 16)
"""Hashed again and again: that lets go of the GIL, as an interpreter does while it runs."""


class Runs(typing.Protocol):
    """A stage, as ``edge.inference.model.Model`` is one."""

    name: str

    def details(self) -> typing.Any: ...
    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]: ...


class Spans:
    """When which stage ran, in monotonic nanoseconds; two numbers an inference, so that a long run fits."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.stage, self.begin_ns, self.end_ns = array.array("b"), array.array("q"), array.array("q")

    def traced(self, model: Runs) -> Traced:
        """``model``, noting every run here."""
        self.names.append(model.name)
        return Traced(model, self, len(self.names) - 1)

    def between(self, begin_ns: int, end_ns: int) -> list[tuple[str, int, int]]:
        """(stage, begin, end) of what ran in that time."""
        rows = zip(self.stage, self.begin_ns, self.end_ns, strict=True)
        return [(self.names[stage], begin, end) for stage, begin, end in rows if end > begin_ns and begin < end_ns]

    def busy_s(self) -> dict[str, float]:
        """Time in each stage, s."""
        busy = dict.fromkeys(self.names, 0.0)
        for stage, begin, end in zip(self.stage, self.begin_ns, self.end_ns, strict=True):
            busy[self.names[stage]] += (end - begin) / 1e9
        return busy


class _Around:
    """A model in place of another: all but ``run`` is that one's own."""

    def __init__(self, model: Runs):
        self._model = model

    def __getattr__(self, name: str) -> typing.Any:
        if name == "_model":  # not yet there: a copy is being made
            raise AttributeError(name)
        return getattr(self._model, name)


class Traced(_Around):
    """A model that notes when it ran."""

    def __init__(self, model: Runs, spans: Spans, number: int):
        super().__init__(model)
        self._spans, self._number = spans, number

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        began_ns = time.monotonic_ns()
        outputs = self._model.run(**arrays)
        ended_ns = time.monotonic_ns()
        self._spans.stage.append(self._number)
        self._spans.begin_ns.append(began_ns)
        self._spans.end_ns.append(ended_ns)
        return outputs


class Slowness:
    """How much slower than the slow board all stages are now: ``factor`` for ``for_ns`` from the first run on, then 1."""

    def __init__(self, factor: float, for_ns: int, now_ns: collections.abc.Callable[[], int] = time.monotonic_ns):
        self._factor, self._for_ns, self.now_ns = factor, for_ns, now_ns
        self._began_ns: int | None = None

    def now(self) -> float:
        """The factor at this moment."""
        if self._began_ns is None:
            self._began_ns = self.now_ns()
        return self._factor if self.now_ns() - self._began_ns < self._for_ns else 1.0


class Slowed(_Around):
    """A model that has not answered before ``takes_ns`` times the slowness are over; it burns the time, without the GIL.

    Args:
        burn: spends a moment.
    """

    def __init__(
        self, model: Runs, takes_ns: float, slowness: Slowness, burn: collections.abc.Callable[[], object] = lambda: zlib.crc32(_BURNT)
    ):
        super().__init__(model)
        self._takes_ns, self._slowness, self._burn = takes_ns, slowness, burn

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        began_ns = self._slowness.now_ns()
        until_ns = began_ns + self._takes_ns * self._slowness.now()
        outputs = self._model.run(**arrays)
        while self._slowness.now_ns() < until_ns:
            self._burn()
        return outputs


@dataclasses.dataclass(frozen=True)
class Tick:
    """One decision, as it was given out."""

    number: int
    """Of the beat: 1 is the first after the start."""
    t_ns: int
    state: str
    label: str | None
    present: tuple[str, ...]
    latency_ms: float | None
    response_ms: float
    compute_ms: float
    skipped: int
    missed: bool
    ends_ns: tuple[tuple[str, int], ...]
    cpu_s: float
    """Of the process so far."""


class Collector:
    """A sink that keeps every tick and every event."""

    def __init__(self) -> None:
        self.opening: Opening | None = None
        self.ticks: list[Tick] = []
        self.events: list[Event] = []

    def open(self, opening: Opening) -> None:
        self.opening = opening

    def give(self, decision: Decision, timing: Timing) -> None:
        opening = self.opening
        assert opening is not None
        self.ticks.append(
            Tick(
                round((decision.t_ns - opening.start_ns) / (opening.cadence_ms * 1_000_000)),
                decision.t_ns,
                decision.state,
                decision.label,
                tuple(modality for modality in MODALITIES if modality not in decision.absent),
                None if timing.latency_ns is None else timing.latency_ns / 1e6,
                timing.response_ns / 1e6,
                timing.compute_ns / 1e6,
                timing.skipped,
                timing.missed,
                tuple(decision.ends_ns.items()),
                time.process_time(),
            )
        )

    def note(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def told(self) -> list[dict[str, typing.Any]]:
        """The events as JSON takes them, times from the start."""
        start_ns = self.opening.start_ns if self.opening else 0
        return [{"t_s": round((e.t_ns - start_ns) / 1e9, 3), "event": e.kind, "detail": e.detail} for e in self.events]
