"""What is wrong with an ONNX file is told in one line, before anything of it is used."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from convert.readers.onnx import read_onnx  # noqa: E402
from convert.readers.onnx.file import MAXIMUM_BYTES  # noqa: E402
from edge.errors import InputError  # noqa: E402
from tests.convert.readers.onnx_models import integers, model, node, save, weights  # noqa: E402


def dense(**options):
    return model([node("Gemm", "x w", "y", name="last")], {"x": (1, 4)}, "y", {"w": weights(4, 3)}, **options)


def external(made, folder, location, **entries):
    """The same model with its weights in another file."""
    tensor = made.graph.initializer[0]
    raw = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return raw, save(made, folder)


def refusal(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_onnx(path, **options)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text and len(text) < 500
    return text.removeprefix(str(path)).lstrip(": ")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08", b"\x08\x08\x3a\x00", np.random.default_rng(0).bytes(500)])
def test_a_file_of_something_else_is_refused(content, tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    assert refusal(path).startswith("is no ONNX file, or truncated")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = dense().SerializeToString()
    path = tmp_path / "network.onnx"
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        refusal(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert "cannot be read" in refusal(tmp_path / "network.onnx")


@pytest.mark.parametrize("opset", [6, 99])
def test_an_opset_out_of_range_is_named(opset, tmp_path):
    made = dense()
    made.opset_import[0].version = opset
    assert refusal(save(made, tmp_path)) == f"is of opset {opset}, and 7 to 26 are supported: export it with opset_version=17"


def test_an_operator_of_a_domain_of_its_own_is_named_with_its_node(tmp_path):
    nodes = [node("Relu", "x", "r"), node("Swizzle", "r", "y", name="odd", domain="com.maker")]
    made = model(nodes, {"x": (1, 4)}, "y", domains={"com.maker": 1})
    assert refusal(save(made, tmp_path)).startswith("node 'odd': operator Swizzle of domain 'com.maker' is not supported")


def test_an_operator_that_the_opset_lacks_is_named_with_its_node(tmp_path):
    made = dense()
    made.graph.node[0].op_type = "Swizzle"
    assert refusal(save(made, tmp_path)).startswith("node 'last': operator Swizzle is not supported: opset 17 has no such operator")


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("NonZero", "cut the model in front of it"), ("DynamicQuantizeLinear", "quantized already"), ("Det", "replace it in the model")],
)
def test_an_operator_that_cannot_be_written_is_named_with_a_way_out(kind, hint, tmp_path):
    outputs = "y s z" if kind == "DynamicQuantizeLinear" else "y"
    nodes = [node(kind, "x", outputs, name="odd"), node("Cast", "y", "out", to=1)]
    text = refusal(save(model(nodes, {"x": (2, 2)}, "out"), tmp_path))
    assert text.startswith(f"node 'odd': operator {kind} of opset 17 is not supported: ") and hint in text


def test_control_flow_is_refused_without_being_run(tmp_path):
    """A loop that never ends must not be tried."""
    value = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        [node("Identity", "go", "go_on"), node("Identity", "v", "w")],
        "body",
        [value("n", onnx.TensorProto.INT64, []), value("go", onnx.TensorProto.BOOL, []), value("v", onnx.TensorProto.FLOAT, [1, 4])],
        [value("go_on", onnx.TensorProto.BOOL, []), value("w", onnx.TensorProto.FLOAT, [1, 4])],
    )
    loop = onnx.helper.make_node("Loop", ["", "true", "start"], ["turned"], body=body)
    nodes = [loop, node("Add", "x turned", "y")]
    made = model(nodes, {"x": (1, 4)}, "y", {"true": np.array(True), "start": weights(1, 4)})
    assert "operator Loop of opset 17 is not supported: control flow" in refusal(save(made, tmp_path))


def test_an_invalid_model_is_refused_with_the_reason(tmp_path):
    made = dense()
    made.graph.node[0].input[1] = "nowhere"
    text = refusal(save(made, tmp_path))
    assert text.startswith("is not valid ONNX: ") and "nowhere" in text


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    made = dense()
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    assert refusal(save(made, tmp_path)).startswith("onnxruntime cannot run the model: ")


def test_weights_in_a_file_beside_it_are_read(tmp_path):
    raw, path = external(dense(), tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(raw)
    x = weights(2, 4, seed=5)
    np.testing.assert_allclose(read_onnx(path).predict({"x": x})["y"], x @ weights(4, 3), atol=1e-6)


def test_weights_that_are_missing_are_named(tmp_path):
    _, path = external(dense(), tmp_path, "weights.bin")
    assert refusal(path) == "keeps weights in 'weights.bin', which is not beside it: copy both files together"


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "below/../../secret.bin", "link.bin", ""])
def test_weights_outside_the_folder_are_refused(location, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    raw, path = external(dense(), folder, location)
    (tmp_path / "secret.bin").write_bytes(raw)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert refusal(path) == f"tensor 'w' lies outside its folder, at {location!r}: refused"


def test_a_file_of_weights_longer_than_it_says_is_refused(tmp_path):
    raw, path = external(dense(), tmp_path, "weights.bin", offset=1 << 40, length=48)
    (tmp_path / "weights.bin").write_bytes(raw)
    refusal(path)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path):
    made = dense()
    made.graph.initializer[0].dims[:] = [1 << 20, 1 << 10]
    assert refusal(save(made, tmp_path)) == "unpacks to 4.3 GB: refused above 1 GB"


def test_external_weights_of_too_much_are_refused_before_they_are_read(tmp_path):
    _, path = external(dense(), tmp_path, "weights.bin")
    with open(tmp_path / "weights.bin", "wb") as file:
        file.truncate(MAXIMUM_BYTES + 1)
    assert refusal(path) == "unpacks to 1.1 GB: refused above 1 GB"


def test_a_small_file_that_asks_for_a_huge_tensor_is_refused(tmp_path):
    nodes = [node("ConstantOfShape", "n", "big"), node("ReduceSum", "big", "s", keepdims=0), node("Add", "x s", "y")]
    made = model(nodes, {"x": (1, 4)}, "y", {"n": integers(1 << 16, 1 << 16)})
    assert refusal(save(made, tmp_path)) == "value 'big' would take 17.2 GB: refused above 1 GB"
