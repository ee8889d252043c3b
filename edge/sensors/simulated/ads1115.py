"""An ADS1115 as its data sheet has it (SBAS444D), with a GSR circuit on one input: registers, conversions, clipping, single shots.

Not simulated: the comparator and its pin, the general call, high-speed mode.
"""

from __future__ import annotations

import math
import typing

import numpy as np

from edge.clock import Clock
from edge.sensors.simulated.signals import Signal

SECOND_NS = 1_000_000_000
RANGES_V = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)
RATES_SPS = (8, 16, 32, 64, 128, 250, 475, 860)
WAKE_NS = 25_000
"""From power-down to the start of a conversion (section 9.4.2.1)."""

Circuit = typing.Callable[[np.ndarray], np.ndarray]
"""Skin conductance in microsiemens -> voltage at the input; not-a-number stands for electrodes off."""


def divider(*, supply_v: float = 3.3, resistor_ohm: float = 100e3) -> Circuit:
    """Electrodes from the supply to the input, a resistor from there to ground."""

    def volts(skin_us: np.ndarray) -> np.ndarray:
        conductance_s = np.nan_to_num(skin_us, nan=0.0, posinf=1e9) * 1e-6
        return supply_v * conductance_s / (conductance_s + 1.0 / resistor_ohm)

    return volts


def grove(*, supply_v: float = 3.3, rest_v: float | None = None) -> Circuit:
    """Grove GSR sensor v1.2: ``rest_v`` (half the supply) when open, lower with skin, no lower than 5 mV.

    Seeed's formula solved for the reading: ``R = (1024 + 2 r) 10000 / (c - r)`` gives ``r = (c R - 1024e4) / (R + 2e4)``.
    """
    rest = (supply_v / 2 if rest_v is None else rest_v) / supply_v * 1024.0

    def volts(skin_us: np.ndarray) -> np.ndarray:
        skin = np.nan_to_num(skin_us, nan=0.0, posinf=1e9)
        resistance_ohm = 1e6 / np.maximum(skin, 1e-9)
        reading = (rest * resistance_ohm - 1024e4) / (resistance_ohm + 2e4)
        return np.maximum(reading / 1024.0 * supply_v, 0.005)

    return volts


class SimulatedAds1115:
    """The chip at one of 0x48 to 0x4B.

    Args:
        clock: host time.
        skin_us: skin conductance in microsiemens over seconds of host time; not-a-number while the electrodes are off.
        circuit: what makes a voltage of it.
        channel: input that the circuit is wired to; the others lie at ground.
        drift_percent: how much faster than nominal its oscillator runs; the data sheet allows 10.
        noise_v: standard deviation of the input's noise.
    """

    def __init__(
        self,
        clock: Clock,
        skin_us: Signal,
        circuit: Circuit,
        *,
        channel: int = 0,
        drift_percent: float = 0.0,
        noise_v: float = 0.0,
        seed: int = 0,
    ):
        self.conversions = 0
        """Completed, over all restarts."""
        self._clock, self._skin_us, self._circuit = clock, skin_us, circuit
        self._channel, self._drift, self._noise_v = channel, drift_percent, noise_v
        self._random = np.random.default_rng(seed)
        self._unpowered: list[tuple[int, int]] = []
        self._power_on()

    def brown_out(self, from_ns: int, until_ns: int) -> None:
        """No supply in [from_ns, until_ns): no answer, then the power-on state."""
        self._unpowered.append((from_ns, until_ns))

    def reset(self) -> None:
        """The power-on state now, as by a general call."""
        self._power_on()

    # --- the bus ----------------------------------------------------------------------------------------------------------

    def begin(self, reading: bool) -> bool:
        now_ns = self._clock.now_ns()
        for spell in [spell for spell in self._unpowered if spell[1] <= now_ns]:
            self._unpowered.remove(spell)
            self._power_on()
        if any(from_ns <= now_ns for from_ns, _ in self._unpowered):
            return False
        self._run()
        self._place = 0
        self._reading = reading
        if reading:
            self._word = self._fetch()
        return True

    def write(self, value: int) -> bool:
        """The first byte is the pointer; the two behind it go to the register at once, with the second (Figure 29)."""
        if self._place == 0:
            self._pointer = value & 0x03
        elif self._place == 1:
            self._high = value
        elif self._place == 2:
            self._run()
            self._store(self._high << 8 | value)
        self._place += 1
        return True

    def read(self) -> int:
        """The high byte, then the low one, then nothing drives the line."""
        place, self._place = self._place, self._place + 1
        return (self._word >> 8, self._word & 0xFF)[place] if place < 2 else 0xFF

    def end(self) -> None:
        self._place = 0

    # --- registers --------------------------------------------------------------------------------------------------------

    def _power_on(self) -> None:
        self._result = 0
        self._config, self._latched = 0x8583, 0x8583
        self._thresholds = [0x8000, 0x7FFF]
        self._pointer = self._place = self._high = self._word = 0
        self._due_ns: int | None = None  # when the conversion under way is complete; none in power-down

    def _fetch(self) -> int:
        if self._pointer == 0:
            return self._result & 0xFFFF
        if self._pointer == 1:
            return self._config & 0x7FFF | (0x8000 if self._due_ns is None else 0)
        return self._thresholds[self._pointer - 2]

    def _store(self, value: int) -> None:
        if self._pointer >= 2:
            self._thresholds[self._pointer - 2] = value
        elif self._pointer == 1:
            self._config = value & 0x7FFF
            if self._due_ns is None and (not value & 0x0100 or value & 0x8000):
                self._latched = self._config
                self._due_ns = self._clock.now_ns() + WAKE_NS + self._conversion_ns()

    def _conversion_ns(self) -> int:
        rate_sps = RATES_SPS[self._latched >> 5 & 7] * (1.0 + self._drift / 100.0)
        return round(SECOND_NS / rate_sps)

    # --- converting -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Catch up with the clock. A conversion under way ends with the settings that it began with (section 9.4.2.2)."""
        now_ns = self._clock.now_ns()
        for from_ns, _ in self._unpowered:
            if from_ns <= now_ns:
                now_ns = from_ns
        while self._due_ns is not None and self._due_ns <= now_ns:
            behind = (now_ns - self._due_ns) // self._conversion_ns()
            if behind > 1 and self._latched == self._config and not self._config & 0x0100:
                self._due_ns += (behind - 1) * self._conversion_ns()  # nobody sees those between
                self.conversions += behind - 1
            self._result = self._convert(self._due_ns)
            self.conversions += 1
            self._latched = self._config
            self._due_ns = None if self._config & 0x0100 else self._due_ns + self._conversion_ns()

    def _convert(self, end_ns: int) -> int:
        """The mean over one conversion up to ``end_ns``, in two's complement, clipped."""
        conversion_ns = self._conversion_ns()
        times_s = (end_ns - conversion_ns * (np.arange(8) + 0.5) / 8.0) / SECOND_NS
        volts = self._input(times_s)
        if self._noise_v:
            volts += self._random.normal(0.0, self._noise_v)
        code = math.floor(volts / RANGES_V[self._latched >> 9 & 7] * 32768.0 + 0.5)
        return max(-32768, min(32767, code))

    def _input(self, times_s: np.ndarray) -> float:
        """Volts between the inputs that MUX selects."""
        plus, minus = ((0, 1), (0, 3), (1, 3), (2, 3), (0, None), (1, None), (2, None), (3, None))[self._latched >> 12 & 7]
        wired = float(self._circuit(self._skin_us(times_s)).mean())
        return (wired if plus == self._channel else 0.0) - (wired if minus == self._channel else 0.0)
