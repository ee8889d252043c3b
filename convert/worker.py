"""TensorFlow's converter in a process of its own: a crash in it becomes one line that names the stage.

``Worker`` is the parent's side. The child (``python -m convert.worker``) reads one JSON job a line from its input and answers
with JSON lines: ``{"stage": ...}`` as it goes, then ``{"done": true}`` or ``{"error": ...}``. One child serves many jobs, for
it takes seconds to start; after a crash the next job gets a new one.
"""

from __future__ import annotations

import collections.abc
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import typing

from convert.recipe import Recipe
from edge.errors import ConversionError

Progress = collections.abc.Callable[[str], None]


class Worker:
    """Converts SavedModels in another process; a context manager. Starting it early lets it load while a model is exported."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the child if it is not running."""
        if self._process is not None and self._process.poll() is None:
            return
        root = str(pathlib.Path(__file__).resolve().parent.parent)
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONWARNINGS": "ignore"}
        environment = {**os.environ, **quiet, "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "convert.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.communicate()

    def convert(self, folder: pathlib.Path, recipe: Recipe, *, name: str, progress: Progress | None = None) -> dict[str, bytes]:
        """Convert ``folder``/saved_model, with ``folder``/calibration.npz (arrays by signature name) if the recipe wants it.

        Where ``folder``/source.tflite lies instead, a float flatbuffer, it is quantized as it is; calibration.npz is then by tensor
        name, and a recipe with float activations is not for here (``flatbuffer.quantize_weights`` needs no converter).

        Returns:
            Flatbuffers: "float", and "converted" as the recipe says (the same for a float32 recipe).

        Raises:
            ConversionError: the converter refused the model or crashed; names the stage.
        """
        self.start()
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        stage = "starting"
        job = {"folder": str(folder), "weights": recipe.weights, "activations": recipe.activations}
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                answer = json.loads(line)
                if "error" in answer:
                    raise ConversionError(f"{name!r} failed while {stage}: {answer['error']}")
                if "done" in answer:
                    return {key: (folder / f"{key}.tflite").read_bytes() for key in ("float", "converted")}
                stage = answer["stage"]
                if progress is not None:
                    progress(stage)
        except BrokenPipeError:
            pass
        except KeyboardInterrupt:
            self.close()
            raise
        status = process.wait()
        self.close()
        raise ConversionError(f"{name!r}: the converter crashed while {stage} ({_ending(status)}); no file was made")


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


# ---- the child's side


def _convert(folder: pathlib.Path, weights: str, activations: str, say: collections.abc.Callable[[dict[str, typing.Any]], None]) -> None:
    say({"stage": "loading TensorFlow"})
    import tensorflow as tf

    source, converted = folder / "source.tflite", folder / "converted.tflite"
    if source.exists():
        say({"stage": "calibrating and quantizing"})
        (folder / "float.tflite").write_bytes(source.read_bytes())
        converted.write_bytes(_quantize_flatbuffer(tf, source.read_bytes(), folder, activations))
        return

    def converter():
        made = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"), signature_keys=["serving_default"])
        made._experimental_disable_per_channel_quantization_for_dense_layers = True  # tflite-runtime 2.14 refuses what comes of it
        return made

    say({"stage": "converting to float"})
    plain = converter().convert()
    (folder / "float.tflite").write_bytes(plain)
    if weights == "float32":
        converted.write_bytes(plain)
        return

    quantizing = converter()
    quantizing.optimizations = [tf.lite.Optimize.DEFAULT]
    if activations != "float32":
        only8, only16 = tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        samples = _samples(folder)

        def representative():
            for i in range(len(next(iter(samples.values())))):
                yield {key: values[i : i + 1] for key, values in samples.items()}

        quantizing.representative_dataset = representative
        quantizing.target_spec.supported_ops = [only8 if activations == "int8" else only16]
        quantizing.inference_input_type = quantizing.inference_output_type = getattr(tf, activations)
    if activations != "int8":
        say({"stage": "quantizing weights" if activations == "float32" else "calibrating and quantizing"})
        converted.write_bytes(quantizing.convert())
        return
    say({"stage": "calibrating and quantizing"})
    quantizing._experimental_calibrate_only = True
    converted.write_bytes(_quantize_calibrated(tf, quantizing.convert(), _by_tensor(tf, plain, samples)))


def _samples(folder: pathlib.Path) -> dict[str, typing.Any]:
    import numpy as np

    with np.load(folder / "calibration.npz") as stored:
        return {key: stored[key] for key in stored.files}


def _by_tensor(tf: typing.Any, content: bytes, samples: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """Samples by the name of the tensor instead of the signature's; the converter names its tensors alike each time."""
    model = tf.lite.Interpreter(model_content=content)
    names = {name: model._get_full_signature_list()["serving_default"]["inputs"][name] for name in samples}
    details = {entry["index"]: entry["name"] for entry in model.get_input_details()}
    return {details[index]: samples[name] for name, index in names.items()}


def _quantize_flatbuffer(tf: typing.Any, content: bytes, folder: pathlib.Path, activations: str) -> bytes:
    """The calibrator and quantizer behind TFLiteConverter, on a float flatbuffer of any origin."""
    from tensorflow.lite.python.optimize import calibrator

    samples, kind = _samples(folder), getattr(tf, activations)
    inputs = tf.lite.Interpreter(model_content=content).get_input_details()

    def representative():
        for i in range(len(next(iter(samples.values())))):
            yield [samples[entry["name"]][i : i + 1] for entry in inputs]

    made = calibrator.Calibrator(content)
    if activations == "int16":
        return made.calibrate_and_quantize(representative, kind, kind, False, tf.int16, tf.int64)
    return _quantize_calibrated(tf, made.calibrate(representative), samples)


def _quantize_calibrated(tf: typing.Any, calibrated: bytes, samples: dict[str, typing.Any]) -> bytes:
    from tensorflow.lite.python.convert import mlir_quantize

    from convert.ranges import complete, narrow, output_error

    def quantized(content: bytes) -> bytes:
        # Per tensor for dense layers: tflite-runtime 2.14 refuses what comes of the other.
        return mlir_quantize(content, input_data_type=tf.int8, output_data_type=tf.int8, disable_per_channel_for_dense_layers=True)

    calibrated = complete(calibrated)
    whole = quantized(calibrated)
    narrowed = narrow(calibrated, samples)
    if narrowed == calibrated:
        return whole
    # Least error at every tensor is mostly, not always, least error at the end.
    made = [whole, quantized(narrowed)]
    return min(made, key=lambda content: output_error(calibrated, content, samples))


def explain(error: Exception) -> str:
    """One line that says what the converter disliked, out of its pages of MLIR."""
    text = str(error)
    operators = sorted(set(re.findall(r"'(tf\.\w+)' op is neither a custom op nor a flex op", text)))
    if operators:
        return f"no builtin operator for {', '.join(operators)}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    chosen = next((line for line in lines if "error:" in line), lines[0] if lines else type(error).__name__)
    return re.sub(r"^.*?error: ", "", chosen)[:300]


def main() -> int:
    """Serve jobs until the input ends."""
    # The answers get a descriptor of their own, for native code may print on standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, typing.Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    import tensorflow  # noqa: F401  (while the parent still exports)

    for line in sys.stdin:
        job = json.loads(line)
        try:
            _convert(pathlib.Path(job["folder"]), job["weights"], job["activations"], say)
        except Exception as error:  # the parent turns it into a ConversionError
            say({"error": explain(error)})
        else:
            say({"done": True})
    return 0


if __name__ == "__main__":
    sys.exit(main())
