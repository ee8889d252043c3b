"""Whole networks: random ones in float, typical ones in int8, and a published detector."""

from __future__ import annotations

import dataclasses
import typing

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from convert import flatbuffer, macs  # noqa: E402
from convert.quantize import quantize  # noqa: E402
from convert.readers.onnx import read_onnx  # noqa: E402
from convert.recipe import FLOAT32, STATIC_WI8_AI8  # noqa: E402
from convert.verify import outputs_of  # noqa: E402
from edge.inference.model import Model  # noqa: E402
from tests.convert.readers.onnx_models import integers, model, node, save, weights  # noqa: E402


@dataclasses.dataclass
class Builder:
    """A network layer by layer, as PyTorch exports it; ``shape`` is that of the last value."""

    shape: tuple[int, ...]
    nodes: list[typing.Any] = dataclasses.field(default_factory=list)
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    last: str = "x"

    def __post_init__(self):
        self.first = self.shape

    def add(self, kind: str, *arrays: np.ndarray, shape: tuple[int, ...] | None = None, other: str = "", **attributes) -> Builder:
        number = len(self.nodes)
        names = [f"{number}_{i}" for i in range(len(arrays))]
        self.constants |= dict(zip(names, arrays, strict=True))
        self.nodes.append(node(kind, " ".join([self.last, *filter(None, [other]), *names]), f"v{number}", **attributes))
        self.last, self.shape = f"v{number}", shape or self.shape
        return self

    def conv(self, units: int, *, kernel: int = 3, stride: int = 1, group: int = 1) -> Builder:
        batch, channels, *sizes = self.shape
        pad = kernel // 2
        after = [(size + 2 * pad - kernel) // stride + 1 for size in sizes]
        arrays = [weights(units, channels // group, *[kernel] * len(sizes), seed=len(self.nodes), scale=0.4), weights(units, seed=2)]
        return self.add(
            "Conv", *arrays, shape=(batch, units, *after), group=group, strides=[stride] * len(sizes), pads=[pad] * 2 * len(sizes)
        )  # fmt: skip

    def normalize(self) -> Builder:
        channels, seed = self.shape[1], len(self.nodes)
        arrays = [weights(channels, seed=seed + i) for i in range(3)] + [np.abs(weights(channels, seed=seed)) + 0.5]
        return self.add("BatchNormalization", *arrays)

    def pool(self, kind: str, pad: int) -> Builder:
        batch, channels, *sizes = self.shape
        after = [(size + 2 * pad - 3) // 2 + 1 for size in sizes]
        rank = len(sizes)
        return self.add(kind, shape=(batch, channels, *after), kernel_shape=[3] * rank, strides=[2] * rank, pads=[pad] * 2 * rank)

    def dense(self, units: int) -> Builder:
        return self.add("Gemm", weights(units, self.shape[1], seed=3, scale=0.3), weights(units), shape=(1, units), transB=1)

    def flatten(self) -> Builder:
        return self.add("Flatten", shape=(1, int(np.prod(self.shape[1:]))))

    def swap(self) -> Builder:
        return self.add("Transpose", perm=[0, 2, 1], shape=(1, self.shape[2], self.shape[1]))

    def recurrent(self, kind: str, units: int) -> Builder:
        """(1, steps, width) -> (1, steps, 2 units), as a bidirectional layer of PyTorch with batch_first."""
        _, steps, width = self.shape
        rows = units * {"LSTM": 4, "GRU": 3}[kind]
        arrays = [weights(2, rows, width, seed=4), weights(2, rows, units, seed=5), weights(2, 2 * rows, seed=6)]
        options = {"linear_before_reset": 1} if kind == "GRU" else {}
        self.add("Transpose", perm=[1, 0, 2]).add(kind, *arrays, hidden_size=units, direction="bidirectional", **options)
        self.add("Transpose", perm=[0, 2, 1, 3]).add("Reshape", integers(0, 0, -1))
        return self.add("Transpose", perm=[1, 0, 2], shape=(1, steps, 2 * units))

    def attention(self, heads: int = 2) -> Builder:
        """Self-attention with a residual and a layer normalization, over (1, steps, width)."""
        _, steps, width = self.shape
        source, outer = self.last, self.shape
        parts = {}
        for part, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            self.last = source
            self.add("MatMul", weights(width, width, seed=ord(part), scale=0.3)).add("Add", weights(width, seed=ord(part)))
            parts[part] = self.add("Reshape", integers(1, steps, heads, width // heads)).add("Transpose", perm=perm).last
        self.last = parts["q"]
        self.add("MatMul", other=parts["k"]).add("Mul", np.float32((width // heads) ** -0.5)).add("Softmax", axis=-1)
        self.add("MatMul", other=parts["v"]).add("Transpose", perm=[0, 2, 1, 3]).add("Reshape", integers(1, steps, width))
        self.add("MatMul", weights(width, width, seed=8, scale=0.3)).add("Add", other=source)
        return self.add("LayerNormalization", weights(width) + 1, weights(width, seed=1), shape=outer)

    def write(self, folder):
        return save(model(self.nodes, {"x": self.first}, self.last, self.constants), folder)


FUSED = dataclasses.replace(FLOAT32, lstm_form="fused")
ACTIVATIONS = st.sampled_from(["Relu", "LeakyRelu", "HardSwish", "Sigmoid", "Tanh", "Elu", "Softplus"])


@st.composite
def networks(draw) -> Builder:
    """Convolutions over an image or a series, then recurrence, attention or pooling, then dense layers."""
    image = draw(st.booleans())
    made = Builder(
        (1, draw(st.integers(1, 3)), *([draw(st.integers(7, 12)), draw(st.integers(7, 12))] if image else [draw(st.integers(5, 8))]))
    )
    for _ in range(draw(st.integers(1, 3))):
        step = draw(st.sampled_from(["conv", "conv", "depthwise", "normalize", "pool", "residual", "concat"]))
        if step == "conv":
            made.conv(draw(st.sampled_from([2, 4, 6])), kernel=draw(st.sampled_from([1, 3, 5])), stride=draw(st.sampled_from([1, 2])))
        elif step == "depthwise":
            made.conv(made.shape[1], group=made.shape[1])
        elif step == "normalize":
            made.normalize()
        elif step == "pool" and min(made.shape[2:]) >= 3:
            made.pool(draw(st.sampled_from(["MaxPool", "AveragePool"])), draw(st.integers(0, 1)))
        elif step == "residual":
            source = made.last
            made.conv(made.shape[1]).add("Add", other=source)
        elif step == "concat":
            source, channels = made.last, made.shape[1]
            made.conv(2, kernel=1)
            made.add("Concat", other=source, axis=1, shape=(1, 2 + channels, *made.shape[2:]))
        made.add(draw(ACTIVATIONS))
    if not image:
        made.swap()
        for step in draw(st.lists(st.sampled_from(["LSTM", "GRU", "attention"]), max_size=2, unique=True)):
            if step != "attention":
                made.recurrent(step, 2)
            elif made.shape[2] % 2 == 0:
                made.attention()
    if image and draw(st.booleans()):
        made.add("GlobalAveragePool", shape=(*made.shape[:2], 1, 1))
    elif not image and draw(st.booleans()):
        made.add("ReduceMean", axes=[1], keepdims=0, shape=(1, made.shape[2]))
    if len(made.shape) > 2:
        made.flatten()
    return made.dense(5).add(draw(ACTIVATIONS)).dense(3).add("Softmax", axis=-1)


@hypothesis.settings(max_examples=12, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(networks())
def test_a_random_network_computes_in_float_what_onnxruntime_computes(worker, tmp_path_factory, made):
    source = read_onnx(made.write(tmp_path_factory.mktemp("network")))
    samples = {"x": np.random.default_rng(1).normal(size=(3, *source.inputs["x"])).astype(np.float32)}
    converted = quantize(source, None, recipe=FUSED, worker=worker)
    (expected,) = source.predict(samples).values()
    (got,) = outputs_of(Model(converted.content, name="net", inputs=converted.inputs, outputs=converted.outputs), samples).values()
    assert np.abs(expected - expected[0]).max() > 0
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert flatbuffer.histogram(converted.content).get("TRANSPOSE", 0) <= 4 * sum(node.op_type == "Softmax" for node in made.nodes[:-1])


def mobile() -> Builder:
    made = Builder((1, 3, 16, 16)).conv(8, stride=2).normalize().add("Clip", np.float32(0), np.float32(6))
    made.conv(8, group=8).normalize().add("HardSwish").conv(12, kernel=1).pool("MaxPool", 1)
    return made.flatten().dense(16).add("Relu").dense(4)


def sequence() -> Builder:
    made = Builder((1, 10, 6)).conv(8).normalize().add("Relu").swap()
    return made.recurrent("LSTM", 6).add("ReduceMean", axes=[1], keepdims=0, shape=(1, 12)).dense(4)


def attentive() -> Builder:
    made = Builder((1, 4, 8)).attention()
    return made.recurrent("GRU", 4).flatten().dense(4)


@pytest.mark.parametrize("make", [mobile, sequence, attentive])
def test_a_typical_network_is_integer_only_and_close(make, tmp_path, worker):
    source = read_onnx(make().write(tmp_path))
    samples = {"x": np.random.default_rng(1).normal(size=(100, *source.inputs["x"])).astype(np.float32)}
    converted = quantize(source, samples, recipe=STATIC_WI8_AI8, worker=worker)
    (expected,) = source.predict(samples).values()
    (got,) = outputs_of(Model(converted.content, name="net", inputs=converted.inputs, outputs=converted.outputs), samples).values()
    assert np.abs(got - expected).mean() < 0.03 * np.ptp(expected)
    assert np.abs(got - expected).max() < 0.15 * np.ptp(expected)


def test_a_flattened_image_reaches_the_dense_layer_without_a_transpose(tmp_path, worker):
    source = read_onnx(mobile().write(tmp_path))
    made = quantize(source, None, recipe=FLOAT32, worker=worker)
    assert {"TRANSPOSE", "ADD"}.isdisjoint(flatbuffer.histogram(made.content)), "normalization has to fold into the convolutions"
    x = np.random.default_rng(2).normal(size=(2, 16, 16, 3)).astype(np.float32)
    (got,) = outputs_of(Model(made.content, name="net", inputs=made.inputs, outputs=made.outputs), {"x": x}).values()
    (expected,) = source.predict({"x": x}).values()
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["RFB-320", "RFB-320_simplified", "RFB-320_without_postprocessing"])
def test_a_published_detector_is_lowered_without_a_transpose(name, data, worker):
    """Ultra-Light-Fast-Generic-Face-Detector-1MB, with and without its decoding of boxes, before and after simplification."""
    path = data / "models" / "face_detector" / f"version-{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    source = read_onnx(path)
    assert source.inputs == {"input": (240, 320, 3)}
    made = quantize(source, None, recipe=FLOAT32, worker=worker)
    samples = {"input": np.random.default_rng(0).uniform(-1, 1, (1, 240, 320, 3)).astype(np.float32)}
    expected = source.predict(samples)
    got = outputs_of(Model(made.content, name="net", inputs=made.inputs, outputs=made.outputs), samples)
    for output, values in expected.items():
        assert values.shape[:2] == (1, 4420)
        np.testing.assert_allclose(got[output], values, atol=1e-4)
    assert "TRANSPOSE" not in flatbuffer.histogram(made.content)
    assert macs.count_macs(made.content) == pytest.approx(100.4e6, rel=0.01)
