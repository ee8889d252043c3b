"""The kit's face detector: one look at a small grey frame, two grids of squares.

After BlazeFace (Bazarevsky et al., 2019): single shot, a fast falling resolution, small separable blocks with skip
connections. Ours differs where the kit does: grey input; dense 3x3 convolutions where channels are few;
one square per cell and no anchors, centre-sampled as in FCOS
(Tian et al., 2019), because every box is the square of a FER2013 tile; every output bounded by its activation, so that an
int8 output has a scale fixed by the format (1/256 for the sigmoid, 1/128 for the tanh) and loses nothing to outliers.
"""

from __future__ import annotations

import keras
from keras import layers

DETECTOR_HEIGHT_PX, DETECTOR_WIDTH_PX = 120, 160


def _convolution(x, filters: int, stride: int = 1):
    x = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _residual(x, filters: int):
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.add([x, layers.BatchNormalization()(y)]))


def _wide(x, filters: int):
    """5x5 depthwise, pointwise, around a skip connection (BlazeFace, figure 1): sight is cheap in the depthwise part."""
    y = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(x)
    y = layers.Conv2D(filters, 1, use_bias=False)(layers.BatchNormalization()(y))
    return layers.ReLU()(layers.add([x, layers.BatchNormalization()(y)]))


def _head(x, stride: int):
    """Score in (0, 1) and the square (x, y, log side), each in (-1, 1), of every cell."""
    score = layers.Conv2D(1, 1, name=f"logits_{stride}", bias_initializer=keras.initializers.Constant(-4.0))(x)
    square = layers.Conv2D(3, 1, name=f"squares_{stride}")(x)
    return layers.Activation("sigmoid", name=f"scores_{stride}")(score), layers.Activation("tanh", name=f"boxes_{stride}")(square)


def face_detector() -> keras.Model:
    """Grey frame 120x160x1 in [-1, 1] -> two grids, 50 k weights, 8.3 M multiply-accumulates.

    Outputs ``scores_8`` (15, 20, 1), ``boxes_8`` (15, 20, 3), ``scores_16`` (8, 10, 1), ``boxes_16`` (8, 10, 3).

    ``edge.preprocess.detection.decode`` says what the numbers mean.
    """
    image = keras.Input((DETECTOR_HEIGHT_PX, DETECTOR_WIDTH_PX, 1), name="image")
    x = _convolution(image, 8, stride=2)
    x = _convolution(x, 16, stride=2)
    x = _convolution(x, 28, stride=2)
    x = _residual(x, 28)
    x = _wide(x, 28)
    scores_8, boxes_8 = _head(x, 8)
    x = _convolution(x, 44, stride=2)
    x = _residual(x, 44)
    x = _wide(x, 44)
    x = _wide(x, 44)
    scores_16, boxes_16 = _head(x, 16)
    outputs = {"scores_8": scores_8, "boxes_8": boxes_8, "scores_16": scores_16, "boxes_16": boxes_16}
    return keras.Model(image, outputs, name="detector")
