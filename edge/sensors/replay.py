"""A recorded session as a source: its tracks in the order and at the pace in which real sensors would have delivered them."""

from __future__ import annotations

import collections.abc
import dataclasses
import heapq
import threading
import typing

from edge.clock import Clock
from edge.errors import SensorError
from edge.sensors import PlannedAbsence
from edge.types import TRACKS, Chunk, Track


class Recording(typing.Protocol):
    """The part of ``edge.session.Session`` that a replay needs."""

    @property
    def duration_ns(self) -> int: ...
    @property
    def tracks(self) -> collections.abc.Iterable[Track]: ...
    @property
    def planned(self) -> collections.abc.Sequence[PlannedAbsence]: ...
    def chunks(self, track: Track) -> collections.abc.Iterator[Chunk]: ...


def merged(recording: Recording) -> collections.abc.Iterator[Chunk]:
    """Chunks of all tracks by the time at which they are complete; at the same time, in the order of ``TRACKS``."""
    present = set(recording.tracks)
    streams = [recording.chunks(track) for track in TRACKS if track in present]
    return heapq.merge(*streams, key=lambda chunk: chunk.end_ns)


class Replay:
    """Replays a recording from the moment of ``open``; a chunk is given out once its last sample would have been captured.

    With a ``ManualClock`` nothing waits: reading moves the clock.
    """

    live = False

    def __init__(self, recording: Recording, clock: Clock):
        present = set(recording.tracks)
        self.tracks: tuple[Track, ...] = tuple(track for track in TRACKS if track in present)
        self.duration_ns: int | None = recording.duration_ns
        self.planned = recording.planned
        self.recording = recording
        self._clock = clock
        self._closed = threading.Event()
        self._chunks: collections.abc.Iterator[Chunk] | None = None
        self._start_ns = 0

    def open(self) -> None:
        self._start_ns = self._clock.now_ns()
        self._chunks = merged(self.recording)

    def read(self) -> Chunk | None:
        if self._chunks is None:
            raise SensorError("replay: read before it was opened; call open() first")
        chunk = next(self._chunks, None)
        # Silence up to the end of the session is part of it: the last absences are only seen by waiting for them.
        until_ns = self.recording.duration_ns if chunk is None else chunk.end_ns
        if self._clock.wait(self._closed, self._start_ns + until_ns) or chunk is None:
            return None
        return dataclasses.replace(chunk, t_ns=chunk.t_ns + self._start_ns) if self._start_ns else chunk

    def close(self) -> None:
        self._closed.set()
