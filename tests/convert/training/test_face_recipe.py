from __future__ import annotations

import pathlib

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the convert extra")
from keras import layers  # noqa: E402

from convert.training import face as recipe  # noqa: E402
from convert.training.fit import Schedule, fit_in_bfloat16  # noqa: E402

pytestmark = pytest.mark.convert


def test_augmented_faces_stay_in_range_differ_and_depend_on_the_generator_alone():
    images = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
    before = images.copy()
    one, again = (recipe.augment(images, np.random.default_rng(7)) for _ in range(2))
    other = recipe.augment(images, np.random.default_rng(8))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(images, before)
    assert one.shape == (40, 48, 48, 1) and one.dtype == np.float32
    assert one.min() >= -1.0 and one.max() <= 1.0
    assert (np.abs(one - other).reshape(40, -1).max(axis=1) > 0).all()


def test_the_share_of_spoilt_faces_is_what_was_asked_for():
    flat = np.full((400, 48, 48), 128, np.uint8)  # moving changes nothing here, and neither does shrinking or blurring
    rng = np.random.default_rng(1)
    rough = [float(np.std(face)) > 1e-3 for face in recipe.augment(flat, rng, spoilt=0.5)]
    # cover and low light show on a flat face: 1/2 + 0.08, a little more where there are two troubles
    assert 0.5 * 0.5 < np.mean(rough) < 0.5 * 0.75
    assert not any(float(np.std(face)) > 1e-3 for face in recipe.augment(flat, rng, spoilt=0.0))


def test_opinions_of_teachers_of_other_sizes_are_probabilities():
    keras.utils.set_random_seed(0)
    teachers = [
        keras.Sequential([keras.Input((size, size, 1)), layers.Flatten(), layers.Dense(7, activation="softmax")]) for size in (48, 64)
    ]
    images = np.random.default_rng(0).uniform(-1, 1, (5, 48, 48, 1)).astype(np.float32)
    given = recipe.opinions(teachers, images)
    np.testing.assert_allclose(given.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(recipe.opinions(teachers, images[:, :, ::-1]), given, atol=1e-5)


def small() -> keras.Model:
    image = keras.Input((8, 8, 1), name="face")
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(image))
    x = layers.Dense(4, activation="relu", name="embedding")(layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    return keras.Model(image, {"embedding": x, "probabilities": layers.Softmax(dtype="float32")(layers.Dense(2, name="logits")(x))})


def test_training_in_bfloat16_gives_a_float32_network_that_learnt_and_resumes_to_the_same(tmp_path: pathlib.Path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 256)
    images = (rng.normal(0, 0.3, (256, 8, 8, 1)) + (2 * labels[:, None, None, None] - 1) * 0.5).astype(np.float32)
    targets = keras.utils.to_categorical(labels, 2)

    def learn() -> keras.Model:
        return fit_in_bfloat16(
            small,
            lambda rows, _: (images[rows], targets[rows]),
            rows=256,
            schedule=Schedule(epochs=6, batch=32, learning_rate=3e-2),
            loss="categorical_crossentropy",
            name="small",
            work=tmp_path,
            seed=0,
        )

    model = learn()
    assert all(weight.dtype == "float32" for weight in model.weights)
    assert model.get_layer("logits").compute_dtype == "float32"
    given = model.predict(images, verbose=0)["probabilities"]
    assert (given.argmax(axis=1) == labels).mean() > 0.95
    np.testing.assert_array_equal(learn().predict(images, verbose=0)["probabilities"], given)
    assert keras.mixed_precision.dtype_policy().name == "float32"
