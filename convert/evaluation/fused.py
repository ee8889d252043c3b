"""The fusion on constructed companions (same label, different people): by what is present, against the best single modality."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from convert.evaluation import coverage, metrics
from convert.training.datasets.speech import LABELS
from convert.training.fusion import Pool
from convert.training.fusion import companions as companion_rows
from convert.training.material import QUADRANT_OF_FACE
from edge.inference.fusion import softmax
from edge.inference.model import Model

MISSING_RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
COMPANIONS = 2000
STEADY = 20
"""Decisions on the same input before one is scored: five seconds, after which the feedback has settled."""

Pools = collections.abc.Mapping[str, Pool]


@dataclasses.dataclass(frozen=True)
class Companions:
    """Learners put together: ``labels`` int (count,); ``rows`` {modality: int (count,)} are those of the pools."""

    labels: np.ndarray
    rows: collections.abc.Mapping[str, np.ndarray]

    def vectors(self, pools: Pools) -> dict[str, np.ndarray]:
        """Embeddings {modality: float32 (count, width)}; pools of another form of the same bundle give the same learners."""
        return {name: pools[name].vectors[rows] for name, rows in self.rows.items()}


def draw(pools: Pools, count: int, seed: int) -> Companions:
    """``count`` companions, labels evenly drawn.

    Raises:
        InputError: a pool has nobody who shows a class that is wanted.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(LABELS), count)
    return Companions(labels, companion_rows(pools, labels, rng))


def settle(model: Model, vectors: collections.abc.Mapping[str, np.ndarray], mask: np.ndarray, steps: int = STEADY) -> np.ndarray:
    """Logits (count, labels) after ``steps`` decisions on the same input, the feedback being uniform before the first.

    Args:
        model: of the fusion.
        vectors: {modality: (count, width)} in the order of the mask.
        mask: (count, modalities) of 0 or 1, the same at every step.
        steps: 1 for a decision without history.
    """
    rows = []
    for i in range(len(mask)):
        streams = {name: values[i] * mask[i, m] for m, (name, values) in enumerate(vectors.items())}
        previous, logits = np.full(len(LABELS), 1 / len(LABELS), np.float32), None
        for _ in range(steps):
            before, logits = logits, model.run(**streams, mask=mask[i], previous=previous)["logits"]
            if before is not None and np.array_equal(before, logits):
                break  # the same input and the same feedback: every later answer is this one
            previous = softmax(logits).astype(np.float32)
        rows.append(logits)
    return np.array(rows)


def fused_logits(model: Model, pools: Pools, mask: np.ndarray, *, seed: int, steps: int = STEADY) -> tuple[np.ndarray, np.ndarray]:
    """Logits (count, labels) and labels (count,) after ``steps`` decisions on constructed companions, as many as ``mask`` has rows."""
    drawn = draw(pools, len(mask), seed)
    return settle(model, drawn.vectors(pools), mask, steps), drawn.labels


def absent_at_random(count: int, modalities: int, rate: float, seed: int) -> np.ndarray:
    """Masks float32 (count, modalities): each modality absent with chance ``rate``, never all."""
    rng = np.random.default_rng(seed)
    mask = (rng.random((count, modalities)) >= rate).astype(np.float32)
    empty = mask.sum(axis=1) == 0
    mask[empty, rng.integers(0, modalities, empty.sum())] = 1.0
    return mask


def presences(names: collections.abc.Sequence[str]) -> dict[str, np.ndarray]:
    """Every pattern of presence but nobody: "face + speech" -> float32 (modalities,) of 0 or 1."""
    patterns = {}
    for code in range(1, 2 ** len(names)):
        here = np.array([(code >> m) & 1 for m in range(len(names))], np.float32)
        patterns[" + ".join(name for m, name in enumerate(names) if here[m])] = here
    return patterns


def own_answers(name: str, probabilities: np.ndarray) -> np.ndarray | None:
    """What an encoder says of the four quadrants by itself, int (n,): None for physiology, which tells two classes.

    A face's probabilities of seven expressions are summed by quadrant.
    """
    if name == "physiology":
        return None
    if name == "face":
        probabilities = np.stack([probabilities[:, label == QUADRANT_OF_FACE].sum(axis=1) for label in range(len(LABELS))], axis=1)
    return probabilities.argmax(axis=1)


@dataclasses.dataclass(frozen=True)
class Singles:
    """What each modality says alone about the same companions."""

    names: tuple[str, ...]
    right: np.ndarray
    """bool (count, modalities): by the fusion with this modality alone, or by the encoder's own answer where that is better."""
    how: tuple[str, ...]
    """Which of the two it is."""

    def best_present(self, mask: np.ndarray) -> np.ndarray:
        """bool (count,): whether the modality that is best overall among those present is right; ``mask`` (count, modalities)."""
        rank = np.argsort(-self.right.mean(axis=0), kind="stable")
        chosen = rank[np.argmax(mask[:, rank] > 0, axis=1)]
        return self.right[np.arange(len(mask)), chosen]

    def best(self, here: np.ndarray) -> str:
        """Name of the best of those with 1 in ``here`` (modalities,)."""
        accuracy = np.where(here > 0, self.right.mean(axis=0), -1.0)
        return self.names[int(np.argmax(accuracy))]


@dataclasses.dataclass(frozen=True)
class Form:
    """A bundle's fusion in one number format, with the embeddings of that format."""

    model: Model
    pools: Pools


def singles(
    drawn: Companions, alone: collections.abc.Mapping[str, np.ndarray], heads: collections.abc.Mapping[str, np.ndarray | None]
) -> Singles:
    """How right each modality alone is.

    Args:
        drawn: the companions.
        alone: {modality: logits (count, labels) of the fusion with nothing else}.
        heads: ``own_answers`` by modality, as rows of the pools.
    """
    right, how = [], []
    for name, logits in alone.items():
        best, way = logits.argmax(axis=1) == drawn.labels, "through the fusion"
        head = heads.get(name)
        if head is not None and np.mean(own := head[drawn.rows[name]] == drawn.labels) > best.mean():
            best, way = own, "the encoder's own answer"
        right.append(best)
        how.append(way)
    return Singles(tuple(alone), np.stack(right, axis=1), tuple(how))


class _Table:
    """Logits of the same companions under every pattern of presence: masks that differ by companion are looked up in it."""

    def __init__(self, form: Form, drawn: Companions, steps: int = STEADY):
        self.patterns = presences(list(form.pools))
        count, vectors = len(drawn.labels), drawn.vectors(form.pools)
        self.logits = {name: settle(form.model, vectors, np.tile(here, (count, 1)), steps) for name, here in self.patterns.items()}

    def at(self, mask: np.ndarray) -> np.ndarray:
        """Logits (count, labels) for ``mask`` (count, modalities), which has somebody in every row."""
        code = (mask @ 2.0 ** np.arange(mask.shape[1])).astype(int)
        return np.stack(list(self.logits.values()))[code - 1, np.arange(len(mask))]


def fused(
    form: Form,
    heads: collections.abc.Mapping[str, np.ndarray | None],
    *,
    temperature: float,
    seed: int,
    float_form: Form | None = None,
    count: int = COMPANIONS,
) -> dict[str, typing.Any]:
    """Scores of the fusion: by what is present, and by the chance that a modality is absent (at least one always is present).

    Every score has ``best_single_accuracy``, that of the best single modality still present on the same companions, and ``gain``
    over it; ``best_single_through_fusion`` is the same where an encoder's own answer does not count. With ``float_form`` there are
    ``float`` scores and the ``agreement`` of both.
    """
    drawn, names = draw(form.pools, count, seed), list(form.pools)
    steady = _Table(form, drawn)
    exact = None if float_form is None else _Table(float_form, drawn)
    fresh = _Table(form, drawn, steps=1)
    single = {name: steady.logits[name] for name in names}
    alone, through = singles(drawn, single, heads), singles(drawn, single, {})

    def score(table: _Table, mask: np.ndarray, other: _Table | None = None) -> dict[str, typing.Any]:
        logits = table.at(mask)
        got: dict[str, typing.Any] = metrics.summary(drawn.labels, softmax(logits, temperature))
        got["best_single_accuracy"] = float(np.mean(alone.best_present(mask)))
        got["gain"] = got["accuracy"] - got["best_single_accuracy"]
        got["best_single_through_fusion"] = float(np.mean(through.best_present(mask)))
        got["aurc"] = coverage.area(drawn.labels, softmax(logits, temperature))
        if other is not None:
            told = metrics.summary(drawn.labels, softmax(other.at(mask), temperature))
            got["float"] = {key: told[key] for key in ("accuracy", "uar", "macro_f1", "ece", "brier")}
            got["agreement"] = float(np.mean(other.at(mask).argmax(axis=1) == logits.argmax(axis=1)))
        return got

    masks = {present: np.tile(here, (count, 1)) for present, here in steady.patterns.items()}
    by_presence = {
        present: score(steady, mask, exact) | {"best_single": alone.best(steady.patterns[present])} for present, mask in masks.items()
    }
    first = {present: score(fresh, mask) for present, mask in masks.items()}
    by_rate = {str(rate): score(steady, absent_at_random(count, len(names), rate, seed + 1), exact) for rate in MISSING_RATES}
    everything = by_presence[" + ".join(names)]
    return {
        "companions": count,
        "labels": list(LABELS),
        "single": {name: {"accuracy": float(alone.right[:, m].mean()), "how": alone.how[m]} for m, name in enumerate(names)},
        "gain_with_all_present": everything["gain"],
        "least_gain": min(got["gain"] for got in (*by_presence.values(), *by_rate.values())),
        "ece_with_all_present": everything["ece"],
        "by_presence": by_presence,
        "without_history": first,
        "by_missing_rate": by_rate,
    }
