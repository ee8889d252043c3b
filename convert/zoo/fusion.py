"""Masked attention fusion with temporal feedback: the last stage of the ``classroom`` bundle.

One attention weight a modality as in Zhang & Leong (EJMSTE 2025, fusion layer: alpha = softmax over streams of W h + b,
weighted sum), masked where a modality is absent; the previous soft prediction enters through a gate as in Edu-EmotionNet
(Rafiuddin 2025, temporal feedback loop). *Interpretation*: what is weighted is evidence for the labels, not a hidden vector, its sum
grows with the number of modalities, and the scores are bounded.
"""

from __future__ import annotations

import collections.abc

import keras
from keras import layers

from convert.zoo.blocks import feedback, masked_softmax, stacked, weighted_sum

SCORE_L2 = 0.3
"""Holds the scores back: taught by few people, they learn whose voice is clear rather than what a clear voice is."""


def fusion(widths: collections.abc.Mapping[str, int], labels: int, *, dropout: float = 0.2) -> keras.Model:
    """Embeddings, ``mask`` (modalities,) of 0 or 1 and ``previous`` (labels,) -> ``logits`` (labels,), ``weights`` (modalities,).

    Every modality gives evidence for each label, e_m = W_m x_m + b_m; the attention weights a_m share it out, and the number of
    modalities present multiplies it: logits = n(mask) sum_m a_m e_m. With even weights that is the product of experts (Hinton,
    2002), which is right for modalities that err independently; with one modality it is that modality's own answer.

    Args:
        widths: embedding width of each modality, in the order of the mask.
        labels: number of classes.
        dropout: on the embeddings, while training.
    """
    embeddings = {name: keras.Input((size,), name=name) for name, size in widths.items()}
    mask = keras.Input((len(widths),), name="mask")
    previous = keras.Input((labels,), name="previous")

    seen = {name: layers.Dropout(dropout)(x) for name, x in embeddings.items()}
    wary = keras.regularizers.L2(SCORE_L2)
    scores = [layers.Dense(1, kernel_regularizer=wary, bias_regularizer=wary, name=f"score_{name}")(x) for name, x in seen.items()]
    weights = masked_softmax(layers.Concatenate()(scores), mask, name="weights")
    evidence = stacked([layers.Dense(labels, name=f"evidence_{name}")(x) for name, x in seen.items()])
    count = layers.Dense(1, kernel_initializer="ones", name="count")(mask)
    fused = layers.Multiply()([weighted_sum(weights, evidence), count])

    answer = {"logits": feedback(fused, previous), "weights": weights}
    return keras.Model([*embeddings.values(), mask, previous], answer, name="fusion")
