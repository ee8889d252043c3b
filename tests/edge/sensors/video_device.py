"""A real V4L2 device to test on: a camera, or the kernel's virtual one (vivid)."""

from __future__ import annotations

import contextlib
import os

from edge.sensors.v4l2 import cameras
from edge.sensors.videodev import VideoDevice
from edge.sensors.videodev2 import QUERYCTRL, QueryControl

VIVID_CONTROLS = 0x00F0F000
"""VIVID_CID_VIVID_BASE of the kernel's ``vivid-ctrls.c``."""


def real_device() -> str | None:
    """What AFFECTKIT_TEST_VIDEO names, else the kernel's virtual camera (vivid) if it is loaded."""
    named = os.environ.get("AFFECTKIT_TEST_VIDEO")
    return named or next((path for path, name in cameras() if name == "vivid"), None)


def smallest() -> tuple[int, int]:
    """Width and height of the smallest picture that can be asked for and is offered: an emulated machine is slow."""
    device = VideoDevice(real_device())
    sizes = [(mode.width, mode.height) for mode in device.modes(320, 240) if min(mode.width, mode.height) >= 64]
    device.close()
    return min(sizes, key=lambda size: size[0] * size[1])


def stamp_at_the_start() -> None:
    """By default vivid stamps a frame with its end, yet delivers it at its beginning: no camera can see the future."""
    device = VideoDevice(real_device() or "")
    try:
        if device.capability().driver == "vivid":
            device.set_control(_control(device, b"Timestamp Source"), 1)
    finally:
        device.close()


def _control(device: VideoDevice, name: bytes) -> int:
    for control in range(VIVID_CONTROLS, VIVID_CONTROLS + 100):
        query = QueryControl(id=control)
        with contextlib.suppress(OSError):
            device._call(QUERYCTRL, query)
            if query.name == name:
                return control
    raise LookupError(f"vivid has no control called {name!r}")
