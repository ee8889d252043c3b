"""Edu-EmotionNet: alignment, importance and feedback as defined, stages that chain to the whole, absence, and int8."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.zoo import inputs  # noqa: E402
from convert.zoo.blocks import stages  # noqa: E402
from convert.zoo.edu_emotionnet import edu_emotionnet, unrolled  # noqa: E402

STEPS, CLASSES = 4, 4
WIDTHS = {"face": 6, "speech": 5, "physiology": 4, "behaviour": 7}


def widths(count=3):
    return dict(list(WIDTHS.items())[:count])


def draw(count=3, steps=STEPS):
    windows = {name: inputs.embedding_windows(steps, size) for name, size in widths(count).items()}
    return inputs.draw(**windows, mask=inputs.mask_windows(steps, count), previous=inputs.predictions(CLASSES))


def small(count=3):
    keras.utils.set_random_seed(0)
    return edu_emotionnet(widths(count), steps=STEPS, width=12, classes=CLASSES)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_stages_of_a_loaded_model_chained_give_what_the_whole_gives(count, reloaded, run):
    whole, x = small(count), draw(count)(np.random.default_rng(0), 5)
    parts = stages(reloaded(whole))
    windows = {
        name: np.stack([run(parts[f"{name}_encoder"], **{name: x[name][:, t]})["embedding"] for t in range(STEPS)], axis=1)
        for name in widths(count)
    }
    chained = run(parts["fusion"], **windows, mask=x["mask"], previous=x["previous"])
    for name, values in run(whole, **x).items():
        np.testing.assert_allclose(chained[name], values, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_ordered_pair_of_modalities_attends(count):
    names = {layer.name for layer in stages(small(count))["fusion"].layers if layer.name.startswith("attention_")}
    assert names == {f"attention_{m}_{n}" for m in widths(count) for n in widths(count) if m != n}


def inner(model, *names):
    fusion = stages(model)["fusion"]
    return keras.Model(fusion.inputs, {name: fusion.get_layer(name).output for name in names})


def test_alignment_is_the_layer_norm_of_the_embedding_and_what_attention_found(run):
    """h + sum over n of softmax(2 tanh(q K_n / sqrt(width)) - 12 (1 - mask_n)) V_n, from the weights themselves."""
    model = small(2)
    fusion, rng = stages(model)["fusion"], np.random.default_rng(5)
    x = {name: np.maximum(rng.normal(size=(1, STEPS, 12)), 0).astype(np.float32) for name in widths(2)}
    mask = np.array([[[1, 1], [1, 0], [1, 1], [1, 1]]], np.float32)
    kernel = {name: fusion.get_layer(name).get_weights()[0] for name in ("query_face", "key_speech", "value_speech")}
    speech = x["speech"][0] * mask[0, :, 1:]
    scores = 2 * np.tanh(speech @ kernel["key_speech"] @ (x["face"][0, -1] @ kernel["query_face"]) / np.sqrt(12)) - 12 * (1 - mask[0, :, 1])
    weights = np.exp(scores) / np.exp(scores).sum()
    h = x["face"][0, -1] + weights @ (speech @ kernel["value_speech"])
    expected = (h - h.mean()) / np.sqrt(h.var() + fusion.get_layer("aligned_face").epsilon)
    got = run(inner(model, "aligned_face"), **x, mask=mask, previous=np.full((1, CLASSES), 0.25))
    np.testing.assert_allclose(got["aligned_face"][0], expected, atol=1e-4)


def test_the_prediction_is_the_sum_weighed_by_confidence_with_the_gated_memory(run):
    model, x = small(), draw()(np.random.default_rng(6), 10)
    fusion = stages(model)["fusion"]
    windows = {name: inputs.embedding_windows(STEPS, 12)(np.random.default_rng(7), 10) for name in widths()}
    x = windows | {"mask": x["mask"], "previous": x["previous"]}
    parts = run(inner(model, "confidences", *(f"aligned_{name}" for name in widths())), **x)
    now = x["mask"][:, -1]
    z = sum(parts["confidences"][:, i : i + 1] * now[:, i : i + 1] * parts[f"aligned_{name}"] for i, name in enumerate(widths()))
    gate, recall, logits = (fusion.get_layer(name).get_weights() for name in ("gate", "recall", "logits"))
    opening = 1 / (1 + np.exp(-(np.concatenate([z, x["previous"]], axis=1) @ gate[0] + gate[1])))
    expected = (z + opening * (x["previous"] @ recall[0] + recall[1])) @ logits[0] + logits[1]
    np.testing.assert_allclose(run(fusion, **x)["logits"], expected, atol=1e-4)


@pytest.mark.parametrize("absent", list(widths()))
def test_what_lies_in_an_absent_modality_changes_nothing(absent, settled, run):
    x = draw()(np.random.default_rng(2), 20)
    model = settled(small(), x)
    index = list(widths()).index(absent)
    x["mask"][:] = 1
    x["mask"][:, :, index] = 0
    told = run(model, **x)
    other = run(model, **(x | {absent: inputs.embedding_windows(STEPS, WIDTHS[absent])(np.random.default_rng(3), 20)}))
    np.testing.assert_allclose(told["probabilities"], other["probabilities"], atol=2e-3)
    assert told["confidences"][:, index].max() < 1e-3


def test_with_nothing_present_the_previous_prediction_decides(settled, run):
    x = draw()(np.random.default_rng(2), 20)
    model = settled(small(), x)
    x["mask"][:] = 0
    x["previous"] = np.tile(x["previous"][:1], (20, 1))
    answer = run(model, **x)["probabilities"]
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer, np.tile(answer[:1], (20, 1)), atol=1e-6)


def test_unrolled_feeds_each_step_the_prediction_before_it_and_shares_the_weights(run):
    horizon, step = 3, small()
    whole = unrolled(step, horizon)
    x = draw(steps=STEPS + horizon - 1)(np.random.default_rng(8), 6)
    got = next(iter(run(whole, **x).values()))
    previous = x["previous"]
    for t in range(horizon):
        cut = {name: x[name][:, t : t + STEPS] for name in (*widths(), "mask")}
        previous = run(step, **cut, previous=previous)["probabilities"]
        np.testing.assert_allclose(got[:, t], previous, atol=1e-5)
    assert whole.count_params() == step.count_params()


def test_it_converts_to_int8_with_its_state_fed_back(converted, run):
    model = small()
    stage = converted(model, draw()).model()
    x = draw(steps=STEPS + 9)(np.random.default_rng(9), 1)
    state = expected = np.full(CLASSES, 1 / CLASSES, np.float32)
    for t in range(10):
        cut = {name: x[name][0, t : t + STEPS] for name in (*widths(), "mask")}
        answer = stage.run(**cut, previous=state)
        state = answer["probabilities"].copy()
        expected = run(model, **{name: values[None] for name, values in cut.items()}, previous=expected[None])["probabilities"][0]
        np.testing.assert_allclose(state, expected, atol=0.1)
    nobody = stage.run(**(cut | {"mask": np.zeros((STEPS, 3), np.float32)}), previous=state)
    assert all(np.isfinite(values).all() for values in nobody.values())
