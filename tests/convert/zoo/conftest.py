"""What the tests of all networks need: a running converter, random networks that say something, and a round trip through a file."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="package")
def worker():
    from convert.worker import Worker

    with Worker() as running:
        yield running


@pytest.fixture(scope="package")
def settled():
    """A function that makes a network with random weights decided: (model, samples) -> model.

    Batch normalization gets the statistics of the samples, without which a deep random network says nothing at all; recurrent
    kernels are widened, for a random RNN hears next to nothing of its input; and every logit is shifted and scaled to mean 0 and
    deviation 1 over the samples, without which all classes are nearly tied.
    """
    import keras

    from convert import lowering

    def settle(model, samples):
        inner = list(model._flatten_layers())
        for layer in inner:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
            if isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)):
                kernel, *others = layer.get_weights()
                layer.set_weights([4 * kernel, *others])
        arrays = [samples[name] for name in lowering.input_names(model)]
        model(arrays if len(arrays) > 1 else arrays[0], training=True)
        last = next(layer for layer in inner if layer.name == "logits")
        logits = lowering.predict(model, samples)["logits"]
        kernel, bias = last.get_weights()
        last.set_weights([kernel / logits.std(axis=0), (bias - logits.mean(axis=0)) / logits.std(axis=0)])
        return model

    return settle


@pytest.fixture(scope="package")
def converted(settled, worker):
    """A function (model, draw) -> the model in int8, which is integer throughout and close to float on samples held back.

    ``mean_error`` is the bound on the mean error of the probabilities.
    """
    from convert import flatbuffer
    from convert.pipeline import convert_model

    def convert(model, draw, mean_error=0.02):
        rng = np.random.default_rng(3)
        calibration, held_back = draw(rng, 120), draw(rng, 120)
        result = convert_model(settled(model, calibration), calibration, verification=held_back, worker=worker)
        flatbuffer.check_integer(flatbuffer.unpack(result.content), model.name)
        flatbuffer.check_builtin(flatbuffer.unpack(result.content), model.name)
        checked = result.report.verification
        assert result.report.lowering_error < 1e-4
        for name in ("probabilities", "logits"):
            assert checked.outputs[name].mean_error < mean_error, str(checked)
            assert checked.outputs[name].agreement > 0.8, str(checked)
        return result

    return convert


@pytest.fixture
def reloaded(tmp_path):
    """A function that saves a model as ``.keras`` and loads it without running code from the file."""
    import keras

    def load(model):
        model.save(tmp_path / "model.keras")
        return keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)

    return load


@pytest.fixture(scope="package")
def run():
    """A function (stage, **inputs) -> its outputs by name, as arrays with a batch axis."""
    from convert import lowering

    return lambda stage, **inputs: lowering.predict(stage, {name: np.asarray(values, np.float32) for name, values in inputs.items()})
