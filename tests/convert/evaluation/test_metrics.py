from __future__ import annotations

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from convert.evaluation import metrics
from edge.inference.fusion import softmax


@st.composite
def answers(draw) -> tuple[np.ndarray, np.ndarray]:
    n, classes = draw(st.integers(4, 60)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.integers(0, classes, n), softmax(rng.normal(0, 2, (n, classes)))


@hypothesis.given(answers())
def test_agrees_with_scikit_learn(answer):
    sk = pytest.importorskip("sklearn.metrics", reason="needs the convert extra")
    labels, probabilities = answer
    predicted = probabilities.argmax(axis=1)
    table = metrics.confusion(labels, predicted, probabilities.shape[1])
    np.testing.assert_array_equal(table, sk.confusion_matrix(labels, predicted, labels=range(probabilities.shape[1])))
    np.testing.assert_allclose(
        metrics.uar(table), sk.recall_score(labels, predicted, average="macro", labels=np.unique(labels), zero_division=0)
    )
    np.testing.assert_allclose(
        metrics.macro_f1(table), sk.f1_score(labels, predicted, average="macro", labels=np.unique(labels), zero_division=0)
    )


@hypothesis.given(answers())
def test_ranges_hold(answer):
    labels, probabilities = answer
    assert 0 <= metrics.expected_calibration_error(labels, probabilities) <= 1
    assert 0 <= metrics.brier(labels, probabilities) <= 2


def test_a_calibrated_classifier_has_no_calibration_error_and_an_overconfident_one_has():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (40_000, 4))
    true = softmax(logits)
    labels = (true.cumsum(axis=1) > rng.random((len(true), 1))).argmax(axis=1)
    assert metrics.expected_calibration_error(labels, true) < 0.01
    assert metrics.expected_calibration_error(labels, softmax(logits * 3)) > 0.1
    assert metrics.fit_temperature(labels, logits * 3) == pytest.approx(3, rel=0.05)


def test_the_majority_scores_its_share_and_one_over_the_classes():
    assert metrics.majority(np.array([0, 0, 0, 1]), 3) == {"accuracy": 0.75, "uar": 0.5}
