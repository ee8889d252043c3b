"""Several sources of one heart -> one pulse: the best that delivers, changed with hysteresis, never mixed.

Each source keeps a tracker of its own, so no interval begins in one and ends in another.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import math

from edge.preprocess.beats import IntervalTracker, PulseParameters, PulseSecond
from edge.preprocess.ppg import PulseTracker
from edge.types import Chunk, Track

PRIORITY: tuple[Track, ...] = ("ppg", "ibi", "rppg")
"""Best first: a wave at the skin, what a strap made of one, and a wave from the face."""
LAG_S: dict[Track, int] = {"ppg": 0, "ibi": 3, "rppg": 2}
"""A second of the source stands for the second so much later: intervals are known when they end, up to 1.6 s later, and
wait a second or more for the radio, and the pulse of a face when the last window over it is full. Waiting for them would make every
window stale."""


class _Source:
    """One track: its tracker, the seconds that wait for their step, and how it has been."""

    def __init__(self, track: Track, parameters: PulseParameters):
        self.track, self.lag_s = track, LAG_S[track]
        self.tracker = IntervalTracker(parameters) if track == "ibi" else PulseTracker(parameters)
        self.at: dict[int, PulseSecond] = {}
        self.newest: tuple[int, float] | None = None
        self.good_s = self.bad_s = self.silent_s = 0
        """Seconds in a row up to now."""

    def push(self, chunk: Chunk) -> None:
        self.tracker.push(chunk.t_ns, chunk.rate_hz, chunk.samples)
        self.newest = (chunk.end_ns, len(chunk.samples) / chunk.rate_hz)
        while self.tracker.seconds:
            second = self.tracker.seconds.popleft()
            if self.track == "rppg":  # beats in a face are timed to some 30 ms: no variability can be told from that
                second = dataclasses.replace(second, rmssd_ms=math.nan)
            self.at[second.t_s + self.lag_s] = second

    def delivers(self, now_ns: int, late_s: float) -> bool:
        if self.newest is None:
            return False
        end_ns, length_s = self.newest
        return now_ns - end_ns <= (length_s + late_s + self.lag_s) * 1e9

    def take(self, t_s: int, good_pulse: float) -> PulseSecond | None:
        second = self.at.pop(t_s, None)
        good = second is not None and second.quality >= good_pulse
        self.good_s = self.good_s + 1 if good else 0
        self.bad_s = 0 if good else self.bad_s + 1
        self.silent_s = self.silent_s + 1 if second is None else 0
        return second


class PulseSources:
    """Tracks ppg, ibi and rppg -> one ``PulseSecond`` for each second, and the track that it is from.

    Args:
        parameters: of the trackers.
        good_pulse: lowest quality of a pulse that counts as good.
        late_s: a chunk is missing when it is so much later than its own length and the lag of its source.
        leave_after_s: the present source is left after so many seconds silent or bad, if another is good, or, when it is
            silent, says anything.
        return_after_s: one that comes before the present source is taken after so many good seconds.
    """

    def __init__(self, parameters: PulseParameters, *, good_pulse: float, late_s: float, leave_after_s: int, return_after_s: int):
        self.source: Track | None = None
        """Where the pulse is taken from now; None before any has said something."""
        self._sources = {track: _Source(track, parameters) for track in PRIORITY}
        self._good_pulse, self._late_s = good_pulse, late_s
        self._leave_after_s, self._return_after_s = leave_after_s, return_after_s

    @property
    def longest_s(self) -> float:
        """Length of the newest chunk of a source without lag, in seconds; 0 without one."""
        return max((source.newest[1] for source in self._sources.values() if source.newest and not source.lag_s), default=0.0)

    def push(self, chunk: Chunk) -> None:
        """Take a chunk of one of ``PRIORITY``. Raises InputError: a rate that the tracker does not take."""
        self._sources[chunk.track].push(chunk)

    def delivering(self, now_ns: int) -> bool:
        """Whether any source does."""
        return any(source.delivers(now_ns, self._late_s) for source in self._sources.values())

    def passed_s(self, now_ns: int) -> int:
        """The newest second that all sources have reached that deliver; that any has, when none does; -1 before the first."""
        reached = {track: source.tracker.passed_s + source.lag_s for track, source in self._sources.items() if source.newest}
        alive = [passed for track, passed in reached.items() if self._sources[track].delivers(now_ns, self._late_s)]
        return min(alive) if alive else max(reached.values(), default=-1)

    def waiting(self) -> collections.abc.Iterator[int]:
        """Seconds that were said and not yet taken."""
        return (t_s for source in self._sources.values() for t_s in source.at)

    def drop_before(self, t_s: int) -> None:
        """Forget the seconds before ``t_s``."""
        for source in self._sources.values():
            for past_s in [past_s for past_s in source.at if past_s < t_s]:
                del source.at[past_s]

    def take(self, t_s: int) -> PulseSecond | None:
        """The pulse at second ``t_s``, from the source that is best now; every second is taken once, in order."""
        said = {track: source.take(t_s, self._good_pulse) for track, source in self._sources.items()}
        self.source = self._choose(said)
        return None if self.source is None else said[self.source]

    def _choose(self, said: dict[Track, PulseSecond | None]) -> Track | None:
        speaking = [track for track in PRIORITY if said[track] is not None]
        if self.source is None:
            return speaking[0] if speaking else None
        for track in PRIORITY[: PRIORITY.index(self.source)]:
            if self._sources[track].good_s >= self._return_after_s:
                return track
        present = self._sources[self.source]
        if present.bad_s >= self._leave_after_s:
            good = [track for track in PRIORITY if self._sources[track].good_s]
            if good:
                return good[0]
            if present.silent_s >= self._leave_after_s and speaking:
                return speaking[0]
        return self.source
