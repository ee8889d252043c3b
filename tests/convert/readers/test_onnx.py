"""An ONNX file becomes a source: channels-last, with every axis fixed, plain names, and notes of all that was changed."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from convert.readers import onnx as reader  # noqa: E402
from convert.readers.onnx import Port, read_onnx  # noqa: E402
from edge.errors import ConversionError, InputError  # noqa: E402
from tests.convert.readers.onnx_models import Case, integers, model, node, save, weights  # noqa: E402

CONV = {"w": weights(4, 3, 3, 3), "b": weights(4)}
CONV_1D = {"w": weights(4, 3, 3), "b": weights(4)}


def source(made, tmp_path, **options):
    return read_onnx(save(made, tmp_path), **options)


def test_the_reader_stands_beside_the_package_of_its_name():
    assert reader.__name__ == "convert.readers.onnx" and onnx.__name__ == "onnx"
    assert reader.onnx is onnx


def test_an_image_is_channels_last_in_and_out(tmp_path):
    nodes = [
        node("Mul", "image half", "m"),
        node("Conv", "m w b", "c"),
        node("Relu", "c", "map"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
    ]
    made = model(nodes, {"image": (1, 3, 8, 6)}, "map f", {**CONV, "half": np.float32(0.5)})
    network = source(made, tmp_path)
    assert network.name == "network"
    assert network.inputs == {"image": (8, 6, 3)}
    assert network.outputs == ("map", "f")
    assert network.forms == ("unrolled",) and network.produces == "saved_model"
    assert network.weights == 4 * 3 * 3 * 3 + 4
    assert network.notes == (
        "input 'image' is channels-last: (1, 3, 8, 6) in the file, (1, 8, 6, 3) here",
        "output 'map' is channels-last: (1, 4, 6, 4) in the file, (1, 6, 4, 4) here",
    )
    image = np.random.default_rng(0).normal(size=(2, 8, 6, 3)).astype(np.float32)
    got = network.predict({"image": image})
    assert got["map"].shape == (2, 6, 4, 4) and got["f"].shape == (2, 4) and got["map"].dtype == np.float32
    # A constant image of one color: every place is the sum of the kernel, whatever the layout.
    color = np.broadcast_to(np.float32([1, 2, 3]), (1, 8, 6, 3))
    expected = np.maximum(0.5 * np.einsum("oihw,i->o", CONV["w"], np.float32([1, 2, 3])) + CONV["b"], 0)
    np.testing.assert_allclose(network.predict({"image": color})["map"][0, 2, 1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "constants", "shape", "public"),
    [
        ([node("Conv", "x w b", "y")], CONV_1D, (1, 3, 20), (20, 3)),
        ([node("Reshape", "x n", "f"), node("Conv", "f w b", "y")], {**CONV, "n": integers(5, 3, 8, 6)}, (1, 5, 3, 8, 6), (5, 8, 6, 3)),
        ([node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w b", "y")], CONV, (1, 8, 6, 3), (8, 6, 3)),
        ([node("Gemm", "x w", "y")], {"w": weights(7, 2)}, (1, 7), (7,)),
        ([node("MatMul", "x w", "y")], {"w": weights(7, 2)}, (1, 5, 7), (5, 7)),
    ],
)
def test_the_axes_of_an_input_follow_what_reads_it(nodes, constants, shape, public, tmp_path):
    network = source(model(nodes, {"x": shape}, "y", constants), tmp_path)
    assert network.inputs == {"x": public}
    assert any(note.startswith("input 'x' is channels-last") for note in network.notes) == (public != shape[1:])


def test_the_batch_is_one_and_a_pinned_axis_as_asked(tmp_path):
    made = model([node("Conv", "x w b", "y", pads=[1, 1])], {"x": ("batch", 3, "time")}, "y", CONV_1D)
    with pytest.raises(InputError, match=r"network.onnx: input 'x' has an open axis 2 \(time\): pin it with --pin time=SIZE$"):
        source(made, tmp_path)
    for pins in ({"time": 20}, {"x:2": 20}):
        network = source(made, tmp_path, pins=pins)
        assert network.inputs == {"x": (20, 3)}
        assert network.notes[:2] == ("the open batch axis 0 (batch) of input 'x' is 1", "axis 2 (time) of input 'x' is pinned at 20")
        assert network.predict({"x": np.zeros((3, 20, 3), np.float32)})["y"].shape == (3, 20, 4)


@pytest.mark.parametrize(
    ("pins", "why"),
    [
        ({"time": 20, "tim": 3}, r"no open axis is called 'tim': the model has batch, time"),
        ({"time": 0}, r"--pin time=0: an axis takes 1 element or more"),
        ({"x:1": 3, "time": 20}, r"no open axis is called 'x:1'"),
    ],
)
def test_a_pin_that_fits_nothing_is_refused(pins, why, tmp_path):
    made = model([node("Conv", "x w b", "y")], {"x": ("batch", 3, "time")}, "y", CONV_1D)
    with pytest.raises(InputError, match=why):
        source(made, tmp_path, pins=pins)


def test_an_open_axis_without_a_name_is_pinned_by_its_number(tmp_path):
    made = model([node("Relu", "x", "y")], {"x": (None, 3, None)}, "y")
    with pytest.raises(InputError, match=r"input 'x' has an open axis 2: pin it with --pin x:2=SIZE"):
        source(made, tmp_path)
    assert source(made, tmp_path, pins={"x:2": 5}).inputs == {"x": (3, 5)}


@pytest.mark.parametrize(
    ("axes", "shape"),
    [(("frames", "n", 3), None), (("n", 4, 3), (4, 3)), (("a", 4, "a"), (4, 1)), (("seq", 1, 3), None), (("x", "batch", 3), None)],
)
def test_which_open_axis_is_the_batch_goes_by_name_then_by_place(axes, shape, tmp_path):
    made = model([node("Relu", "x", "y")], {"x": axes}, "y")
    if shape is None:
        with pytest.raises(InputError, match=rf"open axis 0 \({axes[0]}\): pin it"):
            source(made, tmp_path)
    else:
        assert source(made, tmp_path).inputs == {"x": shape}


def test_names_are_plain_and_unique(tmp_path):
    nodes = [node("Relu", "a.b", "out:0"), node("Relu", "a/b", "out/0")]
    network = source(model(nodes, {"a.b": (1, 2), "a/b": (1, 3)}, "out:0 out/0"), tmp_path)
    assert network.inputs == {"a_b": (2,), "a_b_2": (3,)}
    assert network.outputs == ("out_0", "out_0_2")
    assert "input 'a/b' is called 'a_b_2'" in network.notes
    got = network.predict({"a_b": np.float32([[1, -1]]), "a_b_2": np.float32([[-1, 2, 3]])})
    assert got["out_0"].tolist() == [[1, 0]] and got["out_0_2"].tolist() == [[0, 2, 3]]


def test_a_token_input_is_refused_by_name(tmp_path):
    made = model([node("Gather", "table tokens", "y")], {"tokens": (1, 5)}, "y", {"table": weights(10, 4)}, kind=onnx.TensorProto.INT64)
    with pytest.raises(InputError, match="input 'tokens' takes int64, and the device gives floating point numbers: cut the model"):
        source(made, tmp_path)


def test_what_has_no_effect_or_is_no_float_is_left_out_and_said(tmp_path):
    nodes = [node("Gemm", "x w", "y"), node("ArgMax", "y", "label"), node("Identity", "w", "same")]
    made = model(nodes, {"x": (1, 4), "idle": (1, 2)}, "y label same", {"w": weights(4, 3)})
    made.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    network = source(made, tmp_path)
    assert (list(network.inputs), network.outputs) == (["x"], ("y",))
    assert network.notes == (
        "input 'idle' has no effect and is left out",
        "output 'label' is int64, not floating point, and is left out",
        "output 'same' is the same whatever comes in, and is left out",
    )
    assert network.predict({"x": np.ones((2, 4), np.float32)})["y"].shape == (2, 3)
    del made.graph.output[0]
    with pytest.raises(InputError, match="no output is left: output 'label' is int64"):
        source(made, tmp_path)


def test_half_precision_is_computed_in_single(tmp_path):
    made = model([node("Gemm", "x w", "y")], {"x": (1, 4)}, "y", {"w": weights(4, 3).astype(np.float16)}, kind=onnx.TensorProto.FLOAT16)
    made.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    network = source(made, tmp_path)
    got = network.predict({"x": np.ones((1, 4), np.float32)})["y"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], weights(4, 3).sum(axis=0), atol=0.01)


def test_a_sample_survives_the_way_into_the_file_and_back():
    port = Port("x", "x", (1, 2, 3, 4), (0, 2, 3, 1))
    sample = np.arange(24.0).reshape(port.shape)
    assert port.in_file(sample).shape == (1, 2, 3, 4)
    assert port.in_file(sample)[0, 1, 2, 3] == sample[2, 3, 1]
    np.testing.assert_array_equal(port.in_public(port.in_file(sample)), sample)
    whole = Port("h", "h", (4, 1, 5), (0, 1, 2))
    assert whole.shape == (4, 1, 5) and whole.public_sizes == (1, 4, 1, 5)
    assert Port("n", "n", (), ()).public_sizes == (1, 1)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (Case([node("Conv", "x z", "y")], {"x": (1, 3, 8, 8), "z": (4, 3, 3, 3)}), "Conv 'y' cannot be written: kernel is computed from"),
        (Case([node("Conv", "x w", "y")], {"x": (1, 3, 8, 8, 8)}, "y", {"w": weights(4, 3, 3, 3, 3)}), "Conv 'y' .* has 3 axes beside"),
        (Case([node("Cast", "x", "i", to=7), node("Cast", "i", "y", to=1)], {"x": (1, 3)}), "Cast 'i' cannot be written: it makes int64"),
        (
            Case([node("Resize", "x - s", "y", mode="cubic")], {"x": (1, 3, 4, 4)}, "y", {"s": np.float32([1, 1, 2, 2])}),
            "Resize 'y' .* mode 'cubic' .* is not supported",
        ),
    ],
)
def test_a_form_that_cannot_be_written_is_named_when_it_is_exported(made, why, tmp_path):
    with pytest.raises(ConversionError, match=why) as caught:
        source(model(made.nodes, made.inputs, made.outputs, made.constants), tmp_path).export(tmp_path, "unrolled")
    assert "\n" not in str(caught.value)
