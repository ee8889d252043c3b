"""The classical rows of Zhang & Leong's tables (EJMSTE 2025), taught on the very same training people: LBP + SVM, MLP, a shallow CNN,
CNN-LSTM.

*Interpretation*: the paper gives no settings for its comparison rows, so these are ours, small on purpose. Its CNN-LSTM reads one
picture; a picture has no time, so here the rows of the convolution's map are the sequence, from forehead to chin.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing
import warnings

import numpy as np

from convert.evaluation import baselines, metrics
from convert.evaluation.curves import thinned
from convert.training.material import Material

CELLS = 6
"""LBP histograms of so many by so many cells."""
PATTERNS = 10
"""Uniform rotation-invariant patterns of 8 neighbours (Ojala, Pietikainen & Maenpaa, 2002): 0 to 8 ones, and all the rest."""

Probabilities = np.ndarray
"""float (n, classes)."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is spent."""

    faces: int
    """To learn from, at most."""
    epochs: int


EFFORTS = {"quick": Effort(6000, 6), "full": Effort(1 << 30, 25)}


def grey(material: Material) -> np.ndarray:
    """Faces as the front gives them, float32 (n, size, size) in [-1, 1]."""
    return material.inputs[..., 0]


def lbp_histograms(pictures: np.ndarray) -> np.ndarray:
    """Local binary patterns, 8 neighbours at radius 1: float32 (n, CELLS * CELLS * PATTERNS), each cell's histogram as square roots.

    Args:
        pictures: (n, height, width) of any range; patterns depend on order alone.
    """
    from skimage.feature import local_binary_pattern

    n, height, width = pictures.shape
    cell = (np.arange(height) * CELLS // height)[:, None] * CELLS + (np.arange(width) * CELLS // width)[None, :]
    made = np.empty((n, CELLS * CELLS * PATTERNS), np.float32)
    for row, picture in enumerate(np.rint((pictures + 1.0) * 127.5).clip(0, 255).astype(np.uint8)):
        codes = local_binary_pattern(picture, 8, 1, method="uniform").astype(int)
        counts = np.bincount((cell * PATTERNS + codes).ravel(), minlength=made.shape[1]).reshape(CELLS * CELLS, PATTERNS)
        made[row] = np.sqrt(counts / counts.sum(axis=1, keepdims=True)).ravel()
    return made


def lbp_svm(learn: Material, score: Material, seed: int, effort: Effort) -> Probabilities:
    """One-hot answers of a linear support vector machine (Cortes & Vapnik, 1995) on ``lbp_histograms``; it gives no probabilities."""
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=1.0, class_weight="balanced", dual=False, tol=1e-3, random_state=seed)
    machine.fit(lbp_histograms(grey(learn)), learn.labels)
    return np.eye(len(score.classes))[machine.predict(lbp_histograms(grey(score)))]


def mlp(learn: Material, score: Material, seed: int, effort: Effort) -> Probabilities:
    """A perceptron with one hidden layer of 64 on the linear baseline's features (24x24 pixels; means, deviations and slopes)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    net = MLPClassifier((64,), alpha=1e-2, batch_size=min(64, len(learn.labels)), max_iter=2 * effort.epochs, random_state=seed)
    line = make_pipeline(StandardScaler(), net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped early on purpose
        line.fit(baselines.features(learn), learn.labels)
    given = np.zeros((len(score.labels), len(score.classes)))
    given[:, line.classes_] = line.predict_proba(baselines.features(score))
    return given


def _layers(x: typing.Any) -> typing.Any:
    import keras

    for width, size in ((16, 5), (32, 3)):
        x = keras.layers.Conv2D(width, size, strides=2 if width == 16 else 1, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(2)(x)
    return x


def _fitted(
    learn: Material, score: Material, seed: int, effort: Effort, head: collections.abc.Callable[[typing.Any], typing.Any]
) -> Probabilities:
    import keras

    keras.utils.set_random_seed(seed)
    first = keras.Input(learn.inputs.shape[1:])
    x = keras.layers.Dropout(0.3)(head(_layers(first)))
    model = keras.Model(first, keras.layers.Dense(len(score.classes), activation="softmax")(x))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    model.fit(learn.inputs, learn.labels, batch_size=64, epochs=effort.epochs, verbose=0)
    return model.predict(score.inputs, batch_size=256, verbose=0)


def shallow_cnn(learn: Material, score: Material, seed: int, effort: Effort) -> Probabilities:
    """Two convolutions (5x5-16 by steps of 2, 3x3-32), each max-pooled, and a dense layer of 64; Adam, 1e-3."""
    import keras

    return _fitted(learn, score, seed, effort, lambda x: keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x)))


def cnn_lstm(learn: Material, score: Material, seed: int, effort: Effort) -> Probabilities:
    """The same two convolutions; the rows of their map, top to bottom, are the steps of an LSTM(64). *Interpretation*: rows are no time."""
    import keras

    def head(x: typing.Any) -> typing.Any:
        return keras.layers.LSTM(64)(keras.layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x))

    return _fitted(learn, score, seed, effort, head)


Row = collections.abc.Callable[[Material, Material, int, Effort], Probabilities]
ROWS: dict[str, dict[str, Row]] = {
    "face": {"LBP + SVM": lbp_svm, "MLP": mlp, "shallow CNN": shallow_cnn, "CNN-LSTM": cnn_lstm},
    "speech": {"MLP": mlp},
    "physiology": {"MLP": mlp},
}


def rows(learn: Material, score: Material, *, effort: str, seed: int) -> dict[str, dict[str, typing.Any]]:
    """Comparison rows of one stage: {"LBP + SVM": {"accuracy", "uar", "macro_f1", "learnt_on", ...}}; all of ``score`` is scored.

    Args:
        learn: of people who are not in ``score``.
        score: what to guess.
        effort: of ``EFFORTS``.
        seed: of first weights and the order of samples.
    """
    spent = EFFORTS[effort]
    own = learn.of(thinned(len(learn.labels), spent.faces)) if learn.stage == "face" else learn
    made: dict[str, dict[str, typing.Any]] = {}
    if len(np.unique(own.labels)) < 2:
        return made  # there is nothing to tell apart
    for name, row in ROWS.get(learn.stage, {}).items():
        probabilities = row(own, score, seed, spent)
        told = metrics.summary(score.labels, probabilities)
        made[name] = {key: told[key] for key in ("samples", "accuracy", "uar", "macro_f1")} | {"learnt_on": len(own.labels)}
    return made
