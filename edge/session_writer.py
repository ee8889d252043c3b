"""Writes recorded sessions: chunks in, one zip out, the same bytes for the same chunks."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import io
import math
import os
import pathlib
import tempfile
import types
import typing
import zipfile

import numpy as np

from edge.archive import add_part, beside, dump_json
from edge.errors import SessionError
from edge.session import FORMAT, LIVE_FORMAT, MANIFEST, JournalInfo, Planned, Source
from edge.types import TRACKS, Chunk, Track

_MS = 1_000_000


class _Timeline:
    """When the samples of one track were taken: a start, a rate, and gaps where time jumped."""

    def __init__(self, chunk: Chunk, tolerance_ms: float):
        self.rate_hz = chunk.rate_hz
        self.start_ms = _ms(chunk.t_ns)
        self.gaps_ms: list[tuple[float, float]] = []
        self.samples = 0
        self._tolerance_ms = tolerance_ms
        self._segment_ms, self._segment_samples = self.start_ms, 0

    @property
    def end_ms(self) -> float:
        """When the next sample is due."""
        return self._segment_ms + self._segment_samples * 1000 / self.rate_hz

    def add(self, chunk: Chunk, where: str, strict: bool) -> None:
        if chunk.rate_hz != self.rate_hz:
            raise SessionError(f"{where}: {chunk.track} changes from {self.rate_hz:g} to {chunk.rate_hz:g} Hz; a track keeps its rate")
        late_ms = chunk.t_ns / _MS - self.end_ms
        if late_ms < -self._tolerance_ms and strict:
            raise SessionError(
                f"{where}: {chunk.track} at {chunk.t_ns / _MS:g} ms goes back behind {self.end_ms:g} ms; chunks come in order"
            )
        if late_ms > self._tolerance_ms:
            # Rounded down, so that no reader takes one sample too many before the gap.
            self.gaps_ms.append((math.floor(self.end_ms * 1000) / 1000, _ms(chunk.t_ns)))
            self._segment_ms, self._segment_samples = _ms(chunk.t_ns), 0
        self._segment_samples += len(chunk.samples)
        self.samples += len(chunk.samples)


class SessionWriter:
    """Context manager; frames go straight to the file, sound through a temporary one, and the name appears at the end.

    Leaving it by an exception leaves no file.

    Args:
        path: the session to write.
        title, consent, planned, sources: what ``session.json`` says of it.
        duration_ms: length; by default up to the end of the last sample.
        overwrite: replace what is there.
        webp_quality: 0 to 100, of the frames; without loss if None.
        live: for a recording of format 2, whose journal goes to ``journal``.
        kit: what recorded it, in words; of format 2.
        tolerance_ms: how far a chunk may be from where the one before it ended; later than that is a gap, earlier an error.

    Raises:
        SessionError: the path exists, chunks go back in time, or a track changes its rate or size.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        title: str,
        consent: str = "",
        planned: collections.abc.Sequence[Planned] = (),
        sources: collections.abc.Sequence[Source] = (),
        duration_ms: float | None = None,
        overwrite: bool = False,
        webp_quality: int | None = 60,
        tolerance_ms: float = 20.0,
        live: JournalInfo | None = None,
        kit: collections.abc.Mapping[str, str] | None = None,
    ):
        self.path = pathlib.Path(path)
        self._said = {
            "format": FORMAT if live is None else LIVE_FORMAT,
            "title": title,
            "consent": consent,
            "planned": [dataclasses.asdict(spell) for spell in planned],
            "sources": [dataclasses.asdict(source) for source in sources],
        }
        if live is not None:
            self._said |= {"journal": dataclasses.asdict(live), "kit": dict(kit or {})}
        self._live = live
        self._duration_ms, self._overwrite = duration_ms, overwrite
        self._webp_quality, self._tolerance_ms = webp_quality, tolerance_ms
        self._timelines: dict[Track, _Timeline] = {}
        self._values: dict[Track, io.StringIO] = {}
        self._frames: list[str] = []
        self._frame_size, self._pixels = (0, 0), "grey"
        self._last_frame: np.ndarray | None = None
        self._last_frame_ns = -1
        self._audio: typing.Any = None
        self._journal: typing.Any = None

    def __enter__(self) -> SessionWriter:
        self._stack = contextlib.ExitStack()
        stream = self._stack.enter_context(beside(self.path, overwrite=self._overwrite, kind=SessionError))
        self._archive = self._stack.enter_context(zipfile.ZipFile(stream, "w"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
            elif self._audio is not None:
                self._audio.close()
        except BaseException as failed:
            self._stack.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)

    def add(self, chunk: Chunk) -> None:
        """Append what a sensor delivered; ``t_ns`` counts from the start of the session."""
        if len(chunk.samples) == 0:
            return
        if chunk.track == "video":
            self._add_frames(chunk)
            return
        if not np.isfinite(chunk.samples).all():
            raise SessionError(
                f"{self.path}: {chunk.track} at {chunk.t_ns / _MS:g} ms holds what is not a number; leave such samples out as a gap"
            )
        timeline = self._timelines.setdefault(chunk.track, _Timeline(chunk, self._tolerance_ms))
        timeline.add(chunk, str(self.path), strict=self._live is None)
        if chunk.track == "audio":
            self._add_audio(chunk)
        else:
            text = self._values.setdefault(chunk.track, io.StringIO("value\n"))
            text.seek(0, os.SEEK_END)
            text.writelines(np.format_float_positional(value, unique=True, trim="-") + "\n" for value in chunk.samples.astype(np.float32))

    def journal(self, line: str) -> None:
        """Append a line of the journal."""
        if self._journal is None:
            self._journal = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (closed by the stack)
        self._journal.write(line.encode("utf-8"))

    def _add_frames(self, chunk: Chunk) -> None:
        from PIL import Image

        height, width = chunk.samples.shape[1:]
        if self._frames and self._frame_size != (width, height):
            raise SessionError(f"{self.path}: video changes to {width}x{height} pixels from {self._frame_size}; a track keeps its size")
        self._frame_size, self._frame_rate_hz = (width, height), chunk.rate_hz
        pixels = "grey" if chunk.chroma is None else "i420"
        if self._frames and pixels != self._pixels:
            raise SessionError(f"{self.path}: video changes to {pixels} from {self._pixels}; a track keeps its colour")
        self._pixels = pixels
        for number, frame in enumerate(chunk.samples):
            if chunk.chroma is not None:
                beside_each_other = chunk.chroma[number].transpose(1, 0, 2).reshape(height // 2, width)
                frame = np.concatenate([frame, beside_each_other])
            t_ns = chunk.t_ns + round(number * 1e9 / chunk.rate_hz)
            if t_ns <= self._last_frame_ns:
                raise SessionError(f"{self.path}: a frame at {t_ns / _MS:g} ms does not come after {self._last_frame_ns / _MS:g} ms")
            self._last_frame_ns = t_ns
            if self._last_frame is None or not np.array_equal(frame, self._last_frame):  # a still scene costs one picture
                self._file, self._last_frame = f"video/{len(self._frames):06d}.webp", frame.copy()
                buffer = io.BytesIO()
                if self._webp_quality is None:  # while people wait: PNG at its fastest is several times faster than WebP without loss
                    self._file = f"video/{len(self._frames):06d}.png"
                    Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
                else:
                    Image.fromarray(frame).save(buffer, "WEBP", quality=self._webp_quality, method=6)
                add_part(self._archive, self._file, buffer.getvalue())
            self._frames.append(f"{_ms(t_ns)},{self._file}")

    def _add_audio(self, chunk: Chunk) -> None:
        import soundfile

        if self._audio is None:
            self._sound = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (closed by the stack)
            # A descriptor: for a Python file cffi would make call-backs, and for these memory that is writable and executable.
            where = self._sound.fileno()
            self._audio = soundfile.SoundFile(where, "w", round(chunk.rate_hz), 1, "PCM_16", format="FLAC", closefd=False)
        self._audio.write(np.clip(np.rint(chunk.samples * 32768.0), -32768, 32767).astype(np.int16))

    def _finish(self) -> None:
        tracks: dict[Track, dict[str, typing.Any]] = {}
        if self._frames:
            width, height = self._frame_size
            tracks["video"] = {"rate_hz": self._frame_rate_hz, "width": width, "height": height, "index": "video/index.csv"}
            if self._pixels != "grey":
                tracks["video"]["pixels"] = self._pixels
            add_part(self._archive, "video/index.csv", "\n".join(["t_ms,file", *self._frames, ""]).encode("ascii"))
        for track, timeline in sorted(self._timelines.items()):
            file = "audio.flac" if track == "audio" else f"{track}.csv"
            tracks[track] = {"rate_hz": timeline.rate_hz, "file": file, "start_ms": timeline.start_ms, "gaps_ms": timeline.gaps_ms}
            if track == "audio":
                self._audio.close()
                self._sound.seek(0)
                add_part(self._archive, file, self._sound.read())
            else:
                add_part(self._archive, file, self._values[track].getvalue().encode("ascii"))
        if self._live is not None:
            self._journal_part(self._live.file)
        if not tracks:
            raise SessionError(f"{self.path}: nothing was recorded; add chunks of one of {', '.join(TRACKS)}")
        ends = [timeline.end_ms for timeline in self._timelines.values()]
        if self._frames:
            ends.append(self._last_frame_ns / _MS + 1000 / self._frame_rate_hz)
        duration_ms = max(ends) if self._duration_ms is None else self._duration_ms
        add_part(self._archive, MANIFEST, dump_json({**self._said, "duration_ms": _ms(round(duration_ms * _MS)), "tracks": tracks}))

    def _journal_part(self, name: str) -> None:
        content = b""
        if self._journal is not None:
            self._journal.seek(0)
            content = self._journal.read()
        add_part(self._archive, name, content)


def _ms(t_ns: int) -> float:
    """Milliseconds to the microsecond, whole where they are."""
    t_ms = round(t_ns / _MS, 3)
    return int(t_ms) if t_ms == int(t_ms) else t_ms
