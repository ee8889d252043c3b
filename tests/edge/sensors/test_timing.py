from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sensors.timing import ChipClock, EvenGrid, cubic

SECOND_NS = 1_000_000_000


def watched(true_hz: float, seconds: float, *, nominal_hz: float = 100.0, begin_ns: int = 0, seed: int = 0) -> ChipClock:
    """A clock that was shown the whole counts of a chip at about twelve times a second."""
    clock, rng, t_ns = ChipClock(nominal_hz), np.random.default_rng(seed), begin_ns
    clock.restart(begin_ns, 0)
    while t_ns < begin_ns + seconds * 1e9:
        t_ns += int(rng.uniform(70e6, 95e6))
        clock.observe(t_ns, int(true_hz * (t_ns - begin_ns) / 1e9))
    return clock


@settings(max_examples=30)
@given(st.floats(95.0, 105.0), st.integers(0, 10**15), st.integers(0, 1000))
def test_rate_and_count_are_found_from_whole_counts(true_hz: float, begin_ns: int, seed: int):
    clock = watched(true_hz, 20.0, begin_ns=begin_ns, seed=seed)
    assert clock.rate_hz == pytest.approx(true_hz, rel=5e-4)
    t_ns = begin_ns + 21 * SECOND_NS
    assert clock.count_at(t_ns) == pytest.approx(true_hz * 21, abs=0.25)
    assert abs(clock.count_at(t_ns) - true_hz * 21) < 5 * clock.uncertainty_at(t_ns)


def test_time_and_count_are_inverse():
    clock = watched(103.0, 10.0)
    for count in (0.0, 12.5, 990.25, 5000.0):
        assert clock.count_at(clock.time_of(count)) == pytest.approx(count, abs=1e-6)
    times_ns = np.array([0, 5 * SECOND_NS, 11 * SECOND_NS])
    assert clock.counts_at(times_ns) == pytest.approx([clock.count_at(int(t_ns)) for t_ns in times_ns])


def test_it_grows_unsure_when_nothing_is_seen():
    clock = watched(101.0, 30.0)
    sd = [clock.uncertainty_at((30 + ahead) * SECOND_NS) for ahead in (0, 3, 60, 3600)]
    assert sd == sorted(sd) and sd[0] < 0.1 and sd[1] < 0.12 and sd[3] > 1.0


def test_a_doubtful_reading_moves_it_less():
    sharp, vague = watched(100.0, 5.0), watched(100.0, 5.0)
    before = sharp.count_at(6 * SECOND_NS)
    sharp.observe(6 * SECOND_NS, 605)
    vague.observe(6 * SECOND_NS, 605, doubt_ns=SECOND_NS)
    assert sharp.count_at(6 * SECOND_NS) - before > 10 * abs(vague.count_at(6 * SECOND_NS) - before) > 0


def test_a_restart_keeps_the_rate_and_another_chip_does_not():
    clock = watched(104.0, 20.0)
    clock.restart(100 * SECOND_NS, 5000)
    assert clock.count_at(101 * SECOND_NS) == pytest.approx(5104, abs=0.2)
    clock.forget()
    assert clock.rate_hz == 100.0


@given(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_the_cubic_is_exact_for_parabolas_and_goes_through_its_samples(a: float, b: float, c: float):
    x = np.arange(12.0)
    samples = a + b * x + c * x * x
    at = np.linspace(1.0, 10.0, 57)
    assert cubic(samples, at) == pytest.approx(a + b * at + c * at * at, abs=1e-9 * (1 + np.abs(samples).max()))
    assert cubic(samples, x) == pytest.approx(samples)
    assert cubic(samples, np.array([-2.0, 13.5])) == pytest.approx(samples[[0, -1]])


@settings(max_examples=40)
@given(
    pieces=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    true_hz=st.floats(95.0, 105.0),
    gaps=st.lists(st.tuples(st.integers(0, 39), st.integers(1, 300)), max_size=3),
)
def test_every_place_of_the_grid_is_filled_once_and_only_where_samples_are(pieces, true_hz, gaps):
    clock = ChipClock(true_hz)
    clock.restart(0, 0)
    grid, first, runs, spans = EvenGrid(100.0, delay=0.375, run=25), 0, [], []
    for number, length in enumerate(pieces):
        first += sum(lost for at, lost in gaps if at == number)
        times_s = (first + np.arange(length) + 1 - 0.375) / true_hz
        spans.append((times_s[0], times_s[-1]))
        runs += grid.push(first, 7.0 + 3.0 * times_s, clock)
        first += length
    runs += grid.cut(clock)
    assert all(1 <= len(samples) <= 25 for _, samples in runs)
    times_s = np.concatenate([t_ns / 1e9 + np.arange(len(samples)) / 100.0 for t_ns, samples in runs])
    values = np.concatenate([samples for _, samples in runs])
    assert (np.diff(times_s) > 0.0099).all()
    places = (times_s - times_s[0]) * 100.0
    assert places == pytest.approx(np.rint(places), abs=1e-4), "one grid throughout, whatever the gaps"
    assert values == pytest.approx(7.0 + 3.0 * times_s, abs=0.6 * 3.0 / 95.0)
    for t_s in times_s:
        assert any(a - 0.0106 <= t_s <= b + 0.0106 for a, b in spans)
    assert len(times_s) == pytest.approx(sum(pieces) / true_hz * 100.0, abs=2 + 2 * len(gaps))


def test_a_cut_without_samples_gives_nothing():
    grid, clock = EvenGrid(100.0, delay=0.0, run=25), ChipClock(100.0)
    assert grid.cut(clock) == []
    grid.push(0, np.ones(10), clock)
    assert grid.cut(clock)
    assert grid.cut(clock) == []
