"""Time stamps that the kernel took, brought into the time base of the injected clock."""

from __future__ import annotations

import collections.abc
import time

from edge.clock import Clock

MS = 1_000_000
TIGHT_NS = 50_000
"""A reading of both clocks this close together is good enough; a wider one was interrupted, and is tried again."""
_TRIES = 3
EARLY_NS = 5 * MS
"""How far in the future a stamp may seem to lie."""
LATE_NS = 2_000 * MS
"""Older than this is no stamp of a frame that has just arrived: exposure, transfer and processing take less."""


class Offset:
    """What is to be added to a kernel clock's time to get the injected clock's.

    Reading the injected clock before and after the kernel's bounds the offset: it lies within ``[before - kernel, after - kernel]``.
    The bounds of all readings are intersected, so the offset is steady and becomes more exact; bounds that exclude what was known
    show that one clock jumped (``CLOCK_BOOTTIME`` goes on while the machine is suspended, ``CLOCK_MONOTONIC`` does not), and replace it.
    """

    def __init__(self, clock: Clock, clock_id: int, kernel_now_ns: collections.abc.Callable[[int], int]):
        self._clock, self._id, self._kernel_now_ns = clock, clock_id, kernel_now_ns
        self._low_ns: int | None = None
        self._high_ns = 0

    def measure_ns(self) -> int:
        """The offset now, in nanoseconds."""
        low, high = self._bounds()
        for _ in range(_TRIES - 1):
            if high - low <= TIGHT_NS:
                break
            low, high = min((low, high), self._bounds(), key=lambda bounds: bounds[1] - bounds[0])
        if self._low_ns is not None and max(low, self._low_ns) <= min(high, self._high_ns):
            low, high = max(low, self._low_ns), min(high, self._high_ns)
        self._low_ns, self._high_ns = low, high
        return (low + high) // 2

    def _bounds(self) -> tuple[int, int]:
        before = self._clock.now_ns()
        kernel = self._kernel_now_ns(self._id)
        after = self._clock.now_ns()
        return before - kernel, after - kernel


class KernelStamps:
    """Converts the stamps of frames as they arrive.

    libcamera documents ``SensorTimestamp`` as ``CLOCK_BOOTTIME``, but pipelines pass on V4L2 stamps, which are ``CLOCK_MONOTONIC``; the
    two differ by the time that the machine was suspended. So each stamp is taken to be of the clock by which it is youngest and not in
    the future. A stamp that is unbelievable by every clock counts in ``unusable`` and the frame is stamped with its arrival.

    Args:
        clock: the injected clock, whose time base is wanted.
        clock_ids: kernel clocks that the stamps may be of, such as ``time.CLOCK_MONOTONIC``.
        kernel_now_ns: reads a kernel clock; for tests.
    """

    def __init__(self, clock: Clock, *clock_ids: int, kernel_now_ns: collections.abc.Callable[[int], int] = time.clock_gettime_ns):
        self.unusable = 0
        """Stamps that could not be."""
        self._clock = clock
        self._offsets = [Offset(clock, clock_id, kernel_now_ns) for clock_id in clock_ids]

    def convert(self, stamp_ns: int | None) -> int:
        """The stamp of a frame that has just arrived, in nanoseconds of the injected clock; None for a frame that has none."""
        times_ns = [] if stamp_ns is None else [stamp_ns + offset.measure_ns() for offset in self._offsets]
        now_ns = self._clock.now_ns()
        believable = [t_ns for t_ns in times_ns if now_ns - LATE_NS <= t_ns <= now_ns + EARLY_NS]
        if not believable:
            self.unusable += 1
            return now_ns
        return min(now_ns, max(believable))
