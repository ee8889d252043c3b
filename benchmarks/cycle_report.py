"""What ``benchmarks.cycle_peers`` measured, as Markdown and as a page with plots: the same numbers give the same bytes."""

from __future__ import annotations

import collections.abc
import typing

from benchmarks import cycle_table
from benchmarks.cycle_profile import INVOCATION
from convert.pages.markup import Html, Number, document, figure, join, paragraph, table, tag
from convert.pages.plots import picture, text, titled

Told = collections.abc.Mapping[str, typing.Any]

WHAT = {
    "affectkit": "the runtime as it is, fast, a JSON line a decision",
    "tutorial": "each frame and each decision from scratch: OpenCV, librosa, scipy, the same .tflite stages, interpreters built once",
    "tutorial, built anew": "the same, interpreters built for each inference",
    "onnx float": "affectkit's cycle, its stages in ONNX Runtime in float32",
    "onnx int8": "affectkit's cycle, its stages in ONNX Runtime, static QDQ int8, LSTMs dynamic",
    "bare": "the stages in LiteRT invoked as often and in the same order, and nothing else: the limit",
}
CAPTION = """CPU time of one thread for a second of session: the embedded bundle over the embedded session, frames and sound decoded
beforehand for all, every peer a process of its own, rounds in turn, medians. Start-up is left out. ONNX files are the graph of each
`.tflite` rebuilt with its weights as real numbers (`benchmarks/cycle_onnx.py`), quantized by
ONNX Runtime on what the stages see. Agreement is with affectkit's answers on the same ticks: present modalities, leading label before
hysteresis where the same modalities are present, cosine of the embeddings (median). The tutorial's voice detector is a loudness
threshold, which spares it the speech network in silence; its physiology is filters both ways and peaks over the whole minute, so
its embeddings of that differ where the label does not."""


def targets(told: Told) -> list[tuple[str, float | None, float]]:
    """What, how much, and the limit."""
    seconds = told["cpu_s_per_s"]
    best = cycle_table.faster_onnx(seconds)
    return [
        ("affectkit over the tutorial loop", cycle_table.ratio(seconds, "affectkit", "tutorial"), cycle_table.TUTORIAL_TARGET),
        (
            f"affectkit over ONNX Runtime, the faster of float and int8 ({best or 'neither'})",
            None if best is None else cycle_table.ratio(seconds, "affectkit", best),
            cycle_table.ONNX_TARGET,
        ),
        ("affectkit over bare invocations, less 1", cycle_table.overhead(seconds), cycle_table.OVERHEAD_TARGET),
    ]


def peer_rows(told: Told) -> list[list[str]]:
    """A row a peer: name, ms, ratio, spread of the rounds, agreement."""
    seconds, rows = told["cpu_s_per_s"], []
    for name, took in seconds.items():
        over = cycle_table.ratio(seconds, name, "affectkit")
        row = [
            name,
            f"{1000 * took:.2f}",
            "-" if over is None else f"{over:.2f}",
            f"{100 * cycle_table.spread(told['rounds'][name]):.0f} %",
        ]
        agreed = told.get("agreement", {}).get(name)
        if agreed is None:
            row += ["-"] * 3
        else:
            cosines = ", ".join(f"{value:.3f}" for value in agreed["cosines"].values())
            row += [f"{100 * agreed['presence']:.1f} %", f"{100 * agreed['labels']:.1f} %", cosines]
        rows.append(row)
    return rows


PEER_COLUMNS = (
    "peer",
    "CPU ms a second",
    "over affectkit",
    "rounds differ by",
    "same modalities",
    "same label",
    "face, speech, physiology",
)


def profile_rows(told: Told) -> list[list[str]]:
    """A row a group outside the invocations: share by samples, what that is a second and over bare, share by cProfile."""
    profile, seconds = told.get("profile"), told["cpu_s_per_s"]
    if not profile or "affectkit" not in seconds:
        return []
    sampled = {name: n for name, n in profile["samples"].items() if name != INVOCATION}
    counted = {name: s for name, s in profile["groups"].items() if name != INVOCATION}
    outside = seconds["affectkit"] - seconds["bare"] if "bare" in seconds else None
    rows = []
    for name, n in sorted(sampled.items(), key=lambda item: -item[1]):
        share = n / sum(sampled.values())
        row = [name, f"{100 * share:.1f} %"]
        row += ["-", "-"] if outside is None else [f"{1000 * share * outside:.2f}", f"{100 * share * outside / seconds['bare']:.0f} %"]
        rows.append([*row, f"{100 * counted.get(name, 0.0) / sum(counted.values()):.1f} %"])
    return rows


PROFILE_COLUMNS = ("outside invocations", "share, by samples", "ms a second", "over bare", "share, by cProfile")


def detector_rows(told: Told) -> list[list[str]]:
    """A row a face detector: ms a frame, over ours, agreement on whether there is a face and where."""
    rows = []
    ours = told["detectors"].get("detector, LiteRT", {}).get("ms")
    for name, one in told["detectors"].items():
        if "why" in one:
            rows.append([name, one["why"], "-", "-", "-"])
        else:
            over = "-" if ours is None else f"{one['ms'] / ours:.2f}"
            rows.append([name, f"{one['ms']:.3f}", over, f"{100 * one['presence']:.1f} %", f"{one['overlap']:.2f}"])
    return rows


DETECTOR_COLUMNS = ("face detection", "CPU ms a frame", "over ours", "a face or none, as ours", "overlap (median)")


def stage_rows(told: Told) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of one run of each stage by interpreter; none for a run without."""
    stages = told.get("stages") or {}
    columns = ["one run, CPU ms", *("LiteRT int8, affectkit" if name == "affectkit" else name for name in stages)]
    names: collections.abc.Iterable[str] = next(iter(stages.values()), ())
    return columns, [[stage, *(f"{one[stage]:.3f}" for one in stages.values())] for stage in names]


def instruction_rows(told: Told) -> list[list[str]]:
    """A row each of affectkit and bare: millions of instructions a second of session."""
    counted = told.get("instructions")
    if not counted:
        return []
    return [[name, f"{count / counted['seconds'] / 1e6:.1f}"] for name, count in counted["counts"].items()]


def markdown(told: Told) -> str:
    """All of it in Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in told["machine"].items())
    session = f"{told['session_s']:g} s of session, {told['count']} rounds"
    parts = [
        "# What a second of session costs, and what it costs others",
        CAPTION,
        f"Machine: {facts}. {session}; other computers differ, a Raspberry Pi is not measured.",
        f"Repeat: `{told['command']}`.",
        "## Targets",
        "\n".join(f"- {what}: {cycle_table.verdict(value, limit)}" for what, value, limit in targets(told)),
        "## Peers",
        "\n".join(f"- {name}: {WHAT[name]}" for name in told["cpu_s_per_s"] if name in WHAT),
        cycle_table.markdown(PEER_COLUMNS, peer_rows(told)),
    ]
    columns, rows = stage_rows(told)
    if rows:
        parts += ["## Stage by stage", "Converting inputs and outputs included; the fastest of three passes over what each stage sees."]
        parts += [cycle_table.markdown(columns, rows)]
    if rows := profile_rows(told):
        parts += ["## Where the overhead goes", cycle_table.markdown(PROFILE_COLUMNS, rows)]
        parts += ["Functions of affectkit by cProfile, library calls in them included:"]
        parts += [cycle_table.markdown(("function", "calls", "ms of the pass"), _functions(told))]
    if told.get("detectors"):
        parts += [
            "## Face detection alone",
            "The same frames, one thread, the largest face.",
            cycle_table.markdown(DETECTOR_COLUMNS, detector_rows(told)),
        ]
    if rows := instruction_rows(told):
        parts += ["## Instructions", told["instructions"]["how"], cycle_table.markdown(("", "million a second of session"), rows)]
    return "\n\n".join(parts) + "\n"


def _functions(told: Told) -> list[list[str]]:
    return [[f"`{name}`", f"{calls:,}", f"{1000 * seconds:.0f}"] for name, calls, seconds in told["profile"]["functions"]]


def bars(values: collections.abc.Mapping[str, float], unit: str, label: str) -> Html:
    """Horizontal bars from 0, their numbers beside them.

    Args:
        values: by name, from the top.
        unit: of the numbers.
        label: what it shows, for those who cannot see it.
    """
    left, width, height = 190.0, 640.0, 26.0
    longest = max(values.values(), default=0.0) or 1.0
    marks = []
    for place, (name, value) in enumerate(values.items()):
        y, length = place * height + 4.0, (width - left - 110.0) * value / longest
        words = f"{value:.2f} {unit}"
        bar = tag("rect", x=left, y=y, width=length, height=height - 10.0, class_="more")
        marks += [titled(f"{name}: {words}", bar), text(left - 8, y + 12, name, anchor="end"), text(left + length + 6, y + 12, words)]
    return picture(width, len(values) * height + 4.0, label, *marks)


def page(told: Told) -> str:
    """One self-contained HTML page."""
    seconds = told["cpu_s_per_s"]
    lines = [tag("li", f"{what}: {cycle_table.verdict(value, limit)}") for what, value, limit in targets(told)]
    sections = [
        tag("section", tag("h2", "Targets"), tag("ul", *lines, class_="plain")),
        tag("section", tag("h2", "Peers"),
            figure(bars({name: 1000 * s for name, s in seconds.items()}, "ms", "CPU time a second of session, by peer"),
                   "CPU milliseconds a second of session, one thread", wide="CPU time by peer"),
            table("Medians of rounds in turn", _titles(PEER_COLUMNS), peer_rows(told))),
    ]  # fmt: skip
    columns, rows = stage_rows(told)
    if rows:
        sections.append(tag("section", tag("h2", "Stage by stage"), table("Inputs and outputs included", _titles(columns), rows)))
    if rows := profile_rows(told):
        shares = {row[0]: float(row[2]) for row in rows if row[2] != "-"}
        drawn = figure(bars(shares, "ms", "CPU time a second outside invocations"), "CPU milliseconds a second outside model invocations",
                       wide="Overhead by part") if shares else None  # fmt: skip
        sections.append(tag("section", tag("h2", "Where the overhead goes"), drawn, table("Shares", _titles(PROFILE_COLUMNS), rows)))
    if told.get("detectors"):
        sections.append(
            tag("section", tag("h2", "Face detection alone"), table("Same frames", _titles(DETECTOR_COLUMNS), detector_rows(told)))
        )
    if rows := instruction_rows(told):
        counted = table("Instructions", ("", Number("million a second of session")), rows)
        sections.append(tag("section", tag("h2", "Instructions"), paragraph(told["instructions"]["how"]), counted))
    facts = ", ".join(f"{name} {value}" for name, value in told["machine"].items())
    head = tag("header", paragraph("Benchmark", class_="kicker"), tag("h1", "What a second of session costs, and what it costs others"))
    what = join(*(tag("li", tag("strong", name), f": {WHAT[name]}") for name in seconds if name in WHAT))
    lead = tag(
        "div", paragraph(" ".join(CAPTION.replace("`", "").split())), tag("ul", what), paragraph(f"Machine: {facts}."), class_="verdict"
    )
    body = join(head, tag("main", lead, *sections), between="\n")
    return document("Cycle against peers", body, description="CPU time a second of session, affectkit and others")


def _titles(columns: collections.abc.Sequence[str]) -> list[str]:
    return [columns[0], *(Number(column) for column in columns[1:])]
