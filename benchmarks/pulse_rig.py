"""A recorded pulse wave through the simulated MAX30102 and its driver: the glue between a file and what a front is given."""

from __future__ import annotations

import numpy as np

from edge.clock import ManualClock
from edge.sensors.max30102 import PulseSensor
from edge.sensors.max30102_chip import Max30102Settings
from edge.sensors.simulated.bus import SimulatedBus
from edge.sensors.simulated.max30102 import SimulatedMax30102
from edge.sensors.simulated.signals import Signal, finger
from edge.types import Chunk

START_S = 1000
"""Of the host's clock: a whole second, so stream seconds are seconds of the recording plus this."""
DRIFT_PERCENT = 1.3
"""The chip's oscillator against the host's clock: about what the data sheet's examples show."""
NOISE_NA = 0.3
"""Of the photocurrent: 20 counts of 262,144, under the noise that modules show."""


def pulse_sensor(samples: np.ndarray, rate_hz: float, clock: ManualClock, settings: Max30102Settings | None = None) -> PulseSensor:
    """A MAX30102's driver, not yet open, on a finger with the pulse of ``samples``, float (n,) in any unit, from ``clock``'s now on.

    The wave is scaled so that its 95th percentile takes 1 % of the light.
    """
    strength = float(np.percentile(np.abs(samples), 95)) or 1.0
    blood = _piecewise(np.asarray(samples, np.float64) / strength, rate_hz, clock.now_ns() / 1e9)
    chip = SimulatedMax30102(clock, finger(blood, depth=0.01), drift_percent=DRIFT_PERCENT, noise_na=NOISE_NA)
    return PulseSensor(1, clock, settings or Max30102Settings(), smbus=SimulatedBus(clock, {0x57: chip}), live=False)


def chip_wave(samples: np.ndarray, rate_hz: float, settings: Max30102Settings | None = None) -> list[Chunk]:
    """Chunks of track ppg that ``pulse_sensor`` gives; second 0 of ``samples`` is second ``START_S`` of theirs."""
    clock = ManualClock(START_S * 1_000_000_000)
    sensor = pulse_sensor(samples, rate_hz, clock, settings)
    sensor.open()
    end_ns = clock.now_ns() + round(len(samples) / rate_hz * 1e9)
    chunks: list[Chunk] = []
    try:
        while (chunk := sensor.read()) is not None and chunk.end_ns < end_ns:
            chunks.append(chunk)
    finally:
        sensor.close()
    return chunks


def _piecewise(values: np.ndarray, rate_hz: float, start_s: float) -> Signal:
    """As ``edge.sensors.simulated.signals.played``, at a cost that does not grow with the recording."""

    def signal(t_s: np.ndarray) -> np.ndarray:
        at = np.clip((t_s - start_s) * rate_hz, 0.0, len(values) - 1.0)
        left = np.minimum(at.astype(np.int64), len(values) - 2)
        return values[left] + (at - left) * (values[left + 1] - values[left])

    return signal


def joined(chunks: list[Chunk]) -> tuple[int, float, np.ndarray]:
    """(time of the first sample in ns, rate in Hz, samples float64 (n,)): gaps are filled by straight lines, for those who need that."""
    rate_hz, first_ns = chunks[0].rate_hz, chunks[0].t_ns
    places = np.concatenate([np.rint((c.t_ns - first_ns) * rate_hz / 1e9) + np.arange(len(c.samples)) for c in chunks])
    values = np.concatenate([c.samples for c in chunks]).astype(np.float64)
    return first_ns, rate_hz, np.interp(np.arange(int(places[-1]) + 1), places, values)
