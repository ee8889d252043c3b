"""Samples that a chip took by a clock of its own: when each was taken, and the same signal on an even grid of host time.

A chip's oscillator is off by some per cent and wanders with temperature, and all that the host sees is how many samples were
complete when it asked. A track keeps its rate (sessions and fronts rely on it), so the signal is put on the grid of the nominal rate.
"""

from __future__ import annotations

import math

import numpy as np

COUNTING_VARIANCE = 1.0 / 12.0
"""Of the unknown fraction of a sample in a count, uniform over one sample."""
WANDER_PER_ROOT_S = 3e-5
"""Random walk of the rate, relative, over one second: 0.02 % in a minute, more than an oscillator in a warm room does."""


class ChipClock:
    """How many samples the chip has completed at any time: a line through (host time, count), tracked as it wanders.

    A Kalman filter of two states: the count, with its fraction, and the rate. A reading of ``n`` says that the count lies in
    [n, n + 1), so it measures the count as n + 1/2 with the variance of a uniform distribution; readings must not be
    in step with the samples, or the fraction stays unknown.

    Args:
        nominal_hz: rate that the chip was set to.
        tolerance: standard deviation of the true rate, relative, before anything was measured.
    """

    def __init__(self, nominal_hz: float, tolerance: float = 0.03):
        self.rate_hz = nominal_hz
        """Samples per second of host time, as far as known."""
        self._nominal_hz, self._tolerance = nominal_hz, tolerance
        self._count, self._at_ns = 0.0, 0
        self._var_count, self._cov, self._var_rate = 1.0, 0.0, (tolerance * nominal_hz) ** 2
        self._wander = (WANDER_PER_ROOT_S * nominal_hz) ** 2

    def forget(self) -> None:
        """Another chip is measured from now on."""
        self.rate_hz, self._cov, self._var_rate = self._nominal_hz, 0.0, (self._tolerance * self._nominal_hz) ** 2

    def restart(self, t_ns: int, count: float) -> None:
        """The chip began anew with ``count`` at ``t_ns``; what is known of its rate stays."""
        self._at_ns, self._count = t_ns, count
        self._var_count, self._cov = 1.0, 0.0

    def count_at(self, t_ns: int) -> float:
        """Samples complete at ``t_ns``, with the fraction of the one being taken."""
        return self._count + self.rate_hz * (t_ns - self._at_ns) * 1e-9

    def counts_at(self, t_ns: np.ndarray) -> np.ndarray:
        """``count_at`` of int64 (n,) as float64 (n,)."""
        return self._count + self.rate_hz * 1e-9 * (t_ns - self._at_ns)

    def time_of(self, count: float) -> int:
        """When ``count`` is reached, in nanoseconds: the inverse of ``count_at``."""
        return self._at_ns + round((count - self._count) / self.rate_hz * 1e9)

    def uncertainty_at(self, t_ns: int) -> float:
        """Standard deviation of ``count_at``, in samples."""
        dt = (t_ns - self._at_ns) * 1e-9
        return math.sqrt(self._var_count + dt * (2.0 * self._cov + dt * self._var_rate) + self._wander * abs(dt) ** 3 / 3.0)

    def observe(self, t_ns: int, count: int, doubt_ns: int = 0) -> None:
        """``count`` samples were complete at some time within ``doubt_ns`` about ``t_ns``, in all."""
        dt = (t_ns - self._at_ns) * 1e-9
        wander = self._wander * dt
        self._count += self.rate_hz * dt
        self._var_count += dt * (2.0 * self._cov + dt * self._var_rate) + wander * dt * dt / 3.0
        self._cov += dt * self._var_rate + wander * dt / 2.0
        self._var_rate += wander
        self._at_ns = t_ns
        doubt = self.rate_hz * doubt_ns * 1e-9
        total = self._var_count + COUNTING_VARIANCE + doubt * doubt / 12.0
        gain_count, gain_rate = self._var_count / total, self._cov / total
        off = count + 0.5 - self._count
        self._count += gain_count * off
        self.rate_hz += gain_rate * off
        self._var_rate -= gain_rate * self._cov
        self._cov *= 1.0 - gain_count
        self._var_count *= 1.0 - gain_count


class EvenGrid:
    """Numbered samples of a chip -> samples at ``t0 + k / rate_hz`` of host time, by cubic convolution (Keys, 1981, a = -1/2).

    Gaps stay gaps, whole multiples of the grid's step; nothing is made up in them.

    Args:
        rate_hz: of the grid; about the chip's.
        delay: how long before a sample is complete its middle was taken, in samples.
        run: samples that a run has at most, except that it ends at a gap.
    """

    def __init__(self, rate_hz: float, *, delay: float, run: int):
        self.rate_hz, self._delay, self._run = rate_hz, delay, run
        self._origin_ns: int | None = None  # time of place 0
        self._next = 0  # place on the grid to be filled next
        self._first = 0  # number of the first sample in _raw
        self._raw: list[float] = []
        self._made: list[float] = []  # the run that is being filled; its last lies one step before _next

    def push(self, first: int, values: np.ndarray, clock: ChipClock) -> list[tuple[int, np.ndarray]]:
        """Take samples float (n,) numbered from ``first``; return the runs (time of the first in ns, float32 (n,)) now complete."""
        runs: list[tuple[int, np.ndarray]] = []
        if self._origin_ns is None or first != self._first + len(self._raw):
            runs += self.cut(clock)
            self._first = first
            self._jump(clock)
        self._raw += values.tolist()
        if len(self._raw) > 2:
            # The cubic needs two samples behind the place that it fills.
            runs += self._fill(clock, self._first + len(self._raw) - 2.0)
        return runs

    def cut(self, clock: ChipClock) -> list[tuple[int, np.ndarray]]:
        """End the run: give out what is left, up to the last sample taken in."""
        if not self._raw:
            return []
        # Half a step beyond the last sample, as before the first: so a gap is as long on the grid as it was.
        runs = self._fill(clock, self._first + len(self._raw) - 0.5)
        runs += self._taken(len(self._made))
        self._first += len(self._raw)
        self._raw.clear()
        return runs

    def _time_ns(self, step: int) -> int:
        return self._origin() + round(step * 1e9 / self.rate_hz)

    def _origin(self) -> int:
        return self._origin_ns or 0

    def _jump(self, clock: ChipClock) -> None:
        """Go on at the place of the grid nearest to the sample ``_first``."""
        start_ns = clock.time_of(self._first + 1 - self._delay)
        if self._origin_ns is None:
            self._origin_ns = start_ns
        self._next = max(self._next, round((start_ns - self._origin_ns) * self.rate_hz / 1e9))

    def _fill(self, clock: ChipClock, last: float) -> list[tuple[int, np.ndarray]]:
        """Fill the grid up to the time of sample ``last``, which may lie between two."""
        until_ns = clock.time_of(last + 1.0 - self._delay)
        steps = math.floor((until_ns - self._origin()) * self.rate_hz / 1e9) - self._next + 1
        if steps <= 0:
            return []
        places = np.arange(self._next, self._next + steps)
        times_ns = self._origin() + np.rint(places * (1e9 / self.rate_hz)).astype(np.int64)
        at = clock.counts_at(times_ns) - 1.0 + self._delay - self._first
        self._made += cubic(np.asarray(self._raw), at).tolist()
        self._next += steps
        spent = max(0, min(math.floor(at[-1]) - 2, len(self._raw) - 4))
        del self._raw[:spent]
        self._first += spent
        return self._taken(len(self._made) // self._run * self._run)

    def _taken(self, count: int) -> list[tuple[int, np.ndarray]]:
        runs = []
        begin = self._next - len(self._made)
        for at in range(0, count, self._run):
            piece = self._made[at : min(at + self._run, count)]
            runs.append((self._time_ns(begin + at), np.array(piece, np.float32)))
        del self._made[:count]
        return runs


def cubic(samples: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values of evenly spaced ``samples`` (n,) at fractional indices ``at`` (m,), held at both ends; exact for parabolas inside.

    Cubic convolution: R. G. Keys (1981), IEEE Trans. Acoustics, Speech and Signal Processing 29(6), equation 15, a = -1/2.
    """
    last = len(samples) - 1
    at = np.clip(at, 0.0, last)
    left = np.floor(at).astype(np.int64)
    s = at - left
    before, here, after, beyond = (samples[np.clip(left + k, 0, last)] for k in (-1, 0, 1, 2))
    return here + 0.5 * s * (
        after - before + s * (2.0 * before - 5.0 * here + 4.0 * after - beyond + s * (3.0 * (here - after) + beyond - before))
    )
