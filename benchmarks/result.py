"""A result on disk and on a terminal: read and checked, written without overwriting, told as a table or as Markdown."""

from __future__ import annotations

import collections.abc
import json
import os
import pathlib
import typing

from benchmarks.harness import Record
from benchmarks.scenarios import SCHEMA
from edge.errors import InputError

_NEEDED = ("schema", "bundle", "board", "scenarios", "unfit", "nothing")


def read(path: str | os.PathLike[str]) -> Record:
    """The result at ``path``.

    Raises:
        InputError: it cannot be read, is no result, or of another schema.
    """
    try:
        said = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    if not isinstance(said, dict) or any(key not in said for key in _NEEDED):
        raise InputError(f"{path}: is no result of affectkit bench; give the JSON file that it wrote")
    if said["schema"] != SCHEMA:
        raise InputError(f"{path}: schema {said['schema']}, this affectkit reads {SCHEMA}; run affectkit bench again")
    return said


def write(path: pathlib.Path, text: str) -> None:
    """Write beside and rename. Raises InputError."""
    beside = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def board_name(board: collections.abc.Mapping[str, typing.Any]) -> str:
    """The board in words."""
    return board.get("model") or f"{board.get('cpu') or board.get('machine')}, {board.get('cores')} cores"


def number(value: typing.Any, form: str = ".3g") -> str:
    """A number, or a dash where nothing was measured."""
    return "-" if value is None else format(value, form)


Rows = list[tuple[str, ...]]
Part = tuple[str, Rows, list[str]]
"""A title, a table whose first row is its head, and lines below it."""


def parts(result: collections.abc.Mapping[str, typing.Any]) -> list[Part]:
    """The result as tables."""
    board, bundle = result["board"], result["bundle"]
    head: Rows = [
        ("", ""),
        ("board", board_name(board)),
        ("system", f"{board.get('os')}, Python {board.get('python')}, {result.get('interpreter')}"),
        ("governor, frequency", f"{board.get('governor') or '-'}, {number(board.get('frequency_mhz'), '.0f')} MHz"),
        ("temperature", f"{number(board.get('temperature_c'), '.0f')} C"),
        ("throttled", "-" if board.get("throttled") is None else f"{board['throttled']:#x}"),
        ("bundle", f"{bundle['name']} {bundle['version']}, SHA-256 {bundle['sha256'][:16]}..."),
        ("fit to be compared", "no, see below" if result["unfit"] else "yes"),
    ]
    nothing, said = result["nothing"], result["scenarios"]
    spent = nothing["response_ms"]["percentiles"]
    floor = f"a system that does nothing: CPU {number(nothing['cpu']['s_per_s'], '.4f')} s/s, response p50 {number(spent.get('50'))} ms, "
    floor += f"p99 {number(spent.get('99'))} ms, {nothing['misses']} misses of {nothing['due']}, {nothing['peak_rss_mib']:.0f} MiB"
    made: list[Part] = [("bench", head, [*(f"UNFIT {reason}" for reason in result["unfit"]), f"harness cost, {floor}"])]
    makers = {"stage": _stage, "cycle": _cycle, "overload": _overload, "soak": _soak, "accuracy": _accuracy}
    for name, one in said.items():
        rows, lines = makers[name](one)
        made.append((name, rows, lines))
    return made


def _stage(said: Record) -> tuple[Rows, list[str]]:
    rows: Rows = [("model", "MACs", "threads", "median ms", "p90", "p99", "load ms", "first ms")]
    for name, stage in said["stages"].items():
        for threads, one in stage["threads"].items():
            cold = (number(sorted(stage["cold"][key])[len(stage["cold"][key]) // 2], ".1f") for key in ("load_ms", "first_ms"))
            shares = (number(one["percentiles"].get(p), ".3f") for p in ("50", "90", "99"))
            rows.append((name, f"{stage['macs']:,}", threads, *shares, *(cold if threads == "1" else ("", ""))))
    return rows, []


def _cycle(said: Record) -> tuple[Rows, list[str]]:
    rows: Rows = [("", "p50", "p95", "p99", "max")]
    for key, words in (
        ("latency_ms", "latency ms, newest sample to decision"),
        ("response_ms", "response ms, tick to decision"),
        ("compute_ms", "work ms for a decision"),
    ):
        rows.append((words, *(number(said[key]["percentiles"].get(p), ".2f") for p in ("50", "95", "99", "100"))))
    memory, cpu, start = said["memory"], said["cpu"], said["start"]["process_to_first_decision_s"]
    dropped = ", ".join(f"{track} {count}" for track, count in said["dropped_chunks"].items() if count) or "none"
    late = ", ".join(f"{modality} {count}" for modality, count in said["late_encodings"].items() if count) or "none"
    lines = [
        f"misses {said['misses']} of {said['due']} ({said['late_ticks']} late, {said['skipped_ticks']} skipped); "
        f"budget {said['budget_ms']} ms",
        f"chunks dropped: {dropped}; encodings left out for want of time: {late}",
        f"CPU {number(cpu['s_per_s'], '.4f')} s a second of session, of it models {sum(cpu['models_s_per_s'].values()):.4f}",
        f"memory: peak {number(memory['peak_mib'], '.1f')} MiB, steady {number(memory['steady_mib'], '.1f')} MiB",
        f"start to first decision: {number(sorted(start)[len(start) // 2], '.2f')} s (process), best {min(start):.2f} s",
    ]
    return rows, lines


def _overload(said: Record) -> tuple[Rows, list[str]]:
    rows: Rows = [("slower by", "ticks served", "beat kept", "late", "skipped", "steps down", "first step back", "left while slow")]
    for run in said["runs"]:
        slow, after = run["phases"]["slow"], run["phases"]["after"]
        back = run["recovery"]["restored_after_s"]
        kept = ", ".join(f"{m} {100 * share:.0f} %" for m, share in slow["present"].items() if share)
        rows.append(
            (
                f"{run['factor']:g}",
                f"{100 * (run['served']['share'] or 0):.1f} %",
                f"{100 * (run['cadence_kept'] or 0):.1f} %",
                str(slow["late"] + after["late"]),
                str(slow["skipped"] + after["skipped"]),
                str(sum(event["event"] == "degraded" for event in run["events"])),
                f"{back[0]:.1f} s" if back else "-",
                kept or "nothing",
            )
        )
    lines = [f"the slow board: every stage {said['scale']:g} times slower than here, {said['longest_ms']:.0f} ms when all fall due"]
    for run in said["runs"]:
        lines += [f"{run['factor']:g} x, at {event['t_s']:.1f} s, {event['event']}: {event['detail']}" for event in run["events"]]
    return rows, lines


def _soak(said: Record) -> tuple[Rows, list[str]]:
    rows: Rows = [("", "session h", "slope MiB/h", "growth MiB", "MiB", "descriptors", "threads")]
    for name in ("long", "again"):
        one = said[name]
        counts = (f"{one[key][0]} to {one[key][1]}" for key in ("descriptors", "threads"))
        memory = f"{one['rss_mib'][0]:.1f} to {one['rss_mib'][1]:.1f}"
        words = "one long run" if name == "long" else f"{one['runs']} short runs"
        rows.append((words, f"{one['session_h']:g}", f"{one['slope_mib_per_h']:.3f}", f"{one['growth_mib']:.3f}", memory, *counts))
    long = said["long"]
    drift, blocks = long["drift"], long["in_use"]["python_blocks"]
    heap = "not told" if long["in_use"]["heap_mib"] is None else "{:.2f} to {:.2f} MiB".format(*long["in_use"]["heap_mib"])
    return rows, [
        f"{long['times_real_time']:g} times real time; work for a decision {drift['first_ms']:.3f} ms in the first rounds, "
        f"{drift['last_ms']:.3f} ms in the last: {drift['ratio']:.3f}",
        f"allocated over the long run: C {heap}, Python {blocks[0]:,} to {blocks[1]:,} blocks",
    ]


def _accuracy(said: Record) -> tuple[Rows, list[str]]:
    rows: Rows = [("model", "golden samples", "largest difference, steps")]
    rows += [(name, str(one["samples"]), f"{one['largest_difference']:g}") for name, one in said["golden"]["stages"].items()]
    share = said["equal_share"]
    expected = f"{100 * share:.2f} % as expected" if share is not None else "nothing to compare with; kept for later results"
    return rows, [
        f"decisions on the session: {said['ticks']}, {expected}, SHA-256 {said['sha256'][:16]}...",
        f"quality on people: {said['quality']}",
    ]


def as_text(result: collections.abc.Mapping[str, typing.Any]) -> str:
    """For a terminal or a pipe: plain text."""
    lines: list[str] = []
    for title, rows, below in parts(result):
        lines += ["", title, *("  " + line for line in _aligned(rows) if line), *(f"  {line}" for line in below)]
    return "\n".join(lines[1:]) + "\n"


def _aligned(rows: Rows) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_markdown(result: collections.abc.Mapping[str, typing.Any]) -> str:
    """For a repository."""
    lines = [
        f"Measured by `affectkit bench` on {result['made']}; other computers differ. What each scenario measures is on the HTML page.",
        "",
    ]
    for title, rows, below in parts(result):
        head, *body = rows
        lines += [f"## {title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in body)]
        lines += ["", *(f"- {line}" for line in below), ""]
    return "\n".join(lines).rstrip("\n") + "\n"
