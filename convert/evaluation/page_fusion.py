"""The parts of an evaluation's page that speak of all modalities together."""

from __future__ import annotations

import collections.abc
import typing

from convert.evaluation.charts import Series, lines, with_legend
from convert.pages import formats
from convert.pages.markup import Html, Number, Section, figure, folded, join, paragraph, table, tag
from convert.pages.plots import heat_map

Results = collections.abc.Mapping[str, typing.Any]

ALLOWED = -0.01
"""Below the best single modality still present by at most one point: what is promised."""


def presence(results: Results) -> Section:
    """By what is there, and by the chance that something is not."""
    one = results.get("fusion")
    if not one:
        return Section("fusion", "All modalities together", None, "the fusion was not scored")
    lead = paragraph(
        f"{formats.count(one['companions'])} constructed companions: a face, a voice and a pulse of left-out people who share nothing "
        "but the label, for no public set has all of the same people. Scored after five seconds of the same input. The best single "
        "modality is the best of those present, on the same companions, through the fusion with it alone "
        "or by the encoder's own answer if better.",
        class_="soft",
    )
    single = [(name, formats.share(got["accuracy"]), got["how"]) for name, got in one["single"].items()]
    rates = list(one["by_missing_rate"])
    series = [
        Series("fused", [one["by_missing_rate"][rate]["accuracy"] for rate in rates]),
        Series("best single modality present", [one["by_missing_rate"][rate]["best_single_accuracy"] for rate in rates]),
    ]
    drawn = lines("Accuracy over the chance that a modality is absent", rates, "chance that a modality is absent", series)
    first = {name: got["accuracy"] for name, got in one["without_history"].items()}
    return Section(
        "fusion",
        "All modalities together",
        join(
            lead,
            _promise(one),
            table("Each modality alone", ("modality", Number("accuracy"), "how"), single),
            _scores("By what is present", "present", one["by_presence"], first),
            tag("div", figure(with_legend(drawn, series), "Accuracy of the four quadrants"), _confusion(one), class_="maps large"),
            _scores("By the chance that a modality is absent (at least one always is present)", "chance", one["by_missing_rate"]),
        ),
    )


def _promise(one: Results) -> Html:
    held = one["least_gain"] >= ALLOWED
    words = (
        "Least gain over the best single modality present, of all patterns and rates: "
        f"{formats.plain(100 * one['least_gain'], '+.1f', 'points')}. "
        f"With all present: {formats.plain(100 * one['gain_with_all_present'], '+.1f', 'points')}."
    )
    state = "never worse by more than a point" if held else "worse by more than a point somewhere"
    return paragraph(tag("span", state, class_="passed" if held else "failed"), ". ", words)


def _scores(caption: str, title: str, scored: Results, first: collections.abc.Mapping[str, float] | None = None) -> Html:
    rows = []
    for name, got in scored.items():
        best = formats.share(got["best_single_accuracy"]) + (f" ({got['best_single']})" if "best_single" in got else "")
        cells = [formats.share(got["accuracy"]), best, formats.plain(100 * got["gain"], "+.1f", "points"), formats.share(got["uar"])]
        cells.insert(2, formats.share(got["best_single_through_fusion"]))
        cells += [formats.plain(got[key], ".3f") for key in ("ece", "brier", "aurc")]
        rows.append((name, *cells, *([formats.share(first[name])] if first else [])))
    columns = (
        title,
        Number("accuracy"),
        Number("best single present"),
        Number("same, through the fusion"),
        Number("gain"),
        Number("UAR"),
        Number("ECE"),
        Number("Brier"),
        Number("AURC"),
        *([Number("accuracy without history")] if first else []),
    )
    return table(caption, columns, rows)


def _confusion(one: Results) -> Html:
    everything = list(one["by_presence"].values())[-1]
    cells = everything["confusion"]
    shades = [[number / (sum(row) or 1) for number in row] for row in cells]
    names = [str(label) for label in one["labels"]]
    recalls = ", ".join(f"{name} {formats.share(value)}" for name, value in zip(names, everything["recall"], strict=True))
    return figure(heat_map(cells, shades, names, "Confusion of the fusion"), f"All present; rows are true labels. Recall: {recalls}")


def late(results: Results) -> Section:
    """Inputs of the past, and of different moments."""
    told = (results.get("fusion") or {}).get("curves")
    if not told:
        return Section("late", "Late inputs", None, "left out (--curves none), or the fusion was not scored")
    plots, tables = [], []
    for curve in told.values():
        points = curve["points"]
        series = [
            Series("after the change", [point["after_change"] for point in points]),
            Series("all the time", [point["accuracy"] for point in points]),
        ]
        drawn = lines(curve["title"], [formats.count(point["value"]) for point in points], curve["unit"], series)
        plots.append(figure(with_legend(drawn, series), tag("strong", curve["title"])))
        rows = [
            (
                formats.count(p["value"]),
                formats.milliseconds(float(p["late_ms"])),
                formats.share(p["accuracy"]),
                formats.share(p["after_change"]),
            )
            for p in points
        ]
        tables.append(table(curve["title"], (Number("steps"), Number("late"), Number("accuracy"), Number("after the change")), rows))
    count = formats.count(next(iter(told.values()))["points"][0]["samples"])
    lead = paragraph(
        f"{count} companions change once, halfway through ten seconds, into others of a label drawn anew; accuracy against the label that "
        "holds now. On the device inputs older than a modality's age limit count as absent, which is not done here.",
        class_="soft",
    )
    return Section("late", "Late inputs", join(lead, tag("div", *plots, class_="maps"), folded("Numbers", *tables)))


def steady(results: Results) -> Section:
    """How often the answer changes for no reason."""
    told = (results.get("fusion") or {}).get("flips")
    if not told:
        return Section("steady", "Steadiness", None, "left out (--curves none), or the fusion was not scored")
    rows = [
        (
            present,
            formats.plain(got["flips_per_minute"], ".2f"),
            formats.plain(got["changes_per_minute"], ".2f"),
            formats.share(got["companions_that_flip"]),
            formats.plain(got["most_flips_per_minute"], ".1f"),
            formats.share(got["unsure"]),
            formats.share(got["accuracy_when_sure"]),
        )
        for present, got in told["by_presence"].items()
    ]
    columns = (
        "present",
        Number("flips a minute"),
        Number("changes a minute, with unsure"),
        Number("companions that flip"),
        Number("most flips a minute"),
        Number("unsure"),
        Number("accuracy when sure"),
    )
    lead = paragraph(
        f"{formats.count(told['companions'])} companions who do not change for {told['seconds']} s, their faces, voices and pulses "
        "jittered as sensors do, through fusion, abstention and hysteresis. A flip is another label than the last one given; a "
        f"change counts going into and out of unsure too. The first {told['not_counted_s']} s are not counted.",
        class_="soft",
    )
    return Section("steady", "Steadiness", join(lead, table("Answers to a steady input", columns, rows)))
