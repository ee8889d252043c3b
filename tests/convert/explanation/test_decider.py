from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convert.explanation.decider import MEMORY, Decider
from convert.explanation.explain import of_modalities
from convert.explanation.moment import Encoded, Moment
from edge.errors import InferenceError
from edge.inference.fusion import softmax
from edge.types import Decision
from tests.convert.explanation.planted import LABELS, WIDTH, adding, decider, looking_at, stage

FACE, BODY = np.full((8, 8, 1), 0.5, np.float32), np.full((6, 3), 1.0, np.float32)


def both():
    return {
        "face": looking_at("face", np.ones((8, 8)), FACE),
        "physiology": looking_at("physiology", np.ones((6, 3)), BODY),
    }


def values(record):
    return {one["player"]: one["value"] for one in record["players"]}


def test_shapley_values_of_modalities_sum_to_the_difference_from_equal_chances():
    made = decider(adding({"face": 2, "speech": 5, "physiology": 1}, memory=1.5), both(), previous=softmax(np.float32([2, 0, 0, 0])))
    record = of_modalities(made)
    assert list(values(record)) == ["face", "physiology", MEMORY]
    assert record["none"] == 0.25
    assert sum(values(record).values()) == pytest.approx(record["all"] - 0.25, abs=1e-5)
    for label in LABELS:
        total = sum(one["values"][label] for one in record["players"])
        assert total == pytest.approx(made.whole[LABELS.index(label)] - 0.25, abs=1e-5)


def test_modalities_that_do_the_same_are_worth_the_same_and_one_that_does_nothing_is_worth_nothing():
    same = values(of_modalities(decider(adding({"face": 2, "speech": 5, "physiology": 1}), both())))
    assert same["face"] == pytest.approx(same["physiology"], abs=1e-6) and same["face"] > 0.05
    none = values(of_modalities(decider(adding({"face": 2, "speech": 5, "physiology": 0}), both())))
    assert none["physiology"] == 0 and none["face"] > 0.1


def test_what_is_absent_is_no_player_and_without_memory_there_is_none():
    made = decider(adding({"face": 2, "speech": 5, "physiology": 1}), {"face": both()["face"]})
    assert made.players == ("face",)
    record = of_modalities(made)
    assert record["players"][0]["without"] == 0.25 and record["players"][0]["alone"] == record["all"] and not record["memory"]


def test_the_memory_alone_stands_for_what_was_given_out_before():
    logits = np.float32([1.0, 0.5, -1.0, 0.0])
    made = decider(adding({"face": 2}, memory=3.0), {"face": both()["face"]}, previous=softmax(logits), temperature=2.0)
    np.testing.assert_allclose(made.of_only([MEMORY]), softmax(logits, 2.0), atol=1e-6)
    np.testing.assert_allclose(made.of_only([]), 0.25)
    np.testing.assert_allclose(made.of_only(["face", MEMORY]), made.whole)
    forgotten = softmax(np.float32([2 * 0.5 + 0.75, 0.75, 0.75, 0.75]), 2.0)
    np.testing.assert_allclose(made.of_only(["face"]), forgotten, atol=1e-6)


def test_a_fusion_without_a_mask_gets_zeros_for_what_is_taken_away():
    made = decider(adding({"face": 2, "physiology": 1}, mask=False), both())
    np.testing.assert_allclose(made.of_only(["physiology"]), softmax(np.float32([1, 0, 0, 0])), atol=1e-6)


def test_in_a_fusion_that_looks_back_an_embedding_is_replaced_wherever_it_is_held():
    old, now = np.float32([1, 0, 0, 0]), np.float32([2, 0, 0, 0])
    matrix = np.zeros((4, 3 * WIDTH + 3), np.float32)
    matrix[0, [0, WIDTH, 2 * WIDTH]] = 0.1, 0.2, 0.4
    matrix[1, 3 * WIDTH :] = 0.3
    fusion = stage({"face": (3, WIDTH), "mask": (3, 1)}, {"logits": matrix})
    inputs = {"face": np.stack([old, now, now]), "mask": np.ones((3, 1), np.float32)}
    told = dict(zip(LABELS, map(float, softmax(fusion.run(**inputs)["logits"])), strict=True))
    decision = Decision(0, None, "unsure", max(told.values()), told, {"face": 1.0}, {}, {"face": 0})
    made = Decider(Moment(0, decision, fusion, inputs, {"face": Encoded(fusion, "face", now, now)}), LABELS, 1.0)
    assert made.label == "positive"  # the leading one
    replaced = made.with_embedding("face", np.float32([5, 0, 0, 0]))
    np.testing.assert_allclose(replaced, softmax(np.float32([0.1 + 5 * 0.6, 0.9, 0, 0])), atol=1e-6)
    # Absent: zeros, and no step of the mask says otherwise.
    np.testing.assert_allclose(made.with_embedding("face", now), made.whole)
    assert made.players == ("face",)


def test_a_stage_that_does_not_repeat_itself_is_an_error_not_an_explanation():
    made = decider(adding({"face": 2}), {"face": both()["face"]})
    wrong = dict.fromkeys(LABELS, 0.25)
    moment = dataclasses.replace(made.moment, decision=dataclasses.replace(made.moment.decision, probabilities=wrong))
    with pytest.raises(InferenceError, match="asked again"):
        Decider(moment, LABELS, 1.0)
