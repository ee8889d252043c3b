from __future__ import annotations

import logging

import numpy as np
import pytest
from tiny import Encoder, branch

from edge.clock import ManualClock
from edge.errors import InferenceError
from edge.inference.scheduler import MS, NEVER, Deadline
from edge.types import Absence, Chunk, Embedding


def frame(t_ms: float, value: float = 1.0) -> Chunk:
    return Chunk("video", round(t_ms * MS), 4.0, np.full((1, 2, 2), value, np.float32))


def reason(said: Embedding | Absence) -> str:
    return said.reason if isinstance(said, Absence) else "present"


def test_a_window_is_encoded_once_and_its_embedding_kept():
    encoder = Encoder()
    face = branch(encoder=encoder)
    face.push(frame(0))
    for t_ms in range(0, 500, 50):
        face.update(t_ms * MS, NEVER)
    assert encoder.runs == face.encoded == 1
    assert reason(face.at(500 * MS)) == "present"


def test_before_anything_came_it_is_lost_and_says_so():
    said = branch().at(250 * MS)
    assert reason(said) == "lost" and said.detail == "nothing yet"


def test_an_embedding_too_old_is_stale_and_a_silent_source_is_lost():
    face = branch()
    face.push(frame(0))
    face.update(0, NEVER)
    assert [reason(face.at(t * MS)) for t in (600, 601, 1000, 1001)] == ["present", "stale", "stale", "lost"]


def test_silence_counts_from_the_begin_of_the_run():
    face = branch()
    face.begin(10_000 * MS)
    assert face.at(10_900 * MS).detail == "nothing yet"
    assert face.at(11_100 * MS).detail == "nothing from video"


def test_what_the_front_says_is_what_is_absent_until_it_has_a_window_again():
    face = branch()
    for t_ms, value, expected in ((0, 1, "present"), (250, 0, "lost"), (500, 1, "present")):
        face.push(frame(t_ms, value))
        face.update(t_ms * MS, NEVER)
        assert reason(face.at(t_ms * MS)) == expected


def test_what_does_not_fit_is_late_and_the_last_embedding_serves_until_it_is_too_old():
    clock = ManualClock()
    encoder = Encoder(clock, takes_ms=100)
    face = branch(encoder=encoder, clock=clock)
    face.push(frame(0))
    face.update(0, NEVER)
    face.push(frame(250))
    clock.advance_to(250 * MS)
    face.update(250 * MS, Deadline(300 * MS))
    assert (encoder.runs, face.late) == (1, 1)
    assert reason(face.at(500 * MS)) == "present"
    assert reason(face.at(700 * MS)) == "late"
    face.update(700 * MS, NEVER)
    assert reason(face.at(700 * MS)) == "present", "the frame was still there, and there was time in the end"


def test_a_first_window_without_time_is_late_not_lost():
    face = branch(expected_ms=50)
    face.push(frame(0))
    face.update(0, Deadline(10 * MS))
    assert reason(face.at(0)) == "late"


@pytest.mark.parametrize("answer", [float("nan"), InferenceError("face: invoke failed")])
def test_nan_and_failures_make_it_absent_are_counted_and_warned_of_once(answer, caplog):
    encoder = Encoder()
    face = branch(encoder=encoder)
    encoder.answer = answer
    with caplog.at_level(logging.WARNING, "affectkit"):
        for t_ms in (0, 250, 500):
            face.push(frame(t_ms))
            face.update(t_ms * MS, NEVER)
            assert reason(face.at(t_ms * MS)) == "noisy"
    assert face.faults == 3
    assert len(caplog.records) == 1 and "\n" not in caplog.records[0].getMessage()
    encoder.answer = None
    face.push(frame(750))
    face.update(750 * MS, NEVER)
    assert reason(face.at(750 * MS)) == "present"


def test_a_source_that_stopped_is_lost_at_once_and_present_when_it_is_back():
    face = branch()
    face.push(frame(0))
    face.update(0, NEVER)
    face.source_lost("video", "unplugged")
    assert face.at(10 * MS) == Absence("face", "lost", "unplugged")
    face.push(frame(250))
    face.update(250 * MS, NEVER)
    assert reason(face.at(250 * MS)) == "present"


def test_the_lag_is_from_the_arrival_of_a_chunk_to_its_embedding():
    clock = ManualClock()
    face = branch(encoder=Encoder(clock, takes_ms=30), clock=clock)
    clock.advance_to(80 * MS)
    face.push(frame(70))
    face.update(80 * MS, NEVER)
    assert face.take_lag_ns() == 40 * MS
    assert face.take_lag_ns() == 0
