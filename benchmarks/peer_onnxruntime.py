"""Child of ``benchmarks.peers``: ONNX Runtime's static quantization of an ONNX file, and its dynamic one.

As its guide has it (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html): pre-process, then QDQ with
int8 activations and weights ("the first choice" on CPU), weights per channel. Dynamic quantization is what the guide recommends for
recurrent networks and transformers. Imports nothing of affectkit, and runs in an environment of its own.

    python peer_onnxruntime.py JOB.json     {"model", "calibration", "recipe": "static" or "dynamic", "out"}
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

OPSET, PER_CHANNEL = 17, 13
"""DequantizeLinear has an axis, for weights per channel, from opset 13 on."""


class Rows(CalibrationDataReader):
    """One sample after the other, a batch of one each."""

    def __init__(self, samples):
        count = len(next(iter(samples.values())))
        self._rows = iter([{name: values[i : i + 1] for name, values in samples.items()} for i in range(count)])

    def get_next(self):
        return next(self._rows, None)


def fitted(values, shape):
    """Samples (n, *shape) in the axis order of the file: images are given NHWC."""
    if tuple(values.shape[1:]) == tuple(shape):
        return values
    return np.ascontiguousarray(np.moveaxis(values, -1, 1)).reshape(len(values), *shape)


def modern(model):
    """Weights no longer inputs and opset 13 at least, as the guide asks for weights per channel; what was done."""
    weights = {weight.name for weight in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(given)
    version = next(entry.version for entry in model.opset_import if not entry.domain)
    if version >= PER_CHANNEL:
        return model, ""
    model.ir_version = max(model.ir_version, 8)
    return onnx.version_converter.convert_version(model, OPSET), f"opset raised from {version} to {OPSET}"


def main(job):
    with np.load(job["calibration"]) as stored:
        given = {name: stored[name].astype(np.float32) for name in stored.files}
    model, raised = modern(onnx.load(job["model"]))
    inputs = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in model.graph.input}
    if len(inputs) == 1:
        given = {next(iter(inputs)): next(iter(given.values()))}
    samples = {name: fitted(given[name], shape[1:]) for name, shape in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        source, prepared = (pathlib.Path(folder) / name for name in ("source.onnx", "prepared.onnx"))
        onnx.save(model, source)
        route = "pre-processed"
        try:
            quant_pre_process(source, prepared)
        except Exception as error:  # its symbolic shape inference gives up on some networks; the guide lets it be skipped
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            route = f"pre-processed without symbolic shapes ({type(error).__name__})"
        if job["recipe"] == "dynamic":
            quantize_dynamic(prepared, job["out"], per_channel=True, weight_type=QuantType.QInt8)
        else:
            quantize_static(
                prepared,
                job["out"],
                Rows(samples),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
    print(json.dumps({"tool": f"onnxruntime {onnxruntime.__version__}", "route": "; ".join(filter(None, (raised, route)))}))


if __name__ == "__main__":
    main(json.loads(pathlib.Path(sys.argv[1]).read_text()))
