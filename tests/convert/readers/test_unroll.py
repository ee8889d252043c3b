"""Recurrent layers in SavedModels, which are loops there, become integers throughout like any other."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert.pipeline import convert_model  # noqa: E402
from convert.readers import read  # noqa: E402
from edge.errors import ConversionError  # noqa: E402

SAMPLES = np.random.default_rng(0).normal(size=(110, 4, 5)).astype(np.float32)


def exported(folder, *recurrent):
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((4, 5), name="x")
    for layer in recurrent:
        x = layer(x)
    keras.Model(inputs, layers.Dense(3, activation="softmax")(x)).export(folder, verbose=False)
    return read(folder)


@pytest.mark.parametrize(
    "recurrent",
    [
        (layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.LSTM(3)),
        (layers.GRU(4, return_sequences=True), layers.SimpleRNN(3)),
    ],
    ids=["lstm", "gru"],
)
def test_loops_are_written_out_and_quantized(recurrent, tmp_path, worker):
    source = exported(tmp_path / "saved", *recurrent)
    assert "written out step by step" in source.notes[0]
    made = convert_model(source, {"x": SAMPLES}, worker=worker)
    assert made.report.lowering_error < 1e-5
    assert "WHILE" not in made.report.operators
    assert {tensor["dtype"] for tensor in made.report.outputs.values()} == {"int8"}
    assert max(output.mean_error for output in made.report.verification.outputs.values()) < 0.01


def saved(folder, function):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
        def __call__(self, x):
            return {"y": function(x)}

    tf.saved_model.save(Module(), str(folder))
    return read(folder)


def test_a_loop_that_ends_when_its_input_says_so_is_refused_by_name(tmp_path):
    source = saved(tmp_path / "open", lambda x: tf.while_loop(lambda v: tf.reduce_sum(v) < 9, lambda v: [v + 1.0], [x])[0])
    with pytest.raises(ConversionError, match=r"loop '.*while.*' runs until something in its input says so"):
        source.export(tmp_path / "out", "unrolled")


def test_a_loop_without_end_is_refused(tmp_path, monkeypatch):
    from convert.readers import unroll

    monkeypatch.setattr(unroll, "STEPS_AT_MOST", 20)
    source = saved(tmp_path / "long", lambda x: tf.while_loop(lambda i, v: i < 50, lambda i, v: (i + 1, v * 0.9), (0, x))[1])
    with pytest.raises(ConversionError, match="runs more than 20 times"):
        source.export(tmp_path / "out", "unrolled")


def test_counting_loops_and_branches_are_computed_beforehand(tmp_path, worker):
    def function(x):
        total = tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v + tf.cast(i, tf.float32) * x), (0, x))[1]
        return tf.cond(tf.constant(True), lambda: total * 2.0, lambda: total)

    source = saved(tmp_path / "counting", function)
    made = convert_model(source, None, recipe="float32", verification={"x": SAMPLES[:, :1, :4].reshape(-1, 4)}, worker=worker)
    x = SAMPLES[0, 0, :4]
    np.testing.assert_allclose(made.model().run(x=x)["y"], 2 * (x + 0 * x + x + 2 * x), rtol=1e-5)
