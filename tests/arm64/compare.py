"""How far two replays of one session are from each other: what ``inside/trace_session.py`` wrote on x86-64 and on aarch64."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Gap:
    """Elements of two arrays that are not the same."""

    elements: int
    differing: int
    largest: float
    """Absolute; steps of the scale (LSB) for integers."""
    calls: int = 0
    """Along the first axis: how many there are ..."""
    calls_differing: int = 0
    """... and in how many something differs."""


@dataclasses.dataclass(frozen=True)
class StageGap:
    """One stage in both replays."""

    calls: tuple[int, int]
    real: Gap
    """Features, float32, before they are rounded to int8."""
    stored: Gap
    """What the interpreter got, int8."""
    output: Gap
    """What it answered, int8."""
    own: int
    """Calls that got the same bytes and answered others: the interpreter's own difference ..."""
    own_largest: float
    """... and by how many steps at most."""


@dataclasses.dataclass(frozen=True)
class DecisionsGap:
    """Two files of decisions."""

    decisions: tuple[int, int]
    differing: int
    """Lines that are not the same bytes."""
    first: int | None
    """Number of the first of them, counted from 0."""
    others: int
    """Decisions with another state, label, or another set of absent modalities."""
    largest_probability: float


def gap(one: np.ndarray, other: np.ndarray) -> Gap:
    """Compare two arrays of one shape and type; NaN is the same as NaN. Raises ValueError if they do not fit each other."""
    if one.shape != other.shape or one.dtype != other.dtype:
        raise ValueError(f"got {one.dtype} {one.shape} and {other.dtype} {other.shape}; they must fit each other")
    unlike = one != other
    if one.dtype.kind == "f":
        unlike &= ~(np.isnan(one) & np.isnan(other))
    calls = unlike.reshape(len(one), -1).any(axis=1)
    difference = np.abs(one[unlike].astype(np.float64) - other[unlike])
    return Gap(
        elements=one.size,
        differing=int(unlike.sum()),
        largest=float(difference.max(initial=0.0)),
        calls=len(one),
        calls_differing=int(calls.sum()),
    )


def _together(gaps: collections.abc.Sequence[Gap]) -> Gap:
    """One gap over several arrays."""
    return Gap(
        elements=sum(one.elements for one in gaps),
        differing=sum(one.differing for one in gaps),
        largest=max((one.largest for one in gaps), default=0.0),
        calls=max((one.calls for one in gaps), default=0),
        calls_differing=max((one.calls_differing for one in gaps), default=0),
    )


def compare_stages(one: pathlib.Path, other: pathlib.Path) -> dict[str, StageGap]:
    """Stage by stage, call by call; calls behind the shorter trace's end are not compared, and ``calls`` tells of them."""
    stages: dict[str, StageGap] = {}
    with np.load(one) as first, np.load(other) as second:
        for stage in dict.fromkeys(name.split("/")[0] for name in first.files):
            kinds: dict[str, list[Gap]] = {"real": [], "stored": [], "output": []}
            same_input, off = np.ones(1, bool), np.zeros(1)
            calls = (0, 0)
            for name in (name for name in first.files if name.startswith(f"{stage}/")):
                left, right = first[name], second[name] if name in second.files else first[name][:0]
                calls = (len(left), len(right))
                left, right = left[: min(calls)], right[: min(calls)]
                kind = name.split("/")[1]
                kinds[kind].append(gap(left, right))
                furthest = np.abs(left.astype(np.float64) - right).reshape(len(left), -1).max(axis=1, initial=0.0)
                if kind == "stored":
                    same_input = same_input & (furthest == 0)
                elif kind == "output":
                    off = np.maximum(off, furthest)
            own = off[same_input] if min(calls) else off[:0]
            together = {kind: _together(gaps) for kind, gaps in kinds.items()}
            stages[stage] = StageGap(calls=calls, **together, own=int((own > 0).sum()), own_largest=float(own.max(initial=0.0)))
    return stages


def compare_decisions(one: pathlib.Path, other: pathlib.Path) -> DecisionsGap:
    """Line by line; a line that only one file has differs."""
    lines = one.read_bytes().splitlines(), other.read_bytes().splitlines()
    shared = min(map(len, lines))
    unlike = [number for number in range(shared) if lines[0][number] != lines[1][number]]
    surplus = abs(len(lines[0]) - len(lines[1]))
    others, largest = surplus, 0.0
    for number in unlike:
        left, right = json.loads(lines[0][number]), json.loads(lines[1][number])
        others += _gist(left) != _gist(right)
        for label, probability in (left.get("probabilities") or {}).items():
            largest = max(largest, abs(probability - (right.get("probabilities") or {}).get(label, 0.0)))
    first = unlike[0] if unlike else shared if surplus else None
    return DecisionsGap((len(lines[0]), len(lines[1])), len(unlike) + surplus, first, others, round(largest, 6))


def _gist(line: dict[str, object]) -> tuple[object, ...]:
    absent = line.get("absent")
    return line.get("state"), line.get("label"), tuple(absent) if isinstance(absent, dict) else ()
