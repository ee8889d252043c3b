"""When each sample of a sound stream was taken: counted, not read off the call-backs, whose times shake.

A call-back may come late but never early, so of all call-backs in a few seconds the one that was least late tells the time. A loop
of second order (F. M. Gardner, Phaselock Techniques, 2005, chapter 2) follows these, critically damped, over half a minute: stamps
have no steps, and what one call-back does to them is far below a sample.
"""

from __future__ import annotations

import math

SECOND_NS = 1_000_000_000
WINDOW_S = 2.0
"""The least late call-back of this much stream is one measurement."""
SETTLING_S = 30.0
"""Time constant of the loop."""
MOST_DRIFT = 1e-3
"""Relative, of the device's rate from what it says: ten times what crystals do."""
MOST_DRIFT_ERROR_S = 0.02
"""A larger error does not come from the rate but from a sound server that changed its latency; nothing is learnt from it."""
MOST_SLEW = 3e-4
"""Relative; at most half a sample in a chunk of 100 ms at 16 kHz goes to mending an error."""


class StreamClock:
    """A line from the number of a sample to its time, bent a little every two seconds.

    Args:
        rate_hz: nominal, of the device.
    """

    def __init__(self, rate_hz: float):
        self._rate_hz = rate_hz
        self._drift = self._slew = 0.0
        self._number, self._at_ns = 0.0, 0
        self._error_s = math.inf  # of the window before
        self._since = self._newest = 0.0
        self._least_ns: int | None = None

    @property
    def rate_hz(self) -> float:
        """The device's true rate, as far as known, in samples per second of host time."""
        return self._rate_hz / (1.0 + self._drift)

    def anchor(self, number: float, t_ns: int) -> None:
        """Sample ``number`` was taken at ``t_ns``: after a start, or a loss of unknown length. What is known of the rate stays."""
        self._number, self._at_ns, self._slew, self._error_s = number, t_ns, 0.0, math.inf
        self._begin(number)

    def time_of(self, number: float) -> int:
        """When sample ``number`` was taken, or will be, in nanoseconds."""
        return self._at_ns + round((number - self._number) * self._period_ns)

    def late_ns(self, number: float, t_ns: int) -> int:
        """How much later than expected sample ``number`` was taken, if that was at ``t_ns``."""
        return t_ns - self.time_of(number)

    def observe(self, number: float, t_ns: int) -> None:
        """A call-back says that sample ``number`` was taken at ``t_ns``, or before."""
        late_ns = self.late_ns(number, t_ns)
        self._least_ns = late_ns if self._least_ns is None else min(self._least_ns, late_ns)
        self._newest = max(self._newest, number)

    def steer(self, number: float) -> None:
        """Follow what was observed, from sample ``number`` on: all before it has been stamped."""
        span_s = (self._newest - self._since) / self._rate_hz
        if span_s < WINDOW_S or self._least_ns is None:
            return
        error_s = self._least_ns / SECOND_NS
        at_ns = self.time_of(number)
        self._slew = _within(2.0 * error_s / SETTLING_S, MOST_SLEW)
        # An error that is being mended as fast as may be would go on being summed up all the while, and the loop swing.
        mending = abs(self._slew) == MOST_SLEW and abs(error_s) < self._error_s
        if abs(error_s) <= MOST_DRIFT_ERROR_S and not mending:
            self._drift = _within(self._drift + error_s * span_s / SETTLING_S**2, MOST_DRIFT)
        self._error_s = abs(error_s)
        self._number, self._at_ns = number, at_ns
        self._begin(self._newest)

    @property
    def _period_ns(self) -> float:
        return SECOND_NS / self._rate_hz * (1.0 + self._drift + self._slew)

    def _begin(self, number: float) -> None:
        self._since = self._newest = number
        self._least_ns = None


def _within(value: float, most: float) -> float:
    return min(max(value, -most), most)
