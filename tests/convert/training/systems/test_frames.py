"""Pseudo-sequences of stills, and the tasks of systems that see faces alone."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.training.datasets.fer2013 import Faces  # noqa: E402
from convert.training.face import soft_targets  # noqa: E402
from convert.training.fit import Schedule  # noqa: E402
from convert.training.systems import frames  # noqa: E402
from edge.errors import InputError  # noqa: E402


def brightness(inputs):
    """A runner: mean brightness and one."""
    mean = inputs["face"].mean(axis=(1, 2, 3))
    return {"embedding": np.stack([mean, np.ones_like(mean)], axis=1).astype(np.float32)}


def test_a_sequence_shows_views_of_its_own_face_after_an_empty_start():
    seen = np.arange(1, 2001, dtype=np.float16).reshape(500, 4, 1)
    made = frames.sequences(seen, 10, np.random.default_rng(0))
    present = made[..., 0] != 0
    assert present[:, -1].all()
    assert (np.diff(present.astype(int), axis=1) >= 0).all()  # once seen, seen to the end
    assert 0.15 < (~present[:, 0]).mean() < 0.4
    for row, face in zip(made[..., 0], seen[..., 0], strict=True):
        assert set(row[row != 0]) <= set(face)
    held = (made[:, 1:] == made[:, :-1])[present[:, :-1]].mean()
    assert 0.5 < held < 0.75


def test_views_of_one_face_differ_and_are_its_own():
    images = np.stack([np.full((48, 48), 60, np.uint8), np.full((48, 48), 200, np.uint8)])
    seen = frames.views(brightness, images, 6, np.random.default_rng(0))
    assert seen.shape == (2, 6, 2)
    assert seen[..., 0].std(axis=1).min() > 0
    assert np.median(seen[0, :, 0]) < np.median(seen[1, :, 0])


def test_a_still_face_is_the_same_at_every_step():
    given = []

    def fusion(inputs):
        given.append(inputs["face"])
        return {"logits": inputs["face"][:, -1]}

    images = np.random.default_rng(0).integers(0, 256, (300, 48, 48), dtype=np.uint8)
    judged = frames.held_still(Faces(images, np.zeros(300, int)), {"face": brightness, "fusion": fusion}, 5)
    assert judged.logits.shape == (300, 2)
    sequence = np.concatenate(given)
    assert sequence.shape == (300, 5, 2)
    np.testing.assert_array_equal(sequence, np.repeat(sequence[:, :1], 5, axis=1))


def test_the_head_learns_from_noisy_views(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 256)
    seen = (rng.normal(0, 1.0, (256, 4, 3)) + 1.5 * np.eye(2, 3)[labels][:, None]).astype(np.float16)
    keras.utils.set_random_seed(0)
    steps = keras.Input((6, 3), name="embeddings")
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(steps))
    head = keras.Model(steps, {"logits": logits, "probabilities": keras.layers.Softmax()(logits)})
    schedule = Schedule(epochs=6, batch=32, learning_rate=0.05)
    loss = keras.losses.CategoricalCrossentropy()
    targets = keras.utils.to_categorical(labels, 2)
    frames.train_head(head, seen, targets, steps=6, schedule=schedule, loss=loss, name="head", work=tmp_path, seed=0)
    answered = head(frames.sequences(seen, 6, rng))["logits"]
    assert np.mean(np.argmax(answered, axis=1) == labels) > 0.8


def test_without_teachers_the_labels_alone_are_learnt(fer, tmp_path):
    learn = Faces(np.zeros((3, 48, 48), np.uint8), np.array([0, 6, 2]))
    np.testing.assert_array_equal(soft_targets(fer, tmp_path, learn, 0), np.eye(7)[[0, 6, 2]])
    assert frames.teachers_note(fer) == ()


def test_the_set_that_is_missing_is_named(tmp_path, fer):
    assert frames.scored_faces(fer)[0] == "PublicTest"
    with pytest.raises(InputError, match="fer2013"):
        frames.scored_faces(tmp_path)


def test_figures_are_accuracy_and_mean_recall():
    judged = frames.Judged(np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 0, 0]])
    row = frames.figures("all zero", judged)
    assert (row.accuracy, row.uar, row.samples) == (0.75, 0.5, 4)
