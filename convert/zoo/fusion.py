"""Masked attention fusion with temporal feedback: the last stage of the ``classroom`` bundle.

One attention weight a modality as in Zhang & Leong (EJMSTE 2025, fusion layer: alpha = softmax over streams of W h + b,
weighted sum), masked where a modality is absent; the previous soft prediction enters through a gate as in Edu-EmotionNet
(Rafiuddin 2025, temporal feedback loop). *Interpretation*: widths, the bound on the scores and the residual gate are ours.
"""

from __future__ import annotations

import collections.abc

import keras
from keras import layers

MASK_PENALTY = 12.0
"""Taken from the score of an absent modality: e^-8, at worst, rounds to 0 in an int8 softmax, yet 12 does not spoil the tensor's
scale as -1e9 would."""
SCORE_BOUND = 2.0
"""Scores lie in [-2, 2], so that no present modality is ever masked by its own score."""


def fusion(widths: collections.abc.Mapping[str, int], labels: int, *, width: int = 32, dropout: float = 0.5) -> keras.Model:
    """Embeddings, ``mask`` (modalities,) of 0 or 1 and ``previous`` (labels,) -> ``logits`` (labels,), ``weights`` (modalities,).

    Args:
        widths: embedding width of each modality, in the order of the mask.
        labels: number of classes.
        width: common width that every modality is projected to.
        dropout: on the projected embeddings, while training.
    """
    embeddings = {name: keras.Input((size,), name=name) for name, size in widths.items()}
    mask = keras.Input((len(widths),), name="mask")
    previous = keras.Input((labels,), name="previous")

    projected = [
        layers.Dropout(dropout)(layers.Dense(width, activation="relu", name=f"project_{name}")(x)) for name, x in embeddings.items()
    ]
    scores = [layers.Dense(1, activation="tanh", name=f"score_{name}")(x) for name, x in zip(widths, projected, strict=True)]
    bounded = layers.Rescaling(SCORE_BOUND)(layers.Concatenate()(scores))
    penalty = layers.Rescaling(MASK_PENALTY, offset=-MASK_PENALTY)(mask)
    weights = layers.Softmax(name="weights")(layers.Add()([bounded, penalty]))

    streams = layers.Reshape((len(widths), width))(layers.Concatenate()(projected))
    weighted = layers.Multiply()([streams, layers.Reshape((len(widths), 1))(weights)])
    fused = layers.Flatten()(layers.AveragePooling1D(len(widths))(weighted))
    hidden = layers.Dense(width, activation="relu", name="hidden")(layers.Rescaling(float(len(widths)))(fused))

    gate = layers.Dense(width, activation="sigmoid", name="gate")(layers.Concatenate()([hidden, previous]))
    recalled = layers.Dense(width, name="recall")(previous)
    hidden = layers.Add()([hidden, layers.Multiply()([gate, recalled])])
    logits = layers.Dense(labels, name="logits")(hidden)
    return keras.Model([*embeddings.values(), mask, previous], {"logits": logits, "weights": weights}, name="fusion")
