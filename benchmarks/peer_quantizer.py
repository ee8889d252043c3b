"""Child of ``benchmarks.peers``: ai-edge-quantizer's recipe for int8 weights and activations on a float ``.tflite``.

As in its README ("Static quantization"): load the model and the recipe, calibrate by signature, quantize. Imports nothing of
affectkit, and runs in an environment of its own.

    python peer_quantizer.py JOB.json     {"model": float .tflite, "calibration", "out"}
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from ai_edge_quantizer.calibrator import CalibrationMode


def main(job):
    with np.load(job["calibration"]) as stored:
        samples = {name: stored[name].astype(np.float32) for name in stored.files}
    interpreter = Interpreter(job["model"])
    signatures = interpreter.get_signature_list()
    key = next(iter(signatures), None)
    # Without a signature it takes inputs by tensor name.
    names = [detail["name"] for detail in interpreter.get_input_details()] if key is None else signatures[key]["inputs"]
    if len(names) == 1:
        samples = {names[0]: next(iter(samples.values()))}
    count = len(next(iter(samples.values())))
    rows = [{name: samples[name][i : i + 1] for name in names} for i in range(count)]

    made = quantizer.Quantizer(float_model=job["model"])
    made.load_quantization_recipe(recipe.static_wi8_ai8())
    try:
        ranges = made.calibrate({key: rows}, num_threads=2)
    except ValueError:
        # Its other way to look at tensors; the first sees none inside a loop.
        ranges = made.calibrate({key: rows}, num_threads=2, mode=CalibrationMode.CALIBRATION_PROFILER_BASED)
    made.quantize(ranges).export_model(job["out"])
    print(
        json.dumps(
            {"tool": f"ai-edge-quantizer {importlib.metadata.version('ai-edge-quantizer')}", "route": pathlib.Path(job["model"]).stem}
        )
    )


if __name__ == "__main__":
    main(json.loads(pathlib.Path(sys.argv[1]).read_text()))
