"""Activations written as a handful of operators are known by what they compute, and masks are made fit for int8."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("onnx")

from convert.readers.onnx.graph import Graph, Node  # noqa: E402
from convert.readers.onnx.rewrite import MASKED, fuse_gelu, soften_masks  # noqa: E402

ROOT = np.float32(2**0.5)


def graph(*steps: str, outputs: str = "y", **constants: float) -> Graph:
    """Steps such as "e = Erf d"; x is the input."""
    nodes = []
    for step in steps:
        made, _, call = step.partition(" = ")
        kind, *inputs = call.split()
        nodes.append(Node("", kind, "", tuple(inputs), (made,), {}, 17))
    arrays = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    return Graph(nodes, arrays, ["x"], outputs.split(), {"x": (1, 4), **{node.outputs[0]: (1, 4) for node in nodes}})


FORMS = {
    "torch": ["d = Div x root", "e = Erf d", "a = Add e one", "m = Mul x a", "y = Mul m half"],
    "half first": ["h = Mul x half", "d = Div x root", "e = Erf d", "a = Add one e", "y = Mul h a"],
    "half on the sum": ["d = Mul x inverse", "e = Erf d", "a = Add e one", "h = Mul half a", "y = Mul h x"],
}
NUMBERS = {"root": ROOT, "inverse": 1 / ROOT, "one": 1, "half": 0.5}


@pytest.mark.parametrize("form", FORMS)
def test_a_gelu_in_any_order_becomes_one(form):
    made = graph("x0 = Relu x", *(step.replace(" x", " x0") for step in FORMS[form]), **NUMBERS)
    assert fuse_gelu(made) == 1
    assert [(node.kind, node.inputs, node.outputs) for node in made.nodes] == [("Relu", ("x",), ("x0",)), ("Gelu", ("x0",), ("y",))]
    assert made.nodes[1].attributes == {"approximate": "none"}


def test_the_tanh_form_becomes_one():
    steps = [
        "c = Pow x three",
        "k = Mul c small",
        "s = Add x k",
        "i = Mul s scale",
        "t = Tanh i",
        "a = Add t one",
        "m = Mul x a",
        "y = Mul m half",
    ]
    made = graph(*steps, three=3, small=0.044715, scale=(2 / np.pi) ** 0.5, one=1, half=0.5)
    assert fuse_gelu(made) == 1
    assert made.nodes[0].attributes == {"approximate": "tanh"}


@pytest.mark.parametrize("change", [{"half": 0.4}, {"one": 1.1}, {"root": 1.5}, {"half": [0.5, 0.5, 0.5, 0.6]}])
def test_what_is_nearly_a_gelu_stays(change):
    made = graph(*FORMS["torch"], **{**NUMBERS, **change})
    assert fuse_gelu(made) == 0
    assert len(made.nodes) == 5


def test_steps_that_others_read_stay():
    made = graph(*FORMS["torch"], outputs="y e", **NUMBERS)
    assert fuse_gelu(made) == 1
    assert [node.kind for node in made.nodes] == ["Div", "Erf", "Gelu"]


def test_a_mask_in_front_of_a_softmax_is_softened():
    made = graph("s = Add x never", "y = Softmax s", never=[0, 0, -np.inf, -1])
    assert soften_masks(made) == 1
    assert made.constants["never"].tolist() == [0, 0, MASKED, -1]


@pytest.mark.parametrize("steps", [["s = Add x never", "y = Relu s"], ["s = Add x never", "t = Softmax s", "y = Add t never"]])
def test_what_is_no_mask_stays(steps):
    made = graph(*steps, never=[0, 0, -100, -1])
    assert soften_masks(made) == 0
    assert made.constants["never"].tolist() == [0, 0, -100, -1]
