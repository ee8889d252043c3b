"""The recipe of edu_emotionnet: decisions that feed each other in training as they do in use, and the loss of the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.training.systems import edu_emotionnet, fused  # noqa: E402
from convert.training.systems.companions import Takes, draw  # noqa: E402
from convert.zoo import edu_emotionnet as zoo  # noqa: E402
from edge.inference.fusion import softmax  # noqa: E402

WIDTHS = {"face": 6, "speech": 5}


def pools(seed: int) -> dict[str, Takes]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(40) % 4, 3)
    made = {}
    for name, width in WIDTHS.items():
        vectors = np.maximum(rng.normal(0.0, 0.5, (120, width)) + 3.0 * np.eye(4, width)[labels], 0.0).astype(np.float32)
        made[name] = Takes(vectors, labels, np.full(120, f"{name}-{seed}"), np.arange(120) // 3)
    return made


def whole() -> keras.Model:
    keras.utils.set_random_seed(0)
    return zoo.edu_emotionnet(WIDTHS, steps=edu_emotionnet.STEPS, width=8)


def test_training_unrolls_what_the_device_does_step_by_step():
    network = whole()
    horizon = 3
    drawn = draw(
        pools(0), 6, edu_emotionnet.STEPS + horizon - 1, np.random.default_rng(0), classes=4, rate=0.4, switch_rate=1.0,
        young_rate=1.0, history=edu_emotionnet.STEPS - 1,
    )  # fmt: skip
    uniform = np.full((6, 4), 0.25, np.float32)
    trained = np.asarray(edu_emotionnet.unrolled(network, horizon)([*drawn.inputs.values(), drawn.mask, uniform], training=False))
    runners = fused.float_runners({"fusion": edu_emotionnet.fusion_stage(network)})
    inputs, judged = edu_emotionnet.walk(runners, drawn)
    assert trained.shape == (6, horizon, 4)
    np.testing.assert_allclose(softmax(judged.logits).reshape(horizon, 6, 4), trained.swapaxes(0, 1), atol=1e-5)
    np.testing.assert_array_equal(judged.labels.reshape(horizon, 6).T, drawn.labels[:, edu_emotionnet.STEPS - 1 :])
    np.testing.assert_allclose(inputs["previous"][:6], 0.25)
    np.testing.assert_allclose(inputs["previous"][6:], softmax(judged.logits)[:-6], atol=1e-6)
    alone, _ = edu_emotionnet.walk(runners, drawn, feedback=False)
    assert (alone["previous"] == 0.25).all()


def test_the_loss_is_cross_entropy_and_lambda_times_the_divergence_of_the_step_before():
    targets = np.array([[[1, 0], [1, 0]]], np.float32)
    predicted = np.array([[[0.8, 0.2], [0.5, 0.5]]], np.float32)
    entropy = -(math.log(0.8) + math.log(0.5)) / 2
    divergence = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    got = float(edu_emotionnet.feedback_loss(targets, predicted))
    assert got == pytest.approx(entropy + edu_emotionnet.FEEDBACK_WEIGHT * divergence, abs=1e-5)
    assert float(edu_emotionnet.feedback_loss(targets[:, :1], predicted[:, :1])) == pytest.approx(-math.log(0.8), abs=1e-5)


@pytest.mark.long
def test_the_fusion_learns_to_decide_with_one_modality_absent_at_every_step(tmp_path, monkeypatch):
    monkeypatch.setattr(edu_emotionnet, "FUSION_DRAWS", 4096)
    stage = edu_emotionnet.train_fusion(pools(0), tmp_path, seed=0, scale=0.5, horizon=1)
    answer = edu_emotionnet.answer(fused.float_runners({"fusion": stage}), feedback=False)
    drawn = draw(pools(1), 200, edu_emotionnet.STEPS, np.random.default_rng(1), classes=4, rate=1.0, pattern="single")
    assert drawn.mask.sum(axis=2).max() == 1
    assert fused.figures("", answer(drawn)).accuracy > 0.6
