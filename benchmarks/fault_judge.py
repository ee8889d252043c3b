"""What became of a fault, told from the lines that the kit wrote: how much was decided, what was said, when it was over."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import itertools
import json
import pathlib
import typing

from benchmarks.fault_cases import WARM_S, Case
from edge.types import MODALITIES, Modality

RECOVER_S = 2.0
"""Longest time from the end of a fault until decisions use the modality again."""
CADENCE_S = 0.25
STEADY_TICKS = 4
"""A modality is back when it was there for so many ticks one after the other."""
BUSY_TICKS = 2
"""That a machine with other work may sleep through in a run at real pace, if they are counted; under a clock that waits there are none."""
RSS_MIB = 1.0
REASONS = ("lost", "stale", "noisy", "late")

Record = dict[str, typing.Any]


@dataclasses.dataclass
class Outcome:
    """One row of the table."""

    name: str
    how: str
    said: str = ""
    """Reasons of absence while it lasted, and events."""
    decided: float | None = None
    """Share of the ticks with a decision, from the begin of the fault to the end of the run."""
    notice_s: float | None = None
    recover_s: float | None = None
    rss_mib: float | None = None
    """Growth of resident memory over the fault."""
    written: str = ""
    problems: list[str] = dataclasses.field(default_factory=list)
    """Empty if all is well."""

    def need(self, holds: bool, otherwise: str) -> None:
        """Note ``otherwise`` unless ``holds``."""
        if not holds:
            self.problems.append(otherwise)


def whole_lines(path: pathlib.Path) -> tuple[list[Record], bool]:
    """Records of a JSONL file, and whether its last byte ends a line. A line that is no JSON raises ValueError."""
    content = path.read_bytes()
    whole, _, rest = content.rpartition(b"\n")
    return [json.loads(line) for line in whole.split(b"\n") if line], not rest


def decisions(records: collections.abc.Iterable[Record]) -> list[Record]:
    """Without the events."""
    return [record for record in records if "state" in record]


def between(records: collections.abc.Iterable[Record], from_s: float, to_s: float) -> list[Record]:
    """Records of the ticks in [from_s, to_s)."""
    return [record for record in records if from_s <= record["t_ms"] / 1e3 < to_s]


def share_decided(records: collections.abc.Sequence[Record], from_s: float, to_s: float) -> float:
    """Of the ticks in (from_s, to_s], those with a decision; a tick that was skipped has none."""
    due = int(to_s / CADENCE_S) - int(from_s / CADENCE_S)
    made = sum(r["state"] != "no decision" for r in records if from_s < r["t_ms"] / 1e3 <= to_s + 1e-6)
    return min(1.0, made / due) if due else 1.0


def noticed_s(records: collections.abc.Iterable[Record], modality: Modality, from_s: float, to_s: float) -> float | None:
    """From ``from_s`` to the first tick without ``modality``; None if there was none up to ``to_s``."""
    return next((r["t_ms"] / 1e3 - from_s for r in between(records, from_s, to_s) if modality in r["absent"]), None)


def recovered_s(records: collections.abc.Iterable[Record], modality: Modality, to_s: float) -> float | None:
    """From ``to_s`` to the first of four ticks in a row with ``modality``, 0 if it was there at the first tick; None if it never was."""
    run: list[float] = []
    first = True
    for record in records:
        t_s = record["t_ms"] / 1e3
        if t_s < to_s:
            continue
        run = [*run, t_s] if modality not in record["absent"] else []
        if len(run) == STEADY_TICKS:
            return 0.0 if first else run[0] - to_s
        first = first and bool(run)
    return None


def reasons(records: collections.abc.Iterable[Record], modalities: collections.abc.Collection[str]) -> list[str]:
    """Reasons of absence as "face lost: no picture", the commonest first."""
    said: collections.Counter[str] = collections.Counter()
    for record in records:
        for modality, absence in record["absent"].items():
            if modality in modalities:
                said[f"{modality} {absence['reason']}: {absence['detail']}"] += 1
    return [text for text, _ in said.most_common()]


def events(records: collections.abc.Iterable[Record]) -> list[str]:
    """Kinds of events but for the plan, with how often each came."""
    kinds = collections.Counter(record["event"] for record in records if "event" in record and record["event"] != "plan")
    return [f"{kind} x{count}" if count > 1 else kind for kind, count in kinds.items()]


def judge(case: Case, records: collections.abc.Sequence[Record], report: collections.abc.Mapping[str, typing.Any] | None) -> Outcome:
    """What the lines of a whole run say of ``case``."""
    outcome = Outcome(case.name, case.how)
    made = decisions(records)
    from_s, to_s, end_s = case.from_s, case.to_s, case.length_s
    after_s = min(to_s + RECOVER_S, end_s)
    outcome.decided = share_decided(made, max(from_s, 1.0), end_s)
    meanwhile = between(made, from_s, max(to_s, from_s + 2.0) + RECOVER_S)
    outcome.said = "; ".join([*reasons(meanwhile, case.hits)[:3], *events(between(records, from_s, end_s))])
    outcome.need(_all_named(made), "an absence without a reason")
    for modality in case.hits:
        if modality == "physiology" and from_s < WARM_S:
            continue  # still warming up
        noticed = noticed_s(made, modality, max(from_s, CADENCE_S), after_s)
        if noticed is not None and case.must_notice:
            outcome.notice_s = max(noticed, outcome.notice_s or 0.0)
        outcome.need(noticed is not None or not case.must_notice, f"{modality} was believed all the time")
        recovered = recovered_s(made, modality, to_s)
        if recovered is not None:
            outcome.recover_s = max(recovered, outcome.recover_s or 0.0)
        back = "never back" if recovered is None else f"back after {recovered:.2f} s"
        outcome.need(recovered is not None and recovered <= RECOVER_S, f"{modality} was {back}")
    for modality in MODALITIES:
        if modality in case.hits or (modality == "physiology" and from_s < WARM_S):
            continue
        gone = [r for r in between(made, max(from_s, case.settled_s), end_s) if modality in r["absent"]]
        outcome.need(not gone, f"{modality} was absent too ({'; '.join(reasons(gone, (modality,))[:1])})")
    if not case.stops_beat:
        skipped = 0 if report is None else report["skipped_ticks"]
        if skipped:
            outcome.said += f"; {skipped} ticks skipped and counted"
        due = (end_s - max(from_s, 1.0)) / CADENCE_S
        least = case.decided_least - min(skipped, BUSY_TICKS) / due
        outcome.need(outcome.decided >= least - 1e-6, f"only {100 * outcome.decided:.0f} % of the ticks were decided")
        gaps = [b["t_ms"] - a["t_ms"] for a, b in itertools.pairwise(made)]
        outcome.need(max(gaps, default=0) <= 1000, f"no tick for {max(gaps, default=0):.0f} ms")
    outcome.need(bool(made) and made[-1]["t_ms"] / 1e3 > end_s - 1.0, f"the run ended at {made[-1]['t_ms'] / 1e3 if made else 0:.1f} s")
    fresh_ms = [r["t_ms"] - r["newest_ms"] for r in made if r["newest_ms"] is not None]
    outcome.need(max(fresh_ms, default=0.0) <= 2600 and min(fresh_ms, default=0.0) >= -300, "a decision on samples of another time")
    if report is not None:
        outcome.need(len(made) == report["decisions"], f"{report['decisions']} decisions made, {len(made)} written")
        if case.stops_beat:
            outcome.need(report["skipped_ticks"] > 0, "skipped ticks were not counted")
            outcome.said += f"; {report['skipped_ticks']} ticks skipped and counted"
    return outcome


def _all_named(made: collections.abc.Iterable[Record]) -> bool:
    return all(absence["reason"] in REASONS and absence["detail"] for record in made for absence in record["absent"].values())
