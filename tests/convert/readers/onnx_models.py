"""Small ONNX models for tests, without PyTorch."""

from __future__ import annotations

import dataclasses
import pathlib
import typing

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference

IR_VERSION = 8


def node(kind: str, inputs: str, outputs: str, *, domain: str = "", **attributes: typing.Any) -> onnx.NodeProto:
    """Names are separated by blanks; "-" is an optional one left out."""
    names = [["" if name == "-" else name for name in text.split()] for text in (inputs, outputs)]
    return onnx.helper.make_node(kind, *names, domain=domain, **attributes)


def weights(*shape: int, seed: int = 0, scale: float = 0.5) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(0, scale, shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int | str | None, ...]],
    outputs: str,
    constants: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    kind: int = onnx.TensorProto.FLOAT,
    domains: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """A model of float inputs and outputs; the shapes of outputs are inferred."""
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [onnx.helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs.split()],
        [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    versions = {"": opset, **(domains or {})}
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in versions.items()]
    made = onnx.helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
    made = onnx.shape_inference.infer_shapes(made)
    for output in made.graph.output:
        if not output.type.tensor_type.HasField("shape"):  # scikit-learn's operators: a row for each sample
            output.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension()] * 2))
    return made


def save(made: onnx.ModelProto, folder: pathlib.Path, name: str = "network") -> pathlib.Path:
    path = folder / f"{name}.onnx"
    path.write_bytes(made.SerializeToString())
    return path


@dataclasses.dataclass(frozen=True)
class Case:
    """A few nodes from inputs to outputs; names are its own."""

    nodes: list[onnx.NodeProto]
    inputs: dict[str, tuple[int, ...]]
    outputs: str = "y"
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def joined(cases: dict[str, Case], opset: int) -> onnx.ModelProto:
    """All cases in one model, for converting takes longer than computing; names get the number of the case in front."""
    nodes, inputs, outputs, constants = [], {}, [], {}
    for number, case in enumerate(cases.values()):

        def own(name: str, number: int = number) -> str:
            return f"{number}_{name}" if name else ""

        for original in case.nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(original)
            copy.input[:], copy.output[:] = map(own, original.input), map(own, original.output)
            nodes.append(copy)
        inputs |= {own(name): shape for name, shape in case.inputs.items()}
        outputs += [own(name) for name in case.outputs.split()]
        constants |= {own(name): array for name, array in case.constants.items()}
    return model(nodes, inputs, " ".join(outputs), constants, opset=opset, domains={"ai.onnx.ml": 3})
