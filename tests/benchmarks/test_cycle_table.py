"""Ratios, agreement and counts: what the peers' table is made of."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import cycle_table

TICKS = 10


def answers(seed=0):
    rng = np.random.default_rng(seed)
    vectors = {"face": 48, "speech": 48, "physiology": 32}
    return {name: rng.normal(size=(TICKS, width)).astype(np.float32) for name, width in vectors.items()} | {
        "probabilities": rng.dirichlet(np.ones(4), TICKS).astype(np.float32)
    }


def test_the_same_answers_agree_wholly():
    found = cycle_table.agreement(answers(), answers())
    assert (found.presence, found.labels, found.any_labels) == (1.0, 1.0, 1.0)
    assert all(cosine == pytest.approx(1.0) for cosine in found.cosines.values())


def test_a_modality_that_only_one_has_lowers_presence_and_leaves_the_labels_of_those_ticks_out():
    ours, theirs = answers(), answers()
    theirs["speech"][:3] = np.nan
    theirs["probabilities"][:3] = ours["probabilities"][:3, ::-1]
    found = cycle_table.agreement(ours, theirs)
    assert found.presence == pytest.approx(1 - 3 / 30)
    assert found.labels == 1.0
    assert found.any_labels == pytest.approx(0.7)


def test_ticks_on_which_one_does_not_decide_are_no_agreement_and_no_difference():
    ours, theirs = answers(), answers()
    theirs["probabilities"][:] = np.nan
    assert np.isnan(cycle_table.agreement(ours, theirs).labels)


def test_opposite_embeddings_have_a_cosine_of_minus_one():
    theirs = answers()
    theirs["face"] = -theirs["face"]
    assert cycle_table.agreement(answers(), theirs).cosines["face"] == pytest.approx(-1.0)


def test_ratios_are_of_medians_so_one_slow_round_changes_nothing():
    seconds = cycle_table.medians({"affectkit": [1.0, 1.1, 9.0], "bare": [0.5, 0.5, 0.4], "tutorial": []})
    assert cycle_table.ratio(seconds, "affectkit", "bare") == pytest.approx(2.2)
    assert cycle_table.overhead(seconds) == pytest.approx(1.2)
    assert cycle_table.ratio(seconds, "affectkit", "tutorial") is None


def test_the_faster_of_onnx_runtimes_two_is_the_one_to_beat():
    assert cycle_table.faster_onnx({"affectkit": 1.0, "onnx float": 3.0, "onnx int8": 2.0}) == "onnx int8"
    assert cycle_table.faster_onnx({"affectkit": 1.0}) is None


@pytest.mark.parametrize(
    ("told", "count"),
    [
        ("==7== Collected : 1965389326\n==7== \n==7== I   refs:      1,965,389,326\n", 1_965_389_326),
        ("==19095== Events    : Ir\n==19095== Collected : 42\n", 42),
    ],
)
def test_the_count_of_callgrind_is_read(told, count):
    assert cycle_table.instructions(told) == count


def test_a_run_of_callgrind_without_a_count_is_an_error_with_its_last_words():
    with pytest.raises(ValueError, match="out of memory"):
        cycle_table.instructions("==7== out of memory")


def test_a_target_is_met_missed_or_not_measured():
    assert cycle_table.verdict(0.35, 0.35).endswith(": met")
    assert cycle_table.verdict(0.36, 0.35).endswith("not met")
    assert cycle_table.verdict(None, 0.35) == "not measured"


def test_the_spread_of_rounds_is_of_the_extremes():
    assert cycle_table.spread([2.0, 2.5, 3.0]) == pytest.approx(0.5)
