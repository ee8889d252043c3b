"""Student emotion recognition from low-quality videos using multimodal deep learning (Jurnal Infotel): face, voice, attention.

A lightweight CNN looks at each frame, a BiLSTM hears the log-mel, and attention weighs the two for every sample, so that the voice
can stand in for a face that is dark, covered or gone. The paper trains on videos made worse: occluded, of low resolution,
compressed, and with a modality missing.

*Interpretation*: the paper does not dimension its networks. The CNN is made of depthwise separable blocks (Howard et al., 2017,
MobileNets, table 1, narrow and short); temporal attention sums up the frames; log-mel frames are stacked (Sak et al., 2015) to
make the BiLSTM short; the classes are those of DAiSEE, one of the paper's two sets.
"""

from __future__ import annotations

import keras
from keras import layers

from convert.zoo.blocks import attention_fusion, temporal_attention

AV_ATTENTION_CLASSES = ("boredom", "engagement", "confusion", "frustration")
FILTERS = (16, 32, 64, 96)


def _normalized(x):
    return layers.ReLU(6.0)(layers.BatchNormalization()(x))


def _separable(x, filters: int, stride: int):
    """3x3 depthwise, then 1x1, each normalized (Howard et al., 2017, figure 3)."""
    x = _normalized(layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x))
    return _normalized(layers.Conv2D(filters, 1, use_bias=False)(x))


def frame_encoder(*, image: tuple[int, int, int] = (48, 48, 1), filters: tuple[int, ...] = FILTERS, embedding: int = 64) -> keras.Model:
    """One face (48, 48, 1) in [-1, 1] -> ``embedding`` (64,), 28 k weights."""
    x = face = keras.Input(image, name="face")
    x = _normalized(layers.Conv2D(filters[0], 3, strides=2, padding="same", use_bias=False)(x))
    for count in filters[1:]:
        x = _separable(x, count, stride=2)
    x = _separable(x, filters[-1], stride=1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(face, layers.Dense(embedding, activation="relu", name="embedding")(x), name="frame_encoder")


def sequence_head(*, steps: int = 10, features: int = 64, embedding: int = 64) -> keras.Model:
    """``embeddings`` of frames (steps, 64), newest last -> ``embedding`` (64,) of the clip, 8 k weights."""
    embeddings = keras.Input((steps, features), name="embeddings")
    x = temporal_attention(embeddings, embedding)
    return keras.Model(embeddings, layers.Dense(embedding, activation="relu", name="embedding")(x), name="sequence_head")


def speech_encoder(
    *, frames: int = 300, mels: int = 40, stack: int = 6, units: int = 48, embedding: int = 64, dropout: float = 0.3
) -> keras.Model:
    """``log_mel`` (300, 40) -> ``embedding`` (64,), 117 k weights.

    Args:
        frames, mels: shape of the log-mel; ``stack`` divides ``frames``.
        stack: log-mel frames that make one step of the BiLSTM.
        units: of the LSTM in each direction.
        embedding: width of the output.
        dropout: after the BiLSTM, while training.
    """
    log_mel = keras.Input((frames, mels), name="log_mel")
    x = layers.Reshape((frames // stack, stack * mels))(log_mel)
    x = layers.Dropout(dropout)(layers.Bidirectional(layers.LSTM(units), name="course")(x))
    return keras.Model(log_mel, layers.Dense(embedding, activation="relu", name="embedding")(x), name="speech_encoder")


def fusion(*, embedding: int = 64, width: int = 64, classes: int = len(AV_ATTENTION_CLASSES), dropout: float = 0.3) -> keras.Model:
    """``face`` and ``speech`` (64,), ``mask`` (2,) -> ``logits``, ``probabilities`` (classes,), ``weights`` (2,)."""
    return attention_fusion({"face": embedding, "speech": embedding}, classes, width=width, dropout=dropout)


def av_attention(
    *,
    image: tuple[int, int, int] = (48, 48, 1),
    steps: int = 10,
    filters: tuple[int, ...] = FILTERS,
    frames: int = 300,
    mels: int = 40,
    stack: int = 6,
    units: int = 48,
    embedding: int = 64,
    width: int = 64,
    classes: int = len(AV_ATTENTION_CLASSES),
    dropout: float = 0.3,
) -> keras.Model:
    """Faces and log-mel with a ``mask`` (face, speech) of 0 or 1 -> ``logits``, ``probabilities`` (classes,), ``weights`` (2,).

    The stages ``frame_encoder``, ``sequence_head``, ``speech_encoder`` and ``fusion`` come out with ``convert.zoo.blocks.stages``.

    Args:
        image: height, width and channels of a face.
        steps: faces that a decision looks at, input ``faces`` (steps, height, width, channels) in [-1, 1].
        filters: of the first convolution and each separable block.
        frames, mels: shape of the input ``log_mel``, in [0, 1.25].
        stack: log-mel frames that make one step of the BiLSTM; divides ``frames``.
        units: of the LSTM in each direction.
        embedding: width of the embeddings of face and speech.
        width: that both are projected to.
        classes: number of classes.
        dropout: after the BiLSTM and the fusion, while training.
    """
    encoder = frame_encoder(image=image, filters=filters, embedding=embedding)
    faces = keras.Input((steps, *image), name="faces")
    log_mel = keras.Input((frames, mels), name="log_mel")
    mask = keras.Input((2,), name="mask")
    head = sequence_head(steps=steps, features=embedding, embedding=embedding)
    face = head(layers.TimeDistributed(encoder, name="frame_encoders")(faces))
    hearing = speech_encoder(frames=frames, mels=mels, stack=stack, units=units, embedding=embedding, dropout=dropout)
    joined = fusion(embedding=embedding, width=width, classes=classes, dropout=dropout)
    return keras.Model([faces, log_mel, mask], joined([face, hearing(log_mel), mask]), name="av_attention")
