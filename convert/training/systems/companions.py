"""Constructed companions over time: a face, a voice and a pulse of people who share nothing but the label.

No public set has the modalities of the fused systems on the same people, so a sequence joins one picture, one clip and one stretch
of a recording of different people with the same label. What a fusion claims is what is measured on such companions of people
nobody trained on. Modalities come and go as they do in classrooms, labels change, and an input may lag behind.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from edge.errors import InputError

Pattern = typing.Literal["even", "single", "bursty", "imbalanced"]
"""How modalities are absent. even: each at each step by itself; single: one at a time, another one at every step; bursty: for
runs of steps; imbalanced: one of them much more often than the others."""
PATTERNS: tuple[Pattern, ...] = ("even", "single", "bursty", "imbalanced")
BURST_STAYS = 0.8
"""Chance that a modality of a ``bursty`` sequence is drawn again only after one more step: runs of five steps on average."""
MOST_ABSENT = 0.7
MOST_LAG = 3
STAYS = 0.5
"""Chance that a step shows the very same row of an item as the step before: frames are taken more often than they are news."""


@dataclasses.dataclass(frozen=True)
class Takes:
    """What one modality has to offer.

    Rows of one item are one person at about the same time (versions of a picture, windows of a clip, neighbouring windows of a
    recording): a sequence stays with an item for as long as its label stays.
    """

    vectors: np.ndarray
    """float32 (n, *shape): embeddings, or inputs of an encoder."""
    labels: np.ndarray
    """int (n,), the modality's own classes; alike within an item."""
    people: np.ndarray
    """str (n,)."""
    items: np.ndarray
    """int (n,)."""
    chances: np.ndarray | None = None
    """(labels, classes), rows sum to 1: how often a companion for each label is of each class; None where they are the same."""

    def of(self, rows: np.ndarray) -> Takes:
        """These rows alone."""
        return dataclasses.replace(
            self, vectors=self.vectors[rows], labels=self.labels[rows], people=self.people[rows], items=self.items[rows]
        )


@dataclasses.dataclass(frozen=True)
class Companions:
    """Constructed sequences, oldest step first."""

    inputs: dict[str, np.ndarray]
    """float32 (count, steps, *shape) by modality, 0 where it is absent."""
    mask: np.ndarray
    """float32 (count, steps, modalities) of 0 and 1, in the order of ``inputs``."""
    labels: np.ndarray
    """int (count, steps)."""


def require_apart(learn: collections.abc.Mapping[str, Takes], judge: collections.abc.Mapping[str, Takes]) -> None:
    """Raise InputError if somebody is in both: a score on people who taught would be of memory."""
    for name in learn.keys() & judge.keys():
        if both := sorted(set(map(str, learn[name].people)) & set(map(str, judge[name].people))):
            raise InputError(f"{name}: {both[0]} and {len(both) - 1} others both teach and judge; split by person")


def presence(
    count: int, steps: int, modalities: int, rng: np.random.Generator, *, rate: float | None = None, pattern: Pattern | None = None
) -> np.ndarray:
    """Masks float32 (count, steps, modalities); at every step at least one modality is present.

    Args:
        rate: chance that a modality is absent at a step (``single``: that a step lacks one; ``imbalanced``: mean over the
            modalities); None draws one of 0 to 0.7 for every sequence.
        pattern: None draws one for every sequence.
    """
    kinds = rng.integers(0, len(PATTERNS), count) if pattern is None else np.full(count, PATTERNS.index(pattern))
    rates = rng.uniform(0.0, MOST_ABSENT, (count, 1, 1)) if rate is None else np.full((count, 1, 1), rate)
    drawn = rng.random((count, steps, modalities))
    again = rng.random((count, steps, modalities)) >= BURST_STAYS
    bursty = (kinds == PATTERNS.index("bursty"))[:, None]
    for step in range(1, steps):
        drawn[:, step] = np.where(bursty & ~again[:, step], drawn[:, step - 1], drawn[:, step])
    often = rng.integers(0, modalities, count)
    share = np.full((count, 1, modalities), 0.25)
    # The others' share makes room for the one, unless it is absent always already.
    share[np.arange(count), 0, often] = modalities - 0.25 * (modalities - 1)
    imbalanced = (kinds == PATTERNS.index("imbalanced"))[:, None, None]
    absent = drawn < np.where(imbalanced, np.minimum(rates * share, 0.95), rates)
    one = rng.integers(0, modalities, (count, steps, 1)) == np.arange(modalities)
    single = one & (drawn[..., :1] < rates)
    mask = ~np.where((kinds == PATTERNS.index("single"))[:, None, None], single, absent)
    nobody = ~mask.any(axis=2)
    keep = rng.integers(0, modalities, (count, steps))
    mask[nobody, keep[nobody]] = True
    return mask.astype(np.float32)


class _Shelf:
    """Items of a ``Takes`` by class, and rows by item."""

    def __init__(self, name: str, takes: Takes):
        self.name = name
        self.order = np.argsort(takes.items, kind="stable")
        _, self.first, self.size = np.unique(takes.items[self.order], return_index=True, return_counts=True)
        self.label = takes.labels[self.order][self.first]
        self.chances = takes.chances

    def choose(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An item for each of ``labels`` (n,)."""
        wanted = labels
        if self.chances is not None:
            wanted = (rng.random((len(labels), 1)) >= np.cumsum(self.chances, axis=1)[labels, :-1]).sum(axis=1)
        items = np.empty(len(labels), int)
        for label in np.unique(wanted):
            candidates = np.flatnonzero(self.label == label)
            if not len(candidates):
                raise InputError(
                    f"{self.name}: nobody shows class {label}, so no companions can be drawn; bring people who show every class"
                )
            here = wanted == label
            items[here] = rng.choice(candidates, here.sum())
        return items

    def rows(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Any row of each item."""
        return self.order[self.first[items] + (rng.random(len(items)) * self.size[items]).astype(int)]


def draw(
    takes: collections.abc.Mapping[str, Takes],
    count: int,
    steps: int,
    rng: np.random.Generator,
    *,
    classes: int,
    rate: float | None = 0.0,
    pattern: Pattern | None = "even",
    only: collections.abc.Collection[str] | None = None,
    switch_rate: float = 0.0,
    stale_rate: float = 0.0,
    young_rate: float = 0.0,
    history: int = 0,
) -> Companions:
    """Sequences of constructed companions; labels are even over ``classes``.

    Args:
        takes: by modality, in the order of the mask.
        count, steps: how many sequences, and how long.
        classes: number of labels.
        rate, pattern: of absence, see ``presence``.
        only: modalities that are ever present; None for all.
        switch_rate: chance that the label changes once within a sequence, to any label, with other people from then on.
        stale_rate: chance that a modality lags by 1 to 3 steps throughout a sequence.
        young_rate: chance that nothing at all was there in the first steps, at most ``history`` of them: the session began late.

    Raises:
        InputError: nobody shows a class that is wanted.
    """
    names = list(takes)
    first, second = rng.integers(0, classes, (2, count))
    switch = np.where(rng.random(count) < switch_rate, rng.integers(1, max(2, steps), count), steps)
    later = np.arange(steps) >= switch[:, None]
    labels = np.where(later, second[:, None], first[:, None])
    mask = presence(count, steps, len(names), rng, rate=rate, pattern=pattern)
    if only is not None:
        mask = np.broadcast_to(np.array([name in only for name in names], np.float32), mask.shape).copy()
    begins = np.where(rng.random(count) < young_rate, rng.integers(0, history + 1, count), 0)
    mask *= (np.arange(steps) >= begins[:, None])[..., None]
    inputs = {}
    for m, name in enumerate(names):
        shelf = _Shelf(name, takes[name])
        before, after = shelf.choose(first, rng), shelf.choose(second, rng)
        rows = np.empty((count, steps), int)
        for step in range(steps):
            fresh = shelf.rows(np.where(later[:, step], after, before), rng)
            if step:
                stays = (later[:, step] == later[:, step - 1]) & (rng.random(count) < STAYS)
                fresh = np.where(stays, rows[:, step - 1], fresh)
            rows[:, step] = fresh
        lag = np.where(rng.random(count) < stale_rate, rng.integers(1, MOST_LAG + 1, count), 0)
        rows = np.take_along_axis(rows, np.maximum(np.arange(steps) - lag[:, None], 0), axis=1)
        seen = takes[name].vectors[rows]
        inputs[name] = (seen * mask[..., m].reshape(count, steps, *[1] * (seen.ndim - 2))).astype(np.float32)
    return Companions(inputs, mask, labels)
