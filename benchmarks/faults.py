"""``python -m benchmarks.faults [-o DIR] [--only TEXT]``: every fault injected into the true command at pace, and what became of it.

Each fault has a process of its own; several run at once where they do not disturb each other. Writes ``faults.md`` and ``faults.json``.
"""

from __future__ import annotations

import argparse
import collections.abc
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
import typing

from benchmarks.fault_cases import CASES, Case
from benchmarks.fault_judge import BUSY_TICKS, RECOVER_S, RSS_MIB, Outcome, decisions, judge
from benchmarks.fault_kit import Kit
from benchmarks.fault_process import PROCESS_CASES, ProcessCase

AT_ONCE = 5
CONTROL = "no fault"
"""Of ``CASES``: what the others are compared with."""
COLUMNS = (
    "Fault",
    "How it was injected",
    "What the decisions said meanwhile",
    "Ticks decided",
    "Noticed",
    "Recovered",
    "Memory",
    "Written",
    "Verdict",
)

CAPTION = f"""Each fault was injected into `affectkit run` on the embedded bundle, in a process of its own, at real pace. The people before
it are stretches of the embedded session without anything planned, given out by live sources with capture times of now; bus, MAX30102 and
ADS1115 are simulated behind their real drivers. *Ticks decided*: from the begin of the fault to the end of the run, by whatever
modalities were left. *Noticed*: from the begin to the first decision without the modality (to the end of the process, for signals).
*Recovered*: from the end of the fault until decisions use the modality again, for a second at least; {RECOVER_S:g} s are allowed. *Memory*:
growth of the resident set over the fault; {RSS_MIB:g} MiB is allowed. Up to {BUSY_TICKS} ticks of a run may be skipped, and
are named, for the machine is shared. A verdict is "ok" only if every absence named its reason, the other
modalities stayed, no decision used samples of another time, and all that was decided was written in whole lines."""


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Run them and write the table; 0 if all went well, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("-o", "--output", type=pathlib.Path, help="folder for faults.md and faults.json")
    parser.add_argument("--only", default="", metavar="TEXT", help="faults whose name holds it")
    args = parser.parse_args(arguments)
    every: list[Case | ProcessCase] = [
        *(case for case in CASES if args.only in case.name),
        *(case for case in PROCESS_CASES if args.only in case.name),
    ]
    began_s = time.monotonic()
    found: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="affectkit-faults-") as scratch:
        together = [case for case in every if not getattr(case, "alone", False)]
        together.sort(key=lambda case: -getattr(case, "length_s", 20.0))
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = {pool.submit(_one, case, pathlib.Path(scratch)) for case in together}
            for job in concurrent.futures.as_completed(jobs):
                _tell(job.result(), found, len(every))
        for case in every:
            if getattr(case, "alone", False):
                _tell(_one(case, pathlib.Path(scratch)), found, len(every))
    outcomes = [found[case.name] for case in every]
    facts = {**_facts(), "wall_s": round(time.monotonic() - began_s)}
    text = document(outcomes, facts)
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        rows = [dataclasses.asdict(outcome) for outcome in outcomes]
        (args.output / "faults.json").write_text(json.dumps({"facts": facts, "rows": rows}, indent=1, ensure_ascii=False) + "\n")
        (args.output / "faults.md").write_text(text)
    else:
        print(text)
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def _tell(outcome: Outcome, found: dict[str, Outcome], of: int) -> None:
    found[outcome.name] = outcome
    print(f"{len(found)}/{of} {outcome.name}: {'; '.join(outcome.problems) or 'ok'}", file=sys.stderr, flush=True)


def _one(case: Case | ProcessCase, scratch: pathlib.Path) -> Outcome:
    folder = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    outcome = Outcome(case.name, case.how)
    try:
        if isinstance(case, Case):
            outcome = _inside(case, folder)
        else:
            case.run(outcome, folder)
    except (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        outcome.problems.append(" ".join(f"{type(error).__name__}: {error}".split()))
    if outcome.rss_mib is not None:
        outcome.need(outcome.rss_mib <= RSS_MIB, f"memory grew by {outcome.rss_mib:.1f} MiB")
    for name in ("said", "written"):
        setattr(outcome, name, getattr(outcome, name).replace(f"{folder}/", ""))
    outcome.problems = [problem.replace(f"{folder}/", "") for problem in outcome.problems]
    return outcome


def _inside(case: Case, folder: pathlib.Path) -> Outcome:
    """A fault that the child injects into itself."""
    with Kit(folder, case.name, sources=case.sources, seconds=case.length_s) as kit:
        status = kit.wait(case.length_s + 60.0)
        report = kit.report()
        if not report:
            outcome = Outcome(case.name, case.how)
            outcome.said = "the run ended"
            outcome.problems.append(f"status {status}: {' '.join(kit.errors().split())[-300:]}")
            return outcome
        records = kit.lines()
        outcome = judge(case, records, report)
        if case.from_s >= 4.0:
            outcome.rss_mib = kit.growth_mib(case.from_s, case.length_s - 0.5)
        made = len(decisions(records))
        outcome.written = f"{made} of {report['decisions']} decisions"
        outcome.need(status == 0, f"status {status}")
        final = (folder / "decisions.jsonl").exists() and not (folder / "decisions.jsonl.partial").exists()
        outcome.need(final, "the file has no final name")
        return outcome


def _facts() -> dict[str, typing.Any]:
    from edge.inference.model import probe

    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "interpreter": str(probe()),
        "load": round(os.getloadavg()[0], 1),
    }


def document(outcomes: collections.abc.Sequence[Outcome], facts: collections.abc.Mapping[str, typing.Any]) -> str:
    """The table with what must be known to read it, as Markdown."""
    faults = [outcome for outcome in outcomes if outcome.name != CONTROL]
    well = sum(not outcome.problems for outcome in faults)
    lines = ["# Faults, injected while the kit runs", "", CAPTION, ""]
    lines += [
        f"{facts['machine']}; Python {facts['python']}, {facts['interpreter']}; load average {facts['load']} while it "
        f"ran, {AT_ONCE} faults at once; {facts['wall_s']} s in all. **{well} of {len(faults)} faults ended well.**",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|---|---|--:|--:|--:|--:|---|---|",
    ]
    for o in outcomes:
        cells = [
            o.name,
            o.how,
            o.said or "nobody was absent",
            "-" if o.decided is None else f"{100 * o.decided:.0f} %",
            _seconds(o.notice_s),
            _seconds(o.recover_s),
            "-" if o.rss_mib is None else f"{o.rss_mib:+.2f} MiB",
            o.written or "-",
            "**" + "; ".join(o.problems) + "**" if o.problems else "ok",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
