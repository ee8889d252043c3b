"""Who may be scored: nobody who taught the bundle, and nobody who is on both sides of a split."""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import json
import pathlib

import numpy as np

from convert.training.material import Material
from edge.bundle import Bundle
from edge.errors import BundleError, InputError


@dataclasses.dataclass(frozen=True)
class Learnt:
    """Whom a bundle learnt from: nobody of these may be scored."""

    seed: int
    people: collections.abc.Mapping[str, tuple[str, ...]]
    """Stage -> names."""

    def of(self, stage: str) -> tuple[str, ...]:
        """The people of one stage.

        Raises:
            BundleError: the bundle does not tell them.
        """
        if stage not in self.people:
            raise BundleError(f"quality.json, learnt_people: says nothing of {stage}; make the bundle with affectkit train")
        return self.people[stage]


def learnt_from(bundle: Bundle) -> Learnt:
    """What the bundle says of its training people.

    Raises:
        BundleError: it says nothing, so that no honest score can be made.
    """
    said = bundle.quality
    if said is None or "learnt_people" not in said:
        raise BundleError(f"{bundle.path}: does not say whom it learnt from; make it with affectkit train")
    return Learnt(int(said.get("seed", 0)), {stage: tuple(map(str, names)) for stage, names in said["learnt_people"].items()})


@dataclasses.dataclass(frozen=True)
class Side:
    """One stage of a split file: who teaches the baselines, who is scored."""

    train: tuple[str, ...]
    test: tuple[str, ...]


Split = collections.abc.Mapping[str, Side]
"""Stage -> its two sides."""


def read_split(path: pathlib.Path) -> dict[str, Side]:
    """A split file: ``{"speech": {"train": ["emodb-03", ...], "test": ["emodb-16", ...]}, "physiology": ...}``.

    Raises:
        InputError: it cannot be read, names nobody to score, or has a person on both sides.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a split ({error}); it is JSON: stage, then train and test, lists of people") from None
    if not isinstance(told, dict) or not told:
        raise InputError(f"{path}: holds no stages; a split is JSON: stage, then train and test, lists of people")
    split = {}
    for stage, sides in told.items():
        if not isinstance(sides, dict) or not all(isinstance(sides.get(side), list) for side in ("train", "test")):
            raise InputError(f"{path}: {stage}: needs train and test, lists of people")
        split[stage] = Side(*(tuple(str(name) for name in sides[side]) for side in ("train", "test")))
        if not split[stage].test:
            raise InputError(f"{path}: {stage}: test names nobody; name whom to score")
        if shared := sorted(set(split[stage].train) & set(split[stage].test)):
            raise InputError(f"{path}: {stage}: {_some(shared)} in both train and test; a person belongs to one side")
    return split


def require_unknown(people: collections.abc.Iterable[object], stage: str, learnt: collections.abc.Collection[str], where: object) -> None:
    """Nobody of ``people`` may have taught the bundle.

    Raises:
        InputError: somebody has.
    """
    if shared := sorted({str(name) for name in people} & set(learnt)):
        raise InputError(f"{where}: {stage}: {_some(shared)} taught this bundle, and would be scored; leave them out of the test people")


def require_apart(scored: Material, learn: Material, where: object) -> None:
    """Refuse a split that shares a person: by name where the set names people, and by the samples themselves everywhere, for the same
    recording under another name is the same person.

    Args:
        scored, learn: of the same stage.
        where: the data, for the message.

    Raises:
        InputError: a person or a sample is in both.
    """
    if names_people(scored) and names_people(learn):
        shared = sorted({str(name) for name in scored.people} & {str(name) for name in learn.people})
        if shared:
            raise InputError(f"{where}: {scored.stage}: {_some(shared)} in both training and test; split by person")
    twice = shared_rows(scored.inputs, learn.inputs)
    if len(twice):
        example = f"sample {twice[0]}" + (f" of {scored.people[twice[0]]}" if names_people(scored) else "")
        raise InputError(
            f"{where}: {scored.stage}: {len(twice)} of {len(scored.labels)} test samples are in training too ({example}); split by person"
        )


def names_people(material: Material) -> bool:
    """Whether the set tells who is in it: faces from the web do not."""
    return material.stage != "face"


def shared_rows(scored: np.ndarray, learn: np.ndarray) -> np.ndarray:
    """Row numbers of the samples of ``scored`` (n, ...) that are in ``learn`` (m, ...) too, to the byte."""
    known = digests(learn)
    return np.array([row for row, digest in enumerate(_digest_rows(scored)) if digest in known], int)


def digests(inputs: np.ndarray) -> set[bytes]:
    """Of every sample that holds more than zeros and ones: a window of silence, or of flags alone, is nobody's."""
    return {digest for digest in _digest_rows(inputs) if digest}


def _digest_rows(inputs: np.ndarray) -> collections.abc.Iterator[bytes]:
    for row in inputs:
        told = ((row != 0) & (row != 1)).any()
        yield hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest() if told else b""


def _some(names: collections.abc.Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
