"""The embedded session is composed as its script says: seeded, faces where they should be, speech at a sane level."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import numpy as np
import pytest

from edge.errors import EdgeError, InputError
from edge.session import Session, open_session

skimage = pytest.importorskip("skimage")
pytest.importorskip("scipy")

from convert.session_builder import AUDIO_RATE_HZ, SPEECH_DBFS, build, level, longest_pause_s, room_noise  # noqa: E402
from convert.session_cli import add_commands  # noqa: E402
from convert.session_picture import pose_at, strength  # noqa: E402
from convert.session_script import SCRIPT, Pose, Script  # noqa: E402

SHORT = dataclasses.replace(SCRIPT, duration_s=2.0)


def within(session: Session, modality: str, reason: str, t_ms: float) -> bool:
    return any(p.modality == modality and p.reason == reason and p.from_ms <= t_ms < p.to_ms for p in session.planned)


def test_same_seed_gives_the_same_bytes_and_another_does_not(data: pathlib.Path, tmp_path: pathlib.Path):
    for name, script in (("a", SHORT), ("b", SHORT), ("c", dataclasses.replace(SHORT, seed=1))):
        build(data, tmp_path / name, script=script)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    session = open_session(tmp_path / "a")
    assert session.duration_ns == 2_000_000_000 and len(list(session.chunks("video"))) == 16


def test_the_committed_session_is_what_the_script_builds(embedded_session: pathlib.Path):
    session = open_session(embedded_session)
    assert session.planned == tuple(sorted((spell.planned for spell in SCRIPT.spells), key=lambda planned: planned.from_ms))
    assert session.sources == SCRIPT.sources and session.title == SCRIPT.title


def test_the_cascade_finds_the_face_where_it_is_and_none_where_it_is_not(embedded_session: pathlib.Path):
    cv2 = pytest.importorskip("cv2")
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    session = open_session(embedded_session)
    visible: list[int] = []
    lost: list[int] = []
    sizes: list[int] = []
    for number, chunk in enumerate(session.chunks("video")):
        t_ms = chunk.t_ns / 1e6
        absent = within(session, "face", "lost", t_ms)
        if number % (2 if absent else 8):
            continue  # enough to see, and quick
        found = cascade.detectMultiScale(chunk.samples[0], 1.15, 4, minSize=(36, 36))
        sizes += [box[2] for box in found]
        (lost if absent else visible).append(len(found))
    assert sum(lost) == 0
    assert max(visible) == 1 and np.mean(visible) > 0.9
    assert min(sizes) >= 40 and max(sizes) <= 110


def test_speech_runs_at_a_sane_level_with_short_pauses(embedded_session: pathlib.Path):
    session = open_session(embedded_session)
    sound = np.concatenate([chunk.samples for chunk in session.chunks("audio")])
    power_db = 10 * np.log10(np.mean(sound.reshape(-1, AUDIO_RATE_HZ // 50) ** 2, axis=1) + 1e-12)
    here = np.array([not within(session, "speech", "lost", 20.0 * i) for i in range(len(power_db))])
    assert np.abs(sound).max() < 0.99
    assert -32 < 10 * np.log10(np.mean(10 ** (power_db[here] / 10))) < -22
    assert power_db[here].min() > -75  # the room is never digitally silent
    pause = longest = 0
    for quiet in (power_db < -50) & here:
        pause = pause + 1 if quiet else 0
        longest = max(longest, pause)
    assert longest * 0.02 <= 0.4


def test_level_cuts_quiet_ends_and_sets_the_level():
    rng = np.random.default_rng(3)
    clip = np.concatenate([np.zeros(4000), 0.3 * rng.normal(size=16_000), np.zeros(8000)])
    clip[640:960] = 0.1  # a click
    out = level(clip)
    assert 15_600 <= len(out) <= 16_700
    assert 10 * np.log10(np.mean(out**2)) == pytest.approx(SPEECH_DBFS, abs=0.6)
    assert out[0] == 0.0 and np.abs(out[-1]) < 1e-3


def test_the_longest_pause_is_measured():
    tone = 0.07 * np.sin(np.arange(16_000) * 0.3)
    tone[4000:8000] = 0.0
    tone[9600:11200] = 0.0
    assert longest_pause_s(tone) == pytest.approx(0.25, abs=0.021)
    assert longest_pause_s(tone[12_000:]) == 0.0


def test_room_noise_falls_by_six_decibels_an_octave():
    spectrum = np.abs(np.fft.rfft(room_noise(1 << 17, np.random.default_rng(0)))) ** 2
    hz = np.fft.rfftfreq(1 << 17, 1 / AUDIO_RATE_HZ)
    bands = [np.mean(spectrum[(hz >= low) & (hz < low * 1.1)]) for low in (500, 1000, 2000, 4000)]
    np.testing.assert_allclose(10 * np.log10(np.divide(bands[:-1], bands[1:])), 6.02, atol=1.0)


def test_poses_are_reached_and_move_smoothly():
    poses = (Pose(0.0, 10, 20, 50, 0), Pose(2.0, 110, 20, 50, 0))
    xs = np.array([pose_at(poses, t).x_px for t in np.arange(0, 4, 0.125)])
    assert abs(xs[0] - 10) < 3 and abs(xs[-1] - 110) < 3  # sway is 2.5 px
    assert np.abs(np.diff(xs)).max() < 12
    for pose in SCRIPT.poses:
        assert 40 <= pose.face_px <= 110


def test_effects_fade_in_and_out_within_their_spell():
    spell = next(spell for spell in SCRIPT.spells if spell.effect == "blur")
    assert strength(SCRIPT.spells, "blur", spell.from_s) == 0 == strength(SCRIPT.spells, "blur", spell.to_s)
    assert 0 < strength(SCRIPT.spells, "blur", spell.from_s + 0.2) < 1
    assert strength(SCRIPT.spells, "blur", (spell.from_s + spell.to_s) / 2) == 1
    assert strength(SCRIPT.spells, "blur", 0.0) == 0


@pytest.mark.parametrize(
    ("word", "script"),
    [
        ("no clip in envy", dataclasses.replace(SHORT, moods=((0.0, "envy"),))),
        ("Unix time", dataclasses.replace(SHORT, person_from_s=5)),
        ("S99", dataclasses.replace(SHORT, person="S99")),
    ],
)
def test_a_script_that_the_data_cannot_fill_is_refused(data: pathlib.Path, tmp_path: pathlib.Path, word: str, script: Script):
    with pytest.raises(EdgeError, match=word):
        build(data, tmp_path / "a.zip", script=script)
    assert not list(tmp_path.iterdir())


def test_the_command_names_what_is_missing(tmp_path: pathlib.Path):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(["session", "build", "--data", str(tmp_path), "-o", str(tmp_path / "a.zip")])
    with pytest.raises(InputError, match="emodb"):
        args.run(args)
