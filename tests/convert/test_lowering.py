"""What is written differently for the converter computes what Keras computes."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert import lowering  # noqa: E402
from edge.errors import ConversionError  # noqa: E402

STEPS, WIDTH, UNITS = 5, 3, 4


def randomized(model):
    """Random weights also where Keras starts with zeros or ones, which would hide a wrong bias."""
    random = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(random.normal(0, 0.4, variable.shape) + (1 if "variance" in variable.path else 0))
    return model


def sequence(*stack, shape=(STEPS, WIDTH)):
    x = inputs = keras.Input(shape, name="x")
    for layer in stack:
        x = layer(x)
    return randomized(keras.Model(inputs, x))


def explicit_state():
    x, h, c = keras.Input((STEPS, WIDTH), name="x"), keras.Input((UNITS,), name="h"), keras.Input((UNITS,), name="c")
    out, last_h, last_c = layers.LSTM(UNITS, return_state=True)(x, initial_state=[h, c])
    return randomized(keras.Model([x, h, c], {"out": out, "next_h": last_h, "next_c": last_c}))


MODELS = {
    "lstm": lambda: sequence(layers.LSTM(UNITS)),
    "lstm backwards, all steps": lambda: sequence(layers.LSTM(UNITS, return_sequences=True, go_backwards=True)),
    "lstm without bias": lambda: sequence(layers.LSTM(UNITS, use_bias=False)),
    "lstm with other activations": lambda: sequence(layers.LSTM(UNITS, activation="relu", recurrent_activation="hard_sigmoid")),
    "lstm with explicit state": explicit_state,
    "bidirectional": lambda: sequence(layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True)), layers.LSTM(2)),
    "gru": lambda: sequence(layers.GRU(UNITS, return_sequences=True), layers.GRU(UNITS)),
    "gru, reset before": lambda: sequence(layers.GRU(UNITS, reset_after=False, go_backwards=True, return_sequences=True)),
    "gru without bias": lambda: sequence(layers.GRU(UNITS, use_bias=False)),
    "simple rnn": lambda: sequence(layers.SimpleRNN(UNITS)),
    "masked lstm": lambda: sequence(layers.Masking(9.0), layers.LSTM(UNITS)),
    "layer normalization": lambda: sequence(layers.LayerNormalization(), layers.LayerNormalization(axis=1, center=False)),
    "layer normalization over two axes": lambda: sequence(layers.LayerNormalization(axis=[1, 2], scale=False)),
    "time distributed": lambda: sequence(
        layers.TimeDistributed(keras.Sequential([layers.Conv2D(2, 2), layers.BatchNormalization(), layers.Flatten()])),
        shape=(STEPS, 4, 4, 1),
    ),
}


@pytest.mark.parametrize("form", ["fused", "unrolled"])
@pytest.mark.parametrize("name", MODELS)
def test_a_lowered_layer_computes_what_keras_computes(name, form):
    model = MODELS[name]()
    random = np.random.default_rng(2)
    samples = {
        key: random.normal(size=(1, *x.shape[1:])).astype(np.float32)
        for key, x in zip(lowering.input_names(model), model.inputs, strict=True)
    }
    expected = lowering.predict(model, samples)
    with lowering.lowered(form):
        got = tf.function(lambda: lowering.call(model, [tf.constant(x) for x in samples.values()]), autograph=False)()
    assert list(expected) == list(got)
    for key, values in expected.items():
        np.testing.assert_allclose(got[key], values, atol=2e-6)


def test_keras_is_as_it_was_afterwards():
    before = [
        layers.LSTM.inner_loop,
        layers.GRU.inner_loop,
        layers.LayerNormalization.call,
        layers.TimeDistributed.call,
        layers.RNN.inner_loop,
    ]
    with pytest.raises(RuntimeError), lowering.lowered():
        assert layers.LSTM.inner_loop is not before[0]
        raise RuntimeError
    after = [
        layers.LSTM.inner_loop,
        layers.GRU.inner_loop,
        layers.LayerNormalization.call,
        layers.TimeDistributed.call,
        layers.RNN.inner_loop,
    ]
    assert after == before


def test_export_names_inputs_and_outputs_plainly(tmp_path):
    a, b = keras.Input((2,), name="an odd: name"), keras.Input((2,), name="b")
    model = keras.Model({"b": b, "an odd: name": a}, {"z": layers.Add()([a, b]), "b": b})
    inputs, outputs = lowering.export(model, tmp_path / "saved")
    assert set(outputs) == {"b", "z"}
    run = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    values = {name: tf.constant([[float(i), 1.0]]) for i, name in enumerate(inputs)}
    got = run(**{inputs[name]: value for name, value in values.items()})
    assert got[outputs["z"]].numpy().tolist() == [[1.0, 2.0]]
    assert got[outputs["b"]].numpy().tolist() == values["b"].numpy().tolist()


def test_an_open_axis_is_refused_by_name(tmp_path):
    model = keras.Sequential([keras.Input((None, 3), name="log_mel"), layers.GlobalAveragePooling1D()])
    with pytest.raises(ConversionError, match=r"'log_mel' of 'sequential.*' has an open axis"):
        lowering.export(model, tmp_path / "saved")
