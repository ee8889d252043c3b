"""Made-up inputs keep to the ranges that preprocessing keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from convert.zoo import inputs

pytestmark = pytest.mark.convert
pytest.importorskip("keras")  # the package needs it

RANGES = {
    "images": (inputs.images(10, 9, 3), (10, 9, 3), -1, 1),
    "clips": (inputs.clips(4, 10, 9, 1), (4, 10, 9, 1), -1, 1),
    "log-mel": (inputs.log_mel(30, 8), (30, 8), 0, 1.25),
    "embeddings": (inputs.embeddings(12), (12,), 0, 20),
    "windows of embeddings": (inputs.embedding_windows(5, 12), (5, 12), 0, 20),
    "signals": (inputs.signals(60, 2), (60, 2), -3, 3),
    "counts": (inputs.counts(100), (100,), 0, 1),
    "masks": (inputs.masks(3), (3,), 0, 1),
    "windows of masks": (inputs.mask_windows(5, 3), (5, 3), 0, 1),
    "predictions": (inputs.predictions(4), (4,), 0, 1),
}


@pytest.mark.parametrize("name", RANGES)
def test_values_are_varied_and_in_range_and_repeat_with_the_seed(name):
    make, shape, low, high = RANGES[name]
    drawn = make(np.random.default_rng(1), 200)
    assert drawn.shape == (200, *shape)
    assert drawn.dtype == np.float32
    assert low <= drawn.min() < drawn.max() <= high
    assert len(np.unique(drawn.reshape(200, -1), axis=0)) > 1
    np.testing.assert_array_equal(drawn, make(np.random.default_rng(1), 200))


def test_masks_leave_some_out_and_never_all():
    mask = inputs.masks(3)(np.random.default_rng(0), 500)
    assert set(np.unique(mask)) == {0, 1}
    assert mask.sum(axis=1).min() == 1
    assert 0.1 < (mask == 0).mean() < 0.3
    windows = inputs.mask_windows(6, 2)(np.random.default_rng(0), 500)
    assert windows[:, -1].sum(axis=1).min() == 1
    assert (windows[:, 1:] == windows[:, :-1]).mean() > 0.9  # in bursts


def test_predictions_sum_to_1():
    np.testing.assert_allclose(inputs.predictions(5)(np.random.default_rng(0), 300).sum(axis=1), 1, atol=1e-5)


def test_what_the_mask_calls_absent_is_0():
    names = {"face": inputs.clips(4, 6, 6, 1), "speech": inputs.embeddings(7)}
    drawn = inputs.draw(**names, mask=inputs.masks(2))(np.random.default_rng(0), 200)
    windows = inputs.draw(a=inputs.signals(5, 3), b=inputs.signals(5, 2), mask=inputs.mask_windows(5, 2))(np.random.default_rng(0), 200)
    for values, present in (
        (drawn["face"], drawn["mask"][:, 0]),
        (drawn["speech"], drawn["mask"][:, 1]),
        (windows["a"], windows["mask"][..., 0]),
        (windows["b"], windows["mask"][..., 1]),
    ):
        assert not values[present == 0].any()
        assert values[present == 1].any(axis=-1).mean() > 0.5
