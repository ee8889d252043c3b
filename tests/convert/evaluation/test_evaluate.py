"""The shipped bundle through ``affectkit evaluate``, on people it has not learnt from: slow, and only where the public sets are."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs the convert extra")
from convert.evaluation import evaluate
from convert.evaluation.cli import as_lines
from convert.training.fusion import LABELS, Pool
from edge.bundle import load_bundle
from edge.errors import BundleError

pytestmark = pytest.mark.convert


@pytest.fixture(scope="module")
def results(data, embedded_bundle):
    return evaluate.evaluate(load_bundle(embedded_bundle), data)


@pytest.mark.slow
class TestShippedBundle:
    def test_faces_of_seven_expressions_in_at_most_150_k_weights(self, results, embedded_bundle):
        assert results["face"]["int8"]["accuracy"] >= 0.62
        assert load_bundle(embedded_bundle).manifest.stages["face"].weights <= 150_000

    def test_voices_nobody_trained_on_are_told_far_better_than_by_a_linear_model(self, results):
        one = results["speech"]
        assert one["int8"]["uar"] >= one["majority"]["uar"] + 0.35
        assert one["int8"]["uar"] >= one["linear"]["uar"] + 0.10

    def test_stress_of_people_nobody_trained_on_is_told_from_rest(self, results):
        # Over all people the network and a linear model are equals (the card says so), and four people are too few to rank them.
        assert results["physiology"]["int8"]["uar"] >= 0.70
        assert results["physiology, restarted"]["int8"]["uar"] >= 0.60

    def test_all_modalities_together_beat_the_best_single_one(self, results):
        got = results["fusion"]["by_presence"]
        single = max(got[name]["accuracy"] for name in ("face", "speech", "physiology"))
        assert got["face + speech + physiology"]["accuracy"] >= single + 0.03

    def test_the_card_says_what_is_measured_again(self, results, embedded_bundle):
        told = load_bundle(embedded_bundle).quality["results"]
        for stage in ("face", "speech", "physiology"):
            assert told[stage]["int8"]["uar"] == pytest.approx(results[stage]["int8"]["uar"], abs=0.01)
            assert told[stage]["linear"]["uar"] == pytest.approx(results[stage]["linear"]["uar"], abs=0.02)

    def test_the_table_names_every_stage(self, results):
        table = "\n".join(as_lines(results))
        assert all(word in table for word in ("face", "speech", "physiology", "majority", "linear"))
        json.dumps(results)


def test_nobody_the_bundle_has_learnt_from_is_scored(data, embedded_bundle):
    bundle = load_bundle(embedded_bundle)
    learnt = evaluate.learnt_from(bundle)
    scored, learn = evaluate.materials(bundle, data, learnt)
    for stage in ("speech", "physiology"):
        assert not set(scored[stage].people) & set(learnt.people[stage])
        assert not set(scored[stage].people) & set(learn[stage].people)


def test_int8_agrees_with_float_on_98_percent_for_every_stage_that_decides(embedded_bundle):
    agreement = load_bundle(embedded_bundle).quality["agreement"]
    for stage in ("face", "speech", "physiology", "fusion"):
        assert agreement[stage]["top1"] >= 0.98
        assert agreement[stage]["samples"] >= 200


def test_a_bundle_that_hides_its_people_is_not_scored(embedded_bundle, monkeypatch):
    bundle = load_bundle(embedded_bundle)
    monkeypatch.setattr(type(bundle), "quality", None)
    with pytest.raises(BundleError, match="does not say whom it learnt from"):
        evaluate.learnt_from(bundle)


def test_fusion_scores_cover_every_presence_and_every_rate(embedded_bundle):
    bundle = load_bundle(embedded_bundle)
    rng = np.random.default_rng(0)
    widths = {"face": 48, "speech": 48, "physiology": 32}
    pools = {
        name: Pool(
            rng.random((40, width)).astype(np.float32), np.arange(40) % (2 if name == "physiology" else len(LABELS)), np.zeros(40, int)
        )
        for name, width in widths.items()
    }
    model = evaluate.model_of(bundle, "fusion")
    logits, labels = evaluate.fused_logits(model, pools, np.ones((50, 3), np.float32), seed=0)
    again, _ = evaluate.fused_logits(model, pools, np.ones((50, 3), np.float32), seed=0)
    np.testing.assert_array_equal(logits, again)
    assert logits.shape == (50, 4)
    assert set(labels) <= set(range(4))
