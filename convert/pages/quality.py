"""How far the converted model is from the float one, and how often both are right."""

from __future__ import annotations

import collections.abc
import typing

from convert.pages import formats
from convert.pages.markup import Html, Number, Section, code, figure, folded, join, paragraph, table, tag
from convert.pages.plots import NUMBERED_CELLS, heat_map

Report = collections.abc.Mapping[str, typing.Any]

UNITS = {"probabilities": "probability", "logits": "probability, after softmax", "values": "share of the span in float"}
_UNFOLDED_CLASSES = 20
_LEGIBLE_CLASSES = 8
"""Up to so many, three heat maps side by side can still be read."""


def verification_of(report: Report) -> Report:
    """What was compared; empty if nothing was."""
    return report.get("verification") or {}


def task_of(report: Report) -> Report:
    """What was counted against labels; empty if there were none."""
    return verification_of(report).get("task") or {}


def agreement_of(report: Report) -> float | None:
    """The lowest agreement of any output, 0 to 1; None if no output has one."""
    outputs = (verification_of(report).get("outputs") or {}).values()
    return min((share for output in outputs if (share := formats.finite(output.get("agreement"))) is not None), default=None)


def agreement(report: Report) -> Section:
    """Every output against float."""
    title = "Converted against float"
    checked = verification_of(report)
    if not checked:
        return Section("agreement", title, None, "no samples were given to compare on (--calibration or --verification)")
    rows = [
        (
            code(name), formats.share(output.get("agreement")), formats.plain(output.get("mean_error"), ".2g"),
            formats.plain(output.get("max_error"), ".2g"), UNITS.get(str(output.get("kind")), output.get("kind")),
        )
        for name, output in (checked.get("outputs") or {}).items()
    ]  # fmt: skip
    columns = ("output", Number("same answer"), Number("mean error"), Number("largest error"), "errors in units of")
    caption = f"{formats.count(checked.get('samples'))} samples through both models in {checked.get('runtime', 'the same interpreter')}"
    lowered = paragraph(
        "Before any quantization, the float flatbuffer is at most ", formats.plain(report.get("lowering_error"), ".2g"),
        " of the largest output away from the framework that trained the model.", class_="soft",
    )  # fmt: skip
    return Section("agreement", title, join(table(caption, columns, rows), lowered))


def task(report: Report) -> Section:
    """How often both are right, how sure they are, and what they take for what."""
    title = "Right and wrong before and after"
    told = task_of(report)
    if not told:
        why = "the samples had no labels" if verification_of(report) else "no samples were given to compare on"
        return Section("task", title, None, why)
    measures = (("accuracy", "accuracy"), ("unweighted average recall", "uar"), ("expected calibration error", "ece"))
    rows = []
    for words, name in measures:
        before, after = told.get(f"float_{name}"), told.get(name)
        rows.append((words, _rate(name, before), _rate(name, after), _change(name, before, after)))
    columns = ("measure", Number("float"), Number("converted"), Number("change"))
    caption = f"Output {told.get('output', '')}; always saying the commonest class would be right on {formats.share(told.get('majority'))}"
    return Section("task", title, join(table(caption, columns, rows), _confusions(told)))


def _rate(name: str, value: object) -> str:
    return formats.plain(value, ".3f") if name == "ece" else formats.share(value)


def _change(name: str, before: object, after: object) -> str:
    first, last = formats.finite(before), formats.finite(after)
    if first is None or last is None:
        return formats.DASH
    return formats.plain(last - first, "+.3f") if name == "ece" else formats.plain(100 * (last - first), "+.2f", "points")


def _square(value: object) -> list[list[float]] | None:
    """A square table of numbers; None if it is anything else."""
    if not isinstance(value, list | tuple) or not value:
        return None
    rows = [[formats.finite(number) for number in row] for row in value if isinstance(row, list | tuple)]
    if len(rows) != len(value) or any(len(row) != len(value) or None in row for row in rows):
        return None
    return typing.cast("list[list[float]]", rows)


def _confusions(told: Report) -> Html:
    before, after = _square(told.get("float_confusion")), _square(told.get("confusion"))
    if before is None or after is None or len(before) != len(after):
        return paragraph("Confusion: not measured, the report holds no table of it.")
    names = [str(name) for name in told.get("classes") or ()]
    names = names if len(names) == len(before) else [str(number) for number in range(len(before))]
    changes = [[b - a for a, b in zip(one, two, strict=True)] for one, two in zip(before, after, strict=True)]
    largest = max((abs(number) for row in changes for number in row), default=0.0) or 1.0
    moved = sum(number for row in changes for number in row if number > 0)
    maps = (
        ("Float", before, _of_row(before), _diagonal(before)),
        ("Converted", after, _of_row(after), _diagonal(after)),
        ("Converted less float", changes, [[n / largest for n in row] for row in changes], f"{moved:.0f} answers moved"),
    )
    shown = [
        figure(heat_map(cells, shades, names, f"{title}: {label}"), tag("strong", title), f": {label}")
        for title, cells, shades, label in maps
    ]
    shade = "Rows are true classes, columns are answers. Shade: share of the row; in the change blue is more, orange is less."
    order = " Classes are in the order of the table below." if len(names) > NUMBERED_CELLS else None
    lead = paragraph(shade, order, class_="soft")
    kind = "maps large" if _LEGIBLE_CLASSES < len(names) <= NUMBERED_CELLS else "maps"
    return join(tag("h3", "Confusion"), lead, tag("div", *shown, class_=kind), _recalls(names, before, after))


def _of_row(rows: list[list[float]]) -> list[list[float]]:
    return [[number / (sum(row) or 1.0) for number in row] for row in rows]


def _diagonal(rows: list[list[float]]) -> str:
    right, total = sum(row[place] for place, row in enumerate(rows)), sum(map(sum, rows))
    return f"{formats.count(right)} of {formats.count(total)} right"


def _recalls(names: list[str], before: list[list[float]], after: list[list[float]]) -> Html:
    rows = []
    for place, name in enumerate(names):
        samples = sum(before[place])
        first, last = (formats.quotient(one[place][place], samples) for one in (before, after))
        rows.append((name, formats.count(samples), formats.share(first), formats.share(last), _change("recall", first, last)))
    columns = ("true class", Number("samples"), Number("recall, float"), Number("recall, converted"), Number("change"))
    shown = table("Share of each class that is found", columns, rows)
    return shown if len(names) <= _UNFOLDED_CLASSES else folded(f"Recall of all {len(names)} classes", shown)
