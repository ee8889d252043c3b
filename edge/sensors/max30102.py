"""Pulse wave from a MAX30102: raw samples to light per LED current on an even grid of time, with automatic gain.

The chip's registers and its FIFO are the business of ``edge.sensors.max30102_chip``.
"""

from __future__ import annotations

import collections.abc

import numpy as np

from edge.clock import Clock
from edge.sensors.bus import MS, I2cDevice, SmBus
from edge.sensors.max30102_chip import ADDRESS, FULL_SCALE, Batch, Max30102, Max30102Settings
from edge.sensors.polling import PolledSensor
from edge.sensors.timing import EvenGrid
from edge.types import Chunk

CHUNK_NS = 250 * MS
"""Length of the chunks, the same as of a recorded session's."""
POLL_SAMPLES = 8
"""Samples between two polls: a quarter of the FIFO, so the host may stall for 23 more."""
QUICK_POLL_SAMPLES = 2
"""The same while the length of a gap is being found out: eight polls are done within a quarter of a second."""
GOLDEN = 0.6180339887498949
"""Fractional part of the golden ratio: its multiples fill the unit interval evenly, whatever their number."""
SATURATED, BRIGHT, AIM, DIM = 0.99, 0.9, 0.5, 0.12
"""Shares of full scale: clipped; turned down above; aimed at; turned up below."""
ON_NA_PER_MA, OFF_NA_PER_MA = 20.0, 12.0
"""Photocurrent per LED current that means a finger, and its absence: skin gives 60 to 600, the cover glass alone 1 to 3."""
SETTLE_NS = 150 * MS
"""After a change of gain samples are left out: longer than the 100 ms that the pulse tracker takes for a break."""
DIM_FOR_NS = 500 * MS


class PulseSensor(PolledSensor):
    """Track ``ppg`` of a MAX30102: photocurrent in nA per mA of LED current, with the sign turned, at ``settings.rate_hz``.

    Blood absorbs light, so the sign is turned for the wave to rise with each beat, as in the recordings that the encoders were
    trained on. Samples of a saturated converter, or without a finger, are left out: a gap in time, like lost ones.

    Args:
        bus: number, or path such as "/dev/i2c-1".
        clock: stamps the samples.
        settings: the defaults if None.
        smbus: an open bus; its own is opened from ``bus`` if None.
        live: False for a simulated chip.
    """

    def __init__(
        self,
        bus: int | str,
        clock: Clock,
        settings: Max30102Settings | None = None,
        *,
        smbus: SmBus | None = None,
        address: int = ADDRESS,
        live: bool = True,
    ):
        settings = settings or Max30102Settings()
        device = I2cDevice(bus, address, clock, smbus=smbus)
        super().__init__(f"max30102 on bus {bus}", "ppg", device, clock, live=live)
        self.chip = Max30102(device, settings, clock)
        self.finger_on = False
        """Whether something lies on the sensor."""
        self.saturated = False
        """Whether the newest samples were clipped."""
        self.gain_changes = 0
        self.left_out = 0
        """Samples not given out because they were clipped, taken while the gain changed, or without a finger."""
        self._settings = settings
        # A sample is the mean of its conversions, the last of which is complete with it.
        delay = (settings.averaging - 1) / (2 * settings.averaging)
        self._grid = EvenGrid(settings.rate_hz, delay=delay, run=round(settings.rate_hz * CHUNK_NS / 1e9))
        self._polls = 0
        self._polled_ns = 0
        self._settled = 0  # samples before this one are left out
        self._dim_since_ns: int | None = None
        self._wanted_ua: int | None = None

    def _start(self) -> None:
        self.chip.start()
        self._polled_ns = self._clock.now_ns()

    def _due_ns(self) -> int:
        # Polls in step with the samples would never show where between two of them a poll lies.
        samples = (QUICK_POLL_SAMPLES if self.chip.unsure else POLL_SAMPLES) + self._polls * GOLDEN % 1.0
        return self._polled_ns + round(samples * 1e9 / self._settings.rate_hz)

    def _poll(self) -> collections.abc.Sequence[Chunk]:
        self._polls += 1
        self._polled_ns = self._clock.now_ns()
        self._turn_led()
        return [chunk for batch in self.chip.poll() for chunk in self._taken(batch)]

    def _rest(self) -> None:
        self.chip.stop()

    def _taken(self, batch: Batch) -> list[Chunk]:
        skip = min(max(self._settled - batch.first, 0), len(batch.counts))
        first, counts = batch.first + skip, batch.counts[skip:]
        self.left_out += skip
        if not len(counts):
            return []
        per_count = self._settings.full_scale_na / (FULL_SCALE + 1) / (self.chip.led_current_ua * 1e-3)
        if self._judge(counts, per_count):
            runs = self._grid.push(first, counts * -per_count, self.chip.clock)
        else:
            self.left_out += len(counts)
            runs = self._grid.cut(self.chip.clock)
        if self._settings.auto_gain:
            self._wanted_ua = self._better_current(counts)
        return [Chunk("ppg", t_ns, float(self._settings.rate_hz), samples) for t_ns, samples in runs]

    def _judge(self, counts: np.ndarray, per_count: float) -> bool:
        """Whether ``counts`` show a finger, and in full."""
        self.saturated = bool(counts.max() >= SATURATED * FULL_SCALE)
        light = float(np.median(counts)) * per_count
        self.finger_on = self.saturated or light >= (OFF_NA_PER_MA if self.finger_on else ON_NA_PER_MA)
        return self.finger_on and not self.saturated

    def _better_current(self, counts: np.ndarray) -> int | None:
        """Microamperes that would suit the samples better; None if they are well."""
        now_ns = self._clock.now_ns()
        level = float(np.median(counts)) / FULL_SCALE
        dim = self.finger_on and level < DIM
        self._dim_since_ns = (self._dim_since_ns or now_ns) if dim else None
        if self.saturated:
            return self.chip.led_current_ua // 2  # how far beyond the scale it is nobody can see
        if not self.finger_on:
            return self._settings.led_current_ua
        if counts.max() > BRIGHT * FULL_SCALE or (self._dim_since_ns is not None and now_ns - self._dim_since_ns >= DIM_FOR_NS):
            return min(round(self.chip.led_current_ua * AIM / level), self._settings.most_current_ua)
        return None

    def _turn_led(self) -> None:
        """Set the wanted current. Samples from before and shortly after are left out: their gain is not known for sure."""
        if self._wanted_ua is None:
            return
        before_ua = self.chip.led_current_ua
        self.chip.set_led(self._wanted_ua)
        self._wanted_ua = None
        if self.chip.led_current_ua != before_ua:
            self.gain_changes += 1
            self._dim_since_ns = None
            self._settled = int(self.chip.clock.count_at(self._clock.now_ns() + SETTLE_NS)) + 1
