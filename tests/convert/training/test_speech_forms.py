"""What training hears is what the device hears, and is made once."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from convert.training import speech_forms
from convert.training.datasets.speech import Clips
from convert.training.speech_forms import kept_forms, kept_last_windows, last_windows, listen, prepare, stretch, warp, window_at
from edge.preprocess.speech import SpeechParameters, clip_windows, hz_to_mel, mel_to_hz

P = SpeechParameters()


def talk(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise in syllables, with a quiet room before and after."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * 16000)) / 16000
    loud = 10 ** (-1.5 * (0.5 + 0.5 * np.cos(2 * np.pi * 4 * t)) ** 2)
    sound = np.concatenate([np.zeros(4800), loud * rng.standard_normal(len(t)) * 0.05, np.zeros(4800)])
    return (sound + 1e-4 * rng.standard_normal(len(sound))).astype(np.float32)


def some(count: int = 2) -> Clips:
    people = np.array([f"ravdess-{i + 1:02d}" for i in range(count)])
    return Clips(tuple(talk(1.5, i) for i in range(count)), np.zeros(count, np.int64), people, np.array(["happy"] * count))


def test_training_windows_are_the_fronts_windows():
    samples = talk(4.0)
    heard, found = listen(samples, P), clip_windows(samples, P)
    assert len(found) >= 5
    for window in found:
        end = round((window.end_ns * P.rate_hz / 1e9 + 1 - P.taper_samples) / P.hop_samples)
        assert end in heard.ends(P)
        np.testing.assert_allclose(window_at(heard, end, P), window.samples, atol=1e-4)


def test_a_warp_moves_a_tone_by_its_factor_and_one_changes_nothing():
    log_mel = np.full((1, P.mels), -80.0, np.float32)
    log_mel[0, 20] = -20.0
    corners_hz = mel_to_hz(np.linspace(hz_to_mel(np.array(P.fmin_hz)), hz_to_mel(np.array(P.fmax_hz)), P.mels + 2))[1:-1]
    for factor in (0.8, 1.25):
        moved = int(warp(log_mel, factor, P)[0].argmax())
        nearest = int(np.abs(corners_hz - factor * corners_hz[20]).argmin())
        assert abs(moved - nearest) <= 1 and moved != 20
    np.testing.assert_allclose(warp(log_mel, 1.0, P), log_mel, atol=1e-3)


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.18])
def test_stretching_changes_length_alone(factor: float):
    log_mel = np.arange(200, dtype=np.float32)[:, None] * np.ones((1, 40), np.float32)
    made = stretch(log_mel, factor)
    assert len(made) == round(200 * factor)
    np.testing.assert_allclose(made[:, 7], np.arange(len(made)) / factor, atol=1.0)


def test_the_first_form_is_as_recorded_and_others_differ_by_number_alone():
    clips = some(1)
    plain, other = prepare(clips, P, form=0, seed=0)[0], prepare(clips, P, form=1, seed=0)[0]
    np.testing.assert_array_equal(plain.log_mel, listen(clips.samples[0], P).log_mel)
    np.testing.assert_array_equal(other.log_mel, prepare(clips, P, form=1, seed=0)[0].log_mel)
    third = prepare(clips, P, form=2, seed=0)[0]
    assert other.log_mel.shape != third.log_mel.shape or not np.array_equal(other.log_mel, third.log_mel)


def test_forms_are_heard_once_and_kept_to_a_sixteenth_of_a_decibel(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    clips = some(2)
    said: list[str] = []
    made = kept_forms(clips, P, tmp_path, forms=2, say=said.append)
    assert len(said) == 2 and [len(forms) for forms in made] == [2, 2]
    exact = listen(clips.samples[1], P)
    np.testing.assert_allclose(made[1][0].log_mel, exact.log_mel, atol=1 / 16)
    np.testing.assert_array_equal(made[1][0].starts, exact.starts)

    def never(*arguments, **options):
        raise AssertionError("heard again")

    monkeypatch.setattr(speech_forms, "prepare", never)
    again = kept_forms(clips, P, tmp_path, forms=2)
    np.testing.assert_array_equal(again[1][1].log_mel, made[1][1].log_mel)
    with pytest.raises(AssertionError, match="heard again"):  # another front hears otherwise
        kept_forms(clips, dataclasses.replace(P, hop_ms=20.0), tmp_path, forms=1)


def test_a_clip_in_which_no_voice_is_found_has_no_forms(tmp_path: pathlib.Path):
    silent = dataclasses.replace(some(1), samples=(np.zeros(16000, np.float32),))
    assert kept_forms(silent, P, tmp_path, forms=2) == [[]]
    assert not kept_last_windows(silent, P, tmp_path).any()


def test_last_windows_are_kept(tmp_path: pathlib.Path):
    clips = some(2)
    first = kept_last_windows(clips, P, tmp_path)
    np.testing.assert_array_equal(first, last_windows(clips, P))
    np.testing.assert_array_equal(kept_last_windows(clips, P, tmp_path), first)
    assert len(list(tmp_path.iterdir())) == 1
