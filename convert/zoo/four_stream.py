"""Zhang & Leong, "Intelligent emotional computing with deep convolutional neural networks", EJMSTE 21 (8), em2680, 2025.

Four streams, face, body signals, behaviour and what the interface shows, each with a network of its own, weighed by attention.
The loss is cross-entropy + L2, which the builders put on every kernel of convolutions and dense layers.

*Interpretation*: the paper does not print padding, with which the face branch has 67.3 M weights and without which 59.2 M, nearly
all in its first dense layer; it does not dimension the interface's network; the classes here are those of DAiSEE, one of its sets.
``compact`` pools the face's last feature map to one value a channel, which leaves 0.29 M.
"""

from __future__ import annotations

import typing

import keras
from keras import layers

from convert.zoo.blocks import attention_fusion

FOUR_STREAM_CLASSES = ("boredom", "engagement", "confusion", "frustration")
STREAMS = ("face", "physiology", "behaviour", "interface")
L2 = 1e-4


def face_encoder(
    *,
    image: tuple[int, int, int] = (256, 256, 1),
    filters: tuple[int, int, int] = (32, 64, 128),
    dense: tuple[int, int] = (512, 256),
    padding: typing.Literal["valid", "same"] = "valid",
    compact: bool = False,
    l2: float = L2,
) -> keras.Model:
    """Face (256, 256, 1) in [-1, 1] -> ``embedding`` (256,), 59.2 M weights as printed or 0.29 M ``compact``.

    Args:
        image: height, width and channels.
        filters: of the 5x5 and the two 3x3 convolutions, each followed by ReLU and 2x2 max-pooling.
        dense: widths of the two dense layers; the second is the embedding's.
        padding: of the convolutions.
        compact: global average pooling in place of flattening.
        l2: weight of the L2 penalty.
    """
    regularizer = keras.regularizers.L2(l2)
    x = face = keras.Input(image, name="face")
    for count, kernel in zip(filters, (5, 3, 3), strict=True):
        x = layers.Conv2D(count, kernel, padding=padding, activation="relu", kernel_regularizer=regularizer)(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x) if compact else layers.Flatten()(x)
    x = layers.Dense(dense[0], activation="relu", kernel_regularizer=regularizer)(x)
    x = layers.Dense(dense[1], activation="relu", kernel_regularizer=regularizer, name="embedding")(x)
    return keras.Model(face, x, name="face_encoder")


def physiology_encoder(
    *, steps: int = 60, channels: int = 2, filters: tuple[int, int] = (64, 128), units: int = 128, l2: float = L2
) -> keras.Model:
    """``physiology`` (60, 2), heart rate and skin conductance response in [-3, 3] -> ``embedding`` (128,), 157 k weights."""
    regularizer = keras.regularizers.L2(l2)
    x = physiology = keras.Input((steps, channels), name="physiology")
    for count, kernel in zip(filters, (5, 3), strict=True):
        x = layers.Conv1D(count, kernel, activation="relu", kernel_regularizer=regularizer)(x)
        x = layers.MaxPooling1D(2)(x)
    return keras.Model(physiology, layers.LSTM(units, name="embedding")(x), name="physiology_encoder")


def behaviour_encoder(*, values: int = 100, dense: tuple[int, int] = (256, 128), l2: float = L2) -> keras.Model:
    """``behaviour`` (100,), features in [0, 1] -> ``embedding`` (128,), 59 k weights."""
    regularizer = keras.regularizers.L2(l2)
    behaviour = keras.Input((values,), name="behaviour")
    x = layers.Dense(dense[0], activation="relu", kernel_regularizer=regularizer)(behaviour)
    x = layers.Dense(dense[1], activation="relu", kernel_regularizer=regularizer, name="embedding")(x)
    return keras.Model(behaviour, x, name="behaviour_encoder")


def interface_encoder(
    *, image: tuple[int, int, int] = (64, 64, 3), filters: tuple[int, ...] = (16, 32, 64), embedding: int = 128, l2: float = L2
) -> keras.Model:
    """What the learner's screen shows, (64, 64, 3) in [-1, 1] -> ``embedding`` (128,), 32 k weights.

    *Interpretation*: 3x3 convolutions, each with ReLU and 2x2 max-pooling as in the face branch, pooled to one value a channel.
    """
    regularizer = keras.regularizers.L2(l2)
    x = interface = keras.Input(image, name="interface")
    for count in filters:
        x = layers.Conv2D(count, 3, activation="relu", kernel_regularizer=regularizer)(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(embedding, activation="relu", kernel_regularizer=regularizer, name="embedding")(x)
    return keras.Model(interface, x, name="interface_encoder")


def fusion(
    *,
    widths: tuple[int, int, int, int] = (256, 128, 128, 128),
    width: int = 128,
    classes: int = len(FOUR_STREAM_CLASSES),
    dropout: float = 0.5,
    l2: float = L2,
) -> keras.Model:
    """Embeddings of the four ``STREAMS``, ``mask`` (4,) -> ``logits``, ``probabilities`` (classes,), ``weights`` (4,)."""
    named = dict(zip(STREAMS, widths, strict=True))
    return attention_fusion(named, classes, width=width, dropout=dropout, regularizer=keras.regularizers.L2(l2))


def four_stream(
    *,
    face_image: tuple[int, int, int] = (256, 256, 1),
    face_filters: tuple[int, int, int] = (32, 64, 128),
    face_dense: tuple[int, int] = (512, 256),
    padding: typing.Literal["valid", "same"] = "valid",
    compact: bool = False,
    steps: int = 60,
    channels: int = 2,
    physiology_filters: tuple[int, int] = (64, 128),
    units: int = 128,
    values: int = 100,
    behaviour_dense: tuple[int, int] = (256, 128),
    interface_image: tuple[int, int, int] = (64, 64, 3),
    interface_filters: tuple[int, ...] = (16, 32, 64),
    interface_embedding: int = 128,
    width: int = 128,
    classes: int = len(FOUR_STREAM_CLASSES),
    dropout: float = 0.5,
    l2: float = L2,
) -> keras.Model:
    """The four ``STREAMS`` and a ``mask`` (4,) of 0 or 1 -> ``logits``, ``probabilities`` (classes,), ``weights`` (4,).

    The stages, ``face_encoder`` to ``interface_encoder`` and ``fusion``, come out with ``convert.zoo.blocks.stages``; their
    docstrings say what each size is, and ``width`` is that of the projected streams.
    """
    encoders = {
        "face": face_encoder(image=face_image, filters=face_filters, dense=face_dense, padding=padding, compact=compact, l2=l2),
        "physiology": physiology_encoder(steps=steps, channels=channels, filters=physiology_filters, units=units, l2=l2),
        "behaviour": behaviour_encoder(values=values, dense=behaviour_dense, l2=l2),
        "interface": interface_encoder(image=interface_image, filters=interface_filters, embedding=interface_embedding, l2=l2),
    }
    inputs = {name: keras.Input(encoder.input_shape[1:], name=name) for name, encoder in encoders.items()}
    mask = keras.Input((len(STREAMS),), name="mask")
    widths = (face_dense[1], units, behaviour_dense[1], interface_embedding)
    joined = fusion(widths=widths, width=width, classes=classes, dropout=dropout, l2=l2)
    embeddings = [encoder(inputs[name]) for name, encoder in encoders.items()]
    return keras.Model([*inputs.values(), mask], joined([*embeddings, mask]), name="four_stream")
