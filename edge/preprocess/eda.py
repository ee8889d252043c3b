"""Skin conductance -> level, tonic and phasic part: causal, sample by sample, the same however the stream is cut.

Electrodes that came off are known by the first sample that no skin gives; the first that skin gives ends it.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import numpy as np

from edge.errors import InputError
from edge.preprocess.ppg import SECOND_NS, Biquad, SampleClock

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 2.0, 400.0
TOUCH_NS = SECOND_NS // 2


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
            return
        self._level_us = self._low.step(x)
        follow_s = p.rise_s if self._level_us > self._tonic_us else p.fall_s
        self._tonic_us += (self._level_us - self._tonic_us) * (1.0 - math.exp(-1.0 / (follow_s * self._clock.rate_hz)))

    def _say(self, t_s: int) -> None:
        self.passed_s = max(self.passed_s, t_s)
        if self._settled and self._settled_ns <= t_s * SECOND_NS - TOUCH_NS:
            self.seconds.append(SkinSecond(t_s, True, self._level_us, self._tonic_us, self._level_us - self._tonic_us))
        else:
            self.seconds.append(SkinSecond(t_s, False, math.nan, math.nan, math.nan))
