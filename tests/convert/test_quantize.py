"""Small networks of every kind become integer-only flatbuffers that agree with Keras."""

from __future__ import annotations

import dataclasses
import os
import signal

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert import flatbuffer, lowering  # noqa: E402
from convert.quantize import quantize  # noqa: E402
from convert.readers.keras import KerasSource  # noqa: E402
from convert.recipe import FLOAT32, STATIC_WI8_AI8, find_recipe  # noqa: E402
from convert.verify import outputs_of  # noqa: E402
from convert.worker import Worker, explain  # noqa: E402
from edge.errors import ConversionError, InputError  # noqa: E402
from edge.inference.model import Model  # noqa: E402


@pytest.fixture(scope="module")
def worker():
    with Worker() as running:
        yield running


def network(*stack, shape):
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input(shape, name="x")
    for layer in stack:
        x = layer(x)
    logits = layers.Dense(3, name="logits")(layers.Flatten()(x))
    return keras.Model(inputs, {"logits": logits, "probabilities": layers.Softmax()(logits)}, name="small")


def convolution():
    return network(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.DepthwiseConv2D(3), shape=(8, 8, 1))


def bidirectional():
    return network(layers.Conv1D(6, 3), layers.Bidirectional(layers.LSTM(5, return_sequences=True)), layers.LSTM(4), shape=(7, 4))


def attention():
    x = inputs = keras.Input((6, 8), name="x")
    x = layers.LayerNormalization()(layers.add([x, layers.MultiHeadAttention(2, 4)(x, x)]))
    logits = layers.Dense(3)(layers.GRU(4)(x))
    return keras.Model(inputs, {"logits": logits, "probabilities": layers.Softmax()(logits)}, name="attention")


def samples(model, count=100):
    return {"x": np.random.default_rng(5).normal(size=(count, *model.inputs[0].shape[1:])).astype(np.float32)}


@pytest.mark.parametrize("form", ["fused", "unrolled"])
@pytest.mark.parametrize("make", [convolution, bidirectional, attention])
def test_integers_throughout_and_close_to_keras(make, form, worker):
    model = make()
    data = samples(model)
    made = quantize(KerasSource(model), data, recipe=dataclasses.replace(STATIC_WI8_AI8, lstm_form=form), worker=worker)
    stage = Model(made.content, name="s", inputs=made.inputs, outputs=made.outputs)
    details = stage.details()
    assert {tensor.dtype for tensor in (*details.inputs.values(), *details.outputs.values())} == {"int8"}
    assert (made.inputs, set(made.outputs)) == ({"x": "x"}, {"logits", "probabilities"})
    expected, got = lowering.predict(model, data), outputs_of(stage, data)
    assert np.abs(expected["probabilities"] - got["probabilities"]).max() < 0.04
    assert np.abs(expected["probabilities"] - got["probabilities"]).mean() < 0.006
    fused = flatbuffer.histogram(made.content).get("UNIDIRECTIONAL_SEQUENCE_LSTM", 0)
    assert fused == (3 if make is bidirectional and form == "fused" else 0)
    once, again = stage.run(x=data["x"][0]), stage.run(x=data["x"][0])
    assert all((once[name] == again[name]).all() for name in once), "state is left from one inference to the next"
    if fused:
        tree = flatbuffer.unpack(made.content)
        assert {o.options.cellClip for o in flatbuffer.operators(tree) if "LSTM" in o.name} == {0}


def test_a_cell_that_stays_small_survives_the_fused_operator(worker):
    model = network(layers.Rescaling(0.02), layers.LSTM(5), shape=(6, 4))
    data = samples(model)
    made = quantize(KerasSource(model), data, recipe=dataclasses.replace(STATIC_WI8_AI8, lstm_form="fused"), worker=worker)
    got = outputs_of(Model(made.content, name="s", inputs=made.inputs, outputs=made.outputs), data)
    expected = lowering.predict(model, data)
    assert np.abs(expected["probabilities"] - got["probabilities"]).max() < 0.01


@pytest.mark.parametrize("form", ["fused", "unrolled"])
def test_both_directions_keep_their_scale(form, worker):
    model = network(layers.Bidirectional(layers.LSTM(5, return_sequences=True)), shape=(7, 4))
    data = samples(model)
    made = quantize(KerasSource(model), data, recipe=dataclasses.replace(STATIC_WI8_AI8, lstm_form=form), worker=worker)
    got = outputs_of(Model(made.content, name="s", inputs=made.inputs, outputs=made.outputs), data)
    bias = (got["logits"] - lowering.predict(model, data)["logits"]).mean(axis=0)
    assert np.abs(bias).max() < 0.01  # 0.05 where the converter's mismatched scales are left
    tree = flatbuffer.unpack(made.content)
    tensors = tree.subgraphs[0].tensors
    for operator in flatbuffer.operators(tree):
        if operator.name in flatbuffer.COPYING:
            assert flatbuffer.same_quantization(tensors[operator.inputs[0]], tensors[operator.outputs[0]]), operator


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(worker):
    model = bidirectional()
    first, second = (quantize(KerasSource(model), samples(model), worker=worker) for _ in range(2))
    assert first == second


def test_a_float_recipe_needs_no_samples_and_equals_keras(worker):
    model = bidirectional()
    made = quantize(KerasSource(model), None, recipe=FLOAT32, worker=worker)
    data = samples(model, 5)
    got = outputs_of(Model(made.content, name="s", inputs=made.inputs, outputs=made.outputs), data)
    np.testing.assert_allclose(got["logits"], lowering.predict(model, data)["logits"], atol=1e-5)
    assert made.content == made.float_content


def test_bad_samples_are_refused_before_anything_starts():
    with pytest.raises(InputError, match="12 calibration samples are too few"):
        quantize(KerasSource(convolution()), samples(convolution(), 12))
    with pytest.raises(InputError, match="no recipe is called 'int4': choose one of static_wi8_ai8, static_wi8_ai16, dynamic"):
        find_recipe("int4")


def test_an_operator_without_a_builtin_kernel_is_named(worker):
    x = keras.Input((4,), name="x")
    model = keras.Model(x, keras.ops.erfinv(keras.ops.tanh(x)), name="odd")
    with pytest.raises(ConversionError, match=r"'odd' failed while converting to float: no builtin operator for tf\.Erfinv") as caught:
        quantize(KerasSource(model), samples(model), worker=worker)
    assert "\n" not in str(caught.value)


def test_an_input_without_effect_is_named(worker):
    x, idle = keras.Input((4,), name="x"), keras.Input((4,), name="idle")
    model = keras.Model([x, idle], layers.Dense(2)(x), name="odd")
    data = {"x": samples(model)["x"], "idle": samples(model)["x"]}
    try:
        made = quantize(KerasSource(model), data, worker=worker)
    except ConversionError as error:
        assert "'idle' has no effect" in str(error)
    else:
        assert set(made.inputs) == {"x", "idle"}


def test_a_float_tensor_left_behind_is_named(worker):
    model = convolution()
    made = quantize(KerasSource(model), None, recipe=FLOAT32, worker=worker)
    with pytest.raises(ConversionError, match="'small' is not integer-only: tensor 'x' of CONV_2D is float32"):
        flatbuffer.check_integer(flatbuffer.unpack(made.content), "small")


@pytest.mark.slow
def test_a_crash_of_the_converter_is_one_line_and_the_next_conversion_works():
    model = convolution()
    with Worker() as own:
        stages = []

        def crash(stage: str) -> None:
            stages.append(stage)
            if stage == "converting to float":
                os.kill(own._process.pid, signal.SIGSEGV)

        with pytest.raises(ConversionError, match=r"'small': the converter crashed while converting to float \(SIGSEGV\)") as caught:
            quantize(KerasSource(model), samples(model), worker=own, progress=crash)
        assert "\n" not in str(caught.value)
        assert stages[0] == "exporting"
        assert quantize(KerasSource(model), samples(model), worker=own).content


def test_pages_of_mlir_become_one_line():
    text = "loc(...): error: 'tf.Erf' op is neither a custom op nor a flex op\n\terror: failed while converting\nmore\n"
    assert explain(RuntimeError(text)) == "no builtin operator for tf.Erf"
    assert explain(RuntimeError("first\nfile.cc:3: error: bad thing\nlast")) == "bad thing"
    assert explain(RuntimeError()) == "RuntimeError"


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_beside_a_fused_lstm_of_the_same_width_keeps_its_own_start(reset_after, worker):
    # The converter merges equal constants: the GRU's zero start and the LSTM's state, which changes.
    model = network(layers.LSTM(4, return_sequences=True), layers.GRU(4, reset_after=reset_after), shape=(6, 5))
    data = samples(model)
    made = quantize(KerasSource(model), data, recipe=dataclasses.replace(FLOAT32, lstm_form="fused"), worker=worker)
    stage = Model(made.content, name="s", inputs=made.inputs, outputs=made.outputs)
    got = outputs_of(stage, data)["probabilities"]
    np.testing.assert_allclose(got, lowering.predict(model, data)["probabilities"], atol=1e-5)
