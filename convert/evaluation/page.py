"""An evaluation as one HTML page, which opens offline: no script, and nothing is loaded."""

from __future__ import annotations

import collections.abc
import typing

from convert.evaluation import page_fusion, page_stages
from convert.pages import formats
from convert.pages.markup import Html, Number, Section, code, document, join, paragraph, table, tag

Told = collections.abc.Mapping[str, typing.Any]

_WORDS = {
    "accuracy": "accuracy",
    "uar": "UAR",
    "macro_f1": "macro-F1",
    "ece": "ECE",
    "brier": "Brier",
    "aurc": "AURC",
    "gain_with_all_present": "gain over the best single one",
    "least_gain": "least gain",
    "ece_with_all_present": "ECE, all present",
}
_SHARES = ("accuracy", "uar", "macro_f1", "gain_with_all_present", "least_gain")


def render(told: Told) -> str:
    """The page: the same evaluation gives the same bytes.

    Args:
        told: what ``affectkit evaluate`` writes as JSON. Details are of its first bundle.
    """
    first = told["bundles"][0]
    results = first["results"]
    parts = [
        seeds(told),
        page_stages.overview(results),
        page_fusion.presence(results),
        page_stages.robustness(results),
        page_fusion.late(results),
        page_fusion.steady(results),
        page_stages.classes(results),
        page_stages.coverage(results),
        page_stages.floats(results),
        page_stages.baselines(results),
        page_stages.people(results),
        _size(first),
    ]
    shown = [part for part in parts if part.body is not None]
    absent = [(part.title, part.missing) for part in parts if part.body is None] + list(first["missing"].items())
    if absent:
        shown.append(Section("absent", "Not measured", _lines([(title, f"not measured: {why}") for title, why in absent])))
    head = tag("header", paragraph("Evaluation", class_="kicker"), tag("h1", f"{first['name']} {first['version']}"))
    links = tag("nav", tag("ul", *(tag("li", tag("a", part.title, href=f"#{part.identifier}")) for part in shown)), aria_label="Sections")
    sections = [
        tag(
            "section",
            tag("h2", part.title, id=f"{part.identifier}-title"),
            part.body,
            id=part.identifier,
            aria_labelledby=f"{part.identifier}-title",
        )
        for part in shown
    ]
    foot = tag(
        "footer",
        paragraph("All numbers were measured by affectkit evaluate, on people who did not teach the bundle; the JSON holds them in full."),
    )
    body = join(head, tag("main", _verdict(told, bool(absent)), links, *sections), foot, between="\n")
    return document(f"{first['name']}: evaluation", body, description=f"How good {first['name']} is on people nobody trained on")


def _verdict(told: Told, absent: bool) -> Html:
    first, several = told["bundles"][0], len(told["bundles"])
    words = [
        paragraph(
            code(first["file"]),
            f", seed {first['seed']}, SHA-256 ",
            code(first["sha256"][:12], whole=first["sha256"]),
            ", int8 in the device's interpreter, split by person.",
            f" Details are of this one of {several} bundles; mean and spread are of all." if several > 1 else None,
        )
    ]
    if told.get("curves") == "quick":
        words.append(paragraph("Curves are of few samples (quick): good for their shape, not for a claim.", class_="soft"))
    if absent:
        words.append(paragraph("Some things were ", tag("a", "not measured", href="#absent"), ".", class_="soft"))
    return tag("div", *words, _tiles(first["results"]), class_="verdict")


def _tiles(results: Told) -> Html:
    tiles = []
    for name, one in page_stages.encoders(results).items():
        key = "accuracy" if one["people"] == "not named" else "uar"
        said = f"{_WORDS[key]}; {formats.count(one['int8']['samples'])} samples, majority {formats.share(one['majority'][key])}"
        tiles.append((name, formats.share(one["int8"][key]), said))
    if one := results.get("fusion"):
        everything = list(one["by_presence"].values())[-1]
        gain = formats.plain(100 * one["gain_with_all_present"], "+.1f", "points")
        tiles.append(("fused", formats.share(everything["accuracy"]), f"accuracy; {gain} over the best single one"))
        tiles.append(("fused ECE", formats.plain(everything["ece"], ".3f"), "all present"))
        if "flips" in one:
            steady = list(one["flips"]["by_presence"].values())[-1]["flips_per_minute"]
            tiles.append(("flips a minute", formats.plain(steady, ".2f"), "on a steady input, all present"))
    return tag("dl", *(tag("div", tag("dt", a), tag("dd", b, class_="large"), tag("dd", c)) for a, b, c in tiles), class_="tiles")


def seeds(told: Told) -> Section:
    """Mean, deviation and each run; or what the bundle's maker recorded; or that nothing is known."""
    title = "Over seeds"
    measured = told.get("over_seeds")
    if measured:
        numbers = [bundle["seed"] for bundle in told["bundles"]]
        rows = []
        for stage, measures in measured.items():
            for key, got in measures.items():
                show = _share if key in _SHARES else _plain
                rows.append(
                    (f"{stage}: {_WORDS[key]}", f"{show(got['mean'])} \u00b1 {show(got['std'])}", *(show(value) for value in got["each"]))
                )
        columns = ("measure", Number("mean \u00b1 standard deviation"), *(Number(f"seed {number}") for number in numbers))
        lead = paragraph("Each bundle is scored on its own left-out people, so the spread is over networks and over people.", class_="soft")
        return Section("seeds", title, join(lead, table(f"{len(numbers)} bundles of one system", columns, rows)))
    noted = told["bundles"][0]["recorded_spread"]
    if noted:
        rows = [
            (stage, formats.count(got["runs"]), f"{_share(got['uar_mean'])} \u00b1 {_share(got['uar_std'])}", got.get("what", ""))
            for stage, got in noted.items()
        ]
        lead = paragraph("As the bundle's maker measured it in training; this evaluation is of one bundle.", class_="soft")
        return Section("seeds", title, join(lead, table("UAR over seeds", ("stage", Number("runs"), Number("UAR"), "how"), rows)))
    return Section("seeds", title, None, "one seed; spread not measured. Give several bundles made with other seeds")


def _share(value: object) -> str:
    return formats.share(value)


def _plain(value: object) -> str:
    return formats.plain(value, ".3f")


def _size(first: Told) -> Section:
    rows = [(name, formats.size(size), formats.count(first["weights"].get(name))) for name, size in first["bytes"].items()]
    return Section("size", "Size", table("Stages of the bundle", ("stage", Number("size"), Number("weights")), rows))


def _lines(pairs: collections.abc.Iterable[tuple[object, object]]) -> Html:
    return tag("dl", *(tag("div", tag("dt", title), tag("dd", words)) for title, words in pairs), class_="lines")
