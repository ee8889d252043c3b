"""Made-up classes are the same in every draw, and recurrent networks compute the same as ONNX."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import peer_networks


@pytest.mark.parametrize("made", peer_networks.MADE, ids=lambda made: made.file)
def test_draws_repeat_and_differ_by_seed(made):
    inputs, labels = peer_networks.draw(made, 5, seed=1)
    again, same_labels = peer_networks.draw(made, 5, seed=1)
    others, _ = peer_networks.draw(made, 5, seed=2)
    assert {name: values.shape for name, values in inputs.items()} == {name: (5, *shape) for name, shape in made.shapes.items()}
    assert np.array_equal(labels, same_labels)
    for name in inputs:
        assert np.array_equal(inputs[name], again[name])
        assert not np.array_equal(inputs[name], others[name])


def test_a_class_looks_the_same_in_every_draw():
    made = peer_networks.MADE[1]
    means = []
    for seed in (1, 2):
        inputs, labels = peer_networks.draw(made, 2000, seed=seed)
        means.append(np.stack([inputs["frames"][labels == c].mean(axis=0).ravel() for c in range(peer_networks.CLASSES)]))
    likeness = np.corrcoef(*[m - m.mean(axis=0) for m in means])[: peer_networks.CLASSES, peer_networks.CLASSES :]
    assert (likeness.argmax(axis=1) == np.arange(peer_networks.CLASSES)).all()


@pytest.mark.convert
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_recurrent_network_written_as_onnx_computes_the_same(kind, tmp_path):
    keras = pytest.importorskip("keras")
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from benchmarks import peer_rnn_onnx

    keras.utils.set_random_seed(5)
    layer = getattr(keras.layers, kind)
    inputs = keras.Input((6, 4), name="frames")
    x = keras.layers.Bidirectional(layer(3, return_sequences=True, bias_initializer="normal"))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(layer(5, bias_initializer="normal")(x)))
    peer_rnn_onnx.write(model, tmp_path / "net.onnx")
    samples = np.random.default_rng(0).normal(size=(4, 6, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    got = np.concatenate([session.run(None, {"frames": sample[None]})[0] for sample in samples])
    assert got == pytest.approx(np.asarray(model(samples)), abs=1e-6)
