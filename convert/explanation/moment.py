"""A recorded session, decided again as the device would, with one moment of it kept: what went into every stage then."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import typing

import numpy as np

from edge.bundle import Bundle
from edge.clock import ManualClock
from edge.compose import Stages, compose_cycle, load_stages
from edge.config import Settings
from edge.errors import BundleError, InputError
from edge.inference.cycle import Cycle
from edge.inference.ladder import Effort
from edge.inference.model import Model
from edge.inference.scheduler import MS, NEVER, Ticks
from edge.journal import Begun, Decided, Lost, Took
from edge.sensors.replay import Replay, merged
from edge.session import Session
from edge.types import MODALITIES, Decision, Modality


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """The newest embedding of a modality, and what it was made of."""

    model: Model
    input_name: str
    window: np.ndarray
    """float32 as the stage takes it, without the batch axis."""
    embedding: np.ndarray
    """float32 (width,)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Moment:
    """One decision and all that it was made of."""

    t_ns: int
    """From the start of the run."""
    decision: Decision
    fusion: Model
    inputs: collections.abc.Mapping[str, np.ndarray]
    """Of the fusion stage, by public name; empty where nothing was present and the stage was not run."""
    encoded: collections.abc.Mapping[Modality, Encoded]
    """Of the modalities present."""
    answer: collections.abc.Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """What the fusion stage said then; the decision may be an average over answers before it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Told:
    """A session, decided."""

    decisions: tuple[Decision, ...]
    times_ns: tuple[int, ...]
    """Of the decisions, from the start of the run."""
    moment: Moment
    why: str
    """Why this moment was taken, in words."""


class _Watched:
    """A stage that keeps what it was last given and answered; otherwise the stage itself."""

    def __init__(self, model: Model):
        self.model = model
        self.runs = 0
        self.given: dict[str, np.ndarray] = {}
        self.answer: dict[str, np.ndarray] = {}

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        answer = self.model.run(**arrays)
        if all(np.isfinite(array).all() for array in answer.values()):  # what is not finite makes no embedding
            # Copied, for fronts may use their arrays again.
            self.given, self.answer = {name: np.array(array) for name, array in arrays.items()}, answer
            self.runs += 1
        return answer

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(self.model, name)


class _Watch:
    """All stages of a bundle but its detector, watched."""

    def __init__(self, stages: Stages):
        self._watched = {name: _Watched(model) for name, model in stages.models.items() if name != "detector"}
        self.stages = Stages(typing.cast(collections.abc.Mapping[str, Model], {**stages.models, **self._watched}))
        self._inputs = {name: next(iter(stages.models[name].details().inputs)) for name in self._watched}
        self._newest: dict[Modality, Encoded] = {}
        self._seen: dict[str, int] = {}

    def look(self) -> None:
        """Take note of the encoders that ran since the last look; called before each decision is believed."""
        for name, stage in self._watched.items():
            modality = name.partition("@")[0]
            if modality in MODALITIES and stage.runs > self._seen.get(name, 0):
                self._seen[name] = stage.runs
                input_name = self._inputs[name]
                self._newest[modality] = Encoded(stage.model, input_name, stage.given[input_name], stage.answer["embedding"])

    def fused(self) -> int:
        """How often the fusion stage was run."""
        return self._watched["fusion"].runs

    def moment(self, t_ns: int, decision: Decision, *, fused: bool) -> Moment:
        """What there is now; ``fused`` says whether the fusion stage ran for this decision."""
        fusion = self._watched["fusion"]
        encoded = {modality: self._newest[modality] for modality in MODALITIES if modality in decision.weights and modality in self._newest}
        return Moment(t_ns, decision, fusion.model, dict(fusion.given) if fused else {}, encoded, dict(fusion.answer) if fused else {})


class Choice:
    """Keeps the moment that is wanted, as decisions come by: an hour of windows would not fit into memory.

    Without a time that is the change of label with the most modalities present and, of these, the most confident one; in a session
    without a change, the decision nearest its middle.
    """

    CHANGE = "of the changes of label with the most modalities present, the most confident one"
    MIDDLE = "the label never changes; this is the decision nearest to the middle of the session"

    def __init__(self, at_ns: int | None, middle_ns: int):
        self._at_ns, self._middle_ns = at_ns, middle_ns
        self._label: str | None = None
        self._best: tuple[float, ...] | None = None
        self._changes = False
        self.moment: Moment | None = None

    def see(self, t_ns: int, decision: Decision, take: collections.abc.Callable[[], Moment]) -> None:
        changed = decision.label is not None and self._label is not None and decision.label != self._label
        self._label = decision.label or self._label
        if self._at_ns is not None:
            rank: tuple[float, ...] = (-abs(t_ns - self._at_ns),)
        elif changed:
            rank = (2, len(decision.weights), decision.confidence)
        else:
            rank = (1 if decision.weights else 0, -abs(t_ns - self._middle_ns), 0)
        if self._best is None or rank > self._best:
            self._best, self.moment = rank, take()
            self._changes = changed

    @property
    def why(self) -> str:
        """Why ``moment`` was chosen, in words."""
        if self._at_ns is not None:
            return f"the one nearest to {self._at_ns / 1e9:g} s, as asked for"
        return self.CHANGE if self._changes else self.MIDDLE


def decide_again(bundle: Bundle, session: Session, *, at_s: float | None = None) -> Told:
    """Decide a whole session as ``affectkit run --fast --source replay:FILE`` does, and keep one moment.

    Args:
        bundle: from ``load_bundle``.
        session: from ``open_session``; one with a journal is decided as its journal says.
        at_s: the decision nearest to this time, in seconds from the start; None lets ``Choice`` choose.

    Raises:
        BundleError: the bundle has no fusion, or parameters that this version does not know.
        InputError: ``at_s`` is not within the session, or the session has no decision at all.
        SessionError: the session is damaged.
        InferenceError: no interpreter works here, or a stage cannot be run.
    """
    settings = Settings()
    if at_s is not None and not 0 <= at_s * 1e9 <= session.duration_ns:
        raise InputError(f"explain: --at {at_s:g} is outside {session.path.name}, which lasts {session.duration_ns / 1e9:g} s")
    if "fusion" not in bundle.manifest.stages:
        raise BundleError(f"{bundle.path}: no stage fusion, so it decides nothing; it has {', '.join(bundle.manifest.stages)}")
    watch = _Watch(load_stages(bundle, settings))
    cycle = compose_cycle(bundle, settings, ManualClock(), watch.stages)
    choice = Choice(None if at_s is None else round(at_s * 1e9), session.duration_ns // 2)
    decisions, times_ns, fused = [], [], 0
    for t_ns, decision in _decisions(cycle, session, bundle.manifest.cadence_ms):
        watch.look()
        ran, fused = watch.fused() > fused, watch.fused()
        choice.see(t_ns, decision, functools.partial(watch.moment, t_ns, decision, fused=ran))
        decisions.append(decision)
        times_ns.append(t_ns)
    if choice.moment is None:
        raise InputError(f"{session.path.name}: too short for a single decision; there is one every {bundle.manifest.cadence_ms} ms")
    return Told(tuple(decisions), tuple(times_ns), choice.moment, choice.why)


def _decisions(cycle: Cycle, session: Session, cadence_ms: int) -> collections.abc.Iterator[tuple[int, Decision]]:
    """Every decision and its time from the start, in the order that ``edge.runtime.Runtime`` has in virtual time."""
    if session.journal is not None:
        yield from _as_it_was(cycle, session, session.journal.start_ns)
        return
    ticks, end_ns = Ticks(0, cadence_ms * MS), session.duration_ns
    cycle.begin(0, Replay(session, ManualClock()).tracks)
    for chunk in merged(session):
        while ticks.next_ns < chunk.end_ns and ticks.next_ns <= end_ns:
            tick_ns = ticks.take()
            yield tick_ns, cycle.decide(tick_ns, NEVER)
        if chunk.end_ns > end_ns:
            break
        cycle.take((chunk,), chunk.end_ns, NEVER)
    while ticks.next_ns <= end_ns:
        tick_ns = ticks.take()
        yield tick_ns, cycle.decide(tick_ns, NEVER)


def _as_it_was(cycle: Cycle, session: Session, start_ns: int) -> collections.abc.Iterator[tuple[int, Decision]]:
    """Do what the journal says, in its order and at its times."""
    cycle.begin(start_ns, Replay(session, ManualClock()).tracks)
    for entry in session.entries():
        if isinstance(entry, Took):
            chunks = [dataclasses.replace(chunk, t_ns=chunk.t_ns + start_ns) for chunk in entry.chunks]
            cycle.take(chunks, start_ns + entry.now_ns, NEVER, entry.omit)
        elif isinstance(entry, Decided):
            yield entry.tick_ns, cycle.decide(start_ns + entry.tick_ns, NEVER, entry.omit)
        elif isinstance(entry, Lost):
            cycle.source_lost(entry.track, entry.detail)
        elif isinstance(entry, Begun):
            cycle.begin(start_ns, entry.tracks)
        else:
            cycle.set_effort(Effort(**entry.effort))
