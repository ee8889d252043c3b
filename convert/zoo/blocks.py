"""What two or more of the published systems are made of.

Absence is treated alike in all of them: a mask of 0 or 1 is an input, a masked softmax leaves what is absent about no weight,
and its vectors are multiplied by 0, so that what lies in an absent input changes nothing.
"""

from __future__ import annotations

import collections.abc

import keras
from keras import layers

MASK_PENALTY = 12.0
"""Taken from the score of an absent modality: e^-8, at worst, rounds to 0 in an int8 softmax, yet 12 does not spoil the tensor's
scale as -1e9 would."""
SCORE_BOUND = 2.0
"""Scores lie in [-2, 2], so that no present modality is ever masked by its own score."""


def stages(whole: keras.Model) -> dict[str, keras.Model]:
    """The stages that a whole model was built from, by name: the layers are shared, so training one trains the other.

    Works on a model fresh from its builder, after training, and after ``keras.models.load_model``.
    """
    inner = (layer.layer if isinstance(layer, layers.TimeDistributed) else layer for layer in whole.layers)
    return {layer.name: layer for layer in inner if isinstance(layer, keras.Model)}


def classifier(x, classes: int):
    """Vector -> ``logits`` (classes,) and ``probabilities`` (classes,)."""
    logits = layers.Dense(classes, name="logits")(x)
    return {"logits": logits, "probabilities": layers.Softmax(name="probabilities")(logits)}


def masked_softmax(scores, mask, *, name: str | None = None):
    """Weights (n,) that sum to 1: softmax of ``scores`` (n,) where ``mask`` (n,) is 1; elsewhere e^-8 of the least, at most.

    Scores pass through 2 tanh, for only a bounded score can be masked within the range of an int8 tensor.
    """
    bounded = layers.Rescaling(SCORE_BOUND)(layers.Activation("tanh")(scores))
    penalty = layers.Rescaling(MASK_PENALTY, offset=-MASK_PENALTY)(mask)
    return layers.Softmax(name=name)(layers.Add()([bounded, penalty]))


def weighted_sum(weights, vectors):
    """(n,) and (n, width) -> (width,): one matrix product, whose int8 kernel rounds once, after the sum."""
    return layers.Dot(axes=(1, 1))([weights, vectors])


def temporal_attention(x, units: int):
    """Steps (T, width) -> (width,): additive self-attention over time (Bahdanau et al., 2015, without a query).

    e_t = v . tanh(W x_t + b), alpha = softmax over t of e, sum over t of alpha_t x_t.
    """
    steps = x.shape[1]
    energies = layers.Dense(1, use_bias=False, name="attention_energy")(layers.Dense(units, activation="tanh", name="attention_hidden")(x))
    return weighted_sum(layers.Softmax(name="attention")(layers.Reshape((steps,))(energies)), x)


def masked(vectors, mask):
    """(n, width) and (n,) of 0 or 1 -> the vectors, 0 where the mask is 0."""
    return layers.Multiply()([vectors, layers.Reshape((vectors.shape[1], 1))(mask)])


def stacked(vectors: collections.abc.Sequence):
    """Vectors (width,) -> one (n, width)."""
    return layers.Reshape((len(vectors), vectors[0].shape[-1]))(layers.Concatenate()(list(vectors)))


def attention_fusion(
    widths: collections.abc.Mapping[str, int],
    classes: int,
    *,
    width: int,
    dropout: float,
    regularizer: keras.regularizers.Regularizer | None = None,
) -> keras.Model:
    """The stage ``fusion``: embeddings and ``mask`` (modalities,) -> ``logits``, ``probabilities`` (classes,), ``weights`` (modalities,).

    Every stream is projected to one width, h; alpha = softmax over the streams of W h + b; the sum of alpha h is classified.
    *Interpretation*: a W and b of its own for every stream, the bound on W h + b, and the mask.

    Args:
        widths: embedding width of each modality, in the order of the mask.
        classes: number of classes.
        width: common width of the projected streams.
        dropout: on the fused vector, while training.
        regularizer: of the projections.
    """
    embeddings = {name: keras.Input((size,), name=name) for name, size in widths.items()}
    mask = keras.Input((len(widths),), name="mask")
    streams = [
        layers.Dense(width, activation="relu", kernel_regularizer=regularizer, name=f"project_{name}")(x) for name, x in embeddings.items()
    ]
    scores = [layers.Dense(1, name=f"score_{name}")(x) for name, x in zip(widths, streams, strict=True)]
    weights = masked_softmax(layers.Concatenate()(scores), mask, name="weights")
    fused = weighted_sum(weights, masked(stacked(streams), mask))
    answer = classifier(layers.Dropout(dropout)(fused), classes)
    return keras.Model([*embeddings.values(), mask], answer | {"weights": weights}, name="fusion")


def feedback(x, previous):
    """Vector (width,) and the previous soft prediction (classes,) -> (width,): x + g * W previous, g = sigmoid(V [x, previous])."""
    width = x.shape[-1]
    gate = layers.Dense(width, activation="sigmoid", name="gate")(layers.Concatenate()([x, previous]))
    return layers.Add()([x, layers.Multiply()([gate, layers.Dense(width, name="recall")(previous)])])
