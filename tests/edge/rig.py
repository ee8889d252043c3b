"""A bench for drivers: a clock whose host stalls, and simulated chips on a simulated bus. No test of it ever sleeps."""

from __future__ import annotations

import itertools
import threading
import typing

import numpy as np

from edge.clock import ManualClock
from edge.sensors.ads1115 import Ads1115Settings, SkinConductanceSensor
from edge.sensors.max30102 import PulseSensor
from edge.sensors.max30102_chip import Batch, Max30102Settings
from edge.sensors.simulated.ads1115 import SimulatedAds1115, divider
from edge.sensors.simulated.bus import SimulatedBus
from edge.sensors.simulated.max30102 import SimulatedMax30102
from edge.types import Chunk

SECOND_NS = 1_000_000_000
MS = 1_000_000
START_NS = 7_000 * SECOND_NS
"""Of the host's clock: not 0, as on no host."""


class TimeUpError(BaseException):
    """The clock has come to the end of the test; no driver may catch it."""


class StallingClock(ManualClock):
    """Waits end late: some by up to ``jitter_ms``, and those that contain a stall by its length.

    Args:
        stalls_ms: (when, how long), from the start.
    """

    def __init__(self, *, jitter_ms: float = 0.0, stalls_ms: typing.Sequence[tuple[float, float]] = (), seed: int = 0):
        super().__init__(START_NS)
        self.end_ns: int | None = None
        self._jitter_ns, self._random = jitter_ms * MS, np.random.default_rng(seed)
        self._stalls = sorted((START_NS + round(at * MS), round(length * MS)) for at, length in stalls_ms)

    @property
    def now_s(self) -> float:
        """Since the start."""
        return (self.now_ns() - START_NS) / SECOND_NS

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        if self.end_ns is not None and until_ns >= self.end_ns:
            self.advance_to(self.end_ns)
            raise TimeUpError
        if self._jitter_ns and self._random.random() < 0.5:
            until_ns += int(self._random.uniform(0.0, self._jitter_ns))
        while self._stalls and self._stalls[0][0] <= until_ns:
            until_ns += self._stalls.pop(0)[1]
        return super().wait(wake, until_ns)


def read_until(sensor: typing.Any, clock: StallingClock, until_s: float) -> list[Chunk]:
    """All chunks up to ``until_s`` after the start."""
    chunks: list[Chunk] = []
    clock.end_ns = START_NS + round(until_s * SECOND_NS)
    try:
        while (chunk := sensor.read()) is not None:
            chunks.append(chunk)
    except TimeUpError:
        pass
    finally:
        clock.end_ns = None
    return chunks


def stamped(chunks: typing.Sequence[Chunk]) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds since the start, and samples, both float64 (n,)."""
    times = [(c.t_ns - START_NS) / SECOND_NS + np.arange(len(c.samples)) / c.rate_hz for c in chunks]
    return np.concatenate(times), np.concatenate([c.samples for c in chunks]).astype(np.float64)


def gaps_s(chunks: typing.Sequence[Chunk]) -> list[tuple[float, float]]:
    """(time of the last sample before, length) of each silence: the samples missing, over their rate."""
    found = []
    for one, other in itertools.pairwise(chunks):
        missing = (other.t_ns - one.end_ns) * one.rate_hz / 1e9 - 1.0
        if round(missing):
            found.append(((one.end_ns - START_NS) / SECOND_NS, missing / one.rate_hz))
    return found


def since_start(signal: typing.Callable[[np.ndarray], np.ndarray]) -> typing.Callable[[np.ndarray], np.ndarray]:
    """``signal`` over seconds since the start."""
    return lambda t_s: signal(t_s - START_NS / SECOND_NS)


class PulseRig:
    """A PulseSensor on a simulated chip; ``light`` counts its seconds from the start."""

    def __init__(
        self,
        light: typing.Callable[[np.ndarray], np.ndarray],
        *,
        clock: StallingClock | None = None,
        settings: Max30102Settings | None = None,
        **chip: typing.Any,
    ):
        self.clock = clock or StallingClock()
        self.chip = SimulatedMax30102(self.clock, since_start(light), **chip)
        self.bus = SimulatedBus(self.clock, {0x57: self.chip})
        self.sensor = PulseSensor(1, self.clock, settings or Max30102Settings(auto_gain=False), smbus=self.bus, live=False)

    def run(self, until_s: float) -> list[Chunk]:
        return read_until(self.sensor, self.clock, until_s)


class SkinRig:
    """A SkinConductanceSensor on a simulated chip behind a divider; ``skin_us`` counts its seconds from the start."""

    def __init__(
        self,
        skin_us: typing.Callable[[np.ndarray], np.ndarray],
        *,
        clock: StallingClock | None = None,
        circuit: typing.Any = None,
        settings: Ads1115Settings | None = None,
        **chip: typing.Any,
    ):
        self.clock = clock or StallingClock()
        self.chip = SimulatedAds1115(self.clock, since_start(skin_us), circuit or divider(), **chip)
        self.bus = SimulatedBus(self.clock, {0x48: self.chip})
        settings = settings or Ads1115Settings(front_end="divider")
        self.sensor = SkinConductanceSensor(1, self.clock, settings, smbus=self.bus, live=False)

    def run(self, until_s: float) -> list[Chunk]:
        return read_until(self.sensor, self.clock, until_s)


PLAIN = Max30102Settings(averaging=1, auto_gain=False)
COUNTS_PER_NA = 2**18 / 4096


def ramp_rig(seconds: float, *, clock: StallingClock | None = None, chip_settings: Max30102Settings = PLAIN, **chip) -> PulseRig:
    """Light such that counts rise from a tenth of full scale to nine tenths in ``seconds``."""
    led_ma = chip_settings.led_current_ua / 1000
    light = lambda t_s: (0.1 + 0.8 * t_s / seconds) * 4096 / led_ma  # noqa: E731
    return PulseRig(light, clock=clock, settings=chip_settings, **chip)


def collect(rig: PulseRig, until_s: float) -> list[Batch]:
    """Poll the chip as the sensor does."""
    batches: list[Batch] = []
    rig.clock.end_ns = START_NS + round(until_s * 1e9)
    try:
        while True:
            rig.clock.wait(rig.sensor._closed, rig.sensor._due_ns())
            rig.sensor._polls += 1
            rig.sensor._polled_ns = rig.clock.now_ns()
            batches += rig.sensor.chip.poll()
    except TimeUpError:
        return batches
    finally:
        rig.clock.end_ns = None


def true_numbers(batches: list[Batch], rig: PulseRig, seconds: float, hz: float, begun_s: float) -> np.ndarray:
    """Which sample since the chip began each count must be, from its light."""
    counts = np.concatenate([batch.counts for batch in batches])
    times_s = ((counts + 0.5) / COUNTS_PER_NA / 4096 - 0.1) / 0.8 * seconds
    return (times_s - begun_s) * hz - 1.0


def said_numbers(batches: list[Batch]) -> np.ndarray:
    return np.concatenate([batch.first + np.arange(len(batch.counts)) for batch in batches])


def check_numbers(batches: list[Batch], rig: PulseRig, seconds: float, rate_hz: int, drift_percent: float, begun_s: float) -> None:
    """Every sample carries its true number, none comes twice, and those that are missing were counted."""
    said = said_numbers(batches)
    true = true_numbers(batches, rig, seconds, rate_hz * (1 + drift_percent / 100), begun_s)
    assert np.abs(said - true).max() < 0.6
    assert (np.diff(said) > 0).all()
    missing = int(said[-1]) + 1 - len(said)
    assert missing == rig.sensor.chip.lost == rig.chip.dropped
    assert any((batch.counts & 1).any() for batch in batches), "all 18 bits are used"
