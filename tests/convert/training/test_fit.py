from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the convert extra")
from keras import layers  # noqa: E402

from convert.training.fit import BatchNormalization, Schedule, SeededBatches, fit, weights_digest  # noqa: E402

pytestmark = pytest.mark.convert
INPUTS = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
TARGETS = (INPUTS @ np.array([[1.0], [-2.0], [0.5]], np.float32)) + 0.1
SCHEDULE = Schedule(epochs=4, batch=16, learning_rate=0.05)


class CutError(Exception):
    pass


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])


def run(work, *, cut_in_epoch: int | None = None) -> list[np.ndarray]:
    batches_seen = 0

    def make(rows, rng):
        nonlocal batches_seen
        batches_seen += 1
        if cut_in_epoch is not None and batches_seen > cut_in_epoch * 4 + 1:
            raise CutError
        return INPUTS[rows] + rng.normal(0, 0.01, INPUTS[rows].shape).astype(np.float32), TARGETS[rows]

    return fit(network(), make, rows=64, schedule=SCHEDULE, loss="mse", name="tiny", work=work, seed=7).get_weights()


def test_a_run_that_was_cut_ends_with_the_weights_of_one_that_was_not(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(Exception, match="Cut"):  # TensorFlow wraps what a batch raises
        run(tmp_path / "cut", cut_in_epoch=2)
    assert list((tmp_path / "cut").glob("tiny.npz"))
    resumed = run(tmp_path / "cut")
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_finished_run_is_read_back_instead_of_repeated(tmp_path):
    first = run(tmp_path)
    again = run(tmp_path, cut_in_epoch=0)  # would raise if a batch beyond the first were made
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_depend_on_seed_epoch_and_number_alone():
    def make(rows, rng):
        return rows, rng.random()

    one, other = SeededBatches(10, 4, 3, make), SeededBatches(10, 4, 3, make)
    _ = other[1]
    np.testing.assert_array_equal(one[0][0], other[0][0])
    assert one[0][1] == other[0][1]
    one.start(1)
    resumed = SeededBatches(10, 4, 3, make, first_epoch=1)
    np.testing.assert_array_equal(one[0][0], resumed[0][0])
    assert not np.array_equal(one[0][0], other[0][0])


def test_fused_batch_normalization_learns_and_remembers_what_keras_does():
    rng = np.random.default_rng(0)
    images = rng.normal(2.0, 3.0, (16, 5, 4, 3)).astype(np.float32)
    ours, theirs = BatchNormalization(momentum=0.9), layers.BatchNormalization(momentum=0.9)
    for _ in range(3):
        np.testing.assert_allclose(ours(images, training=True), theirs(images, training=True), atol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=5e-3)  # n - 1 of 320
    np.testing.assert_allclose(ours(images), theirs(images), rtol=5e-3, atol=1e-3)


def test_the_digest_tells_networks_apart_by_their_weights():
    one, same, other = network(), network(), network()
    other.set_weights([weight + 1e-6 for weight in other.get_weights()])
    assert weights_digest(one) == weights_digest(same) != weights_digest(other)
    assert weights_digest(one, other) != weights_digest(other, one)
