from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.outputs.histogram import Histogram


@given(st.lists(st.floats(1, 1e12), min_size=1, max_size=200), st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_right_to_half_a_percent_and_the_largest_exactly(values, percent):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.0051)
    assert histogram.largest == max(values) and histogram.count == len(values)


def test_with_no_values_all_is_zero_and_memory_does_not_grow_with_the_count():
    histogram = Histogram()
    assert histogram.percentile(50) == 0.0
    for i in range(20_000):
        histogram.add(1e6 * (1 + i % 50))
    assert len(histogram._buckets) <= 50
    histogram.add(0)
    assert histogram.percentile(0.001) <= 1.01
