"""The range of least error, against trying them all."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

pytestmark = pytest.mark.convert

from convert.ranges import BINS, least_error  # noqa: E402


def squared_error(values, low, high):
    step = (high - low) / 255
    zero = np.clip(np.rint(-low / step), 0, 255)
    stored = np.clip(np.rint(values / step) + zero, 0, 255)
    return float((((stored - zero) * step - values) ** 2).mean())


def ranged(values):
    low, high = float(values.min()), float(values.max())
    return least_error(np.histogram(values, BINS, (low, high))[0].astype(float), low, high), (min(low, 0.0), max(high, 0.0))


@hypothesis.given(st.integers(0, 10_000), st.sampled_from(["normal", "laplace", "relu", "uniform", "outlier"]), st.floats(-2, 2))
def test_it_never_does_worse_than_the_whole_range(seed, kind, shift):
    random = np.random.default_rng(seed)
    values = {
        "normal": lambda: random.normal(shift, 1, 4000),
        "laplace": lambda: random.laplace(shift, 1, 4000),
        "relu": lambda: np.maximum(random.normal(shift, 1, 4000), 0),
        "uniform": lambda: random.uniform(-1, 1, 4000) + shift,
        "outlier": lambda: np.append(random.normal(0, 1, 4000), 30.0 + shift),
    }[kind]()
    if values.min() == values.max():
        return
    (low, high), whole = ranged(values)
    assert whole[0] <= low <= 0 <= high <= whole[1]
    # Rounding is taken for evenly spread, which holds to some per cent.
    assert squared_error(values, low, high) <= squared_error(values, *whole) * 1.1


def test_a_lone_outlier_is_given_up_and_an_even_spread_is_kept():
    random = np.random.default_rng(0)
    (low, high), _ = ranged(np.append(random.normal(0, 1, 100_000), 20.0))
    assert 5 < high < 19
    assert -5 <= low < -3
    even = random.uniform(-1, 3, 100_000)
    (low, high), _ = ranged(even)
    assert (low, high) == pytest.approx((even.min(), even.max()), rel=0.03)


def test_masked_scores_keep_their_range_and_outputs_too():
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    layers = keras.layers
    from convert.pipeline import convert_model

    keras.utils.set_random_seed(0)
    x, mask = keras.Input((8,), name="x"), keras.Input((3,), name="mask")
    scores = layers.Dense(3, name="scores")(x)
    weights = layers.Softmax(name="weights")(layers.Add()([scores, layers.Rescaling(12.0, offset=-12.0)(mask)]))
    model = keras.Model([x, mask], {"weights": weights})
    random = np.random.default_rng(1)
    present = np.ones((300, 3), np.float32)
    present[::100, 1] = 0  # rare in calibration, as absence is
    made = convert_model(model, {"x": random.normal(size=(300, 8)).astype(np.float32), "mask": present})
    answered = made.model().run(x=random.normal(size=8).astype(np.float32), mask=np.array([1, 0, 1], np.float32))
    assert answered["weights"][1] == 0
    assert answered["weights"].sum() == pytest.approx(1, abs=0.02)
