from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.explanation.shapley import MOST_PLAYERS, shapley_values

worths = st.integers(1, 4).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.floats(-5, 5), min_size=2**n, max_size=2**n)))


def game(values):
    return lambda those: np.array(values[sum(1 << one for one in those)])


@given(worths)
def test_the_values_are_the_mean_over_all_orders_and_sum_to_all_less_none(drawn):
    players, values = drawn
    worth = game(values)
    orders = list(itertools.permutations(range(players)))
    expected = [
        sum(worth(frozenset(order[: order.index(one) + 1])) - worth(frozenset(order[: order.index(one)])) for order in orders) / len(orders)
        for one in range(players)
    ]
    found = shapley_values(worth, players)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found.sum() == pytest.approx(values[-1] - values[0], abs=1e-9)


def test_what_is_added_is_what_each_gets_and_equals_get_the_same():
    found = shapley_values(lambda those: np.array(sum((1.0, 0.0, 3.0)[one] for one in those)), 3)
    np.testing.assert_allclose(found, [1, 0, 3], atol=1e-12)
    together = shapley_values(lambda those: np.array(float({0, 1} <= those)), 3)
    np.testing.assert_allclose(together, [0.5, 0.5, 0], atol=1e-12)


def test_every_coalition_is_asked_once_and_worths_may_be_arrays():
    asked = []
    found = shapley_values(lambda those: (asked.append(those), np.full((2, 3), len(those)))[1], 4)
    assert len(asked) == len(set(asked)) == 16 and found.shape == (4, 2, 3)
    np.testing.assert_allclose(found, 1)


def test_too_many_players_are_refused():
    with pytest.raises(ValueError, match="put some of them together"):
        shapley_values(lambda those: np.array(math.nan), MOST_PLAYERS + 1)
