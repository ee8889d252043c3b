"""Any camera with a Video4Linux2 driver, such as one on USB: memory-mapped frames, stamped by the kernel."""

from __future__ import annotations

import collections.abc
import contextlib
import errno
import logging
import math
import pathlib
import threading
import time
import typing

from edge.clock import Clock
from edge.errors import ConfigError, SensorError
from edge.sensors.frames import Camera
from edge.sensors.pixels import PIXEL_FORMATS, Layout
from edge.sensors.settings import CameraSettings
from edge.sensors.stamps import KernelStamps
from edge.sensors.videodev import Capability, Mode, Taken, VideoDevice
from edge.sensors.videodev2 import (
    ANALOGUE_GAIN,
    APERTURE_PRIORITY,
    AUTO,
    AUTOGAIN,
    CAP_IO_MC,
    CAP_STREAMING,
    CAP_VIDEO_CAPTURE,
    EXPOSURE_ABSOLUTE,
    EXPOSURE_AUTO,
    EXPOSURE_AUTO_PRIORITY,
    GAIN,
    MANUAL,
)

log = logging.getLogger("affectkit")

BUFFERS = 4
JPEG_COST = 8.0
"""Of decoding a pixel, in bytes of a raw frame: Pillow takes about four times as long for a JPEG as the conversion of YUYV does."""
LEAST_GAIN_PERCENT, MOST_GAIN_PERCENT = 100, 1600
"""What the least and the greatest gain of a camera are taken for: V4L2 knows no unit."""
_PIPELINES = frozenset({"bcm2835-isp", "bcm2835-codec", "pispbe", "rpivid", "rpi-hevc-dec"})
"""Drivers of a Raspberry Pi whose nodes capture from memory, not from a camera."""

_MEANINGS = {
    errno.ENODEV: ("unplugged", "plug it in again"),
    errno.ENXIO: ("unplugged", "plug it in again"),
    errno.ENOENT: ("no such device", "list the cameras with: affectkit doctor"),
    errno.EACCES: ("no permission", "let the user into the group: sudo usermod -aG video $USER, and log in again"),
    errno.EPERM: ("no permission", "let the user into the group: sudo usermod -aG video $USER, and log in again"),
    errno.EBUSY: ("in use by another program", "close that; find it with: sudo fuser -v /dev/video*"),
    errno.ENOSPC: ("not enough USB bandwidth", "use another USB port, or fewer cameras on one hub"),
    errno.EIO: ("transfer broke off", "use a shorter cable or another USB port"),
    errno.EPROTO: ("transfer broke off", "use a shorter cable or another USB port"),
    errno.EAGAIN: ("the stream broke off", "plug it out and in again"),
    errno.EPIPE: ("the camera refused", "plug it out and in again"),
    errno.ETIMEDOUT: ("no answer", "plug it out and in again"),
    errno.ENOTTY: ("no camera", "list the cameras with: affectkit doctor"),
}


class Device(typing.Protocol):
    """The part of ``VideoDevice`` that the driver uses."""

    def modes(self, width: int, height: int) -> list[Mode]: ...
    def set_mode(self, mode: Mode) -> Layout: ...
    def set_rate(self, rate_hz: float) -> float: ...
    def control_range(self, control: int) -> tuple[int, int] | None: ...
    def set_control(self, control: int, value: int) -> None: ...
    def start(self, count: int) -> None: ...
    def wait(self) -> bool: ...
    def wake(self) -> None: ...
    def take(self) -> Taken: ...
    def give_back(self, index: int) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


def parse_camera(text: str) -> int | str:
    """What follows the colon of ``usb:``: a number counts ``cameras()``, all else is a path or part of a name.

    Raises:
        ConfigError: it is empty.
    """
    text = text.strip()
    if not text:
        raise ConfigError("source 'usb:': nothing after the colon; write usb:0, usb:/dev/video2 or usb:NAME")
    return int(text) if text.isdecimal() else text


def is_camera(capability: Capability) -> bool:
    """True if the node delivers pictures by itself: not for metadata, output, memory to memory, or the stages of a CSI camera."""
    able = capability.flags & CAP_VIDEO_CAPTURE and capability.flags & CAP_STREAMING
    return bool(able) and not capability.flags & CAP_IO_MC and capability.driver not in _PIPELINES


def cameras() -> list[tuple[str, str]]:
    """Path and name of each camera, those on USB first; nodes that cannot be opened are left out."""
    found = []
    for path in _nodes():
        with contextlib.suppress(OSError):
            device = VideoDevice(path)
            try:
                capability = device.capability()
            finally:
                device.close()
            if is_camera(capability):
                found.append((not capability.bus.startswith("usb-"), path, capability.card))
    return [(path, card) for _, path, card in sorted(found, key=lambda item: item[0])]


def _nodes() -> list[str]:
    nodes = [path for path in pathlib.Path("/dev").glob("video*") if path.name.removeprefix("video").isdecimal()]
    return [str(path) for path in sorted(nodes, key=lambda path: int(path.name.removeprefix("video")))]


def find_camera(place: int | str, known: collections.abc.Sequence[tuple[str, str]]) -> str:
    """Path of the camera that is meant, of those known as ``cameras`` gives them; a path is not looked up.

    Raises:
        SensorError: there is none, or more than one.
    """
    if isinstance(place, str) and place.startswith("/"):
        return place
    listing = ", ".join(f"{number} = {path} ({name})" for number, (path, name) in enumerate(known)) or "none"
    if isinstance(place, int):
        if place >= len(known):
            raise SensorError(f"camera usb:{place}: there is no camera {place}; found: {listing}; plug it in, or name another")
        return known[place][0]
    fitting = [path for path, name in known if place.casefold() in name.casefold()]
    if len(fitting) != 1:
        many = f"{len(fitting)} cameras are" if fitting else "no camera is"
        raise SensorError(f"camera usb:{place}: {many} called so; found: {listing}; write usb:PATH")
    return fitting[0]


def ranked(modes: collections.abc.Iterable[Mode], settings: CameraSettings) -> list[Mode]:
    """Best first: fast enough, then large enough, then the least work; grey only where colour is not wanted or not to be had.

    Work is bytes copied, and decoding for MJPEG; so a raw format at or just above the size wanted comes before MJPEG, unless it is slow.
    """

    def key(mode: Mode) -> tuple[bool, float, float, float]:
        rate = mode.rate_hz or settings.rate_hz
        slow = max(0.0, 1.0 - rate / (0.95 * settings.rate_hz))
        small = max(0.0, 1.0 - min(mode.width / settings.width, mode.height / settings.height))
        cost = JPEG_COST if mode.pixel_format == "MJPG" else PIXEL_FORMATS[mode.pixel_format]
        return settings.colour and mode.pixel_format == "GREY", slow, small, mode.width * mode.height * cost

    return sorted(modes, key=key)


class UsbCamera(Camera):
    """``Sensor`` of track "video" from a V4L2 camera.

    Args:
        place: number among ``cameras()``, path such as "/dev/video2", or part of a name; looked up at each ``open``.
        clock: time base of the chunks.
        settings: see ``CameraSettings``.
        open_device: opens the device at a path; for tests.
        stamps: brings the kernel's stamps into the clock's time base.
    """

    def __init__(
        self,
        place: int | str,
        clock: Clock,
        settings: CameraSettings,
        *,
        open_device: collections.abc.Callable[[str], Device] = VideoDevice,
        stamps: KernelStamps | None = None,
        **limits: float,
    ):
        super().__init__(f"camera usb:{place}", clock, settings, **limits)
        self._place, self._open_device = place, open_device
        self._stamps = stamps or KernelStamps(clock, time.CLOCK_MONOTONIC)
        self._device: Device | None = None
        self._thread: threading.Thread | None = None
        self._every = 1

    def _start(self) -> None:
        # A number or name costs opening each node; a path names one that need not be listed.
        known = [] if isinstance(self._place, str) and self._place.startswith("/") else cameras()
        path = find_camera(self._place, known)
        try:
            self._device = self._open_device(path)
            self._begin_stream(self._device, path)
        except SensorError:
            raise
        except OSError as error:
            raise self._failed(error) from error
        self._thread = threading.Thread(target=self._run, args=(self._device,), name=self._name, daemon=True)
        self._thread.start()

    def _begin_stream(self, device: Device, path: str) -> None:
        settings = self._settings
        modes = ranked(device.modes(settings.width, settings.height), settings)
        if not modes:
            raise SensorError(f"{self._name}: {path} offers no picture format that is understood ({', '.join(PIXEL_FORMATS)})")
        for mode in modes:
            layout = device.set_mode(mode)
            rate_hz = device.set_rate(settings.rate_hz) or settings.rate_hz
            if rate_hz < 0.95 * settings.rate_hz <= mode.rate_hz:
                rate_hz = device.set_rate(mode.rate_hz) or mode.rate_hz
            # A camera that cannot run as slowly as wanted is thinned out evenly.
            self._every = max(1, math.floor(rate_hz / settings.rate_hz + 0.1))
            self.rate_hz = rate_hz / self._every
            self._set_controls(device)
            try:
                device.start(BUFFERS)
            except OSError as error:
                if error.errno != errno.ENOSPC or mode is modes[-1]:
                    raise
                device.stop()  # the bus has no room for so much: another mode may need less
                continue
            self._laid_out(layout)
            if not 0.9 < self.rate_hz / settings.rate_hz < 1.1:
                log.warning("%s: delivers %.1f frames a second, not %d", self._name, self.rate_hz, settings.rate_hz)
            return

    def _set_controls(self, device: Device) -> None:
        """Exposure and gain, as far as the camera has them: its settings outlive the last program that used it."""
        settings = self._settings
        # By itself a camera exposes longer in the dark than the frame rate allows, and slows down.
        self._set(device, EXPOSURE_AUTO_PRIORITY, 0)
        if not settings.exposure_us:
            if not self._set(device, EXPOSURE_AUTO, APERTURE_PRIORITY):
                self._set(device, EXPOSURE_AUTO, AUTO)
            self._set(device, AUTOGAIN, 1)
            return
        self._set(device, EXPOSURE_AUTO, MANUAL)
        if not self._set(device, EXPOSURE_ABSOLUTE, max(1, round(settings.exposure_us / 100))):
            log.warning("%s: its exposure time cannot be set", self._name)
        if settings.gain_percent:
            self._set(device, AUTOGAIN, 0)
            share = (settings.gain_percent - LEAST_GAIN_PERCENT) / (MOST_GAIN_PERCENT - LEAST_GAIN_PERCENT)
            for control in (ANALOGUE_GAIN, GAIN):
                if (limits := device.control_range(control)) is not None:
                    value = limits[0] + round(min(max(share, 0.0), 1.0) * (limits[1] - limits[0]))
                    if self._set(device, control, value):
                        return
            log.warning("%s: its gain cannot be set", self._name)

    def _set(self, device: Device, control: int, value: int) -> bool:
        """True if the camera has such a control and took the value, or the nearest to it."""
        limits = device.control_range(control)
        if limits is None:
            return False
        try:
            device.set_control(control, min(max(value, limits[0]), limits[1]))
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO):
                raise
            return False
        return True

    def _run(self, device: Device) -> None:
        try:
            self._capture(device)
        except SensorError as error:
            self._fail(error)
        except OSError as error:
            self._fail(self._failed(error))
        except Exception as error:  # a bug here must not look like a silent camera
            self._fail(SensorError(f"{self._name}: {type(error).__name__}: {error}"))
        finally:
            device.close()

    def _capture(self, device: Device) -> None:
        last: int | None = None
        while device.wait():
            taken = device.take()
            t_ns = self._stamps.convert(taken.stamp_ns)
            if taken.damaged:
                self._leave_out()
            elif last is None or (taken.sequence - last) % 2**32 >= self._every:
                last = taken.sequence
                self._deliver(taken.data, t_ns)
            device.give_back(taken.index)

    def _stop(self) -> None:
        if self._thread is not None:
            assert self._device is not None
            self._device.wake()
            self._thread.join()
        elif self._device is not None:
            self._device.close()

    def _failed(self, error: OSError) -> SensorError:
        code = error.errno or 0
        what, remedy = _MEANINGS.get(code, (error.strerror or str(error) or "unknown error", "plug it out and in again"))
        return SensorError(f"{self._name}: {what} [{errno.errorcode.get(code, 'no errno')}]; {remedy}")
