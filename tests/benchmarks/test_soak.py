from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from tiny import Recording, bundle, compose

from benchmarks.harness import Vitals
from benchmarks.recording import Looped
from benchmarks.soak import allocated, followed, in_use, line_through, slope_of
from edge.clock import ManualClock
from edge.runtime import Runtime
from edge.sensors.replay import Replay


def looks(*mib: float, descriptors: int = 7) -> list[Vitals]:
    return [Vitals(float(i), one, descriptors + i, 1) for i, one in enumerate(mib)]


def test_the_slope_is_that_of_the_line():
    assert slope_of([0, 1, 2, 3], [5, 7, 9, 11]) == pytest.approx(2)
    assert slope_of([1], [5]) == 0 and slope_of([1, 1], [5, 6]) == 0


def test_what_is_allocated_while_warming_up_is_no_leak():
    hours = [i / 10 for i in range(20)]
    said = line_through(hours, looks(*[30.0, 45.0, 58.0, *[60.0] * 17]), 0.3)
    assert said["slope_mib_per_h"] == 0 and said["growth_mib"] == 0 and said["series"][0] == [0.0, 30.0]


def test_a_leak_has_its_slope_and_growth():
    hours = [i / 10 for i in range(40)]
    said = line_through(hours, looks(*[50 + 3 * hour for hour in hours]), 0.5)
    assert said["slope_mib_per_h"] == pytest.approx(3, abs=0.01) and 8 < said["growth_mib"] < 9.5
    assert said["descriptors"] == [7 + 5, 7 + 39]
    assert max(map(abs, said["noise"])) < 0.1


def test_what_is_allocated_is_told_apart_from_gaps():
    before, kept = allocated(), [bytearray(400_000) for _ in range(8)]
    after = allocated()
    assert math.isnan(before[0]) or (2.9 < after[0] - before[0] < 4 and len(kept) == 8)
    looks = np.array([[hour / 10, 60.0, 4, 1, 10 + (hour >= 5), 1000.0] for hour in range(10)])
    assert in_use(looks, 0.0) == {"heap_mib": [10.0, 11.0], "python_blocks": [1000, 1000]}


def test_a_long_run_goes_through_the_session_again_and_again():
    lesson = Recording(5.0, video=lambda t: 0.2, audio=lambda t: 1.0, ppg=lambda t: 0.4)
    source = functools.partial(Replay, Looped(lesson, 60_000_000_000), ManualClock())
    said = followed(Runtime(bundle(), [source], fast=True, compose=compose), 250_000_000, lesson.duration_ns, 60_000_000_000)
    assert (said["decisions"], said["rounds"], said["compute_ms"]["count"]) == (240, 12, 240)
    heap, blocks = said["in_use"]["heap_mib"], said["in_use"]["python_blocks"]
    assert (heap is None or abs(heap[1] - heap[0]) < 1) and abs(blocks[1] - blocks[0]) < 2000
    assert len(said["series"]) > 100 and said["threads"] == [said["threads"][0]] * 2 and said["drift"]["ratio"] > 0
