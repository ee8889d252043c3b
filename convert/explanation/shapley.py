"""Exact Shapley values of a game of a few players."""

from __future__ import annotations

import collections.abc
import math

import numpy as np

MOST_PLAYERS = 10
"""A game has 2^players coalitions, each of which is played."""


def shapley_values(value: collections.abc.Callable[[frozenset[int]], np.ndarray], players: int) -> np.ndarray:
    """What each player adds in the mean over all orders in which they could join.

    ``phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))`` (Shapley 1953; of features, Lundberg & Lee 2017,
    equation 8). They sum to v(all) - v(none), a player that changes nothing has 0, and two that do the same have the same.

    Args:
        value: worth of a coalition: float, any shape, the same for each; asked once for each coalition.
        players: how many, numbered from 0; at most ``MOST_PLAYERS``.

    Returns:
        float64 (players, ...).

    Raises:
        ValueError: there are more players than that.
    """
    if players > MOST_PLAYERS:
        raise ValueError(f"shapley values: {players} players, at most {MOST_PLAYERS} can be played out; put some of them together")
    worth = [
        np.asarray(value(frozenset(one for one in range(players) if coalition >> one & 1)), np.float64) for coalition in range(1 << players)
    ]
    values = np.zeros((players, *worth[0].shape))
    for coalition, before in enumerate(worth):
        size = coalition.bit_count()
        for one in range(players):
            if not coalition >> one & 1:
                share = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
                values[one] += share * (worth[coalition | 1 << one] - before)
    return values
