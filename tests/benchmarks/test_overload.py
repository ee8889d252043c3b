from __future__ import annotations

import dataclasses

from benchmarks.overload import served, summed
from benchmarks.trace import Tick

TICK = Tick(1, 0, "decided", "calm", ("face",), 100.0, 50.0, 10.0, 0, False, (), 0.0)
REPORT = {"cadence_ms": 250, "budget_ms": 200, "session_s": 10.0, "late_encodings": {}, "dropped_chunks": {}}


def ticks(*changes: tuple[int, dict]) -> list[Tick]:
    return [dataclasses.replace(TICK, number=number, **change) for number, change in changes]


def test_no_decision_counts_as_served_only_where_the_session_has_nobody():
    usual = {"1": "no decision", "2": "decided", "3": "decided"}
    assert served({"1": "no decision", "2": "decided", "3": "no decision"}, usual, 4) == {"count": 2, "share": 0.5}


def test_a_tick_slept_through_is_a_miss_and_breaks_the_beat():
    said = summed(ticks((1, {}), (4, {"skipped": 2, "missed": True, "response_ms": 300.0})), [], REPORT, 0.5)
    assert (said["due"], said["misses"], said["cadence_kept"]) == (4, 3, 0.5)
    assert said["phases"]["slow"]["decisions"] == 1 and said["phases"]["after"]["late"] == 1


def test_recovery_is_counted_from_the_end_of_the_slowness():
    events = [
        {"t_s": 1.0, "event": "degraded", "detail": ""},
        {"t_s": 2.0, "event": "degraded", "detail": ""},
        {"t_s": 14.0, "event": "restored", "detail": ""},
        {"t_s": 0.0, "event": "plan", "detail": ""},
    ]
    said = summed(ticks((1, {})), events, REPORT, 4.0)
    assert said["recovery"] == {"restored_after_s": [10.0], "steps_not_yet_back": 1}
    assert [event["event"] for event in said["events"]] == ["degraded", "degraded", "restored"]


def test_modalities_that_were_left_are_shares_of_the_ticks():
    said = summed(ticks((1, {}), (2, {"present": ("face", "speech")})), [], REPORT, 10.0)
    assert said["phases"]["slow"]["present"] == {"face": 1.0, "speech": 0.5, "physiology": 0.0}
