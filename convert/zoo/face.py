"""The face encoder of the ``classroom`` bundle."""

from __future__ import annotations

import keras
from keras import layers

FACE_EMBEDDING = 48
FACE_CLASSES = 7


def _convolution(x, filters: int, stride: int = 1, kernel: int = 3):
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def _residual(x, filters: int):
    """Two 3x3 convolutions around a skip connection (He et al., 2016, figure 2)."""
    y = layers.ReLU()(_convolution(x, filters))
    return layers.ReLU()(layers.add([x, _convolution(y, filters)]))


def face_encoder(*, dropout: float = 0.3) -> keras.Model:
    """Grey face 48x48x1 in [-1, 1] -> ``embedding`` (48,) and ``probabilities`` (7,), 246 k weights.

    A narrow residual network (He et al., 2016): the strided 5x5 stem keeps it at 37 M multiply-accumulates.
    """
    image = keras.Input((48, 48, 1), name="face")
    x = layers.ReLU()(_convolution(image, 32, stride=2, kernel=5))
    x = _residual(x, 32)
    x = layers.ReLU()(_convolution(x, 64, stride=2))
    x = _residual(x, 64)
    x = _residual(x, 64)
    x = layers.ReLU()(_convolution(x, 96, stride=2))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    embedding = layers.Dense(FACE_EMBEDDING, activation="relu", name="embedding")(x)
    logits = layers.Dense(FACE_CLASSES, name="logits")(embedding)
    # In float32 even where the rest is trained in bfloat16: probabilities near 0 and 1 need the digits.
    probabilities = layers.Softmax(name="probabilities", dtype="float32")(logits)
    return keras.Model(image, {"embedding": embedding, "probabilities": probabilities}, name="face")


def mirrored(encoder: keras.Model) -> keras.Model:
    """``encoder`` as the mean of what it says of a face and of its mirror image: the same weights at twice the multiply-accumulates.

    Both go through as one batch, so that the converter writes the weights once.

    Args:
        encoder: of the form of ``face_encoder``.
    """
    image = keras.Input(encoder.input.shape[1:], name="face")
    alone = keras.Model(encoder.input, encoder.output["embedding"], name="one_side")
    both = alone(layers.Concatenate(axis=0)([image, keras.ops.flip(image, axis=2)]))
    embedding = layers.Average(name="embedding")(keras.ops.split(both, 2, axis=0))
    head = encoder.get_layer("logits")
    logits = layers.Dense(head.units, name="logits")
    probabilities = layers.Softmax(name="probabilities", dtype="float32")(logits(embedding))
    logits.set_weights(head.get_weights())
    return keras.Model(image, {"embedding": embedding, "probabilities": probabilities}, name=encoder.name)
