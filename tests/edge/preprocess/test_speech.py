"""The speech front against the equations in its docstrings, and against what people do before a microphone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InputError
from edge.preprocess.speech import (
    SpeechFront,
    SpeechParameters,
    StreamingLogMel,
    VoiceGate,
    clip_windows,
    hz_to_mel,
    mel_filterbank,
    mel_to_hz,
    window_samples,
)
from edge.preprocess.voice import Extreme, Spread
from edge.types import Absence, Chunk, Window

P = SpeechParameters()
RATE_HZ = P.rate_hz


def noise(seconds: float, dbfs: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ)) * 10 ** (dbfs / 20)).astype(np.float32)


def voice(seconds: float, dbfs: float = -26.0, *, pitch_hz: float = 150.0) -> np.ndarray:
    """Syllables: a harmonic tone that swells and fades four times a second, 30 dB deep; its loud parts lie at ``dbfs``."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * t + k) / k for k in range(1, 20))
    swell = 10 ** (-30 / 20 * (0.5 + 0.5 * np.cos(2 * np.pi * 4 * t)) ** 2)
    return (tone * swell / np.sqrt(np.mean((tone * swell) ** 2)) * 10 ** (dbfs / 20)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def room(*parts: np.ndarray, dbfs: float = -66.0) -> np.ndarray:
    """The parts one after another in a room that is never quite still."""
    sound = np.concatenate(parts)
    return sound + noise(len(sound) / RATE_HZ, dbfs, seed=1)[: len(sound)]


def listen(samples: np.ndarray, *, front: SpeechFront | None = None, start_s: float = 0.0) -> list[tuple[float, Window | Absence]]:
    """What a front says, and when in seconds, fed in chunks of 100 ms and polled after each."""
    front = front or SpeechFront(P)
    said: list[tuple[float, Window | Absence]] = []
    for first in range(0, len(samples), RATE_HZ // 10):
        chunk = Chunk("audio", round((start_s + first / RATE_HZ) * 1e9), RATE_HZ, samples[first : first + RATE_HZ // 10])
        front.push(chunk)
        found = front.poll(chunk.end_ns)
        if found is not None:
            said.append((chunk.end_ns / 1e9, found))
    return said


def absences(said: list[tuple[float, Window | Absence]]) -> list[tuple[float, str, str]]:
    return [(t, a.reason, a.detail) for t, a in said if isinstance(a, Absence)]


def windows(said: list[tuple[float, Window | Absence]]) -> list[tuple[float, Window]]:
    return [(t, w) for t, w in said if isinstance(w, Window)]


# --- mel scale and filterbank


def test_mel_scale_has_slaneys_published_values():
    assert hz_to_mel(np.array([60.0, 110.0, 220.0, 440.0, 1000.0])) == pytest.approx([0.9, 1.65, 3.3, 6.6, 15.0])
    assert mel_to_hz(np.array([1.0, 2.0, 3.0, 42.0])) == pytest.approx([66.667, 133.333, 200.0, 6400.0], rel=1e-5)
    # librosa.mel_frequencies(n_mels=40), from its documentation
    published = [0.0, 85.317, 170.635, 938.49, 1024.856, 1119.114, 4994.285, 10096.408, 11025.0]
    grid = mel_to_hz(np.linspace(0.0, hz_to_mel(np.array(11025.0)), 40))
    assert grid[[0, 1, 2, 11, 12, 13, 30, 38, 39]] == pytest.approx(published, abs=6e-4)


@given(st.floats(0.0, 20000.0))
def test_mel_scale_inverts(hz: float):
    assert mel_to_hz(hz_to_mel(np.array(hz))) == pytest.approx(hz, abs=1e-6)


@pytest.mark.parametrize(("rate_hz", "fft_size", "mels", "fmax_hz"), [(16000, 512, 40, 7600.0), (22050, 2048, 128, 11025.0)])
def test_filterbank_is_triangles_of_unit_area_per_hertz(rate_hz: int, fft_size: int, mels: int, fmax_hz: float):
    bank = mel_filterbank(rate_hz=rate_hz, fft_size=fft_size, mels=mels, fmin_hz=60.0, fmax_hz=fmax_hz)
    corners = mel_to_hz(np.linspace(0.9, hz_to_mel(np.array(fmax_hz)), mels + 2))
    for m in range(mels):
        low, centre, high = corners[m : m + 3]
        for k in range(0, fft_size // 2 + 1, 3):
            hz = k * rate_hz / fft_size
            inside = (hz - low) / (centre - low) if hz <= centre else (high - hz) / (high - centre)
            assert bank[k, m] == pytest.approx(max(0.0, inside) * 2.0 / (high - low), abs=1e-6)


def test_every_band_of_the_kit_has_a_bin_in_it():
    bank = mel_filterbank(rate_hz=P.rate_hz, fft_size=P.fft_size, mels=P.mels, fmin_hz=P.fmin_hz, fmax_hz=P.fmax_hz)
    assert (bank.sum(axis=0) > 0).all()


# --- frames


def test_log_mel_satisfies_its_equation():
    x = noise(0.2, -20.0) + voice(0.2)
    log_mel, power = StreamingLogMel(P).push(x)
    assert log_mel.shape == ((len(x) - 400) // 160 + 1, 40)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    bank = mel_filterbank(rate_hz=16000, fft_size=512, mels=40, fmin_hz=P.fmin_hz, fmax_hz=P.fmax_hz).astype(np.float64)
    for k in range(len(log_mel)):
        spectrum = np.abs(np.fft.fft(x[k * 160 : k * 160 + 400] * taper, 512))[:257] ** 2 * 2 / (512 * np.sum(taper**2))
        np.testing.assert_allclose(log_mel[k], 10 * np.log10(spectrum @ bank * 1000), atol=2e-3)
        assert power[k] == pytest.approx(spectrum[7:129].sum(), rel=1e-4)  # 219 to 4000 Hz


def test_levels_are_relative_to_full_scale():
    t = np.arange(RATE_HZ) / RATE_HZ
    _, power = StreamingLogMel(P).push(np.sin(2 * np.pi * 1000 * t).astype(np.float32))
    np.testing.assert_allclose(10 * np.log10(power), -3.01, atol=0.05)


@given(st.lists(st.integers(0, 2500), min_size=1, max_size=12), st.integers(0, 2**16))
def test_frames_and_gate_do_not_depend_on_the_chunking(sizes: list[int], seed: int):
    x = room(voice(0.5), silence(0.5), dbfs=-50.0)[: sum(sizes)] * (0.5 + seed / 2**17)
    mel, gate = StreamingLogMel(P), VoiceGate(P)
    frames, starts = [], []
    for part in np.split(x, np.cumsum(sizes)[:-1]):
        log_mel, power = mel.push(part)
        frames.append(log_mel)
        starts.append(gate.push(power))
    log_mel, power = StreamingLogMel(P).push(x)
    np.testing.assert_allclose(np.concatenate(frames), log_mel, atol=1e-3)
    np.testing.assert_array_equal(np.concatenate(starts), VoiceGate(P).push(power))


def test_gate_over_a_whole_recording_is_the_gate_piecemeal():
    x = room(silence(0.7), voice(2.5), silence(1.5), voice(3.0, -40.0), silence(1.0), noise(2.0, -30.0), voice(2.0))
    power = StreamingLogMel(P).push(x)[1]
    gate = VoiceGate(P)
    piecemeal = np.concatenate([gate.push(power[i : i + 7]) for i in range(0, len(power), 7)])
    np.testing.assert_array_equal(piecemeal, VoiceGate(P).push(power))


# --- windows


def test_window_holds_the_newest_frames_scaled_and_padded_on_the_left():
    log_mel = StreamingLogMel(P).push(room(voice(1.2)))[0]
    window = window_samples(log_mel, P)
    assert window.shape == (300, 40) and window.dtype == np.float32
    assert not window[: 300 - len(log_mel)].any()
    reference = np.quantile(log_mel.max(axis=1), P.reference)
    expected = np.clip((log_mel - reference + P.range_db) / P.range_db, 0.0, P.headroom)
    np.testing.assert_allclose(window[300 - len(log_mel) :], expected, atol=1e-4)


@given(st.floats(-25.0, 12.0))
def test_microphone_gain_does_not_change_a_window(gain_db: float):
    x = room(voice(1.5))
    plain, louder = (window_samples(StreamingLogMel(P).push(x * np.float32(10 ** (g / 20)))[0], P) for g in (0.0, gain_db))
    np.testing.assert_allclose(louder, plain, atol=2e-4)


def test_front_gives_the_same_windows_as_the_frames_at_once():
    x = room(silence(0.4), voice(4.5), silence(0.3), voice(1.0))
    log_mel, power = StreamingLogMel(P).push(x)
    starts = VoiceGate(P).push(power)
    found = clip_windows(x, P)
    assert len(found) >= 8
    for window in found:
        frame = round((window.end_ns * RATE_HZ / 1e9 + 1 - P.taper_samples) / P.hop_samples)
        assert (frame * P.hop_samples + P.taper_samples - 1) / RATE_HZ == pytest.approx(window.end_ns / 1e9, abs=1e-7)
        first = max(starts[frame], frame - P.frames + 1)
        np.testing.assert_allclose(window.samples, window_samples(log_mel[first : frame + 1], P), atol=1e-4)


def test_windows_come_each_half_second_once_a_second_of_voice_is_heard():
    times = [t for t, _ in windows(listen(room(silence(2.0), voice(5.0))))]
    assert 2.5 < times[0] <= 3.0
    np.testing.assert_allclose(np.diff(times), 0.5, atol=0.01)


def test_nothing_before_the_voice_is_in_its_first_window():
    _, window = windows(listen(room(silence(4.0), voice(1.5))))[0]
    heard = np.flatnonzero(window.samples.any(axis=1))
    assert 300 - heard[0] <= 100


# --- the gate, through the front


def test_without_sound_the_microphone_is_lost():
    front = SpeechFront(P)
    assert front.poll(0) == Absence("speech", "lost", "no sound from the microphone")
    assert front.poll(10**8) is None, "said once"


def test_digital_silence_is_a_silent_microphone():
    assert absences(listen(silence(2.0))) == [(pytest.approx(0.1, abs=0.01), "lost", "silent microphone")]


@pytest.mark.parametrize("dbfs", [-70.0, -50.0, -30.0, -12.0])
def test_a_steady_noise_is_no_voice_however_loud(dbfs: float):
    said = listen(noise(6.0, dbfs))
    assert not windows(said)
    assert {detail for _, _, detail in absences(said)} == {"no voice"}


def test_a_hum_is_no_voice():
    t = np.arange(5 * RATE_HZ) / RATE_HZ
    assert not windows(listen((0.1 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)))


def test_a_noise_that_begins_is_no_voice():
    assert not windows(listen(np.concatenate([noise(3.0, -66.0), noise(5.0, -25.0, seed=2)])))


def test_the_end_of_a_voice_is_told_within_800_ms():
    said = absences(listen(room(voice(4.0), silence(3.0))))
    ended = [t for t, reason, detail in said if t > 3.0 and (reason, detail) == ("lost", "no voice")]
    assert len(ended) == 1 and 4.5 < ended[0] <= 4.8


def test_a_microphone_cut_off_is_told_within_800_ms():
    said = absences(listen(np.concatenate([room(voice(4.0)), silence(2.0)])))
    assert 4.5 < said[-2][0] <= 4.8 and said[-1][2] == "silent microphone"


@pytest.mark.parametrize("pause_s", [0.2, 0.35, 0.5])
def test_natural_pauses_do_not_end_a_voice(pause_s: float):
    said = listen(room(*[part for _ in range(6) for part in (voice(1.2), silence(pause_s))]))
    assert [a for a in absences(said) if a[0] > 1.5] == []
    assert max(np.diff([t for t, _ in windows(said)])) < 0.65


@pytest.mark.parametrize("gap_s", [1.5, 6.0])
def test_a_voice_that_returns_is_in_use_within_a_second(gap_s: float):
    said = windows(listen(room(voice(3.0), silence(gap_s), voice(3.0))))
    assert min(t for t, _ in said if t > 3.0 + gap_s) <= 4.0 + gap_s


@pytest.mark.parametrize("snr_db", [0.0, 3.0])
def test_a_voice_buried_in_noise_is_noisy(snr_db: float):
    said = listen(room(silence(1.0), voice(6.0, -26.0), dbfs=-26.0 - snr_db))
    assert not windows(said)
    assert ("noisy", "voice buried in noise") in {(reason, detail) for _, reason, detail in absences(said)}


def test_a_fan_makes_a_voice_noisy_and_then_usable_again():
    x = room(*[part for _ in range(10) for part in (voice(1.3), silence(0.25))])
    x[5 * RATE_HZ : 10 * RATE_HZ] += noise(5.0, -26.0, seed=3)
    said = listen(x)
    noisy = [t for t, reason, _ in absences(said) if reason == "noisy"]
    assert noisy and 5.0 < noisy[0] < 7.5
    assert not [t for t, _ in windows(said) if noisy[0] < t < 10.0]
    assert min(t for t, _ in windows(said) if t > 10.0) < 11.0


def test_quality_grows_with_the_distance_to_the_noise():
    talk = [part for _ in range(4) for part in (voice(1.3), silence(0.3))]
    quality = [np.mean([w.quality for _, w in windows(listen(room(*talk, dbfs=dbfs)))]) for dbfs in (-40.0, -45.0, -50.0, -66.0)]
    assert quality == sorted(quality) and 0.0 < quality[0] < 0.5 and quality[-1] > 0.9


def test_what_was_heard_before_a_gap_in_time_is_forgotten():
    front = SpeechFront(P)
    assert windows(listen(room(voice(3.0)), front=front))
    first = windows(listen(room(voice(3.0)), front=front, start_s=3.3))[0]
    assert first[0] > 3.3 + 0.8
    assert not first[1].samples[:195].any()


def test_a_microphone_that_stops_is_lost_and_recovers():
    front = SpeechFront(P)
    said = listen(room(voice(3.0)), front=front)
    assert front.poll(round(3.5e9)) is None
    assert front.poll(round(3.8e9)) == Absence("speech", "lost", "no sound from the microphone")
    assert windows(listen(room(voice(2.0)), front=front, start_s=9.0)) and windows(said)


def test_jitter_of_time_stamps_is_no_gap():
    front, x, rng = SpeechFront(P), room(voice(3.0)), np.random.default_rng(0)
    found = []
    for i in range(30):
        front.push(Chunk("audio", round(i * 1e8 + rng.uniform(-1e7, 1e7)), RATE_HZ, x[i * 1600 : (i + 1) * 1600]))
        found.append(front.poll(round((i + 1) * 1e8)))
    assert sum(isinstance(f, Window) for f in found) == 5


def test_samples_that_are_no_numbers_leave_no_trace():
    front = SpeechFront(P)
    front.push(Chunk("audio", 0, RATE_HZ, np.full(1600, np.nan, np.float32)))
    found = windows(listen(room(voice(2.0)), front=front, start_s=0.1))
    assert found and np.isfinite(found[0][1].samples).all()


def test_another_rate_or_track_is_refused_in_one_line():
    front = SpeechFront(P)
    with pytest.raises(InputError, match=r"^speech front: got audio at 44100 Hz; set the microphone to 16000 Hz$"):
        front.push(Chunk("audio", 0, 44100, np.zeros(10, np.float32)))
    with pytest.raises(InputError, match=r"^speech front: got ppg of shape"):
        front.push(Chunk("ppg", 0, 64, np.zeros(10, np.float32)))


def test_parameters_survive_json():
    assert SpeechParameters(**json.loads(json.dumps(dataclasses.asdict(P)))) == P


@given(st.lists(st.floats(-100, 20), min_size=1, max_size=700), st.integers(1, 40))
def test_the_least_the_mean_and_the_spread_are_those_of_the_newest(values, memory):
    least, spread = Extreme(memory), Spread(memory)
    for i, value in enumerate(values):
        newest = values[max(0, i + 1 - memory) : i + 1]
        assert least.push(value) == min(newest)
        mean, deviation = spread.push(value)
        if i + 1 < memory:
            assert np.isnan([mean, deviation]).all()
        else:
            assert (mean, deviation) == pytest.approx((np.mean(newest), np.std(newest)), abs=1e-5)
