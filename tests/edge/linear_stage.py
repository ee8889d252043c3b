"""Stages that are one matrix each, as real ``.tflite`` flatbuffers in float32, and bundles of them and the embedded one's encoders."""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import pathlib
import typing

import numpy as np
import pytest

from edge import embedded
from edge.bundle import CARD, Bundle, StageSpec, load_bundle, pack_golden, write_bundle
from edge.inference.golden import golden
from edge.inference.model import Model

Shape = tuple[int, ...]


def linear(inputs: collections.abc.Mapping[str, Shape], outputs: collections.abc.Mapping[str, np.ndarray]) -> bytes:
    """All ``inputs`` (shapes without a batch axis) flattened and put in a row, in their order; each output is its matrix
    (width, length of the row) times that row. Tensors are called as the inputs and outputs."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators = [], []
    model.buffers, model.operatorCodes = [schema.BufferT()], []

    def tensor(name: str, shape: collections.abc.Sequence[int], content: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), np.array(shape, np.int32), schema.TensorType.FLOAT32, 0
        if content is not None:
            made.type = schema.TensorType.INT32 if content.dtype == np.int32 else schema.TensorType.FLOAT32
            made.buffer = len(model.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(name: str, options: str, taken: list[int], given: int, **values: typing.Any) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 1
        made = schema.OperatorT()
        made.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
        made.inputs, made.outputs = np.array(taken, np.int32), np.array([given], np.int32)
        made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        made.builtinOptions = getattr(schema, f"{options}T")()
        for key, value in values.items():
            setattr(made.builtinOptions, key, value)
        graph.operators.append(made)
        return given

    places = [tensor(name, (1, *shape)) for name, shape in inputs.items()]
    flat = []
    for place, (name, shape) in zip(places, inputs.items(), strict=True):
        size = math.prod(shape)
        wanted = tensor(f"{name} size", (2,), np.array([1, size], np.int32))
        flat.append(operator("RESHAPE", "ReshapeOptions", [place, wanted], tensor(f"{name} flat", (1, size)), newShape=[1, size]))
    total = sum(math.prod(shape) for shape in inputs.values())
    row = operator("CONCATENATION", "ConcatenationOptions", flat, tensor("row", (1, total)), axis=1)
    ends = []
    for name, matrix in outputs.items():
        assert matrix.shape[1] == total, f"{name}: {matrix.shape} and a row of {total}"
        weights = tensor(f"{name} matrix", matrix.shape, matrix.astype(np.float32))
        ends.append(operator("FULLY_CONNECTED", "FullyConnectedOptions", [row, weights], tensor(name, (1, matrix.shape[0]))))
    graph.inputs, graph.outputs = np.array(places, np.int32), np.array(ends, np.int32)
    model.version, model.subgraphs = 3, [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def refitted(
    path: pathlib.Path,
    fusion: bytes,
    inputs: collections.abc.Mapping[str, Shape],
    outputs: collections.abc.Iterable[str],
    *,
    keep: collections.abc.Collection[str],
    labels: tuple[str, ...] = ("positive", "calm", "low", "tense"),
    parameters: collections.abc.Mapping[str, typing.Any] | None = None,
    **changes: typing.Any,
) -> Bundle:
    """The stages ``keep`` of the embedded bundle with another fusion, written to ``path`` and loaded.

    Args:
        path: ``NAME.affectkit``.
        fusion: from ``linear``.
        inputs, outputs: of it.
        keep: stages of the embedded bundle.
        labels: of the decisions.
        parameters: ``preprocess["fusion"]``.
        changes: of the manifest.
    """
    source = load_bundle(embedded.BUNDLE)
    said = source.manifest
    spec = StageSpec("fusion", "stages/fusion.tflite", {name: name for name in inputs}, {name: name for name in outputs}, 5.0, 1, 1)
    stages = {name: said.stages[name] for name in keep} | {"fusion": spec}
    model = Model(fusion, name="fusion", inputs=spec.inputs, outputs=spec.outputs)
    rng = np.random.default_rng(3)
    vectors = golden(model, {name: rng.random((2, *shape), np.float32) for name, shape in inputs.items()})
    parts = {CARD: b"# Made up\n", spec.file: fusion, "golden/fusion.npz": pack_golden(vectors)}
    for name in keep:
        parts |= {said.stages[name].file: source.stage(name), f"golden/{name}.npz": source.part(f"golden/{name}.npz")}
    preprocess = {name: said.preprocess[name] for name in keep} | ({} if parameters is None else {"fusion": parameters})
    ages = {name: age for name, age in said.max_age_ms.items() if name in keep}
    manifest = dataclasses.replace(
        said, name="refitted", stages=stages, preprocess=preprocess, max_age_ms=ages, labels=labels, temperature=1.0, **changes
    )
    write_bundle(path, manifest, parts, overwrite=True)
    return load_bundle(path)
