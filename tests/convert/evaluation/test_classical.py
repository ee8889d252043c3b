"""The classical rows learn what is easy, and only from the training people."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs the convert extra")
from convert.evaluation import baselines, classical
from convert.training.datasets.fer2013 import FER_CLASSES
from convert.training.material import Material

pytestmark = pytest.mark.convert


def faces(count: int, seed: int) -> Material:
    """Stripes across (class 0) or along (class 3) under noise: textures, which all rows can tell."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 3], count // 2)
    wave = np.where(np.arange(48) // 6 % 2, 0.6, -0.6)
    clean = np.where((labels == 0)[:, None, None], wave[None, :, None], wave[None, None, :])
    made = np.clip(clean + rng.normal(0, 0.2, (count, 48, 48)), -1, 1).astype(np.float32)[..., None]
    return Material("face", "seven expressions", FER_CLASSES, made, labels, np.arange(count).astype(str))


@pytest.fixture(scope="module")
def told():
    quick = classical.EFFORTS["quick"]
    classical.EFFORTS["quick"] = classical.Effort(faces=96, epochs=25)
    try:
        return classical.rows(faces(120, 0), faces(40, 1), effort="quick", seed=0)
    finally:
        classical.EFFORTS["quick"] = quick


def test_all_four_rows_tell_what_is_easy(told):
    assert list(told) == ["LBP + SVM", "MLP", "shallow CNN", "CNN-LSTM"]
    for name, got in told.items():
        assert got["accuracy"] >= 0.9, name
        assert got["samples"] == 40


def test_the_number_of_faces_learnt_from_is_told_and_kept(told):
    assert {got["learnt_on"] for got in told.values()} == {96}


def test_patterns_of_a_flat_picture_and_of_a_spot():
    flat = np.zeros((1, 48, 48), np.float32)
    histogram = classical.lbp_histograms(flat).reshape(36, classical.PATTERNS)
    # every neighbour is at least as bright: eight ones, pattern 8 (at the rim some lie outside, and count as darker)
    np.testing.assert_allclose(histogram[14], np.eye(10)[8])
    spot = flat.copy()
    spot[0, 20, 20] = 1.0  # brighter than all around: no ones
    changed = classical.lbp_histograms(spot).reshape(36, classical.PATTERNS) ** 2 * 64
    cell = 20 // 8 * 6 + 20 // 8
    assert changed[cell][0] == pytest.approx(1.0)
    np.testing.assert_allclose(classical.lbp_histograms(flat + 0.3), classical.lbp_histograms(flat))  # order alone counts


def test_speech_and_physiology_have_a_perceptron():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    inputs = (rng.normal(0, 1, (60, 20, 3)) + labels[:, None, None] * 2).astype(np.float32)
    learn = Material("physiology", "rest or stress", ("rest", "stress"), inputs, labels, np.array(["a"] * 60))
    told = classical.rows(learn, learn.of(np.arange(20)), effort="quick", seed=0)
    assert list(told) == ["MLP"] and told["MLP"]["uar"] >= 0.9 and told["MLP"]["learnt_on"] == 60


def test_people_who_all_show_one_class_teach_nothing():
    inputs = np.random.default_rng(0).normal(0, 1, (6, 20, 3)).astype(np.float32)
    learn = Material("speech", "two", ("a", "b"), inputs, np.ones(6, int), np.array(["x"] * 6))
    assert classical.rows(learn, learn, effort="quick", seed=0) == {}
    np.testing.assert_array_equal(baselines.linear(learn, learn), np.tile([0.0, 1.0], (6, 1)))
