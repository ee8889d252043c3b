"""The classroom bundle's speech encoder."""

from __future__ import annotations

import keras
from keras import layers

SPEECH_EMBEDDING = 48
SPEECH_CLASSES = 4


def _convolution(x, filters: int, strides: tuple[int, int]):
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _course(x, filters: int, kernel: int):
    x = layers.Conv1D(filters, kernel, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def speech_encoder(frames: int = 300, mels: int = 40, *, width: int = 64, dropout: float = 0.2) -> keras.Model:
    """Log-mel (frames, mels) as ``edge.preprocess.speech`` gives it -> ``embedding`` (48,) and ``probabilities`` (4,).

    Three strided convolutions see a few harmonics and a syllable (300 frames become 25 steps of 120 ms), two residual
    convolutions over time (after Bai et al., 2018, but looking both ways) what comes before and after; mean and maximum over
    the steps give what is long and what is striking. No recurrence: it quantizes well and learns fast. 74 k weights, 4.4 M
    multiply-accumulates.
    """
    log_mel = keras.Input((frames, mels), name="log_mel")
    x = layers.Reshape((frames, mels, 1))(log_mel)
    x = _convolution(x, 16, (3, 2))
    x = _convolution(x, 24, (2, 2))
    x = _convolution(x, 40, (2, 2))
    steps, bands, filters = x.shape[1:]
    x = layers.Reshape((steps, bands * filters))(x)
    x = layers.SpatialDropout1D(dropout / 3)(x)
    x = _course(x, width, 1)
    for _ in range(2):
        x = layers.Add()([x, _course(x, width, 5)])
    x = layers.concatenate([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(SPEECH_EMBEDDING, use_bias=False, name="projection")(x)
    # Without normalization the maxima, all large and positive, drive every unit below zero in the first steps, for good.
    embedding = layers.ReLU(name="embedding")(layers.BatchNormalization()(x))
    logits = layers.Dense(SPEECH_CLASSES, name="logits")(embedding)
    probabilities = layers.Softmax(name="probabilities")(logits)
    return keras.Model(log_mel, {"embedding": embedding, "probabilities": probabilities}, name="speech")
