from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny import WIDTH, Votes, fusion

from edge.inference.fusion import NonFiniteError, softmax
from edge.inference.scheduler import MS
from edge.types import Embedding


def embedding(modality: str, value: float) -> Embedding:
    return Embedding(modality, 0, np.full(WIDTH, value, np.float32), 1.0)


@given(arrays(np.float32, 4, elements=st.floats(-50, 50, width=32)), st.floats(0.2, 5))
def test_softmax_sums_to_one_keeps_the_order_and_flattens_with_temperature(logits, temperature):
    p = softmax(logits, temperature)
    assert p.dtype == np.float32 and p.sum() == pytest.approx(1, abs=1e-5)
    assert p[logits.argmax()] == p.max()
    assert softmax(logits, 2 * temperature).max() <= p.max() + 1e-6


def test_absent_modalities_are_zeros_with_a_mask_and_take_no_weight():
    votes = Votes()
    estimate = fusion(votes).estimate(0, {"face": embedding("face", 1), "physiology": embedding("physiology", 0.5)}, {})
    np.testing.assert_array_equal(votes.given[0]["mask"], [1, 0, 1])
    np.testing.assert_array_equal(votes.given[0]["speech"], np.zeros(WIDTH))
    assert estimate.weights == pytest.approx({"face": 0.5 / 0.7, "physiology": 0.2 / 0.7})
    assert estimate.probabilities.sum() == pytest.approx(1)


def test_weights_that_all_round_to_zero_become_equal_shares():
    class Blind(Votes):
        def run(self, **arrays):
            return super().run(**arrays) | {"weights": np.zeros(3, np.float32)}

    assert fusion(Blind()).estimate(0, {"face": embedding("face", 1), "speech": embedding("speech", 1)}, {}).weights == {
        "face": 0.5,
        "speech": 0.5,
    }


def test_with_nothing_present_the_stage_is_not_run():
    votes = Votes()
    assert fusion(votes).estimate(0, {}, {}) is None
    assert votes.given == []


def test_the_previous_uncalibrated_answer_goes_back_in_and_is_forgotten_after_a_gap():
    votes = Votes()
    fused, present = fusion(votes, temperature=3.0), {"speech": embedding("speech", 1)}
    first = fused.estimate(0, present, {})
    fused.estimate(250 * MS, present, {})
    fused.estimate(2250 * MS, present, {})
    fused.estimate(4251 * MS, present, {})
    previous = [given["previous"] for given in votes.given]
    np.testing.assert_allclose(previous[0], 0.25)
    np.testing.assert_allclose(previous[1], softmax(np.float32([0, 4, 0, 0])))
    assert previous[1].max() > first.probabilities.max()
    assert previous[2].max() > 0.9
    np.testing.assert_allclose(previous[3], 0.25)


def test_nan_is_an_error_and_does_not_stay_in_the_memory():
    votes = Votes()
    fused, present = fusion(votes), {"face": embedding("face", 1)}
    fused.estimate(0, present, {})
    votes.poisoned = True
    with pytest.raises(NonFiniteError):
        fused.estimate(1, present, {})
    votes.poisoned = False
    assert np.isfinite(fused.estimate(2, present, {}).probabilities).all()
    np.testing.assert_allclose(votes.given[-1]["previous"], 0.25)
