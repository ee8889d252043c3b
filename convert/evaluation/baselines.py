"""What every network has to beat: a linear classifier on simple summaries of the very same inputs."""

from __future__ import annotations

import numpy as np

from convert.training.material import Material


def features(material: Material) -> np.ndarray:
    """(n, features). Faces: pixels of the face at 24x24; sequences: mean, standard deviation and slope of each channel over time."""
    x = material.inputs
    if material.stage == "face":
        n, height, width, _ = x.shape
        return x.reshape(n, height // 2, 2, width // 2, 2).mean(axis=(2, 4)).reshape(n, -1)
    time = np.linspace(-1.0, 1.0, x.shape[1], dtype=np.float32)
    slope = np.einsum("nsc,s->nc", x, time) / np.sum(time**2)
    return np.concatenate([x.mean(axis=1), x.std(axis=1), slope], axis=1)


def linear(learn: Material, score: Material, *, most: int = 12_000) -> np.ndarray:
    """Probabilities (n, classes) for ``score`` by linear discriminant analysis (Fisher, 1936; shrunk after Ledoit & Wolf, 2004)
    taught on ``learn``, classes weighted alike.

    Args:
        learn: of people who are not in ``score``.
        score: what to guess.
        most: rows to learn from; more are thinned evenly, which a linear model does not feel.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rows = np.linspace(0, len(learn.labels) - 1, min(most, len(learn.labels))).astype(int)
    present = np.unique(learn.labels[rows])
    given = np.zeros((len(score.labels), len(score.classes)))
    if len(present) == 1:  # there is nothing to tell apart
        given[:, present] = 1.0
        return given
    line = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(len(present), 1 / len(present)))
    line.fit(features(learn.of(rows)), learn.labels[rows])
    given[:, line.classes_] = line.predict_proba(features(score))
    return given
