"""A camera on the Raspberry Pi's own connector (CSI), through picamera2.

One stream in YUV 4:2:0, made in the size wanted by the image processor: a second one (``lores``) would only cost memory and bandwidth.
Frames come through the request call-back, never through ``capture_array``, which may wait for ever (picamera2 issues 794 and 1004).
"""

from __future__ import annotations

import atexit
import collections.abc
import logging
import os
import time
import typing

from edge.clock import Clock
from edge.errors import ConfigError, SensorError
from edge.sensors.frames import Camera
from edge.sensors.pixels import Layout
from edge.sensors.settings import CameraSettings
from edge.sensors.stamps import KernelStamps

log = logging.getLogger("affectkit")

_PIXEL_FORMATS = {"YUV420": "YU12", "YVU420": "YV12", "MJPEG": "MJPG", "R8": "GREY"}
"""libcamera's names for what V4L2 calls otherwise; the rest are the same."""
_STREAM = "main"
_FRAME_DURATION = "FrameDurationLimits"
"""libcamera's control: shortest and longest time between two frames, in microseconds."""


def parse_number(text: str) -> int:
    """What follows the colon of ``picamera2:``: the camera's number, 0 if nothing.

    Raises:
        ConfigError: it is no number.
    """
    text = text.strip() or "0"
    if not text.isdecimal():
        raise ConfigError(f"source 'picamera2:{text}': {text!r} is no camera's number; write picamera2:0")
    return int(text)


def csi_cameras(picamera2: typing.Any = None) -> list[tuple[int, str]]:
    """Number and model of each camera that libcamera knows. SensorError if picamera2 is missing."""
    module = picamera2 or _imported()
    return [(number, info["Model"]) for number, info in enumerate(module.Picamera2.global_camera_info())]


def best_sensor_mode(
    modes: collections.abc.Iterable[collections.abc.Mapping[str, typing.Any]], settings: CameraSettings
) -> dict[str, typing.Any] | None:
    """The sensor's own mode to run in, of ``Picamera2.sensor_modes``: fast enough, then the whole view, then large enough, then small.

    Left to itself, picamera2 takes the mode nearest in size, which on many sensors is a cut-out of the middle (its issues 167, 558, 1233).

    Returns:
        ``sensor`` of a camera configuration; None where there are no modes, as for cameras on USB.
    """
    known = [mode for mode in modes if {"size", "fps", "crop_limits", "bit_depth"} <= mode.keys()]
    if not known:
        return None

    def key(mode: collections.abc.Mapping[str, typing.Any]) -> tuple[float, int, float, int, int]:
        width, height = mode["size"]
        slow = max(0.0, 1.0 - mode["fps"] / (0.99 * settings.rate_hz))
        view = mode["crop_limits"][2] * mode["crop_limits"][3]
        small = max(0.0, 1.0 - min(width / settings.width, height / settings.height))
        return slow, -view, small, width * height, -mode["bit_depth"]

    best = min(known, key=key)
    return {"output_size": tuple(best["size"]), "bit_depth": best["bit_depth"]}


class PiCamera(Camera):
    """``Sensor`` of track "video" from a CSI camera.

    Chunks carry ``SensorTimestamp``, which libcamera's control list defines as the time when the first row is exposed.

    Args:
        number: among the cameras that libcamera knows.
        clock: time base of the chunks.
        settings: see ``CameraSettings``.
        picamera2: the module, or what looks like it; imported by ``open`` if None.
        stamps: brings the kernel's stamps into the clock's time base.
    """

    def __init__(
        self,
        number: int,
        clock: Clock,
        settings: CameraSettings,
        *,
        picamera2: typing.Any = None,
        stamps: KernelStamps | None = None,
        **limits: float,
    ):
        super().__init__(f"camera picamera2:{number}", clock, settings, **limits)
        self._number, self._module = number, picamera2
        self._stamps = stamps or KernelStamps(clock, time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC)
        self._camera: typing.Any = None

    def _start(self) -> None:
        self._module = self._module or _imported()
        try:
            self._camera = camera = self._made()
            # It closes itself at exit otherwise, and a camera that hangs would keep the program from ending.
            atexit.unregister(camera.close)
            camera.configure(self._configuration(camera))
            self._laid_out(_layout(camera.camera_configuration()))
            self._keep_to_what_it_can(camera)
            camera.post_callback = self._arrived
            camera.start()
        except SensorError:
            raise
        except Exception as error:  # picamera2 and libcamera raise RuntimeError, IndexError and others
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            remedy = "check its cable with the power off, see: rpicam-hello --list-cameras; close other programs that use it"
            raise SensorError(f"{self._name}: {str(cause) or type(cause).__name__}; {remedy}") from error

    def _made(self) -> typing.Any:
        """In two steps: one that cannot be made leaves its pipe open, and a camera that is missing is tried again and again."""
        kind = self._module.Picamera2
        camera = kind.__new__(kind)
        try:
            camera.__init__(self._number)
        except Exception:
            if hasattr(camera, "notifymeread"):
                camera.notifymeread.close()
                os.close(camera.notifyme_w)
            raise
        return camera

    def _configuration(self, camera: typing.Any) -> dict[str, typing.Any]:
        settings = self._settings
        duration_us = round(1e6 / settings.rate_hz)
        controls: dict[str, typing.Any] = {_FRAME_DURATION: (duration_us, duration_us)}
        if settings.exposure_us:
            controls["ExposureTime"] = settings.exposure_us
        if settings.gain_percent:
            controls["AnalogueGain"] = settings.gain_percent / 100
        absent = sorted(controls.keys() - camera.camera_controls.keys())
        if absent:
            remedy = "leave camera.exposure_us and camera.gain_percent at 0"
            if _FRAME_DURATION in absent:
                remedy = "it is not on the Pi's own connector: read it through usb:0"
            raise SensorError(f"{self._name}: {', '.join(absent)} cannot be set on this camera; {remedy}")
        # Of the ready-made configurations, the preview is the one in full range (sYCC).
        return camera.create_preview_configuration(
            main={"format": "YUV420", "size": (settings.width, settings.height)},
            raw=None,
            sensor=best_sensor_mode(camera.sensor_modes, settings) or {},
            controls=controls,
            buffer_count=4,
            display=None,
            encode=None,
            queue=False,
        )

    def _keep_to_what_it_can(self, camera: typing.Any) -> None:
        """Take the nearest rate that the sensor's mode has; libcamera, given another one, keeps silent and does as it can."""
        least_us, most_us, _ = camera.camera_controls[_FRAME_DURATION]
        wanted_us = round(1e6 / self._settings.rate_hz)
        duration_us = min(max(wanted_us, least_us), most_us)
        if duration_us == wanted_us:
            return
        camera.set_controls({_FRAME_DURATION: (duration_us, duration_us)})
        self.rate_hz = 1e6 / duration_us
        if not 0.9 < self.rate_hz / self._settings.rate_hz < 1.1:
            log.warning("%s: delivers %.1f frames a second, not %d", self._name, self.rate_hz, self._settings.rate_hz)

    def _arrived(self, request: typing.Any) -> None:
        """In picamera2's thread, which an exception would end."""
        try:
            t_ns = self._stamps.convert(request.get_metadata().get("SensorTimestamp"))
            with self._module.MappedArray(request, _STREAM, reshape=False, write=False) as mapped:
                self._deliver(mapped.array, t_ns)
        except Exception as error:
            self._fail(SensorError(f"{self._name}: {type(error).__name__}: {error}"))

    def _stop(self) -> None:
        camera, self._camera = self._camera, None  # closed, it still has the memory's device open until nobody knows it
        if camera is not None:
            camera.post_callback = None
            camera.close()


def _layout(configuration: collections.abc.Mapping[str, typing.Any]) -> Layout:
    stream, space = configuration[_STREAM], configuration["colour_space"]
    name = stream["format"]
    pixel_format = _PIXEL_FORMATS.get(name, name)
    jpeg = pixel_format == "MJPG"
    # Cameras on USB have no colour space here; V4L2's default is the limited range.
    limited = not jpeg and (space is None or space.range.name == "Limited")
    bt709 = not jpeg and space is not None and space.ycbcrEncoding.name == "Rec709"
    width, height = stream["size"]
    return Layout(pixel_format, width, height, 0 if jpeg else stream["stride"], limited, bt709)


def _imported() -> typing.Any:
    try:
        import picamera2
    except ImportError as error:
        raise SensorError(
            f"picamera2: cannot be imported ({error}); install it: sudo apt install python3-picamera2, "
            "and make the virtual environment with --system-site-packages"
        ) from None
    return picamera2
