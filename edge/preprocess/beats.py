"""Inter-beat intervals -> heart rate and its variability, once a second: shared by everything that finds or is told of beats.

``IntervalJudge`` does it for any finder of beats; ``IntervalTracker`` feeds it the intervals that a heart rate strap sends.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import itertools
import math
import statistics

import numpy as np

from edge.errors import InputError

SHORTEST_IBI_S, LONGEST_IBI_S = 0.33, 1.6
"""182 and 37 beats a minute: outside lies no seated student."""
SECOND_NS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class PulseParameters:
    """What the trackers listen to; every field is a plain number."""

    band_hz: tuple[float, float] = (0.6, 3.3)
    """Pass band of the pulse, as in Elgendi et al. with a narrower top: it leaves the dicrotic notch out."""
    peak_window_s: float = 0.111
    beat_window_s: float = 0.667
    """Short and long moving average, Elgendi et al., table 2."""
    span_s: float = 10.0
    """Heart rate is of the intervals that ended in the last ``span_s``."""
    tolerance: float = 0.2
    """An interval further than this share from the median of its neighbours is an artefact."""
    variability_span_s: float = 40.0
    """RMSSD and beat amplitude are of the last ``variability_span_s``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "band_hz", tuple(self.band_hz))


@dataclasses.dataclass(frozen=True)
class PulseSecond:
    """What the pulse says at stream time ``t_s`` (whole seconds); not-a-number where it cannot say."""

    t_s: int
    heart_rate_bpm: float
    rmssd_ms: float
    """Root mean square of successive interval differences, both intervals accepted (Task Force of the ESC, 1996)."""
    amplitude: float
    """Median height of the band-passed beats, in the unit of the input; not-a-number without a wave."""
    quality: float
    """Share of the last ``span_s`` covered by accepted intervals, 0 to 1; band-passed noise reaches 0.4 by chance."""


def accept_interval(ibi_s: float, neighbours_s: collections.abc.Iterable[float], tolerance: float) -> bool:
    """Whether an inter-beat interval is plausible: in range, and within ``tolerance`` of its neighbours' median."""
    if not SHORTEST_IBI_S <= ibi_s <= LONGEST_IBI_S:
        return False
    middle = statistics.median(neighbours_s)
    return abs(ibi_s - middle) <= tolerance * middle


@dataclasses.dataclass(frozen=True, slots=True)
class _Interval:
    start_s: float
    end_s: float
    length_s: float
    covers_s: float
    height: float
    accepted: bool


class IntervalJudge:
    """Accepts or rejects intervals as they end, and says a ``PulseSecond`` of those that lie in the last seconds."""

    def __init__(self, parameters: PulseParameters):
        self.parameters = parameters
        self.seconds: collections.deque[PulseSecond] = collections.deque()
        """What was said; the reader takes it out."""
        self._intervals: collections.deque[_Interval] = collections.deque()

    def add(self, start_s: float, end_s: float, length_s: float, *, covers_s: float | None = None, height: float = math.nan) -> None:
        """Take an interval of ``length_s`` that ended at ``end_s``.

        Args:
            start_s: the end of the interval before if the two have a beat in common; only then do they count for RMSSD.
            end_s: later than that of the interval before.
            length_s: from beat to beat.
            covers_s: time that it speaks for; ``length_s`` if None.
            height: of the beat that ends it; not-a-number if there is no wave.
        """
        recent = [*(past.length_s for past in itertools.islice(reversed(self._intervals), 8)), length_s]
        accepted = len(recent) >= 3 and accept_interval(length_s, recent, self.parameters.tolerance)
        self._intervals.append(_Interval(start_s, end_s, length_s, length_s if covers_s is None else covers_s, height, accepted))

    def say(self, t_s: int) -> None:
        """Say what the intervals hold at ``t_s``; all that ended before must have been added."""
        keep_s = max(self.parameters.variability_span_s, self.parameters.span_s)
        while self._intervals and self._intervals[0].end_s < t_s - keep_s:
            self._intervals.popleft()
        good = [past for past in self._intervals if past.accepted and past.end_s > t_s - self.parameters.span_s]
        rate = 60.0 / (sum(past.length_s for past in good) / len(good)) if len(good) >= 3 else math.nan
        squares: list[float] = []
        heights: list[float] = []
        previous: _Interval | None = None
        for past in self._intervals:
            if past.accepted:
                if not math.isnan(past.height):
                    heights.append(past.height)
                if previous is not None and abs(past.start_s - previous.end_s) < 1e-6:
                    squares.append((past.length_s - previous.length_s) ** 2)
            previous = past if past.accepted else None
        rmssd = 1e3 * math.sqrt(sum(squares) / len(squares)) if len(squares) >= 8 else math.nan
        amplitude = statistics.median(heights) if len(heights) >= 5 else math.nan
        quality = min(1.0, sum(past.covers_s for past in good) / self.parameters.span_s) if len(good) >= 3 else 0.0
        self.seconds.append(PulseSecond(t_s, rate, rmssd, amplitude, quality))


class IntervalTracker:
    """Heart rate of inter-beat intervals that a heart rate strap sends, one chunk each."""

    MEETS_S = 0.01
    """Two intervals that lie no further apart than this have a beat in common: stamps of recordings are whole milliseconds."""
    GAP_S = 3.0
    """Without an interval for longer no seconds are said."""
    SPEAKS_FOR_S = 1.1
    """Most that an interval covers if it does not meet the one before: straps without RR values send one for each second."""

    def __init__(self, parameters: PulseParameters = PulseParameters()):
        self.parameters = parameters
        self.passed_s = -1
        """The newest whole second that the intervals have reached, gap or not."""
        self._judge = IntervalJudge(parameters)
        self._end_s: float | None = None
        self._end_ns = 0
        self._next_s = 0

    @property
    def seconds(self) -> collections.deque[PulseSecond]:
        """One entry for each whole second that passed without a gap; the reader takes them out."""
        return self._judge.seconds

    def push(self, t_ns: int, rate_hz: float, samples: np.ndarray) -> None:
        """Take intervals float (n,) in seconds, of which the first ended at ``t_ns``; ``rate_hz`` is nominal and not used.

        An interval that ends no later than the one before, or is not a positive number, is left out.

        Raises:
            InputError: ``samples`` is not one-dimensional.
        """
        if np.ndim(samples) != 1:
            raise InputError(f"ibi: got intervals of shape {np.shape(samples)}; takes (n,), one each chunk")
        for i, ibi_s in enumerate(np.asarray(samples, np.float64).tolist()):
            if i:
                t_ns += round(ibi_s * 1e9) if math.isfinite(ibi_s) else 0
            if math.isfinite(ibi_s) and ibi_s > 0.0 and (self._end_s is None or t_ns > self._end_ns):
                self._interval(t_ns, ibi_s)

    def _interval(self, t_ns: int, ibi_s: float) -> None:
        end_s = t_ns * 1e-9
        last_s, self._end_s, self._end_ns = self._end_s, end_s, t_ns
        start_s, covers_s = end_s - ibi_s, None
        if last_s is None or start_s - last_s > self.GAP_S:
            self._next_s = math.floor(start_s) + 1  # a gap: whole seconds in it are never said, those passed are
            self.passed_s = max(self.passed_s, self._next_s - 1)
        elif abs(start_s - last_s) <= self.MEETS_S:
            start_s = last_s
        else:
            covers_s = min(end_s - last_s, max(ibi_s, self.SPEAKS_FOR_S))
        while t_ns > self._next_s * SECOND_NS:
            self._judge.say(self._next_s)
            self.passed_s = max(self.passed_s, self._next_s)
            self._next_s += 1
        self._judge.add(start_s, end_s, ibi_s, covers_s=covers_s)
