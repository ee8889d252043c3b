"""A session decoded beforehand, so that decoding pictures and sound is no part of what is measured; and one that goes on and on."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import pathlib

import numpy as np

from edge.sensors import PlannedAbsence
from edge.sensors.replay import Recording
from edge.types import TRACKS, Chunk, Track

_INDEX = "index.json"


def spool(recording: Recording, folder: pathlib.Path) -> None:
    """Write every chunk of ``recording`` to ``folder`` as plain numbers: a file a track, and an index."""
    folder.mkdir(parents=True, exist_ok=True)
    tracks: dict[str, list[dict[str, object]]] = {}
    for track in recording.tracks:
        rows = tracks.setdefault(track, [])
        with open(folder / f"{track}.raw", "wb") as stream:
            for chunk in recording.chunks(track):
                row: dict[str, object] = {"t_ns": chunk.t_ns, "rate_hz": chunk.rate_hz, "at": stream.tell()}
                for name, array in (("samples", chunk.samples), ("chroma", chunk.chroma)):
                    if array is not None:
                        row[name] = {"shape": array.shape, "dtype": array.dtype.str}
                        stream.write(np.ascontiguousarray(array).tobytes())
                rows.append(row)
    (folder / _INDEX).write_text(json.dumps({"duration_ns": recording.duration_ns, "tracks": tracks}))


class Spooled:
    """What ``spool`` wrote, as a recording: a chunk is read when it is asked for, as a driver would copy it, and not kept."""

    def __init__(self, folder: pathlib.Path):
        index = json.loads((folder / _INDEX).read_text())
        self.duration_ns: int = index["duration_ns"]
        self.planned: tuple[PlannedAbsence, ...] = ()
        self._rows = index["tracks"]
        self.tracks: tuple[Track, ...] = tuple(track for track in TRACKS if track in self._rows)
        self._folder = folder

    def chunks(self, track: Track) -> collections.abc.Iterator[Chunk]:
        with open(self._folder / f"{track}.raw", "rb", buffering=0) as stream:
            for row in self._rows[track]:
                os.lseek(stream.fileno(), row["at"], os.SEEK_SET)
                arrays = {name: _read(stream.fileno(), row[name]) for name in ("samples", "chroma") if name in row}
                yield Chunk(track, row["t_ns"], row["rate_hz"], arrays["samples"], arrays.get("chroma"))


def _read(descriptor: int, said: dict[str, object]) -> np.ndarray:
    array = np.empty(said["shape"], said["dtype"])  # type: ignore[call-overload]
    os.readv(descriptor, [array.reshape(-1).view(np.uint8)])
    return array


class Looped:
    """A recording over and over, its times rising, up to ``duration_ns``: one long lesson for whoever listens.

    What would reach into the next round is left out: a sensor never delivers two samples at one time.
    """

    def __init__(self, recording: Recording, duration_ns: int):
        self.tracks = tuple(recording.tracks)
        self.planned: tuple[PlannedAbsence, ...] = ()
        self.duration_ns = duration_ns
        self._recording = recording

    def chunks(self, track: Track) -> collections.abc.Iterator[Chunk]:
        whole_ns, offset_ns = self._recording.duration_ns, 0
        while offset_ns < self.duration_ns:
            for chunk in self._recording.chunks(track):
                if chunk.end_ns >= whole_ns:
                    continue
                if chunk.end_ns + offset_ns > self.duration_ns:
                    return
                yield dataclasses.replace(chunk, t_ns=chunk.t_ns + offset_ns)
            offset_ns += whole_ns
