"""What cameras have in common: a thread of the driver's hands frames over, a watchdog looks for silence, and closing never hangs."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import logging
import threading

import numpy as np

from edge.clock import Clock
from edge.errors import SensorError
from edge.sensors import PlannedAbsence
from edge.sensors.pixels import Converter, Layout, Planes
from edge.sensors.settings import CameraSettings
from edge.types import Chunk, Track

log = logging.getLogger("affectkit")

KEPT = 2
"""Frames that wait for the reader at most; the oldest goes when one more comes."""
SILENCE_S = 2.0
"""Longest time between two frames; a camera that is slower is broken."""
FIRST_S = 4.0
"""Longest time until the first frame: cameras set their exposure before they deliver."""
OPEN_WITHIN_S = 10.0
CLOSE_WITHIN_S = 1.5


class Camera:
    """A ``Sensor`` around one camera; a descendant must override ``_start`` and ``_stop``, and calls ``_deliver`` from a thread.

    Args:
        name: opens messages, such as "camera picamera2:0".
        clock: times the silence, and is the time base of the chunks.
        settings: ``width``, ``height`` and ``colour`` of what is delivered.
        open_within_s, close_within_s: of the machine's time; a driver that takes longer is left behind in a daemon thread.
    """

    tracks: tuple[Track, ...] = ("video",)
    live = True
    silent_after_ms = 8_000
    """It notices silence itself, much sooner; this is for a driver that hangs where it should not."""
    duration_ns: int | None = None
    planned: collections.abc.Sequence[PlannedAbsence] = ()

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: CameraSettings,
        *,
        open_within_s: float = OPEN_WITHIN_S,
        close_within_s: float = CLOSE_WITHIN_S,
    ):
        self.dropped = 0
        """Frames that nobody fetched in time."""
        self.damaged = 0
        """Frames that arrived broken and were left out."""
        self.rate_hz = float(settings.rate_hz)
        """Of the frames delivered, once open."""
        self._name, self._clock, self._settings = name, clock, settings
        self._open_within_s, self._close_within_s = open_within_s, close_within_s
        self._convert: Converter | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._frames: collections.deque[Chunk] = collections.deque()
        self._failure: SensorError | None = None
        self._opened = self._closed = False
        self._arrived_ns = self._stamped_ns = 0
        self._patience_s = FIRST_S

    def open(self) -> None:
        """Raises SensorError: there is no such camera, it is in use, or its package is missing."""
        opening = _Task(self._begin, f"{self._name} opening")
        if not opening.done_within(self._open_within_s):
            with self._lock:
                self._closed = not self._opened
            if self._closed:
                raise SensorError(f"{self._name}: not open after {self._open_within_s:g} s; check its cable, then restart the computer")
        opening.check()

    def _begin(self) -> None:
        try:
            self._start()
        except Exception:
            with contextlib.suppress(Exception):  # what went wrong first is what is told
                self._stop()
            raise
        with self._lock:
            self._arrived_ns, self._opened = self._clock.now_ns(), not self._closed
        if not self._opened:  # closed meanwhile, or given up
            self._stop()

    def read(self) -> Chunk | None:
        if not self._opened and not self._closed:
            raise SensorError(f"{self._name}: read before it was opened; call open() first")
        while True:
            with self._lock:
                if self._closed:
                    return None
                if self._frames:
                    return self._frames.popleft()
                if self._failure is not None:
                    raise self._failure
                self._wake.clear()
                until_ns = self._arrived_ns + round(self._patience_s * 1e9)
            if not self._clock.wait(self._wake, until_ns) and not self._wake.is_set():
                broken = f" ({self.damaged} were damaged)" if self.damaged else ""
                raise SensorError(f"{self._name}: no frame for {self._patience_s:g} s{broken}; check its cable and its power")

    def close(self) -> None:
        """Returns within ``close_within_s`` whatever the driver does."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._frames.clear()
        self._wake.set()
        if not self._opened:  # one that is being opened is closed by the thread that does so
            return
        closing = _Task(self._stop, f"{self._name} closing")
        if not closing.done_within(self._close_within_s):
            log.warning("%s: its driver did not close within %g s and is left behind", self._name, self._close_within_s)
            return
        try:
            closing.check()
        except Exception as error:  # whatever a broken driver says, it is gone
            log.warning("%s: closed with %s: %s", self._name, type(error).__name__, error)

    def _laid_out(self, layout: Layout) -> None:
        """Frames will come in this layout; said in the log if they must be made to fit."""
        settings = self._settings
        self._convert = Converter(layout, settings.width, settings.height, colour=settings.colour, upside_down=settings.upside_down)
        if (layout.width, layout.height) != (settings.width, settings.height):
            log.info(
                "%s: takes %dx%d %s and makes %dx%d of it",
                *(self._name, layout.width, layout.height, layout.pixel_format, settings.width, settings.height),
            )
        if settings.colour and layout.pixel_format == "GREY":
            log.warning("%s: has no colour; the pulse cannot be read from the face", self._name)

    def _deliver(self, buffer: np.ndarray, t_ns: int) -> None:
        """Hand over a frame: ``buffer`` uint8 (n,) as laid out, free again on return; ``t_ns`` by the injected clock.

        For the driver's thread; never waits. A damaged frame, or one no younger than the last, is left out and counted.
        """
        if self._closed or self._convert is None:
            return
        try:
            planes = self._convert(buffer)
        except ValueError:
            self._leave_out()
            return
        self._put(planes, t_ns)

    def _put(self, planes: Planes, t_ns: int) -> None:
        luma, chroma = planes
        chunk = Chunk("video", t_ns, self.rate_hz, luma[None], None if chroma is None else chroma[None])
        with self._lock:
            if self._closed:
                return
            self._arrived_ns, self._patience_s = self._clock.now_ns(), SILENCE_S
            if self._stamped_ns and t_ns <= self._stamped_ns:
                self.damaged += 1
                return
            self._stamped_ns = t_ns
            if len(self._frames) >= KEPT:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(chunk)
        self._wake.set()

    def _leave_out(self) -> None:
        """Count a damaged frame. It does not end the silence: a camera that delivers no other is to be opened anew."""
        with self._lock:
            self.damaged += 1

    def _fail(self, error: SensorError) -> None:
        """The next ``read`` raises ``error``, after the frames that wait. For the driver's thread."""
        with self._lock:
            self._failure = self._failure or error
        self._wake.set()

    def _start(self) -> None:
        """Open the camera and let it run; calls ``_laid_out`` before the first frame. SensorError if it cannot."""
        raise NotImplementedError

    def _stop(self) -> None:
        """Give everything back, also after ``_start`` failed half way; may hang."""
        raise NotImplementedError


class _Task:
    """A function of a driver's, in a daemon thread of its own: it may hang without taking its caller with it."""

    def __init__(self, work: collections.abc.Callable[[], None], name: str):
        self._work = work
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # raised again by check, in the thread that asked for the work
            self._error = error

    def done_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise what the function raised."""
        if self._error is not None:
            raise self._error
