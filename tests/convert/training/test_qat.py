"""What a bad conversion loses is won back by training with its rounding; measured in the device's interpreter, on scanned digits."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras
from keras import layers

from convert import lowering
from convert.pipeline import Converted, convert_model
from convert.training import qat
from convert.training.fit import Schedule
from convert.verify import outputs_of
from convert.worker import Worker
from edge.errors import InputError

pytestmark = pytest.mark.convert

CLASSES = 10


def normalized(x, name: str | None = None):
    return layers.BatchNormalization(momentum=0.8, name=name)(x)


def network() -> keras.Model:
    """Depthwise separable blocks, the second a residual one, as in the zoo's small networks."""
    x = image = keras.Input((8, 8, 1), name="image")
    x = layers.ReLU()(normalized(layers.Conv2D(16, 3, padding="same", use_bias=False)(x)))
    x = layers.ReLU()(normalized(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x), "wide"))
    x = layers.ReLU()(normalized(layers.Conv2D(24, 1, use_bias=False, name="point")(x)))
    y = normalized(layers.Conv2D(24, 3, padding="same", use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(0.1)(layers.Flatten()(x))
    logits = layers.Dense(CLASSES, name="logits")(x)
    return keras.Model(image, {"logits": logits, "probabilities": layers.Softmax(name="probabilities")(logits)}, name="digits")


def unbalanced(model: keras.Model, rng: np.random.Generator) -> None:
    """Multiply channels by up to 2^10.5 and divide behind the ReLU: the same network in float, ranges of the worst kind in int8."""
    factors = np.exp2(rng.uniform(0, 10.5, 16)).astype(np.float32)
    gamma, beta, mean, variance = model.get_layer("wide").get_weights()
    model.get_layer("wide").set_weights([gamma * factors, beta * factors, mean, variance])
    (kernel,) = model.get_layer("point").get_weights()
    model.get_layer("point").set_weights([kernel / factors[:, None]])


@pytest.fixture(scope="module")
def digits():
    """1797 scans of digits, 8x8: learnt from and judged on (``sklearn.datasets.load_digits``)."""
    found = pytest.importorskip("sklearn.datasets").load_digits()
    images = (found.images[..., None] / 8.0 - 1.0).astype(np.float32)
    order = np.random.default_rng(1).permutation(len(images))
    learn, judge = order[:1200], order[1200:]
    return images[learn], found.target[learn], images[judge], found.target[judge]


@pytest.fixture(scope="module")
def worker():
    """One converter for all tests: it takes seconds to start."""
    with Worker() as running:
        yield running


@pytest.fixture(scope="module")
def learnt(digits) -> keras.Model:
    """The network after a few epochs, with channels then unbalanced."""
    images, labels, _, _ = digits
    keras.utils.set_random_seed(7)
    model = network()
    model.compile(keras.optimizers.Adam(3e-3), {"probabilities": "sparse_categorical_crossentropy"}, jit_compile=False)
    model.fit(images, {"probabilities": labels}, epochs=4, batch_size=32, verbose=0)
    unbalanced(model, np.random.default_rng(3))
    return model


def right(answers: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(answers.argmax(axis=1) == labels))


def tuned(model: keras.Model, digits, work, **options) -> keras.Model:
    images, labels, _, _ = digits
    options = {
        "rows": len(images),
        "calibration": {"image": images[:200]},
        "loss": "sparse_categorical_crossentropy",
        "rounds": 2,
        "schedule": Schedule(epochs=2, batch=32, learning_rate=3e-4, weight_decay=0.0, warmup_epochs=0, ema_momentum=None),
        "name": "digits",
        "work": work,
        "seed": 4,
        **options,
    }
    return qat.fine_tune(model, options.pop("make", lambda chosen, rng: (images[chosen], labels[chosen])), **options)


def test_what_a_conversion_loses_is_won_back(digits, learnt, worker, tmp_path):
    images, _, judged, labels = digits

    def converted(model: keras.Model) -> Converted:
        return convert_model(model, {"image": images[:200]}, name="digits", worker=worker)

    before = right(lowering.predict(learnt, {"image": judged})["probabilities"], labels)
    kept = learnt.get_weights()
    plain = right(outputs_of(converted(learnt).model(), {"image": judged})["probabilities"], labels)
    made = tuned(learnt, digits, tmp_path)
    won = right(outputs_of(converted(made).model(), {"image": judged})["probabilities"], labels)
    after = right(lowering.predict(made, {"image": judged})["probabilities"], labels)
    print(f"float {before:.3f}, int8 {plain:.3f}; after training float {after:.3f}, int8 {won:.3f}")
    assert before > 0.95 and before - plain > 0.03 and qat.worth_it(before, plain)
    assert before - won < (before - plain) / 2 and after - won < 0.02
    again = tuned(learnt, digits, tmp_path, make=None)  # what is done is not done again
    assert all(np.array_equal(one, other) for one, other in zip(again.get_weights(), made.get_weights(), strict=True))
    assert [layer.__class__ for layer in made.layers] == [layer.__class__ for layer in learnt.layers], "an ordinary network"
    assert all(np.array_equal(one, other) for one, other in zip(kept, learnt.get_weights(), strict=True)), "the first one is left as it was"


def test_the_emulated_network_answers_as_the_converted_one_does(digits, learnt, worker):
    """The proof that training sees what the device will compute: closer to int8 than float is, by far."""
    images, _, judged, _ = digits
    some = {"image": judged[:100]}
    emulated = qat._Emulated(qat._copy(learnt))
    emulated.measure({"image": images[:200]})
    seen = lowering.call(emulated.model, [some["image"]])["logits"].numpy()
    made = outputs_of(convert_model(learnt, {"image": images[:200]}, name="digits", worker=worker).model(), some)["logits"]
    plain = lowering.predict(learnt, some)["logits"]
    assert np.abs(seen - made).mean() < 0.35 * np.abs(plain - made).mean()


def test_the_tensors_that_the_device_rounds_are_those_that_are_emulated():
    found = {point.layer: point.narrowed for point in qat.points(network())}
    kinds = [name.rstrip("0123456789").rstrip("_") for name in found]
    # Convolution, normalization and ReLU are one operator; a sum takes the ReLU behind it; logits keep their whole range.
    assert kinds == ["re_lu", "re_lu", "re_lu", "batch_normalization", "re_lu", "logits"]
    assert list(found.values()) == [True] * 5 + [False]


def test_a_layer_that_is_called_twice_computes_in_float():
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    shared = layers.Dense(3, name="shared")
    model = keras.Model([first, second], layers.Dense(2, name="last")(layers.Concatenate()([shared(first), shared(second)])))
    assert [point.layer for point in qat.points(model)][-1] == "last" and "shared" not in {point.layer for point in qat.points(model)}
    emulated = qat._Emulated(model)
    rng = np.random.default_rng(2)
    samples = [rng.normal(size=(50, 4)).astype(np.float32) for _ in range(2)]
    emulated.measure(dict(zip(("first", "second"), samples, strict=True)))
    np.testing.assert_allclose(np.asarray(emulated.model(samples)), np.asarray(model(samples)), atol=0.1)


def test_rounding_takes_256_steps_with_zero_among_them_and_its_gradient_stops_at_what_is_clipped():
    import tensorflow as tf

    rounded = qat._Rounded()
    rounded.build((None,))
    rounded.set(-0.97, 2.13)
    x = tf.constant(np.linspace(-2, 4, 4001, dtype=np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = rounded(x)
    values, slope, error = np.unique(y.numpy()), tape.gradient(y, x).numpy(), np.abs(y.numpy() - x.numpy())
    assert len(values) == 256 and 0.0 in values and error[(x.numpy() > -0.96) & (x.numpy() < 2.12)].max() < 0.51 * 3.1 / 255
    inside = (x.numpy() > rounded.low.numpy()) & (x.numpy() < rounded.high.numpy())
    np.testing.assert_array_equal(slope, inside.astype(np.float32))


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (layers.Conv2D(5, 3, strides=2, padding="same", activation="relu"), (9, 9, 3), (0, 1, 2)),
        (layers.Conv1D(5, 3, dilation_rate=2), (9, 3), (0, 1)),
        (layers.DepthwiseConv2D(3, strides=2, padding="same"), (9, 9, 3), (0, 1)),
        (layers.Dense(5), (7,), (0, 1)),
    ],
    ids=["conv2d", "conv1d", "depthwise", "dense"],
)
def test_weights_have_255_steps_an_output_channel_but_one_scale_in_a_dense_layer(layer, shape, axes):
    rng = np.random.default_rng(8)
    layer.build((None, *shape))
    layer.set_weights([rng.normal(size=weight.shape) * np.exp(rng.normal(size=weight.shape[-1:])) for weight in layer.weights])
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    got = np.asarray(qat._Linear(layer, None)(x))
    kernel, bias = layer.get_weights()
    step = np.abs(kernel).max(axis=axes, keepdims=True) / 127
    layer.set_weights([np.rint(kernel / step) * step, bias])
    np.testing.assert_allclose(got, np.asarray(layer(x)), rtol=1e-4, atol=1e-4)
    layer.set_weights([kernel, bias])
    assert np.abs(got - np.asarray(layer(x))).max() > 1e-4, "rounding is seen at all"


def test_half_a_point_is_the_limit():
    assert qat.worth_it(0.70, 0.694) and not qat.worth_it(0.70, 0.696) and not qat.worth_it(0.70, 0.71)


def test_calibration_without_an_input_and_an_unknown_output_are_refused(digits, tmp_path):
    with pytest.raises(InputError, match=r"^digits: calibration lacks the input image; it has picture$"):
        tuned(network(), digits, tmp_path, calibration={"picture": digits[0]})
    with pytest.raises(InputError, match="digits has no output classes: it has logits, probabilities"):
        tuned(network(), digits, tmp_path, output="classes")
