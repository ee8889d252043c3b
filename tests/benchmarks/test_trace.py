from __future__ import annotations

import numpy as np
from tiny import OPENING, decision, timing

from benchmarks.trace import Collector, Slowed, Slowness, Spans
from edge.clock import ManualClock
from edge.types import Event


class Stage:
    name = "face"

    def __init__(self, clock: ManualClock | None = None, takes_ns: int = 0):
        self.clock, self.takes_ns = clock, takes_ns

    def details(self):
        return "details"

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        if self.clock is not None:
            self.clock.advance_to(self.clock.now_ns() + self.takes_ns)
        return {"embedding": arrays["window"] * 2}


def test_a_slowed_stage_answers_no_sooner_than_its_time_and_the_slowness_ends():
    clock = ManualClock(1000)
    slowness = Slowness(3.0, 1_000_000, clock.now_ns)
    slow = Slowed(Stage(clock, 10), 100_000, slowness, burn=lambda: clock.advance_to(clock.now_ns() + 1000))
    taken = []
    for _ in range(5):
        began = clock.now_ns()
        assert slow.run(window=np.ones(2))["embedding"].tolist() == [2, 2]
        taken.append(clock.now_ns() - began)
    assert all(300_000 <= one < 302_000 for one in taken[:4]) and 100_000 <= taken[4] < 102_000
    assert slow.details() == "details" and slow.name == "face"


def test_a_stage_slower_than_that_anyway_is_not_held_up():
    clock = ManualClock()
    slow = Slowed(Stage(clock, 500_000), 100_000, Slowness(2.0, 10**9, clock.now_ns), burn=lambda: clock.advance_to(clock.now_ns() + 1))
    slow.run(window=np.ones(1))
    assert clock.now_ns() == 500_000


def test_spans_tell_what_ran_in_a_time_and_for_how_long():
    spans = Spans()
    stage = spans.traced(Stage())
    assert stage.run(window=np.ones(1))["embedding"][0] == 2 and len(spans.begin_ns) == 1
    spans.begin_ns[0], spans.end_ns[0] = 1000, 3000
    assert spans.between(2000, 9000) == [("face", 1000, 3000)] and spans.between(3000, 9000) == []
    assert spans.busy_s() == {"face": 2e-6}


def test_a_collector_keeps_ticks_by_their_number_and_events():
    sink = Collector()
    sink.open(OPENING)
    sink.note(Event(250_000_000, "degraded", "less"))
    sink.give(decision(500, absent={"face": "late"}), timing(3.0, skipped=1))
    (tick,) = sink.ticks
    assert (tick.number, tick.present, tick.response_ms, tick.skipped) == (2, ("speech", "physiology"), 3.0, 1)
    assert sink.told() == [{"t_s": 0.25, "event": "degraded", "detail": "less"}]
