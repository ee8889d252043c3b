"""A recorded session: what the sensors gave, what was planned to go wrong, and where it came from, in one zip.

::

    session.json      {format: 1, title, duration_ms, tracks, planned, sources, consent}
    video/index.csv   t_ms,file                       a line per frame
    video/000000.webp grey, 8 bit; in colour (``pixels`` is i420) Cb and Cr side by side below luma
    audio.flac        mono, 16 bit
    ppg.csv, eda.csv, ibi.csv  a line per sample, under the header ``value``

Times in it count from the start of the session. A sampled track begins at ``start_ms``; ``gaps_ms`` lists the periods
[from, to) in which no samples were taken: the sample that would fall at or after ``from`` is the first at ``to``.

A live recording is of format 2: pictures are without loss, ``kit`` says in words what recorded it, and ``journal`` names a part,
written by ``edge.journal``, that says to the nanosecond which chunks there were and what was done with them.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import math
import os
import pathlib
import typing
import zipfile

from edge.archive import Fields, Limits, check_archive, complaining, parse_json, read_part
from edge.errors import SessionError
from edge.journal import Entry, chunk_list, entries
from edge.session_tracks import TrackInfo, audio_chunks, check_track, chunk_times, placed, text, values, video_chunks
from edge.types import MODALITIES, TRACKS, Chunk, Modality, Track

FORMAT, LIVE_FORMAT = 1, 2
MANIFEST = "session.json"
LIMITS = Limits(parts=1_000_000, total_bytes=1 << 30)
REASONS = ("lost", "stale", "noisy", "late", "degraded")
"""What a planned spell may be: the reasons of an absence, and degraded for a signal that is poor but may still be usable."""
_MAX_PIXELS = 4096
_MS = 1_000_000


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


@dataclasses.dataclass(frozen=True)
class JournalInfo:
    """What a live recording says of its journal."""

    file: str
    start_ns: int
    """What the clock of the run showed at its start."""
    bundle: str
    """SHA-256 of the bundle that decided."""


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
        journal: JournalInfo | None = None,
        kit: collections.abc.Mapping[str, str] | None = None,
    ):
        self.path = path
        self.title = title
        self.duration_ns = duration_ns
        self.tracks = tracks
        self.planned = planned
        self.sources = sources
        self.consent = consent
        self.journal = journal
        """Of a live recording."""
        self.kit = dict(kit or {})
        """What recorded it, in words."""

    def entries(self) -> collections.abc.Iterator[Entry]:
        """What the live run did, in order; nothing for a session without a journal. Raises SessionError."""
        if self.journal is not None:
            yield from entries(self._journal_lines, self.chunks, f"{self.path}, {self.journal.file}")

    @functools.cached_property
    def _given(self) -> dict[Track, list[tuple[int, int]]]:
        """The chunks of every track, as the journal has them."""
        return chunk_list(self._journal_lines, f"{self.path}, {MANIFEST if self.journal is None else self.journal.file}")

    @functools.cached_property
    def _journal_lines(self) -> list[str]:
        if self.journal is None:
            return []
        with complaining(f"{self.path}, {self.journal.file}", SessionError), zipfile.ZipFile(self.path) as archive:
            return text(read_part(archive, self.journal.file), f"{self.path}, {self.journal.file}")

    def chunks(self, track: Track) -> collections.abc.Iterator[Chunk]:
        """What the sensor delivered, in order; ``t_ns`` counts from the start of the session.

        Audio comes in chunks of 100 ms, ppg and eda of 250 ms (shorter before a gap and at the end), video in frames.

        Raises:
            SessionError: the session has no such track, or what it holds cannot be decoded.
        """
        if track not in self.tracks:
            raise SessionError(f"{self.path}: no {track} track; it has {', '.join(self.tracks)}")
        info = self.tracks[track]
        given = None if self.journal is None else self._given.get(track, [])
        with complaining(f"{self.path}, {info.file}", SessionError), zipfile.ZipFile(self.path) as archive:
            if track == "video":
                frames = video_chunks(archive, info, str(self.path))
                if given is None:
                    yield from frames
                else:
                    yield from (dataclasses.replace(frame, t_ns=t_ns) for frame, (t_ns, _) in zip(frames, given, strict=False))
            elif track == "audio":
                yield from audio_chunks(read_part(archive, info.file), info, given)
            else:
                samples = values(read_part(archive, info.file), f"{self.path}, {info.file}")
                for at, n, t_ns in chunk_times(info, len(samples)) if given is None else placed(given, len(samples)):
                    yield Chunk(track, t_ns, info.rate_hz, samples[at : at + n])


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
            session = _session(where, parse_json(read_part(archive, MANIFEST), where=f"{where}, {MANIFEST}", kind=SessionError))
            if session.journal is not None and session.journal.file not in names:
                raise SessionError(f"{where}: the journal {session.journal.file} is missing; copy the session again from where it came")
            for info in session.tracks.values():
                if info.file not in names:
                    raise SessionError(
                        f"{where}: the {info.track} track's file {info.file} is missing; copy the session again from where it came"
                    )
                check_track(archive, info, names, str(where))
    return session


# --- the manifest -------------------------------------------------------------------------------------------------------


def _session(where: pathlib.Path, fields: Fields) -> Session:
    number = fields.whole("format", least=1)
    if number not in (FORMAT, LIVE_FORMAT):
        raise SessionError(f"{fields.where}: format {number}, this affectkit reads {FORMAT} and {LIVE_FORMAT}; update affectkit")
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
        journal=_journal(fields.inner("journal")) if number == LIVE_FORMAT else None,
        kit=_words(fields.inner("kit")) if number == LIVE_FORMAT else None,
    )
    fields.done()
    if not tracks:
        raise fields.error("tracks is empty")
    return session


def _journal(fields: Fields) -> JournalInfo:
    info = JournalInfo(fields.text("file"), fields.whole("start_ns", most=1 << 62), fields.text("bundle"))
    fields.done()
    return info


def _words(fields: Fields) -> dict[str, str]:
    said = {name: fields.text(name) for name in fields.names()}
    fields.done()
    return said


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
        pixels=fields.text("pixels", "grey") if video else "grey",
    )
    if info.pixels not in ("grey", "i420"):
        raise fields.error(f'pixels is {info.pixels!r:.40}; it is "grey" or "i420"')
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
