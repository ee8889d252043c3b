"""The heart of the runtime, free of threads and of real time: chunks go in, and at each tick a decision comes out."""

from __future__ import annotations

import collections.abc
import logging

from edge.clock import Clock
from edge.errors import InferenceError
from edge.inference.branch import Branch
from edge.inference.fusion import Fusion, NonFiniteError
from edge.inference.scheduler import Cost, Deadline
from edge.inference.smoothing import Smoother
from edge.types import MODALITIES, Absence, Chunk, Decision, Embedding, Modality, Track

log = logging.getLogger("affectkit")


class Cycle:
    """Branches, fusion and smoothing, in the order in which a decision is made.

    Args:
        branches: one a modality, in order of priority: what comes last is late first.
        fusion: makes an estimate of what is present.
        smoother: makes a decision of it.
        clock: measures what the fusion takes, in the time base of the deadlines.
    """

    def __init__(self, branches: collections.abc.Sequence[Branch], fusion: Fusion, smoother: Smoother, *, clock: Clock):
        self.branches = tuple(branches)
        self.fusion_faults = 0
        """Failures of the fusion stage, and answers that were NaN."""
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

    def begin(self, start_ns: int) -> None:
        """The run starts now."""
        for branch in self.branches:
            branch.begin(start_ns)

    def source_lost(self, track: Track, detail: str) -> None:
        """The source of ``track`` stopped, and why."""
        for branch in self._by_track.get(track, ()):
            branch.source_lost(track, detail)

    def take(self, chunks: collections.abc.Iterable[Chunk], now_ns: int, deadline: Deadline) -> None:
        """Push every chunk, then encode what is new, once for each modality however many chunks had piled up."""
        touched: set[Modality] = set()
        for chunk in chunks:
            for branch in self._by_track.get(chunk.track, ()):
                branch.push(chunk)
                touched.add(branch.modality)
        before_fusion = deadline.sooner_by(self._cost.expected_ns(self._clock.now_ns()))
        for branch in self.branches:
            if branch.modality in touched:
                branch.update(now_ns, before_fusion)

    def decide(self, tick_ns: int, deadline: Deadline) -> Decision:
        """The decision of the tick at ``tick_ns``; it always comes, whatever failed."""
        before_fusion = deadline.sooner_by(self._cost.expected_ns(self._clock.now_ns()))
        present: dict[Modality, Embedding] = {}
        absent = dict(self._never)
        for branch in self.branches:
            branch.update(tick_ns, before_fusion)
            said = branch.at(tick_ns)
            if isinstance(said, Embedding):
                present[branch.modality] = said
            else:
                absent[branch.modality] = said
        began_ns = self._clock.now_ns()
        try:
            estimate = self._fusion.estimate(tick_ns, present, absent)
        except (InferenceError, NonFiniteError) as error:
            detail = "the fusion gave NaN" if isinstance(error, NonFiniteError) else str(error)
            self.fusion_faults += 1
            if self.fusion_faults == 1:
                log.warning("%s; no decision until it answers again (later faults are only counted)", detail)
            return self._smoother.nothing(tick_ns, absent | {m: Absence(m, "noisy", detail) for m in present})
        if estimate is None:
            return self._smoother.nothing(tick_ns, absent)
        done_ns = self._clock.now_ns()
        self._cost.add(done_ns - began_ns, done_ns)
        return self._smoother.decide(estimate, max(embedding.end_ns for embedding in present.values()))

    def take_lag_ns(self) -> int:
        """Longest time from the arrival of a chunk to the embedding made of it, since this was last asked; 0 if none was made."""
        return max((branch.take_lag_ns() for branch in self.branches), default=0)

    def faults(self) -> dict[str, int]:
        """Failures and NaN answers, by modality and of the fusion."""
        return {branch.modality: branch.faults for branch in self.branches} | {"fusion": self.fusion_faults}
