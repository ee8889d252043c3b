"""The classroom bundle's speech encoder."""

from __future__ import annotations

import keras
from keras import layers

SPEECH_EMBEDDING = 48
SPEECH_CLASSES = 4


def _convolution(x, filters: int, strides: tuple[int, int] = (1, 1), kernel: tuple[int, int] = (3, 3)):
    x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def speech_encoder(frames: int = 300, mels: int = 40, *, dropout: float = 0.3) -> keras.Model:
    """Log-mel (frames, mels) as ``edge.preprocess.speech`` gives it -> ``embedding`` (48,) and ``probabilities`` (4,).

    Three strided convolutions see a few harmonics and a syllable (300 frames become 38 steps), a bidirectional LSTM
    (Schuster & Paliwal, 1997) the course of the utterance; mean and maximum over its steps give what is long and what is
    striking. 64 k weights, 4.9 M multiply-accumulates.
    """
    log_mel = keras.Input((frames, mels), name="log_mel")
    x = layers.Reshape((frames, mels, 1))(log_mel)
    x = _convolution(x, 12, strides=(2, 2))
    x = _convolution(x, 20, strides=(2, 2))
    x = _convolution(x, 32, strides=(2, 2))
    steps, bands, filters = x.shape[1:]
    x = layers.Reshape((steps, bands * filters))(x)
    x = layers.Dropout(dropout / 2)(x)
    x = layers.Bidirectional(layers.LSTM(32, return_sequences=True), name="course")(x)
    x = layers.concatenate([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])
    x = layers.Dropout(dropout)(x)
    embedding = layers.Dense(SPEECH_EMBEDDING, activation="relu", name="embedding")(x)
    logits = layers.Dense(SPEECH_CLASSES, name="logits")(embedding)
    probabilities = layers.Softmax(name="probabilities")(logits)
    return keras.Model(log_mel, {"embedding": embedding, "probabilities": probabilities}, name="speech")
