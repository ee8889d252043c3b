from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InputError
from edge.preprocess.beats import IntervalTracker, PulseParameters, PulseSecond, accept_interval
from edge.preprocess.ppg import PulseTracker

SECOND_NS = 1_000_000_000


def tell(tracker: IntervalTracker, lengths_s: list[float] | np.ndarray, start_s: float = 5.0) -> float:
    """One chunk for each interval, the first beginning at ``start_s``; returns when the last ended."""
    end_s = start_s
    for length_s in lengths_s:
        end_s += float(length_s)
        tracker.push(round(end_s * 1e9), 1.0, np.array([length_s], np.float32))
    return end_s


def listen(lengths_s: list[float] | np.ndarray, start_s: float = 5.0) -> list[PulseSecond]:
    tracker = IntervalTracker()
    tell(tracker, lengths_s, start_s)
    return list(tracker.seconds)


@given(st.floats(40.0, 175.0))
def test_the_heart_rate_is_that_of_the_intervals(heart_rate_bpm: float):
    seconds = listen(np.full(40, 60.0 / heart_rate_bpm))
    assert seconds[-1].heart_rate_bpm == pytest.approx(heart_rate_bpm, abs=0.1)
    assert seconds[-1].quality == pytest.approx(min(1.0, len(seconds) / 10), abs=0.2)
    assert seconds[-1].rmssd_ms == pytest.approx(0.0, abs=0.1)
    assert math.isnan(seconds[-1].amplitude)


def test_rmssd_is_exactly_that_of_the_intervals():
    newest = listen(np.tile([0.80, 0.86], 40))[-1]
    assert newest.rmssd_ms == pytest.approx(60.0, abs=0.01)


def test_no_difference_is_taken_over_a_lost_interval():
    tracker = IntervalTracker()
    end_s = tell(tracker, np.full(20, 0.8))
    tell(tracker, np.full(40, 0.9), start_s=end_s + 0.8)  # one was lost, and the pace is another
    assert tracker.seconds[-1].rmssd_ms == pytest.approx(0.0, abs=0.1)


def test_every_second_is_said_once_and_none_in_a_gap():
    tracker = IntervalTracker()
    tell(tracker, np.full(10, 0.8), start_s=5.2)
    tell(tracker, np.full(10, 0.8), start_s=30.5)
    assert [second.t_s for second in tracker.seconds] == [*range(6, 14), *range(31, 39)]
    assert tracker.passed_s == 38


@pytest.mark.parametrize("heart_rate_bpm", [50, 75, 140])
def test_a_rate_a_second_in_place_of_intervals_is_good_and_has_no_variability(heart_rate_bpm: int):
    tracker = IntervalTracker()
    rng = np.random.default_rng(0)
    for t_s in range(60):
        length_s = 60.0 / (heart_rate_bpm + t_s % 2)
        tracker.push(round((t_s + rng.uniform(0.0, 0.06)) * 1e9), 1.0, np.array([length_s], np.float32))
    newest = tracker.seconds[-1]
    assert newest.heart_rate_bpm == pytest.approx(heart_rate_bpm + 0.5, abs=0.6)
    assert newest.quality > 0.9
    assert math.isnan(newest.rmssd_ms)


def test_an_artefact_does_not_move_the_heart_rate():
    lengths_s = np.full(30, 0.8)
    lengths_s[[20, 25]] = 0.45, 1.55
    newest = listen(lengths_s)[-1]
    assert newest.heart_rate_bpm == pytest.approx(75.0, abs=0.1)
    assert newest.quality < 0.9


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_intervals_together_say_the_same_as_one_by_one(sizes: list[int]):
    lengths_ms = np.random.default_rng(len(sizes)).integers(700, 900, sum(sizes))
    one, other = IntervalTracker(), IntervalTracker()
    ends_ms = 5000 + np.cumsum(lengths_ms)
    for end_ms, length_ms in zip(ends_ms.tolist(), lengths_ms.tolist(), strict=True):
        one.push(end_ms * 1_000_000, 1.0, np.array([length_ms / 1000]))
    first = 0
    for size in sizes:
        other.push(int(ends_ms[first]) * 1_000_000, 1.0, lengths_ms[first : first + size] / 1000)
        first += size
    assert [repr(second) for second in one.seconds] == [repr(second) for second in other.seconds]


@pytest.mark.parametrize("length_s", [0.0, -0.8, math.nan, math.inf])
def test_what_is_no_interval_is_left_out(length_s: float):
    lengths_s = np.full(20, 0.8)
    tracker = IntervalTracker()
    end_s = tell(tracker, lengths_s)
    tracker.push(round(end_s * 1e9) + 1, 1.0, np.array([length_s]))
    tracker.push(round(end_s * 1e9), 1.0, np.array([0.8]))  # ends when the one before did
    tell(tracker, lengths_s, start_s=end_s)
    assert [repr(second) for second in tracker.seconds] == [repr(second) for second in listen(np.full(40, 0.8))]


def test_beats_of_a_wave_and_their_intervals_give_one_heart_rate():
    beats_s = 0.5 + np.cumsum(0.8 + 0.05 * np.sin(np.arange(60) / 4))
    t_s = np.arange(48 * 100) / 100
    wave = np.exp(-(((t_s[:, None] - beats_s) / 0.12) ** 2)).sum(axis=1)
    heard = PulseTracker()
    heard.push(0, 100.0, wave)
    told = {second.t_s: second for second in listen(np.diff(beats_s), start_s=beats_s[0])}
    apart_bpm = [abs(second.heart_rate_bpm - told[second.t_s].heart_rate_bpm) for second in heard.seconds if 15 <= second.t_s <= 45]
    assert max(apart_bpm) < 0.7
    assert heard.seconds[-1].rmssd_ms == pytest.approx(told[heard.seconds[-1].t_s].rmssd_ms, abs=2.5)


def test_intervals_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"shape \(1, 1\)"):
        IntervalTracker().push(0, 1.0, np.ones((1, 1)))


def test_intervals_are_judged_by_range_and_neighbours():
    assert accept_interval(0.8, [0.78, 0.8, 0.82], 0.2)
    assert not accept_interval(1.2, [0.78, 0.8, 0.82, 1.2], 0.2)
    assert not accept_interval(0.2, [0.2, 0.2, 0.2], 0.2)
    assert not accept_interval(2.0, [2.0, 2.0, 2.0], 0.2)


def test_parameters_survive_json():
    assert PulseParameters(**json.loads(json.dumps(dataclasses.asdict(PulseParameters())))) == PulseParameters()
