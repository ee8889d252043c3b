"""Skin conductance -> level, tonic and phasic part: causal, sample by sample, the same however the stream is cut.

Electrodes that came off are known by the first sample that no skin gives; the first that skin gives ends it.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import numpy as np

from edge.errors import InputError
from edge.preprocess.beats import SECOND_NS
from edge.preprocess.ppg import Biquad, SampleClock

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 2.0, 400.0
TOUCH_NS = SECOND_NS // 2
MINUTE_S = 60
RISE_NS = 5 * SECOND_NS
"""Longest rise of a response: 1 to 3 s, and some for the low-pass (Boucsein, 2012, chapter 2)."""


@dataclasses.dataclass(frozen=True)
class SkinParameters:
    """What the tracker takes for skin, and how it splits the level."""

    off_below_us: float = 0.02
    """No skin conducts less: dry wrists reach about 0.05 microsiemens; an open circuit reads about 0."""
    off_above_us: float = 100.0
    """No skin conducts more: a short circuit, or an amplifier at its rail."""
    cutoff_hz: float = 0.5
    """Low-pass; skin conductance responses rise in 1 to 3 s (Boucsein, 2012, chapter 2)."""
    rise_s: float = 40.0
    fall_s: float = 8.0
    """Time constants with which the tonic part follows a level above and below it: a response stays out of it, a
    falling level does not."""
    scr_least_us: float = 0.02
    """A phasic part that rises by so much is a skin conductance response; 0.01 to 0.05 are in use (Boucsein, 2012, chapter 2)."""


@dataclasses.dataclass(frozen=True)
class SkinSecond:
    """What the skin says at stream time ``t_s`` (whole seconds)."""

    t_s: int
    on: bool
    """Whether the electrodes were on the skin for the last half second at least; the rest is not-a-number otherwise."""
    level_us: float
    """Low-passed conductance, microsiemens."""
    tonic_us: float
    phasic_us: float
    """``level_us - tonic_us``: above 0 in a response."""
    scr_count: int = 0
    """Skin conductance responses that began in the last 60 s, as far as the skin was touched: responses a minute."""


class ResponseCounter:
    """Skin conductance responses in a phasic part, sample by sample.

    A response is a rise by ``least_us`` or more within 5 s; it began when the first half of that was last to come. It is over, and
    the next may begin, once the phasic part has fallen by as much from its peak, or has not risen further for 5 s.
    """

    def __init__(self, least_us: float):
        self.onsets_ns: collections.deque[int] = collections.deque(maxlen=256)
        """Times of the newest onsets."""
        self._least_us = least_us
        self._troughs: collections.deque[tuple[int, float]] = collections.deque()  # ever higher values of the last 5 s, lowest first
        self._peak: tuple[int, float] | None = None

    def restart(self) -> None:
        """What comes next does not follow from what was before."""
        self._troughs.clear()
        self._peak = None

    def step(self, t_ns: int, phasic_us: float) -> None:
        """Take the next sample."""
        if self._peak is not None:
            if phasic_us > self._peak[1]:
                self._peak = (t_ns, phasic_us)
                return
            if phasic_us > self._peak[1] - self._least_us and t_ns - self._peak[0] <= RISE_NS:
                return
            self._peak = None
        while self._troughs and self._troughs[-1][1] >= phasic_us:
            self._troughs.pop()
        self._troughs.append((t_ns, phasic_us))
        while t_ns - self._troughs[0][0] > RISE_NS:
            self._troughs.popleft()
        lowest_us = self._troughs[0][1]
        if phasic_us >= lowest_us + self._least_us:
            self.onsets_ns.append(max(at_ns for at_ns, us in self._troughs if us <= lowest_us + self._least_us / 2))
            self._troughs.clear()
            self._peak = (t_ns, phasic_us)

    def count(self, from_ns: int) -> int:
        """Responses known by now that began after ``from_ns``."""
        return sum(onset_ns > from_ns for onset_ns in self.onsets_ns)


class SkinTracker:
    """Streaming tonic and phasic skin conductance, 2 to 400 Hz, microsiemens in."""

    def __init__(self, parameters: SkinParameters = SkinParameters()):
        self.parameters = parameters
        self.seconds: collections.deque[SkinSecond] = collections.deque()
        """One entry for each whole second that passed without a gap; the reader takes them out."""
        self.passed_s = -1
        """The newest whole second that the samples have reached, gap or not."""
        self.on = False
        """Whether the newest sample came from skin."""
        self.responses = ResponseCounter(parameters.scr_least_us)
        """Skin conductance responses, and when they began."""
        self._clock = SampleClock(gap_s=0.6)
        self._settled = False
        self._settled_ns = 0

    def push(self, t_ns: int, rate_hz: float, samples: np.ndarray) -> None:
        """Take samples float (n,) in microsiemens; ``t_ns`` is the capture time of the first.

        Raises:
            InputError: the rate is not one that the tracker works at.
        """
        if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
            raise InputError(f"eda: got {rate_hz:g} samples/s, takes {LOWEST_RATE_HZ:g} to {HIGHEST_RATE_HZ:g}; set the sensor's rate")
        broken, skip = self._clock.place(t_ns, rate_hz)
        if broken:
            self._settled = False
            self._next_s = self._clock.next_ns() // SECOND_NS + 1
            self.passed_s = max(self.passed_s, self._next_s - 1)
        for x in np.asarray(samples, np.float64)[skip:].tolist():
            now_ns = self._clock.next_ns()
            self._clock.count += 1
            while now_ns >= self._next_s * SECOND_NS:
                self._say(self._next_s)
                self._next_s += 1
            self._sample(now_ns, x)

    def _sample(self, now_ns: int, x: float) -> None:
        p = self.parameters
        self.on = math.isfinite(x) and p.off_below_us <= x <= p.off_above_us
        if not self.on:
            self._settled = False
            return
        if not self._settled:
            self._settled, self._settled_ns = True, now_ns
            self._low = Biquad("low", p.cutoff_hz, self._clock.rate_hz)
            self._level_us = self._tonic_us = self._low.settle(x)
            self.responses.restart()
            return
        self._level_us = self._low.step(x)
        follow_s = p.rise_s if self._level_us > self._tonic_us else p.fall_s
        self._tonic_us += (self._level_us - self._tonic_us) * (1.0 - math.exp(-1.0 / (follow_s * self._clock.rate_hz)))
        self.responses.step(now_ns, self._level_us - self._tonic_us)

    def _say(self, t_s: int) -> None:
        self.passed_s = max(self.passed_s, t_s)
        if self._settled and self._settled_ns <= t_s * SECOND_NS - TOUCH_NS:
            responses = self.responses.count((t_s - MINUTE_S) * SECOND_NS)
            self.seconds.append(SkinSecond(t_s, True, self._level_us, self._tonic_us, self._level_us - self._tonic_us, responses))
        else:
            self.seconds.append(SkinSecond(t_s, False, math.nan, math.nan, math.nan))
