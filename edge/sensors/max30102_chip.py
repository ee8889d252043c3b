"""MAX30102 at its registers: settings in, numbered raw samples out, none lost without being counted.

Sections and tables are those of the MAX30102 data sheet, 19-7740 Rev 1 (10/18).
"""

from __future__ import annotations

import dataclasses
import threading

import numpy as np

from edge.clock import Clock
from edge.errors import ConfigError, SensorError
from edge.sensors.bus import BLOCK_BYTES, MS, I2cDevice
from edge.sensors.timing import ChipClock

ADDRESS = 0x57
PART_ID = 0x15
FULL_SCALE = (1 << 18) - 1
"""Largest of the 18 bits of a sample; the six above are undefined (FIFO Data, Table 2)."""

# Section "Register Maps and Descriptions".
_FIFO_WRITE, _FIFO_READ, _FIFO_DATA = 0x04, 0x06, 0x07
_FIFO_CONFIG, _MODE_CONFIG, _SPO2_CONFIG = 0x08, 0x09, 0x0A
_LED_REGISTER = {"red": 0x0C, "infrared": 0x0D}
_SLOTS_1_2, _TEMPERATURE, _TEMPERATURE_CONFIG, _REVISION_ID, _PART_ID = 0x11, 0x1F, 0x21, 0xFE, 0xFF

_SHUTDOWN, _RESET, _MULTI_LED = 0x80, 0x40, 0x07  # in _MODE_CONFIG
_FIFO_DEPTH, _FIFO_MASK, _SAMPLE_BYTES = 32, 31, 3
_COUNTER_MOST = 31  # section "FIFO Overflow Counter": it saturates

_AVERAGING = {1: 0, 2: 1, 4: 2, 8: 3, 16: 4, 32: 5}  # Table 3, SMP_AVE
_FULL_SCALE_NA = {2048: 0, 4096: 1, 8192: 2, 16384: 3}  # Table 5, SPO2_ADC_RGE
_CONVERSIONS_HZ = {50: 0, 100: 1, 200: 2, 400: 3}  # Table 6, SPO2_SR; 411 us pulses allow no more (Table 11)
_PULSE_411_US = 3  # Table 7, LED_PW: 18-bit resolution
_SLOT = {"red": 1, "infrared": 2}  # Table 9
_LED_STEP_UA, _LED_CODES = 200, 255  # Table 8: 0 to 51 mA

_RESET_WITHIN_NS = 50 * MS
_TEMPERATURE_EVERY_NS = 10_000 * MS
_TEMPERATURE_WITHIN_NS = 200 * MS  # a conversion takes 29 ms (Electrical Characteristics)
_CHECK_EVERY_NS = 1_000 * MS
_FIFO_FAILURES = 3  # polls in a row
_FIFO_ALMOST = 28.0  # its depth, less what a clock that is off by several per cent can make of it
_SILENT = 4.0  # samples overdue after which the settings are looked at
_SILENT_POLLS = 5
_GAP_POLLS = 8
_CERTAIN = 0.15  # samples


@dataclasses.dataclass(frozen=True)
class Max30102Settings:
    """How the chip is set; a person's finger needs no other than the default."""

    rate_hz: int = 100
    """Samples delivered in a second: 50, 100 or 200; the chip bridges stalls of the host of 28 samples."""
    averaging: int = 4
    """Conversions in a sample; ``rate_hz * averaging`` is 50, 100, 200 or 400."""
    led: str = "infrared"
    """"infrared" or "red"."""
    led_current_ua: int = 6400
    """Microamperes at the start, in steps of 200."""
    most_current_ua: int = 25400
    """Automatic gain goes no higher; the LED drivers give 51000."""
    full_scale_na: int = 4096
    """Photocurrent at full scale: 2048, 4096, 8192 or 16384 nanoamperes."""
    auto_gain: bool = True
    """Turn the LED up when the signal is dim and down when it saturates."""

    def __post_init__(self) -> None:
        if self.rate_hz not in (50, 100, 200):
            raise ConfigError(f"max30102.rate_hz: got {self.rate_hz}; it is 50, 100 or 200")
        if self.averaging not in _AVERAGING or self.rate_hz * self.averaging not in _CONVERSIONS_HZ:
            raise ConfigError(f"max30102.averaging: got {self.averaging}; rate_hz times averaging is 50, 100, 200 or 400")
        if self.led not in _SLOT:
            raise ConfigError(f'max30102.led: got {self.led!r}; it is "infrared" or "red"')
        if self.full_scale_na not in _FULL_SCALE_NA:
            raise ConfigError(f"max30102.full_scale_na: got {self.full_scale_na}; it is one of {', '.join(map(str, _FULL_SCALE_NA))}")
        for name in ("led_current_ua", "most_current_ua"):
            if not _LED_STEP_UA <= getattr(self, name) <= _LED_CODES * _LED_STEP_UA:
                raise ConfigError(f"max30102.{name}: got {getattr(self, name)}; it is {_LED_STEP_UA} to {_LED_CODES * _LED_STEP_UA}")
        if self.led_current_ua > self.most_current_ua:
            raise ConfigError(f"max30102.led_current_ua: got {self.led_current_ua}, more than most_current_ua, {self.most_current_ua}")


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Samples that lie side by side in time."""

    first: int
    """Number of the first since the chip was opened, lost ones counted."""
    counts: np.ndarray
    """int64 (n,), 0 to ``FULL_SCALE``."""


class Max30102:
    """The chip: started by ``start``, asked by ``poll``; every method raises SensorError when it does not answer."""

    def __init__(self, device: I2cDevice, settings: Max30102Settings, clock: Clock):
        self.clock = ChipClock(settings.rate_hz)
        """When which sample was complete."""
        self.lost = 0
        """Samples that the chip took, or should have taken, and nobody got; exact once the batch behind the gap is out."""
        self.overflows = self.restarts = 0
        """Times that its FIFO ran over, and that it was found to have lost its settings."""
        self.revision: int | None = None
        self.die_temperature_c: float | None = None
        """Newest of the readings every ten seconds, in steps of 0.0625 degrees Celsius."""
        self.led_current_ua = settings.led_current_ua // _LED_STEP_UA * _LED_STEP_UA
        self._device, self._settings, self._host = device, settings, clock
        self._never = threading.Event()
        self._running = self._numbered = False
        self._next = 0  # number of the next sample to be read, as far as known
        self._pointer = 0  # where in the FIFO that lies
        self._asked_ns = self._left = 0  # when the pointers were last read, and how many of the samples there then are still unread
        self._popped_ns = 0  # when a block was last read
        self._gap: _Gap | None = None
        self._failures = self._silent_polls = 0
        self._checked_ns = self._measured_ns = 0
        self._measuring = False

    def start(self) -> None:
        """Identify, reset and set the chip, and let it sample."""
        self._running = False
        self._identify()
        self._reset()
        self._device.write(_FIFO_WRITE, (0, 0, 0))  # section "Write/Read Pointers": clear them before a mode is entered
        for register, value in self._registers().items():
            self._device.write(register, (value,))
        now_ns = self._host.now_ns()
        if not self._intact():
            raise SensorError(f"max30102 on bus {self._device.bus}: does not keep its settings; check its supply of 1.8 V")
        self._number(now_ns)
        self._measuring, self._measured_ns = False, now_ns
        self._running = True

    @property
    def unsure(self) -> bool:
        """Whether samples are held back until it is known how many were lost before them: polls in quick succession tell."""
        return self._gap is not None

    def set_led(self, current_ua: int) -> None:
        """Change the LED's current from now on, rounded down to a step."""
        code = min(max(current_ua // _LED_STEP_UA, 1), _LED_CODES)
        self._device.write(_LED_REGISTER[self._settings.led], (code,))
        self.led_current_ua = code * _LED_STEP_UA

    def stop(self) -> None:
        """LED off, registers kept (Mode Configuration, SHDN)."""
        self._running = False
        self._device.write(_MODE_CONFIG, (_SHUTDOWN,))

    def poll(self) -> list[Batch]:
        """What the FIFO holds; starts the chip anew if it lost its settings."""
        if not self._running:
            return self._restart()
        # Nothing that can fail comes behind the reading of samples, or they would be lost without being counted.
        self._measure_temperature()
        before_ns = self._host.now_ns()
        write, overflow, read = (value & _FIFO_MASK for value in self._device.read(_FIFO_WRITE, 3))
        after_ns = self._host.now_ns()
        asked_ns = (before_ns + after_ns) // 2
        since_pop = self.clock.rate_hz * (before_ns - self._popped_ns) * 1e-9
        unread_most = self._left + self.clock.rate_hz * (after_ns - self._asked_ns) * 1e-9
        silent = write == read and not overflow and since_pop > _SILENT
        if read != self._pointer or silent or before_ns - self._checked_ns >= _CHECK_EVERY_NS:
            self._checked_ns = before_ns
            if not self._intact():
                return self._restart()
        if read != self._pointer:
            self._mend(read, unread_most)
        waiting = (write - self._pointer) % _FIFO_DEPTH
        # Full and empty look alike; what tells them apart is the counter, or that enough time has passed with room in the FIFO.
        full = overflow > 0 or (waiting == 0 and unread_most > _FIFO_ALMOST and (self._left > 0 or since_pop > 1.5))
        if full:
            waiting = _FIFO_DEPTH
        self._listen(silent and not waiting)
        self._asked_ns, self._left = asked_ns, waiting
        return self._take(asked_ns, after_ns - before_ns, waiting, overflow if full else None)

    def _identify(self) -> None:
        part, revision = self._device.read(_PART_ID)[0], self._device.read(_REVISION_ID)[0]
        if part != PART_ID:
            raise SensorError(
                f"max30102 on bus {self._device.bus}: part id {part:#04x} instead of {PART_ID:#04x}, another chip; "
                "wire a MAX30102, or name the bus that it is on"
            )
        if self.revision not in (None, revision):
            self.clock.forget()  # another specimen has another oscillator
        self.revision = revision

    def _reset(self) -> None:
        """Mode Configuration, RESET: clears itself when the power-on state is reached; how soon is not said."""
        self._device.write(_MODE_CONFIG, (_RESET,))
        until_ns = self._host.now_ns() + _RESET_WITHIN_NS
        while self._device.read(_MODE_CONFIG)[0] & _RESET:
            if self._host.now_ns() > until_ns:
                raise SensorError(f"max30102 on bus {self._device.bus}: its reset does not end; take its power off for a second")
            self._host.wait(self._never, self._host.now_ns() + MS)

    def _registers(self) -> dict[int, int]:
        """What the registers hold while it runs, the mode last. No rollover: a full FIFO keeps the oldest and counts losses."""
        s = self._settings
        return {
            _FIFO_CONFIG: _AVERAGING[s.averaging] << 5,
            _SPO2_CONFIG: _FULL_SCALE_NA[s.full_scale_na] << 5 | _CONVERSIONS_HZ[s.rate_hz * s.averaging] << 2 | _PULSE_411_US,
            _LED_REGISTER[s.led]: self.led_current_ua // _LED_STEP_UA,
            _SLOTS_1_2: _SLOT[s.led],
            _MODE_CONFIG: _MULTI_LED,
        }

    def _intact(self) -> bool:
        """Whether the registers still hold what was written."""
        settings = self._registers()
        block = self._device.read(_FIFO_CONFIG, 3)
        return list(block) == [settings[register] for register in (_FIFO_CONFIG, _MODE_CONFIG, _SPO2_CONFIG)] and all(
            self._device.read(register)[0] == settings[register] for register in (_LED_REGISTER[self._settings.led], _SLOTS_1_2)
        )

    def _restart(self) -> list[Batch]:
        self.start()
        self.restarts += 1
        return []

    def _number(self, now_ns: int) -> None:
        """Number the samples to come: after a restart as if it had gone on sampling meanwhile."""
        if self._numbered:
            missed = max(0, round(self.clock.count_at(now_ns)) - self._next)
            self.lost += missed
            self._next += missed
        self._numbered, self._gap = True, None
        self._pointer = self._left = 0
        self._asked_ns = self._popped_ns = self._checked_ns = now_ns
        self.clock.restart(now_ns, self._next)

    def _listen(self, silent: bool) -> None:
        """SensorError when the chip is set as it should be and takes no samples all the same."""
        self._silent_polls = self._silent_polls + 1 if silent else 0
        if self._silent_polls >= _SILENT_POLLS:
            self._running, self._silent_polls = False, 0
            raise SensorError(f"max30102 on bus {self._device.bus}: takes no samples although it is set to; it is started again")

    def _mend(self, read: int, unread: float) -> None:
        """A block read broke off, and the chip went on further than what arrived: go back, or count what cannot be read again.

        Args:
            unread: samples that may have been complete without arriving; when they fill the FIFO, they lie where those popped were.
        """
        if unread < _FIFO_ALMOST:
            self._device.write(_FIFO_READ, (self._pointer,))  # section "Write/Read Pointers": so samples are read again
            return
        gone = (read - self._pointer) % _FIFO_DEPTH
        self._pointer = read
        self._gap = self._gap or _Gap(guess=0)
        self._gap.add(gone)

    def _take(self, asked_ns: int, doubt_ns: int, waiting: int, overflow: int | None) -> list[Batch]:
        """Read ``waiting`` samples and number them; ``overflow`` is the counter of a FIFO that was full."""
        clock, gap = self.clock, self._gap
        predicted = clock.count_at(asked_ns)
        if gap is None and overflow is None:
            off = predicted - (self._next + waiting + 0.5)
            if off > 1.0 + clock.rate_hz * doubt_ns * 1e-9 + 4.0 * clock.uncertainty_at(asked_ns):
                gap = self._gap = _Gap(guess=round(off))  # some went missing and no counter said so
            else:
                clock.observe(asked_ns, self._next + waiting, doubt_ns)
        lost = gap.length(predicted - (self._next + waiting + 0.5)) if gap else None
        samples, popped_ns, brims = self._drain(asked_ns, waiting)
        if gap is not None:
            gap.samples.append(samples)
            if overflow is not None or brims:
                lost = gap.guess  # overrun once more before it was resolved: no poll will ever tell it from the second
            if lost is None:
                return []
            batches = self._close_gap(gap, lost)
        else:
            batches = [Batch(self._next, samples)] if len(samples) else []
            self._next += len(samples)
        if overflow is not None:
            self.overflows += 1
            most = None
            if overflow < _COUNTER_MOST:
                # Samples that came before the FIFO had room again; one more, if the clock is known well enough to tell.
                late = int(clock.rate_hz * (popped_ns - asked_ns) * 1e-9)
                most = overflow + late + (clock.uncertainty_at(asked_ns) < _CERTAIN)
            self._gap = _Gap(guess=int(clock.count_at(popped_ns)) - self._next, least=overflow, most=most)
            if len(brims) > 1:  # and again while it was read
                self._close_gap(self._gap, self._gap.guess)
                self._gap = _Gap(guess=0, before=brims[1])
        elif brims:
            self._gap = _Gap(guess=0, before=brims[0])
        return batches

    def _close_gap(self, gap: _Gap, lost: int) -> list[Batch]:
        self._gap = None
        self.lost += lost
        samples = np.concatenate(gap.samples or [np.zeros(0, np.int64)])
        batches = [Batch(self._next, samples[: gap.before]), Batch(self._next + gap.before + lost, samples[gap.before :])]
        self._next += len(samples) + lost
        return [batch for batch in batches if len(batch.counts)]

    def _drain(self, asked_ns: int, waiting: int) -> tuple[np.ndarray, int, list[int]]:
        """Read the ``waiting`` samples of ``asked_ns``, whole ones in each block; what breaks off waits for ``_mend``.

        Returns:
            The samples, when the first block was through, and for each block before which the FIFO may have run over, because the
            host was slow, how many samples behind those read lie before what was lost.
        """
        data, brims = b"", []
        popped_ns = asked_ns
        try:
            while len(data) < waiting * _SAMPLE_BYTES:
                popped = len(data) // _SAMPLE_BYTES
                count = min(waiting - popped, BLOCK_BYTES // _SAMPLE_BYTES)
                data += self._device.read_once(_FIFO_DATA, count * _SAMPLE_BYTES)
                now_ns = self._host.now_ns()
                if waiting - popped + self.clock.rate_hz * (now_ns - asked_ns) * 1e-9 >= _FIFO_DEPTH - 1:
                    brims.append(popped + _FIFO_DEPTH - waiting)
                if not popped:
                    popped_ns = now_ns
                self._popped_ns = now_ns
            self._failures = 0
        except SensorError:
            self._failures += 1
            if self._failures >= _FIFO_FAILURES:
                raise
        triplets = np.frombuffer(data, np.uint8).reshape(-1, _SAMPLE_BYTES).astype(np.int64)
        self._pointer = (self._pointer + len(triplets)) % _FIFO_DEPTH
        self._left -= len(triplets)
        return (triplets[:, 0] << 16 | triplets[:, 1] << 8 | triplets[:, 2]) & FULL_SCALE, popped_ns, brims

    def _measure_temperature(self) -> None:
        """Section "Die Temperature Configuration": set, ask at the next polls, read when the chip has cleared it."""
        now_ns = self._host.now_ns()
        since_ns = now_ns - self._measured_ns
        if not self._measuring:
            if since_ns >= _TEMPERATURE_EVERY_NS or self.die_temperature_c is None:
                self._device.write(_TEMPERATURE_CONFIG, (1,))
                self._measuring, self._measured_ns = True, now_ns
        elif not self._device.read(_TEMPERATURE_CONFIG)[0] & 1:
            whole, sixteenths = self._device.read(_TEMPERATURE, 2)
            self.die_temperature_c = (whole ^ 0x80) - 0x80 + (sixteenths & 0x0F) / 16.0
            self._measuring = False
        elif since_ns > _TEMPERATURE_WITHIN_NS:
            self._measuring = False  # it did not end in time: begin again at the next turn


@dataclasses.dataclass(eq=False)
class _Gap:
    """Samples were lost, and how many is only known some polls later.

    The chip's counter stops at 31 and misses what is lost while it is read. The chip's clock, known to a fraction of a sample,
    tells better: from poll to poll, what it says beyond what was seen is the number lost, and a fraction that averages to zero.
    """

    guess: int
    """The best that could be said at once."""
    least: int = 0
    most: int | None = None
    """What the chip's own counter says; None if it sets no upper limit."""
    before: int = 0
    """Of the samples read since, how many lie before the gap."""
    samples: list[np.ndarray] = dataclasses.field(default_factory=list)
    beyond: list[float] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.guess = self._within(self.guess)

    def add(self, gone: int) -> None:
        """That many more are known to be lost."""
        self.least += gone
        self.guess, self.most = max(self.guess, self.least), None

    @property
    def held(self) -> int:
        return sum(map(len, self.samples))

    def length(self, beyond: float) -> int | None:
        """Samples lost, or None if too few polls have told yet.

        Args:
            beyond: samples complete by the clock, less those that were seen before and after the gap, the held ones left out.
        """
        self.beyond.append(beyond - self.held)
        if len(self.beyond) < _GAP_POLLS:
            return None
        return self._within(round(sum(self.beyond) / len(self.beyond)))

    def _within(self, lost: int) -> int:
        lost = max(lost, self.least)
        return lost if self.most is None else min(lost, self.most)
