"""A recorded session decoded beforehand, so that every peer starts from the same arrays and nobody pays for codecs."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib

from edge.clock import ManualClock
from edge.embedded import SESSION
from edge.sensors import PlannedAbsence
from edge.sensors.replay import Replay
from edge.session import open_session
from edge.types import TRACKS, Chunk, Track

NS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Chunks of every track in memory; what ``edge.sensors.replay.Replay`` takes."""

    duration_ns: int
    by_track: collections.abc.Mapping[Track, tuple[Chunk, ...]]
    planned: collections.abc.Sequence[PlannedAbsence] = ()

    @property
    def tracks(self) -> tuple[Track, ...]:
        return tuple(self.by_track)

    def chunks(self, track: Track) -> collections.abc.Iterator[Chunk]:
        """What the sensor delivered, in order."""
        return iter(self.by_track[track])

    def merged(self) -> list[Chunk]:
        """Chunks of all tracks by the time at which they are complete; at the same time, in the order of ``TRACKS``."""
        return sorted((c for track in TRACKS for c in self.by_track.get(track, ())), key=lambda chunk: chunk.end_ns)

    def until(self, end_s: float) -> Decoded:
        """The first ``end_s`` seconds."""
        end_ns = min(self.duration_ns, round(end_s * NS))
        return Decoded(end_ns, {t: tuple(c for c in cs if c.end_ns <= end_ns) for t, cs in self.by_track.items()}, self.planned)

    def sensor(self) -> Replay:
        """A source that gives it, in virtual time."""
        return Replay(self, ManualClock())


def decode(path: pathlib.Path = SESSION) -> Decoded:
    """Everything in a session, the embedded one by default. Raises SessionError."""
    session = open_session(path)
    return Decoded(session.duration_ns, {track: tuple(session.chunks(track)) for track in session.tracks}, session.planned)
