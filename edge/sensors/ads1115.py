"""Skin conductance from an ADS1115 behind a GSR front end: a Grove GSR sensor, or a plain divider.

Sections and tables are those of the ADS111x data sheet, SBAS444D (January 2018).
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from edge.clock import Clock
from edge.errors import ConfigError, SensorError
from edge.sensors.bus import MS, I2cDevice, SmBus
from edge.sensors.polling import PolledSensor
from edge.types import Chunk

ADDRESS = 0x48
"""ADDR pin to ground; 0x49 to VDD, 0x4A to SDA, 0x4B to SCL (Table 4)."""

# Section 9.6: registers of 16 bits, the high byte first.
_CONVERSION, _CONFIG = 0x00, 0x01
_START = 0x8000  # OS: reads 0 while converting, so it is left out of comparisons
_SINGLE_ENDED = 4  # MUX: AINx against GND, 100 to 111
_FULL_SCALE_MV = {6144: 0, 4096: 1, 2048: 2, 1024: 3, 512: 4, 256: 5}  # PGA, Table 8
_CONVERSIONS_HZ = {8: 0, 16: 1, 32: 2, 64: 3, 128: 4, 250: 5, 475: 6, 860: 7}  # DR, Table 8
_SINGLE_SHOT = 0x0100  # MODE; continuous without it
_NO_COMPARATOR = 0x0003  # COMP_QUE
_TOP, _BOTTOM = 0x7FFF, -0x8000  # the converter clips (section 9.5.4)

SLOWEST = 1.1
"""Its oscillator is within 10 % (section 7.5), so a conversion takes at most 1.1 times its nominal time."""
CHUNK_NS = 250 * MS
"""Length of the chunks, the same as of a recorded session's."""
OFF_SCALE_US = 1000.0
"""Given out where the circuit can tell no more: far beyond what skin conducts, so whoever reads it knows that it is not skin."""
GROVE_FLOOR_V = 0.02
"""The Grove's amplifier comes no closer to ground: what it gives there is off its scale."""


@dataclasses.dataclass(frozen=True)
class Ads1115Settings:
    """The converter, the circuit in front of it, and the circuit's calibration."""

    rate_hz: int = 16
    """Samples delivered in a second, 4 to 64."""
    conversions_hz: int = 64
    """Conversions in a second: 8, 16, 32, 64, 128, 250, 475 or 860, at least twice ``rate_hz``."""
    channel: int = 0
    """Input, 0 to 3, against ground."""
    full_scale_mv: int = 4096
    """6144, 4096, 2048, 1024, 512 or 256; no input may exceed the converter's own supply."""
    front_end: str = "grove"
    """"grove" (Grove GSR v1.2) or "divider"."""
    supply_mv: int = 3300
    """Voltage that feeds the circuit; measure it."""
    open_uv: int = 1_650_000
    """Grove: its output in microvolts while nobody touches the electrodes; its potentiometer sets it to half the supply. Measure it."""
    series_ohm: int = 10_000
    """Grove: the constant of its formula."""
    reference_ohm: int = 100_000
    """Divider: the resistor from the input to ground; the electrodes lie between supply and input."""
    off_below_nanosiemens: int = 30
    """Less counts as nobody touching the electrodes and is given out as 0."""

    def __post_init__(self) -> None:
        if not 4 <= self.rate_hz <= 64:
            raise ConfigError(f"ads1115.rate_hz: got {self.rate_hz}; it is 4 to 64")
        if self.conversions_hz not in _CONVERSIONS_HZ or self.conversions_hz < 2 * self.rate_hz:
            known = ", ".join(map(str, _CONVERSIONS_HZ))
            raise ConfigError(f"ads1115.conversions_hz: got {self.conversions_hz}; it is one of {known}, at least twice rate_hz")
        if not 0 <= self.channel <= 3:
            raise ConfigError(f"ads1115.channel: got {self.channel}; it is 0 to 3")
        if self.full_scale_mv not in _FULL_SCALE_MV:
            raise ConfigError(f"ads1115.full_scale_mv: got {self.full_scale_mv}; it is one of {', '.join(map(str, _FULL_SCALE_MV))}")
        if self.front_end not in FRONT_ENDS:
            raise ConfigError(f"ads1115.front_end: got {self.front_end!r}; it is one of {', '.join(FRONT_ENDS)}")
        for name in ("supply_mv", "open_uv", "series_ohm", "reference_ohm"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"ads1115.{name}: got {getattr(self, name)}; it is above 0")
        if self.off_below_nanosiemens < 0:
            raise ConfigError(f"ads1115.off_below_nanosiemens: got {self.off_below_nanosiemens}; it is at least 0")
        if self.open_uv >= self.supply_mv * 1000:
            raise ConfigError(f"ads1115.open_uv: got {self.open_uv}, not below the supply of {self.supply_mv} mV; measure both")


def divider_us(volts: float, settings: Ads1115Settings) -> float:
    """Conductance of the skin between supply and input, a resistor R from input to ground, in microsiemens.

    The current through both is ``volts / R``, the voltage over the skin ``supply - volts``: ``G = volts / (R (supply - volts))``.
    An open circuit gives 0, a short one ``OFF_SCALE_US``.
    """
    over_skin_v = settings.supply_mv * 1e-3 - volts
    if over_skin_v <= 0.0:
        return OFF_SCALE_US
    return min(max(volts, 0.0) / (settings.reference_ohm * over_skin_v) * 1e6, OFF_SCALE_US)


def grove_us(volts: float, settings: Ads1115Settings) -> float:
    """Conductance at the electrodes of a Grove GSR sensor v1.2, in microsiemens.

    Seeed's wiki gives the resistance in ohms as ``(1024 + 2 r) * 10000 / (c - r)`` with readings of 10 bits, ``r`` now and ``c``
    with the electrodes open. With ``v = volts / supply`` and ``o = open / supply`` in place of the readings over 1024:
    ``G = (o - v) / ((1 + 2 v) * series)``. More skin pulls the output down; it ends near ground, about 49 microsiemens.
    """
    if volts < GROVE_FLOOR_V:
        return OFF_SCALE_US
    supply_v = settings.supply_mv * 1e-3
    return max((settings.open_uv * 1e-6 - volts) / ((supply_v + 2.0 * volts) * settings.series_ohm) * 1e6, 0.0)


FRONT_ENDS: dict[str, typing.Callable[[float, Ads1115Settings], float]] = {"grove": grove_us, "divider": divider_us}

Contact = typing.Literal["on", "off", "saturated"]


class SkinConductanceSensor(PolledSensor):
    """Track ``eda`` of an ADS1115, in microsiemens, at ``settings.rate_hz``.

    0 while nobody touches the electrodes, ``OFF_SCALE_US`` while circuit or converter are at their end: both are no skin's values,
    and ``edge.preprocess.eda`` takes them for electrodes off. Samples that the host came too late for are a gap in time.

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
        settings: Ads1115Settings | None = None,
        *,
        smbus: SmBus | None = None,
        address: int = ADDRESS,
        live: bool = True,
    ):
        settings = settings or Ads1115Settings()
        device = I2cDevice(bus, address, clock, smbus=smbus)
        super().__init__(f"ads1115 on bus {bus}, address {address:#04x}", "eda", device, clock, live=live)
        self.contact: Contact = "off"
        """What the newest sample says of the electrodes."""
        self.volts = 0.0
        """At the input, newest; what calibration needs."""
        self.lost = self.restarts = 0
        """Samples for which the host came too late or the chip was not there; times that it had lost its settings."""
        self._settings = settings
        self._convert = FRONT_ENDS[settings.front_end]
        self._config = (
            (_SINGLE_ENDED + settings.channel) << 12
            | _FULL_SCALE_MV[settings.full_scale_mv] << 9
            | _CONVERSIONS_HZ[settings.conversions_hz] << 5
            | _NO_COMPARATOR
        )
        self._age_ns = round(1e9 / settings.conversions_hz)  # half a conversion until it is read, half to its middle
        self._run = max(1, round(settings.rate_hz * CHUNK_NS / 1e9))
        self._origin_ns: int | None = None
        self._next = 0  # sample due next, counted from the origin
        self._made: list[float] = []
        self._settled_ns = 0
        self._running = False

    def _start(self) -> None:
        self._running = False
        self._device.write(_CONFIG, (self._config >> 8, self._config & 0xFF))
        if self._read(_CONFIG) & ~_START & 0xFFFF != self._config:
            raise SensorError(f"{self._name}: does not keep its settings; is it an ADS1115, and is its supply of 2 V at least steady?")
        # Section 9.4.2.2: the conversion under way ends with the old settings; the first with the new ones comes after it.
        slowest_old_hz = min(_CONVERSIONS_HZ) if self._origin_ns is None else self._settings.conversions_hz
        self._settled_ns = self._clock.now_ns() + round((1.0 / slowest_old_hz + 1.0 / self._settings.conversions_hz) * SLOWEST * 1e9)
        if self._origin_ns is None:
            self._origin_ns = self._settled_ns
        self._running = True

    def _time_ns(self, step: int) -> int:
        return (self._origin_ns or 0) + round(step * 1e9 / self._settings.rate_hz)

    def _due_ns(self) -> int:
        return max(self._time_ns(self._next), self._settled_ns)

    def _poll(self) -> collections.abc.Sequence[Chunk]:
        if not self._running or self._read(_CONFIG) & ~_START & 0xFFFF != self._config:
            self._start()
            self.restarts += 1
            return self._cut()
        chunks: list[Chunk] = []
        before_ns = self._clock.now_ns()
        code = self._read(_CONVERSION)
        asked_ns = (before_ns + self._clock.now_ns()) // 2
        step = max(self._next, round((asked_ns - self._time_ns(0)) * self._settings.rate_hz / 1e9))
        if step > self._next:
            chunks += self._cut()
            self.lost += step - self._next
            self._next = step
        self._made.append(self._measure(code - 0x10000 if code & 0x8000 else code))
        self._next += 1
        return chunks + (self._cut() if len(self._made) == self._run else [])

    def _measure(self, code: int) -> float:
        """Microsiemens of a conversion in two's complement."""
        self.volts = code * self._settings.full_scale_mv * 1e-3 / 0x8000
        value = self._convert(self.volts, self._settings) if _BOTTOM < code < _TOP else OFF_SCALE_US
        if value * 1e3 < self._settings.off_below_nanosiemens:
            value = 0.0
        self.contact = "off" if value == 0.0 else "saturated" if value >= OFF_SCALE_US else "on"
        return value

    def _cut(self) -> list[Chunk]:
        """End the chunk that is being filled."""
        if not self._made:
            return []
        t_ns = self._time_ns(self._next - len(self._made)) - self._age_ns
        samples = np.array(self._made, np.float32)
        self._made.clear()
        return [Chunk("eda", t_ns, float(self._settings.rate_hz), samples)]

    def _rest(self) -> None:
        config = self._config | _SINGLE_SHOT
        self._device.write(_CONFIG, (config >> 8, config & 0xFF))

    def _read(self, register: int) -> int:
        return int.from_bytes(self._device.read(register, 2), "big")
