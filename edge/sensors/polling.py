"""What sensors have in common that are asked at intervals: a fault that passes is outlived, and a close from elsewhere is heeded."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import logging
import threading

from edge.clock import Clock
from edge.errors import SensorError
from edge.sensors import PlannedAbsence
from edge.sensors.bus import MS, I2cDevice
from edge.types import Chunk, Track

log = logging.getLogger("affectkit")

RETRY_NS = 200 * MS
"""Between two attempts while nothing answers: a stuck bus blocks each for up to a second, and 2 s are allowed in all."""
CLOSE_WITHIN_S = 1.5


class PolledSensor:
    """A ``Sensor`` around one chip; a descendant must override ``_start``, ``_poll``, ``_due_ns`` and ``_rest``.

    ``open`` fails if the chip does not answer; later faults make a gap in time and are named in ``trouble`` while they last.

    Args:
        name: opens messages.
        track: what it delivers.
        device: the chip, not yet open.
        live: False for a simulated chip.
    """

    duration_ns: int | None = None
    planned: collections.abc.Sequence[PlannedAbsence] = ()

    def __init__(self, name: str, track: Track, device: I2cDevice, clock: Clock, *, live: bool):
        self.tracks: tuple[Track, ...] = (track,)
        self.live = live
        self.trouble: str | None = None
        """What is wrong with the chip now, in one line; None if nothing is."""
        self._name, self._device, self._clock = name, device, clock
        self._closed = threading.Event()
        self._turn = threading.Lock()  # held while the bus is used
        self._ready: collections.deque[Chunk] = collections.deque()

    def open(self) -> None:
        """Raises SensorError: the bus cannot be opened, or no chip or another one answers."""
        self._device.open()
        try:
            self._start()
        except SensorError:
            self._device.close()
            raise

    def read(self) -> Chunk | None:
        while not self._ready:
            due_ns = self._clock.now_ns() + RETRY_NS if self.trouble else self._due_ns()
            if self._clock.wait(self._closed, due_ns):
                return None
            with self._turn:
                if not self._closed.is_set():
                    self._ready.extend(self._tried())
        return self._ready.popleft()

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        # A thread that hangs in a system call keeps the bus: taking it away under it could hit what opens next.
        if self._turn.acquire(timeout=CLOSE_WITHIN_S):
            try:
                with contextlib.suppress(SensorError):
                    self._rest()
                self._device.close()
            finally:
                self._turn.release()

    def _tried(self) -> collections.abc.Sequence[Chunk]:
        try:
            if self.trouble:
                self._device.reopen()
            chunks = self._poll()
        except SensorError as error:
            if self.trouble is None:
                log.warning("%s: %s; trying again until it answers", self._name, error)
            self.trouble = str(error)
            return ()
        if self.trouble:
            log.warning("%s: answers again", self._name)
            self.trouble = None
        return chunks

    def _start(self) -> None:
        """Make sure that it is the right chip, and set it going. SensorError if it is not or does not."""
        raise NotImplementedError

    def _poll(self) -> collections.abc.Sequence[Chunk]:
        """Ask the chip, and start it anew if it lost its settings; what is complete since the last time."""
        raise NotImplementedError

    def _due_ns(self) -> int:
        """When to poll next."""
        raise NotImplementedError

    def _rest(self) -> None:
        """Leave the chip dark and idle."""
        raise NotImplementedError
