"""What a run did with its chunks, in order, so that a recorded session can be decided again exactly as it was live.

A JSON line an entry; times are nanoseconds since the start of the run. The samples themselves are in the session's tracks::

    {"begun": ["video", "audio", "ppg"]}                                                the tracks that had a source
    {"took": 312000000, "chunks": [["video", 301000000, 1], ["ppg", 60000000, 25]]}     omit: {"speech": "look"} if there was no time
    {"decided": 500000000}                                                              omit as above
    {"lost": "video", "detail": "..."}
    {"effort": {"detect_stretch": 2, "face_gap_ms": 0, "variant": 0, "dropped": []}}
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import typing

from edge.errors import SessionError
from edge.types import MODALITIES, TRACKS, Chunk, Modality, Track

LeftOut = typing.Literal["", "look", "encode"]
"""What there was no time for: nothing, a look at the front, or the encoding of the window that it gave."""
Omit = collections.abc.Mapping[Modality, LeftOut]
"""The same, of each modality of which something was left out."""


@dataclasses.dataclass(frozen=True)
class Begun:
    """The run began, with sources for ``tracks``, whether they ever delivered or not."""

    tracks: tuple[Track, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Took:
    """Chunks went into the cycle at ``now_ns``, all at once."""

    now_ns: int
    chunks: tuple[Chunk, ...]
    omit: Omit


@dataclasses.dataclass(frozen=True)
class Decided:
    """The tick at ``tick_ns`` was decided."""

    tick_ns: int
    omit: Omit


@dataclasses.dataclass(frozen=True)
class Lost:
    """The source of a track was found gone."""

    track: Track
    detail: str


@dataclasses.dataclass(frozen=True)
class Changed:
    """The effort changed: fields of ``edge.inference.ladder.Effort``."""

    effort: collections.abc.Mapping[str, typing.Any]


Entry = Begun | Took | Decided | Lost | Changed


class Journal(typing.Protocol):
    """Who wants to be told of every entry."""

    def write(self, entry: Entry) -> None:
        """Take one entry, quickly: called from the thread that decides, with times of the run's clock."""
        ...


def as_line(entry: Entry, start_ns: int) -> str:
    """The line of ``entry``, whose times count from ``start_ns``."""
    said: dict[str, typing.Any]
    if isinstance(entry, Begun):
        said = {"begun": list(entry.tracks)}
    elif isinstance(entry, Took):
        chunks = [[chunk.track, chunk.t_ns - start_ns, len(chunk.samples)] for chunk in entry.chunks]
        said = {"took": entry.now_ns - start_ns, "chunks": chunks}
    elif isinstance(entry, Decided):
        said = {"decided": entry.tick_ns - start_ns}
    elif isinstance(entry, Lost):
        said = {"lost": entry.track, "detail": entry.detail}
    else:
        said = {"effort": dict(entry.effort)}
    if isinstance(entry, Took | Decided) and entry.omit:
        said["omit"] = dict(entry.omit)
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")) + "\n"


def chunk_list(lines: collections.abc.Iterable[str], where: str) -> dict[Track, list[tuple[int, int]]]:
    """(t_ns, samples) of every chunk of each track, in order. Raises SessionError for a line that is none."""
    chunks: dict[Track, list[tuple[int, int]]] = {}
    for number, line in enumerate(lines, start=1):
        for track, t_ns, samples in _parsed(line, f"{where}, line {number}").get("chunks", ()):
            chunks.setdefault(track, []).append((t_ns, samples))
    return chunks


def entries(
    lines: collections.abc.Iterable[str], chunks_of: collections.abc.Callable[[Track], collections.abc.Iterator[Chunk]], where: str
) -> collections.abc.Iterator[Entry]:
    """The entries of ``lines``, with the chunks that ``chunks_of`` each track gives in their order; times count from the start.

    Raises:
        SessionError: a line is none, or a track has fewer chunks than the journal.
    """
    streams: dict[Track, collections.abc.Iterator[Chunk]] = {}
    for number, line in enumerate(lines, start=1):
        place = f"{where}, line {number}"
        said = _parsed(line, place)
        if "took" in said:
            chunks = []
            for track, _, _ in said["chunks"]:
                chunk = next(streams.setdefault(track, chunks_of(track)), None)
                if chunk is None:
                    raise SessionError(f"{place}: the {track} track has ended before; copy the session again from where it came")
                chunks.append(chunk)
            yield Took(said["took"], tuple(chunks), said["omit"])
        elif "begun" in said:
            yield Begun(tuple(said["begun"]))
        elif "decided" in said:
            yield Decided(said["decided"], said["omit"])
        elif "lost" in said:
            yield Lost(said["lost"], said["detail"])
        else:
            yield Changed(said["effort"])


def _parsed(line: str, where: str) -> dict[str, typing.Any]:
    """The line's fields, checked: what is there has the right type."""
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not _is_entry(said):
        raise SessionError(f"{where}: {line[:60]!r} is no entry of a journal; copy the session again from where it came")
    said.setdefault("omit", {})
    return said


def _is_entry(said: dict[str, typing.Any]) -> bool:
    omit = said.get("omit", {})
    if not isinstance(omit, dict) or not all(m in MODALITIES and what in ("look", "encode") for m, what in omit.items()):
        return False
    if "took" in said:
        chunks = said.get("chunks")
        return type(said["took"]) is int and isinstance(chunks, list) and all(_is_chunk(chunk) for chunk in chunks)
    if "begun" in said:
        return isinstance(said["begun"], list) and all(track in TRACKS for track in said["begun"])
    if "decided" in said:
        return type(said["decided"]) is int
    if "lost" in said:
        return said["lost"] in TRACKS and isinstance(said.get("detail"), str)
    return isinstance(said.get("effort"), dict)


def _is_chunk(said: object) -> bool:
    return (
        isinstance(said, list)
        and len(said) == 3
        and said[0] in TRACKS
        and type(said[1]) is int
        and 0 <= said[1] < 10**15
        and type(said[2]) is int
        and 0 < said[2] <= 10**7
    )
