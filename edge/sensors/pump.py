"""A thread per sensor into bounded queues: a slow consumer loses the oldest chunks, and every loss is counted."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import logging
import threading

from edge.clock import Clock
from edge.errors import EdgeError, SensorError
from edge.sensors import Sensor
from edge.types import TRACKS, Chunk, Track

log = logging.getLogger("affectkit")

ASTRAY_NS = 1_000_000_000
"""Stamps of a live source that lie so far ahead of the clock, or behind those before them, are no capture times."""


class Inbox:
    """Where the pumps put chunks and the one consumer takes them: a bounded queue for each track, so no track crowds out another.

    Args:
        limit: chunks kept for a track; the oldest goes when one more arrives.
        clock: stamps arrivals; without one they are not stamped.
    """

    def __init__(self, limit: int, clock: Clock | None = None):
        self.dropped: dict[Track, int] = dict.fromkeys(TRACKS, 0)
        """Chunks lost because the consumer was slow."""
        self._queues: dict[Track, collections.deque[Chunk]] = {track: collections.deque() for track in TRACKS}
        self.arrived_ns: int | None = None
        """When the first of the chunks that were taken last had come; None if there were none."""
        self._limit, self._clock = limit, clock
        self._first_ns: int | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def put(self, chunk: Chunk) -> None:
        """Never blocks."""
        with self._lock:
            if self._first_ns is None and self._clock is not None:
                self._first_ns = self._clock.now_ns()
            queue = self._queues[chunk.track]
            if len(queue) >= self._limit:
                queue.popleft()
                self.dropped[chunk.track] += 1
            queue.append(chunk)
        self._wake.set()

    def notify(self) -> None:
        """End the consumer's wait although no chunk came."""
        self._wake.set()

    def wait(self, clock: Clock, until_ns: int) -> None:
        """Block until something has happened or ``until_ns`` has come."""
        clock.wait(self._wake, until_ns)

    def take(self) -> list[Chunk]:
        """All chunks that wait, by the time of their ends."""
        self._wake.clear()
        with self._lock:
            chunks = [chunk for queue in self._queues.values() for chunk in queue]
            for queue in self._queues.values():
                queue.clear()
            self.arrived_ns, self._first_ns = self._first_ns, None
        chunks.sort(key=lambda chunk: chunk.end_ns)
        return chunks


class Pump:
    """The thread of one sensor. Whatever goes wrong in it ends as ``lost``: it never kills the run.

    Args:
        sensor: closed by ``stop``.
        inbox: takes its chunks.
        opened: False if the thread is to open it.
        loud: warn when it is lost.
        clock: of the run, against which the stamps of a live sensor are held; None believes them all.
    """

    def __init__(self, sensor: Sensor, inbox: Inbox, *, opened: bool = True, loud: bool = True, clock: Clock | None = None):
        self.sensor = sensor
        self.lost: str | None = None
        """Why the sensor stopped, in one line; None while it runs and after it ended as it should."""
        self.ended = False
        """True once there will be no more chunks."""
        self.delivered = 0
        """Chunks so far."""
        self._inbox, self._opened, self._loud = inbox, opened, loud
        self._clock = clock if sensor.live else None
        self._newest_ns: dict[Track, int] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"sensor {'+'.join(sensor.tracks)}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            if not self._opened:
                self.sensor.open()
            while not self._stopping and (chunk := self.sensor.read()) is not None:
                if self._stopping:  # given up while it hung: its successor has the word
                    break
                if self._clock is not None:
                    self._check_stamps(chunk, self._clock.now_ns())
                self.delivered += 1
                self._inbox.put(chunk)
        except EdgeError as error:
            self.lost = str(error)
        except Exception as error:  # a driver's bug must not take the other sensors with it
            self.lost = f"{type(error).__name__}: {error}"
        finally:
            if self.lost is not None and not self._stopping and self._loud:
                log.warning("%s lost: %s", " and ".join(self.sensor.tracks), self.lost)
            self.ended = True
            self._inbox.notify()

    def _check_stamps(self, chunk: Chunk, now_ns: int) -> None:
        """Raises SensorError: what is stamped with another time would be believed for ever, or never."""
        ahead_ns, newest_ns = chunk.end_ns - now_ns, self._newest_ns.get(chunk.track, chunk.end_ns)
        if ahead_ns > ASTRAY_NS:
            raise SensorError(f"{chunk.track}: stamped {ahead_ns / 1e9:.0f} s ahead of the clock; opening it anew")
        if newest_ns - chunk.end_ns > ASTRAY_NS:
            raise SensorError(f"{chunk.track}: its stamps go back by {(newest_ns - chunk.end_ns) / 1e9:.0f} s; opening it anew")
        self._newest_ns[chunk.track] = max(newest_ns, chunk.end_ns)

    def abandon(self) -> None:
        """Give up a sensor without waiting for it: it is closed in a thread of its own, however long that takes."""
        self._stopping = True
        try:
            threading.Thread(target=self._close, name="close", daemon=True).start()
        except RuntimeError as error:  # no memory for one more thread: closing it here could hang, so it is left to the end
            log.debug("%s: not closed: %s", " and ".join(self.sensor.tracks), error)

    def _close(self) -> None:
        try:
            self.sensor.close()
        except Exception as error:  # it is already given up; what it says in passing is for those who look for it
            log.debug("%s: closing it failed: %s", " and ".join(self.sensor.tracks), error)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Close the sensor and wait for the thread, at most ``timeout_s``: a driver that hangs in a system call is left behind."""
        self._stopping = True
        with contextlib.suppress(EdgeError):
            self.sensor.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                log.warning("%s: its driver did not stop within %.0f s and is left behind", " and ".join(self.sensor.tracks), timeout_s)
