"""The parts of an evaluation's page that speak of one encoder at a time."""

from __future__ import annotations

import collections.abc
import typing

from convert.evaluation.charts import Series, lines, with_legend
from convert.pages import formats
from convert.pages.markup import Html, Number, Prose, Section, figure, folded, join, paragraph, table, tag
from convert.pages.plots import heat_map

Results = collections.abc.Mapping[str, typing.Any]

MEASURES = (("accuracy", "accuracy"), ("uar", "UAR"), ("macro_f1", "macro-F1"), ("ece", "ECE"), ("brier", "Brier"))
_SHARES = ("accuracy", "uar", "macro_f1")
MOST_LISTED = 60
"""People in one table."""


def encoders(results: Results) -> dict[str, typing.Any]:
    """All but the fusion."""
    return {name: one for name, one in results.items() if name != "fusion"}


def measure(name: str, value: object) -> str:
    """A share as percent, an error as a plain number."""
    return formats.share(value) if name in _SHARES else formats.plain(value, ".3f")


def difference(name: str, one: object, other: object) -> str:
    """One less the other."""
    a, b = formats.finite(one), formats.finite(other)
    if a is None or b is None:
        return formats.DASH
    return formats.plain(100 * (a - b), "+.2f", "points") if name in _SHARES else formats.plain(a - b, "+.3f")


def overview(results: Results) -> Section:
    """All stages in one table, with what is trivial beside."""
    rows = []
    for name, one in encoders(results).items():
        got, most, straight = one["int8"], one["majority"], one.get("linear") or {}
        cells = [formats.count(got["samples"]), str(one["people"]), *(measure(key, got[key]) for key, _ in MEASURES)]
        rows.append(
            (
                join(name, tag("small", one["task"]) if "task" in one else None),
                *cells,
                formats.share(most["accuracy"]),
                formats.share(most["uar"]),
                formats.share(straight.get("accuracy")),
                formats.share(straight.get("uar")),
            )
        )
    columns = (
        "stage",
        Number("samples"),
        Number("people"),
        *(Number(words) for _, words in MEASURES),
        Number("majority, accuracy"),
        Number("majority, UAR"),
        Number("linear, accuracy"),
        Number("linear, UAR"),
    )
    lead = paragraph(
        "int8, in the device's interpreter, on people who did not teach the bundle. UAR is the mean recall of the classes. Majority is "
        "what always saying the commonest class scores; linear is a discriminant analysis on simple summaries of the same inputs, taught "
        "on other people than it is scored on.",
        class_="soft",
    )
    notes = [
        paragraph(f"{name}: {one['left_out']} test samples were left out, for they are in training too, to the byte.", class_="soft")
        for name, one in encoders(results).items()
        if one.get("left_out")
    ]
    return Section(
        "stages", "Each modality alone", join(lead, table("Scores of each stage", columns, rows), *notes) if rows else None, "no set"
    )


def classes(results: Results) -> Section:
    """Recall of each class, and what is taken for what."""
    parts: list[Html] = []
    for name, one in encoders(results).items():
        got, names = one["int8"], [str(label) for label in one["classes"]]
        cells = got["confusion"]
        shades = [[number / (sum(row) or 1) for number in row] for row in cells]
        drawn = figure(heat_map(cells, shades, names, f"Confusion of {name}"), "Rows are true classes, columns are answers.")
        rows = [
            (label, formats.count(sum(cells[i])), formats.share(got["recall"][i]) if got["recall"][i] is not None else "no sample")
            for i, label in enumerate(names)
        ]
        told = table(f"Recall of each class, {name}", ("class", Number("samples"), Number("recall")), rows)
        parts.append(join(tag("h3", name), tag("div", drawn, tag("div", told), class_="maps large")))
    return Section("classes", "Classes: recall and confusion", join(*parts) if parts else None, "no set")


def coverage(results: Results) -> Section:
    """How much abstaining helps."""
    known = {name: one["int8"]["risk_coverage"] for name, one in encoders(results).items() if "risk_coverage" in one["int8"]}
    if not known:
        return Section("coverage", "Risk over coverage", None, "not part of this evaluation")
    plots = []
    for name, curve in known.items():
        steps = [formats.share(value, 0) for value in curve["coverage"]]
        high = 0.25 if max(curve["risk"]) <= 0.25 else 0.5 if max(curve["risk"]) <= 0.5 else 1.0
        drawn = lines(
            f"Risk over coverage of {name}", steps, "coverage: share answered, the surest first", [Series("risk", curve["risk"])], high=high
        )
        area = results[name]["int8"]["aurc"]
        plots.append(figure(drawn, tag("strong", name), f": area under the curve {formats.plain(area, '.3f')}; share of wrong answers"))
    rows = [
        (
            name,
            *(formats.share(dict(zip(c["coverage"], c["risk"], strict=True)).get(at)) for at in (0.25, 0.5, 0.75, 1.0)),
            formats.plain(results[name]["int8"]["aurc"], ".3f"),
        )
        for name, c in known.items()
    ]
    columns = ("stage", *(Number(f"wrong of the surest {at}") for at in ("25 %", "50 %", "75 %", "100 %")), Number("AURC"))
    return Section("coverage", "Risk over coverage", join(tag("div", *plots, class_="maps"), table("What abstaining buys", columns, rows)))


def floats(results: Results) -> Section:
    """int8 beside float."""
    rows = []
    for name, one in encoders(results).items():
        if "float" not in one:
            continue
        for key, words in MEASURES:
            before, after = one["float"].get(key), one["int8"][key]
            rows.append(
                (
                    name if key == "accuracy" else "",
                    words,
                    measure(key, before),
                    measure(key, after),
                    difference(key, after, before),
                    formats.share(one.get("agreement")) if key == "accuracy" else "",
                )
            )
    for words, got in _fused(results):
        for key in ("accuracy", "ece"):
            first = key == "accuracy"
            rows.append(
                (
                    f"fusion: {words}" if first else "",
                    key.upper() if key == "ece" else key,
                    measure(key, got["float"][key]),
                    measure(key, got[key]),
                    difference(key, got[key], got["float"][key]),
                    formats.share(got["agreement"]) if first else "",
                )
            )
    columns = ("stage", "measure", Number("float"), Number("int8"), Number("change"), Number("same answer"))
    lead = paragraph("Both through the same interpreter, on the same samples.", class_="soft")
    body = join(lead, table("int8 against float", columns, rows)) if rows else None
    return Section("float", "int8 beside float", body, "float stages were not at hand (--float, or NAME.float beside the bundle)")


def _fused(results: Results) -> list[tuple[str, Results]]:
    one = results.get("fusion") or {}
    rated = [(f"each absent with chance {rate}", got) for rate, got in (one.get("by_missing_rate") or {}).items()]
    return [(words, got) for words, got in [*(one.get("by_presence") or {}).items(), *rated] if "float" in got]


def baselines(results: Results) -> Section:
    """The classical rows beside the bundle's own."""
    rows: list[tuple[str, ...]] = []
    marked = []
    for name, one in encoders(results).items():
        if not one.get("baselines"):
            continue
        marked.append(len(rows))
        rows.append((f"{name}: this bundle, int8", *(measure(key, one["int8"][key]) for key in _SHARES), formats.DASH))
        straight = one.get("linear") or {}
        rows.append(
            (
                f"{name}: linear",
                measure("accuracy", straight.get("accuracy")),
                measure("uar", straight.get("uar")),
                formats.DASH,
                "up to 12,000",
            )
        )
        for row, got in one["baselines"].items():
            rows.append((f"{name}: {row}", *(measure(key, got[key]) for key in _SHARES), formats.count(got["learnt_on"])))
        rows.append(
            (
                f"{name}: majority",
                measure("accuracy", one["majority"]["accuracy"]),
                measure("uar", one["majority"]["uar"]),
                formats.DASH,
                "0",
            )
        )
    columns = ("row", Number("accuracy"), Number("UAR"), Number("macro-F1"), Number("learnt on"))
    lead = paragraph(
        "The comparison rows of Zhang & Leong (2025), taught here on the training people and scored on the same samples as the bundle. "
        "Their settings are ours, small on purpose, for the paper gives none; the CNN-LSTM reads the rows of one picture as a sequence.",
        class_="soft",
    )
    body = join(lead, table("Classical rows", columns, rows, marked=marked)) if rows else None
    return Section("baselines", "Classical baselines", body, "left out (--baselines none), or their training people are not in the data")


def people(results: Results) -> Section:
    """Who is served well and who is not."""
    parts = []
    for name, one in encoders(results).items():
        scores = sorted((one.get("by_person") or {}).items(), key=lambda pair: pair[1])
        if not scores:
            continue
        values = [value for _, value in scores]
        lead = (
            f"{name}: worst {formats.share(values[0])}, median {formats.share(values[len(values) // 2])}, best {formats.share(values[-1])}"
        )
        rows = [(person, formats.share(value)) for person, value in scores[:MOST_LISTED]]
        parts.append(table(lead, ("person", Number("UAR")), rows))
    lead = paragraph(
        "UAR of each person over the classes that this person shows, the worst first. Faces from the web name nobody.", class_="soft"
    )
    return Section("people", "By person", join(lead, *parts) if parts else None, "no set that names people")


def robustness(results: Results) -> Section:
    """Curves over what goes wrong."""
    parts: list[Html] = []
    for name, one in encoders(results).items():
        told = one.get("curves") or {}
        if told:
            plots = [_plot(name, curve, one) for curve in told.values()]
            tables = [_points(curve) for curve in told.values()]
            parts.append(join(tag("h3", name), tag("div", *plots, class_="maps"), folded(f"Numbers of {name}", *tables)))
    lead = paragraph(
        "int8, on samples made worse on purpose, from none to more than a classroom should give; rightmost is worst.", class_="soft"
    )
    return Section("robustness", "When the input is bad", join(lead, *parts) if parts else None, "left out (--curves none)")


def _plot(name: str, curve: Results, one: Results) -> Html:
    points = curve["points"]
    series = [Series("UAR", [point["uar"] for point in points]), Series("accuracy", [point["accuracy"] for point in points])]
    if "given" in points[0]:
        series.append(Series("let through by the front", [point["given"] for point in points]))
    steps = [formats.plain(point["value"]) for point in points]
    drawn = lines(f"{name} over {curve['title']}", steps, curve["unit"], series)
    chance = formats.share(one["majority"]["uar"], 0)
    words = f": {formats.count(points[0]['samples'])} samples a point; majority: UAR {chance}"
    return figure(with_legend(drawn, series), tag("strong", curve["title"]), words)


def _points(curve: Results) -> Html:
    keys = [key for key in ("accuracy", "uar", "ece", "given") if key in curve["points"][0]]
    words = {"uar": "UAR", "ece": "ECE", "given": "let through by the front"}
    rows = [
        (
            formats.plain(p["value"]),
            formats.count(p["samples"]),
            *(formats.plain(p[k], ".3f") if k == "ece" else formats.share(p[k]) for k in keys),
        )
        for p in curve["points"]
    ]
    columns = (Prose(curve["unit"]), Number("samples"), *(Number(words.get(key, key)) for key in keys))
    return join(tag("h4", curve["title"]), table(curve["title"], columns, rows))
