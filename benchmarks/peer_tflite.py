"""Child of ``benchmarks.peers``: TensorFlow's own converter, as its guide to post-training quantization has it.

https://www.tensorflow.org/lite/performance/post_training_quantization ("Full integer quantization, integer only"), and for the
batch of one https://www.tensorflow.org/lite/models/convert/rnn. Imports nothing of affectkit.

    python peer_tflite.py JOB.json     {"model", "calibration", "route": "saved_model" or "keras_model",
                                        "recipe": "static" or "dynamic" (range), "out", "float_out": where wanted}
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import tempfile

import numpy as np


def load(path):
    """The model, by Keras 3 or, for files of Keras 2 that it refuses, by ``tf_keras``; the package that could."""
    import keras

    try:
        return keras.models.load_model(path, compile=False), "keras"
    except (TypeError, ValueError):
        import tf_keras

        return tf_keras.models.load_model(path, compile=False), "tf_keras"


def save(tf, model, package, folder, specs):
    """A SavedModel with a batch of one: the way of each Keras."""
    if package == "keras":
        model.export(folder, verbose=False, input_signature=[specs] if len(specs) > 1 else specs)
        return
    serve = tf.function(lambda *tensors: model(list(tensors) if len(tensors) > 1 else tensors[0], training=False))
    tf.saved_model.save(model, folder, signatures=serve.get_concrete_function(*specs))


def main(job):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    model, package = load(job["model"])
    with np.load(job["calibration"]) as stored:
        samples = {name: stored[name].astype(np.float32) for name in stored.files}
    names = [tensor.name.split(":")[0] for tensor in model.inputs]
    if len(names) == 1:
        samples = {names[0]: next(iter(samples.values()))}

    with tempfile.TemporaryDirectory() as folder:
        if job["route"] == "saved_model":
            save(tf, model, package, folder, [tf.TensorSpec((1, *samples[name].shape[1:]), tf.float32, name=name) for name in names])

        def converter():
            if job["route"] == "saved_model":
                return tf.lite.TFLiteConverter.from_saved_model(folder)
            return tf.lite.TFLiteConverter.from_keras_model(model)

        if "float_out" in job:
            pathlib.Path(job["float_out"]).write_bytes(converter().convert())

        def representative_dataset():
            for i in range(len(samples[names[0]])):
                row = {name: samples[name][i : i + 1] for name in names}
                yield row if len(names) > 1 else list(row.values())

        quantizing = converter()
        quantizing.optimizations = [tf.lite.Optimize.DEFAULT]
        if job["recipe"] == "static":
            quantizing.representative_dataset = representative_dataset
            quantizing.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            quantizing.inference_input_type = quantizing.inference_output_type = tf.int8
        pathlib.Path(job["out"]).write_bytes(quantizing.convert())
    print(json.dumps({"tool": f"tensorflow {tf.__version__}", "route": f"{package}, {job['route']}"}))


if __name__ == "__main__":
    main(json.loads(pathlib.Path(sys.argv[1]).read_text()))
