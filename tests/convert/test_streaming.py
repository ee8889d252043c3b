"""One step at a time gives what the whole window gives."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert.readers.keras import KerasSource  # noqa: E402
from convert.streaming import convert_steps, run_windows, steps_of, stepwise  # noqa: E402
from convert.worker import Worker  # noqa: E402
from edge.errors import ConversionError  # noqa: E402

RANDOM = np.random.default_rng(0)
STEPS = 6


@pytest.fixture(scope="module")
def worker():
    with Worker() as running:
        yield running


def network(*recurrent, pictures=False):
    keras.utils.set_random_seed(4)
    shape = (STEPS, 8, 8, 1) if pictures else (STEPS, 5)
    x = inputs = keras.Input(shape, name="x")
    if pictures:
        x = layers.TimeDistributed(layers.Conv2D(3, 3, activation="relu"))(x)
        x = layers.TimeDistributed(layers.Flatten())(x)
    x = layers.LayerNormalization()(layers.Dense(6)(x))
    for layer in recurrent:
        x = layers.Dropout(0.5)(layer(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="p")(x), name="net")


def windows(model, count=40):
    return {"x": RANDOM.normal(size=(count, *model.inputs[0].shape[1:])).astype(np.float32)}


@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8", "dynamic_wi8_afp32"])
def test_stepping_through_a_window_gives_its_answer(recipe, worker):
    model = network(layers.LSTM(7, return_sequences=True), layers.LSTM(5, return_sequences=True), layers.GRU(6), pictures=True)
    source, data = KerasSource(model), windows(model)
    stage, some = convert_steps(source, data, verification=data, recipe=recipe, worker=worker)
    assert stage.report.lstm_form == "step"
    assert "40 whole windows of 6 steps" in stage.report.source["notes"][-1]
    assert set(stage.inputs) == {"x", *(f"state_{i}" for i in range(5))}
    assert set(stage.outputs) == {"p", *(f"next_state_{i}" for i in range(5))}
    assert some["x"].shape[1:] == (8, 8, 1)
    error = stage.report.verification.outputs["p"]
    assert error.max_error < (1e-5 if recipe == "float32" else 0.03)
    assert set(stage.report.verification.outputs) == {"p"}


def test_an_answer_at_every_step_is_given_at_every_step(worker):
    model = network(layers.GRU(6, return_sequences=True, reset_after=False))
    source, data = KerasSource(model), windows(model, 5)
    made = stepwise(model)
    stage, _ = convert_steps(source, data, verification=data, recipe="float32", worker=worker)
    np.testing.assert_allclose(run_windows(stage.model(), made, data)["p"], source.predict(data)["p"][:, -1], atol=1e-5)


def test_steps_for_calibration_come_from_early_and_late_in_the_window():
    model = network(layers.LSTM(7))
    steps = steps_of(stepwise(model), windows(model, 200), count=120)
    assert {values.shape[0] for values in steps.values()} == {120}
    starts = (np.abs(steps["state_0"]).sum(axis=1) == 0).mean()
    assert 0.5 / STEPS < starts < 2 / STEPS


def test_an_input_that_is_no_sequence_stays_as_it_is(worker):
    keras.utils.set_random_seed(0)
    x, mask = keras.Input((STEPS, 5), name="x"), keras.Input((4,), name="mask")
    h = layers.Concatenate()([layers.LSTM(6)(x), mask])
    model = keras.Model([x, mask], layers.Dense(3, activation="softmax", name="p")(h))
    made = stepwise(model)
    assert made.sequences == ("x",)
    data = {"x": windows(model, 9)["x"], "mask": RANDOM.random((9, 4)).astype(np.float32)}
    stage, _ = convert_steps(KerasSource(model), data, verification=data, recipe="float32", worker=worker)
    assert stage.report.verification.outputs["p"].max_error < 1e-5


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (layers.Bidirectional(layers.LSTM(4)), "no forward recurrent layer"),
        (layers.LSTM(4, go_backwards=True), "runs backwards"),
        (layers.GlobalAveragePooling1D(), "no forward recurrent layer"),
    ],
)
def test_what_needs_the_future_has_no_step_form(layer, words):
    with pytest.raises(ConversionError, match=words):
        stepwise(network(layer))


def test_a_layer_that_needs_all_steps_at_once_is_named():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((STEPS, 5), name="x")
    x = layers.LSTM(4, return_sequences=True)(layers.Conv1D(4, 3, padding="same", name="looks_ahead")(x))
    with pytest.raises(ConversionError, match=r"layer 'looks_ahead' \(Conv1D\) needs all steps at once"):
        stepwise(keras.Model(inputs, layers.Dense(2)(x)))
