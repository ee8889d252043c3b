"""Sources of chunks. ``open_sensor`` is the only factory: a source is a string, ``scheme:rest``."""

from __future__ import annotations

import collections.abc
import typing

from edge.clock import Clock
from edge.errors import ConfigError
from edge.types import Chunk, Modality, Track

if typing.TYPE_CHECKING:
    from edge.sensors.settings import SensorSettings


class PlannedAbsence(typing.Protocol):
    """A spell for which a scripted session says that something is wrong with a modality, for comparison with what was noticed."""

    @property
    def modality(self) -> Modality: ...
    @property
    def reason(self) -> str:
        """A reason of absence, or "degraded": poor, but the modality may stay present."""
        ...

    @property
    def from_ms(self) -> float: ...
    @property
    def to_ms(self) -> float: ...
    @property
    def what(self) -> str: ...


class Sensor(typing.Protocol):
    """One source of one or more tracks, read by a thread of its own.

    A descendant must give ``tracks`` and ``live`` and override ``open``, ``read`` and ``close``; it may give the rest. It may also
    have ``silent_after_ms``, the longest silence of a working device, after which it is opened anew, and ``trouble``, what is wrong
    in words with a device that mends itself.
    """

    tracks: tuple[Track, ...]
    """What it delivers."""
    live: bool
    """True if it senses people here and now; False for replay and simulation."""
    duration_ns: int | None = None
    """How long it will go on; None if until stopped."""
    planned: collections.abc.Sequence[PlannedAbsence] = ()
    """Absences that its script promises."""

    def open(self) -> None:
        """Begin: time 0 of a replay is now. SensorError if it cannot."""
        ...

    def read(self) -> Chunk | None:
        """Block until the next chunk, at its end; None when there will be no more. SensorError when the source stops.

        ``Chunk.t_ns`` is in the time base of the clock that the sensor was opened with.
        """
        ...

    def close(self) -> None:
        """Give everything back; cuts short a ``read`` that is waiting in another thread, which then returns None."""
        ...


def _replay(rest: str, clock: Clock, settings: SensorSettings) -> Sensor:
    from edge.sensors.replay import Replay
    from edge.session import open_session

    return Replay(open_session(rest), clock)


def _max30102(rest: str, clock: Clock, settings: SensorSettings) -> Sensor:
    from edge.sensors.bus import parse_place
    from edge.sensors.max30102 import PulseSensor
    from edge.sensors.max30102_chip import ADDRESS

    bus, address = parse_place(rest, ADDRESS)
    return PulseSensor(bus, clock, settings.max30102, address=address)


def _ads1115(rest: str, clock: Clock, settings: SensorSettings) -> Sensor:
    from edge.sensors.ads1115 import ADDRESS, SkinConductanceSensor
    from edge.sensors.bus import parse_place

    bus, address = parse_place(rest, ADDRESS)
    return SkinConductanceSensor(bus, clock, settings.ads1115, address=address)


def _picamera2(rest: str, clock: Clock, settings: SensorSettings) -> Sensor:
    from edge.sensors.picamera import PiCamera, parse_number

    return PiCamera(parse_number(rest), clock, settings.camera)


def _usb(rest: str, clock: Clock, settings: SensorSettings) -> Sensor:
    from edge.sensors.v4l2 import UsbCamera, parse_camera

    return UsbCamera(parse_camera(rest), clock, settings.camera)


def _microphone(rest: str, clock: Clock, settings: SensorSettings) -> Sensor:
    from edge.sensors.microphone import Microphone

    return Microphone(rest, clock, settings.microphone)


def _strap(rest: str, clock: Clock, settings: SensorSettings) -> Sensor:
    from edge.sensors.strap import HeartStrap

    return HeartStrap(rest, clock)


_SCHEMES: dict[str, tuple[typing.Callable[[str, Clock, SensorSettings], Sensor], str]] = {
    "ads1115": (_ads1115, "BUS, such as 1 or 1@0x49"),
    "max30102": (_max30102, "BUS, such as 1"),
    "microphone": (_microphone, "default, a number, or part of its name"),
    "picamera2": (_picamera2, "NUMBER, such as 0"),
    "replay": (_replay, "PATH"),
    "strap": (_strap, "NAME or address of a heart rate strap"),
    "usb": (_usb, "NUMBER, /dev/videoN, or part of its name"),
}
"""Scheme -> what makes the sensor, and what to write after the colon."""


def open_sensor(source: str, clock: Clock, settings: SensorSettings | None = None) -> Sensor:
    """The sensor that ``source`` names, such as ``replay:session.zip`` or ``max30102:1``, set as ``settings`` say; not yet opened.

    Raises:
        ConfigError: the scheme is unknown, nothing follows it, or it is no bus.
        SessionError: a recorded session is missing or damaged.
    """
    scheme, _, rest = source.partition(":")
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}:..." for name in sorted(_SCHEMES))
        raise ConfigError(f"source {source!r}: no kind of source is called {scheme!r}; known: {known}")
    if not rest:
        raise ConfigError(f"source {source!r}: nothing after the colon; write {scheme}:{_SCHEMES[scheme][1]}")
    if settings is None:
        from edge.sensors.settings import SensorSettings

        settings = SensorSettings()
    return _SCHEMES[scheme][0](rest, clock, settings)
