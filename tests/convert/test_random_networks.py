"""Random small networks from the supported layers convert to integers throughout and agree with Keras."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

pytestmark = [pytest.mark.convert, pytest.mark.slow]
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert.pipeline import convert_model  # noqa: E402
from convert.worker import Worker  # noqa: E402

PICTURE = ("conv", "strided", "depthwise", "separable", "pool", "average", "residual", "norm")
SERIES = ("conv1d", "lstm", "bilstm", "gru", "attention", "layer_norm", "dense", "pool1d")


@pytest.fixture(scope="module")
def worker():
    with Worker() as running:
        yield running


def _conv(x, **options):
    return layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False, **options)(x)))


PICTURE_LAYERS = {
    "conv": _conv,
    "strided": lambda x: _conv(x, strides=2),
    "depthwise": lambda x: layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x)),
    "separable": lambda x: layers.SeparableConv2D(8, 3, padding="same", activation="relu")(x),
    "pool": lambda x: layers.MaxPooling2D(2)(x) if min(x.shape[1:3]) > 1 else x,
    "average": lambda x: layers.AveragePooling2D(2, padding="same")(x),
    "residual": lambda x: layers.add([x, layers.Conv2D(x.shape[-1], 1)(x)]),
    "norm": lambda x: layers.LayerNormalization()(x),
}
SERIES_LAYERS = {
    "conv1d": lambda x: layers.Conv1D(6, 3, padding="same", activation="relu")(x),
    "lstm": lambda x: layers.LSTM(5, return_sequences=True)(x),
    "bilstm": lambda x: layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x),
    "gru": lambda x: layers.GRU(5, return_sequences=True)(x),
    "attention": lambda x: layers.add([x, layers.MultiHeadAttention(2, 4)(x, x)]),
    "layer_norm": lambda x: layers.LayerNormalization()(x),
    "dense": lambda x: layers.Dense(7, activation="tanh")(x),
    "pool1d": lambda x: layers.MaxPooling1D(2, padding="same")(x),
}


def network(kinds, seed: int):
    keras.utils.set_random_seed(seed)
    picture = kinds[0] in PICTURE
    x = inputs = keras.Input((9, 8, 2) if picture else (6, 5), name="x")
    for kind in kinds:
        x = (PICTURE_LAYERS if picture else SERIES_LAYERS)[kind](x)
    x = layers.GlobalAveragePooling2D()(x) if picture else layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, {"values": layers.Dense(4)(x)}, name="random")
    random = np.random.default_rng(seed)
    for variable in model.weights:
        # Statistics and scales as training leaves them: off from one and zero, variances positive.
        if "variance" in variable.path or "gamma" in variable.path:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif "mean" in variable.path or "beta" in variable.path or "bias" in variable.path:
            variable.assign(random.normal(0, 0.2, variable.shape))
    return model


@hypothesis.settings(max_examples=14)
@hypothesis.given(
    st.one_of(
        st.lists(st.sampled_from(PICTURE), min_size=1, max_size=4), st.lists(st.sampled_from(SERIES), min_size=1, max_size=3)
    ),
    st.sampled_from(["fused", "unrolled"]),
    st.integers(0, 100),
)  # fmt: skip
def test_they_convert_and_agree(worker, kinds, form, seed):
    model = network(kinds, seed)
    samples = {"x": np.random.default_rng(seed).normal(size=(120, *model.inputs[0].shape[1:])).astype(np.float32)}
    made = convert_model(model, samples, lstm_form=form, worker=worker)
    assert made.report.lowering_error < 1e-4
    assert {tensor["dtype"] for tensor in (*made.report.inputs.values(), *made.report.outputs.values())} == {"int8"}
    error = made.report.verification.outputs["values"]
    # Of the span of the output. A mean over the last axes leaves a narrow span, in which the steps of the layers before it show.
    assert error.mean_error < 0.03
