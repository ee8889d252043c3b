"""The physiology encoder of the ``classroom`` bundle: what heart and skin were like in the last minute, less the person's baseline."""

from __future__ import annotations

import keras
from keras import layers

PHYSIOLOGY_EMBEDDING = 32
PHYSIOLOGY_CLASSES = ("rest", "stress")
SECONDS_CHANNELS = 7
"""``edge.preprocess.physiology.CHANNELS``; those after them are averages over a longer past."""


def physiology_encoder(*, steps: int = 60, channels: int = SECONDS_CHANNELS, width: int = 32, dropout: float = 0.2) -> keras.Model:
    """Steps (60, channels) in [-3, 3] -> ``embedding`` (32,) and ``probabilities`` (2,) rest / stress, under 2 k weights.

    Where the front gives averages over a longer past, the newest step of them alone is looked at; else the mean of the window. Then two
    dense layers. Interpretation: 20 people teach it. The physiology branch of Zhang & Leong (2025), EJMSTE, at an eighth of its width,
    stood here before and gave 71.9 % balanced accuracy worn from the start and 64.8 % restarted, taught with fewer windows of fronts that
    ran from the start and without the averages; benchmarks/results/physiology.md has what this gives.
    """
    signal = keras.Input((steps, channels), name="physiology")
    if channels > SECONDS_CHANNELS:
        newest = layers.Reshape((channels, 1))(layers.Cropping1D((steps - 1, 0))(signal))
        x = layers.Flatten()(layers.Cropping1D((SECONDS_CHANNELS, 0))(newest))
    else:
        x = layers.GlobalAveragePooling1D()(signal)
    x = layers.Dense(width, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    embedding = layers.Dense(PHYSIOLOGY_EMBEDDING, activation="relu", name="embedding")(x)
    x = layers.Dropout(dropout)(embedding)
    logits = layers.Dense(len(PHYSIOLOGY_CLASSES), name="logits")(x)
    probabilities = layers.Softmax(name="probabilities")(logits)
    return keras.Model(signal, {"embedding": embedding, "probabilities": probabilities}, name="physiology")
