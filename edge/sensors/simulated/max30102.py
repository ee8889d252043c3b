"""A MAX30102 as its data sheet has it (19-7740 Rev 1): registers, FIFO, overflow, reset, die temperature, an oscillator that is off.

Not simulated: interrupts' pin, proximity mode, ambient light and its cancellation.
"""

from __future__ import annotations

import math
import typing

import numpy as np

from edge.clock import Clock
from edge.sensors.simulated.signals import Signal

SECOND_NS = 1_000_000_000
DEPTH = 32
WRITABLE = frozenset({0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x11, 0x12, 0x21})
AVERAGED = (1, 2, 4, 8, 16, 32, 32, 32)
RANGE_NA = (2048.0, 4096.0, 8192.0, 16384.0)
RATE_HZ = (50, 100, 200, 400, 800, 1000, 1600, 3200)
WIDEST = (3, 3, 3, 3, 2, 1, 0, -1)
"""Longest pulse width of each rate with two LEDs (Table 11); the chip takes the fastest rate that the width allows."""
RESET_NS, TEMPERATURE_NS = 1_000_000, 29_000_000
FULL_NA_PER_STEP_MA = 0.2  # Table 8


class SimulatedMax30102:
    """The chip at address 0x57, sensing from the moment that its mode is set.

    Args:
        clock: host time.
        infrared: light in nanoamperes of photocurrent per milliampere of LED current, over seconds of host time.
        red: the same for the red LED; as ``infrared`` if None.
        drift_percent: how much faster than nominal its oscillator runs.
        noise_na: standard deviation of the photocurrent's noise.
        die_c: temperature of the die in degrees Celsius.
    """

    def __init__(
        self,
        clock: Clock,
        infrared: Signal,
        *,
        red: Signal | None = None,
        drift_percent: float = 0.0,
        noise_na: float = 0.0,
        die_c: float = 31.4375,
        part_id: int = 0x15,
        revision: int = 0x03,
        seed: int = 0,
    ):
        self.die_c = die_c
        self.part_id, self.revision = part_id, revision
        self.taken = self.dropped = 0
        """Samples complete, and of those the ones that found the FIFO full; over all restarts."""
        self._clock, self._signals = clock, (infrared if red is None else red, infrared)
        self._drift, self._noise_na, self._random = drift_percent, noise_na, np.random.default_rng(seed)
        self._unpowered: list[tuple[int, int]] = []
        self._power_on()

    @property
    def drift_percent(self) -> float:
        """May be changed at any time."""
        return self._drift

    @drift_percent.setter
    def drift_percent(self, percent: float) -> None:
        self._run()
        phase = self._phase_at(self._clock.now_ns())
        self._drift = percent
        self._begun_ns, self._phase = self._clock.now_ns(), phase

    def brown_out(self, from_ns: int, until_ns: int) -> None:
        """No supply in [from_ns, until_ns): no answer, then the power-on state."""
        self._unpowered.append((from_ns, until_ns))

    def reset(self) -> None:
        """The power-on state now, as by another master's reset command: without the power-ready flag."""
        self._run()
        self._power_on()
        self._registers[0x00] = 0

    # --- the bus ----------------------------------------------------------------------------------------------------------

    def begin(self, reading: bool) -> bool:
        if not self._powered():
            return False
        self._addressed = not reading
        self._byte = 0
        return True

    def write(self, value: int) -> bool:
        self._run()
        if self._addressed:
            self._pointer, self._addressed = value, False
            return True
        self._store(self._pointer, value)
        self._advance()
        return True

    def read(self) -> int:
        self._run()
        value = self._fetch(self._pointer)
        self._advance()
        return value

    def end(self) -> None:
        self._byte = 0  # what was left of a sample is gone: its first byte has taken it out

    def _advance(self) -> None:
        if self._pointer != 0x07:
            self._pointer = (self._pointer + 1) & 0xFF

    # --- registers --------------------------------------------------------------------------------------------------------

    def _power_on(self) -> None:
        self._registers = bytearray(256)
        self._registers[0x00] = 0x01  # PWR_RDY
        self._registers[0xFE], self._registers[0xFF] = self.revision, self.part_id
        self._memory: list[tuple[int, ...]] = [(0,)] * DEPTH
        self._output: tuple[int, ...] = (0,)
        self._unread = 0
        self._pointer, self._addressed, self._byte = 0, False, 0
        self._reset_until_ns: int | None = None
        self._temperature_ns: int | None = None
        self._stop()

    def _powered(self) -> bool:
        """Whether there is supply now; when it has come back, everything is as after power-on."""
        now_ns = self._clock.now_ns()
        self._run()
        for spell in [spell for spell in self._unpowered if spell[1] <= now_ns]:
            self._unpowered.remove(spell)
            self._power_on()
        return not any(from_ns <= now_ns for from_ns, _ in self._unpowered)

    def _store(self, register: int, value: int) -> None:
        if register not in WRITABLE or self._reset_until_ns is not None:
            return
        if register == 0x09 and value & 0x40:
            self._stop()
            self._reset_until_ns = self._clock.now_ns() + RESET_NS
            self._registers[0x09] |= 0x40
            return
        if register in (0x04, 0x05, 0x06):
            value &= 0x1F
        self._registers[register] = value
        if register in (0x04, 0x06):
            # With equal pointers the FIFO is empty; the chip keeps no other record of how full it is.
            self._unread = (self._registers[0x04] - self._registers[0x06]) % DEPTH
        elif register in (0x08, 0x09, 0x0A, 0x11, 0x12):
            self._go()
        elif register == 0x21 and value & 1:
            self._temperature_ns = self._clock.now_ns() + TEMPERATURE_NS

    def _fetch(self, register: int) -> int:
        if register == 0x07:
            return self._next_byte()
        value = self._registers[register]
        if register in (0x00, 0x01):
            self._registers[register] = 0
        return value

    def _next_byte(self) -> int:
        """FIFO_DATA: the read pointer moves on with the first byte of a sample; the six bits above the 18 are not defined."""
        size = 3 * max(1, len(self._channels))
        if self._byte % size == 0:
            read = self._registers[0x06]
            self._output = self._memory[read]
            if self._unread:
                self._unread -= 1
                self._registers[0x06] = (read + 1) % DEPTH
                self._registers[0x05] = 0
        channel, place = divmod(self._byte % size, 3)
        self._byte += 1
        value = self._output[channel] if channel < len(self._output) else 0
        if place == 0:
            return (value >> 16 & 0x03) | int(self._random.integers(0, 64)) << 2
        return value >> (8 if place == 1 else 0) & 0xFF

    # --- sampling ---------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._channels: tuple[int, ...] = ()
        self._begun_ns, self._phase, self._done = self._clock.now_ns(), 0.0, 0

    def _go(self) -> None:
        """Sample as the registers now say, from now on."""
        registers = self._registers
        mode = registers[0x09] & 0x07
        slots = [registers[0x11] & 7, registers[0x11] >> 4 & 7, registers[0x12] & 7, registers[0x12] >> 4 & 7]
        active = {2: [1], 3: [1, 2], 7: [slot for slot in slots if slot]}.get(mode, [])
        self._stop()
        if registers[0x09] & 0x80:
            return
        self._channels = tuple(slot - 1 for slot in active if slot in (1, 2))
        width = registers[0x0A] & 3
        rate = registers[0x0A] >> 2 & 7
        while WIDEST[rate] < width:
            rate -= 1
        self._conversion_hz, self._averaged = RATE_HZ[rate], AVERAGED[registers[0x08] >> 5]
        self._range_na, self._bits = RANGE_NA[registers[0x0A] >> 5 & 3], 15 + width

    def _hz(self) -> float:
        """Samples per second of host time."""
        return self._conversion_hz / self._averaged * (1.0 + self._drift / 100.0)

    def _phase_at(self, now_ns: int) -> float:
        return self._phase + self._hz() * (now_ns - self._begun_ns) / SECOND_NS if self._channels else self._phase

    def _run(self) -> None:
        """Catch up with the clock."""
        now_ns = self._clock.now_ns()
        for from_ns, _ in self._unpowered:
            if from_ns <= now_ns and self._channels:
                self._complete(from_ns)
                self._stop()
        if self._reset_until_ns is not None and now_ns >= self._reset_until_ns:
            pointer, addressed = self._pointer, self._addressed
            self._power_on()
            self._registers[0x00] = 0  # "Setting the RESET bit does not trigger a PWR_RDY interrupt event"
            self._pointer, self._addressed = pointer, addressed
        if self._temperature_ns is not None and now_ns >= self._temperature_ns:
            self._temperature_ns = None
            sixteenths = math.floor(self.die_c * 16.0)
            self._registers[0x1F], self._registers[0x20] = sixteenths >> 4 & 0xFF, sixteenths & 0x0F
            self._registers[0x21] &= ~1 & 0xFF
            self._registers[0x01] |= 0x02
        if self._channels:
            self._complete(now_ns)

    def _complete(self, now_ns: int) -> None:
        """Push what was complete by ``now_ns``."""
        fresh = math.floor(self._phase_at(now_ns) + 1e-9) - self._done
        if fresh <= 0:
            return
        rolling = bool(self._registers[0x08] & 0x10)
        kept = fresh if rolling else min(fresh, DEPTH - self._unread)
        unseen = max(0, kept - DEPTH)
        if unseen:  # rolled over before anybody could read them
            self._registers[0x04] = self._registers[0x06] = (self._registers[0x04] + unseen) % DEPTH
            self._unread = DEPTH
        for sample in self._samples(np.arange(self._done + unseen, self._done + kept)) if kept else ():
            write = self._registers[0x04]
            self._memory[write] = sample
            self._registers[0x04] = (write + 1) % DEPTH
            self._unread += 1
            if self._unread > DEPTH:
                self._unread = DEPTH
                self._registers[0x06] = self._registers[0x04]
        if kept:
            self._registers[0x00] |= 0x40  # PPG_RDY
        if fresh > kept:
            self._registers[0x05] = min(0x1F, self._registers[0x05] + fresh - kept)
        self._done += fresh
        self.taken += fresh
        self.dropped += fresh - kept

    def _samples(self, numbers: np.ndarray) -> typing.Iterator[tuple[int, ...]]:
        """The samples of those numbers, each the mean of its conversions, left-justified to 18 bits (Table 2)."""
        steps = (numbers[:, None] + (np.arange(self._averaged) + 1.0) / self._averaged).ravel()
        times_s = (self._begun_ns + (steps - self._phase) / self._hz() * SECOND_NS) / SECOND_NS
        columns = []
        for channel in self._channels:
            led_ma = self._registers[0x0C + channel] * FULL_NA_PER_STEP_MA
            current_na = self._signals[channel](times_s) * led_ma
            if self._noise_na:
                current_na = current_na + self._random.normal(0.0, self._noise_na, len(current_na))
            codes = np.clip(np.floor(current_na / self._range_na * (1 << self._bits)), 0, (1 << self._bits) - 1)
            means = np.floor(codes.reshape(len(numbers), -1).mean(axis=1)).astype(np.int64)
            columns.append((means << (18 - self._bits)).tolist())
        return zip(*columns, strict=True)
