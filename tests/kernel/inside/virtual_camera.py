"""libcamera's virtual camera under picamera2, both of them real, and stand-ins for what a computer that is no Raspberry Pi lacks.

The camera shows JPEGs. It has no RAW stream and no image processor, knows NV12 alone, and makes a frame whenever a request comes in, so
``Exposure`` holds requests back to the frame duration that was set. Everything is replaced beneath picamera2: the driver is as it is.
"""

from __future__ import annotations

import collections
import os
import pathlib
import sys
import threading
import time
import types
import typing

import numpy as np

FOLDER = pathlib.Path("/tmp/virtual-camera")
"""With the images that the camera shows."""
WIDTH, HEIGHT, IMAGES = 320, 240, 8
REPEATS = 4
"""So many frames are made of an image before the next one's turn (libcamera's ``ImageFrameGenerator``)."""
BACKGROUND, BAR = (60, 60, 200), (230, 200, 40)
"""RGB of the picture, and of the bar that moves through it."""
CAMERA = f"""\
%YAML 1.1
---
"Virtual0":
  supported_formats:
  - width: {WIDTH}
    height: {HEIGHT}
    frame_rates: [2, 30]
  frames:
    path: "{FOLDER}/"
  location: "CameraLocationFront"
  model: "virtual"
...
"""
"""Makes libcamera have the camera."""
_DESCRIPTION = pathlib.Path("/usr/share/libcamera/pipeline/virtual/virtual.yaml")
_HEAP = pathlib.Path("/dev/dma_heap/linux,cma")


class _Nothing:
    """Has every attribute: None."""

    def __getattr__(self, name: str) -> None:
        return None


_ABSENT: dict[str, dict[str, typing.Any]] = {
    "pykms": {"PixelFormat": _Nothing()},  # pictures on a screen without a desktop
    "pidng": {},  # raw pictures as DNG files
    "pidng.core": {"PICAM2DNG": None},
    "pidng.camdefs": {"Picamera2Camera": None},
}
"""Packages that picamera2 imports for what the driver never asks of it."""


def draw() -> None:
    """Write the camera's images: a bar, an eighth of the width, one place further to the right in each."""
    from PIL import Image

    FOLDER.mkdir(exist_ok=True)
    step = WIDTH // IMAGES
    for number in range(IMAGES):
        picture = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
        picture[:, number * step : (number + 1) * step] = BAR
        Image.fromarray(picture).save(FOLDER / f"{number}.jpg", quality=95, subsampling=2)


def set_up() -> Exposure:
    """Plug the camera in and put the stand-ins in place; from then on ``import picamera2`` is the real one, and finds it.

    It writes to ``/usr`` and ``/dev``, and is for a machine that forgets.
    """
    os.environ["LIBCAMERA_LOG_LEVELS"] = "*:ERROR"
    if not FOLDER.exists():
        draw()
    _DESCRIPTION.parent.mkdir(parents=True, exist_ok=True)
    _DESCRIPTION.write_text(CAMERA)
    if not _HEAP.exists():  # as the Pi's heap is called
        _HEAP.symlink_to(_HEAP.with_name("system"))
    for name, contents in _ABSENT.items():
        sys.modules.setdefault(name, types.ModuleType(name)).__dict__.update(contents)
    import libcamera
    from picamera2.allocators import dmaallocator

    camera = libcamera.Camera
    camera.generate_configuration = _without_raw(camera.generate_configuration, libcamera.StreamRole)
    dmaallocator.libcamera = types.SimpleNamespace(FrameBuffer=_TwoPlanes)
    # libcamera 0.4.0 leaves it as it was in memory; later ones set it.
    libcamera.FrameMetadata.status = property(lambda _: libcamera.FrameMetadata.Status.Success)
    return Exposure(camera, libcamera.controls.FrameDurationLimits)


def _without_raw(real: typing.Any, roles: typing.Any) -> typing.Any:
    """``generate_configuration`` of a camera without a RAW stream, which picamera2 asks every camera for."""

    def generate_configuration(camera: typing.Any, wanted: list[typing.Any]) -> typing.Any:
        return real(camera, [roles.Viewfinder if role == roles.Raw else role for role in wanted])

    return generate_configuration


class _TwoPlanes:
    """``libcamera.FrameBuffer`` as picamera2's allocator makes it, of one plane; but this camera writes to the second one of NV12 too."""

    def __new__(cls, planes: list[typing.Any]) -> typing.Any:
        import libcamera

        (luma,) = planes
        chroma = libcamera.FrameBuffer.Plane()
        chroma.fd, whole = luma.fd, luma.length
        luma.length = whole * 2 // 3
        chroma.offset, chroma.length = luma.length, whole - luma.length
        return libcamera.FrameBuffer([luma, chroma])

    @staticmethod
    def Plane() -> typing.Any:  # noqa: N802
        import libcamera

        return libcamera.FrameBuffer.Plane()


class Exposure:
    """Lets a request through to the camera when the time of its frame has come.

    Args:
        camera: the class ``libcamera.Camera``, of which methods are replaced.
        limits: the control that says how long a frame takes.
    """

    def __init__(self, camera: typing.Any, limits: typing.Any):
        self.dark = False
        """No frame comes any more, as from a cable that has slipped out."""
        self.stuck = threading.Event()
        self.stuck.set()
        """Cleared: stopping the camera hangs."""
        self.frame_us = 0
        """The frame duration that the camera was started with."""
        self._limits = limits
        self._start, self._stop, self._queue = camera.start, camera.stop, camera.queue_request
        self._waiting: collections.deque[tuple[typing.Any, typing.Any]] = collections.deque()
        self._lock = threading.Lock()
        camera.start = lambda device, controls: self._started(device, controls)
        camera.stop = lambda device: self._stopped(device)
        camera.queue_request = lambda device, request: self._waiting.append((device, request))
        threading.Thread(target=self._run, name="exposure", daemon=True).start()

    def _started(self, device: typing.Any, controls: dict[typing.Any, typing.Any]) -> None:
        least_us, most_us = controls[self._limits]
        assert least_us == most_us
        self.frame_us = least_us
        self._start(device, controls)

    def _stopped(self, device: typing.Any) -> None:
        self.stuck.wait()
        with self._lock:
            self._waiting.clear()
            self._stop(device)

    def _run(self) -> None:
        due_s = time.monotonic()
        while True:
            period_s = self.frame_us / 1e6 or 0.01
            due_s = max(due_s + period_s, time.monotonic())
            time.sleep(max(0.0, due_s - time.monotonic()))
            with self._lock:
                if self._waiting and not self.dark:
                    self._queue(*self._waiting.popleft())
