"""A session comes back as it was written, and whatever is wrong with it is said in one line."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pathlib
import zipfile

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge.errors import SessionError
from edge.session import Planned, Source, TrackInfo, chunk_times, open_session
from edge.session_writer import SessionWriter
from edge.types import Chunk, Track

PLANNED = (Planned("face", "lost", 200, 450, "the face leaves"), Planned("speech", "degraded", 0, 100.5, "a fan"))
SOURCES = (Source("drawn here", "as this project"),)


def frames(count: int, rate_hz: float = 8.0) -> list[Chunk]:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 2, (48, 1))
    return [Chunk("video", round(i * 1e9 / rate_hz), rate_hz, (ramp + 10 * i).astype(np.uint8)[None]) for i in range(count)]


def sampled(track: Track, rate_hz: float, samples: int, t_ns: int = 0) -> Chunk:
    rng = np.random.default_rng(samples)
    return Chunk(track, t_ns, rate_hz, (rng.integers(-16384, 16384, samples) / 32768).astype(np.float32))


def write(path: pathlib.Path, chunks: list[Chunk], **said) -> pathlib.Path:
    with SessionWriter(path, title="A test", planned=PLANNED, sources=SOURCES, consent="nobody", **said) as writer:
        for chunk in chunks:
            writer.add(chunk)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    chunks = [*frames(8), sampled("audio", 16_000, 16_100), sampled("ppg", 64.0, 64), sampled("eda", 4.0, 4)]
    return write(tmp_path_factory.mktemp("session") / "a.session.zip", chunks)


def refused(path: pathlib.Path, *words: str) -> None:
    """Opening it, or reading it through, gives one line."""
    with pytest.raises(SessionError) as caught:
        session = open_session(path)
        for track in session.tracks:
            for _ in session.chunks(track):
                pass
    line = str(caught.value)
    assert "\n" not in line and str(path) in line and caught.value.exit_status == 2
    for word in words:
        assert word in line


def changed(path: pathlib.Path, to: pathlib.Path, change) -> pathlib.Path:
    """A copy whose table of parts, and whose ``session.json`` among them, ``change(parts, said)`` has edited."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    said = json.loads(parts["session.json"])
    change(parts, said)
    if "session.json" in parts:
        parts["session.json"] = json.dumps(said).encode()
    with zipfile.ZipFile(to, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return to


def joined(path: pathlib.Path, track: Track) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in open_session(path).chunks(track)])


def test_says_what_was_said_of_it(path: pathlib.Path):
    session = open_session(str(path))
    assert session.title == "A test" and session.consent == "nobody"
    assert session.planned == PLANNED and session.sources == SOURCES
    assert list(session.tracks) == ["video", "audio", "ppg", "eda"]
    assert session.duration_ns == 1_006_250_000  # 16 100 samples of sound are the longest


def test_sampled_tracks_come_back_exactly_in_short_chunks(path: pathlib.Path):
    cases: tuple[tuple[Track, float, int, int], ...] = (("audio", 16_000, 1600, 16_100), ("ppg", 64.0, 16, 64), ("eda", 4.0, 1, 4))
    for track, rate_hz, length, samples in cases:
        chunks = list(open_session(path).chunks(track))
        assert [len(chunk.samples) for chunk in chunks[:-1]] == [length] * (len(chunks) - 1)
        assert [chunk.t_ns for chunk in chunks] == [round(i * length * 1e9 / rate_hz) for i in range(len(chunks))]
        assert all(chunk.rate_hz == rate_hz and chunk.samples.dtype == np.float32 for chunk in chunks)
        np.testing.assert_array_equal(joined(path, track), sampled(track, rate_hz, samples).samples)


def test_frames_come_back_one_by_one_and_nearly_as_they_were(path: pathlib.Path):
    chunks = list(open_session(path).chunks("video"))
    assert [chunk.t_ns for chunk in chunks] == [i * 125_000_000 for i in range(8)]
    for got, given_ in zip(chunks, frames(8), strict=True):
        assert got.samples.shape == (1, 48, 64) and got.samples.dtype == np.uint8
        assert np.abs(got.samples.astype(int) - given_.samples).mean() < 4


def test_same_chunks_give_the_same_bytes_however_sound_is_cut(path: pathlib.Path, tmp_path: pathlib.Path):
    whole = sampled("audio", 16_000, 16_100).samples
    cut = [Chunk("audio", round(at * 1e9 / 16_000), 16_000, whole[at : at + 700]) for at in range(0, 16_100, 700)]
    again = write(tmp_path / "b.session.zip", [*frames(8), *cut, sampled("eda", 4.0, 4), sampled("ppg", 64.0, 64)])
    assert again.read_bytes() == path.read_bytes()


def test_a_session_may_lack_a_modality(tmp_path: pathlib.Path):
    session = open_session(write(tmp_path / "a.zip", [sampled("ppg", 64.0, 640)]))
    assert list(session.tracks) == ["ppg"]
    with pytest.raises(SessionError, match="no video track; it has ppg"):
        next(session.chunks("video"))


def test_a_still_scene_costs_one_picture(tmp_path: pathlib.Path):
    still = [dataclasses.replace(chunk, samples=frames(1)[0].samples) for chunk in frames(20)]
    path = write(tmp_path / "a.zip", still)
    with zipfile.ZipFile(path) as archive:
        assert sum(name.endswith(".webp") for name in archive.namelist()) == 1
    assert len(list(open_session(path).chunks("video"))) == 20


def test_lost_samples_are_a_gap_in_time(tmp_path: pathlib.Path):
    chunks = [sampled("ppg", 64.0, 32, 1_000_000_000), sampled("ppg", 64.0, 40, 1_800_000_000)]
    path = write(tmp_path / "a.zip", chunks)
    assert open_session(path).tracks["ppg"].gaps_ms == ((1500, 1800),)
    got = [(chunk.t_ns, len(chunk.samples)) for chunk in open_session(path).chunks("ppg")]
    assert got == [(1_000_000_000, 16), (1_250_000_000, 16), (1_800_000_000, 16), (2_050_000_000, 16), (2_300_000_000, 8)]


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.sampled_from([4.0, 25.0, 64.0, 100.0, 200.0]),
    pieces=st.lists(st.tuples(st.integers(1, 200), st.integers(21, 5000)), min_size=1, max_size=6),
    start_ms=st.integers(0, 5000),
)
def test_every_sample_keeps_its_time_through_any_gaps(rate_hz: float, pieces: list[tuple[int, int]], start_ms: int):
    chunks, t_ns = [], start_ms * 1_000_000
    for samples, gap_ms in pieces:
        chunks.append(Chunk("ppg", t_ns, rate_hz, np.zeros(samples, np.float32)))
        t_ns += round(samples * 1e9 / rate_hz) + gap_ms * 1_000_000
    timeline_gaps, due_ms = [], float(start_ms)
    for i, chunk in enumerate(chunks):
        if i:
            timeline_gaps.append((int(due_ms * 1000) / 1000, chunk.t_ns / 1e6))
        due_ms = chunk.t_ns / 1e6 + len(chunk.samples) * 1000 / rate_hz
    info = TrackInfo("ppg", rate_hz, "ppg.csv", start_ms=start_ms, gaps_ms=tuple(timeline_gaps))
    got = {first + k: t + k * 1e9 / rate_hz for first, n, t in chunk_times(info, sum(n for n, _ in pieces)) for k in range(n)}
    want = [chunk.t_ns + k * 1e9 / rate_hz for chunk in chunks for k in range(len(chunk.samples))]
    assert sorted(got) == list(range(len(want)))
    np.testing.assert_allclose([got[i] for i in range(len(want))], want, atol=2000)


@pytest.mark.parametrize(
    ("word", "chunks"),
    [
        ("goes back", [sampled("ppg", 64.0, 64), sampled("ppg", 64.0, 64)]),
        ("keeps its rate", [sampled("ppg", 64.0, 64), sampled("ppg", 50.0, 64, 1_000_000_000)]),
        ("does not come after", [*frames(2), *frames(1)]),
        ("keeps its size", [*frames(1), Chunk("video", 200_000_000, 8.0, np.zeros((1, 9, 9), np.uint8))]),
        ("not a number", [Chunk("eda", 0, 4.0, np.array([1.0, np.nan], np.float32))]),
        ("nothing was recorded", []),
    ],
)
def test_chunks_that_make_no_sense_leave_no_file(tmp_path: pathlib.Path, word: str, chunks: list[Chunk]):
    with pytest.raises(SessionError, match=word):
        write(tmp_path / "a.zip", chunks)
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_kept_unless_asked(path: pathlib.Path, tmp_path: pathlib.Path):
    there = tmp_path / "a.zip"
    there.write_bytes(b"mine")
    with pytest.raises(SessionError, match="exists"):
        write(there, frames(1))
    assert there.read_bytes() == b"mine"
    write(there, frames(1), overwrite=True)
    assert open_session(there).duration_ns == 125_000_000


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shorter_file_is_refused(path: pathlib.Path, tmp_path: pathlib.Path, data: st.DataObject):
    content = path.read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    refused(cut)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_byte_is_refused_or_without_effect(path: pathlib.Path, tmp_path: pathlib.Path, data: st.DataObject):
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content)
    try:
        session = open_session(damaged)
    except SessionError as error:
        assert "\n" not in str(error)
        return
    for track in session.tracks:  # what zip does not read, such as dates, may differ
        np.testing.assert_array_equal(joined(damaged, track), joined(path, track))


def wav(samples: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(samples, np.float32), 16_000, format="WAV")
    return buffer.getvalue()


def webp(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "WEBP")
    return buffer.getvalue()


def use_wav(content: bytes):
    def change(parts, said):
        del parts["audio.flac"]
        parts["audio.wav"] = content
        said["tracks"]["audio"]["file"] = "audio.wav"

    return change


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("session.json is missing", lambda parts, said: parts.pop("session.json")),
        ("audio.flac is missing", lambda parts, said: parts.pop("audio.flac")),
        ("ppg.csv is missing", lambda parts, said: parts.pop("ppg.csv")),
        ("video/index.csv is missing", lambda parts, said: parts.pop("video/index.csv")),
        ("000003.webp", lambda parts, said: parts.pop("video/000003.webp")),
        ("0 bytes", lambda parts, said: parts.update({"audio.flac": b""})),
        ("audio.wav", use_wav(b"")),
        ("0 samples", use_wav(wav(0))),
        ("damaged", use_wav(wav(1000)[:20])),
        ("audio.flac", lambda parts, said: parts.update({"audio.flac": parts["audio.flac"][:30]})),
        ("audio.flac", lambda parts, said: parts.update({"audio.flac": parts["audio.flac"][:9000]})),
        ("16000 Hz", lambda parts, said: said["tracks"]["audio"].update(rate_hz=8000)),
        ("000002.webp", lambda parts, said: parts.update({"video/000002.webp": b"RIFF"})),
        ("32x48", lambda parts, said: parts.update({"video/000002.webp": webp(32, 48)})),
        ("line 3", lambda parts, said: parts.update({"video/index.csv": b"t_ms,file\n5,video/000000.webp\n5,video/000001.webp\n"})),
        ("line 2", lambda parts, said: parts.update({"video/index.csv": b"t_ms,file\nnan,video/000000.webp\n"})),
        ("line 2", lambda parts, said: parts.update({"video/index.csv": b"t_ms,file\n5\n"})),
        ("not in the session", lambda parts, said: parts.update({"video/index.csv": b"t_ms,file\n5,../../etc/passwd\n"})),
        ("no frames", lambda parts, said: parts.update({"video/index.csv": b"t_ms,file\n"})),
        ("first line", lambda parts, said: parts.update({"video/index.csv": b""})),
        ("first line", lambda parts, said: parts.update({"ppg.csv": b"1\n2\n"})),
        ("no samples", lambda parts, said: parts.update({"ppg.csv": b"value\n"})),
        ("line 3", lambda parts, said: parts.update({"ppg.csv": b"value\n1\nx\n2\n"})),
        ("line 2", lambda parts, said: parts.update({"ppg.csv": b"value\ninf\n"})),
        ("not text", lambda parts, said: parts.update({"ppg.csv": b"value\n\xff\n"})),
        ("format 3", lambda parts, said: said.update(format=3)),
        ("journal is missing", lambda parts, said: said.update(format=2)),
        ("unknown key 'mood'", lambda parts, said: said.update(mood="good")),
        ("unknown key 'smell'", lambda parts, said: said["tracks"].update(smell={})),
        ("tracks is empty", lambda parts, said: said.update(tracks={})),
        ("duration_ms", lambda parts, said: said.update(duration_ms=0)),
        ("gaps_ms", lambda parts, said: said["tracks"]["ppg"].update(gaps_ms=[[500, 400]])),
        ("gaps_ms", lambda parts, said: said["tracks"]["ppg"].update(gaps_ms=[[100, 200], [150, 300]])),
        ("'smell' 'lost'", lambda parts, said: said["planned"][0].update(modality="smell")),
        ("'face' 'bored'", lambda parts, said: said["planned"][0].update(reason="bored")),
        ("to_ms", lambda parts, said: said["planned"][0].update(to_ms=1)),
        ("terms is missing", lambda parts, said: said["sources"][0].pop("terms")),
    ],
)
def test_damage_is_named_in_one_line(path: pathlib.Path, tmp_path: pathlib.Path, word: str, change):
    refused(changed(path, tmp_path / "damaged.zip", change), word)


def test_bad_json_is_refused(path: pathlib.Path, tmp_path: pathlib.Path):
    damaged = tmp_path / "damaged.zip"
    for content in (b"", b"{", b"[]", b'{"format": NaN}', b"\xff\xfe", b"[" * 100_000):
        with zipfile.ZipFile(damaged, "w") as archive:
            archive.writestr("session.json", content)
        refused(damaged)


def test_what_is_no_session_is_refused(tmp_path: pathlib.Path):
    other = tmp_path / "other.zip"
    for content in (b"", b"hello", bytes(1000), wav(10)):
        other.write_bytes(content)
        refused(other, "not a recorded session")
    refused(tmp_path / "missing.zip", "no such file")
    refused(tmp_path, "directory")


def test_the_embedded_session_is_sound(embedded_session: pathlib.Path):
    assert embedded_session.stat().st_size <= 3_000_000
    session = open_session(embedded_session)
    assert set(session.tracks) == {"video", "audio", "ppg", "eda"} and session.duration_ns == 90_000_000_000
    assert {p.modality for p in session.planned if p.reason == "lost"} == {"face", "speech", "physiology"}
    lost = {
        m: [(p.from_ms, p.to_ms) for p in session.planned if p.modality == m and p.reason == "lost"]
        for m in ("face", "speech", "physiology")
    }
    together = min(spells[-1][1] for spells in lost.values()) - max(spells[-1][0] for spells in lost.values())
    assert together >= 3000  # all absent at once
    assert lost["physiology"][0][0] >= 20_000  # after its warm-up
    assert any("MIT" in source.terms for source in session.sources)
    pairs: tuple[tuple[Track, str], ...] = (("audio", "speech"), ("ppg", "physiology"), ("eda", "physiology"))
    for track, modality in pairs:
        info, values = session.tracks[track], joined(embedded_session, track)
        t_ms = np.arange(len(values)) * 1000 / info.rate_hz
        off = np.zeros(len(values), bool)
        for from_ms, to_ms in lost[modality]:
            off |= (t_ms >= from_ms) & (t_ms < to_ms)
        assert np.abs(values[off]).max() == 0.0
        for second in range(90):
            here = (t_ms >= second * 1000) & (t_ms < second * 1000 + 1000) & ~off
            assert not here.any() or np.abs(values[here]).max() > 0.01


def test_what_a_killed_process_left_of_the_same_file_is_removed(tmp_path: pathlib.Path):
    dead, alive = tmp_path / ".a.zip.writing-4194305", tmp_path / ".a.zip.writing-1"
    namesake = tmp_path / f".a.zip.writing-{os.getpid()}"  # after a power cut another process has the number that this one had
    namesake.write_bytes(b"torn")
    other = tmp_path / ".b.zip.writing-4194305"
    for left in (dead, alive, other):
        left.write_bytes(b"faces")
    write(tmp_path / "a.zip", [sampled("ppg", 64.0, 64)])
    assert not dead.exists() and not namesake.exists() and alive.exists() and other.exists()
