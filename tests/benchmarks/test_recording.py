from __future__ import annotations

import itertools

import numpy as np
from tiny import Recording

from benchmarks.recording import Looped, Spooled, spool
from edge.sensors.replay import merged


def lesson(duration_s: float = 2.0) -> Recording:
    return Recording(duration_s, video=lambda t: 0.2, audio=lambda t: t, ppg=lambda t: 0.4 if t < 1 else None)


def test_what_was_spooled_is_read_back_the_same(tmp_path):
    spool(lesson(), tmp_path)
    again = Spooled(tmp_path)
    assert again.duration_ns == 2_000_000_000 and set(again.tracks) == {"video", "audio", "ppg"}
    for first, second in zip(merged(lesson()), merged(again), strict=True):
        assert (first.track, first.t_ns, first.rate_hz) == (second.track, second.t_ns, second.rate_hz)
        assert first.samples.dtype == second.samples.dtype and np.array_equal(first.samples, second.samples)


def test_it_can_be_read_by_several_at_once(tmp_path):
    spool(lesson(), tmp_path)
    again = Spooled(tmp_path)
    for one, other in zip(again.chunks("audio"), again.chunks("audio"), strict=True):
        assert np.array_equal(one.samples, other.samples)


def test_a_loop_goes_on_with_rising_times_and_never_overlaps():
    looped = Looped(lesson(), 7_000_000_000)
    for track in looped.tracks:
        chunks = list(looped.chunks(track))
        assert all(after.t_ns > before.end_ns for before, after in itertools.pairwise(chunks))
        assert chunks[-1].end_ns <= 7_000_000_000
    assert max(chunk.end_ns for chunk in looped.chunks("audio")) > 6_800_000_000
    assert len(list(looped.chunks("video"))) == 29  # four a second, and the one at 7 s


def test_a_loop_shorter_than_the_recording_is_its_beginning():
    assert [chunk.t_ns for chunk in Looped(lesson(), 500_000_000).chunks("video")] == [0, 250_000_000, 500_000_000]
