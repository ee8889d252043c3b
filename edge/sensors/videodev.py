"""One Video4Linux2 capture device, by the system calls of the kernel's ``uapi/linux/videodev2.h``: formats, buffers, time stamps.

Written against the header and not over a package: linuxpy is under the GPL, hides the quantization of a format, and fails on pixel formats
that it does not know.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import mmap
import os
import select
import threading
import typing

import numpy as np

from edge.sensors.pixels import PIXEL_FORMATS, Layout
from edge.sensors.videodev2 import (
    BUF_ERROR,
    BUF_TIMESTAMP_MASK,
    BUF_TIMESTAMP_MONOTONIC,
    CAP_DEVICE_CAPS,
    CAP_TIMEPERFRAME,
    CAPTURE,
    COLORSPACE_DCI_P3,
    COLORSPACE_JPEG,
    COLORSPACE_REC709,
    CTRL_DISABLED,
    DISCRETE,
    DQBUF,
    ENCODING_DEFAULT,
    ENCODINGS_709,
    ENUM_FMT,
    ENUM_FRAMEINTERVALS,
    ENUM_FRAMESIZES,
    FIELD_NONE,
    MMAP,
    PRIV_MAGIC,
    QBUF,
    QUANTIZATION_DEFAULT,
    QUANTIZATION_LIMITED,
    QUERYBUF,
    QUERYCAP,
    QUERYCTRL,
    REQBUFS,
    S_CTRL,
    S_FMT,
    S_PARM,
    STREAMOFF,
    STREAMON,
    BufferStruct,
    CapabilityStruct,
    Control,
    FormatDescription,
    FormatStruct,
    FrameInterval,
    FrameSize,
    QueryControl,
    RequestBuffers,
    StreamParm,
)


@dataclasses.dataclass(frozen=True)
class Capability:
    """What a device says of itself."""

    driver: str
    card: str
    bus: str
    flags: int
    """Of this node, ``CAP_...``."""


@dataclasses.dataclass(frozen=True)
class Mode:
    """A format that a camera offers."""

    pixel_format: str
    """One of ``edge.sensors.pixels.PIXEL_FORMATS``."""
    width: int
    height: int
    rate_hz: float
    """The fastest; 0 if the camera does not say."""


@dataclasses.dataclass(frozen=True, eq=False)
class Taken:
    """A buffer that the camera filled; to be given back."""

    index: int
    data: np.ndarray
    """uint8 (n,), the camera's memory itself."""
    stamp_ns: int | None
    """``CLOCK_MONOTONIC``; None if the driver stamps by another clock."""
    sequence: int
    """Counts frames, those lost too; modulo 2**32."""
    damaged: bool


class VideoDevice:
    """An open capture device. Methods raise OSError; ``wake`` may be called from any thread, the rest from one at a time."""

    def __init__(self, path: str):
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._memory: list[tuple[mmap.mmap, np.ndarray]] = []
        self._streaming = False
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def capability(self) -> Capability:
        got = self._call(QUERYCAP, CapabilityStruct())
        flags = got.device_caps if got.capabilities & CAP_DEVICE_CAPS else got.capabilities
        driver, card, bus = (text.decode(errors="replace") for text in (got.driver, got.card, got.bus_info))
        return Capability(driver, card, bus, flags)

    def modes(self, width: int, height: int) -> list[Mode]:
        """Everything that is offered and understood; of a range of sizes, the one that covers width x height or comes nearest to it."""
        found = []
        for description in self._listed(ENUM_FMT, lambda: FormatDescription(type=CAPTURE)):
            name = _name(description.pixelformat)
            if name in PIXEL_FORMATS:
                for size in self._sizes(description.pixelformat, width, height):
                    found.append(Mode(name, *size, self._fastest_hz(description.pixelformat, *size)))
        return found

    def _sizes(self, code: int, width: int, height: int) -> list[tuple[int, int]]:
        listed = list(self._listed(ENUM_FRAMESIZES, lambda: FrameSize(pixel_format=code)))
        if not listed:
            return [(width, height)]
        if listed[0].type == DISCRETE:
            return [(size.numbers[0], size.numbers[1]) for size in listed]
        numbers = listed[0].numbers
        return [(_on_grid(width, *numbers[:3]), _on_grid(height, *numbers[3:]))]

    def _fastest_hz(self, code: int, width: int, height: int) -> float:
        make = lambda: FrameInterval(pixel_format=code, width=width, height=height)  # noqa: E731
        listed = list(self._listed(ENUM_FRAMEINTERVALS, make))
        # Of a range, the first pair is the shortest interval, and the range is all that is listed.
        return max((item.numbers[1] / item.numbers[0] for item in listed if item.numbers[0]), default=0.0)

    def set_mode(self, mode: Mode) -> Layout:
        """Ask for a format; what the driver makes of it. SensorError if that is not understood."""
        wanted = FormatStruct(type=CAPTURE)
        pix = wanted.fmt.pix
        pix.width, pix.height, pix.pixelformat = mode.width, mode.height, _code(mode.pixel_format)
        pix.field, pix.priv = FIELD_NONE, PRIV_MAGIC
        pix = self._call(S_FMT, wanted).fmt.pix
        return layout_of(_name(pix.pixelformat), pix)

    def set_rate(self, rate_hz: float) -> float:
        """Ask for a frame rate; the one that the driver sets, 0 if it does not say."""
        wanted = StreamParm(type=CAPTURE, numerator=1000, denominator=round(rate_hz * 1000))
        try:
            got = self._call(S_PARM, wanted)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                return 0.0
            raise
        known = got.capability & CAP_TIMEPERFRAME and got.numerator and got.denominator
        return got.denominator / got.numerator if known else 0.0

    def control_range(self, control: int) -> tuple[int, int] | None:
        """Least and greatest value; None if there is no such control."""
        try:
            got = self._call(QUERYCTRL, QueryControl(id=control))
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                return None
            raise
        return None if got.flags & CTRL_DISABLED else (got.minimum, got.maximum)

    def set_control(self, control: int, value: int) -> None:
        self._call(S_CTRL, Control(control, value))

    def start(self, count: int) -> None:
        """Map about ``count`` buffers and let the camera fill them."""
        for index in range(self._call(REQBUFS, RequestBuffers(count=count, type=CAPTURE, memory=MMAP)).count):
            buffer = self._call(QUERYBUF, BufferStruct(index=index, type=CAPTURE, memory=MMAP))
            memory = mmap.mmap(self._fd, buffer.length, mmap.MAP_SHARED, mmap.PROT_READ, offset=buffer.offset & 0xFFFFFFFF)
            self._memory.append((memory, np.frombuffer(memory, np.uint8)))
            self.give_back(index)
        self._call(STREAMON, ctypes.c_int(CAPTURE))
        self._streaming = True

    def wait(self) -> bool:
        """Block until a buffer can be taken (True) or ``wake`` was called (False)."""
        while True:
            ready = dict(self._poll.poll())
            if self._wake in ready:
                return False
            if self._fd in ready:
                return True

    def wake(self) -> None:
        """End ``wait``, now or when it is called next."""
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def take(self) -> Taken:
        """The buffer that was filled first; OSError if there is none (EAGAIN) or the camera is gone (ENODEV)."""
        buffer = self._call(DQBUF, BufferStruct(type=CAPTURE, memory=MMAP))
        monotonic = buffer.flags & BUF_TIMESTAMP_MASK == BUF_TIMESTAMP_MONOTONIC
        stamp_ns = buffer.seconds * 1_000_000_000 + buffer.microseconds * 1_000
        damaged = bool(buffer.flags & BUF_ERROR) or not buffer.bytesused
        data = self._memory[buffer.index][1][: buffer.bytesused]
        return Taken(buffer.index, data, stamp_ns if monotonic and stamp_ns else None, buffer.sequence, damaged)

    def give_back(self, index: int) -> None:
        """Let the camera fill a buffer again."""
        self._call(QBUF, BufferStruct(index=index, type=CAPTURE, memory=MMAP))

    def stop(self) -> None:
        """End the stream and free the buffers; another mode may be set then."""
        if self._streaming:
            self._streaming = False
            with contextlib.suppress(OSError):
                self._call(STREAMOFF, ctypes.c_int(CAPTURE))
        while self._memory:
            memory, view = self._memory.pop()
            del view
            with contextlib.suppress(BufferError):  # somebody still looks at it: it goes when they are done
                memory.close()
        with contextlib.suppress(OSError):
            self._call(REQBUFS, RequestBuffers(count=0, type=CAPTURE, memory=MMAP))

    def close(self) -> None:
        """May be called twice."""
        if self._fd < 0:
            return
        self.stop()
        with self._lock:  # a number that was closed may name another file the next moment
            os.close(self._fd)
            os.close(self._wake)
            self._fd = self._wake = -1

    def _call(self, request: int, argument: typing.Any) -> typing.Any:
        while True:
            try:
                fcntl.ioctl(self._fd, request, argument)
                return argument
            except InterruptedError:
                continue

    def _listed(self, request: int, make: typing.Callable[[], typing.Any]) -> typing.Iterator[typing.Any]:
        for index in range(256):
            item = make()
            item.index = index
            try:
                yield self._call(request, item)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                    return
                raise


def layout_of(pixel_format: str, pix: typing.Any) -> Layout:
    """A ``struct v4l2_pix_format`` as a layout; defaults after ``V4L2_MAP_QUANTIZATION_DEFAULT`` and ``V4L2_MAP_YCBCR_ENC_DEFAULT``."""
    limited = pix.quantization == QUANTIZATION_LIMITED
    if pix.quantization == QUANTIZATION_DEFAULT:
        limited = pix.colorspace != COLORSPACE_JPEG
    bt709 = pix.ycbcr_enc in ENCODINGS_709
    if pix.ycbcr_enc == ENCODING_DEFAULT:
        bt709 = pix.colorspace in (COLORSPACE_REC709, COLORSPACE_DCI_P3)
    if pixel_format == "MJPG":
        return Layout(pixel_format, pix.width, pix.height)
    if pixel_format == "GREY":
        # There is no colour to encode, and sensors without colour use all levels.
        limited, bt709 = pix.quantization == QUANTIZATION_LIMITED, False
    return Layout(pixel_format, pix.width, pix.height, pix.bytesperline, limited, bt709)


def _name(code: int) -> str:
    return code.to_bytes(4, "little").decode("latin-1")


def _code(name: str) -> int:
    return int.from_bytes(name.encode("latin-1"), "little")


def _on_grid(wanted: int, least: int, most: int, step: int) -> int:
    """Least value of ``least, least + step, ... most`` that is ``wanted`` or more, else the greatest; even where the grid allows."""
    step = 2 * step if step % 2 else step or 2
    value = least + -(-max(0, wanted - least) // step) * step
    return value if value <= most else most - (most - least) % step
