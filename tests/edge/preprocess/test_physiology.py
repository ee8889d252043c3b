from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.preprocess.beats import PulseSecond
from edge.preprocess.eda import SkinSecond
from edge.preprocess.physiology import (
    CHANNELS,
    MEASURED,
    PULSE_VALID,
    SKIN_VALID,
    Baseline,
    PhysiologyFront,
    PhysiologyParameters,
    StepMaker,
    window_of,
)
from edge.types import Absence, Chunk, Track, Window

MS = 1_000_000
SECOND_NS = 1000 * MS
PARAMETERS = PhysiologyParameters()
ELECTRODES_OFF = Absence("physiology", "lost", "electrodes off")
RATES_HZ: dict[Track, float] = {"ppg": 64.0, "eda": 4.0}


def signals(seconds: int, heart_rate_bpm: float = 75.0, level_us: float = 1.0) -> dict[Track, np.ndarray]:
    rng = np.random.default_rng(1)
    t_s = np.arange(seconds * 64) / 64
    ppg = np.sin(2 * np.pi * heart_rate_bpm / 60 * t_s) + rng.normal(0.0, 0.05, len(t_s))
    eda = level_us * np.exp(np.cumsum(rng.normal(0.0, 0.01, seconds * 4)))
    return {"ppg": ppg.astype(np.float32), "eda": eda.astype(np.float32)}


def play(
    front: PhysiologyFront,
    tracks: dict[Track, np.ndarray],
    *,
    cut: dict[Track, list[tuple[float, float]]] | None = None,
    chunk_ms: int = 250,
    start_ns: int = 0,
    tail_s: float = 0.0,
) -> list[tuple[float, Window | Absence]]:
    """Chunks as a live source sends them, a poll after each: (seconds since the start, what the front said)."""
    said = []
    seconds = len(tracks["eda"]) / RATES_HZ["eda"]
    for end_ms in range(chunk_ms, round((seconds + tail_s) * 1000) + 1, chunk_ms):
        first_s = (end_ms - chunk_ms) / 1000
        for track, samples in tracks.items():
            rate_hz = RATES_HZ[track]
            piece = samples[round(first_s * rate_hz) : round(end_ms / 1000 * rate_hz)]
            if len(piece) and not any(a <= first_s < b for a, b in (cut or {}).get(track, [])):
                front.push(Chunk(track, start_ns + round(first_s * 1e9), rate_hz, piece))
        news = front.poll(start_ns + end_ms * MS)
        if news is not None:
            said.append((end_ms / 1000, news))
    return said


def test_one_window_a_second_after_the_warm_up():
    said = play(PhysiologyFront(), signals(40))
    assert [news for _, news in said if isinstance(news, Absence)][-1] == Absence("physiology", "lost", "warming up")
    windows = [news for _, news in said if isinstance(news, Window)]
    assert [window.end_ns for window in windows] == [t_s * SECOND_NS for t_s in range(15, 40)]
    for at_s, news in said:
        if isinstance(news, Window):
            assert at_s - news.end_ns / 1e9 <= 0.5
            assert news.samples.shape == (60, len(CHANNELS))
            assert news.samples.dtype == np.float32
            assert np.abs(news.samples).max() <= PARAMETERS.limit
            assert 0.0 < news.quality <= 1.0
    assert not windows[0].samples[: 60 - 15].any()  # before the start nothing is valid
    assert windows[0].samples[-10:, SKIN_VALID].all()
    assert windows[-1].samples[-10:, PULSE_VALID].all()
    assert windows[-1].quality > windows[0].quality


@settings(max_examples=10)
@given(st.sampled_from([250, 500, 750]), st.integers(0, 10**6).map(lambda s: s * SECOND_NS))
def test_the_last_window_depends_neither_on_chunking_nor_on_when_the_machine_was_started(chunk_ms: int, start_ns: int):
    tracks = signals(33)
    tracks["eda"][60:70] = 0.0
    expected = [news for _, news in play(PhysiologyFront(), tracks) if isinstance(news, Window)]
    got = [news for _, news in play(PhysiologyFront(), tracks, chunk_ms=chunk_ms, start_ns=start_ns) if isinstance(news, Window)]
    by_end = {window.end_ns: window for window in expected}
    assert len(got) > 5
    for window in got:
        twin = by_end.get(window.end_ns - start_ns)
        if twin is not None:
            assert np.allclose(window.samples, twin.samples, atol=1e-4)  # float64 seconds lose digits far from zero
    assert np.array_equal(play_last(tracks, chunk_ms).samples, expected[-1].samples)


def play_last(tracks: dict[Track, np.ndarray], chunk_ms: int) -> Window:
    front = PhysiologyFront()
    play(front, tracks, chunk_ms=chunk_ms)
    for track, rate_hz in RATES_HZ.items():  # close second 32 whatever the chunks were
        first = (33 * 1000 // chunk_ms) * chunk_ms / 1000
        front.push(Chunk(track, round(first * 1e9), rate_hz, tracks[track][round(first * rate_hz) :]))
    return Window("physiology", 0, window_of(front._steps, 60), 0.0)


@pytest.mark.parametrize("how", ["zero", "silent eda", "both silent"])
def test_electrodes_off_are_said_within_a_second_and_the_modality_is_back_within_two(how: str):
    tracks = signals(60)
    cut: dict[Track, list[tuple[float, float]]] = {}
    if how == "zero":
        tracks["eda"][30 * 4 : 40 * 4] = 0.0
    else:
        cut["eda"] = [(30.0, 40.0)]
    if how == "both silent":
        cut["ppg"] = [(30.0, 40.0)]
    said = play(PhysiologyFront(), tracks, cut=cut)
    off = [(at_s, news) for at_s, news in said if at_s > 30.0 and isinstance(news, Absence)]
    assert [news for _, news in off] == [ELECTRODES_OFF]
    assert off[0][0] <= 31.0
    back = [(at_s, news) for at_s, news in said if at_s > off[0][0] and isinstance(news, Window)]
    assert 40.0 < back[0][0] <= 42.0
    gap = back[0][1].samples[back[0][1].samples[:, SKIN_VALID] == 0]
    held = gap[-8:]
    assert np.array_equal(held[:, 2:5], np.repeat(held[:1, 2:5], 8, axis=0))  # the last values, marked


def test_a_source_that_falls_silent_for_good_is_said_once():
    said = play(PhysiologyFront(), signals(30), tail_s=30.0)
    late = [news for at_s, news in said if at_s > 30.0]
    assert [news for news in late if isinstance(news, Absence)] == [ELECTRODES_OFF]
    assert not [news for at_s, news in said if at_s > 31.25 and isinstance(news, Window)]


def test_a_pulse_sensor_that_falls_silent_is_lost():
    said = play(PhysiologyFront(), signals(40), cut={"ppg": [(25.0, 40.0)]})
    assert said[-1][1] == Absence("physiology", "lost", "no pulse samples")
    assert said[-1][0] <= 26.0


def test_a_pulse_bad_for_long_is_noisy_and_a_good_one_ends_it():
    tracks = signals(130)
    tracks["ppg"][25 * 64 : 100 * 64] = 1.0
    said = play(PhysiologyFront(), tracks)
    noisy = [at_s for at_s, news in said if isinstance(news, Absence) and news.reason == "noisy"]
    assert len(noisy) >= 1
    assert 35.0 < noisy[0] < 25.0 + PARAMETERS.noisy_after_s + 10.0
    assert isinstance(said[-1][1], Window)


def test_after_a_long_absence_the_person_may_be_another_and_the_baseline_starts_anew():
    parameters = PhysiologyParameters(forget_after_s=60)
    tracks = signals(160)
    tracks["eda"][30 * 4 : 120 * 4] = 0.0
    said = play(PhysiologyFront(parameters), tracks)
    after = [(at_s, news) for at_s, news in said if at_s > 120.0]
    assert after[0][1] == Absence("physiology", "lost", "warming up")
    first = next((at_s, news) for at_s, news in after if isinstance(news, Window))
    assert 134.0 < first[0] < 138.0
    assert not first[1].samples[:, SKIN_VALID][:-16].any()


def test_days_of_silence_cost_no_time_and_end_in_a_warm_up():
    front = PhysiologyFront()
    play(front, signals(30))
    start_ns = 10 * 86400 * SECOND_NS
    assert front.poll(start_ns) == ELECTRODES_OFF
    said = play(front, signals(30), start_ns=start_ns)
    assert said[0][1] == Absence("physiology", "lost", "warming up")
    assert isinstance(said[-1][1], Window)


def test_no_samples_at_all_is_lost():
    front = PhysiologyFront()
    assert front.poll(5 * SECOND_NS) == ELECTRODES_OFF
    assert front.poll(6 * SECOND_NS) is None


def test_other_tracks_are_refused_and_empty_chunks_ignored():
    front = PhysiologyFront()
    with pytest.raises(InputError, match="takes ppg, eda, ibi, rppg"):
        front.push(Chunk("audio", 0, 16000.0, np.zeros(4, np.float32)))
    front.push(Chunk("eda", 0, 4.0, np.zeros(0, np.float32)))
    assert front.poll(0) == ELECTRODES_OFF


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50))
def test_a_baseline_is_mean_and_variance_of_all_seen_while_young(values: list[float]):
    baseline = Baseline(memory_s=1e9)
    for value in values:
        baseline.learn(value)
    assert baseline.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert baseline.variance == pytest.approx(np.var(values), rel=1e-6, abs=1e-6)


def test_steps_are_relative_to_the_person_so_far_and_causal():
    def run(rates_bpm: list[float]) -> list[float]:
        maker = StepMaker(PARAMETERS)
        return [float(maker.step(PulseSecond(i, bpm, 40.0, 1.0, 0.9), None)[0]) for i, bpm in enumerate(rates_bpm)]

    low, high = run([60.0] * 30 + [70.0] * 5), run([90.0] * 30 + [100.0] * 5)
    assert low == pytest.approx(high)
    assert low[30] > 1.0
    assert run([60.0] * 30 + [120.0])[:30] == low[:30]


def test_a_step_never_leaves_its_range():
    maker = StepMaker(PARAMETERS)
    rng = np.random.default_rng(0)
    for t_s in range(300):
        pulse = PulseSecond(t_s, rng.uniform(37, 182), rng.uniform(1, 500) if t_s % 7 else math.nan, 1.0, rng.random())
        skin = SkinSecond(t_s, bool(t_s % 11), rng.uniform(-0.1, 90.0), 1.0, rng.normal(0.0, 5.0))
        step = maker.step(pulse if t_s % 5 else None, skin)
        assert np.isfinite(step).all()
        assert np.abs(step).max() <= PARAMETERS.limit


REMEMBERING = PhysiologyParameters(memories_s=(10.0, 60.0))


def test_without_memories_a_step_is_what_it_was_and_with_them_it_begins_with_that():
    assert PARAMETERS.channels == len(CHANNELS) == 7
    assert REMEMBERING.names[len(CHANNELS) :: len(MEASURED)] == ("heart_rate_10_s", "heart_rate_60_s")
    assert REMEMBERING.channels == len(CHANNELS) + 2 * len(MEASURED)
    plain, remembering = StepMaker(PARAMETERS), StepMaker(REMEMBERING)
    rng = np.random.default_rng(0)
    for t_s in range(100):
        pulse = PulseSecond(t_s, rng.uniform(60, 90), rng.uniform(20, 60), 1.0, rng.random())
        skin = SkinSecond(t_s, bool(t_s % 7), rng.uniform(0.5, 2.0), 1.0, rng.normal(0.0, 0.1))
        short, long = plain.step(pulse, skin), remembering.step(pulse, skin)
        assert short.shape == (7,)
        assert np.array_equal(long[:7], short)
        assert np.abs(long).max() <= PARAMETERS.limit


def test_memories_are_averages_less_the_baseline_each_in_its_place():
    maker = StepMaker(REMEMBERING)
    rates_bpm = [60.0] * 200 + [80.0] * 20
    for t_s, bpm in enumerate(rates_bpm):
        step = maker.step(PulseSecond(t_s, bpm, 40.0, 1.0, 0.9), SkinSecond(t_s, True, 1.0, 1.0, 0.0))
    short, long = step[len(CHANNELS) :: len(MEASURED)]  # heart rate over 10 s and 60 s
    average = 60.0 + 20.0 * (1.0 - (1.0 - 1.0 / 10.0) ** 20)
    expected = (average - np.mean(rates_bpm)) / np.sqrt(np.var(rates_bpm) + 4.0**2)
    assert short == pytest.approx(expected, abs=1e-4)
    assert 0.5 < long < short
    rest = np.delete(step[len(CHANNELS) :], [0, len(MEASURED)])
    assert rest == pytest.approx(np.zeros(8), abs=1e-5)  # nothing else changed


def test_an_average_younger_than_its_memory_says_nothing():
    rng = np.random.default_rng(1)
    levels = rng.normal(75.0, 5.0, 9)
    maker = StepMaker(REMEMBERING)
    for t_s, bpm in enumerate(levels):
        step = maker.step(PulseSecond(t_s, float(bpm), 40.0, 1.0, 0.9), None)
    assert not step[len(CHANNELS) :].any()  # younger than every memory: all averages are the baseline


def test_windows_of_a_front_with_memories_are_wider_and_the_same_however_chunks_are_cut():
    tracks = signals(40)
    last = []
    for chunk_ms in (250, 500):
        said = play(PhysiologyFront(REMEMBERING), tracks, chunk_ms=chunk_ms)
        last.append({news.end_ns: news.samples for _, news in said if isinstance(news, Window)})
    both = sorted(set(last[0]) & set(last[1]))
    assert len(both) > 15
    for end_ns in both:
        assert last[0][end_ns].shape == (60, REMEMBERING.channels)
        assert np.array_equal(last[0][end_ns], last[1][end_ns])


def test_parameters_survive_json():
    given_parameters = PhysiologyParameters(window_s=30, memories_s=(60.0, 300.0))
    assert PhysiologyParameters(**json.loads(json.dumps(dataclasses.asdict(given_parameters)))) == given_parameters
