"""The heart of the runtime, free of threads and of real time: chunks go in, and at each tick a decision comes out."""

from __future__ import annotations

import collections.abc
import concurrent.futures
import logging

from edge.clock import Clock
from edge.inference.branch import Branch, in_words
from edge.inference.fusion import Fusion, NonFiniteError
from edge.inference.ladder import Effort
from edge.inference.scheduler import MS, Cost, Deadline
from edge.inference.smoothing import Smoother
from edge.journal import LeftOut, Omit
from edge.types import MODALITIES, Absence, Chunk, Decision, Embedding, Modality, Track

log = logging.getLogger("affectkit")

_WORTH_NS = 1 * MS
"""What must be saved for branches to work at the same time: several times what handing work to a thread costs."""
_MEMORY = 1 / 40
"""Share of a new fusion weight in the running one: ten seconds at four decisions a second."""


class Cycle:
    """Branches, fusion and smoothing, in the order in which a decision is made.

    Args:
        branches: one a modality; the one with the most weight in the fusion goes first, so what says least is late first.
        fusion: makes an estimate of what is present.
        smoother: makes a decision of it.
        clock: measures what the fusion takes, in the time base of the deadlines.
        cores: branches that may work at the same time, where that saves more than it costs; interpreters hold no lock while they run.
    """

    def __init__(self, branches: collections.abc.Sequence[Branch], fusion: Fusion, smoother: Smoother, *, clock: Clock, cores: int = 1):
        self.branches = tuple(branches)
        self.fusion_faults = 0
        """Failures of the fusion stage, and answers that were NaN."""
        self.weights: dict[Modality, float] = {}
        """Running fusion weight of each modality that was ever present."""
        self.left_out: Omit = {}
        """What the last ``take`` or ``decide`` left out for want of time."""
        self._by_track: dict[Track, tuple[Branch, ...]] = {}
        for branch in self.branches:
            for track in branch.tracks:
                self._by_track[track] = (*self._by_track.get(track, ()), branch)
        unknown = set(MODALITIES) - {branch.modality for branch in self.branches}
        self._never: dict[Modality, Absence] = {m: Absence(m, "lost", "not in this bundle") for m in MODALITIES if m in unknown}
        self._fusion = fusion
        self._smoother = smoother
        self._clock = clock
        self._cost = Cost()
        self._cores = min(cores, len(self.branches))
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    def begin(self, start_ns: int, delivered: collections.abc.Collection[Track] | None = None) -> None:
        """The run starts now; ``delivered``: the tracks that have a source, all if None."""
        for branch in self.branches:
            branch.begin(start_ns, delivered)

    def set_effort(self, effort: Effort) -> None:
        """Do as much as ``effort`` says from now on."""
        for branch in self.branches:
            if branch.dropped and branch.modality not in effort.dropped:
                branch.forget_costs()
            branch.dropped = branch.modality in effort.dropped
            branch.variant = effort.variant
            if branch.modality == "face":
                branch.least_gap_ns = effort.face_gap_ms * MS
                branch.front.detect_stretch = effort.detect_stretch  # type: ignore[attr-defined]

    def source_lost(self, track: Track, detail: str) -> None:
        """The source of ``track`` stopped, and why."""
        for branch in self._by_track.get(track, ()):
            branch.source_lost(track, detail)

    def take(
        self,
        chunks: collections.abc.Iterable[Chunk],
        now_ns: int,
        deadline: Deadline,
        omit: Omit | None = None,
        *,
        arrived_ns: int | None = None,
    ) -> None:
        """Push every chunk, then encode what is new, once for each modality however many chunks had piled up.

        Args:
            chunks: in the order of their ends.
            now_ns: when they were taken.
            deadline: by when their embeddings must be there.
            omit: what to leave out, as in a run that is being repeated; judged by ``deadline`` if None.
            arrived_ns: when the first of them came from its source; its capture, if None.
        """
        touched: set[Modality] = set()
        for chunk in chunks:
            for branch in self._by_track.get(chunk.track, ()):
                branch.push(chunk, arrived_ns)
                touched.add(branch.modality)
        self._update([branch for branch in self._by_weight() if branch.modality in touched], now_ns, deadline, omit)
        if self._fusion.looks_back:
            for branch in self.branches:
                self._fusion.note(now_ns, branch.at(now_ns))

    def decide(self, tick_ns: int, deadline: Deadline, omit: Omit | None = None) -> Decision:
        """The decision of the tick at ``tick_ns``; it always comes, whatever failed. ``omit`` as in ``take``."""
        self._update(self._by_weight(), tick_ns, deadline, omit)
        present: dict[Modality, Embedding] = {}
        absent = dict(self._never)
        for branch in self.branches:
            said = branch.at(tick_ns)
            if isinstance(said, Embedding):
                present[branch.modality] = said
            else:
                absent[branch.modality] = said
        began_ns = self._clock.now_ns()
        try:
            estimate = self._fusion.estimate(tick_ns, present, absent)
        except Exception as error:  # which types an interpreter raises differs
            detail = "the fusion gave NaN" if isinstance(error, NonFiniteError) else in_words(error)
            self.fusion_faults += 1
            if self.fusion_faults == 1:
                log.warning("%s; no decision until it answers again (later faults are only counted)", detail)
            return self._smoother.nothing(tick_ns, absent | {m: Absence(m, "noisy", detail) for m in present})
        if estimate is None:
            return self._smoother.nothing(tick_ns, absent)
        done_ns = self._clock.now_ns()
        self._cost.add(done_ns - began_ns, done_ns)
        for modality, weight in estimate.weights.items():
            self.weights[modality] = weight + (self.weights.get(modality, weight) - weight) * (1 - _MEMORY)
        return self._smoother.decide(estimate, {modality: embedding.end_ns for modality, embedding in present.items()})

    def _by_weight(self) -> list[Branch]:
        return sorted(self.branches, key=lambda branch: -self.weights.get(branch.modality, 1.0))

    def _each(self, update: collections.abc.Callable[[Branch], LeftOut], branches: collections.abc.Sequence[Branch]) -> list[LeftOut]:
        """``update`` of each branch: at the same time if that saves more than ``_WORTH_NS``, else one after the other."""
        if self._cores > 1 and len(branches) > 1:
            now_ns = self._clock.now_ns()
            expected = [branch.expected_ns(now_ns) for branch in branches]
            if sum(expected) - max(expected) > _WORTH_NS:
                if self._pool is None:
                    self._pool = concurrent.futures.ThreadPoolExecutor(self._cores - 1, "branch")
                # The first has the most weight and goes at once, in this thread.
                try:
                    others = [self._pool.submit(update, branch) for branch in branches[1:]]
                except RuntimeError as error:  # no memory for one more thread
                    log.warning("%s; modalities are encoded one after the other from now on", error)
                    self._pool.shutdown(cancel_futures=True)
                    self._pool, self._cores = None, 1
                else:
                    return [update(branches[0]), *(other.result() for other in others)]
        return [update(branch) for branch in branches]

    def _update(self, branches: collections.abc.Sequence[Branch], now_ns: int, deadline: Deadline, omit: Omit | None) -> None:
        before_fusion = deadline.sooner_by(self._cost.expected_ns(self._clock.now_ns()))

        def update(branch: Branch) -> LeftOut:
            return branch.update(now_ns, before_fusion, None if omit is None else omit.get(branch.modality, ""))

        left_out: dict[Modality, LeftOut] = {}
        derived: list[Chunk] = []
        for branch, done in zip(branches, self._each(update, branches), strict=True):
            if done:
                left_out[branch.modality] = done
            derived += branch.take_derived()
        for chunk in derived:  # after all: who goes first must not matter
            for branch in self._by_track.get(chunk.track, ()):
                branch.push(chunk)
        self.left_out = left_out

    def take_lag_ns(self) -> int:
        """Longest time from the arrival of a chunk to the embedding made of it, since this was last asked; 0 if none was made."""
        return max((branch.take_lag_ns() for branch in self.branches), default=0)

    def faults(self) -> dict[str, int]:
        """Failures and NaN answers, by modality and of the fusion."""
        return {branch.modality: branch.faults for branch in self.branches} | {"fusion": self.fusion_faults}
