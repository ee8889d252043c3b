"""CNN-LSTM facial emotion recognition for online learning (2025): convolutions see a face, two LSTMs its course.

*Interpretation*: the paper leaves padding and the reshape before the LSTM open and says about 1.2 M weights. Here the sequence
axis is time, convolutions are unpadded, and there are 1 339 267 weights; rows of one image for steps would be no temporal model.
The paper trains with Adam at 1e-3, batches of 64, up to 100 epochs with early stopping.
"""

from __future__ import annotations

import keras
from keras import layers

from convert.zoo.blocks import classifier

CNN_LSTM_CLASSES = ("interested", "bored", "confused")
FILTERS = (32, 64, 128)


def frame_encoder(*, image: tuple[int, int, int] = (48, 48, 1), filters: tuple[int, ...] = FILTERS) -> keras.Model:
    """Grey face (48, 48, 1) in [-1, 1] -> ``embedding`` (2048,), 93 k weights: three 3x3 convolutions, each pooled by 2."""
    x = face = keras.Input(image, name="face")
    for count in filters:
        x = layers.Conv2D(count, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    return keras.Model(face, layers.Flatten(name="embedding")(x), name="frame_encoder")


def sequence_head(
    *, steps: int = 10, features: int = 2048, units: int = 128, classes: int = len(CNN_LSTM_CLASSES), dropout: float = 0.5
) -> keras.Model:
    """``embeddings`` (steps, features), newest last -> ``logits``, ``probabilities`` (classes,), 1.25 M weights."""
    x = embeddings = keras.Input((steps, features), name="embeddings")
    x = layers.LSTM(units, return_sequences=True)(x)
    x = layers.Dropout(dropout)(x)
    x = layers.LSTM(units)(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(embeddings, classifier(x, classes), name="sequence_head")


def cnn_lstm(
    *,
    image: tuple[int, int, int] = (48, 48, 1),
    steps: int = 10,
    filters: tuple[int, ...] = FILTERS,
    units: int = 128,
    classes: int = len(CNN_LSTM_CLASSES),
    dropout: float = 0.5,
) -> keras.Model:
    """``frames`` (steps, height, width, 1) in [-1, 1] -> ``logits``, ``probabilities`` (classes,).

    The stages ``frame_encoder`` and ``sequence_head`` come out with ``convert.zoo.blocks.stages``.

    Args:
        image: height, width and channels of a frame.
        steps: frames that a decision looks at.
        filters: of each convolution.
        units: of each LSTM.
        classes: number of classes.
        dropout: after each LSTM, while training.
    """
    encoder = frame_encoder(image=image, filters=filters)
    frames = keras.Input((steps, *image), name="frames")
    embeddings = layers.TimeDistributed(encoder, name="frame_encoders")(frames)
    head = sequence_head(steps=steps, features=encoder.output_shape[-1], units=units, classes=classes, dropout=dropout)
    return keras.Model(frames, head(embeddings), name="cnn_lstm")
