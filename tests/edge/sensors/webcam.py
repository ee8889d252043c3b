"""A V4L2 camera as its kernel driver presents it, and a clock for what happens in its thread."""

from __future__ import annotations

import collections
import errno
import os
import threading

import numpy as np

from edge.clock import ManualClock
from edge.sensors.pixels import Layout
from edge.sensors.videodev import Mode, Taken

C270 = [
    *(Mode("YUYV", w, h, r) for w, h, r in [(640, 480, 30.0), (320, 240, 30.0), (160, 120, 30.0), (1280, 720, 7.5), (800, 600, 20.0)]),
    *(Mode("MJPG", w, h, 30.0) for w, h in [(640, 480), (320, 240), (1280, 720), (800, 600)]),
]
"""As a webcam on USB 2.0 offers them: raw is slow where it is large."""
SMALL = [Mode("YUYV", 64, 64, 30.0)]


def yuyv(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, 64 * 64 * 2, dtype=np.uint8)


class FakeDevice:
    """A camera as its driver presents it: buffers in order of filling, used again once given back."""

    def __init__(self, modes: list[Mode] = C270, *, controls: dict[int, tuple[int, int]] | None = None, bus_bytes: int = 10**9):
        self.offered, self.controls_offered, self._bus_bytes = modes, controls or {}, bus_bytes
        self.set: dict[int, int] = {}
        self.mode, self.slowest_hz = modes[0], 0.0
        self.closed = threading.Event()
        self.fault: int | None = None
        self._filled: collections.deque[Taken] = collections.deque()
        self._changed = threading.Condition()
        self._woken, self._out, self._memory = False, set(), [np.zeros(4_000_000, np.uint8) for _ in range(4)]
        self._free, self.starts = [], 0

    def modes(self, width, height):
        return self.offered

    def set_mode(self, mode):
        self.mode = mode
        return Layout(mode.pixel_format, mode.width, mode.height)

    def set_rate(self, rate_hz):
        return max(self.slowest_hz, min(rate_hz, self.mode.rate_hz))

    def control_range(self, control):
        return self.controls_offered.get(control)

    def set_control(self, control, value):
        least, most = self.controls_offered[control]
        assert least <= value <= most
        self.set[control] = value

    def start(self, count):
        self.starts += 1
        self._free = list(range(count))
        if self.mode.width * self.mode.height * (0.3 if self.mode.pixel_format == "MJPG" else 2.0) > self._bus_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    def fill(self, data: bytes | np.ndarray, stamp_ns: int | None, sequence: int, damaged: bool = False) -> None:
        """A frame is complete; lost if no buffer is free, as in the kernel."""
        with self._changed:
            if self._free:
                index = self._free.pop(0)
                view = self._memory[index][: len(data)]
                view[:] = np.frombuffer(data, np.uint8)
                self._filled.append(Taken(index, view, stamp_ns, sequence % 2**32, damaged))
                self._changed.notify_all()

    def unplug(self, fault: int = errno.ENODEV) -> None:
        with self._changed:
            self.fault = fault
            self._changed.notify_all()

    def drained(self) -> None:
        """Wait until all frames were taken and given back."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._filled and not self._out, 5)

    def wait(self):
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._filled or self.fault)
            return not self._woken

    def wake(self):
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def take(self):
        with self._changed:
            if self.fault is not None:
                raise OSError(self.fault, os.strerror(self.fault))
            taken = self._filled.popleft()
            self._out.add(taken.index)
            return taken

    def give_back(self, index):
        with self._changed:
            self._memory[index][:] = 0xEE
            self._out.remove(index)
            self._free.append(index)
            self._changed.notify_all()

    def stop(self):
        self._free = []

    def close(self):
        self.closed.set()


class PatientClock(ManualClock):
    """Time is the test's, but a wait gives the driver's thread a chance to act."""

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        return wake.wait(5) or super().wait(wake, until_ns)


class EmptyDevice(FakeDevice):
    def modes(self, width, height):
        return []
