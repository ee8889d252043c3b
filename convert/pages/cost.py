"""What a model costs and whether it runs: limits, size and time, other ways to write it, operators, interpreters."""

from __future__ import annotations

import collections.abc
import typing

from convert.pages import formats
from convert.pages.markup import Html, Number, Prose, Section, code, folded, join, paragraph, table, tag
from convert.pages.plots import bar

Report = collections.abc.Mapping[str, typing.Any]

GATES = {
    "min-agreement": "same answer as float, at least",
    "max-drop": "accuracy lost, at most",
    "max-bytes": "bytes of the file, at most",
    "max-macs": "multiply-accumulates, at most",
}
_STATUS = {"runs": "passed", "fails": "failed", "differs": "failed"}


def _limit(name: str, value: object) -> str:
    if name == "min-agreement":
        return formats.share(value, 2)
    if name == "max-drop":
        return formats.points(value)
    return formats.count(value) if name in GATES else formats.plain(value)


def gates(report: Report) -> Section:
    """Limits, and what was got."""
    told = list(report.get("gates") or ())
    if not told:
        return Section("gates", "Gates", None, "no limit was set (--min-agreement, --max-drop, --max-bytes, --max-macs)")
    rows = []
    for gate in told:
        name = str(gate.get("name", ""))
        passed = tag("span", "passed", class_="passed") if gate.get("passed") else tag("span", "FAILED", class_="failed")
        rows.append((code(name), passed, _limit(name, gate.get("got")), _limit(name, gate.get("limit")), GATES.get(name, "")))
    return Section("gates", "Gates", table("Limits asked for", ("gate", "result", Number("got"), Number("limit"), Prose("meaning")), rows))


def costs(report: Report) -> Section:
    """Float against converted."""
    before, after = report.get("float_latency") or {}, report.get("latency") or {}
    rows: list[tuple[object, ...]] = [
        ("size of the file", formats.size(report.get("float_bytes")), formats.size(report.get("bytes")),
         formats.ratio(report.get("bytes"), report.get("float_bytes"))),
    ]  # fmt: skip
    for words, name in (("one inference, median", "median_ms"), ("one inference, 90th percentile", "p90_ms")):
        if before or after:
            values = before.get(name), after.get(name)
            rows.append((words, *map(formats.milliseconds, values), formats.ratio(values[1], values[0])))
    same = ("weights", "weights"), ("multiply-accumulates of one inference", "macs")
    rows += [(words, formats.many(report.get(name)), "the same", formats.DASH) for words, name in same]
    if before or after:
        runs = formats.count((after or before).get("runs"))
        caption = f"Times on the machine that converted, one thread, {runs} runs of each in turn"
    else:
        caption = "Latency: not measured, the models were not timed"
    columns = ("", Number("float"), Number("converted"), Number("converted / float"))
    return Section("cost", "Size, work and time", table(caption, columns, rows))


def candidates(report: Report) -> Section:
    """All ways to write the network that were tried."""
    title = "Candidates"
    told = list(report.get("candidates") or ())
    if not told:
        return Section("candidates", title, None, "one recipe was asked for; --recipe auto makes and measures all")
    slowest = max((ms for one in told if (ms := _median(one)) is not None), default=None)
    largest = max((size for one in told if (size := formats.finite(one.get("bytes"))) is not None), default=None)
    rows = []
    for one in told:
        size = one.get("bytes") or None
        form = tag("small", one["lstm_form"]) if one.get("lstm_form") else None
        rows.append(
            (
                join(tag("code", one.get("recipe", ""), class_="whole"), form), _with_bar(formats.size(size), size, largest),
                _with_bar(formats.milliseconds(_median(one)), _median(one), slowest), formats.share(one.get("agreement")),
                formats.plain(one.get("mean_error"), ".2g"), _verdict(one),
            )
        )  # fmt: skip
    columns = ("recipe and form", Number("size"), Number("median latency"), Number("same answer"), Number("mean error"), Prose("result"))
    chosen = {place for place, one in enumerate(told) if one.get("chosen")}
    shown = table("Every recipe and form, measured in one run", columns, rows, marked=chosen)
    why = report.get("why")
    return Section("candidates", title, join(shown, paragraph("Chosen: ", why, ".") if why else None))


def _median(candidate: Report) -> float | None:
    return formats.finite((candidate.get("latency") or {}).get("median_ms"))


def _with_bar(words: str, value: object, largest: float | None) -> Html:
    return join(words, bar(formats.quotient(value, largest)))


def _verdict(candidate: Report) -> Html:
    failed = candidate.get("failed") or ""
    if candidate.get("chosen"):
        chosen = tag("span", "chosen", class_="passed" if not failed else "open")
        return join(chosen, f", though {failed}" if failed else None)
    return join(failed) if failed else join("passes")


def operators(report: Report) -> Section:
    """Histogram of operators."""
    told = {str(name): formats.finite(count) or 0.0 for name, count in (report.get("operators") or {}).items()}
    if not told:
        return Section("operators", "Operators", None, "the report counts none")
    most = max(told.values())
    order = sorted(told.items(), key=lambda one: (-one[1], one[0]))
    rows = [(code(name), formats.count(count), bar(formats.quotient(count, most))) for name, count in order]
    caption = f"{formats.count(sum(told.values()))} operators of {len(told)} kinds in the converted model"
    return Section("operators", "Operators", table(caption, ("operator", Number("count"), "against the commonest"), rows))


def runtimes(report: Report) -> Section:
    """What the interpreters that kits have made of the file."""
    told = list(report.get("runtimes") or ())
    if not told:
        return Section("runtimes", "Runtimes", None, "the file was not tried in any other interpreter")
    rows = []
    for one in told:
        status = str(one.get("status", "not tried"))
        shown = tag("span", status, class_=_STATUS.get(status, "open"))
        why = f": {one['why']}" if one.get("why") else None
        difference = formats.plain(one.get("largest_difference"), ".3g")
        rows.append((one.get("runtime", ""), one.get("python") or formats.DASH, join(shown, why), difference, *_delegation(one)))
    columns = (
        "interpreter",
        "Python",
        Prose("result"),
        Number("largest difference"),
        Number("run by XNNPACK"),
        Prose("left to its own kernels"),
    )
    caption = "The golden vectors, run in each; differences in steps of an integer output, or as they are for a float one"
    lists = [_delegated(one) for one in told if one.get("delegated")]
    return Section("runtimes", "Runtimes", join(table(caption, columns, rows), *lists))


def _delegation(check: Report) -> tuple[str, str]:
    inside, left = check.get("delegated") or {}, check.get("left") or {}
    if not inside and not left:
        return formats.DASH, formats.DASH
    taken, others = (sum(formats.finite(count) or 0 for count in one.values()) for one in (inside, left))
    return f"{formats.count(taken)} of {formats.count(taken + others)}", _counts(left) or "none"


def _counts(operators: collections.abc.Mapping[str, typing.Any]) -> str:
    return ", ".join(f"{formats.count(count)} {name}" for name, count in sorted(operators.items()))


def _delegated(check: Report) -> Html:
    return folded(f"Operators that XNNPACK runs in {check.get('runtime', '')}", paragraph(_counts(check["delegated"])))
