"""A result as one HTML page, which opens offline: no script, and nothing is loaded."""

from __future__ import annotations

import collections.abc
import typing

from benchmarks import bench_plots
from benchmarks.result import board_name, parts
from convert.pages import formats
from convert.pages.markup import Html, Number, Section, document, folded, join, paragraph, table, tag

Record = collections.abc.Mapping[str, typing.Any]
_TITLES = {
    "stage": "Each model alone",
    "cycle": "The whole pipeline at live pace",
    "overload": "Slower than the board can bear",
    "soak": "Hours of session",
    "accuracy": "The same answers",
}
_WORDS = ("", "model", "slower by", "left while slow", "first step back")
"""Columns that are no numbers."""
_SHOWN_LINES = 6
"""Below a table; the rest is folded."""


def render(result: Record) -> str:
    """The page: the same result gives the same bytes."""
    tables = {title: (rows, lines) for title, rows, lines in parts(result)}
    sections = [_section(name, tables, result["scenarios"]) for name in _TITLES]
    sections += [_board(result)]
    shown = [one for one in sections if one.body is not None]
    absent = [f"{one.title[0].lower()}{one.title[1:]}" for one in sections if one.body is None]
    name = f"{result['bundle']['name']} {result['bundle']['version']}"
    head = tag("header", paragraph("Benchmark", class_="kicker"), tag("h1", f"{name} on {board_name(result['board'])}"))
    links = tag("nav", tag("ul", *(tag("li", tag("a", one.title, href=f"#{one.identifier}")) for one in shown)), aria_label="Sections")
    bodies = [
        tag(
            "section",
            tag("h2", one.title, id=f"{one.identifier}-title"),
            one.body,
            id=one.identifier,
            aria_labelledby=f"{one.identifier}-title",
        )
        for one in shown
    ]
    foot = tag(
        "footer",
        paragraph(
            f"Measured by affectkit {result['affectkit']} on {result['made']}. Other computers, and this one in other company, differ."
        ),
    )
    missing = paragraph("Not measured: ", "; ".join(absent), ".", class_="soft") if absent else None
    body = join(head, tag("main", _verdict(result, missing), links, *bodies), foot, between="\n")
    return document(f"{name}: benchmark", body, description=f"What {name} takes on {board_name(result['board'])}")


def _verdict(result: Record, missing: Html | None) -> Html:
    unfit = result["unfit"]
    if unfit:
        told = paragraph(tag("span", "Unfit to be compared", class_="badge"), ": the machine was not left alone, or not at its full speed.")
        why: Html | None = folded("Why", tag("ul", *(tag("li", reason) for reason in unfit), class_="plain"))
    else:
        told = paragraph(
            tag("span", "Fit to be compared", class_="badge"), ": the machine was quiet, and as fast at the end as at the begin."
        )
        why = None
    return tag("div", told, _tiles(result), why, missing, class_=f"verdict {'bad' if unfit else 'good'}")


def _tiles(result: Record) -> Html | None:
    said = result["scenarios"]
    tiles: list[tuple[str, str, str]] = []
    if "cycle" in said:
        one = said["cycle"]
        response, latency = one["response_ms"]["percentiles"], one["latency_ms"]["percentiles"]
        tiles += [
            ("response, p99", formats.milliseconds(response.get("99")), f"p50 {formats.milliseconds(response.get('50'))}"),
            ("latency, p99", formats.milliseconds(latency.get("99")), f"p50 {formats.milliseconds(latency.get('50'))}"),
            ("misses", formats.count(one["misses"]), f"of {formats.count(one['due'])} ticks"),
            (
                "CPU",
                formats.plain(one["cpu"]["s_per_s"], ".3f", "s/s"),
                f"nothing at all: {formats.plain(result['nothing']['cpu']['s_per_s'], '.3f', 's/s')}",
            ),
            (
                "memory",
                formats.plain(one["memory"]["steady_mib"], ".0f", "MiB"),
                f"peak {formats.plain(one['memory']['peak_mib'], '.0f', 'MiB')}",
            ),
            ("first decision", formats.plain(min(one["start"]["process_to_first_decision_s"]), ".2f", "s"), "after the start, best"),
        ]
    if "soak" in said:
        long = said["soak"]["long"]
        tiles.append(("growth", formats.plain(long["growth_mib"], ".2f", "MiB"), f"in {long['session_h']:g} h of session"))
    if "overload" in said:
        for run in said["overload"]["runs"]:
            if run["factor"] == 3:
                tiles.append(("served, 3 times slower", formats.share(run["served"]["share"]), "of the ticks"))
    if not tiles:
        return None
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", large, class_="large"), tag("dd", small)) for name, large, small in tiles),
        class_="tiles",
    )


def _section(name: str, tables: dict[str, typing.Any], scenarios: Record) -> Section:
    if name not in scenarios:
        return Section(name, _TITLES[name], None, "not asked for")
    said = scenarios[name]
    (head, *rows), lines = tables[name]
    columns = [title if title in _WORDS else Number(title) for title in head]
    first, *rest = said["prose"].split("\n\n")
    body = join(
        paragraph(first),
        table(f"{_TITLES[name]}, as measured", columns, rows),
        _list(lines[:_SHOWN_LINES]),
        folded(f"{len(lines) - _SHOWN_LINES} more lines", _list(lines[_SHOWN_LINES:])) if len(lines) > _SHOWN_LINES else None,
        _unfit(said),
        folded("How it is measured", *(paragraph(" ".join(part.split())) for part in rest)),
        _figures(name, said),
    )
    return Section(name, _TITLES[name], body)


def _list(lines: collections.abc.Sequence[str]) -> Html | None:
    return tag("ul", *(tag("li", line) for line in lines), class_="plain") if lines else None


def _unfit(said: Record) -> Html | None:
    reasons = said["fitness"]["unfit"]
    return paragraph(tag("span", "Unfit", class_="failed"), ": ", "; ".join(reasons), ".") if reasons else None


def _figures(name: str, said: Record) -> Html | None:
    if name == "cycle":
        return _cycle(said)
    if name == "soak":
        long, again = said["long"], said["again"]
        return bench_plots.joined(
            bench_plots.memory(long["series"], "hours of session", "Resident memory over one long run"),
            bench_plots.memory(again["series"], "hours of session", "Resident memory after each of many short runs"),
            bench_plots.histogram(long["compute_ms"], "Work for a decision, over the long run", _marks(long["compute_ms"])),
        )
    if name == "overload":
        return bench_plots.joined(*(bench_plots.ladder(run, run["budget_ms"]) for run in said["runs"]))
    if name == "stage":
        single = ((stage, one["threads"].get("1")) for stage, one in said["stages"].items())
        shown = [bench_plots.histogram(one, f"{stage}, one thread: single inferences", _marks(one)) for stage, one in single if one]
        found = bench_plots.joined(*shown)
        return folded("Distribution of each model", found) if found is not None else None
    return None


def _cycle(said: Record) -> Html | None:
    stages = [name for name in ("detector", "face", "speech", "physiology", "fusion") if name in said["cpu"]["models_s_per_s"]]
    stages += [name for name in said["cpu"]["models_s_per_s"] if name not in stages]
    ordinary = [one for one in said["timeline"] if one["kind"] == "median"]
    worst = [one for one in said["timeline"] if one["kind"] == "worst"]
    budget = {"budget": float(said["budget_ms"])}
    lanes = [bench_plots.tick(one, said["cadence_ms"], stages) for one in (*worst, *ordinary[:1])]
    return bench_plots.joined(
        bench_plots.histogram(
            said["latency_ms"], "Latency, from the capture of the newest sample to the decision", _marks(said["latency_ms"])
        ),
        bench_plots.histogram(said["response_ms"], "Response, from the tick to the decision", _marks(said["response_ms"]) | budget),
        tag("h3", "Beats, stage by stage"),
        *lanes,
        bench_plots.memory(said["memory"]["series"], "s from the start of the process", "Resident memory at live pace, once a second"),
    )


def _marks(said: Record) -> dict[str, float]:
    return {f"p{p}": said["percentiles"][p] for p in ("50", "99") if p in said["percentiles"]}


def _board(result: Record) -> Section:
    board = result["board"]
    rows = [
        (key.replace("_", " "), ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value)
        for key, value in board.items()
    ]
    shown: list[tuple[object, object]] = [(key, formats.DASH if value in (None, "", []) else value) for key, value in rows]
    seen = []
    for name, one in result["scenarios"].items():
        fitness = one["fitness"]
        during, after = fitness["during"], fitness["after"]
        seen.append(
            (
                name,
                _span(fitness["before"].get("frequency_mhz"), during["frequency_mhz"], after.get("frequency_mhz")),
                _span(fitness["before"].get("temperature_c"), during["temperature_c"], after.get("temperature_c")),
                formats.DASH if during["throttled"] is None else f"{during['throttled']:#x}",
                formats.share(fitness["others_share"]),
                " / ".join(formats.plain(fitness["calibration_ms"][part][1], ".2f") for part in ("before", "after")),
            )
        )
    columns = ("scenario", Number("MHz before, during, after"), Number("C before, during, after"), Number("throttled"),
               Number("used by others"), Number("same work before / after, ms"))  # fmt: skip
    body = join(table("The board before the run", ("", "said"), shown), table("How it was doing", columns, seen) if seen else None)
    return Section("board", "The board", body)


def _span(before: typing.Any, during: typing.Any, after: typing.Any) -> str:
    if before is None and during is None and after is None:
        return formats.DASH
    middle = formats.DASH if during is None else f"{during[0]:.0f} to {during[1]:.0f}"
    return f"{formats.plain(before, '.0f')}, {middle}, {formats.plain(after, '.0f')}"
