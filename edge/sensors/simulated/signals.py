"""What simulated chips sense: functions of time, float64 (n,) seconds -> float64 (n,), played from recordings or made up.

Seconds are those of the clock that the chip runs under.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy as np

Signal = typing.Callable[[np.ndarray], np.ndarray]


def played(samples: collections.abc.Sequence[float] | np.ndarray, rate_hz: float, *, start_s: float = 0.0) -> Signal:
    """A recording from ``start_s`` on, linear between its samples and held at both ends."""
    values = np.asarray(samples, np.float64)
    return lambda t_s: np.interp((t_s - start_s) * rate_hz, np.arange(len(values)), values)


def pulse(heart_rate_bpm: float) -> Signal:
    """A steady pulse wave, 0 to about 1: a systolic wave and a dicrotic one 0.3 s after it."""
    period_s = 60.0 / heart_rate_bpm

    def wave(t_s: np.ndarray) -> np.ndarray:
        total = np.zeros_like(t_s)
        for late_s, height in ((0.25, 1.0), (0.55, 0.35)):
            since_s = (t_s - late_s + period_s / 2) % period_s - period_s / 2
            total += height * np.exp(-((since_s / 0.12) ** 2))
        return total

    return wave


def finger(blood: Signal, *, light_na_per_ma: float = 250.0, depth: float = 0.02) -> Signal:
    """Light that a finger sends back, in nanoamperes of photocurrent per milliampere of LED current: less with each pulse.

    Args:
        blood: pulse wave, about 0 to 1.
        light_na_per_ma: without blood.
        depth: share of the light that a wave of height 1 takes; 0.5 to 5 % on fingers.
    """
    return lambda t_s: light_na_per_ma * (1.0 - depth * blood(t_s))


def during(signal: Signal, spells_s: collections.abc.Sequence[tuple[float, float]], instead: Signal | float) -> Signal:
    """``signal``, but ``instead`` in each spell [from, to): finger off, electrodes off, a short circuit."""

    def mixed(t_s: np.ndarray) -> np.ndarray:
        values = np.array(signal(t_s), np.float64)
        for from_s, to_s in spells_s:
            inside = (t_s >= from_s) & (t_s < to_s)
            if inside.any():
                values[inside] = instead(t_s[inside]) if callable(instead) else instead
        return values

    return mixed


def moved(signal: Signal, spells_s: collections.abc.Sequence[tuple[float, float]], *, share: float = 0.3, seed: int = 0) -> Signal:
    """``signal`` shaken in each spell by up to ``share`` of itself: a sum of sines of 0.5 to 5 Hz with random phases."""
    rng = np.random.default_rng(seed)
    rates_hz, phases = rng.uniform(0.5, 5.0, 6), rng.uniform(0.0, 2.0 * np.pi, 6)

    def shaken(t_s: np.ndarray) -> np.ndarray:
        shake = np.sin(2.0 * np.pi * rates_hz[:, None] * t_s + phases[:, None]).mean(axis=0)
        return signal(t_s) * (1.0 + share * shake)

    return during(signal, spells_s, shaken)
