from __future__ import annotations

import numpy as np
import pytest

from edge.inference.smoothing import Smoother
from edge.types import Absence, Estimate

LABELS = ("a", "b", "c")


def labels_of(*rows, abstain_below=0.4, switch_margin=0.2):
    smoother = Smoother(LABELS, abstain_below=abstain_below, switch_margin=switch_margin)
    return [smoother.decide(Estimate(i, np.float32(row), {"face": 1.0}, {}), i) for i, row in enumerate(rows)]


def test_it_abstains_below_the_threshold_and_names_the_leading_probability():
    (decision,) = labels_of((0.38, 0.32, 0.3))
    assert (decision.label, decision.state) == (None, "unsure")
    assert decision.confidence == pytest.approx(0.38)


def test_a_label_holds_until_another_leads_it_by_the_margin():
    made = labels_of((0.6, 0.3, 0.1), (0.42, 0.5, 0.08), (0.4, 0.6, 0.0), (0.5, 0.5, 0.0))
    assert [d.label for d in made] == ["a", "a", "b", "b"]
    assert made[1].confidence == pytest.approx(0.42), "of the label given out, not of the leading one"


def test_a_label_that_sank_below_the_threshold_is_not_held():
    made = labels_of((0.6, 0.3, 0.1), (0.38, 0.5, 0.12))
    assert [d.label for d in made] == ["a", "b"]


def test_no_decision_says_what_is_absent_and_forgets_the_label_held():
    smoother = Smoother(LABELS, abstain_below=0.4, switch_margin=0.2)
    smoother.decide(Estimate(0, np.float32([0.6, 0.4, 0]), {"face": 1.0}, {}), 0)
    absent = {"face": Absence("face", "lost")}
    nothing = smoother.nothing(1, absent)
    assert (nothing.label, nothing.state, nothing.confidence, nothing.newest_ns) == (None, "no decision", 0.0, None)
    assert nothing.absent == absent
    after = smoother.decide(Estimate(2, np.float32([0.45, 0.55, 0]), {"face": 1.0}, {}), 2)
    assert after.label == "b"


def test_probabilities_are_named_in_the_order_of_the_labels():
    (decision,) = labels_of((0.2, 0.7, 0.1))
    assert list(decision.probabilities) == list(LABELS)
    assert decision.probabilities["b"] == pytest.approx(0.7)


def settled(settle_ms: float, rows, *, step_ms: int = 250):
    smoother = Smoother(LABELS, abstain_below=0.0, switch_margin=0.0, settle_ms=settle_ms)
    return [smoother.decide(Estimate(i * step_ms * 1_000_000, np.float32(row), {}, {}), {}) for i, row in enumerate(rows)]


def test_after_one_time_constant_63_percent_of_a_step_is_taken_whatever_the_cadence():
    for step_ms in (50, 250, 1000):
        made = settled(1000.0, [(1, 0, 0), *[(0, 1, 0)] * (1000 // step_ms)], step_ms=step_ms)
        assert made[-1].probabilities["b"] == pytest.approx(1 - np.exp(-1))
        assert sum(made[-1].probabilities.values()) == pytest.approx(1)


def test_a_steady_answer_is_told_at_once_and_no_surer_than_it_is():
    for decision in settled(2000.0, [(0.5, 0.3, 0.2)] * 20):
        assert decision.confidence == pytest.approx(0.5)


def test_estimates_that_flicker_around_one_answer_do_not_turn_the_decision():
    rows = [(0.55, 0.45, 0.0), (0.42, 0.58, 0.0), (0.6, 0.4, 0.0)] * 20
    assert {d.label for d in settled(0.0, rows)} == {"a", "b"}
    assert {d.label for d in settled(2000.0, rows)[8:]} == {"a"}


def test_nothing_makes_the_average_begin_anew():
    smoother = Smoother(LABELS, abstain_below=0.0, switch_margin=0.0, settle_ms=5000.0)
    smoother.decide(Estimate(0, np.float32([1, 0, 0]), {}, {}), {})
    smoother.nothing(250_000_000, {})
    after = smoother.decide(Estimate(500_000_000, np.float32([0, 0, 1]), {}, {}), {})
    assert after.probabilities == {"a": 0.0, "b": 0.0, "c": 1.0}
