"""Risk over coverage, on cases worked out by hand."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from convert.evaluation import coverage, metrics
from edge.inference.fusion import softmax

SURE_TO_UNSURE = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])


def test_risk_is_the_share_of_wrong_answers_among_the_surest():
    covered, risk = coverage.risk_coverage(np.array([0, 0, 0, 1]), SURE_TO_UNSURE)  # only the second answer is wrong
    np.testing.assert_allclose(covered, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 1 / 4])
    assert coverage.area(np.array([0, 0, 0, 1]), SURE_TO_UNSURE) == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_equally_sure_answers_share_their_risk():
    alike = np.array([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    _, risk = coverage.risk_coverage(np.array([0, 1, 0]), alike)
    np.testing.assert_allclose(risk, [0, 0.25, 1 / 3])


@hypothesis.given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_the_order_of_samples_does_not_matter_and_all_of_them_give_the_error_rate(n, seed):
    rng = np.random.default_rng(seed)
    labels, probabilities = rng.integers(0, 3, n), np.round(softmax(rng.normal(0, 1, (n, 3))), 1)
    told = coverage.risk_coverage(labels, probabilities)
    order = rng.permutation(n)
    np.testing.assert_allclose(told[1], coverage.risk_coverage(labels[order], probabilities[order])[1], atol=1e-12)
    assert told[1][-1] == pytest.approx(np.mean(probabilities.argmax(axis=1) != labels))


def test_the_reported_curve_ends_at_the_error_rate_for_few_samples_too():
    told = coverage.summary(np.array([0, 0, 0, 1]), SURE_TO_UNSURE)
    assert len(told["risk_coverage"]["risk"]) == len(told["risk_coverage"]["coverage"]) == coverage.POINTS
    assert told["risk_coverage"]["coverage"][-1] == 1.0
    assert told["risk_coverage"]["risk"][-1] == 0.25


def test_brier_ece_and_recalls_of_a_case_worked_out_by_hand():
    labels, probabilities = np.array([0, 0, 1]), np.array([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5]])
    # (0.04 + 0.04) + (0.36 + 0.36) + (0.25 + 0.25)
    assert metrics.brier(labels, probabilities) == pytest.approx(1.3 / 3)
    # three bins of one sample: right at 0.8, wrong at 0.6, wrong at 0.5
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx((0.2 + 0.6 + 0.5) / 3)
    told = metrics.summary(labels, np.pad(probabilities, ((0, 0), (0, 1))))
    assert told["recall"] == [0.5, 0.0, None]  # nobody shows the third class
    assert told["uar"] == 0.25
