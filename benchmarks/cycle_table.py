"""Medians, ratios, agreement of answers, and the tables made of them: nothing here measures."""

from __future__ import annotations

import collections.abc
import dataclasses
import re
import statistics

import numpy as np

from edge.types import MODALITIES

Arrays = collections.abc.Mapping[str, np.ndarray]
OVERHEAD_TARGET, TUTORIAL_TARGET, ONNX_TARGET = 0.40, 0.35, 0.90


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far a peer gives our answers."""

    presence: float
    """Share of (tick, modality) in which both have it or neither does."""
    labels: float
    """Share of ticks, both deciding on the same modalities, with the same leading label."""
    any_labels: float
    """The same over all ticks on which both decide."""
    cosines: collections.abc.Mapping[str, float]
    """Median cosine of both embeddings, by modality, where both have it."""


def agreement(ours: Arrays, theirs: Arrays) -> Agreement:
    """Compare what ``benchmarks.cycle_child`` calls answers: NaN where a tick has no such embedding or no decision."""
    here = {m: np.isfinite(ours[m]).all(axis=1) for m in MODALITIES}
    there = {m: np.isfinite(theirs[m]).all(axis=1) for m in MODALITIES}
    same = np.stack([here[m] == there[m] for m in MODALITIES])
    decided = np.isfinite(ours["probabilities"]).all(axis=1) & np.isfinite(theirs["probabilities"]).all(axis=1)
    alike = _leading(ours["probabilities"]) == _leading(theirs["probabilities"])
    cosines: dict[str, float] = {}
    for m in MODALITIES:
        both = here[m] & there[m]
        if both.any():
            a, b = ours[m][both], theirs[m][both]
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosines[m] = float(np.median((a * b).sum(axis=1) / np.maximum(lengths, 1e-9)))
    return Agreement(float(same.mean()), _share(alike[decided & same.all(axis=0)]), _share(alike[decided]), cosines)


def _leading(probabilities: np.ndarray) -> np.ndarray:
    return np.nan_to_num(probabilities, nan=-1.0).argmax(axis=1)


def _share(found: np.ndarray) -> float:
    return float(found.mean()) if found.size else float("nan")


def medians(rounds: collections.abc.Mapping[str, collections.abc.Sequence[float]]) -> dict[str, float]:
    """Of each peer over its rounds."""
    return {name: statistics.median(seconds) for name, seconds in rounds.items() if seconds}


def ratio(seconds: collections.abc.Mapping[str, float], name: str, base: str) -> float | None:
    """Median of one over median of another; None where one of them was not measured."""
    return seconds[name] / seconds[base] if name in seconds and seconds.get(base) else None


def overhead(seconds: collections.abc.Mapping[str, float]) -> float | None:
    """What affectkit takes on top of the bare invocations, as a share of them."""
    found = ratio(seconds, "affectkit", "bare")
    return None if found is None else found - 1.0


def faster_onnx(seconds: collections.abc.Mapping[str, float]) -> str | None:
    """The name of the faster of ONNX Runtime's two."""
    return min((name for name in seconds if name.startswith("onnx")), key=seconds.__getitem__, default=None)


def instructions(told: str) -> int:
    """The count in what callgrind writes to standard error: ``I   refs:      1,965,389,326``. ValueError without one."""
    found = re.search(r"I\s+refs:\s+([\d,]+)", told) or re.search(r"Collected\s*:\s*(\d+)", told)
    if found is None:
        raise ValueError(f"callgrind told no count: {' '.join(told.split())[-200:]!r}")
    return int(found.group(1).replace(",", ""))


def spread(values: collections.abc.Sequence[float]) -> float:
    """Largest over smallest, less 1."""
    return max(values) / min(values) - 1.0


def verdict(value: float | None, limit: float) -> str:
    """What a target came to."""
    if value is None:
        return "not measured"
    return f"{value:.2f}, target at most {limit:.2f}: {'met' if value <= limit else 'not met'}"


def markdown(columns: collections.abc.Sequence[str], rows: collections.abc.Iterable[collections.abc.Sequence[str]]) -> str:
    """A table; the first column is text, the others are set flush right."""
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
