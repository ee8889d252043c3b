"""The model card (Mitchell et al., 2019) of a published system, from what ``convert.training.systems.system.pack`` measured."""

from __future__ import annotations

import collections.abc
import typing

from convert.training.card import USES

Quality = collections.abc.Mapping[str, typing.Any]

AGREEMENT = 0.98
"""Share of samples on which int8 should decide as float does; the card says so where it does not."""
SHOWN_PEOPLE = 5
"""Of the people who are served worst so many are named."""


def percent(value: float | None) -> str:
    """A share as "61.0 %", None as "-"."""
    return "-" if value is None else f"{100 * value:.1f} %"


def row(*cells: object) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*cells: object) -> list[str]:
    """The first two lines of a Markdown table."""
    return [row(*cells), row(*["---"] * len(cells))]


def render(name: str, version: str, quality: Quality, terms: collections.abc.Sequence[str]) -> str:
    """The card of one bundle as Markdown.

    Args:
        name, version: of the bundle.
        quality: as ``pack`` puts it into ``quality.json``.
        terms: of the data, which the weights inherit.
    """
    paper, stages = quality["paper"], quality["stages"]
    trial = quality["epochs_scale"] != 1.0
    lines = [
        f"# {name} {version}: model card",
        "",
        quality["summary"],
        "",
        *([f"**A trial: trained for {quality['epochs_scale']:g} times the recipe's epochs.**", ""] if trial else []),
        f"After {paper['citation']}. The paper's figure: {paper['figure']}. Its protocol: {paper['protocol']}.",
        "",
        "## Data and their terms (the weights inherit them)",
        "",
        *(f"- {term}" for term in terms),
        "",
        "## People and splits",
        "",
        *(f"- {sentence}" for sentence in quality["people"]),
        *(f"- {sentence}" for sentence in _learnt(quality["learnt_people"])),
        "",
        "## Results, through the device's interpreter, on samples nobody trained on",
        "",
        *_results(quality["results"]),
        "",
        *_recalls(quality["results"]),
        "",
        *_compared("Baselines and variants on the same scored samples", quality["baselines"]),
        *_compared("The same network under another split", quality["other_splits"]),
        *_compared("Over seeds", quality["spread"]),
        *([] if quality["spread"] else ["One seed; the spread over seeds is not measured.", ""]),
        f"Calibration temperature {quality['temperature']['int8']:.2f}, one number, refitted after quantization on samples that were",
        "neither fitted on nor scored.",
        "",
        "## Failure cases, measured",
        "",
        *_failures(quality["results"]),
        "",
        "## Stages",
        "",
        *head("stage", "int8", "float", "weights", "multiply-accumulates", "recipe"),
        *(
            row(
                stage,
                f"{got['bytes'] / 1e3:.0f} kB",
                f"{got['float_bytes'] / 1e3:.0f} kB",
                f"{got['weights']:,}",
                f"{got['macs']:,}",
                _form(got),
            )
            for stage, got in stages.items()
        ),
        "",
        "## Interpretation and limits",
        "",
        *(f"- {sentence}" for sentence in quality["notes"]),
        "- What people *express* in these sets, acted or picked from the web, is not what they feel; nobody in them was in a classroom.",
        "",
        USES,
    ]
    return "\n".join(lines)


def _learnt(people: collections.abc.Mapping[str, collections.abc.Sequence[str]]) -> list[str]:
    return [f"{modality}: learnt from {len(names)} people: {', '.join(names)}" for modality, names in people.items() if names]


def _form(stage: Quality) -> str:
    return stage["recipe"] + (f" ({stage['lstm_form']})" if stage["lstm_form"] else "")


def _results(results: Quality) -> list[str]:
    lines = head("task", "samples", "people", "", "accuracy", "UAR", "macro-F1", "ECE", "Brier")
    for task, one in results.items():
        for form in ("int8", "float"):
            got = one[form]
            cells = (percent(got["accuracy"]), percent(got["uar"]), percent(got["macro_f1"]), f"{got['ece']:.3f}", f"{got['brier']:.3f}")
            lines.append(row(task, got["samples"], one["people"], form, *cells))
        most = one["majority"]
        lines.append(
            row(task, one["int8"]["samples"], one["people"], "majority", percent(most["accuracy"]), percent(most["uar"]), "-", "-", "-")
        )
    lines.append("")
    for task, one in results.items():
        short = "" if one["agreement"] >= AGREEMENT else f"; **below the {AGREEMENT:.0%} that this project asks for**"
        lines.append(f"- {task}: int8 decides as float does on {percent(one['agreement'])} of the samples{short}.")
    return lines


def _recalls(results: Quality) -> list[str]:
    """Recall by class of all tasks; the confusion of the first."""
    lines = head("task, int8", "recall by class")
    for task, one in results.items():
        pairs = zip(one["classes"], one["int8"]["recall"], strict=True)
        lines.append(row(task, ", ".join(f"{label} {percent(value)}" for label, value in pairs)))
    task, one = next(iter(results.items()))
    lines += ["", f"Confusion, {task}, int8 (row: true class; column: answer):", "", *head("", *one["classes"])]
    lines += [row(label, *counts) for label, counts in zip(one["classes"], one["int8"]["confusion"], strict=True)]
    return lines


def _compared(title: str, rows: collections.abc.Sequence[Quality]) -> list[str]:
    if not rows:
        return []
    lines = [f"{title}:", "", *head("what", "samples", "accuracy", "UAR", "runs")]
    for one in rows:
        spread = f" ± {percent(one['uar_std'])}" if one["uar_std"] is not None else ""
        lines.append(row(one["what"], one["samples"], percent(one["accuracy"]), percent(one["uar"]) + spread, one["runs"]))
    return [*lines, ""]


def _failures(results: Quality) -> list[str]:
    """Worst class with what it is taken for, and the people who are served worst, of every task."""
    lines = []
    for task, one in results.items():
        recalls = {label: value for label, value in zip(one["classes"], one["int8"]["recall"], strict=True) if value is not None}
        worst = min(recalls, key=recalls.__getitem__)
        counts = list(one["int8"]["confusion"][one["classes"].index(worst)])
        counts[one["classes"].index(worst)] = -1
        taken = one["classes"][counts.index(max(counts))]
        lines.append(
            f"- {task}: worst class `{worst}`, recall {percent(recalls[worst])}; most often taken for `{taken}` "
            f"({max(counts)} of {one['int8']['samples']} samples)."
        )
        by_person = sorted(one["by_person"].items(), key=lambda pair: pair[1])
        if by_person:
            named = ", ".join(f"{person} {percent(value)}" for person, value in by_person[: max(1, min(SHOWN_PEOPLE, len(by_person) - 1))])
            lines.append(f"- {task}: UAR of the people served worst: {named}; best: {by_person[-1][0]} {percent(by_person[-1][1])}.")
    return lines
