"""Pulse wave -> beats, inter-beat intervals, heart rate: causal, sample by sample, the same however the stream is cut.

A band-pass leaves the pulse; a beat is the peak of each block in which a short moving average of the squared positive
wave exceeds a long one (Elgendi, Norton, Brearley, Abbott & Schuurmans, 2013, PLoS ONE 8(10), e76585); its time lies between
samples, on the parabola through the peak. What the intervals between beats say is the business of ``edge.preprocess.beats``.
"""

from __future__ import annotations

import collections
import math

import numpy as np

from edge.errors import InputError
from edge.preprocess.beats import SECOND_NS, SHORTEST_IBI_S, IntervalJudge, PulseParameters, PulseSecond

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 25.0, 200.0
DICROTIC_WITHIN_S = 0.45
"""A peak so soon after a beat, and less than half as high, is that beat's dicrotic wave."""


class Biquad:
    """Second-order Butterworth low- or high-pass: bilinear transform, cookbook of R. Bristow-Johnson (1998), Q = 1/sqrt(2).

    Runs in transposed direct form II; the first sample sets the state as if it had always been there, so a large constant
    (raw LED counts) gives no transient.
    """

    def __init__(self, kind: str, cutoff_hz: float, rate_hz: float):
        if not 0.0 < cutoff_hz < rate_hz / 2:
            raise InputError(f"filter: cutoff {cutoff_hz:g} Hz does not lie below half of {rate_hz:g} Hz; sample faster")
        turn = 2.0 * math.pi * cutoff_hz / rate_hz
        alpha, cos = math.sin(turn) / math.sqrt(2.0), math.cos(turn)
        edge = {"low": 1.0 - cos, "high": -(1.0 + cos)}[kind]
        a0 = 1.0 + alpha
        self.b0, self.b1, self.b2 = abs(edge) / 2 / a0, edge / a0, abs(edge) / 2 / a0
        self.a1, self.a2 = -2.0 * cos / a0, (1.0 - alpha) / a0
        self.s1 = self.s2 = 0.0

    def settle(self, x: float) -> float:
        """Take ``x`` as the input of all time before; return the output that belongs to it."""
        y = x * (self.b0 + self.b1 + self.b2) / (1.0 + self.a1 + self.a2)
        self.s1, self.s2 = y - self.b0 * x, self.b2 * x - self.a2 * y
        return y

    def step(self, x: float) -> float:
        y = self.b0 * x + self.s1
        self.s1 = self.b1 * x - self.a1 * y + self.s2
        self.s2 = self.b2 * x - self.a2 * y
        return y


class SampleClock:
    """Gives each sample its time: counted from an anchor, because chunk stamps jitter and intervals must not.

    A stamp more than half a sample off moves the anchor; one more than ``gap_s`` late is a gap.
    """

    def __init__(self, gap_s: float):
        self.gap_ns = round(gap_s * 1e9)
        self.rate_hz = 0.0
        self.anchor_ns = 0
        self.count = 0

    def next_ns(self) -> int:
        return self.anchor_ns + round(self.count * 1e9 / self.rate_hz)

    def place(self, t_ns: int, rate_hz: float) -> tuple[bool, int]:
        """Take a chunk's stamp; return (the stream is broken here, samples to skip because they were seen before)."""
        if rate_hz != self.rate_hz:
            self.rate_hz, self.anchor_ns, self.count = rate_hz, t_ns, 0
            return True, 0
        late_ns = t_ns - self.next_ns()
        sample_ns = 1e9 / rate_hz
        if abs(late_ns) <= sample_ns / 2:
            return False, 0
        skip = 0
        if late_ns < 0:
            skip = math.ceil(-late_ns / sample_ns - 0.5)
        self.anchor_ns, self.count = t_ns + round(skip * sample_ns), 0
        return late_ns > self.gap_ns, skip


class PulseTracker:
    """Streaming beats and heart rate of one pulse wave, 25 to 200 Hz, either polarity."""

    def __init__(self, parameters: PulseParameters | None = None):
        self.parameters = parameters = parameters or PulseParameters()
        self.beats_s: collections.deque[float] = collections.deque(maxlen=256)
        """Times of the newest beats."""
        self.passed_s = -1
        """The newest whole second that the samples have reached, gap or not."""
        self._clock = SampleClock(gap_s=0.1)
        self._judge = IntervalJudge(parameters)

    @property
    def seconds(self) -> collections.deque[PulseSecond]:
        """One entry for each whole second that passed without a gap; the reader takes them out."""
        return self._judge.seconds

    def push(self, t_ns: int, rate_hz: float, samples: np.ndarray) -> None:
        """Take samples float (n,) in any unit; ``t_ns`` is the capture time of the first.

        Raises:
            InputError: the rate is not one that the tracker works at.
        """
        if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
            raise InputError(f"ppg: got {rate_hz:g} samples/s, takes {LOWEST_RATE_HZ:g} to {HIGHEST_RATE_HZ:g}; set the sensor's rate")
        broken, skip = self._clock.place(t_ns, rate_hz)
        if broken:
            self._restart(rate_hz)
        for x in np.asarray(samples, np.float64)[skip:].tolist():
            now_ns = self._clock.next_ns()
            self._clock.count += 1
            while now_ns >= self._next_s * SECOND_NS:
                self._judge.say(self._next_s)
                self.passed_s = max(self.passed_s, self._next_s)
                self._next_s += 1
            if math.isfinite(x):
                self._sample(now_ns, x)
            else:
                self._restart(rate_hz, now_ns)

    def _restart(self, rate_hz: float, now_ns: int | None = None) -> None:
        """Forget the wave (not the heart): after a gap the next interval would span it."""
        low_hz, high_hz = self.parameters.band_hz
        self._high, self._low = Biquad("high", low_hz, rate_hz), Biquad("low", high_hz, rate_hz)
        self._settled = False
        half_peak = max(1, round(self.parameters.peak_window_s * rate_hz / 2))
        half_beat = max(half_peak + 1, round(self.parameters.beat_window_s * rate_hz / 2))
        self._half_peak, self._half_beat = half_peak, half_beat
        self._wave = [0.0] * (2 * half_beat + 2)  # newest last; the sample under judgement lies half_beat + 1 back
        self._power = [0.0] * (2 * half_beat + 2)
        self._peak_sum = self._beat_sum = 0.0
        self._until_exact = 0
        self._seen = 0
        self._in_block, self._block = False, 0
        self._peak_s = self._peak_height = 0.0
        self._last_beat_s: float | None = None
        self._last_height = 0.0
        first_ns = self._clock.next_ns() if now_ns is None else now_ns
        if now_ns is None:  # a gap: whole seconds in it are never said, those passed are
            self._next_s = first_ns // SECOND_NS + 1
            self.passed_s = max(self.passed_s, self._next_s - 1)

    def _sample(self, now_ns: int, x: float) -> None:
        if not self._settled:
            self._settled = True
            y = self._low.settle(self._high.settle(x))
        else:
            y = self._low.step(self._high.step(x))
        wave, power = self._wave, self._power
        positive = y if y > 0.0 else 0.0
        wave.append(y)
        power.append(positive * positive)
        # Window over the last 2 half_beat + 1 samples; its centre is judged, the short window lies around the same centre.
        half_beat, half_peak = self._half_beat, self._half_peak
        self._beat_sum += power[-1] - power[-2 * half_beat - 2]
        self._peak_sum += power[-1 - half_beat + half_peak] - power[-2 - half_beat - half_peak]
        self._until_exact -= 1
        if self._until_exact <= 0:  # running sums drift; at fixed sample counts they are made anew
            self._until_exact = 512
            self._beat_sum = math.fsum(power[-2 * half_beat - 1 :])
            self._peak_sum = math.fsum(power[-1 - half_beat - half_peak : len(power) - half_beat + half_peak])
            del wave[: -2 * half_beat - 2], power[: -2 * half_beat - 2]
        self._seen += 1
        if self._seen <= 2 * half_beat:
            return
        above = self._peak_sum / (2 * half_peak + 1) > self._beat_sum / (2 * half_beat + 1)
        rate_hz = self._clock.rate_hz
        if above:
            height = wave[-1 - half_beat]
            if not self._in_block or height > self._peak_height:
                before, after = wave[-2 - half_beat], wave[-half_beat]
                bend = before - 2.0 * height + after
                shift = 0.5 * (before - after) / bend if bend < 0.0 and before <= height >= after else 0.0
                self._peak_height = height
                self._peak_s = now_ns * 1e-9 + (shift - half_beat) / rate_hz
            self._block = self._block + 1 if self._in_block else 1
        elif self._in_block and self._block >= half_peak:
            self._beat(self._peak_s, self._peak_height)
        self._in_block = above

    def _beat(self, t_s: float, height: float) -> None:
        last_s, self._last_beat_s = self._last_beat_s, t_s
        self.beats_s.append(t_s)
        if last_s is None:
            self._last_height = height
            return
        ibi_s = t_s - last_s
        if ibi_s < SHORTEST_IBI_S or (ibi_s < DICROTIC_WITHIN_S and height < 0.5 * self._last_height):
            self._last_beat_s = last_s  # one beat seen twice, or its dicrotic wave: keep the first, wait for the next
            self.beats_s.pop()
            return
        self._last_height = height
        self._judge.add(t_s - ibi_s, t_s, ibi_s, height=height)
