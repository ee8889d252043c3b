"""Basavaprasad & Chandrashekhar, "Emotion recognition in online learning using CNNs and RNNs", IJECS 7 (2), 82-91, 2025.

A review, so what is built is the family it describes: a light CNN for each frame (or for the log-mel of speech), an RNN over time,
attention over its steps, seven basic emotions, and a CNN or an RNN alone to compare with. It recommends a focal or re-weighted loss.

*Interpretation*: all sizes. The backbones are MobileNetV2 (Sandler et al., 2018, table 2) and EfficientNet-Lite0 (Tan & Le, 2019,
table 1, without squeeze-and-excitation and with ReLU6), narrowed by ``width`` and with a last convolution as narrow as the head.
"""

from __future__ import annotations

import dataclasses
import typing

import keras
from keras import layers

from convert.zoo.blocks import classifier, temporal_attention

CNN_RNN_CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

Convolutional = typing.Literal["mobilenet_v2", "efficientnet_lite"]
Backbone = Convolutional | typing.Literal["pixels"]
"""``pixels`` is the RNN alone: the picture, averaged down to ``PIXELS`` a side."""
Recurrent = typing.Literal["gru", "lstm", "bilstm", "none"]
"""``none`` is the CNN alone: the mean over time."""

PIXELS = 12


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a backbone's table: ``blocks`` inverted residuals, of which the first has the ``stride``."""

    expansion: int
    filters: int
    blocks: int
    stride: int
    kernel: int = 3


MOBILENET_V2 = (
    Row(1, 16, 1, 1),
    Row(6, 24, 2, 2),
    Row(6, 32, 3, 2),
    Row(6, 64, 4, 2),
    Row(6, 96, 3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)
EFFICIENTNET_LITE = (
    Row(1, 16, 1, 1),
    Row(6, 24, 2, 2),
    Row(6, 40, 2, 2, kernel=5),
    Row(6, 80, 3, 2),
    Row(6, 112, 3, 1, kernel=5),
    Row(6, 192, 4, 2, kernel=5),
    Row(6, 320, 1, 1),
)
TABLES: dict[Convolutional, tuple[Row, ...]] = {"mobilenet_v2": MOBILENET_V2, "efficientnet_lite": EFFICIENTNET_LITE}


def _divisible(filters: float) -> int:
    """The multiple of 8 nearest to ``filters``, at least 8 and at most a tenth below it (Sandler et al.'s code)."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _convolution(x, filters: int, kernel: int = 1, stride: int = 1, *, linear: bool = False):
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return x if linear else layers.ReLU(6.0)(x)


def _inverted_residual(x, row: Row, filters: int, stride: int):
    """Widen, filter each channel, narrow without an activation (Sandler et al., 2018, table 1)."""
    y = _convolution(x, row.expansion * x.shape[-1]) if row.expansion > 1 else x
    y = layers.DepthwiseConv2D(row.kernel, strides=stride, padding="same", use_bias=False)(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = _convolution(y, filters, linear=True)
    return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == filters else y


def feature_map(x, table: tuple[Row, ...], *, width: float, last: int, stride: int = 2):
    """Feature map of a picture; ``stride`` is that of the first convolution, ``last`` the filters of the last one."""
    x = _convolution(x, _divisible(32 * width), 3, stride)
    for row in table:
        for block in range(row.blocks):
            x = _inverted_residual(x, row, _divisible(row.filters * width), row.stride if block == 0 else 1)
    return _convolution(x, last)


def frame_encoder(
    *,
    image: tuple[int, int, int] = (48, 48, 1),
    backbone: Backbone = "mobilenet_v2",
    width: float = 0.35,
    last: int = 128,
    stride: int = 1,
    table: tuple[Row, ...] | None = None,
) -> keras.Model:
    """Face (48, 48, 1) in [-1, 1] -> ``embedding`` (last,), or (144,) for ``pixels``.

    Args:
        image: height, width and channels.
        backbone: what looks at the frame.
        width: multiplies the filters of all rows.
        last: filters of the last convolution.
        stride: of the first convolution: 1 for pictures as small as this, 2 as published.
        table: rows in place of the published ones.
    """
    face = keras.Input(image, name="face")
    if backbone == "pixels":
        factors = tuple(max(1, size // PIXELS) for size in image[:2])
        embedding = layers.Flatten(name="embedding")(layers.AveragePooling2D(factors)(face))
    else:
        x = feature_map(face, table or TABLES[backbone], width=width, last=last, stride=stride)
        embedding = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(face, embedding, name="frame_encoder")


def speech_encoder(
    *,
    frames: int = 300,
    mels: int = 40,
    backbone: Convolutional = "mobilenet_v2",
    width: float = 0.35,
    last: int = 64,
    table: tuple[Row, ...] | None = None,
) -> keras.Model:
    """``log_mel`` (300, 40) in [0, 1.25] -> ``embeddings`` (10, 128): the feature map, its bands side by side at every step."""
    log_mel = keras.Input((frames, mels), name="log_mel")
    x = feature_map(layers.Reshape((frames, mels, 1))(log_mel), table or TABLES[backbone], width=width, last=last)
    steps, bands, filters = x.shape[1:]
    return keras.Model(log_mel, layers.Reshape((steps, bands * filters), name="embeddings")(x), name="speech_encoder")


def sequence_head(
    *,
    steps: int = 10,
    features: int = 128,
    recurrent: Recurrent = "gru",
    attention: bool = True,
    units: int = 64,
    classes: int = len(CNN_RNN_CLASSES),
    dropout: float = 0.3,
) -> keras.Model:
    """``embeddings`` (steps, features), newest last -> ``logits``, ``probabilities`` (classes,).

    Args:
        steps, features: shape of the input.
        recurrent: the RNN; ``none`` averages over time, or lets ``attention`` weigh the steps.
        attention: weighs the steps; without it the RNN's last state goes on.
        units: of the RNN (in each direction) and of the attention.
        classes: number of classes.
        dropout: before the last layer, while training.
    """
    x = embeddings = keras.Input((steps, features), name="embeddings")
    if recurrent == "gru":
        x = layers.GRU(units, return_sequences=attention)(x)
    elif recurrent == "lstm":
        x = layers.LSTM(units, return_sequences=attention)(x)
    elif recurrent == "bilstm":
        x = layers.Bidirectional(layers.LSTM(units, return_sequences=attention))(x)
    if attention:
        x = temporal_attention(x, units)
    elif recurrent == "none":
        x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(embeddings, classifier(layers.Dropout(dropout)(x), classes), name="sequence_head")


def cnn_rnn(
    *,
    image: tuple[int, int, int] = (48, 48, 1),
    steps: int = 10,
    backbone: Backbone = "mobilenet_v2",
    width: float = 0.35,
    last: int = 128,
    stride: int = 1,
    table: tuple[Row, ...] | None = None,
    recurrent: Recurrent = "gru",
    attention: bool = True,
    units: int = 64,
    classes: int = len(CNN_RNN_CLASSES),
    dropout: float = 0.3,
) -> keras.Model:
    """``frames`` (steps, height, width, channels) in [-1, 1] -> ``logits``, ``probabilities`` (classes,).

    ``frame_encoder`` and ``sequence_head`` say what the sizes are; both come out with ``convert.zoo.blocks.stages``.
    """
    encoder = frame_encoder(image=image, backbone=backbone, width=width, last=last, stride=stride, table=table)
    frames = keras.Input((steps, *image), name="frames")
    embeddings = layers.TimeDistributed(encoder, name="frame_encoders")(frames)
    features = encoder.output_shape[-1]
    options: dict[str, typing.Any] = {"recurrent": recurrent, "attention": attention, "units": units, "classes": classes}
    head = sequence_head(steps=steps, features=features, dropout=dropout, **options)
    return keras.Model(frames, head(embeddings), name="cnn_rnn")


def cnn_rnn_speech(
    *,
    frames: int = 300,
    mels: int = 40,
    backbone: Convolutional = "mobilenet_v2",
    width: float = 0.35,
    last: int = 64,
    table: tuple[Row, ...] | None = None,
    recurrent: Recurrent = "gru",
    attention: bool = True,
    units: int = 64,
    classes: int = len(CNN_RNN_CLASSES),
    dropout: float = 0.3,
) -> keras.Model:
    """``log_mel`` (frames, mels) in [0, 1.25] -> ``logits``, ``probabilities`` (classes,): ``speech_encoder``, ``sequence_head``."""
    encoder = speech_encoder(frames=frames, mels=mels, backbone=backbone, width=width, last=last, table=table)
    log_mel = keras.Input((frames, mels), name="log_mel")
    steps, features = encoder.output_shape[1:]
    options: dict[str, typing.Any] = {"recurrent": recurrent, "attention": attention, "units": units, "classes": classes}
    head = sequence_head(steps=steps, features=features, dropout=dropout, **options)
    return keras.Model(log_mel, head(encoder(log_mel)), name="cnn_rnn_speech")
