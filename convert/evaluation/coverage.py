"""How much safer the answers get when the least sure ones are left out: risk over coverage (El-Yaniv & Wiener, 2010)."""

from __future__ import annotations

import typing

import numpy as np

POINTS = 20
"""Of the curve, as it is reported."""


def risk_coverage(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage i / n and risk, the share of wrong answers among the i surest, for i = 1 to n; both float (n,).

    Answers that are equally sure (int8 has 256 steps) have no order: their risk is the mean over all orders, so the result does not
    depend on the order of the samples.

    Args:
        labels: int (n,), n at least 1.
        probabilities: float (n, classes); the largest is the confidence.
    """
    confidence = probabilities.max(axis=1)
    wrong = (probabilities.argmax(axis=1) != labels).astype(float)
    _, group = np.unique(-confidence, return_inverse=True)  # surest first
    sizes = np.bincount(group)
    expected = np.repeat(np.bincount(group, weights=wrong) / sizes, sizes)
    answered = np.arange(1, len(labels) + 1)
    return answered / len(labels), np.cumsum(expected) / answered


def area(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """AURC (Geifman, Uziel & El-Yaniv, 2019, equation 3): mean over i of the risk among the i surest, 0 (best) to 1."""
    return float(risk_coverage(labels, probabilities)[1].mean())


def summary(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, typing.Any]:
    """``aurc``, and the curve at ``POINTS`` coverages from 1 / ``POINTS`` to 1; JSON-able."""
    coverage, risk = risk_coverage(labels, probabilities)
    wanted = np.linspace(1 / POINTS, 1.0, POINTS)
    rows = np.minimum(np.searchsorted(coverage, wanted - 1e-9), len(coverage) - 1)
    return {
        "aurc": float(risk.mean()),
        "risk_coverage": {"coverage": [round(float(x), 4) for x in wanted], "risk": [float(x) for x in risk[rows]]},
    }
