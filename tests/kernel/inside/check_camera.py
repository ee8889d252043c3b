"""``edge.sensors.v4l2`` on the kernel's virtual camera, vivid, at a size that it has: scaling is slow on an emulated processor."""

from __future__ import annotations

import fcntl
import os
import struct

import numpy as np
import pytest
from listen import Listener

from edge.clock import SystemClock
from edge.sensors.settings import CameraSettings
from edge.sensors.v4l2 import UsbCamera, cameras

SETTINGS = CameraSettings(width=320, height=180, rate_hz=5)
# uapi/linux/videodev2.h
_QUERYCTRL, _S_CTRL, _NEXT = 0xC0445624, 0xC008561C, 0x80000000


@pytest.fixture
def vivid() -> str:
    """Path of the virtual camera."""
    for path, name in cameras():
        if name == "vivid":
            return path
    pytest.fail("vivid did not load")


def disconnect(path: str) -> None:
    """Press the button of vivid's that is called so: as if it were unplugged, until its last user has closed it."""
    handle = os.open(path, os.O_RDWR)
    try:
        control = bytearray(struct.pack("<I64x", _NEXT))
        while True:
            fcntl.ioctl(handle, _QUERYCTRL, control)  # OSError behind the last
            number = struct.unpack_from("<I", control)[0]
            if control[8:40].rstrip(b"\0") == b"Disconnect":
                break
            control = bytearray(struct.pack("<I64x", number | _NEXT))
        fcntl.ioctl(handle, _S_CTRL, bytearray(struct.pack("<Ii", number, 1)))
    finally:
        os.close(handle)


def test_frames_come_through_the_kernel_in_colour_and_with_its_stamps(vivid):
    clock = SystemClock()
    before_ns = clock.now_ns()
    with Listener(UsbCamera("vivid", clock, SETTINGS)) as listener:
        listener.wait(lambda it: len(it.chunks) >= 10, 20.0)
        assert listener.error is None
    after_ns = clock.now_ns()
    stamps = [chunk.t_ns for chunk in listener.chunks]
    assert before_ns < stamps[0] and stamps[-1] < after_ns and (np.diff(stamps) > 0).all()
    # A frame that the machine was too slow for is missing: the steps are whole ones.
    steps = np.diff(stamps) / 1e9 * SETTINGS.rate_hz
    assert np.abs(steps - np.rint(steps)).max() < 0.25 and np.median(steps) == pytest.approx(1.0, abs=0.25)
    frame = listener.chunks[-1]
    assert frame.samples.shape == (1, 180, 320) and frame.samples.dtype == np.uint8
    assert frame.chroma.shape == (1, 2, 90, 160)
    # Colour bars of 75 %, white first: bright and grey at one end, and all hues in between.
    assert frame.samples.max() > 170 and frame.samples.min() < 40
    assert np.ptp(frame.chroma[0, 0].astype(int)) > 100 and np.ptp(frame.chroma[0, 1].astype(int)) > 100


def test_a_camera_that_is_unplugged_is_noticed_and_can_be_opened_again_when_it_is_back(vivid):
    with Listener(UsbCamera(vivid, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.chunks, 10.0)
        disconnect(vivid)
        assert listener.wait(lambda it: it.error, 10.0) < 3.0
        assert f"camera usb:{vivid}: unplugged [ENODEV]" in str(listener.error)
    with Listener(UsbCamera(vivid, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.chunks, 10.0)
