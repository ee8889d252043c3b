"""An ONNX file from disk, looked through before any of it is used: size, references to other files, version, validity."""

from __future__ import annotations

import collections.abc
import math
import pathlib

import google.protobuf.message
import onnx
import onnx.checker
import onnx.defs
import onnx.external_data_helper

from convert.readers import first_line
from edge.errors import InputError

MAXIMUM_BYTES = 1 << 30
"""Of the file and its external data together; the models meant here have a few megabytes."""

OPSETS = (7, 26)
"""Of the standard domain: from ONNX 1.2 (2018), whose broadcasting is numpy's, to what onnxruntime 1.31 runs."""

STANDARD = ("", "ai.onnx")


def load(path: pathlib.Path) -> onnx.ModelProto:
    """The model with all its weights.

    Raises:
        InputError: it is no ONNX file or truncated, too large, of an unsupported opset or invalid, or its external data is missing
            or lies outside its folder.
    """
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise _too_large(path, path.stat().st_size)
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    except google.protobuf.message.DecodeError:
        raise InputError(f"{path} is no ONNX file, or truncated") from None
    if not model.ir_version or not model.HasField("graph") or not model.graph.output:
        raise InputError(f"{path} is no ONNX file, or truncated: it holds no graph")
    _check_opsets(path, model)
    _check_operators(path, model)
    _check_weights(path, model)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, OSError, RuntimeError) as error:
        raise InputError(f"{path} is not valid ONNX: {first_line(error)}") from error
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators; 0 if the model has none."""
    return max((entry.version for entry in model.opset_import if entry.domain in STANDARD), default=0)


def graphs(graph: onnx.GraphProto) -> collections.abc.Iterator[onnx.GraphProto]:
    """A graph and all that lie within its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.output:
                    yield from graphs(inner)


def _too_large(path: pathlib.Path, size: int) -> InputError:
    return InputError(f"{path} unpacks to {size / 1e9:.1f} GB: refused above {MAXIMUM_BYTES >> 30} GB")


def _check_opsets(path: pathlib.Path, model: onnx.ModelProto) -> None:
    version, (oldest, newest) = opset_of(model), OPSETS
    if version and not oldest <= version <= newest:
        raise InputError(f"{path} is of opset {version}, and {oldest} to {newest} are supported: export it with opset_version=17")


def _check_operators(path: pathlib.Path, model: onnx.ModelProto) -> None:
    version, own = opset_of(model), {(function.domain, function.name) for function in model.functions}
    for graph in graphs(model.graph):
        for node in graph.node:
            standard = node.domain in STANDARD and (node.domain, node.op_type) not in own
            if standard and not onnx.defs.has(node.op_type, max_inclusive_version=version):
                named = f"node {node.name or ' '.join(node.output)!r}: operator {node.op_type}"
                raise InputError(f"{path}: {named} is not supported: opset {version} has no such operator; export with a newer opset")


def _tensors(model: onnx.ModelProto) -> collections.abc.Iterator[onnx.TensorProto]:
    for graph in graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)


def _check_weights(path: pathlib.Path, model: onnx.ModelProto) -> None:
    """Before anything is unpacked: how much there is, and where it lies."""
    total, folder, files = 0, path.resolve().parent, set()
    for tensor in _tensors(model):
        if any(size < 0 for size in tensor.dims):
            raise InputError(f"{path}: tensor {tensor.name!r} has a negative size, {tuple(tensor.dims)}; the file is damaged")
        total += 4 * math.prod(tensor.dims) if tensor.dims else 0
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = (folder / location).resolve()
        if not location or pathlib.Path(location).is_absolute() or not file.is_relative_to(folder):
            raise InputError(f"{path}: tensor {tensor.name!r} lies outside its folder, at {location!r}: refused")
        if not file.is_file():
            raise InputError(f"{path} keeps weights in {location!r}, which is not beside it: copy both files together")
        files.add(file)
    total = max(total, sum(file.stat().st_size for file in files))
    if total > MAXIMUM_BYTES:
        raise _too_large(path, total)
