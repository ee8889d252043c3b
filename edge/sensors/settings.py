"""How sensors are set: one class per driver, all of them tables of ``kit.toml``. Nothing heavy is imported here."""

from __future__ import annotations

import dataclasses

from edge.errors import ConfigError
from edge.sensors.ads1115 import Ads1115Settings
from edge.sensors.max30102_chip import Max30102Settings

__all__ = ["Ads1115Settings", "CameraSettings", "Max30102Settings", "MicrophoneSettings", "SensorSettings"]


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name}: got {value}; it is {least} to {most}")


@dataclasses.dataclass(frozen=True)
class CameraSettings:
    """Table ``[camera]``, for picamera2 and V4L2 alike."""

    width: int = 320
    """Pixels, even. Frames have this size: where the camera's is another one, the middle is cut out to this shape and averaged."""
    height: int = 240
    """Pixels, even."""
    rate_hz: int = 15
    """Frames in a second; rPPG wants 20 to 30. A camera's nearest is taken, and said; one that is faster is thinned out evenly."""
    colour: bool = True
    """Keep Cb and Cr beside luma, which rPPG needs; the face needs luma alone."""
    exposure_us: int = 0
    """Fixed exposure time in microseconds, at most the time between two frames; 0 leaves it to the camera."""
    gain_percent: int = 0
    """Fixed analogue gain in percent (100 is 1.0), with a fixed exposure; 0 leaves it to the camera. V4L2 knows no unit of gain: 100 is
    the camera's least there, 1600 its greatest."""
    upside_down: bool = False
    """Turn the picture by 180 degrees."""

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            _within(f"camera.{name}", getattr(self, name), 64, 1920)
            if getattr(self, name) % 2:
                raise ConfigError(f"camera.{name}: got {getattr(self, name)}; it is even")
        _within("camera.rate_hz", self.rate_hz, 1, 120)
        _within("camera.exposure_us", self.exposure_us, 0, 1_000_000)
        _within("camera.gain_percent", self.gain_percent, 0, 6400)
        if self.exposure_us * self.rate_hz > 1_000_000:
            most = 1_000_000 // self.rate_hz
            raise ConfigError(f"camera.exposure_us: got {self.exposure_us}; at {self.rate_hz} frames a second it is {most} at most")
        if self.gain_percent and not self.exposure_us:
            raise ConfigError(f"camera.gain_percent: got {self.gain_percent} without camera.exposure_us; set both, or neither")


@dataclasses.dataclass(frozen=True)
class MicrophoneSettings:
    """Table ``[microphone]``."""

    native_rate_hz: int = 0
    """Samples in a second that the device is asked for; 0 takes its own default rate."""
    channel: int = 0
    """Which of its channels is heard; the first is 0."""

    def __post_init__(self) -> None:
        if self.native_rate_hz:
            _within("microphone.native_rate_hz", self.native_rate_hz, 8_000, 192_000)
        _within("microphone.channel", self.channel, 0, 31)


@dataclasses.dataclass(frozen=True)
class SensorSettings:
    """All drivers' settings."""

    camera: CameraSettings = CameraSettings()
    """Both kinds of camera."""
    microphone: MicrophoneSettings = MicrophoneSettings()
    """Sound."""
    max30102: Max30102Settings = dataclasses.field(default_factory=Max30102Settings)
    """Pulse."""
    ads1115: Ads1115Settings = dataclasses.field(default_factory=Ads1115Settings)
    """Skin conductance."""
