"""Child of ``benchmarks.peers``: a Keras model or a float ``.tflite`` as ONNX, by tf2onnx.

Images become NCHW, as ONNX networks take them: ONNX Runtime and onnx2tf both expect that. Imports nothing of affectkit, and runs in
an environment of its own.

    python peer_onnx.py JOB.json     {"model", "names": inputs in order, "shapes": without batch, "out"}
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

OPSET = 17


def main(job):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    import tf2onnx

    if job["model"].endswith(".tflite"):
        interpreter = tf.lite.Interpreter(job["model"])
        images = [detail["name"] for detail in interpreter.get_input_details() if len(detail["shape"]) == 4]
        tf2onnx.convert.from_tflite(job["model"], opset=OPSET, inputs_as_nchw=images or None, output_path=job["out"])
        package = "tflite"
    else:
        from peer_tflite import load

        model, package = load(job["model"])
        specs = [tf.TensorSpec((1, *job["shapes"][name]), tf.float32, name=name) for name in job["names"]]
        function = tf.function(lambda *tensors: model(list(tensors) if len(tensors) > 1 else tensors[0], training=False))
        images = [f"{name}:0" for name in job["names"] if len(job["shapes"][name]) == 3]
        tf2onnx.convert.from_function(function, specs, opset=OPSET, inputs_as_nchw=images or None, output_path=job["out"])
    print(json.dumps({"tool": f"tf2onnx {tf2onnx.__version__}", "route": f"{package}, tf2onnx"}))


if __name__ == "__main__":
    main(json.loads(pathlib.Path(sys.argv[1]).read_text()))
