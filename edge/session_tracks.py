"""The tracks of a recorded session: which chunks there were, and how each is decoded."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import io
import math
import os
import tempfile
import typing
import zipfile

import numpy as np

from edge.archive import complaining, read_part
from edge.errors import SessionError
from edge.types import Chunk, Track

CHUNK_MS = {"audio": 100, "ppg": 250, "eda": 250, "ibi": 250}
"""Length of the chunks of the sampled tracks; video comes frame by frame."""
_MAX_CSV_BYTES = 64 << 20
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
    pixels: str = "grey"
    """"grey" or "i420", video only."""


def placed(given: collections.abc.Iterable[tuple[int, int]], samples: int) -> collections.abc.Iterator[tuple[int, int, int]]:
    """As ``chunk_times``, of the (t_ns, samples) that a journal gives; a track that ends early gives the chunks that are whole."""
    at = 0
    for t_ns, n in given:
        if at + n > samples:
            return
        yield at, n, t_ns
        at += n


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


def check_track(archive: zipfile.ZipFile, info: TrackInfo, names: set[str], where: str) -> None:
    at = f"{where}, {info.file}"
    if info.track != "audio" and archive.getinfo(info.file).file_size > _MAX_CSV_BYTES:
        raise SessionError(f"{at}: more than {_MAX_CSV_BYTES} bytes of text; split the session")
    if info.track == "video":
        for _, file in _index(read_part(archive, info.file), at):
            if file not in names:
                raise SessionError(f"{at}: names {file!r:.80}, which is not in the session; copy it again from where it came")
    elif info.track == "audio":
        with complaining(at, SessionError), _open_audio(read_part(archive, info.file), info, at):
            pass
    else:
        values(read_part(archive, info.file), at)


def text(content: bytes, where: str) -> list[str]:
    try:
        return content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SessionError(f"{where}: not text; copy the session again from where it came") from error


def _index(content: bytes, where: str) -> list[tuple[float, str]]:
    """(t_ms, file) of each frame."""
    lines = text(content, where)
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
        raise SessionError(f"{where}: no frames; leave the track out of session.json if there is none")
    return frames


def values(content: bytes, where: str) -> np.ndarray:
    """float32 (samples,)."""
    lines = text(content, where)
    if not lines or lines[0] != "value":
        raise SessionError(f"{where}: its first line must be value; not made by affectkit")
    if len(lines) == 1:
        raise SessionError(f"{where}: no samples; leave the track out of session.json if there is none")
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


@contextlib.contextmanager
def _open_audio(content: bytes, info: TrackInfo, where: str) -> collections.abc.Iterator[typing.Any]:
    import soundfile

    if not content:
        raise SessionError(f"{where}: empty file (0 bytes); record the session again")
    with _in_memory() as file:
        file.write(content)
        del content  # once is enough: recordings may be long
        file.seek(0)
        # A descriptor: for a Python file cffi would make call-backs, and for these memory that is writable and executable.
        with soundfile.SoundFile(file.fileno(), closefd=False) as audio:
            if audio.frames <= 0 or audio.channels != 1 or audio.samplerate != info.rate_hz:
                said = f"{audio.frames} samples, {audio.channels} channels, {audio.samplerate} Hz"
                raise SessionError(f"{where}: {said}; expected sound, 1 channel, {info.rate_hz:g} Hz")
            yield audio


def _in_memory() -> typing.IO[bytes]:
    """An empty file without a name, in memory where the system can (Linux), else in the folder for temporary files."""
    return os.fdopen(os.memfd_create("sound"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def audio_chunks(content: bytes, info: TrackInfo, given: list[tuple[int, int]] | None = None) -> collections.abc.Iterator[Chunk]:
    with _open_audio(content, info, info.file) as audio:
        del content
        held = np.zeros(0, np.float32)
        for _, n, t_ns in chunk_times(info, audio.frames) if given is None else placed(given, audio.frames):
            if len(held) < n:  # in blocks of a second or so: each read seeks three times
                held = np.concatenate([held, audio.read(max(n, audio.samplerate), dtype="float32")])
            if len(held) < n:
                raise SessionError(f"{info.file}: ends early at {t_ns / 1e9:.1f} s; copy the session again from where it came")
            samples, held = held[:n], held[n:]
            yield Chunk("audio", t_ns, info.rate_hz, samples)


def video_chunks(archive: zipfile.ZipFile, info: TrackInfo, where: str) -> collections.abc.Iterator[Chunk]:
    from PIL import Image

    rows = info.height * 3 // 2 if info.pixels == "i420" else info.height
    for t_ms, file in _index(read_part(archive, info.file), f"{where}, {info.file}"):
        with (
            complaining(f"{where}, {file}", SessionError),
            Image.open(io.BytesIO(read_part(archive, file)), formats=("WEBP", "PNG", "JPEG")) as picture,
        ):
            if picture.size != (info.width, rows):
                raise SessionError(f"{where}, {file}: {picture.size[0]}x{picture.size[1]} pixels, session.json says {info.width}x{rows}")
            frame = np.asarray(picture.convert("L"))
        chroma = None
        if info.pixels == "i420":  # luma, and below it Cb to the left of Cr
            chroma = frame[info.height :].reshape(info.height // 2, 2, info.width // 2).transpose(1, 0, 2)[None]
        yield Chunk("video", round(t_ms * _MS), info.rate_hz, frame[None, : info.height], chroma)
