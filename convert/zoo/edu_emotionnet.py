"""Rafiuddin, "Edu-EmotionNet: cross-modality attention alignment with temporal feedback loops", arXiv 2510.08802, 2025.

At each step: every modality attends to every other (CMAA), a confidence weighs those that are present (MIE), and the previous soft
prediction enters through a gate (TFL). The loss is cross-entropy + lambda KL(previous, stop-gradient, to current).

*Interpretation*: the paper's Wav2Vec2, ResNet and BERT do not fit the device, so embeddings of small encoders come in and a dense
layer for each modality adapts them. Attention looks back over a window of steps and only the newest one asks, for only it is
decided on; one head; queries, keys and values are projected once a modality; scores are bounded so that an int8 tensor can mask
them; the gate lets recalled predictions add to z_t.
"""

from __future__ import annotations

import collections.abc
import itertools
import math
import typing

import keras
from keras import layers

from convert.zoo.blocks import classifier, feedback, masked, masked_softmax, stacked, weighted_sum
from convert.zoo.face import FACE_EMBEDDING
from convert.zoo.physiology import PHYSIOLOGY_EMBEDDING
from convert.zoo.speech import SPEECH_EMBEDDING

EDU_EMOTIONNET_CLASSES = ("confused", "curious", "bored", "frustrated")
WIDTHS = {"face": FACE_EMBEDDING, "speech": SPEECH_EMBEDDING, "physiology": PHYSIOLOGY_EMBEDDING}
"""Of the classroom's encoders, which stand in for the paper's."""


def encoder(name: str, *, features: int, width: int = 32) -> keras.Model:
    """The stage ``{name}_encoder``: one step of one modality, (features,) -> ``embedding`` (width,)."""
    x = keras.Input((features,), name=name)
    return keras.Model(x, layers.Dense(width, activation="relu", name="embedding")(x), name=f"{name}_encoder")


def _row(x, index: int):
    """Row ``index`` of (rows, n) -> (n,)."""
    rows, size = x.shape[1:]
    return layers.Reshape((size,))(layers.Cropping1D((index, rows - 1 - index))(x))


def _align(windows: collections.abc.Mapping[str, typing.Any], mask, width: int) -> list:
    """CMAA at the newest step: (width,) for every modality m, normalized over its width.

    h_m + sum over n != m of softmax(q_m K_n / sqrt(width)) V_n, where the softmax masks the steps at which n is absent.
    """
    by_modality = layers.Permute((2, 1))(mask)
    presence = {name: _row(by_modality, i) for i, name in enumerate(windows)}
    present = {name: masked(x, presence[name]) for name, x in windows.items()}
    newest = {name: _row(x, x.shape[1] - 1) for name, x in present.items()}
    # Without biases, what is absent has key and value 0 like its embedding.
    queries = {name: layers.Dense(width, use_bias=False, name=f"query_{name}")(x) for name, x in newest.items()}
    keys = {name: layers.Dense(width, use_bias=False, name=f"key_{name}")(x) for name, x in present.items()}
    values = {name: layers.Dense(width, use_bias=False, name=f"value_{name}")(x) for name, x in present.items()}
    terms: dict[str, list] = {name: [x] for name, x in newest.items()}
    for asking, asked in itertools.permutations(windows, 2):
        scores = layers.Rescaling(1 / math.sqrt(width))(layers.Dot(axes=(1, 2))([queries[asking], keys[asked]]))
        weights = masked_softmax(scores, presence[asked], name=f"attention_{asking}_{asked}")
        terms[asking].append(weighted_sum(weights, values[asked]))
    return [layers.LayerNormalization(name=f"aligned_{name}")(layers.Add()(terms[name])) for name in windows]


def fusion(
    names: collections.abc.Sequence[str] = tuple(WIDTHS),
    *,
    steps: int = 8,
    width: int = 32,
    classes: int = len(EDU_EMOTIONNET_CLASSES),
    dropout: float = 0.3,
) -> keras.Model:
    """The stage ``fusion``: windows (steps, width) of each modality's embeddings, newest last -> what ``edu_emotionnet`` gives."""
    windows = {name: keras.Input((steps, width), name=name) for name in names}
    mask = keras.Input((steps, len(names)), name="mask")
    previous = keras.Input((classes,), name="previous")
    aligned = _align(windows, mask, width)
    now = _row(mask, steps - 1)
    scores = layers.Concatenate()([layers.Dense(1, name=f"score_{name}")(x) for name, x in zip(names, aligned, strict=True)])
    confidences = masked_softmax(scores, now, name="confidences")
    z = weighted_sum(confidences, masked(stacked(aligned), now))
    answer = classifier(feedback(layers.Dropout(dropout)(z), previous), classes)
    return keras.Model([*windows.values(), mask, previous], answer | {"confidences": confidences}, name="fusion")


def edu_emotionnet(
    widths: collections.abc.Mapping[str, int] | None = None,
    *,
    steps: int = 8,
    width: int = 32,
    classes: int = len(EDU_EMOTIONNET_CLASSES),
    dropout: float = 0.3,
) -> keras.Model:
    """One step: windows of embeddings, ``mask`` and ``previous`` -> ``logits``, ``probabilities`` (classes,), ``confidences``.

    ``previous`` (classes,) is the state: the ``probabilities`` of the step before, uniform at the start and after a gap.
    ``mask`` (steps, modalities) is 1 where an embedding is present; steps before the first are absent. ``confidences``
    (modalities,) sum to 1 over those present at the newest step. ``unrolled`` makes a training model of it; the stages
    ``{name}_encoder`` and ``fusion`` come out with ``convert.zoo.blocks.stages``.

    Args:
        widths: embedding width of each modality, in the order of the mask; two to four, ``WIDTHS`` if None. Each is an input
            (steps, width of its embedding), newest last.
        steps: length of the windows.
        width: common width of the adapted embeddings.
        classes: number of classes.
        dropout: on the weighted sum, while training.
    """
    widths = widths or WIDTHS
    inputs = {name: keras.Input((steps, size), name=name) for name, size in widths.items()}
    mask = keras.Input((steps, len(widths)), name="mask")
    previous = keras.Input((classes,), name="previous")
    windows = [
        layers.TimeDistributed(encoder(name, features=size, width=width), name=f"{name}_encoders")(inputs[name])
        for name, size in widths.items()
    ]
    joined = fusion(tuple(widths), steps=steps, width=width, classes=classes, dropout=dropout)
    return keras.Model([*inputs.values(), mask, previous], joined([*windows, mask, previous]), name="edu_emotionnet")


def unrolled(step: keras.Model, horizon: int) -> keras.Model:
    """To train the feedback loop: the model of one step, over ``horizon`` steps that feed each other; its weights are shared.

    Inputs are named as those of ``step``; the windows and ``mask`` are longer by ``horizon - 1`` steps, ``previous`` is that of
    the first step. Output: the probabilities of every step, (horizon, classes).
    """
    *windows, previous = step.inputs
    longer = [keras.Input((x.shape[1] + horizon - 1, x.shape[2]), name=x.name) for x in windows]
    state = first = keras.Input(previous.shape[1:], name=previous.name)
    answers = []
    for t in range(horizon):
        cut = [layers.Cropping1D((t, horizon - 1 - t))(x) for x in longer]
        state = step([*cut, state])["probabilities"]
        answers.append(state)
    return keras.Model([*longer, first], stacked(answers), name=f"{step.name}_unrolled")
