"""The model class against arithmetic done by hand, on flatbuffers of one operator."""

from __future__ import annotations

import subprocess
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InferenceError
from edge.inference import model as module
from edge.inference.golden import check_golden, golden
from edge.inference.model import Model, probe

SCALE, ZERO = 0.5, 3


def adder(*, shape=(1, 4)) -> bytes:
    """``sum`` = ``left`` + ``right`` in int8, scale 0.5 and zero point 3 everywhere; tensors are named L:0, R:0, S:0."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 2
    tensors = []
    for name in ("L:0", "R:0", "S:0"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), np.array(shape, np.int32), schema.TensorType.INT8, 0
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = np.array([SCALE], np.float32), np.array([ZERO], np.int64)
        tensors.append(tensor)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = np.array([0, 1], np.int32), np.array([2], np.int32)
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = np.array([0, 1], np.int32), np.array([2], np.int32)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(512)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def load(content: bytes | None = None, **names) -> Model:
    inputs = names.get("inputs", {"left": "L:0", "right": "R:0"})
    return Model(content or adder(), name="sum", inputs=inputs, outputs=names.get("outputs", {"sum": "S:0"}))


@pytest.fixture(scope="module")
def model() -> Model:
    return load()


def test_it_computes_under_public_names_without_the_batch_axis(model):
    result = model.run(left=np.array([1, 2, 3, -4.5]), right=np.array([0.5, 0, 1, 1], np.float32))
    assert list(result) == ["sum"]
    assert result["sum"].dtype == np.float32
    assert result["sum"].tolist() == [1.5, 2.0, 4.0, -3.5]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4))
def test_an_input_is_rounded_to_the_nearest_step_and_clipped_to_its_range(values):
    low, high = (-128 - ZERO) * SCALE, (127 - ZERO) * SCALE
    shared = load()
    stored = shared.quantize(left=np.array(values, np.float32), right=np.zeros(4))["left"]
    assert np.abs((stored.astype(float) - ZERO) * SCALE - np.clip(values, low, high)).max() <= SCALE / 2
    result = shared.run(left=np.array(values, np.float32), right=np.zeros(4, np.float32))["sum"]
    assert result.tolist() == ((stored.astype(float) - ZERO) * SCALE).tolist()


def test_infinity_is_clipped(model):
    result = model.run(left=np.array([np.inf, -np.inf, 0, 0], np.float32), right=np.zeros(4, np.float32))
    assert result["sum"].tolist() == [(127 - ZERO) * SCALE, (-128 - ZERO) * SCALE, 0, 0]


def test_results_are_the_callers_to_keep(model):
    first = model.run(left=np.ones(4), right=np.ones(4))["sum"]
    model.run(left=np.zeros(4), right=np.zeros(4))
    first += 1
    assert first.tolist() == [3.0] * 4


def test_any_strides_will_do(model):
    wide = np.arange(8, dtype=np.float64)
    assert model.run(left=wide[::2], right=wide[::-2])["sum"].tolist() == [7.0] * 4


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "takes left, right, and got nothing"),
        ({"left": np.zeros(4)}, "got left"),
        ({"left": np.zeros(4), "wrong": np.zeros(4)}, "got left, wrong"),
        ({"left": np.zeros(4), "right": np.zeros(5)}, r"'right' takes shape \(4,\), and got \(5,\)"),
        ({"left": np.zeros((1, 4)), "right": np.zeros(4)}, r"got \(1, 4\)"),
        ({"left": np.array([0, np.nan, 0, 0]), "right": np.zeros(4)}, "'left' holds NaN"),
    ],
)
def test_a_wrong_call_is_one_line(model, arrays, words):
    with pytest.raises(InferenceError, match=words) as caught:
        model.run(**arrays)
    assert "\n" not in str(caught.value)
    assert model.run(left=np.ones(4), right=np.ones(4))["sum"].tolist() == [2.0] * 4


def test_stored_numbers_go_in_and_out_as_they_are(model):
    ones = np.full(4, ZERO + 2, np.int8)
    result = model.run_quantized(left=ones, right=ones)["sum"]
    assert result.dtype == np.int8
    assert result.tolist() == [ZERO + 4] * 4
    with pytest.raises(InferenceError, match="stored as int8, and got float64"):
        model.run_quantized(left=np.ones(4), right=ones)


def test_details_name_shapes_types_and_scales(model):
    left = model.details().inputs["left"]
    assert (left.name, left.shape, left.dtype, left.scale, left.zero_point) == ("L:0", (4,), "int8", SCALE, ZERO)
    assert model.runtime == str(probe())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"inputs": {"left": "L:0", "right": "nowhere"}}, "no input tensor 'nowhere' for 'right': it has L:0, R:0"),
        ({"inputs": {"left": "L:0"}}, "has 2 inputs, and 1 are named"),
        ({"outputs": {"sum": "L:0"}}, "no output tensor"),
    ],
)
def test_names_that_do_not_fit_are_one_line(names, words):
    with pytest.raises(InferenceError, match=words):
        load(**names)


def test_more_than_one_sample_at_once_is_refused():
    with pytest.raises(InferenceError, match=r"has shape \(2, 4\)"):
        load(adder(shape=(2, 4)))


def test_garbage_is_one_line():
    with pytest.raises(InferenceError, match="'sum' cannot be loaded by") as caught:
        load(b"garbage " * 40)
    assert "\n" not in str(caught.value)


def test_golden_vectors_are_exact_on_the_same_machine_and_tell_steps_of_difference(model):
    samples = {"left": np.linspace(-20, 20, 12).reshape(3, 4), "right": np.ones((3, 4))}
    stored = golden(model, samples)
    assert {key: value.dtype.name for key, value in stored.items()} == dict.fromkeys(("input_left", "input_right", "output_sum"), "int8")
    assert check_golden(model, stored) == 0
    stored["output_sum"][1, 2] += 5
    assert check_golden(model, stored) == 5
    with pytest.raises(InferenceError, match="do not fit"):
        check_golden(model, {**stored, "output_sum": stored["output_sum"][:, :2]})


def test_nothing_is_said_on_standard_error():
    code = (
        "from edge.inference import model as m; import numpy as np;"
        "print(m.Model(m._TINY, name='t', inputs={'x': 'x'}, outputs={'y': 'y'}).run(x=np.ones(4))['y'].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[2.0, 2.0, 2.0, 2.0]", "")


class _Broken:
    """Imports well and cannot be built, as tflite-runtime under numpy 2."""

    def __init__(self, **options: object):
        raise TypeError("numpy.core.multiarray\n failed to import")


@pytest.fixture
def fresh_probe():
    probe.cache_clear()
    yield
    probe.cache_clear()


def test_an_interpreter_that_imports_but_cannot_be_built_is_passed_over(monkeypatch, fresh_probe):
    working = probe()
    probe.cache_clear()
    monkeypatch.setitem(sys.modules, "broken", types.SimpleNamespace(Interpreter=_Broken))
    real = next(entry for entry in module._RUNTIMES if entry[0] == working.name)
    monkeypatch.setattr(module, "_RUNTIMES", (("broken-runtime", "broken"), real))
    assert probe() == working


def test_no_interpreter_at_all_is_one_line_with_both_reasons(monkeypatch, fresh_probe):
    monkeypatch.setitem(sys.modules, "broken", types.SimpleNamespace(Interpreter=_Broken))
    monkeypatch.setattr(module, "_RUNTIMES", (("none-such", "none_such_module"), ("broken-runtime", "broken")))
    with pytest.raises(InferenceError) as caught:
        probe()
    message = str(caught.value)
    assert "none-such is not installed; broken-runtime fails: numpy.core.multiarray failed to import" in message
    assert "\n" not in message
