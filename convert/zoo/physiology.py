"""The physiology encoder of the ``classroom`` bundle: heart and skin, 60 seconds of them."""

from __future__ import annotations

import keras
from keras import layers

PHYSIOLOGY_EMBEDDING = 32
PHYSIOLOGY_CLASSES = ("rest", "stress")


def physiology_encoder(*, steps: int = 60, channels: int = 7, dropout: float = 0.5) -> keras.Model:
    """Steps (60, channels) in [-3, 3] -> ``embedding`` (32,) and ``probabilities`` (2,) rest / stress, 6 k weights.

    The two pooled convolutions and the LSTM follow the physiology branch of Zhang & Leong (2025), EJMSTE. Interpretation:
    an eighth of its width, for about 20 people teach it, and beside the LSTM's last state the mean over time, which new
    people differ in less.
    """
    x = signal = keras.Input((steps, channels), name="physiology")
    for filters, kernel in ((16, 5), (24, 3)):
        x = layers.Conv1D(filters, kernel, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.AveragePooling1D(2)(x)
        x = layers.Dropout(dropout / 2)(x)
    x = layers.Concatenate()([layers.LSTM(16)(x), layers.GlobalAveragePooling1D()(x)])
    x = layers.Dropout(dropout)(x)
    embedding = layers.Dense(PHYSIOLOGY_EMBEDDING, activation="relu", name="embedding")(x)
    logits = layers.Dense(len(PHYSIOLOGY_CLASSES), name="logits")(embedding)
    probabilities = layers.Softmax(name="probabilities")(logits)
    return keras.Model(signal, {"embedding": embedding, "probabilities": probabilities}, name="physiology")
