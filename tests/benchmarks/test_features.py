from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import features
from edge.errors import InputError


def spend(rounds: int) -> None:
    values = np.ones(1000)
    for _ in range(rounds):
        values = np.sort(values)


def test_a_cost_is_by_the_second_of_session_and_has_a_profile():
    once = features.measured("once", 1.0, lambda: lambda: spend(3000))
    spread = features.measured("spread", 10.0, lambda: lambda: spend(3000))
    assert 4.0 < once.cpu_ms_per_s / spread.cpu_ms_per_s < 25.0
    assert 0 < len(once.profile) <= features.TOP
    assert any("sort" in line for line in once.profile)


def test_a_driver_s_cost_leaves_its_simulated_chip_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features, "DRIVER_S", 3)
    for cost in features.drivers():
        assert 0.01 < cost.cpu_ms_per_s < 200.0
        assert not [line for line in cost.profile if "simulated" in line]


def test_log_mel_is_that_of_librosa():
    pytest.importorskip("librosa", reason="librosa is not installed: pip install librosa")
    cost = features.log_mel(seconds=2.0)
    assert cost.largest_difference_db < 0.01
    assert cost.hops == 198
    assert cost.ours_us > 0.0 and cost.times > 1.0


def test_a_missing_librosa_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(InputError, match="pip install librosa"):
        features.log_mel()


def test_the_table_has_every_part_and_the_verdict():
    costs = [features.Cost("front speech", 90.0, 1.5, ["50% 3/s a.py:1 f"])]
    text = features.as_markdown(costs, features.LogMelCost(7.0, 42.0, 14.0, 0.001, 298))
    assert "| front speech | 1.50 |" in text
    assert "| 7.0 | 42.0 | 6.0 | **met** |" in text and "| 7.0 | 14.0 | 2.0 | **not met** |" in text
