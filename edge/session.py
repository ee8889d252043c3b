"""A recorded session: what the sensors gave, what was planned to go wrong, and where it came from, in one zip.

::

    session.json      {format: 1, title, duration_ms, tracks, planned, sources, consent}
    video/index.csv   t_ms,file                       a line per frame
    video/000000.webp grey, 8 bit
    audio.flac        mono, 16 bit
    ppg.csv, eda.csv  a line per sample, under the header ``value``

Times in it count from the start of the session. A sampled track begins at ``start_ms``; ``gaps_ms`` lists the periods
[from, to) in which no samples were taken: the sample that would fall at or after ``from`` is the first at ``to``.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import io
import math
import os
import pathlib
import typing
import zipfile

import numpy as np

from edge.archive import Fields, Limits, check_archive, complaining, parse_json
from edge.errors import SessionError
from edge.types import MODALITIES, TRACKS, Chunk, Modality, Track

FORMAT = 1
MANIFEST = "session.json"
LIMITS = Limits(parts=1_000_000, total_bytes=1 << 30)
_MAX_CSV_BYTES = 64 << 20
CHUNK_MS = {"audio": 100, "ppg": 250, "eda": 250}
"""Length of the chunks of the sampled tracks; video comes frame by frame."""
REASONS = ("lost", "stale", "noisy", "late", "degraded")
"""What a planned spell may be: the reasons of an absence, and degraded for a signal that is poor but may still be usable."""
_MAX_PIXELS = 4096
_MS = 1_000_000


@dataclasses.dataclass(frozen=True)
class TrackInfo:
    """What the session says of one track."""

    track: Track
    rate_hz: float
    file: str
    """Part of the zip; for video its index."""
    start_ms: float = 0.0
    gaps_ms: tuple[tuple[float, float], ...] = ()
    width: int = 0
    """Pixels, video only."""
    height: int = 0


@dataclasses.dataclass(frozen=True)
class Planned:
    """A spell in which something is wrong with a modality on purpose."""

    modality: Modality
    reason: str
    """One of ``REASONS``; all but degraded mean that the modality should be absent."""
    from_ms: float
    to_ms: float
    what: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Where material came from."""

    what: str
    terms: str


class Session:
    """A checked session; the tracks are decoded as they are asked for."""

    def __init__(
        self,
        path: pathlib.Path,
        *,
        title: str,
        duration_ns: int,
        tracks: collections.abc.Mapping[Track, TrackInfo],
        planned: tuple[Planned, ...],
        sources: tuple[Source, ...],
        consent: str,
    ):
        self.path = path
        self.title = title
        self.duration_ns = duration_ns
        self.tracks = tracks
        self.planned = planned
        self.sources = sources
        self.consent = consent

    def chunks(self, track: Track) -> collections.abc.Iterator[Chunk]:
        """What the sensor delivered, in order; ``t_ns`` counts from the start of the session.

        Audio comes in chunks of 100 ms, ppg and eda of 250 ms (shorter before a gap and at the end), video in frames.

        Raises:
            SessionError: the session has no such track, or what it holds cannot be decoded.
        """
        if track not in self.tracks:
            raise SessionError(f"{self.path}: no {track} track; it has {', '.join(self.tracks)}")
        info = self.tracks[track]
        with complaining(f"{self.path}, {info.file}", SessionError), zipfile.ZipFile(self.path) as archive:
            if track == "video":
                yield from _video_chunks(archive, info, str(self.path))
            elif track == "audio":
                yield from _audio_chunks(archive.read(info.file), info)
            else:
                values = _values(archive.read(info.file), f"{self.path}, {info.file}")
                yield from (Chunk(track, t_ns, info.rate_hz, values[at : at + n]) for at, n, t_ns in chunk_times(info, len(values)))


def open_session(path: str | os.PathLike[str]) -> Session:
    """Check what can be checked without decoding: every part's CRC-32, the manifest, indices, values and audio headers.

    Raises:
        SessionError: in one line, whatever is wrong: not a session, cut short, of a newer format, a track whose file is
            missing or empty, an index that points nowhere, times that do not rise.
    """
    where = pathlib.Path(path)
    with complaining(str(where), SessionError):
        if not zipfile.is_zipfile(where):
            with open(where, "rb") as stream:  # says so if it cannot be opened at all
                beginning = stream.read(4)
            raise SessionError(
                f"{where}: {'cut short or damaged' if beginning == b'PK' + bytes((3, 4)) else 'not a recorded session (a zip file)'}"
            )
        with zipfile.ZipFile(where) as archive:
            check_archive(archive, where=str(where), kind=SessionError, limits=LIMITS)
            names = {part.filename for part in archive.infolist()}
            if MANIFEST not in names:
                raise SessionError(f"{where}: {MANIFEST} is missing; not a recorded session")
            if (bad := archive.testzip()) is not None:
                raise SessionError(f"{where}: part {bad} is damaged (CRC-32 differs); copy it again from where it came")
            session = _session(where, parse_json(archive.read(MANIFEST), where=f"{where}, {MANIFEST}", kind=SessionError))
            for info in session.tracks.values():
                if info.file not in names:
                    raise SessionError(
                        f"{where}: the {info.track} track's file {info.file} is missing; copy the session again from where it came"
                    )
                _check_track(archive, info, names, str(where))
    return session


def chunk_times(info: TrackInfo, samples: int) -> collections.abc.Iterator[tuple[int, int, int]]:
    """(first sample, number of samples, time of the first in ns) of each chunk of a sampled track, gaps left out."""
    length = max(1, round(info.rate_hz * CHUNK_MS[info.track] / 1000))
    at, segment_ms = 0, info.start_ms
    for from_ms, to_ms in (*info.gaps_ms, (math.inf, math.inf)):
        # A hair is taken off so that a gap which begins where a sample is due keeps that sample behind the gap.
        fit = (
            samples - at
            if math.isinf(from_ms)
            else min(samples - at, max(0, math.ceil((from_ms - segment_ms) * info.rate_hz / 1000 - 1e-6)))
        )
        for first in range(0, fit, length):
            yield at + first, min(length, fit - first), round(segment_ms * _MS + first * 1e9 / info.rate_hz)
        at, segment_ms = at + fit, to_ms
        if at >= samples:
            return


# --- the manifest -------------------------------------------------------------------------------------------------------


def _session(where: pathlib.Path, fields: Fields) -> Session:
    number = fields.whole("format", least=1)
    if number != FORMAT:
        raise SessionError(f"{fields.where}: format {number}, this affectkit reads {FORMAT}; update affectkit")
    tables = fields.inner("tracks")
    tracks: dict[Track, TrackInfo] = {track: _track_info(track, tables.inner(track)) for track in TRACKS if track in tables.names()}
    tables.done()
    session = Session(
        where,
        title=fields.text("title"),
        duration_ns=round(fields.number("duration_ms", least=1, most=1e9) * _MS),
        tracks=tracks,
        planned=tuple(_planned(Fields(one, where=f"{fields.where}, planned", kind=SessionError)) for one in fields.items("planned", [])),
        sources=tuple(_source(Fields(one, where=f"{fields.where}, sources", kind=SessionError)) for one in fields.items("sources", [])),
        consent=fields.text("consent", ""),
    )
    fields.done()
    if not tracks:
        raise fields.error("tracks is empty")
    return session


def _track_info(track: Track, fields: Fields) -> TrackInfo:
    video = track == "video"
    info = TrackInfo(
        track=track,
        rate_hz=fields.number("rate_hz", least=0.01, most=200_000),
        file=fields.text("index" if video else "file"),
        start_ms=0.0 if video else fields.number("start_ms", 0.0, least=0, most=1e9),
        gaps_ms=() if video else _gaps(fields),
        width=fields.whole("width", least=1, most=_MAX_PIXELS) if video else 0,
        height=fields.whole("height", least=1, most=_MAX_PIXELS) if video else 0,
    )
    fields.done()
    return info


def _gaps(fields: Fields) -> tuple[tuple[float, float], ...]:
    gaps, last = [], 0.0
    for gap in fields.items("gaps_ms", []):
        if (
            not isinstance(gap, list)
            or len(gap) != 2
            or not all(type(t) in (int, float) and math.isfinite(t) for t in gap)
            or not last <= gap[0] < gap[1] <= 1e9
        ):
            raise fields.error(f"gaps_ms must be rising pairs [from, to], got {gap!r:.60}")
        gaps.append((gap[0], gap[1]))
        last = gap[1]
    return tuple(gaps)


def _planned(fields: Fields) -> Planned:
    modality, reason = fields.text("modality"), fields.text("reason")
    if modality not in MODALITIES or reason not in REASONS:
        raise fields.error(f"{modality!r:.40} {reason!r:.40} is none of {', '.join(MODALITIES)} with one of {', '.join(REASONS)}")
    from_ms = fields.number("from_ms", least=0)
    planned = Planned(typing.cast(Modality, modality), reason, from_ms, fields.number("to_ms", least=from_ms), fields.text("what", ""))
    fields.done()
    return planned


def _source(fields: Fields) -> Source:
    source = Source(fields.text("what"), fields.text("terms"))
    fields.done()
    return source


# --- the tracks ---------------------------------------------------------------------------------------------------------


def _check_track(archive: zipfile.ZipFile, info: TrackInfo, names: set[str], where: str) -> None:
    at = f"{where}, {info.file}"
    if info.track != "audio" and archive.getinfo(info.file).file_size > _MAX_CSV_BYTES:
        raise SessionError(f"{at}: more than {_MAX_CSV_BYTES} bytes of text; split the session")
    if info.track == "video":
        for _, file in _index(archive.read(info.file), at):
            if file not in names:
                raise SessionError(f"{at}: names {file!r:.80}, which is not in the session; copy it again from where it came")
    elif info.track == "audio":
        with complaining(at, SessionError):
            _open_audio(archive.read(info.file), info, at).close()
    else:
        _values(archive.read(info.file), at)


def _text(content: bytes, where: str) -> list[str]:
    try:
        return content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SessionError(f"{where}: not text; copy the session again from where it came") from error


def _index(content: bytes, where: str) -> list[tuple[float, str]]:
    """(t_ms, file) of each frame."""
    lines = _text(content, where)
    if not lines or lines[0] != "t_ms,file":
        raise SessionError(f"{where}: its first line must be t_ms,file; not made by affectkit")
    frames, last = [], -1.0
    for number, line in enumerate(lines[1:], start=2):
        t_ms, comma, file = line.partition(",")
        t = _float(t_ms)
        if not comma or t is None or not 0 <= t <= 1e9:
            raise SessionError(f"{where}, line {number}: {line!r:.60} is not a time in ms and a file")
        if t <= last:
            raise SessionError(f"{where}, line {number}: time {t:g} ms does not come after {last:g} ms; frames must be in order")
        frames.append((t, file))
        last = t
    if not frames:
        raise SessionError(f"{where}: no frames; leave the track out of {MANIFEST} if there is none")
    return frames


def _values(content: bytes, where: str) -> np.ndarray:
    """float32 (samples,)."""
    lines = _text(content, where)
    if not lines or lines[0] != "value":
        raise SessionError(f"{where}: its first line must be value; not made by affectkit")
    if len(lines) == 1:
        raise SessionError(f"{where}: no samples; leave the track out of {MANIFEST} if there is none")
    try:
        values = np.array(lines[1:], np.float32)
    except ValueError:
        values = np.array([np.nan if (v := _float(line)) is None else v for line in lines[1:]], np.float32)
    if not np.isfinite(values).all():
        number = int(np.flatnonzero(~np.isfinite(values))[0]) + 2
        raise SessionError(f"{where}, line {number}: {lines[number - 1]!r:.60} is not a number")
    return values


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _open_audio(content: bytes, info: TrackInfo, where: str) -> typing.Any:
    import soundfile

    if not content:
        raise SessionError(f"{where}: empty file (0 bytes); record the session again")
    audio = soundfile.SoundFile(io.BytesIO(content))
    if audio.frames <= 0 or audio.channels != 1 or audio.samplerate != info.rate_hz:
        said = f"{audio.frames} samples, {audio.channels} channels, {audio.samplerate} Hz"
        audio.close()
        raise SessionError(f"{where}: {said}; expected sound, 1 channel, {info.rate_hz:g} Hz")
    return audio


def _audio_chunks(content: bytes, info: TrackInfo) -> collections.abc.Iterator[Chunk]:
    with _open_audio(content, info, info.file) as audio:
        held = np.zeros(0, np.float32)
        for _, n, t_ns in chunk_times(info, audio.frames):
            if len(held) < n:  # in blocks of a second or so: each read seeks three times
                held = np.concatenate([held, audio.read(max(n, audio.samplerate), dtype="float32")])
            if len(held) < n:
                raise SessionError(f"{info.file}: ends early at {t_ns / 1e9:.1f} s; copy the session again from where it came")
            samples, held = held[:n], held[n:]
            yield Chunk("audio", t_ns, info.rate_hz, samples)


def _video_chunks(archive: zipfile.ZipFile, info: TrackInfo, where: str) -> collections.abc.Iterator[Chunk]:
    from PIL import Image

    for t_ms, file in _index(archive.read(info.file), f"{where}, {info.file}"):
        with (
            complaining(f"{where}, {file}", SessionError),
            Image.open(io.BytesIO(archive.read(file)), formats=("WEBP", "PNG", "JPEG")) as picture,
        ):
            if picture.size != (info.width, info.height):
                raise SessionError(
                    f"{where}, {file}: {picture.size[0]}x{picture.size[1]} pixels, {MANIFEST} says {info.width}x{info.height}"
                )
            frame = np.asarray(picture.convert("L"))
        yield Chunk("video", round(t_ms * _MS), info.rate_hz, frame[None])
