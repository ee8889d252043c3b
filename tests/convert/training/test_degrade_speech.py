from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.training.degrade import speech as degrade

RATE_HZ = degrade.RATE_HZ


def voice(seconds: float = 2.0, level: float = 0.1) -> np.ndarray:
    """A tone of 220 Hz in syllables, a second of silence before and after."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = level * np.sin(2 * np.pi * 220 * t) * (np.sin(2 * np.pi * 2 * t) > -0.5)
    return np.concatenate([np.zeros(RATE_HZ), sound, np.zeros(RATE_HZ)]).astype(np.float32)


def octave_db(noise: np.ndarray, low_hz: float) -> float:
    """Mean spectral density from ``low_hz`` to its double, in dB."""
    hz, density = scipy.signal.welch(noise, RATE_HZ, nperseg=4096)
    return float(10 * np.log10(density[(hz >= low_hz) & (hz < 2 * low_hz)].mean()))


@settings(max_examples=30, deadline=None)
@given(snr_db=st.floats(-10.0, 40.0), seed=st.integers(0, 1000), level=st.floats(0.001, 0.9))
def test_noise_lies_as_far_under_the_voice_as_was_asked_for(snr_db: float, seed: int, level: float):
    sound = voice(level=level)
    noise = degrade.add_noise(sound, snr_db, np.random.default_rng(seed)).astype(np.float64) - sound
    assert 10 * np.log10(degrade.speech_power(sound) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.1)


def test_silence_around_a_voice_does_not_change_its_level():
    sound = voice()
    assert degrade.speech_power(sound) == pytest.approx(degrade.speech_power(sound[RATE_HZ:-RATE_HZ]), rel=1e-6)
    assert degrade.speech_power(sound) > 1.8 * np.mean(sound.astype(np.float64) ** 2)
    assert degrade.speech_power(np.zeros(0, np.float32)) == 0.0
    assert degrade.speech_power(np.full(100, 0.5, np.float32)) == pytest.approx(0.25)


@pytest.mark.parametrize("slope_db", [0.0, 3.0, 6.0])
def test_noise_falls_by_its_slope_an_octave_and_has_unit_power(slope_db: float):
    noise = degrade.coloured_noise(20 * RATE_HZ, slope_db, np.random.default_rng(0))
    assert octave_db(noise, 500) - octave_db(noise, 1000) == pytest.approx(slope_db, abs=0.4)
    assert np.mean(noise.astype(np.float64) ** 2) == pytest.approx(1.0, rel=1e-3)


def test_noise_over_silence_and_nothing_stays_silence():
    rng = np.random.default_rng(0)
    assert not degrade.add_noise(np.zeros(1000, np.float32), 0.0, rng).any()
    assert len(degrade.add_noise(np.zeros(0, np.float32), 0.0, rng)) == 0
    assert len(degrade.reverberate(np.zeros(0, np.float32), 0.5, rng)) == 0
    assert not degrade.reverberate(np.zeros(1000, np.float32), 0.5, rng).any()


@pytest.mark.parametrize("rt60_s", [0.3, 0.8])
def test_a_rooms_tail_has_decayed_by_30_db_after_half_its_reverberation_time(rt60_s: float):
    tail = degrade.room(rt60_s, np.random.default_rng(0)).astype(np.float64)
    left_db = 10 * np.log10(np.cumsum(tail[:0:-1] ** 2)[::-1])  # Schroeder's backward integral
    assert left_db[0] == pytest.approx(0.0, abs=1e-3)  # as strong as the direct sound
    t = np.arange(len(left_db)) / RATE_HZ
    slope = np.polyfit(t[t < rt60_s / 2], left_db[t < rt60_s / 2], 1)[0]
    assert slope == pytest.approx(-60.0 / rt60_s, rel=0.1)


def test_the_direct_sound_stands_over_the_tail_by_as_much_as_asked_for():
    heard = degrade.room(0.5, np.random.default_rng(1), direct_db=6.0).astype(np.float64)
    assert 10 * np.log10(heard[0] ** 2 / np.sum(heard[1:] ** 2)) == pytest.approx(6.0, abs=0.01)


def test_reverberation_fills_pauses_and_keeps_length_and_energy():
    sound = voice()
    heard = degrade.reverberate(sound, 0.8, np.random.default_rng(0))
    assert heard.shape == sound.shape and heard.dtype == np.float32
    assert np.sum(heard.astype(np.float64) ** 2) == pytest.approx(np.sum(sound.astype(np.float64) ** 2), rel=1e-4)
    after = slice(-RATE_HZ, -RATE_HZ + 1600)  # silence before
    assert not sound[after].any() and np.abs(heard[after]).max() > 1e-3
    assert degrade.reverberate(sound, 0.0, np.random.default_rng(0)) is sound


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_clipping_cuts_the_loudest_share_at_one_level(share: float):
    sound = np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    cut = degrade.clip(sound, share)
    assert (cut != sound).mean() == pytest.approx(share, abs=0.001)
    assert len(np.unique(np.abs(cut[cut != sound]))) == 1
    assert degrade.clip(sound, 0.0) is sound


def test_a_telephone_passes_its_band_alone():
    t = np.arange(RATE_HZ) / RATE_HZ
    for hz, least, most in ((50, 0.0, 0.02), (1000, 0.95, 1.05), (7000, 0.0, 0.02)):
        heard = degrade.band_limit(np.sin(2 * np.pi * hz * t).astype(np.float32), 300.0, 3400.0)
        assert least <= np.abs(heard[RATE_HZ // 2 :]).max() <= most


@pytest.mark.parametrize(
    "make",
    [lambda x, rng: degrade.add_noise(x, 10.0, rng), lambda x, rng: degrade.reverberate(x, 0.4, rng)],
)
def test_degradations_follow_their_generator_and_leave_their_input_alone(make):
    sound = voice()
    before = sound.copy()
    first, again, other = (make(sound, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(sound, before)
    assert not np.array_equal(first, other) and first.dtype == np.float32
