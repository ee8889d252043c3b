from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.scheduler import MS
from edge.inference.windows import Windows
from edge.types import Embedding

STEP, STEPS, MAX_AGE = 100, 5, 250


def windows(max_age_ms: int = MAX_AGE) -> Windows:
    return Windows({"face": 1, "speech": 1}, steps=STEPS, step_ns=STEP * MS, max_age_ns={"face": max_age_ms * MS})


def embedding(t_ms: float, value: float) -> Embedding:
    return Embedding("face", round(t_ms * MS), np.array([value], np.float32), 1.0)


def steps(ring: Windows, tick_ms: float) -> list[float | None]:
    """What stands at each step, oldest first; None for nothing."""
    values, here = ring.at(round(tick_ms * MS), "face")
    assert values.shape == (STEPS, 1) and values.dtype == np.float32 and not values[~here].any()
    return [float(value) if there else None for value, there in zip(values[:, 0], here, strict=True)]


def test_a_step_takes_what_had_been_captured_by_then_however_late_it_came():
    ring = windows()
    for t_ms in range(0, 1000, 100):  # captured at 0, 100, ..., and known 60 ms later
        ring.note((t_ms + 60) * MS, "face", embedding(t_ms, t_ms))
    assert steps(ring, 900) == [500, 600, 700, 800, 900]
    assert steps(ring, 975) == [500, 600, 700, 800, 900]


def test_the_tick_takes_what_came_before_it_was_decided_though_captured_after_it():
    ring = windows()
    ring.note(995 * MS, "face", embedding(900, 1))
    ring.note(1010 * MS, "face", embedding(1003, 2))
    assert steps(ring, 1000) == [None, None, None, 1, 2]


def test_before_the_first_there_is_nothing_and_modalities_are_apart():
    ring = windows()
    ring.note(1000 * MS, "face", embedding(950, 7))
    assert steps(ring, 1000) == [None, None, None, None, 7]
    assert not ring.at(1000 * MS, "speech")[1].any()


def test_what_is_said_holds_until_it_is_stale():
    ring = windows()
    ring.note(0, "face", embedding(0, 3))
    assert steps(ring, 400) == [3, 3, 3, None, None]
    assert steps(windows(), 400) == [None] * STEPS


def test_an_absence_is_a_hole_and_what_comes_back_counts_from_then():
    ring, same = windows(10_000), embedding(0, 1)
    ring.note(0, "face", same)
    ring.note(150 * MS, "face", None)
    ring.note(350 * MS, "face", same)
    assert steps(ring, 400) == [1, 1, None, None, 1]


def test_forgetting_takes_what_was_before_or_everything():
    ring = windows(10_000)
    ring.note(0, "face", embedding(0, 1))
    ring.note(300 * MS, "face", embedding(300, 2))
    ring.forget(200 * MS)
    assert steps(ring, 400) == [None, None, None, 2, 2]
    ring.forget()
    assert steps(ring, 400) == [None] * STEPS


def test_memory_does_not_grow_with_the_length_of_a_run():
    ring = windows()
    for t_ms in range(0, 100_000, 10):
        ring.note(t_ms * MS, "face", embedding(t_ms, t_ms))
    assert len(ring._said["face"]) <= STEP * STEPS / 10 + 2


@given(st.lists(st.tuples(st.integers(1, 300), st.sampled_from(["new", "same", "absent"])), max_size=30), st.integers(0, 300))
def test_it_agrees_with_the_whole_story_told_from_the_beginning(story, wait_ms):
    ring, now_ms, told, last = windows(), 0, [], None
    for number, (gap_ms, kind) in enumerate(story):
        now_ms += gap_ms
        said = None if kind == "absent" else last if kind == "same" and last is not None else embedding(now_ms, number)
        ring.note(now_ms * MS, "face", said)
        told.append((now_ms, said))
        last = said if said is not None else last
    tick_ms = now_ms + wait_ms
    expected = []
    for step_ms in range(tick_ms - STEP * (STEPS - 1), tick_ms + 1, STEP):
        said = next((said for t_ms, said in reversed(told) if t_ms <= step_ms), None)
        fresh = said is not None and step_ms - said.end_ns / MS <= MAX_AGE
        expected.append(float(said.vector[0]) if fresh else None)
    assert steps(ring, tick_ms) == expected


def test_no_age_is_too_old_where_none_is_said():
    ring = Windows({"face": 1}, steps=2, step_ns=MS, max_age_ns={})
    ring.note(0, "face", embedding(0, 1))
    assert ring.at(10**15, "face")[1].tolist() == [True, True]


@pytest.mark.parametrize("step_ms", [1, 33.4])
def test_steps_finer_than_what_comes_repeat_it(step_ms):
    ring = Windows({"face": 1}, steps=3, step_ns=round(step_ms * MS), max_age_ns={})
    ring.note(0, "face", embedding(0, 1))
    ring.note(100 * MS, "face", embedding(100, 2))
    assert ring.at(100 * MS, "face")[0][:, 0].tolist() == [1, 1, 2]
