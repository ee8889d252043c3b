"""A bundle of one converted stage: the model, its golden vectors, a card and what was measured."""

from __future__ import annotations

import collections.abc
import json
import pathlib
import re

from convert.examine import Examined
from convert.report import Report
from edge.bundle import CARD, QUALITY, Manifest, StageSpec, pack_golden, write_bundle

BUDGET_MS = 200.0
"""Where nothing is said: what a decision of the kit may take in all."""


def stage_name(text: str) -> str:
    """A name as bundles take it: lower case letters, digits and ``._+-``."""
    plain = re.sub(r"[^a-z0-9._+-]+", "-", text.lower()).strip("-._+")[:64].strip("-._+")
    return plain or "model"


def write_stage(
    path: pathlib.Path,
    examined: Examined,
    *,
    version: str,
    created: str,
    labels: collections.abc.Sequence[str] = (),
    terms: collections.abc.Sequence[str] = (),
    budget_ms: float = BUDGET_MS,
    overwrite: bool = False,
) -> str:
    """Write the bundle; the same input gives the same bytes, so what was timed stays out of it.

    Args:
        path: ``NAME.affectkit``.
        examined: the stage.
        version, created: of the bundle; an ISO date.
        labels: names of the classes, if it has any.
        terms: what the model was trained on, and the terms its weights inherit.
        budget_ms: what one run may take.
        overwrite: replace what is there.

    Returns:
        SHA-256 of the bundle.
    """
    stage, report = examined.stage, examined.stage.report
    name = stage_name(stage.name)
    spec = StageSpec(name, f"stages/{name}.tflite", stage.inputs, stage.outputs, budget_ms, stage.weights, stage.macs)
    manifest = Manifest(
        name=name, version=version, created=created, labels=tuple(labels), stages={name: spec}, preprocess={}, max_age_ms={},
        temperature=1.0, abstain_below=0.0, switch_margin=0.0, data_terms=tuple(terms),
    )  # fmt: skip
    kept = {
        key: value for key, value in report.as_dict().items() if key not in ("latency", "float_latency", "candidates", "why", "runtimes")
    }
    parts = {
        CARD: _card(report, name, terms).encode(),
        QUALITY: json.dumps({"conversion": {name: kept}}, indent=1, sort_keys=True).encode(),
        spec.file: stage.content,
        f"golden/{name}.npz": pack_golden(examined.vectors),
    }
    return write_bundle(path, manifest, parts, overwrite=overwrite)


def _card(report: Report, name: str, terms: collections.abc.Sequence[str]) -> str:
    lines = [
        f"# {name}",
        "",
        f"One stage, converted from `{report.source.get('file', 'a model at hand')}` with recipe `{report.recipe}`: {report.bytes:,} bytes "
        f"({report.float_bytes:,} in float), {report.weights:,} weights, {report.macs:,} multiply-accumulates.",
        "",
        "## Measured",
        "",
    ]
    checked = report.verification
    if checked is None:
        lines.append("Nothing: no samples were given.")
    else:
        lines += ["| output | agrees with float | largest error | mean error |", "|---|---|---|---|"]
        for key, output in checked.outputs.items():
            agreed = "-" if output.agreement is None else f"{output.agreement:.1%}"
            lines.append(f"| {key} | {agreed} | {output.max_error:.3f} | {output.mean_error:.4f} |")
        lines += ["", f"On {checked.samples} samples held back from calibration, in {checked.runtime}."]
        if checked.task is not None:
            task = checked.task
            lines.append(
                f"Accuracy {task.accuracy:.1%} (float {task.float_accuracy:.1%}, always the commonest class {task.majority:.1%}), "
                f"calibration error {task.ece:.3f} (float {task.float_ece:.3f})."
            )
    lines += ["", "## Data and terms", "", *(f"- {term}" for term in terms or ("not stated by whoever converted it",))]
    lines += [
        "",
        "## Not permitted",
        "",
        "Inferring emotions of people at school or at work is prohibited in the European Union (Regulation (EU) 2024/1689, Article",
        "5(1)(f)) save for medical or safety reasons. What people this model was tested on is for its maker to say.",
        "",
    ]
    return "\n".join(lines)
