"""Measures of a classifier: small pure functions, the formula in each docstring.

Throughout: ``labels`` int (n,), ``probabilities`` float (n, classes) that sum to 1 along the last axis.
"""

from __future__ import annotations

import numpy as np

from edge.inference.fusion import softmax


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes): row = true class, column = predicted class."""
    table = np.zeros((classes, classes), int)
    np.add.at(table, (labels, predicted), 1)
    return table


def recalls(table: np.ndarray) -> np.ndarray:
    """Recall of each class, table[c, c] / sum(table[c]); NaN for a class with no sample."""
    support = table.sum(axis=1)
    return np.divide(np.diag(table), support, out=np.full(len(table), np.nan), where=support > 0)


def uar(table: np.ndarray) -> float:
    """Unweighted average recall: mean of the recalls of the classes that occur; chance is 1 / classes."""
    return float(np.nanmean(recalls(table)))


def macro_f1(table: np.ndarray) -> float:
    """Mean over the classes that occur of 2 tp / (2 tp + fp + fn)."""
    hits = np.diag(table)
    total = table.sum(axis=0) + table.sum(axis=1)
    occurs = table.sum(axis=1) > 0
    return float(np.mean(2 * hits[occurs] / total[occurs]))


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, *, bins: int = 15) -> float:
    """ECE (Guo et al., 2017, equation 3): sum over confidence bins of (share of samples) |accuracy - mean confidence|."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(right[which == b].mean() - confidence[which == b].mean()) * np.mean(which == b) for b in np.unique(which)]
    return float(sum(gaps))


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Multi-class Brier score (Brier, 1950): mean over samples of sum over classes (p - onehot)^2, 0 (best) to 2."""
    target = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - target) ** 2).sum(axis=1).mean())


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The T > 0 that minimizes the negative log-likelihood of softmax(logits / T) (Guo et al., 2017, section 4.2)."""
    grid = np.geomspace(0.2, 5.0, 161)
    rows = np.arange(len(labels))
    losses = [-np.log(softmax(logits, t)[rows, labels] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def summary(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float | int | list]:
    """All of the above for one set of samples, JSON-able."""
    table = confusion(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "samples": len(labels),
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "uar": uar(table),
        "macro_f1": macro_f1(table),
        "recall": [None if np.isnan(r) else float(r) for r in recalls(table)],
        "ece": expected_calibration_error(labels, probabilities),
        "brier": brier(labels, probabilities),
        "confusion": table.tolist(),
    }


def majority(labels: np.ndarray, classes: int) -> dict[str, float]:
    """What always saying the commonest class scores: the line that every figure must clear."""
    counts = np.bincount(labels, minlength=classes)
    return {"accuracy": float(np.max(counts) / len(labels)), "uar": float(1 / np.count_nonzero(counts))}


def by_person(labels: np.ndarray, probabilities: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """UAR of each person over the classes that this person has."""
    return {
        str(person): uar(confusion(labels[people == person], probabilities[people == person].argmax(axis=1), probabilities.shape[1]))
        for person in np.unique(people)
    }
