"""The layer that is at fault is the one that is named."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert.layers import layer_errors, sqnr_db  # noqa: E402
from convert.pipeline import convert_model  # noqa: E402
from convert.recipe import STATIC_WI8_AI8  # noqa: E402

RANDOM = np.random.default_rng(0)


def errors(model, samples):
    made = convert_model(model, samples, recipe=STATIC_WI8_AI8)
    return layer_errors(made.made.float_named, made.made.named, {made.inputs[name]: values for name, values in samples.items()})


def test_a_layer_with_one_huge_output_is_to_blame():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((16,), name="x")
    x = layers.Dense(12, activation="relu", name="first")(x)
    spoilt = layers.Dense(12, name="spoilt")
    x = spoilt(x)
    x = layers.Dense(8, activation="relu", name="third")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    # One output is a thousand times the others, so the others share a handful of steps.
    kernel, bias = spoilt.get_weights()
    kernel[:, 0] *= 1000
    spoilt.set_weights([kernel, bias])
    third = model.get_layer("third")
    weights, bias = third.get_weights()
    weights[0] = 0  # and nobody reads it
    third.set_weights([weights, bias])
    found = errors(model, {"x": RANDOM.normal(size=(120, 16)).astype(np.float32)})
    assert [layer.operator for layer in found] == ["FULLY_CONNECTED"] * 4
    own = [layer.step_sqnr_db for layer in found]
    # By itself, the third adds little; what it got was spoilt already.
    assert found[2].sqnr_db < found[0].sqnr_db - 10
    assert own[2] > found[2].sqnr_db + 10
    # The scale is one for the tensor: a thousand times too wide for all but one of its numbers.
    assert max(map(abs, found[1].float_range)) > 100 * max(map(abs, found[0].float_range))


def test_every_operator_of_a_recurrent_network_is_matched():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((5, 4), name="x")
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    samples = {"x": RANDOM.normal(size=(120, 5, 4)).astype(np.float32)}
    made = convert_model(model, samples, lstm_form="fused")
    found = layer_errors(made.made.float_named, made.made.named, {"x": samples["x"]})
    lstms = [layer for layer in found if layer.operator == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert len(lstms) == 2
    assert all(layer.sqnr_db > 15 and layer.step_sqnr_db is not None and layer.step_sqnr_db >= layer.sqnr_db - 3 for layer in lstms)
    assert all(layer.stored_range is not None and layer.clipped_share < 0.2 for layer in found)


def test_signal_to_noise_is_finite_and_right():
    assert sqnr_db(100.0, 1.0) == pytest.approx(20.0)
    assert sqnr_db(1.0, 0.0) == 120.0
    assert sqnr_db(0.0, 1.0) == pytest.approx(-300.0)
