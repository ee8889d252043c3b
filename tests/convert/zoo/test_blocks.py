"""What the published systems share computes what its docstrings say."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.zoo import blocks  # noqa: E402


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def computed(make, *shapes):
    """What ``make`` computes of one random sample: (inputs, output, the model), without batch axes."""
    keras.utils.set_random_seed(0)
    tensors = [keras.Input(shape) for shape in shapes]
    model = keras.Model(tensors, make(*tensors))
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    return arrays, model([x[None] for x in arrays]).numpy()[0], model


def test_the_masked_softmax_is_the_softmax_of_what_is_present():
    scores, mask = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([scores, mask], blocks.masked_softmax(scores, mask))
    x = np.array([[0.3, -1.0, 9.0], [0.3, -1.0, 9.0], [-50.0, 50.0, 50.0]], np.float32)
    present = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
    got = model([x, present]).numpy()
    np.testing.assert_allclose(got[0], softmax(2 * np.tanh(x[0])), atol=1e-5)
    np.testing.assert_allclose(got[1, :2], softmax(2 * np.tanh(x[1, :2])), atol=1e-3)
    assert got[2, 0] > 0.999  # the least score against the greatest, absent


def test_the_weighted_sum_and_the_mask_of_vectors():
    (weights, vectors), got, _ = computed(blocks.weighted_sum, (3,), (3, 4))
    np.testing.assert_allclose(got, weights @ vectors, atol=1e-5)
    (vectors, mask), got, _ = computed(blocks.masked, (3, 4), (3,))
    np.testing.assert_allclose(got, vectors * mask[:, None], atol=1e-6)


def test_temporal_attention_is_additive_attention():
    (x,), got, model = computed(lambda x: blocks.temporal_attention(x, 6), (5, 4))
    w, b, v = (*model.get_layer("attention_hidden").get_weights(), *model.get_layer("attention_energy").get_weights())
    np.testing.assert_allclose(got, softmax((np.tanh(x @ w + b) @ v)[:, 0]) @ x, atol=1e-5)


def test_the_fusion_weighs_projected_streams_and_ignores_what_lies_in_absent_ones(run):
    keras.utils.set_random_seed(0)
    model = blocks.attention_fusion({"a": 5, "b": 3}, 4, width=6, dropout=0.5)
    rng = np.random.default_rng(0)
    x = {"a": rng.random((1, 5)), "b": rng.random((1, 3))}

    def dense(name, values):
        kernel, bias = model.get_layer(name).get_weights()
        return values @ kernel + bias

    streams = [np.maximum(dense(f"project_{name}", values), 0) for name, values in x.items()]
    scores = np.concatenate([dense(f"score_{name}", h) for name, h in zip(x, streams, strict=True)], axis=1)
    weights = softmax(2 * np.tanh(scores))
    logits = dense("logits", weights[:, :1] * streams[0] + weights[:, 1:] * streams[1])
    got = run(model, **x, mask=[[1, 1]])
    np.testing.assert_allclose(got["weights"], weights, atol=1e-5)
    np.testing.assert_allclose(got["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(got["probabilities"], softmax(logits), atol=1e-5)
    wild = run(model, **(x | {"b": np.full((1, 3), 1e5)}), mask=[[1, 0]])
    np.testing.assert_allclose(wild["probabilities"], softmax(dense("logits", streams[0])), atol=1e-3)
