from __future__ import annotations

import pathlib

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the convert extra")
from keras import layers  # noqa: E402
from PIL import Image  # noqa: E402

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


def test_more_of_the_spoilt_faces_are_covered_where_asked():
    flat = np.full((400, 48, 48), 128, np.uint8)
    rough = [
        np.mean([float(np.std(face)) > 1e-3 for face in recipe.augment(flat, np.random.default_rng(1), spoilt=1.0, covered=share)])
        for share in (0.0, 1.0)
    ]
    assert rough[0] < 0.3 and rough[1] > 0.97  # a cover of the same grey does not show


def pictures(data: pathlib.Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """A split of FER2013 in its mosaic, one row of faces, with no picture marked."""
    folder = data / "fer2013"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(list(images), axis=1)).save(folder / f"{split}.png")
    none = np.zeros(len(labels), bool)
    np.savez(folder / f"{split}_labels.npz", labels=labels, dup_in_other_split=none, label_conflict=none)


def test_nothing_of_the_test_set_is_learnt_from_even_where_the_set_does_not_mark_it(tmp_path: pathlib.Path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (12, 48, 48), dtype=np.uint8)
    pictures(tmp_path, "Training", images[:8], np.arange(8) % 7)
    pictures(tmp_path, "PublicTest", images[6:], np.arange(6) % 7)
    monkeypatch.setattr(recipe, "HELD_OUT_FACES", 4)
    learn, held = recipe.split_training(tmp_path, 0)
    given = np.concatenate([learn.images, held.images])
    assert sorted(map(bytes, given)) == sorted(map(bytes, images[:6]))


@pytest.mark.slow
def test_a_later_round_starts_from_the_one_before_and_is_taught_by_it(tmp_path: pathlib.Path, monkeypatch):
    rng = np.random.default_rng(0)
    for split, count in (("Training", 40), ("PublicTest", 7)):
        pictures(tmp_path, split, rng.integers(0, 256, (count, 48, 48), dtype=np.uint8), np.arange(count) % 7)
    monkeypatch.setattr(recipe, "HELD_OUT_FACES", 8)
    still = recipe.Round(Schedule(epochs=1, batch=16, learning_rate=0.0, weight_decay=0.0))
    first = recipe.train(tmp_path, tmp_path / "work", seed=0, rounds=(still,))
    second = recipe.train(tmp_path, tmp_path / "work", seed=0, rounds=(still, still))
    for one, other in zip(first.trainable_weights, second.trainable_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    learn, _ = recipe.split_training(tmp_path, 0)
    mirrored = first(recipe.normalize(learn.images)[:, :, ::-1])["probabilities"]
    np.testing.assert_allclose(first(recipe.normalize(learn.images))["probabilities"], mirrored, atol=1e-5)
    kept = np.load(tmp_path / "work" / "face-seed0-opinions-epochs1-of32.npy")
    np.testing.assert_allclose(kept, recipe.opinions([first], recipe.normalize(learn.images)), atol=2e-3)  # a mean of logits
    mixed = recipe.soft_targets(tmp_path, tmp_path / "work", learn, 0, {"-epochs1": first})
    np.testing.assert_allclose(mixed, 0.5 * np.eye(7)[learn.labels] + 0.5 * kept, atol=1e-6)


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
