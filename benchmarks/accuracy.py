"""Scenario *accuracy*: the same bundle and the same binary give the same answers."""

from __future__ import annotations

import collections.abc
import hashlib
import itertools
import json
import pathlib
import typing

from benchmarks.harness import Order, Record, in_child
from edge.bundle import load_bundle
from edge.inspect import verify
from edge.runtime import Runtime

FURTHER = "affectkit evaluate"
"""What measures quality on people nobody trained on."""


def measure(order: Order) -> Record:
    """Whether the files that are timed here also answer here as they should: a fast wrong answer is worth nothing.

    Every stage runs its golden vectors; a stage is exact if every output is bit by bit what it was where the bundle was made. The
    session is decided in virtual time, with every decision compared to the one that an earlier result keeps for the same bundle and
    session; with none, this result keeps them for later ones and says that nothing was expected. This tells whether answers changed,
    not whether they are right: that is what ``affectkit evaluate`` measures, on people nobody trained on.
    """
    said = in_child("benchmarks.accuracy:child", order).said
    expected = expected_in(order.expected, said["bundle"], said["session"])
    said["equal_share"] = None if expected is None else equal_share(said["decisions"], expected)
    said["expected_sha256"] = None if expected is None else hash_of(expected)
    said["quality"] = FURTHER
    said["metrics"] = {}
    return said


def child(order: Order) -> Record:
    """The golden vectors and the decisions."""
    bundle = load_bundle(order.bundle)
    verified = verify(bundle)
    made = [decision.state if decision.label is None else f"{decision.state} {decision.label}" for decision in _decisions(order)]
    decisions = [[said, len(list(run))] for said, run in itertools.groupby(made)]
    return {
        "bundle": bundle.sha256,
        "session": hashlib.sha256(pathlib.Path(order.session).read_bytes()).hexdigest(),
        "golden": verified,
        "exact": all(stage["exact"] for stage in verified["stages"].values()),
        "ticks": len(made),
        "decisions": decisions,
        "sha256": hash_of(decisions),
    }


def _decisions(order: Order) -> Runtime:
    return Runtime(load_bundle(order.bundle), [f"replay:{order.session}"], fast=True)


def hash_of(decisions: object) -> str:
    """Of decisions, as JSON without spaces."""
    return hashlib.sha256(json.dumps(decisions, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def expected_in(path: str, bundle: str, session: str) -> list[list[object]] | None:
    """The decisions that the result at ``path`` keeps for this bundle and session; None if it keeps none."""
    try:
        kept = json.loads(pathlib.Path(path).read_text())["scenarios"]["accuracy"] if path else {}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if kept.get("bundle") != bundle or kept.get("session") != session or hash_of(kept.get("decisions")) != kept.get("sha256"):
        return None
    return list(kept["decisions"])


def equal_share(decisions: collections.abc.Sequence[object], expected: collections.abc.Sequence[object]) -> float:
    """Share of ticks decided alike; both are [what, ticks in a row], a tick that only one has counts as unlike."""
    made, wanted = _each(decisions), _each(expected)
    same = sum(a == b for a, b in zip(made, wanted, strict=False))
    return same / max(len(made), len(wanted), 1)


def _each(runs: collections.abc.Iterable[typing.Any]) -> list[object]:
    return [what for what, count in runs for _ in range(count)]
