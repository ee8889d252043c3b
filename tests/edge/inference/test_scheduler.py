from __future__ import annotations

import pytest

from edge.errors import ConfigError
from edge.inference.scheduler import MS, NEVER, Budget, Cost, Deadline, Ticks


@pytest.mark.parametrize(("cadence_ms", "budget_ms"), [(250, 0), (250, 251), (0, 0), (-5, -5)])
def test_a_budget_that_cannot_be_is_refused(cadence_ms, budget_ms):
    with pytest.raises(ConfigError, match="budget is above 0 and at most the cadence"):
        Budget(cadence_ms, budget_ms)


def test_a_deadline_fits_what_is_done_by_then_and_no_more():
    deadline = Budget(250, 200).deadline(1000 * MS)
    assert deadline == Deadline(1200 * MS)
    assert deadline.fits(100 * MS, 1100 * MS)
    assert not deadline.fits(100 * MS + 1, 1100 * MS)
    assert not deadline.sooner_by(1).fits(100 * MS, 1100 * MS)
    assert NEVER.sooner_by(5).fits(1e30, 10**18)


def test_a_cost_follows_a_change_of_load_and_lies_above_its_mean():
    cost = Cost(5.0)
    assert cost.expected_ns(0) == 5.0
    for _ in range(40):
        cost.add(100.0, 0)
    assert cost.expected_ns(0) == pytest.approx(100, rel=0.01)
    for i in range(60):
        cost.add(300.0 + 20 * (i % 2), 0)
    assert 310 < cost.expected_ns(0) < 340


@pytest.mark.parametrize("measured", [True, False])
def test_what_was_too_slow_is_tried_again_after_a_while_and_later_the_slower_it_was(measured):
    def waits_ns(taken_ms: float) -> int:
        cost, now_ns = Cost(taken_ms * MS), 0
        if measured:
            cost.add(taken_ms * MS, 0)
        while not Deadline(now_ns + 400 * MS).fits(cost.expected_ns(now_ns), now_ns):
            now_ns += 250 * MS
        return now_ns

    assert waits_ns(100) == 0
    assert 10_000 * MS < waits_ns(1000) < waits_ns(4000) < 200_000 * MS


def test_what_was_due_before_the_run_was_under_way_is_left_out_uncounted():
    ticks = Ticks(1000, 100)
    ticks.begin_after(1099)
    assert ticks.next_ns == 1100
    ticks.begin_after(1350)
    assert ticks.take_latest(1420) == (1400, 0)


def test_ticks_keep_their_beat_and_count_those_slept_through():
    ticks = Ticks(1000, 100)
    assert [ticks.take(), ticks.take()] == [1100, 1200]
    assert ticks.coming_ns(1250) == 1300
    assert ticks.take_latest(1310) == (1300, 0)
    assert ticks.coming_ns(1790) == 1700
    assert ticks.take_latest(1790) == (1700, 3)
    assert ticks.next_ns == 1800
