"""What a run came to: counts, latencies, absences by reason, planned absences against what was noticed."""

from __future__ import annotations

import collections
import collections.abc
import json
import os
import pathlib
import typing

from edge.errors import InputError
from edge.outputs import Opening, Timing
from edge.outputs.histogram import Histogram
from edge.outputs.jsonlines import refuse_existing
from edge.sensors import PlannedAbsence
from edge.types import MODALITIES, Decision, Event, Modality, Track

REASONS = ("lost", "stale", "noisy", "late")
PERCENTILES = (50, 95, 99)
KEPT_EVENTS = 200
"""The first ones are kept in words, all are counted."""


class Noticed:
    """One planned absence, and when the decisions noticed its begin and its end."""

    def __init__(self, planned: PlannedAbsence):
        self._planned = planned
        self.reached = False
        """True once the run came to it."""
        self._onset_ms: float | None = None
        self._recovery_ms: float | None = None
        self._reasons: collections.Counter[str] = collections.Counter()

    def see(self, t_ms: float, decision: Decision) -> None:
        planned = self._planned
        self.reached = self.reached or t_ms >= planned.from_ms
        absence = decision.absent.get(planned.modality)
        if planned.from_ms <= t_ms <= planned.to_ms and absence is not None:
            if self._onset_ms is None:
                self._onset_ms = t_ms - planned.from_ms
            self._reasons[absence.reason] += 1
        elif t_ms > planned.to_ms and self._recovery_ms is None and absence is None:
            self._recovery_ms = t_ms - planned.to_ms

    def as_record(self) -> dict[str, object]:
        """``onset_s`` and ``recovery_s`` after the planned times; None if it was not noticed, or did not end within the run."""
        planned = self._planned
        return {
            "modality": planned.modality,
            "what": planned.what,
            "from_s": planned.from_ms / 1000,
            "to_s": planned.to_ms / 1000,
            "planned": planned.reason,
            "noticed_as": self._reasons.most_common(1)[0][0] if self._reasons else None,
            "onset_s": _seconds(self._onset_ms),
            "recovery_s": _seconds(self._recovery_ms),
        }


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else round(ms / 1000, 3)


class Summary:
    """A sink that adds up; memory does not grow with the length of the run."""

    def __init__(self, planned: collections.abc.Sequence[PlannedAbsence] = ()):
        self._opening: Opening | None = None
        self._states: collections.Counter[str] = collections.Counter()
        self._labels: collections.Counter[str] = collections.Counter()
        self._absences: dict[Modality, collections.Counter[str]] = {m: collections.Counter() for m in MODALITIES}
        self._latency, self._response, self._compute = Histogram(), Histogram(), Histogram()
        self._skew = Histogram()
        self._late_ticks = self._skipped_ticks = 0
        self._kinds: collections.Counter[str] = collections.Counter()
        self._events: list[dict[str, typing.Any]] = []
        self._noticed = [Noticed(planned_absence) for planned_absence in planned]

    def open(self, opening: Opening) -> None:
        self._opening = opening

    def give(self, decision: Decision, timing: Timing) -> None:
        if self._opening is None:
            raise ValueError("summary: given a decision before it was opened")
        self._states[decision.state] += 1
        if decision.label is not None:
            self._labels[decision.label] += 1
        for modality, absence in decision.absent.items():
            self._absences[modality][absence.reason] += 1
        if timing.latency_ns is not None:
            self._latency.add(timing.latency_ns)
            self._skew.add(decision.skew_ns)
        self._response.add(timing.response_ns)
        self._compute.add(timing.compute_ns)
        self._late_ticks += timing.missed
        self._skipped_ticks += timing.skipped
        if self._noticed:
            t_ms = (decision.t_ns - self._opening.start_ns) / 1e6
            for noticed in self._noticed:
                noticed.see(t_ms, decision)

    def note(self, event: Event) -> None:
        self._kinds[event.kind] += 1
        if self._opening is not None and len(self._events) < KEPT_EVENTS:
            t_s = round((event.t_ns - self._opening.start_ns) / 1e9, 3)
            self._events.append({"t_s": t_s, "event": event.kind, "detail": event.detail})

    def close(self) -> None:
        pass

    def report(self, **measured: object) -> dict[str, typing.Any]:
        """The summary as JSON-able values; ``measured`` are those of the runtime, put in as they are."""
        opening = self._opening
        if opening is None:
            return dict(measured)
        decisions = sum(self._states.values())
        return {
            "bundle": opening.bundle,
            "sources": list(opening.sources),
            "pace": "fast" if opening.fast else "real time",
            "cadence_ms": opening.cadence_ms,
            "budget_ms": opening.budget_ms,
            "decisions": decisions,
            "states": {state: self._states[state] for state in ("decided", "unsure", "no decision")},
            "labels": {label: self._labels[label] for label in opening.labels},
            "latency_ms": _distribution(self._latency),
            "response_ms": _distribution(self._response),
            "compute_ms": _distribution(self._compute),
            "deadline_misses": self._late_ticks + self._skipped_ticks,
            "late_ticks": self._late_ticks,
            "skipped_ticks": self._skipped_ticks,
            "modalities": {m: _fractions(self._absences[m], decisions) for m in MODALITIES},
            "skew_ms": _distribution(self._skew),
            "event_counts": dict(self._kinds),
            "events": list(self._events),
            "planned_absences": [noticed.as_record() for noticed in self._noticed if noticed.reached],
            **measured,
        }


def _distribution(histogram: Histogram) -> dict[str, float]:
    """Percentiles and the largest value, in ms."""
    return {f"p{p}": round(histogram.percentile(p) / 1e6, 3) for p in PERCENTILES} | {"max": round(histogram.largest / 1e6, 3)}


def _fractions(absences: collections.Counter[str], decisions: int) -> dict[str, float]:
    """Share of the decisions in which the modality was present, and absent for each reason; sums to 1."""
    total = max(decisions, 1)
    present = {"present": round((decisions - sum(absences.values())) / total, 4)}
    return present | {reason: round(absences[reason] / total, 4) for reason in REASONS}


def peak_rss_mib() -> float:
    """Most memory this process has had resident, in MiB.

    From /proc where there is one: ``ru_maxrss`` survives ``exec``, so it may be that of the program that started this one.
    """
    try:
        status = pathlib.Path("/proc/self/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
    except (OSError, IndexError, ValueError):
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1 << 20 if sys.platform == "darwin" else 1024), 1)


def as_table(report: collections.abc.Mapping[str, typing.Any]) -> str:
    """The summary for people: plain text, no control characters, at most 120 columns."""
    if not report.get("decisions"):
        return "no decision was due: the run was shorter than one beat\n"

    def row(name: str, text: str) -> str:
        return f"  {name:<18}{text}"

    def times(key: str) -> str:
        return "   ".join(f"{name} {value:.1f}" for name, value in report[key].items()) + " ms"

    lines = [
        "",
        f"{report['bundle']} on {', '.join(report['sources'])}",
        row("decisions", f"{report['decisions']}: " + ", ".join(f"{count} {state}" for state, count in report["states"].items())),
        row("labels", ", ".join(f"{label} {count}" for label, count in report["labels"].items())),
        row("latency", times("latency_ms") + "   (newest sample to decision)"),
        row("response", times("response_ms") + f"   (budget {report['budget_ms']} ms)"),
        row("compute", times("compute_ms") + f"   (a beat is {report['cadence_ms']} ms)"),
        row("deadline misses", f"{report['deadline_misses']} ({report['late_ticks']} late, {report['skipped_ticks']} skipped)"),
    ]
    if "realtime_factor" in report:
        lines.append(row("pace", f"{report['session_s']:.1f} s in {report['wall_s']:.1f} s: {report['realtime_factor']:.1f} x real time"))
    if report.get("start_to_first_decision_s") is not None:
        lines.append(row("first decision", f"{report['start_to_first_decision_s']:.2f} s after the start"))
    if "peak_rss_mib" in report:
        lines.append(row("memory", f"peak {report['peak_rss_mib']:.0f} MiB"))
    dropped: dict[Track, int] = {track: n for track, n in report.get("dropped_chunks", {}).items() if n}
    lines.append(row("dropped chunks", ", ".join(f"{track} {n}" for track, n in dropped.items()) or "none"))
    for said in report.get("events", []):
        if said["event"] != "plan":
            lines.append(row(said["event"], f"at {said['t_s']:.1f} s: {said['detail']}"))
    faults = {stage: n for stage, n in report.get("faults", {}).items() if n}
    if faults:
        lines.append(row("faults", ", ".join(f"{stage} {n}" for stage, n in faults.items())))
    lines += ["", "  " + "".join(f"{name:<12}" for name in ("", "present", *REASONS)).rstrip()]
    for modality, shares in report["modalities"].items():
        lines.append(f"  {modality:<12}" + "".join(f"{100 * share:5.1f} %     " for share in shares.values()).rstrip())
    if report["planned_absences"]:
        lines += ["", f"  {'planned':<72}{'noticed':<9}{'after':<9}recovered after"]
        lines += [_planned_row(planned) for planned in report["planned_absences"]]
    return "\n".join(lines) + "\n"


def _planned_row(planned: collections.abc.Mapping[str, typing.Any]) -> str:
    def delay(key: str) -> str:
        return "-" if planned[key] is None else f"{planned[key]:.2f} s"

    span = f"{planned['from_s']:.1f} to {planned['to_s']:.1f} s"
    what = f"{planned['modality']}: {planned['what']}"[:43]
    told = "-" if planned["planned"] == "degraded" else "not"
    line = f"  {what:<45}{planned['planned']:<10}{span:<17}{planned['noticed_as'] or told:<9}{delay('onset_s'):<9}{delay('recovery_s')}"
    return line.rstrip()


def write_report(path: str | pathlib.Path, report: collections.abc.Mapping[str, typing.Any], *, overwrite: bool = False) -> None:
    """The summary as JSON, written beside and renamed.

    Raises:
        InputError: the file exists and may not be overwritten, or cannot be written.
    """
    path = pathlib.Path(path)
    refuse_existing((path,), overwrite=overwrite)
    beside = path.with_name(path.name + ".partial")
    try:
        beside.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
