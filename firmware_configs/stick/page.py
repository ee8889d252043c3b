"""The reports of kits as one page for people who would rather look: opens offline, no script, nothing is loaded."""

from __future__ import annotations

import collections.abc

from convert.pages.formats import DASH
from convert.pages.markup import Html, Number, Prose, document, folded, join, paragraph, table, tag
from firmware_configs.stick.reports import Line, Report

_BADGES = {"fail": "failed", "warn": "open", "pass": "passed"}


def render(reports: collections.abc.Sequence[Report]) -> str:
    """The page: the same reports give the same bytes."""
    troubled = [one for one in reports if one.needs_attention]
    name = "1 kit" if len(reports) == 1 else f"{len(reports)} kits"
    head = tag("header", paragraph("Reports on a stick", class_="kicker"), tag("h1", f"How {name} {'is' if len(reports) == 1 else 'are'}"))
    main = tag("main", _verdict(reports, troubled), _overview(reports), *(_kit(one) for one in reports))
    foot = tag("footer", paragraph("Left by the kits themselves. Times are by each kit's clock, which may be wrong. Nothing of learners."))
    return document(f"Reports of {name}", join(head, main, foot), description="Health, update and speed of classroom kits")


def _verdict(reports: collections.abc.Sequence[Report], troubled: collections.abc.Sequence[Report]) -> Html:
    if troubled:
        words = join(tag("span", f"{len(troubled)} of {len(reports)} need attention", class_="badge"), ": ")
        told = paragraph(words, join(*(tag("a", one.hostname, href=f"#{_anchor(one)}") for one in troubled), between=", "), ".")
    else:
        told = paragraph(tag("span", "All is well", class_="badge"), ": no update was refused, and no kit found a fault.")
    tiles = [
        tag("div", tag("dt", word), tag("dd", sum(one.outcome == word for one in reports), class_="large"), tag("dd", f"of {len(reports)}"))
        for word in ("updated", "nothing newer", "refused", "fell back")
    ]
    body = tag("dl", *tiles, class_="tiles")
    return tag("div", told, body, class_=f"verdict {'bad' if troubled else 'good'}")


def _overview(reports: collections.abc.Sequence[Report]) -> Html:
    columns = ["kit", "update", "runs", "state", Number("slowest"), "health"]
    rows = [
        (
            tag("a", one.hostname, href=f"#{_anchor(one)}"),
            _outcome(one),
            one.bundle or DASH,
            one.state or DASH,
            one.latency or DASH,
            tag("span", one.health, class_="failed" if one.failed or one.trouble else "open" if one.warned else None),
        )
        for one in reports
    ]
    marked = [place for place, one in enumerate(reports) if one.needs_attention]
    return tag("section", tag("h2", "All kits"), table("All kits, those that need attention first", columns, rows, marked=marked))


def _outcome(report: Report) -> Html:
    kind = {"refused": "failed", "fell back": "failed", "updated": "passed"}.get(report.outcome)
    return tag("span", report.outcome or DASH, class_=kind)


def _kit(report: Report) -> Html:
    return tag(
        "section",
        tag("h2", report.hostname),
        paragraph(tag("span", "Not readable", class_="failed"), ": ", report.trouble) if report.trouble else None,
        paragraph(_outcome(report), ": ", report.line) if report.line else None,
        paragraph(join(*(one for one in _about(report) if one), between=", "), class_="soft"),
        table("What it found of itself", ["part", "", Prose("what"), Prose("what to do")], [_row(one) for one in report.findings])
        if report.findings
        else None,
        folded("What it measured", table("What it measured", ["", Number("value")], report.numbers)) if report.numbers else None,
        id=_anchor(report),
    )


def _about(report: Report) -> tuple[str, ...]:
    when = f"{report.at} by its clock{'' if report.clock_trusted else ', which nobody has set'}" if report.at else ""
    return report.board, f"affectkit {report.affectkit}" if report.affectkit else "", when


def _row(line: Line) -> tuple[object, ...]:
    return line.name, tag("span", line.state, class_=_BADGES.get(line.state)), line.what or DASH, line.remedy or DASH


def _anchor(report: Report) -> str:
    return "kit-" + "".join(one if one.isascii() and one.isalnum() else f"-{ord(one):x}-" for one in report.hostname)
