"""``affectkit evaluate``: how good a bundle is on people it has not learnt from."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import typing

from edge.errors import InputError


def add_commands(subparsers: typing.Any) -> None:
    """Add ``evaluate``."""
    parser = subparsers.add_parser("evaluate", help="score a bundle on people it has not learnt from")
    parser.add_argument("bundle", type=pathlib.Path, metavar="BUNDLE", help="NAME.affectkit")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with fer2013, emodb, ravdess and stress_predict")
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE", help="write all measures as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate as asked; 0."""
    import os

    from edge.bundle import load_bundle

    if not args.data.is_dir():
        raise InputError(f"{args.data}: no such folder; --data names the one with fer2013, emodb, ravdess and stress_predict")
    if args.report and args.report.exists() and not args.overwrite:
        raise InputError(f"{args.report}: exists; name another file or say --overwrite")
    bundle = load_bundle(args.bundle)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from convert.evaluation.evaluate import evaluate

    results = evaluate(bundle, args.data, progress=lambda what: print(f"evaluate: {what}", file=sys.stderr, flush=True))
    if args.report:
        beside = args.report.with_name(f".{args.report.name}.writing")
        beside.write_text(json.dumps(results, indent=1))
        beside.replace(args.report)
    print("\n".join(as_lines(results)))
    return 0


def as_lines(results: dict[str, typing.Any]) -> list[str]:
    """The results as a table for people."""
    lines = [f"{'stage':<24}{'samples':>8}{'people':>12}{'accuracy':>10}{'UAR':>8}{'macro-F1':>10}{'ECE':>7}{'majority':>10}{'linear':>8}"]
    for stage, one in results.items():
        if stage == "fusion":
            continue
        got, line = one["int8"], one["linear"]["uar"]
        lines.append(
            f"{stage:<24}{got['samples']:>8}{one['people']:>12}{got['accuracy']:>10.3f}{got['uar']:>8.3f}{got['macro_f1']:>10.3f}"
            f"{got['ece']:>7.3f}{one['majority']['uar']:>10.3f}{'-' if line is None else f'{line:.3f}':>8}"
        )
    lines.append("majority and linear: UAR. face: accuracy over seven expressions; speech and physiology: split by person")
    lines += ["", f"{'fusion, present':<34}{'accuracy':>10}{'UAR':>8}{'ECE':>7}"]
    for present, got in results["fusion"]["by_presence"].items():
        lines.append(f"{present:<34}{got['accuracy']:>10.3f}{got['uar']:>8.3f}{got['ece']:>7.3f}")
    for rate, got in results["fusion"]["by_missing_rate"].items():
        lines.append(f"{'each absent with chance ' + rate:<34}{got['accuracy']:>10.3f}{got['uar']:>8.3f}{got['ece']:>7.3f}")
    return lines
