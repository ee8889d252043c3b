"""The model card (Mitchell et al., 2019), written from measured results: nothing in it is typed by hand but terms and limits."""

from __future__ import annotations

import collections.abc
import typing

Results = collections.abc.Mapping[str, typing.Any]

TERMS = (
    "FER2013 (faces): pictures from the web, copyright of third parties; local research only",
    "RAVDESS (speech): CC BY-NC-SA 4.0; research, non-commercial",
    "EmoDB (speech): CC0",
    "Stress-Predict (pulse wave, skin conductance): MIT",
)

USES = """## Permitted and prohibited uses

For research and demonstration: the weights inherit the terms above, so not for commercial use. Inferring emotions of people in
schools or at work is **prohibited in the European Union** save for medical or safety reasons (Regulation (EU) 2024/1689,
Article 5(1)(f)) and needs consent and a lawful purpose everywhere. Never to grade, rank, discipline, select or diagnose anybody.
"""

_LIMITS = """## Limits

- Labels are the quadrants of the valence-arousal circumplex, mapped from acted speech, web pictures and a laboratory stress
  protocol: `positive` (happy, surprise), `calm` (neutral, calm, rest), `low` (sad, boredom), `tense` (angry, fear, disgust,
  stress). What people *express* is not what they feel, and nobody in these sets was in a classroom.
- No set has all modalities on the same people: the fusion learnt on constructed companions (same label, different people), and its
  figures are of constructed companions too. Real companions are correlated in ways nobody measured here.
- Speech: two languages (German, English), actors, two corpora. Other languages, ages and rooms: not measured. Children: not measured.
- Physiology tells stress from rest in adults with a wrist device. Its protocol begins with rest and has fixed tasks in a fixed order,
  so that what is measured *from the start* of a recording flatters: read the figure for fronts that were *restarted*.
- Faces: FER2013 names no people, its labels agree with people about 65 % of the time, and its pictures are unbalanced by age,
  sex and skin colour; quality by such groups: not measured.
"""


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _single_table(results: Results) -> list[str]:
    lines = [
        _row("stage", "task", "samples", "people", "accuracy", "UAR", "macro-F1", "ECE", "majority (acc. / UAR)", "linear (acc. / UAR)"),
        _row(*["---"] * 10),
    ]
    for name, one in results.items():
        if name == "fusion":
            continue
        got, most, line = one["int8"], one["majority"], one["linear"]
        lines.append(
            _row(
                name,
                one["task"],
                got["samples"],
                one["people"],
                _percent(got["accuracy"]),
                _percent(got["uar"]),
                _percent(got["macro_f1"]),
                f"{got['ece']:.3f}",
                f"{_percent(most['accuracy'])} / {_percent(most['uar'])}",
                f"{_percent(line['accuracy'])} / {_percent(line['uar'])}",
            )
        )
    return lines


def _float_table(results: Results) -> list[str]:
    """int8 beside float on the very same samples; nothing where no float stages were at hand."""
    lines = [_row("stage", "accuracy, int8", "float", "UAR, int8", "float", "same answer"), _row(*["---"] * 6)]
    for name, one in results.items():
        if "float" in one:
            got, exact = one["int8"], one["float"]
            values = (got["accuracy"], exact["accuracy"], got["uar"], exact["uar"], one["agreement"])
            lines.append(_row(name, *(_percent(value) for value in values)))
    return lines if len(lines) > 2 else ["Not measured."]


def _failure_lines(results: Results) -> list[str]:
    """The class that each stage knows least and what it takes it for, and what bad input costs."""
    lines = []
    for name in ("face", "speech", "physiology"):
        one = results[name]
        recall, classes = one["int8"]["recall"], one["classes"]
        worst = min((c for c in range(len(classes)) if recall[c] is not None), key=lambda c: recall[c])
        others = [0 if c == worst else count for c, count in enumerate(one["int8"]["confusion"][worst])]
        taken_for = classes[others.index(max(others))]
        share = max(others) / max(1, sum(one["int8"]["confusion"][worst]))
        lines.append(
            f"- {name}: `{classes[worst]}` is recognised in {_percent(recall[worst])}; in {_percent(share)} it is taken for `{taken_for}`."
        )
        for curve in one.get("curves", {}).values():
            points = ", ".join(f"{point['value']:g}: {_percent(point['accuracy'])}" for point in curve["points"])
            lines.append(f"  - {curve['title']} ({curve['unit']}), accuracy at {points}")
    flips = results["fusion"].get("flips")
    if flips is not None:
        told = ", ".join(f"{present} {got['flips_per_minute']:.2f}" for present, got in flips["by_presence"].items())
        lines.append(f"- the decision flips so often in a minute on a steady input: {told}")
    return lines


def _recall_table(results: Results) -> list[str]:
    lines = [_row("stage", "recall by class"), _row("---", "---")]
    for name in ("face", "speech", "physiology"):
        one = results[name]
        pairs = zip(one["classes"], one["int8"]["recall"], strict=True)
        lines.append(_row(name, ", ".join(f"{label} {_percent(value)}" for label, value in pairs)))
    return lines


def _people_lines(results: Results) -> list[str]:
    lines = []
    for name in ("speech", "physiology"):
        by_person = results[name]["by_person"]
        values = sorted(by_person.values())
        lines.append(
            f"- {name}: worst {_percent(values[0])}, median {_percent(values[len(values) // 2])}, best {_percent(values[-1])}; "
            + ", ".join(f"{person} {_percent(value)}" for person, value in by_person.items())
        )
    return lines


def _fusion_lines(results: Results) -> list[str]:
    one = results["fusion"]
    lines = [_row("present", "accuracy", "UAR", "ECE", "accuracy without history"), _row(*["---"] * 5)]
    for present, got in one["by_presence"].items():
        first = one["without_history"][present]
        lines.append(_row(present, _percent(got["accuracy"]), _percent(got["uar"]), f"{got['ece']:.3f}", _percent(first["accuracy"])))
    lines += ["", _row("chance that a modality is absent", *one["by_missing_rate"]), _row(*["---"] * (1 + len(one["by_missing_rate"])))]
    lines.append(_row("accuracy", *(_percent(got["accuracy"]) for got in one["by_missing_rate"].values())))
    return lines


def render(*, name: str, version: str, results: Results, agreement: Results, spread: Results, temperature: float) -> str:
    """The card of one bundle as Markdown.

    Args:
        name, version: of the bundle.
        results: what ``convert.evaluation.evaluate`` gave for this very bundle.
        agreement: stage -> {"top1", "max_error", "mean_error", "samples"}, int8 against float.
        spread: stage -> {"runs", "uar_mean", "uar_std", "what"} over seeds and splits, where more than one was run.
        temperature: calibration temperature of the fusion.
    """
    lines = [
        f"# {name} {version}: model card",
        "",
        "Four affect quadrants from face, speech, and heart rate with skin conductance; int8; for a Raspberry Pi, offline. Estimates",
        "of expressed affect that abstain when unsure.",
        "",
        "## Data and their terms (the weights inherit them)",
        "",
        *(f"- {term}" for term in TERMS),
        "",
        "## Quality, int8, through the device's interpreter, on people nobody trained on",
        "",
        *_single_table(results),
        "",
        *_recall_table(results),
        "",
        "int8 beside float:",
        "",
        *_float_table(results),
        "",
        "UAR by person:",
        "",
        *_people_lines(results),
        "",
        "Mean and spread over seeds, each with another split by person:",
        "",
        *(
            f"- {stage}: UAR {_percent(got['uar_mean'])} +- {_percent(got['uar_std'])} over {got['runs']} runs; {got['what']}"
            if got["runs"] > 1
            else f"- {stage}: one seed; the spread over seeds is not measured"
            for stage, got in spread.items()
        ),
        "",
        "## Fusion: constructed companions from validation people",
        "",
        f"Scored after five seconds of the same input; calibration temperature {temperature:.2f}, one number, fitted after",
        "quantization on these same people. The physiology of `positive` is drawn from rest and stress alike.",
        "",
        *_fusion_lines(results),
        "",
        "## Failure cases, measured",
        "",
        *_failure_lines(results),
        "",
        "## int8 against float",
        "",
        _row("stage", "samples", "top-1 agreement", "largest error", "mean error"),
        _row(*["---"] * 5),
        *(
            _row(stage, got["samples"], _percent(got["top1"]), f"{got['max_error']:.3f}", f"{got['mean_error']:.4f}")
            for stage, got in agreement.items()
        ),
        "",
        _LIMITS,
        USES,
    ]
    return "\n".join(lines)
