"""picamera2 as a driver meets it, version 0.3.38: configuration, call-back in its loop, buffers that are used again, calls that hang."""

from __future__ import annotations

import atexit
import os
import threading
import time
import types
import typing

import numpy as np

from edge.clock import ManualClock
from edge.sensors.picamera import PiCamera
from edge.sensors.settings import CameraSettings
from edge.sensors.stamps import KernelStamps

MS = 1_000_000
SECOND_NS = 1_000_000_000
BOOT_NS = 900 * SECOND_NS
"""CLOCK_BOOTTIME less the injected clock."""
PIPELINE_NS = 45 * MS
"""From the start of a frame to its call-back."""

IMX219 = [
    {"format": "SRGGB10_CSI2P", "bit_depth": 10, "size": (640, 480), "fps": 206.65, "crop_limits": (1000, 752, 1280, 960)},
    {"format": "SRGGB10_CSI2P", "bit_depth": 10, "size": (1640, 1232), "fps": 41.85, "crop_limits": (0, 0, 3280, 2464)},
    {"format": "SRGGB10_CSI2P", "bit_depth": 10, "size": (1920, 1080), "fps": 47.57, "crop_limits": (680, 692, 1920, 1080)},
    {"format": "SRGGB10_CSI2P", "bit_depth": 10, "size": (3280, 2464), "fps": 21.19, "crop_limits": (0, 0, 3280, 2464)},
    {"format": "SRGGB8", "bit_depth": 8, "size": (640, 480), "fps": 206.65, "crop_limits": (1000, 752, 1280, 960)},
    {"format": "SRGGB8", "bit_depth": 8, "size": (1640, 1232), "fps": 83.70, "crop_limits": (0, 0, 3280, 2464)},
]
"""As picamera2 lists a camera module 2 (its issue 899)."""


class World:
    """A computer with cameras, and a stand-in for the module picamera2; ``wait`` of its clock lets frames arrive."""

    def __init__(self):
        self.clock = FilmingClock(self)
        self.running: Picamera2 | None = None
        self.taken: set[int] = set()
        self.blocking = threading.Event()
        self.blocking.set()  # cleared: stopping the camera hangs
        self.opening = threading.Event()
        self.opening.set()  # cleared: opening it hangs
        self.released = threading.Event()
        self.due_ns, self.frames_left, self.number = 0, 10**9, 0
        self.space, self.stamp_of = space("Full", "Rec601"), lambda t_ns: t_ns + BOOT_NS
        self.controls = {"FrameDurationLimits": (11_931, 11_767_556, 33_333), "ExposureTime": (75, 11_766_829, 20_000)}
        self.controls["AnalogueGain"] = (1.0, 10.666667, 1.0)  # all three as a camera module 2 has them
        self.made: list[Picamera2] = []
        self.pipes: list[tuple[typing.BinaryIO, int]] = []
        """Each camera's own, which one that cannot be made leaves open."""
        world = self

        class Bound(Picamera2):
            def __init__(self, camera_num=0):
                super().__init__(world, camera_num)

            @staticmethod
            def global_camera_info():
                return [{"Model": "imx219", "Location": 2, "Rotation": 180, "Id": "/base/soc/i2c0mux/i2c@1/imx219@10", "Num": 0}]

        self.module = types.SimpleNamespace(Picamera2=Bound, MappedArray=MappedArray)

    def camera(self, settings: CameraSettings | None = None, **limits: float) -> PiCamera:
        stamps = KernelStamps(self.clock, time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC, kernel_now_ns=self._kernel_now_ns)
        settings = settings or CameraSettings(width=96, height=64)
        return PiCamera(0, self.clock, settings, picamera2=self.module, stamps=stamps, **limits)

    def _kernel_now_ns(self, clock_id: int) -> int:
        return self.clock.now_ns() + (BOOT_NS if clock_id == time.CLOCK_BOOTTIME else 0)

    def film(self) -> None:
        """One frame arrives now."""
        if self.running is not None:
            self.running.complete(self.number)
        self.number += 1


def space(its_range: str, encoding: str) -> types.SimpleNamespace:
    return types.SimpleNamespace(range=types.SimpleNamespace(name=its_range), ycbcrEncoding=types.SimpleNamespace(name=encoding))


class FilmingClock(ManualClock):
    def __init__(self, world: World):
        super().__init__(50 * SECOND_NS)
        self._world = world

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        world = self._world
        while not wake.is_set() and world.running is not None and world.frames_left and world.due_ns <= until_ns:
            self.advance_to(world.due_ns)
            world.due_ns += world.running.period_ns
            world.frames_left -= 1
            world.film()
        return super().wait(wake, until_ns)


def picture(number: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Luma and chroma of frame ``number``."""
    random = np.random.default_rng(number)
    return (
        random.integers(0, 256, (height, width), dtype=np.uint8),
        random.integers(0, 256, (2, height // 2, width // 2), dtype=np.uint8),
    )


class Picamera2:
    """As the real one, version 0.3.38, does it: configuration, call-back in its loop, buffers that are used again."""

    sensor_modes = IMX219

    def __init__(self, world: World, number: int):
        world.opening.wait()
        reading, self.notifyme_w = os.pipe()
        self.notifymeread = os.fdopen(reading, "rb")
        world.pipes.append((self.notifymeread, self.notifyme_w))
        if number >= 1:
            raise RuntimeError(f'No camera number {number} found - use "rpicam-hello --list-cameras" to check connected cameras')
        if number in world.taken:
            try:
                raise RuntimeError("Failed to acquire camera: Device or resource busy")
            except RuntimeError as error:
                raise RuntimeError("Camera __init__ sequence did not complete.") from error
        world.taken.add(number)
        world.made.append(self)
        self._world, self._number = world, number
        self.post_callback = None
        self.closed = False
        atexit.register(self.close)

    def create_preview_configuration(
        self, main, lores=None, raw=..., controls=..., buffer_count=4, display="main", encode="main", queue=True, sensor=...
    ):
        assert lores is None or "size" in lores
        config = {"main": {"preserve_ar": True} | main, "lores": lores, "raw": raw, "controls": controls, "buffer_count": buffer_count}
        return config | {"display": display, "encode": encode, "queue": queue, "sensor": sensor, "colour_space": self._world.space}

    def configure(self, config):
        width, height = config["main"]["size"]
        stride = -(-width // 64) * 64
        self.config = config | {"main": config["main"] | {"stride": stride, "framesize": stride * height * 3 // 2}}
        self._buffers = [bytearray(stride * height * 3 // 2) for _ in range(config["buffer_count"])]
        self.set_controls(config["controls"])

    @property
    def camera_controls(self):
        return self._world.controls

    def set_controls(self, controls):
        for name in controls:
            if name not in self._world.controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        if "FrameDurationLimits" in controls:  # libcamera clamps it, silently
            least_us, most_us, _ = self._world.controls["FrameDurationLimits"]
            self.period_ns = min(max(controls["FrameDurationLimits"][0], least_us), most_us) * 1000

    def camera_configuration(self):
        return self.config

    def start(self):
        self._world.running = self
        self._world.due_ns = self._world.clock.now_ns() + 300 * MS

    def complete(self, number: int) -> None:
        """The event loop has a frame."""
        width, height = self.config["main"]["size"]
        stride = self.config["main"]["stride"]
        buffer = self._buffers[number % len(self._buffers)]
        whole = np.frombuffer(buffer, np.uint8)
        luma, chroma = picture(number, width, height)
        whole[: height * stride].reshape(height, stride)[:, :width] = luma
        whole[height * stride :].reshape(2, height // 2, stride // 2)[..., : width // 2] = chroma
        if self.post_callback:
            self.post_callback(Request(buffer, self._world.stamp_of(self._world.clock.now_ns() - PIPELINE_NS)))
        whole[:] = 0xEE  # it is filled again

    def close(self):
        atexit.unregister(self.close)
        self._world.running = None
        self._world.blocking.wait()
        self._world.taken.discard(self._number)
        if not self.closed:
            self.notifymeread.close()
            os.close(self.notifyme_w)
        self.closed = True
        self._world.released.set()


class Request:
    def __init__(self, buffer: bytearray, stamp_ns: int | None):
        self.buffer, self._stamp_ns = buffer, stamp_ns

    def get_metadata(self):
        known = {"ExposureTime": 9985, "AnalogueGain": 2.0, "FrameDuration": 33333}
        return known if self._stamp_ns is None else known | {"SensorTimestamp": self._stamp_ns}


class MappedArray:
    def __init__(self, request, stream, reshape=True, write=True):
        assert stream == "main" and not reshape and not write
        self._buffer = request.buffer

    def __enter__(self):
        self.array = np.array(memoryview(self._buffer), copy=False, dtype=np.uint8)
        return self

    def __exit__(self, *exc):
        del self.array
