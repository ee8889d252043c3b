"""From a trained system to a bundle: stages, temperature, measures by the same code in float and int8, and again from other data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.evaluation import metrics  # noqa: E402
from convert.training.systems import RECIPES, cnn_lstm, find_recipe, frames, system  # noqa: E402
from edge.bundle import load_bundle, write_bundle  # noqa: E402
from edge.errors import BundleError, InputError  # noqa: E402
from edge.inference.golden import check_golden  # noqa: E402
from edge.inference.model import Model  # noqa: E402


def test_every_recipe_can_be_found_and_has_what_the_program_calls():
    for name in RECIPES:
        module = find_recipe(name)
        assert callable(module.recipe), name
        assert callable(module.judge), name


def test_the_bundle_holds_the_stages_and_answers_its_golden_vectors_bit_by_bit(packed):
    bundle = load_bundle(packed)
    assert set(bundle.manifest.stages) == {"face", "fusion"}
    assert bundle.manifest.preprocess["fusion"] == {"step_ms": 250, "steps": cnn_lstm.STEPS}
    assert list(bundle.manifest.max_age_ms) == ["face"]
    for name, spec in bundle.manifest.stages.items():
        model = Model(bundle.stage(name), name=name, inputs=spec.inputs, outputs=spec.outputs)
        assert check_golden(model, bundle.golden(name)) == 0


def test_float_and_int8_are_scored_on_the_same_samples_and_agree(packed):
    said = load_bundle(packed).quality
    assert len(said["results"]) == 2
    for one in said["results"].values():
        assert one["int8"]["samples"] == one["float"]["samples"] == 40
        assert one["agreement"] > 0.9
        assert abs(one["int8"]["accuracy"] - one["float"]["accuracy"]) <= 1.0 - one["agreement"] + 1e-9


def test_the_manifest_has_the_temperature_that_fits_the_int8_stages(packed):
    bundle = load_bundle(packed)
    dark = (np.random.default_rng(1).random((120, 48, 48)) * np.linspace(20, 255, 120)[:, None, None]).astype(np.uint8)
    judged = frames.held_still(frames.Faces(dark, np.arange(120) % 7), system.bundle_runners(bundle), cnn_lstm.STEPS)
    assert bundle.manifest.temperature == pytest.approx(metrics.fit_temperature(judged.labels, judged.logits))


def test_evaluating_the_bundle_on_the_same_pictures_gives_what_it_says_of_itself(packed, fer):
    bundle = load_bundle(packed)
    got = system.evaluate(bundle, fer)
    for task, one in bundle.quality["results"].items():
        assert got[task]["int8"] == one["int8"]
        assert got[task]["majority"] == one["majority"]


def test_a_bundle_of_no_known_system_is_refused(packed, fer, tmp_path):
    bundle = load_bundle(packed)
    parts = {name: bundle.part(name) for name in bundle.manifest.parts}
    write_bundle(tmp_path / "other.affectkit", dataclasses.replace(bundle.manifest, name="other"), parts)
    with pytest.raises(BundleError, match="other is none of cnn_lstm"):
        system.evaluate(load_bundle(tmp_path / "other.affectkit"), fer)
    write_bundle(tmp_path / "silent.affectkit", bundle.manifest, {name: part for name, part in parts.items() if name != "quality.json"})
    with pytest.raises(BundleError, match="does not say whom it learnt from"):
        system.evaluate(load_bundle(tmp_path / "silent.affectkit"), fer)


def test_nobody_left_to_score_is_said():
    with pytest.raises(InputError, match="nobody in these sets was left out"):
        system.measures(system.Judged(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0, str)), ("a", "b"), 1.0)


def test_measures_are_by_person_where_people_are_named():
    logits = np.log(np.float32([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]))
    got = system.measures(system.Judged(np.array([0, 1, 1, 0]), logits, np.array(["a", "a", "b", "b"])), ("x", "y"), 1.0)
    assert got["by_person"] == {"a": 1.0, "b": 0.5}
    assert (got["people"], got["int8"]["accuracy"]) == (2, 0.75)


def test_renaming_keeps_what_is_computed_and_fills_what_the_kit_cannot_give():
    keras.utils.set_random_seed(1)
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    hidden = keras.layers.Dense(4)(keras.layers.Concatenate()([a, b]))
    whole = keras.Model([a, b], {"logits": hidden, "probabilities": keras.layers.Softmax()(hidden)}, name="whole")
    made = system.renamed(whole, {"a": "face"}, ("logits",), constants={"b": np.array([1.0, -2.0])}, name="fusion")
    x = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    expected = whole([x, np.tile(np.float32([1.0, -2.0]), (5, 1))])["logits"]
    got = system.keras_runner(made)({"face": x})
    assert set(got) == {"logits"}
    np.testing.assert_allclose(got["logits"], expected, atol=1e-6)


def test_terms_are_worded_as_in_every_card_and_epochs_are_never_none():
    assert system.terms("EmoDB", "FER2013")[0] == "EmoDB (speech): CC0"
    assert [system.scaled(10, factor) for factor in (1.0, 0.25, 0.001)] == [10, 2, 1]
