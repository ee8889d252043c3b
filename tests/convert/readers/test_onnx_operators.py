"""Every operator, in the forms in which exporters write it, computes in a float .tflite what onnxruntime computes."""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
pytest.importorskip("onnx")

from convert.quantize import quantize  # noqa: E402
from convert.readers.onnx import read_onnx  # noqa: E402
from convert.recipe import FLOAT32  # noqa: E402
from convert.verify import outputs_of  # noqa: E402
from edge.inference.model import Model  # noqa: E402
from tests.convert.readers.onnx_models import Case, integers, joined, node, save, weights  # noqa: E402

VECTOR, SERIES, IMAGE = (1, 6), (1, 4, 9), (1, 4, 8, 7)
FLOAT, BOOL = 1, 9


def unary(kind: str, shape=IMAGE, **attributes) -> Case:
    return Case([node(kind, "x", "y", **attributes)], {"x": shape})


def positive(kind: str, **attributes) -> Case:
    return Case([node("Abs", "x", "a"), node("Add", "a half", "p"), node(kind, "p", "y", **attributes)], {"x": VECTOR}, "y", {"half": HALF})


def binary(kind: str, first=IMAGE, second=IMAGE, **attributes) -> Case:
    return Case([node(kind, "x z", "y", **attributes)], {"x": first, "z": second})


def fixed(kind: str, *arrays: np.ndarray, shape=IMAGE, outputs: str = "y", **attributes) -> Case:
    """An operator whose further inputs are constants."""
    names = [f"c{i}" for i in range(len(arrays))]
    nodes = [node(kind, " ".join(["x", *names]), outputs, **attributes)]
    return Case(nodes, {"x": shape}, outputs, dict(zip(names, arrays, strict=True)))


def conv(channels: int, units: int, *kernel: int, shape=IMAGE, bias: bool = True, group: int = 1, **attributes) -> Case:
    arrays = [weights(units, channels // group, *kernel)] + [weights(units, seed=1)] * bias
    return fixed("Conv", *arrays, shape=shape, group=group, **attributes)


def transposed(*kernel: int, shape=IMAGE, **attributes) -> Case:
    return fixed("ConvTranspose", weights(4, 3, *kernel), weights(3, seed=1), shape=shape, **attributes)


def resized(shape=IMAGE, *, scales=None, sizes=None, **attributes) -> Case:
    constants = {"s": np.array(scales, np.float32)} if scales else {"n": integers(*sizes)}
    return Case([node("Resize", "x - s" if scales else "x - - n", "y", **attributes)], {"x": shape}, "y", constants)


def norm(*shape: int) -> list[np.ndarray]:
    return [weights(*shape, seed=1) + 1, weights(*shape, seed=2), weights(*shape, seed=3), np.abs(weights(*shape, seed=4)) + 0.5]


HALF = np.float32(0.5)
REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
UNARY = (
    "Relu", "Sigmoid", "Tanh", "Abs", "Exp", "Neg", "Softplus", "Elu", "Selu", "Celu", "LeakyRelu", "HardSigmoid", "HardSwish",
    "Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "Identity", "Dropout", "Softsign", "ThresholdedRelu",
)  # fmt: skip

CASES = {
    **{f"unary {kind}": unary(kind) for kind in UNARY},
    **{f"positive {kind}": positive(kind) for kind in ("Sqrt", "Log", "Reciprocal")},
    "elu alpha": unary("Elu", alpha=0.3),
    "celu alpha": unary("Celu", alpha=0.7),
    "leaky relu alpha": unary("LeakyRelu", alpha=0.3),
    "hard sigmoid of torch": unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "prelu by channel": fixed("PRelu", weights(4, 1, 1)),
    "prelu of one": fixed("PRelu", np.float32([0.2])),
    "prelu of features": fixed("PRelu", weights(6), shape=VECTOR),
    "clip 0 to 6": fixed("Clip", np.float32(0), np.float32(6)),
    "clip below": fixed("Clip", np.float32(-0.3)),
    "clip both": fixed("Clip", np.float32(-0.3), np.float32(0.4)),
    "clip above": Case([node("Clip", "x - m", "y")], {"x": IMAGE}, "y", {"m": np.float32(0.2)}),
    **{f"binary {kind}": binary(kind) for kind in ("Add", "Sub", "Mul", "Max", "Min")},
    **{f"constant {kind}": fixed(kind, weights(4, 1, 1) + 2) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min")},
    "constant in front": Case([node("Sub", "c x", "y")], {"x": IMAGE}, "y", {"c": weights(7)}),
    "constant of more axes": fixed("Add", weights(2, 4, 9), shape=(4, 1)),
    "broadcast both ways": binary("Mul", (1, 4, 1, 7), (1, 1, 8, 1)),
    "broadcast of fewer axes": binary("Add", IMAGE, (8, 1)),
    "divide by positive": Case([node("Exp", "z", "e"), node("Div", "x e", "y")], {"x": VECTOR, "z": VECTOR}),
    "divide by root": Case([node("Exp", "z", "e"), node("Sqrt", "e", "r"), node("Div", "x r", "y")], {"x": VECTOR, "z": VECTOR}),
    "divide by any": Case([node("Sub", "z ten", "e"), node("Div", "x e", "y")], {"x": VECTOR, "z": VECTOR}, "y", {"ten": np.float32(10)}),
    "divide a constant": Case([node("Exp", "x", "e"), node("Div", "c e", "y")], {"x": VECTOR}, "y", {"c": weights(6)}),
    **{f"power {n}": fixed("Pow", np.float32(n)) for n in (1, 2, 3)},
    **{
        f"power {n} of positive": Case([node("Exp", "x", "e"), node("Pow", "e n", "y")], {"x": VECTOR}, "y", {"n": np.float32(n)})
        for n in (0.5, -0.5, -1, 1.7)
    },
    "power of a constant": Case([node("Pow", "two x", "y")], {"x": VECTOR}, "y", {"two": np.float32(2)}),
    "sum of three": Case([node("Sum", "x z c", "y")], {"x": IMAGE, "z": IMAGE}, "y", {"c": weights(4, 1, 1)}),
    "mean of three": Case([node("Mean", "x z c", "y")], {"x": IMAGE, "z": IMAGE}, "y", {"c": weights(4, 1, 1)}),
    "max of three": Case([node("Max", "x z c", "y")], {"x": IMAGE, "z": IMAGE}, "y", {"c": weights(4, 1, 1)}),
    "where by comparison": Case([node("Greater", "x z", "g"), node("Where", "g x z", "y")], {"x": IMAGE, "z": IMAGE}),
    "where by constant": Case([node("Where", "m x z", "y")], {"x": IMAGE, "z": IMAGE}, "y", {"m": weights(4, 1, 7) > 0}),
    "logic": Case(
        [
            node("Less", "x z", "a"), node("GreaterOrEqual", "x zero", "b"), node("And", "a b", "c"),
            node("LessOrEqual", "x zero", "d"), node("Or", "c d", "e"), node("Not", "e", "f"),
            node("Equal", "x x", "g"), node("And", "f g", "h"), node("Cast", "h", "y", to=FLOAT),
        ],
        {"x": IMAGE, "z": IMAGE}, "y", {"zero": np.float32(0)},
    ),
    "to truth": Case([node("Relu", "x", "r"), node("Cast", "r", "b", to=BOOL), node("Cast", "b", "y", to=FLOAT)], {"x": VECTOR}),
    "erf": unary("Erf"),
    "gelu of torch": Case(
        [node("Div", "x r", "d"), node("Erf", "d", "e"), node("Add", "e one", "a"), node("Mul", "x a", "m"), node("Mul", "m half", "y")],
        {"x": IMAGE}, "y", {"r": np.float32(2**0.5), "one": np.float32(1), "half": HALF},
    ),
    "conv": conv(4, 5, 3, 3, pads=[1, 1, 1, 1]),
    "conv without bias": conv(4, 5, 3, 3, bias=False),
    "conv stride 2": conv(4, 5, 3, 3, pads=[1, 1, 1, 1], strides=[2, 2]),
    "conv uneven pads": conv(4, 5, 3, 2, pads=[0, 1, 2, 0], strides=[2, 1]),
    "conv dilated": conv(4, 5, 3, 3, pads=[2, 2, 2, 2], dilations=[2, 2]),
    "conv same upper": conv(4, 5, 3, 3, auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv same lower": conv(4, 5, 3, 3, auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv valid": conv(4, 5, 3, 3, auto_pad="VALID"),
    "conv depthwise": conv(4, 4, 3, 3, group=4, pads=[1, 1, 1, 1]),
    "conv depthwise twice": conv(4, 8, 3, 3, group=4, pads=[1, 1, 1, 1], strides=[2, 2]),
    "conv depthwise dilated": conv(4, 4, 3, 3, group=4, pads=[2, 2, 2, 2], dilations=[2, 2]),
    "conv grouped": conv(4, 6, 3, 3, group=2, pads=[1, 1, 1, 1]),
    "conv 1d": conv(4, 5, 3, shape=SERIES, pads=[1, 1]),
    "conv 1d stride": conv(4, 5, 5, shape=SERIES, pads=[2, 2], strides=[2]),
    "conv 1d causal": conv(4, 5, 3, shape=SERIES, pads=[4, 0], dilations=[2]),
    "conv 1d depthwise": conv(4, 4, 3, shape=SERIES, group=4),
    "transposed conv": transposed(2, 2, strides=[2, 2]),
    "transposed conv same": transposed(4, 4, strides=[2, 2], pads=[1, 1, 1, 1]),
    "transposed conv cut": transposed(3, 3, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    "transposed conv longer": transposed(2, 2, strides=[2, 2], output_padding=[1, 1]),
    "transposed conv upper": transposed(3, 3, strides=[2, 2], auto_pad="SAME_UPPER"),
    "transposed conv sized": transposed(3, 3, strides=[2, 2], output_shape=[16, 14]),
    "transposed conv 1d": transposed(3, shape=SERIES, strides=[2], pads=[1, 1]),
    **{
        f"{kind} {name}": unary(kind, **attributes)
        for kind in ("MaxPool", "AveragePool")
        for name, attributes in {
            "plain": {"kernel_shape": [2, 2], "strides": [2, 2]},
            "padded": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
            "wide pads": {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]},
            "ceil": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
            "padded ceil": {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 0, 1], "ceil_mode": 1},
            "same": {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
            "same lower": {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        }.items()
    },
    "max pool 1d": unary("MaxPool", SERIES, kernel_shape=[3], strides=[2], pads=[1, 1]),
    "max pool of what is positive": Case(
        [node("Relu", "x", "r"), node("MaxPool", "r", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {"x": IMAGE}
    ),
    "average pool 1d": unary("AveragePool", SERIES, kernel_shape=[3], strides=[2], pads=[1, 1]),
    "average pool counting": unary("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    "global average": unary("GlobalAveragePool"),
    "global max": unary("GlobalMaxPool"),
    "global average 1d": unary("GlobalAveragePool", SERIES),
    "batch normalization": fixed("BatchNormalization", *norm(4)),
    "batch normalization of features": fixed("BatchNormalization", *norm(6), shape=VECTOR),
    "batch normalization 1d": fixed("BatchNormalization", *norm(4), shape=SERIES, epsilon=0.01),
    "layer normalization": fixed("LayerNormalization", *norm(9)[:2], shape=SERIES),
    "layer normalization of two axes": fixed("LayerNormalization", *norm(4, 9)[:2], shape=SERIES, axis=1),
    "layer normalization without bias": fixed("LayerNormalization", norm(9)[0], shape=SERIES),
    "instance normalization": fixed("InstanceNormalization", *norm(4)[:2]),
    "lp normalization": unary("LpNormalization", VECTOR),
    "lp normalization 1": unary("LpNormalization", VECTOR, p=1),
    "softmax": unary("Softmax", SERIES),
    "softmax of what a mask leaves": Case(
        [node("Where", "m x never", "w"), node("Add", "z later", "a"), node("Softmax", "w", "y"), node("Softmax", "a", "t")],
        {"x": (1, 5, 5), "z": (1, 5, 5)}, "y t",
        {"m": np.tri(5) > 0, "never": np.float32(-np.inf), "later": np.where(np.tri(5) > 0, np.float32(0), np.finfo(np.float32).min)},
    ),
    "softmax of channels": unary("Softmax", axis=1),
    "log softmax": unary("LogSoftmax", SERIES, axis=-1),
    **{f"{kind} all": unary(kind, keepdims=0) for kind in ("ReduceMean", "ReduceMax")},
    **{f"{kind} places": unary(kind, axes=[2, 3]) for kind in REDUCTIONS},
    **{f"{kind} one": unary(kind, axes=[-2], keepdims=0) for kind in REDUCTIONS},
    "reduce sum": fixed("ReduceSum", integers(1, -1), keepdims=0),
    "gemm": fixed("Gemm", weights(6, 3), weights(3), shape=VECTOR),
    "gemm transposed": fixed("Gemm", weights(3, 6), weights(1, 3), shape=VECTOR, transB=1, alpha=0.5, beta=2.0),
    "gemm of two": Case([node("Gemm", "x z", "y", transB=1, alpha=0.5)], {"x": (1, 6), "z": (1, 6)}),
    "matmul": fixed("MatMul", weights(9, 3), shape=SERIES),
    "matmul in front": Case([node("MatMul", "w x", "y")], {"x": SERIES}, "y", {"w": weights(3, 4)}),
    "matmul of a vector": fixed("MatMul", weights(9), shape=SERIES),
    "matmul of a stack": fixed("MatMul", weights(4, 7, 2)),
    "matmul of two": binary("MatMul", (1, 2, 5, 3), (1, 2, 3, 4)),
    "matmul of two, broadcast": binary("MatMul", (1, 2, 5, 3), (1, 3, 4)),
    "matmul with the transposed": Case(
        [node("Transpose", "z", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t", "y")], {"x": (1, 2, 5, 3), "z": (1, 2, 4, 3)}
    ),
    "attention heads": Case(
        [
            node("Reshape", "x s", "q"), node("Transpose", "q", "a", perm=[0, 2, 1, 3]),
            node("Reshape", "z s", "k"), node("Transpose", "k", "b", perm=[0, 2, 3, 1]), node("MatMul", "a b", "y"),
        ],
        {"x": (1, 5, 6), "z": (1, 5, 6)}, "y", {"s": integers(1, 5, 2, 3)},
    ),
    "einsum": Case([node("Einsum", "x z", "y", equation="bhqd, bhkd -> bhqk")], {"x": (1, 2, 5, 3), "z": (1, 2, 4, 3)}),
    "concat": Case([node("Concat", "x z c", "y", axis=1)], {"x": IMAGE, "z": (1, 2, 8, 7)}, "y", {"c": weights(1, 1, 8, 7)}),
    "concat of last": Case([node("Concat", "x z", "y", axis=-1)], {"x": IMAGE, "z": (1, 4, 8, 2)}),
    "split": Case([node("Split", "x", "a b", axis=1), node("Sub", "a b", "y")], {"x": IMAGE}),
    "split uneven, one unread": Case([node("Split", "x n", "y b z", axis=1)], {"x": IMAGE}, "y z", {"n": integers(1, 2, 1)}),
    "slice": fixed("Slice", integers(1, -5), integers(100, -1), integers(1, 3)),
    "slice backwards": fixed("Slice", integers(-1), integers(-100), integers(2), integers(-2)),
    "slice without axes": fixed("Slice", integers(0, 1), integers(1, 3)),
    "gather one": fixed("Gather", np.array(-1, np.int64), axis=2),
    "gather some": fixed("Gather", integers(3, 0, -2), axis=1),
    "gather a table": fixed("Gather", np.array([[0, 2], [3, 1]], np.int64), axis=1),
    "reshape": fixed("Reshape", integers(0, 2, -1)),
    "flatten": unary("Flatten"),
    "flatten behind": unary("Flatten", axis=2),
    "squeeze": fixed("Squeeze", integers(0)),
    "unsqueeze": fixed("Unsqueeze", integers(1, -1), shape=SERIES),
    "transpose": unary("Transpose", perm=[0, 2, 3, 1]),
    "transpose without order": unary("Transpose"),
    "expand": fixed("Expand", integers(2, 1, 4, 3, 7), shape=(1, 4, 1, 7)),
    "tile": fixed("Tile", integers(1, 2, 1, 3)),
    "pad": fixed("Pad", integers(0, 1, 2, 0, 0, 0, 1, 3)),
    "pad by a value": fixed("Pad", integers(0, 0, 1, 1, 0, 0, 1, 1), np.float32(1.5)),
    "pad negative": fixed("Pad", integers(0, 0, -1, 2, 0, 0, 1, -3)),
    "pad reflect": fixed("Pad", integers(0, 0, 2, 1, 0, 0, 1, 2), mode="reflect"),
    "pad edge": fixed("Pad", integers(0, 0, 2, 1, 0, 0, 1, 3), mode="edge"),
    "depth to space": unary("DepthToSpace", (1, 8, 3, 2), blocksize=2),
    "pixel shuffle": unary("DepthToSpace", (1, 8, 3, 2), blocksize=2, mode="CRD"),
    "space to depth": unary("SpaceToDepth", (1, 2, 4, 6), blocksize=2),
    "resize nearest of torch": resized(scales=[1, 1, 2, 2], coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "resize nearest": resized(sizes=[1, 4, 16, 14]),
    "resize nearest uneven": resized(sizes=[1, 4, 11, 5]),
    "resize nearest to corners": resized(sizes=[1, 4, 11, 5], coordinate_transformation_mode="align_corners"),
    "resize nearest ceil": resized(sizes=[1, 4, 11, 5], nearest_mode="ceil", coordinate_transformation_mode="asymmetric"),
    "resize linear": resized(scales=[1, 1, 2, 2], mode="linear"),
    "resize linear of torch": resized(sizes=[1, 4, 12, 5], mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    "resize linear to corners": resized(sizes=[1, 4, 12, 5], mode="linear", coordinate_transformation_mode="align_corners"),
    "resize linear asymmetric": resized(scales=[1, 1, 2, 2], mode="linear", coordinate_transformation_mode="asymmetric"),
    "resize 1d": resized(SERIES, scales=[1, 1, 2], mode="linear"),
    "reduce over a shape": Case(
        [node("Shape", "x", "s"), node("Gather", "s three", "n"), node("Cast", "n", "f", to=FLOAT), node("Div", "x f", "y")],
        {"x": IMAGE}, "y", {"three": np.array(3, np.int64)},
    ),
    "shape arithmetic": Case(
        [
            node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n axis", "u"),
            node("Concat", "u rest", "to", axis=0), node("Reshape", "x to", "y"),
        ],
        {"x": IMAGE}, "y", {"zero": np.array(0, np.int64), "axis": integers(0), "rest": integers(-1, 14)},
    ),
    "range": Case(
        [node("Range", "a b c", "r"), node("Add", "x r", "y")],
        {"x": VECTOR}, "y", {"a": np.float32(0), "b": np.float32(6), "c": np.float32(1)},
    ),
    "zeros of a shape": Case([node("Shape", "x", "s"), node("ConstantOfShape", "s", "o"), node("Add", "x o", "y")], {"x": VECTOR}),
    "scaler": Case([node("Scaler", "x", "y", domain="ai.onnx.ml", offset=[0.1] * 6, scale=[2.0] * 6)], {"x": VECTOR}),
    "linear regressor": Case(
        [node("LinearRegressor", "x", "y", domain="ai.onnx.ml", coefficients=weights(12).tolist(), intercepts=[1.0, 2.0], targets=2)],
        {"x": VECTOR},
    ),
    "linear classifier": Case(
        [
            node("LinearClassifier", "x", "label s", domain="ai.onnx.ml", coefficients=weights(18).tolist(), intercepts=[1.0, 2.0, 0.0],
                 classlabels_ints=[0, 1, 2], post_transform="LOGISTIC"),
            node("Normalizer", "s", "y", domain="ai.onnx.ml", norm="L1"),
        ],
        {"x": VECTOR},
    ),
}  # fmt: skip

OLD = {  # opset 9: attributes where there are inputs now, and a softmax over all axes from one on
    "softmax over all": unary("Softmax", SERIES, axis=1),
    "softmax over the last": unary("Softmax", SERIES, axis=2),
    "log softmax over all": unary("LogSoftmax", SERIES),
    "upsample nearest": fixed("Upsample", np.float32([1, 1, 2, 3]), mode="nearest"),
    "upsample linear": fixed("Upsample", np.float32([1, 1, 2, 2]), mode="linear"),
    "clip": unary("Clip", min=-0.2, max=0.5),
    "squeeze": unary("Squeeze", (1, 1, 4), axes=[1]),
    "unsqueeze": unary("Unsqueeze", SERIES, axes=[2]),
    "slice": unary("Slice", starts=[1], ends=[3], axes=[1]),
    "pad": unary("Pad", pads=[0, 0, 1, 1, 0, 0, 2, 0], value=0.5),
    "split": Case([node("Split", "x", "a y", axis=1, split=[1, 3])], {"x": IMAGE}),
    "reduce sum": unary("ReduceSum", axes=[1], keepdims=0),
    "dropout": unary("Dropout", ratio=0.5),
}
NEW = {  # opset 21
    "mish": unary("Mish"),
    "gelu": unary("Gelu"),
    "gelu by tanh": unary("Gelu", approximate="tanh"),
    "reduce mean": fixed("ReduceMean", integers(2, 3)),
    "pad of axes": fixed("Pad", integers(1, 2), np.float32(0), integers(-1)),
    "split into": Case([node("Split", "x", "a y", axis=2, num_outputs=2)], {"x": (1, 2, 5)}),
    "resize of axes": resized(sizes=[16, 14], mode="linear", axes=[2, 3]),
    "group normalization": fixed("GroupNormalization", *norm(4)[:2], num_groups=2),
}
NEWEST = {  # opset 23
    "attention": Case([node("Attention", "x z z", "y")], {"x": (1, 2, 5, 3), "z": (1, 2, 4, 3)}),
    "attention to the past": Case([node("Attention", "x x x", "y", is_causal=1, scale=0.7)], {"x": (1, 2, 5, 3)}),
    "attention of joined heads": Case(
        [node("Attention", "x z z m", "y", q_num_heads=2, kv_num_heads=2)], {"x": (1, 5, 6), "z": (1, 4, 6)}, "y", {"m": np.tri(5, 4) > 0}
    ),
    "attention with a mask of numbers": Case(
        [node("Attention", "x z z m", "y")], {"x": (1, 2, 5, 3), "z": (1, 2, 4, 3)}, "y", {"m": weights(5, 4)}
    ),
    "an operator that ONNX defines by others": unary("MeanVarianceNormalization", axes=[2, 3]),
    "one more of them": Case([node("Exp", "x", "e"), node("ReduceLogSum", "e axis", "y")], {"x": VECTOR}, "y", {"axis": integers(1)}),
    "rms normalization": fixed("RMSNormalization", norm(9)[0], shape=SERIES),
}  # fmt: skip
TABLES = {17: CASES, 9: OLD, 21: NEW, 23: NEWEST}


@pytest.fixture(scope="module")
def results(tmp_path_factory, worker):
    """A function from the opset to, per case, what onnxruntime makes of random samples and what the float .tflite does."""

    @functools.cache
    def convert(opset):
        source = read_onnx(save(joined(TABLES[opset], opset), tmp_path_factory.mktemp(f"opset{opset}")))
        random = np.random.default_rng(opset)
        samples = {name: random.normal(0, 1, (3, *shape)).astype(np.float32) for name, shape in source.inputs.items()}
        made = quantize(source, None, recipe=FLOAT32, worker=worker)
        expected = source.predict(samples)
        got = outputs_of(Model(made.content, name="all", inputs=made.inputs, outputs=made.outputs), samples)
        found = {}
        for number, name in enumerate(TABLES[opset]):
            mine = [output for output in source.outputs if output.startswith(f"{number}_")]
            found[name] = [(expected[output], got[output]) for output in mine]
        return found

    return convert


@pytest.mark.parametrize(("opset", "name"), [(opset, name) for opset, cases in TABLES.items() for name in cases])
def test_an_operator_computes_what_onnxruntime_computes(opset, name, results):
    pairs = results(opset)[name]
    assert len(pairs) == len(TABLES[opset][name].outputs.split())
    for expected, got in pairs:
        assert expected.shape == got.shape
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))
