"""What changed between two results, beyond noise.

Noise is that of each result itself. A number that was measured in several parts or repeats differs if the two results are further
apart than three robust standard deviations (1.4826 times the median absolute deviation, Rousseeuw & Croux, 1993, JASA 88) of the
noisier of both, and than 5 %. A count differs if it does by more than three standard deviations of counting, the root of the sum.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import statistics
import typing

from benchmarks.harness import Record
from benchmarks.result import board_name
from edge.errors import InputError

DEVIATIONS = 3.0
TO_SIGMA = 1.4826
LEAST_SHARE = 0.05
LEAST = {"ms": 0.005, "s": 0.05, "s/s": 0.002, "MiB": 1.0}
"""Differences that nobody would notice, by unit."""


@dataclasses.dataclass(frozen=True)
class Change:
    """One number in both results."""

    name: str
    before: float
    after: float
    unit: str
    noise: float
    """Difference that might be chance."""

    @property
    def verdict(self) -> str:
        """Less is better for all numbers that are compared."""
        if abs(self.after - self.before) <= self.noise:
            return "same"
        return "better" if self.after < self.before else "worse"

    def __str__(self) -> str:
        share = f", {100 * (self.after / self.before - 1):+.1f} %" if self.before else ""
        return f"{self.verdict:<6}  {self.name}: {self.before:.4g} to {self.after:.4g} {self.unit}{share} (noise {self.noise:.2g})"


def spread(repeats: collections.abc.Sequence[float]) -> float:
    """Robust standard deviation; 0 for fewer than two."""
    if len(repeats) < 2:
        return 0.0
    middle = statistics.median(repeats)
    return TO_SIGMA * statistics.median(abs(one - middle) for one in repeats)


def changes(before: collections.abc.Mapping[str, typing.Any], after: collections.abc.Mapping[str, typing.Any]) -> list[Change]:
    """Every number that both results have, in the order of the first."""
    found = []
    for scenario, said in before["scenarios"].items():
        others = after["scenarios"].get(scenario, {}).get("metrics", {})
        for name, one in said["metrics"].items():
            other = others.get(name)
            if other is not None and one["value"] is not None and other["value"] is not None:
                found.append(_change(f"{scenario}: {name}", one, other))
    return found


def _change(name: str, one: Record, other: Record) -> Change:
    before, after = one["value"], other["value"]
    if one["counted"]:
        return Change(name, before, after, one["unit"], DEVIATIONS * math.sqrt(before + after))
    noise = DEVIATIONS * max(spread(one["repeats"]), spread(other["repeats"]))
    return Change(name, before, after, one["unit"], max(noise, LEAST_SHARE * abs(before), LEAST.get(one["unit"], 0.0)))


def wrong_answers(after: collections.abc.Mapping[str, typing.Any], before: collections.abc.Mapping[str, typing.Any]) -> list[str]:
    """What was exact, or decided, in one way and is not any more; nothing is chance in it."""
    one, other = (result["scenarios"].get("accuracy") for result in (before, after))
    if not one or not other:
        return []
    lines = []
    if one["exact"] and not other["exact"]:
        lines.append("worse   accuracy: a stage no longer gives its golden outputs bit by bit")
    if one["session"] == other["session"] and one["sha256"] != other["sha256"]:
        from benchmarks.accuracy import equal_share

        share = equal_share(other["decisions"], one["decisions"])
        lines.append(f"worse   accuracy: {100 * (1 - share):.2f} % of the decisions on the session differ")
    return lines


def check_alike(before: collections.abc.Mapping[str, typing.Any], after: collections.abc.Mapping[str, typing.Any]) -> None:
    """Raises InputError for results of different boards or bundles, or measured differently, and for those that are unfit."""
    boards = [(board_name(one["board"]), one["board"].get("machine"), one["board"].get("cores")) for one in (before, after)]
    if boards[0] != boards[1]:
        raise InputError(f"compare: one result is of {boards[0][0]}, the other of {boards[1][0]}; --anyway compares them all the same")
    hashes = [one["bundle"]["sha256"] for one in (before, after)]
    if hashes[0] != hashes[1]:
        raise InputError(f"compare: bundles {hashes[0][:12]} and {hashes[1][:12]} differ; --anyway compares them all the same")
    if before.get("order") != after.get("order"):
        raise InputError("compare: the results were measured with different options; --anyway compares them all the same")
    for which, one in (("first", before), ("second", after)):
        if one["unfit"]:
            raise InputError(f"compare: the {which} result is unfit: {one['unfit'][0]}; --anyway uses it")


def compare(
    before: collections.abc.Mapping[str, typing.Any], after: collections.abc.Mapping[str, typing.Any], *, anyway: bool = False
) -> tuple[list[str], int]:
    """Lines to print, and the exit status: 1 if anything is worse.

    Args:
        before, after: results.
        anyway: compare what should not be.

    Raises:
        InputError: see ``check_alike``.
    """
    if not anyway:
        check_alike(before, after)
    found = changes(before, after)
    if not found:
        raise InputError("compare: the results have no number in common; run the same scenarios")
    wrong = wrong_answers(after, before)
    order = {"worse": 0, "better": 1, "same": 2}
    lines = [*wrong, *map(str, sorted(found, key=lambda change: order[change.verdict]))]
    counts = {verdict: sum(change.verdict == verdict for change in found) for verdict in order}
    counts["worse"] += len(wrong)
    lines.append(
        f"{counts['worse']} worse, {counts['better']} better, {counts['same']} same "
        "(noise: 3 robust deviations of the repeats, 5 % at least)"
    )
    return lines, 1 if counts["worse"] else 0
