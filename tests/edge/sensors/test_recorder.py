"""A live run, recorded, and decided again: on the real bundle, with threads, faults and a machine that is too slow now and then."""

from __future__ import annotations

import errno
import json
import zipfile

import numpy as np
import pytest
from tiny import ScaledClock

from edge import embedded
from edge.bundle import load_bundle
from edge.config import settings_from
from edge.errors import InputError, SensorError, SessionError
from edge.journal import Decided, Took
from edge.outputs.jsonlines import JsonLines
from edge.runtime import Runtime
from edge.sensors.recorder import Recorder
from edge.sensors.replay import Replay
from edge.session import open_session
from edge.types import Chunk

PURPOSE = {"jurisdiction": "US", "purpose": "research", "setting": "laboratory", "responsible": "A", "consent_reference": "B"}
SETTINGS = settings_from({"purpose": PURPOSE}, where="kit.toml")


class Live(Replay):
    """The embedded session as if it were people here and now; in colour, and unplugged once."""

    live = True

    def __init__(self, clock, fails_at_s: float = 1e9, without: tuple[str, ...] = ()):
        super().__init__(open_session(embedded.SESSION), clock)
        self.duration_ns, self.without = None, without
        self.tracks = tuple(track for track in self.tracks if track not in without)
        self.fails_at_s = fails_at_s

    def read(self) -> Chunk | None:
        chunk = super().read()
        while chunk is not None and chunk.track in self.without:
            chunk = super().read()
        if chunk is None:
            raise SensorError("the session is over")
        if chunk.end_ns / 1e9 > self.fails_at_s:
            raise SensorError("unplugged")
        if chunk.track == "video":
            chroma = np.stack([chunk.samples[:, ::2, ::2] // 2 + 64, 255 - chunk.samples[:, 1::2, 1::2]], axis=1)
            return Chunk("video", chunk.t_ns, chunk.rate_hz, chunk.samples, chroma)
        return chunk


def recorded(tmp_path, *, seconds: float = 12.0, speed: float = 6.0, fails_at_s: float = 1e9, without=(), more=(), **budget) -> tuple:
    clock = ScaledClock(speed)
    path = tmp_path / "a.session.zip"
    recorder = Recorder(path, title="A lesson", consent="folder 3", kit={"board": "a test"})
    fails = iter([fails_at_s, 0.0, 0.0, 0.0, 0.0])  # in the middle, and right after each of four openings: away for some beats
    settings = settings_from({"purpose": PURPOSE, "budget": budget}, where="kit.toml")
    bundle = load_bundle(embedded.BUNDLE)
    runtime = Runtime(
        bundle,
        [lambda: Live(clock, next(fails, 1e9) if fails_at_s < seconds else 1e9, without), *more],
        settings=settings,
        clock=clock,
        duration_s=seconds,
        journal=recorder,
    )
    live = tmp_path / "live.jsonl"
    report = runtime.run([JsonLines(live)])
    return path, live, report


def replayed(path, out) -> list[str]:
    Runtime(load_bundle(embedded.BUNDLE), [f"replay:{path}"], fast=True).run([JsonLines(out)])
    return out.read_text().splitlines()


def decisions(path) -> list[str]:
    return [line for line in path.read_text().splitlines() if '"event"' not in line]


def test_the_replay_of_a_recording_decides_the_same_to_the_byte(tmp_path):
    path, live, report = recorded(tmp_path)
    assert report["decisions"] >= 20
    assert replayed(path, tmp_path / "again.jsonl") == decisions(live)


def test_so_it_does_when_a_source_was_lost_and_came_back(tmp_path):
    path, live, report = recorded(tmp_path, fails_at_s=5.0)
    assert report["reopened"] and report["event_counts"]["source lost"] == 1
    assert any('"unplugged"' in line for line in decisions(live))
    assert replayed(path, tmp_path / "again.jsonl") == decisions(live)


def test_so_it_does_when_a_source_never_came(tmp_path):
    class Dead:
        tracks, live, duration_ns, planned = ("ppg",), True, None, ()

        def open(self):
            raise SensorError("no chip")

        def close(self): ...

    path, live, _ = recorded(tmp_path, seconds=4.0, without=("ppg",), more=[Dead])
    assert all("no chip" in line for line in decisions(live))
    assert replayed(path, tmp_path / "again.jsonl") == decisions(live)


def test_so_it_does_when_there_was_no_time(tmp_path):
    """A budget of a millisecond at sixty times the pace: hardly anything is in time."""
    path, live, report = recorded(tmp_path, seconds=30.0, speed=60.0, budget_ms=40, cadence_ms=250)
    omitted = [entry.omit for entry in open_session(path).entries() if isinstance(entry, Took | Decided) and entry.omit]
    assert report["decisions"] >= 5
    assert replayed(path, tmp_path / "again.jsonl") == decisions(live)
    assert omitted, "nothing was left out, so nothing was shown"


def test_a_recording_keeps_every_sample_as_it_was(tmp_path):
    path, _, _ = recorded(tmp_path, seconds=4.0)
    session = open_session(path)
    assert session.journal is not None and session.consent == "folder 3" and session.kit == {"board": "a test"}
    original = open_session(embedded.SESSION)
    for track in ("ppg", "eda", "audio"):
        kept = np.concatenate([chunk.samples for chunk in session.chunks(track)])
        there = np.concatenate([chunk.samples for chunk in original.chunks(track)])[: len(kept)]
        assert len(kept) and kept.tobytes() == there.tobytes()
    for kept, there in zip(session.chunks("video"), original.chunks("video"), strict=False):
        assert kept.samples.tobytes() == there.samples.tobytes()
        assert (kept.chroma[0, 0] == there.samples[0, ::2, ::2] // 2 + 64).all()
        assert (kept.chroma[0, 1] == 255 - there.samples[0, 1::2, 1::2]).all()


def test_without_a_named_consent_nothing_is_recorded(tmp_path):
    with pytest.raises(InputError, match="say where their consent is filed"):
        Recorder(tmp_path / "a.zip", title="t", consent=" ", kit={})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_written_over(tmp_path):
    (tmp_path / "a.zip").write_text("precious")
    with pytest.raises(SessionError, match="exists already"):
        Recorder(tmp_path / "a.zip", title="t", consent="c", kit={}).open(0, "")
    assert (tmp_path / "a.zip").read_text() == "precious"


def test_a_disk_that_fails_ends_the_recording_and_leaves_nothing_torn(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path / "a.zip", title="t", consent="c", kit={})
    recorder.open(0, "")

    def full(chunk):
        raise OSError(errno.ENOSPC, "No space left on device")

    recorder._writer.add = full
    recorder.write(Took(0, (Chunk("ppg", 0, 4.0, np.ones(1, np.float32)),), {}))
    with pytest.raises((OSError, SessionError)):
        recorder.close()
    assert "No space" in recorder.failure and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "no entry of a journal"),
        ('{"took": 1.5, "chunks": []}', "no entry of a journal"),
        ('{"took": 1, "chunks": [["smell", 0, 1]]}', "no entry of a journal"),
        ('{"took": 1, "chunks": [["ppg", -1, 1]]}', "no entry of a journal"),
        ('{"decided": 1, "omit": {"face": "all"}}', "no entry of a journal"),
        (json.dumps({"took": 10**12, "chunks": [["ppg", 10**12, 10**6]]}), "has ended before"),
    ],
)
def test_a_damaged_journal_is_one_line(tmp_path, line, says):
    path, _, _ = recorded(tmp_path, seconds=2.0)
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path) as there, zipfile.ZipFile(damaged, "w") as copy:
        for part in there.infolist():
            content = there.read(part)
            copy.writestr(part.filename, content + line.encode() + b"\n" if part.filename == "journal.jsonl" else content)
    with pytest.raises(SessionError, match=says) as caught:
        replayed(damaged, tmp_path / "out.jsonl")
    assert "\n" not in str(caught.value)
