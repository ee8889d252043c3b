from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.preprocess.eda import ResponseCounter, SkinParameters, SkinSecond, SkinTracker

SECOND_NS = 1_000_000_000


def response(t_s: np.ndarray, onset_s: float, height_us: float) -> np.ndarray:
    """A skin conductance response: up in 2 s, down over 6 s."""
    since = np.maximum(t_s - onset_s, 0.0)
    shape = np.exp(-since / 6.0) - np.exp(-since / 0.8)
    return height_us * shape / 0.6


def listen(samples: np.ndarray, rate_hz: float, parameters: SkinParameters | None = None) -> list[SkinSecond]:
    tracker = SkinTracker(parameters or SkinParameters())
    tracker.push(0, rate_hz, samples)
    return list(tracker.seconds)


@given(st.floats(0.03, 90.0), st.sampled_from([2.0, 4.0, 15.0, 128.0]))
def test_a_constant_level_is_all_tonic(level_us: float, rate_hz: float):
    for second in listen(np.full(round(10 * rate_hz), level_us), rate_hz):
        assert second.on
        assert second.level_us == pytest.approx(level_us, rel=1e-6)
        assert second.tonic_us == pytest.approx(level_us, rel=1e-6)
        assert second.phasic_us == pytest.approx(0.0, abs=1e-6 * level_us)


@pytest.mark.parametrize("rate_hz", [4.0, 32.0, 128.0])
def test_a_response_is_phasic_and_leaves_the_tonic_part_nearly_alone(rate_hz: float):
    t_s = np.arange(round(90 * rate_hz)) / rate_hz
    seconds = listen(2.0 + response(t_s, 30.0, 0.5), rate_hz)
    assert max(second.phasic_us for second in seconds) == pytest.approx(0.45, abs=0.08)
    assert max(second.tonic_us for second in seconds) < 2.12
    assert abs(seconds[-1].phasic_us) < 0.03


@given(st.floats(0.05, 20.0), st.floats(0.0, 0.02))
def test_parts_add_up_to_the_level(level_us: float, slope: float):
    samples = level_us * (1 + slope * np.arange(200) / 4 + 0.1 * np.sin(np.arange(200) / 7))
    for second in listen(samples, 4.0):
        assert second.tonic_us + second.phasic_us == pytest.approx(second.level_us)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=40), st.integers(0, 10**15))
def test_chunking_changes_nothing(sizes: list[int], t_ns: int):
    rate_hz = 4.0
    samples = 1.0 + np.cumsum(np.random.default_rng(5).normal(0.0, 0.02, 240))
    samples[100:110] = 0.0
    samples[150] = math.nan
    whole = SkinTracker()
    whole.push(t_ns, rate_hz, samples)
    tracker, first = SkinTracker(), 0
    for size in [*sizes, len(samples)]:
        tracker.push(t_ns + round(first * 1e9 / rate_hz), rate_hz, samples[first : first + size])
        first = min(first + size, len(samples))
    assert [repr(second) for second in tracker.seconds] == [repr(second) for second in whole.seconds]


@pytest.mark.parametrize("reading", [0.0, 0.01, -0.4, 150.0, math.nan, math.inf])
def test_electrodes_off_are_known_by_the_first_sample_and_on_by_the_first_of_skin(reading: float):
    tracker = SkinTracker()
    tracker.push(0, 4.0, np.full(20, 0.8))
    assert tracker.on
    tracker.push(5 * SECOND_NS, 4.0, np.array([reading]))
    assert not tracker.on
    tracker.push(5 * SECOND_NS + SECOND_NS // 4, 4.0, np.array([0.8]))
    assert tracker.on
    tracker.push(5 * SECOND_NS + SECOND_NS // 2, 4.0, np.full(8, 0.8))
    said = {second.t_s: second.on for second in tracker.seconds}
    assert said[5] and said[6] and said[7]  # off at 5.0 s, back at 5.25 s: the end of second 6 is skin again


def test_a_second_that_ends_without_contact_says_so_and_contact_starts_without_a_transient():
    samples = np.concatenate([np.full(20, 1.0), np.zeros(20), np.full(20, 3.0)])
    seconds = {second.t_s: second for second in listen(samples, 4.0)}
    assert [t_s for t_s, second in seconds.items() if not second.on] == [6, 7, 8, 9, 10]
    assert all(math.isnan(seconds[t_s].level_us) for t_s in (6, 10))
    assert seconds[11].level_us == pytest.approx(3.0)
    assert seconds[11].phasic_us == pytest.approx(0.0, abs=1e-9)


def test_no_second_in_a_gap_is_said():
    tracker = SkinTracker()
    tracker.push(0, 4.0, np.full(20, 1.0))
    tracker.push(9 * SECOND_NS, 4.0, np.full(20, 1.0))
    assert [second.t_s for second in tracker.seconds] == [1, 2, 3, 4, 10, 11, 12, 13]
    assert tracker.passed_s == 13


@pytest.mark.parametrize("rate_hz", [1.0, 500.0, math.nan])
def test_a_rate_out_of_range_is_refused(rate_hz: float):
    with pytest.raises(InputError, match="samples/s"):
        SkinTracker().push(0, rate_hz, np.ones(3))


@pytest.mark.parametrize("rate_hz", [4.0, 32.0, 128.0])
def test_responses_of_the_last_minute_are_counted_with_their_onsets(rate_hz: float):
    t_s = np.arange(round(180 * rate_hz)) / rate_hz
    onsets_s = [20.0, 32.0, 50.0, 75.0, 140.0]
    samples = 2.0 + 0.002 * t_s + sum(response(t_s, onset_s, 0.08) for onset_s in onsets_s)
    tracker = SkinTracker()
    tracker.push(0, rate_hz, samples)
    assert np.array(tracker.responses.onsets_ns) / 1e9 == pytest.approx(onsets_s, abs=1.0)
    counts = {second.t_s: second.scr_count for second in tracker.seconds}
    assert [counts[at_s] for at_s in (15, 25, 70, 79, 88, 105, 130, 138, 170)] == [0, 1, 3, 4, 3, 2, 1, 0, 1]


def test_noise_below_the_least_response_counts_nothing():
    rng = np.random.default_rng(2)
    assert {second.scr_count for second in listen(1.0 + rng.normal(0.0, 0.002, 2400), 4.0)} == {0}
    assert max(second.scr_count for second in listen(1.0 + rng.normal(0.0, 0.02, 2400), 4.0, SkinParameters(scr_least_us=0.01))) > 5


def test_putting_the_electrodes_on_is_no_response():
    samples = np.concatenate([np.full(40, 0.5), np.zeros(20), np.full(80, 3.0)])
    assert {second.scr_count for second in listen(samples, 4.0)} == {0}


@given(st.lists(st.floats(-1.0, 1.0), max_size=200), st.floats(0.01, 0.5))
def test_a_response_is_a_rise_within_five_seconds(phasic_us: list[float], least_us: float):
    counter = ResponseCounter(least_us)
    for i, value in enumerate(phasic_us):
        counter.step(i * SECOND_NS // 4, value)
    onsets = [round(t_ns * 4 / SECOND_NS) for t_ns in counter.onsets_ns]
    assert onsets == sorted(set(onsets))
    assert bool(onsets) == any(max(phasic_us[i : i + 21]) - low >= least_us for i, low in enumerate(phasic_us))
    for onset in onsets:
        rise = phasic_us[onset : onset + 21]
        assert max(rise) - min(phasic_us[max(onset - 20, 0) : onset + 1]) >= least_us
        assert max(rise) - rise[0] >= 0.49 * least_us


def test_a_slow_drift_is_no_response():
    assert {second.scr_count for second in listen(1.0 + 0.003 * np.arange(2400) / 4, 4.0)} == {0}


@settings(max_examples=40)
@given(
    st.sampled_from([4.0, 15.0, 128.0]),
    st.integers(0, 1000),
    st.lists(st.floats(0.0, 1.0), max_size=12),
    st.lists(st.tuples(st.floats(0.0, 1.0), st.sampled_from([0.0, 200.0, math.nan])), max_size=3),
)
def test_any_cuts_decompose_as_the_whole(rate_hz: float, seed: int, cuts: list[float], off: list[tuple[float, float]]):
    rng = np.random.default_rng(seed)
    count = round(60 * rate_hz)
    t_s = np.arange(count) / rate_hz
    samples = 1.0 + 0.3 * np.sin(t_s / 20) + sum(response(t_s, onset_s, 0.2) for onset_s in rng.uniform(0.0, 60.0, 6))
    for where, reading in off:
        at = round(where * count)
        samples[at : at + round(rate_hz)] = reading
    whole, tracker = SkinTracker(), SkinTracker()
    whole.push(0, rate_hz, samples)
    edges = [0, *sorted(round(cut * count) for cut in cuts), count]
    for first, last in itertools.pairwise(edges):
        tracker.push(round(first * 1e9 / rate_hz), rate_hz, samples[first:last])
    assert [repr(second) for second in tracker.seconds] == [repr(second) for second in whole.seconds]
    assert list(tracker.responses.onsets_ns) == list(whole.responses.onsets_ns)


def test_parameters_of_older_bundles_load():
    stored = {"off_below_us": 0.02, "off_above_us": 100.0, "cutoff_hz": 0.5, "rise_s": 40.0, "fall_s": 8.0}
    assert SkinParameters(**stored) == SkinParameters()
