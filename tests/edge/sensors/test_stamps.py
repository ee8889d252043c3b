"""Kernel time stamps in the time base of the injected clock."""

import time

import numpy as np
import pytest

from edge.clock import ManualClock, SystemClock
from edge.sensors.stamps import KernelStamps

MS = 1_000_000
SECOND_NS = 1_000_000_000


class Kernel:
    """Kernel clocks beside an injected one; each reading takes up to ``reading_ns``, of which the injected clock sees all."""

    def __init__(self, clock: ManualClock, reading_ns: int = 0, seed: int = 0):
        self.clock, self.suspended_ns, self.drift_ns = clock, 0, 0
        self._reading_ns, self._random = reading_ns, np.random.default_rng(seed)

    def now_ns(self, clock_id: int) -> int:
        self._pass()
        now_ns = self.true_ns(clock_id)
        self._pass()
        return now_ns

    def true_ns(self, clock_id: int) -> int:
        monotonic_ns = self.clock.now_ns() + 5_000 * SECOND_NS
        return monotonic_ns + self.suspended_ns if clock_id == time.CLOCK_BOOTTIME else monotonic_ns

    def _pass(self) -> None:
        if self._reading_ns:
            self.clock.advance_to(self.clock.now_ns() + int(self._random.integers(0, self._reading_ns)))


def rig(*clock_ids: int, reading_ns: int = 0) -> tuple[ManualClock, Kernel, KernelStamps]:
    clock = ManualClock(40 * SECOND_NS)
    kernel = Kernel(clock, reading_ns)
    return clock, kernel, KernelStamps(clock, *clock_ids, kernel_now_ns=kernel.now_ns)


@pytest.mark.parametrize("clock_id", [time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME])
@pytest.mark.parametrize("suspended_s", [0, 3600])
def test_a_stamp_is_converted_whichever_clock_it_is_of_and_however_long_the_machine_slept(clock_id, suspended_s):
    clock, kernel, stamps = rig(time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC)
    kernel.suspended_ns = suspended_s * SECOND_NS
    stamp_ns = kernel.true_ns(clock_id)
    clock.advance_to(clock.now_ns() + 30 * MS)
    assert stamps.convert(stamp_ns) == 40 * SECOND_NS
    assert stamps.unusable == 0


def test_the_conversion_follows_when_the_machine_sleeps_while_it_runs():
    clock, kernel, stamps = rig(time.CLOCK_BOOTTIME)
    for slept_s in (0, 7, 1000):
        kernel.suspended_ns = slept_s * SECOND_NS
        taken_ns, stamp_ns = clock.now_ns(), kernel.true_ns(time.CLOCK_BOOTTIME)
        clock.advance_to(clock.now_ns() + 20 * MS)
        assert stamps.convert(stamp_ns) == taken_ns


def test_interrupted_readings_of_the_clocks_make_no_jitter():
    clock, kernel, stamps = rig(time.CLOCK_MONOTONIC, reading_ns=3 * MS)
    errors = []
    for _ in range(200):
        taken_ns, stamp_ns = clock.now_ns(), kernel.true_ns(time.CLOCK_MONOTONIC)
        clock.advance_to(clock.now_ns() + 40 * MS)
        errors.append(stamps.convert(stamp_ns) - taken_ns)
    assert np.abs(errors[:20]).max() < 3 * MS
    assert np.abs(errors[100:]).max() < MS / 2
    assert np.ptp(errors[100:]) < MS / 4


def test_frames_without_a_believable_stamp_are_stamped_with_their_arrival():
    clock, kernel, stamps = rig(time.CLOCK_MONOTONIC)
    now_ns = clock.now_ns()
    true_ns = kernel.true_ns(time.CLOCK_MONOTONIC)
    strange = [None, 0, true_ns - 3 * SECOND_NS, true_ns + 6 * MS, true_ns + 1_700_000_000 * SECOND_NS]
    assert [stamps.convert(stamp_ns) for stamp_ns in strange] == [now_ns] * 5
    assert stamps.unusable == 5


def test_no_frame_is_from_the_future():
    clock, kernel, stamps = rig(time.CLOCK_MONOTONIC)
    assert stamps.convert(kernel.true_ns(time.CLOCK_MONOTONIC) + 2 * MS) == clock.now_ns()
    assert stamps.unusable == 0


def test_on_this_machine_the_kernels_clocks_and_the_systems_are_the_same_within_a_millisecond():
    clock = SystemClock()
    stamps = KernelStamps(clock, time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC)
    for clock_id in (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC):
        before_ns, stamp_ns, after_ns = clock.now_ns(), time.clock_gettime_ns(clock_id), clock.now_ns()
        assert before_ns - MS <= stamps.convert(stamp_ns) <= after_ns + MS
    assert stamps.unusable == 0
