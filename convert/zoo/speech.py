"""The classroom bundle's speech encoder."""

from __future__ import annotations

import collections.abc

import keras
import numpy as np
from keras import layers

VOICE_EMBEDDING = 48
VOICES = 2
"""Networks whose mean the encoder is."""
SPEECH_EMBEDDING = VOICES * VOICE_EMBEDDING
SPEECH_CLASSES = 4


def _convolution(x, filters: int, strides: tuple[int, int]):
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _course(x, filters: int, kernel: int):
    x = layers.Conv1D(filters, kernel, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def voice(frames: int = 300, mels: int = 40, *, width: int = 64, dropout: float = 0.2) -> keras.Model:
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
    x = layers.Dense(VOICE_EMBEDDING, use_bias=False, name="projection")(x)
    # Without normalization the maxima, all large and positive, drive every unit below zero in the first steps, for good.
    embedding = layers.ReLU(name="embedding")(layers.BatchNormalization()(x))
    logits = layers.Dense(SPEECH_CLASSES, name="logits")(embedding)
    probabilities = layers.Softmax(name="probabilities")(logits)
    return keras.Model(log_mel, {"embedding": embedding, "probabilities": probabilities}, name="voice")


def speech_encoder(frames: int = 300, mels: int = 40, *, voices: collections.abc.Sequence[keras.Model] = ()) -> keras.Model:
    """Log-mel (frames, mels) -> ``embedding`` (96,) and ``probabilities`` (4,) of networks that learnt from different starts.

    Their embeddings side by side, and the mean of their logits as one layer over them (Lakshminarayanan et al., 2017: what one start
    happens to get wrong, another may not). 149 k weights, 9 M multiply-accumulates.

    Args:
        frames, mels: shape of the input.
        voices: trained networks of ``voice``; ``VOICES`` new ones if none are given.
    """
    log_mel = keras.Input((frames, mels), name="log_mel")
    made = voices or [voice(frames, mels) for _ in range(VOICES)]
    alone = [keras.Model(one.input, one.output["embedding"], name=f"voice{i}") for i, one in enumerate(made)]
    embedding = layers.Concatenate(name="embedding")([one(log_mel) for one in alone])
    head = layers.Dense(SPEECH_CLASSES, name="logits")
    probabilities = layers.Softmax(name="probabilities")(head(embedding))
    head.set_weights(mean_head([one.get_layer("logits") for one in made]))
    return keras.Model(log_mel, {"embedding": embedding, "probabilities": probabilities}, name="speech")


def mean_head(heads: collections.abc.Sequence[layers.Dense]) -> list[np.ndarray]:
    """Kernel and bias of one dense layer over all their inputs side by side that gives the mean of what ``heads`` give."""
    kernels, biases = zip(*(head.get_weights() for head in heads), strict=True)
    return [np.concatenate(kernels) / len(kernels), np.mean(biases, axis=0)]
