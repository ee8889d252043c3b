"""The fusion against the best single modality, and its steadiness."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs the convert extra")
from convert.evaluation import evaluate, flips, fused
from convert.training.fusion import Pool
from edge.bundle import load_bundle

pytestmark = pytest.mark.convert

WIDTHS = {"face": 48, "speech": 96, "physiology": 32}


@pytest.fixture(scope="module")
def pools() -> dict[str, Pool]:
    rng = np.random.default_rng(0)
    return {
        name: Pool(rng.random((40, width)).astype(np.float32), np.arange(40) % (2 if name == "physiology" else 4), np.zeros(40, int))
        for name, width in WIDTHS.items()
    }


@pytest.fixture(scope="module")
def model(embedded_bundle):
    return evaluate.model_of(load_bundle(embedded_bundle), "fusion")


def test_the_same_seed_gives_the_same_logits(model, pools):
    logits, labels = evaluate.fused_logits(model, pools, np.ones((30, 3), np.float32), seed=0)
    again, _ = evaluate.fused_logits(model, pools, np.ones((30, 3), np.float32), seed=0)
    np.testing.assert_array_equal(logits, again)
    assert logits.shape == (30, 4) and set(labels) <= set(range(4))


def test_stopping_where_nothing_changes_any_more_changes_nothing(model, pools):
    drawn = fused.draw(pools, 10, 0)
    mask = np.ones((10, 3), np.float32)
    early = fused.settle(model, drawn.vectors(pools), mask, 20)
    for i in range(10):
        previous = np.full(4, 0.25, np.float32)
        for _ in range(20):
            streams = {name: values[i] for name, values in drawn.vectors(pools).items()}
            logits = model.run(**streams, mask=mask[i], previous=previous)["logits"]
            previous = fused.softmax(logits)
        np.testing.assert_array_equal(early[i], logits)


def test_the_best_present_single_modality_is_the_best_of_those_present():
    right = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0]], bool)  # right on 3, 2 and 1 of 4
    alone = fused.Singles(("face", "speech", "physiology"), right, ("", "", ""))
    mask = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1]], np.float32)
    assert alone.best_present(mask).tolist() == [True, False, True, True]
    assert alone.best(np.array([0, 1, 1])) == "speech"
    assert alone.best(np.array([1, 1, 1])) == "face"


def test_every_pattern_and_rate_is_compared_with_the_best_single_one(model, pools):
    told = fused.fused(fused.Form(model, pools), {}, temperature=1.0, seed=0, float_form=fused.Form(model, pools), count=30)
    assert list(told["by_presence"])[-1] == "face + speech + physiology" and len(told["by_presence"]) == 7
    assert list(told["by_missing_rate"]) == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]
    for got in (*told["by_presence"].values(), *told["by_missing_rate"].values()):
        assert got["gain"] == pytest.approx(got["accuracy"] - got["best_single_accuracy"])
        assert got["agreement"] == 1.0 and got["float"]["accuracy"] == got["accuracy"]
    for name in WIDTHS:  # alone, the best single modality is itself
        assert told["by_presence"][name]["best_single"] == name
        assert told["by_presence"][name]["gain"] == 0.0
    singles = [told["single"][name]["accuracy"] for name in WIDTHS]
    assert told["by_presence"]["face + speech + physiology"]["best_single_accuracy"] == max(singles)
    assert told["by_missing_rate"]["0.0"]["accuracy"] == told["by_presence"]["face + speech + physiology"]["accuracy"]
    assert told["least_gain"] <= told["gain_with_all_present"]


def test_an_encoder_that_is_better_by_itself_is_the_one_to_beat(model, pools):
    told = fused.fused(fused.Form(model, pools), {"face": pools["face"].labels}, temperature=1.0, seed=0, count=30)
    assert told["single"]["face"] == {"accuracy": 1.0, "how": "the encoder's own answer"}
    got = told["by_presence"]["face"]
    assert got["gain"] < 0 and got["best_single_through_fusion"] == got["accuracy"]


def test_expressions_are_summed_by_quadrant():
    probabilities = np.array([[0.3, 0.0, 0.3, 0.35, 0.05, 0.0, 0.0], [0.1, 0.0, 0.0, 0.2, 0.0, 0.3, 0.4]])
    # angry + disgust + fear is tense, happy + surprise is positive
    assert fused.own_answers("face", probabilities).tolist() == [3, 0]
    assert fused.own_answers("physiology", np.ones((2, 2))) is None


@pytest.mark.parametrize(
    ("answers", "flips_and_changes"),
    [
        (["a"] * 5, (0, 0)),
        (["a", "b", "b", "a"], (2, 2)),
        (["a", None, "a"], (0, 2)),
        (["a", None, None, "b"], (1, 2)),
        ([None, None], (0, 0)),
    ],
)
def test_a_flip_is_another_label_and_a_change_any_difference(answers, flips_and_changes):
    assert flips.count_changes(answers) == flips_and_changes


def test_what_does_not_jitter_does_not_flip_and_what_does_may(embedded_bundle, model, pools):
    bundle = load_bundle(embedded_bundle)
    bundle.manifest = dataclasses.replace(bundle.manifest, settle_ms=0.0)  # every estimate is told
    drawn = fused.draw(pools, 2, 0)
    rng = np.random.default_rng(0)
    here = np.ones(3, np.float32)
    still = {name: np.repeat(drawn.vectors(pools)[name][:, None], 2, axis=1) for name in pools}
    told = flips._one(bundle, model, pools, drawn, still, here, seed=0)
    assert told["flips_per_minute"] == told["changes_per_minute"] == 0.0
    wild = {name: (rng.random((2, 16, width)) * 6).astype(np.float32) for name, width in WIDTHS.items()}
    told = flips._one(bundle, model, pools, drawn, wild, here, seed=0)
    assert told["changes_per_minute"] > 0.0
    assert 0.0 <= told["unsure"] <= 1.0 and told["most_flips_per_minute"] >= told["flips_per_minute"]


@pytest.mark.parametrize("modality", ["face", "speech", "physiology"])
def test_jitter_is_small_and_leaves_flags_and_silence_alone(modality):
    rng = np.random.default_rng(0)
    sample = {
        "face": np.clip(np.cumsum(rng.normal(0, 0.05, (48, 48, 1)), axis=0), -1, 1).astype(np.float32),
        "speech": np.concatenate([np.zeros((200, 40)), rng.uniform(0.2, 1.0, (100, 40))]).astype(np.float32),
        "physiology": np.concatenate([rng.normal(0, 1, (60, 5)), np.ones((60, 2))], axis=1).astype(np.float32),
    }[modality]
    made = flips.JITTER[modality](sample, rng)
    assert made.shape == sample.shape and made.dtype == np.float32
    assert 0.0 < np.abs(made - sample).mean() < 0.1
    if modality == "speech":
        assert not made[:200].any()
    if modality == "physiology":
        np.testing.assert_array_equal(made[:, 5:], 1.0)


def test_masks_that_differ_by_companion_are_looked_up(model, pools):
    drawn = fused.draw(pools, 12, 0)
    mask = fused.absent_at_random(12, 3, 0.5, 1)
    assert len(np.unique(mask, axis=0)) > 2
    table = fused._Table(fused.Form(model, pools), drawn)
    np.testing.assert_array_equal(table.at(mask), fused.settle(model, drawn.vectors(pools), mask))
