"""Recurrent layers of ONNX in both forms: what onnxruntime computes, whatever the direction, the layout and the first state."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
pytest.importorskip("onnx")

from convert import flatbuffer  # noqa: E402
from convert.quantize import quantize  # noqa: E402
from convert.readers.onnx import read_onnx  # noqa: E402
from convert.recipe import Recipe  # noqa: E402
from convert.verify import outputs_of  # noqa: E402
from edge.errors import ConversionError  # noqa: E402
from edge.inference.model import Model  # noqa: E402
from tests.convert.readers.onnx_models import Case, integers, joined, model, node, save, weights  # noqa: E402

STEPS, WIDTH, UNITS = 5, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUSABLE = 7
"""Directions of LSTM in CASES that have zero at the start and usual activations, and whose cell state nobody reads."""


def layer(kind: str, *, outputs: str = "y", inputs: str = "x w r b", state: np.ndarray | None = None, **attributes) -> Case:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[kind] * UNITS
    constants = {
        "w": weights(directions, rows, WIDTH), "r": weights(directions, rows, UNITS, seed=1), "b": weights(directions, 2 * rows, seed=2),
        "lengths": np.array([STEPS], np.int32), "h": state,
    }  # fmt: skip
    used = {name: constants[name] for name in inputs.split() if name in constants}
    made = node(kind, inputs, outputs, hidden_size=UNITS, **attributes)
    return Case([made], {"x": (STEPS, 1, WIDTH)}, " ".join(name for name in outputs.split() if name != "-"), used)


ZERO, GIVEN = np.zeros((1, 1, UNITS), np.float32), weights(1, 1, UNITS, seed=7)

CASES = {
    "lstm": layer("LSTM"),
    "lstm backwards": layer("LSTM", direction="reverse"),
    "lstm both ways, all outputs": layer("LSTM", outputs="y h_n c_n", direction="bidirectional"),
    "lstm both ways, last states": layer("LSTM", outputs="- h_n", direction="bidirectional"),
    "lstm without bias": layer("LSTM", inputs="x w r"),
    "lstm of full length": layer("LSTM", inputs="x w r b lengths"),
    "lstm from zero": layer("LSTM", inputs="x w r b - h", state=ZERO),
    "lstm from a given state": layer("LSTM", inputs="x w r b - h", state=GIVEN),
    "lstm with other activations": layer("LSTM", activations=["HardSigmoid", "Relu", "Relu"]),
    "gru": layer("GRU"),
    "gru of torch": layer("GRU", linear_before_reset=1),
    "gru both ways, all outputs": layer("GRU", outputs="y h_n", direction="bidirectional", linear_before_reset=1),
    "gru without bias": layer("GRU", inputs="x w r"),
    "gru from a given state": layer("GRU", inputs="x w r b - h", state=GIVEN),
    "rnn": layer("RNN", outputs="y h_n"),
    "rnn both ways": layer("RNN", outputs="y h_n", direction="bidirectional"),
    "rnn of relu from a given state": layer("RNN", inputs="x w r b - h", state=GIVEN, activations=["Relu"]),
}


@pytest.mark.parametrize("form", ["fused", "unrolled"])
def test_recurrent_layers_compute_what_onnxruntime_computes(form, tmp_path, worker):
    source = read_onnx(save(joined(CASES, 17), tmp_path))
    assert source.forms == ("fused", "unrolled")
    random = np.random.default_rng(3)
    samples = {name: random.normal(size=(3, *shape)).astype(np.float32) for name, shape in source.inputs.items()}
    made = quantize(source, None, recipe=Recipe("float32", "float32", "float32", lstm_form=form), worker=worker)
    expected, got = source.predict(samples), outputs_of(Model(made.content, name="all", inputs=made.inputs, outputs=made.outputs), samples)
    names = list(CASES)
    off = {f"{names[int(key.split('_')[0])]}: {key}": np.abs(got[key] - expected[key]).max() for key in expected}
    assert {key: error for key, error in off.items() if not error < 1e-5} == {}
    assert flatbuffer.histogram(made.content).get("UNIDIRECTIONAL_SEQUENCE_LSTM", 0) == (FUSABLE if form == "fused" else 0)


def test_time_in_front_of_the_batch_becomes_batch_first(tmp_path):
    made = model([node("LSTM", "x w r", "y", hidden_size=UNITS)], {"x": (STEPS, "batch", WIDTH)}, "y", layer("LSTM").constants)
    source = read_onnx(save(made, tmp_path))
    assert source.inputs == {"x": (STEPS, WIDTH)}
    assert "input 'x' is batch-first: (5, 1, 3) in the file, (1, 5, 3) here" in source.notes
    x = np.random.default_rng(0).normal(size=(2, STEPS, WIDTH)).astype(np.float32)
    assert source.predict({"x": x})["y"].shape == (2, STEPS, 1, 1, UNITS)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (layer("LSTM", input_forget=1), "input_forget is not supported"),
        (layer("LSTM", clip=3.0), "clip is not supported"),
        (layer("LSTM", activations=["Sigmoid", "Tanh", "Relu"]), "two different activations of cell and output"),
        (layer("GRU", activations=["Sigmoid", "Softsign"]), "activation 'softsign' is not supported"),
    ],
)
def test_what_the_forms_cannot_do_is_refused_by_name(case, why, tmp_path):
    source = read_onnx(save(model(case.nodes, case.inputs, case.outputs, case.constants), tmp_path))
    with pytest.raises(ConversionError, match=rf"^{case.nodes[0].op_type} 'y' cannot be written: {why}") as caught:
        source.export(tmp_path, "unrolled")
    assert "\n" not in str(caught.value)


def test_sequences_of_their_own_lengths_are_refused(tmp_path):
    case = layer("LSTM", inputs="x w r b lengths")
    made = model(case.nodes, case.inputs, "y", {**case.constants, "lengths": np.array([STEPS - 2], np.int32)})
    with pytest.raises(ConversionError, match="sequence_lens shorter than the input"):
        read_onnx(save(made, tmp_path)).export(tmp_path, "fused")


def test_a_state_that_comes_from_an_input_is_carried_over(tmp_path, worker):
    """A decoder's step: the state goes in and comes out."""
    constants = layer("LSTM").constants
    nodes = [node("LSTM", "x w r b - h c", "y h_n c_n", hidden_size=UNITS), node("Squeeze", "h_n first", "out")]
    made = model(nodes, {"x": (1, 1, WIDTH), "h": (1, 1, UNITS), "c": (1, 1, UNITS)}, "out c_n", {**constants, "first": integers(0)})
    source = read_onnx(save(made, tmp_path))
    assert source.forms == ("unrolled",)
    random = np.random.default_rng(4)
    samples = {name: random.normal(size=(3, *shape)).astype(np.float32) for name, shape in source.inputs.items()}
    converted = quantize(source, None, recipe=Recipe("float32", "float32", "float32"), worker=worker)
    got = outputs_of(Model(converted.content, name="step", inputs=converted.inputs, outputs=converted.outputs), samples)
    for name, values in source.predict(samples).items():
        np.testing.assert_allclose(got[name], values, atol=1e-5)
