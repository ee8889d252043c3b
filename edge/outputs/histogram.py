"""Percentiles of a stream in constant memory, for runs of any length."""

from __future__ import annotations

import math

_STEP = math.log(1.01)


class Histogram:
    """Counts positive values in buckets 1 % wide: percentiles are right to 0.5 %, the largest value exactly (the idea of HdrHistogram).

    Values below 1 (here: nanoseconds) count as 1.
    """

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self.total = 0.0
        self._buckets: dict[int, int] = {}

    def add(self, value: float) -> None:
        bucket = int(math.log(max(value, 1.0)) / _STEP)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)

    def percentile(self, percent: float) -> float:
        """The least value that ``percent`` of the values do not exceed (nearest rank); 0 with no values."""
        rank = max(1, math.ceil(percent / 100 * self.count))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return min(math.exp((bucket + 0.5) * _STEP), self.largest)
        return 0.0
