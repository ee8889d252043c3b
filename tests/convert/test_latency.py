"""Times are of single inferences, taken in turn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from convert import latency


class Slow:
    """A model whose every inference takes a known time on the injected clock."""

    def __init__(self, clock: list[float], seconds: float, order: list[float]):
        self.clock, self.seconds, self.order = clock, seconds, order

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        self.clock[0] += self.seconds
        self.order.append(self.seconds)
        return {}


def test_medians_are_of_one_inference_and_models_take_turns():
    clock, order = [0.0], []
    models = {"quick": Slow(clock, 1e-4, order), "slow": Slow(clock, 5e-3, order)}
    found = latency.measure(models, {"x": np.zeros((3, 2))}, clock=lambda: clock[0])
    assert found["quick"].median_ms == pytest.approx(0.1)
    assert found["slow"].median_ms == pytest.approx(5.0)
    assert found["slow"].runs == latency.ROUNDS
    switches = sum(a != b for a, b in itertools.pairwise(order))
    assert switches > latency.ROUNDS


def test_a_very_slow_model_gets_fewer_rounds_but_some():
    clock = [0.0]
    found = latency.measure({"m": Slow(clock, 3.0, [])}, {"x": np.zeros((1, 2))}, clock=lambda: clock[0])
    assert found["m"].runs == latency.LEAST_ROUNDS
