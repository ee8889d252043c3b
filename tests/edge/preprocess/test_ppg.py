from __future__ import annotations

import gzip
import math
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.preprocess.beats import PulseSecond
from edge.preprocess.ppg import Biquad, PulseTracker, SampleClock

SECOND_NS = 1_000_000_000


def pulse_wave(beats_s: np.ndarray, rate_hz: float, seconds: float) -> np.ndarray:
    """A systolic wave and a dicrotic one after each beat, on a drifting floor."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * 0.08 * t)
    for beat_s in beats_s:
        wave += np.exp(-(((t - beat_s) / 0.12) ** 2)) + 0.35 * np.exp(-(((t - beat_s - 0.3) / 0.12) ** 2))
    return wave


def steady(rate_hz: float, heart_rate_bpm: float, seconds: float = 30.0) -> np.ndarray:
    return pulse_wave(np.arange(0.4, seconds, 60.0 / heart_rate_bpm), rate_hz, seconds)


def listen(samples: np.ndarray, rate_hz: float, t_ns: int = 0) -> list[PulseSecond]:
    tracker = PulseTracker()
    tracker.push(t_ns, rate_hz, samples)
    return list(tracker.seconds)


@pytest.mark.parametrize("kind", ["low", "high"])
@pytest.mark.parametrize("rate_hz", [25.0, 64.0, 200.0])
@pytest.mark.parametrize("cutoff_hz", [0.6, 3.3])
def test_filter_has_the_butterworth_response_of_its_prewarped_cutoff(kind: str, rate_hz: float, cutoff_hz: float):
    section = Biquad(kind, cutoff_hz, rate_hz)
    for frequency_hz in (0.2, cutoff_hz, 5.0, 11.0):
        z = np.exp(-2j * np.pi * frequency_hz / rate_hz)
        response = (section.b0 + section.b1 * z + section.b2 * z**2) / (1 + section.a1 * z + section.a2 * z**2)
        ratio = math.tan(math.pi * frequency_hz / rate_hz) / math.tan(math.pi * cutoff_hz / rate_hz)
        expected = (1.0 if kind == "low" else ratio**2) / math.sqrt(1 + ratio**4)
        assert abs(response) == pytest.approx(expected, rel=1e-6)


@given(st.floats(-1e6, 1e6), st.sampled_from(["low", "high"]))
def test_a_settled_filter_answers_a_constant_with_no_transient(level: float, kind: str):
    section = Biquad(kind, 0.6, 64.0)
    first = section.settle(level)
    later = [section.step(level) for _ in range(100)]
    assert np.allclose(later, first, atol=1e-9 * max(1.0, abs(level)) * 100)
    assert first == pytest.approx(level if kind == "low" else 0.0, abs=1e-6 * max(1.0, abs(level)))


def test_a_cutoff_above_half_the_rate_is_refused():
    with pytest.raises(InputError, match="sample faster"):
        Biquad("low", 3.3, 6.0)


@settings(max_examples=25)
@given(st.floats(25.0, 200.0), st.floats(50.0, 160.0), st.sampled_from([-1e5, -1.0, 0.01, 1.0, 1e5]), st.floats(-1e6, 1e6))
def test_heart_rate_is_found_at_any_rate_sign_gain_and_offset(rate_hz: float, heart_rate_bpm: float, gain: float, offset: float):
    newest = listen(offset + gain * steady(rate_hz, heart_rate_bpm, 20.0), rate_hz)[-1]
    assert newest.heart_rate_bpm == pytest.approx(heart_rate_bpm, abs=0.5)
    assert newest.quality > 0.7


@settings(max_examples=20)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(0, 10**15))
def test_chunking_changes_nothing(sizes: list[int], t_ns: int):
    rate_hz = 64.0
    rng = np.random.default_rng(len(sizes))
    samples = steady(rate_hz, 77.0, 25.0) + rng.normal(0.0, 0.3, 1600)
    samples[700:703] = math.nan
    whole = listen(samples, rate_hz, t_ns)
    tracker, first = PulseTracker(), 0
    for size in [*sizes, len(samples)]:
        tracker.push(t_ns + round(first * 1e9 / rate_hz), rate_hz, samples[first : first + size])
        first = min(first + size, len(samples))
    pieces = list(tracker.seconds)
    assert [repr(second) for second in pieces] == [repr(second) for second in whole]


def test_beats_are_timed_between_samples():
    rate_hz, beats_s = 25.0, 0.5 + np.cumsum(np.tile([0.803, 0.847, 0.871, 0.829], 15))
    tracker = PulseTracker()
    tracker.push(0, rate_hz, pulse_wave(beats_s, rate_hz, 50.0))
    found_s = np.array(tracker.beats_s)[5:-2]
    errors_s = found_s - beats_s[np.abs(beats_s[None] - found_s[:, None]).argmin(axis=1)]
    assert np.std(errors_s) < 0.008  # a fifth of the 40 ms between samples


def test_beats_at_100_hz_are_timed_to_10_ms():
    rng = np.random.default_rng(3)
    beats_s = 0.5 + np.cumsum(0.82 + 0.06 * np.sin(np.arange(60) / 3) + rng.normal(0.0, 0.02, 60))
    tracker = PulseTracker()
    wave = pulse_wave(beats_s, 100.0, 52.0)
    tracker.push(0, 100.0, wave + rng.normal(0.0, 0.01, len(wave)))
    found_s = np.array(tracker.beats_s)[5:-2]
    assert len(found_s) > 50
    errors_s = found_s - beats_s[np.abs(beats_s[None] - found_s[:, None]).argmin(axis=1)]
    errors_s -= np.median(errors_s)  # the filters' delay is no error: it is the same for every beat
    assert np.sqrt(np.mean(errors_s**2)) < 0.005
    assert np.abs(errors_s).max() < 0.010


def test_rmssd_is_that_of_the_intervals():
    beats_s = 0.5 + np.cumsum(np.tile([0.80, 0.86], 40))
    newest = listen(pulse_wave(beats_s, 128.0, 60.0), 128.0)[-1]
    assert newest.rmssd_ms == pytest.approx(60.0, abs=8.0)


def test_a_missed_beat_does_not_move_the_heart_rate():
    beats_s = np.delete(np.arange(0.5, 30.0, 0.8), [30, 34])
    newest = listen(pulse_wave(beats_s, 64.0, 30.0), 64.0)[-1]
    assert newest.heart_rate_bpm == pytest.approx(75.0, abs=0.7)
    assert newest.quality < 0.9


def test_no_pulse_has_no_quality():
    for samples in (np.zeros(1280), np.full(1280, 52000.0), np.full(1280, math.nan)):
        newest = listen(samples, 64.0)[-1]
        assert newest.quality == 0.0
        assert math.isnan(newest.heart_rate_bpm)


def test_no_interval_spans_a_gap_and_no_second_in_it_is_said():
    samples = steady(64.0, 75.0, 30.0)
    tracker = PulseTracker()
    tracker.push(0, 64.0, samples[: 64 * 15])
    tracker.push(17 * SECOND_NS, 64.0, samples[64 * 17 :])
    said = [second.t_s for second in tracker.seconds]
    assert said == [*range(1, 15), *range(18, 30)]
    assert tracker.passed_s == 29
    assert {round(second.heart_rate_bpm, 1) for second in tracker.seconds if second.quality > 0.3} <= {74.8, 74.9, 75.0, 75.1, 75.2}


def test_stamps_that_jitter_do_not_move_beats_and_repeated_samples_are_dropped():
    clock = SampleClock(gap_s=0.1)
    assert clock.place(1000, 64.0) == (True, 0)
    clock.count = 16
    assert clock.place(1000 + 250_000_000 + 5_000_000, 64.0) == (False, 0)
    assert clock.anchor_ns == 1000
    assert clock.place(1000 + 125_000_000, 64.0) == (False, 8)
    assert clock.place(1000 + 900_000_000, 64.0) == (True, 0)


@pytest.mark.parametrize("rate_hz", [24.0, 201.0, 0.0, math.nan])
def test_a_rate_out_of_range_is_refused(rate_hz: float):
    with pytest.raises(InputError, match="samples/s"):
        PulseTracker().push(0, rate_hz, np.zeros(3))


def column(path: pathlib.Path, **keywords) -> np.ndarray:
    with gzip.open(path, "rt") as lines:
        return np.loadtxt(lines, **keywords)


@pytest.mark.parametrize("person", ["S01", "S05", "S12"])
def test_heart_rate_agrees_with_the_wristbands_own_beats(data: pathlib.Path, person: str):
    """Against the intervals that the wristband itself accepted, in seconds that they cover by 70 %."""
    folder = data / "stress_predict" / "Raw_data" / person
    seconds = listen(column(folder / "BVP.csv.gz")[2:][: 64 * 1500], 64.0)
    intervals = column(folder / "IBI.csv.gz", delimiter=",", skiprows=1)
    errors_bpm, good = [], 0
    for second in seconds:
        recent = intervals[(intervals[:, 0] > second.t_s - 10) & (intervals[:, 0] <= second.t_s), 1]
        good += second.quality >= 0.5
        if recent.sum() > 7.0 and second.quality >= 0.5:
            errors_bpm.append(abs(second.heart_rate_bpm - 60.0 / recent.mean()))
    assert len(errors_bpm) > 100
    assert np.mean(errors_bpm) < 1.2
    assert good / len(seconds) > 0.6
