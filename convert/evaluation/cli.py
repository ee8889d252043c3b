"""``affectkit evaluate``: how good a bundle is on people it has not learnt from."""

from __future__ import annotations

import argparse
import collections.abc
import json
import pathlib
import sys
import typing

from edge.errors import InputError

if typing.TYPE_CHECKING:
    from edge.bundle import Bundle

CLASSROOM = "classroom"
"""Bundles whose name begins so are evaluated here, all others by the module of the published systems."""
FORMAT = 1
"""Of the JSON."""
PAGE, REPORT = "evaluation.html", "evaluation.json"


def add_commands(subparsers: typing.Any) -> None:
    """Add ``evaluate``."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a bundle on people it has not learnt from",
        description="Score a bundle in the device's interpreter, by person: quality, calibration, robustness, baselines. Several bundles "
        "of one system made with other seeds give mean and spread.",
    )
    parser.add_argument("bundles", type=pathlib.Path, nargs="+", metavar="BUNDLE", help="NAME.affectkit")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with fer2013, emodb, ravdess and stress_predict")
    parser.add_argument("-o", "--output", type=pathlib.Path, metavar="DIR", help=f"write {PAGE} and {REPORT} into this folder")
    parser.add_argument("--page", type=pathlib.Path, metavar="FILE", help="write the page with plots as HTML")
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE", help="write all measures as JSON")
    parser.add_argument("--float", type=pathlib.Path, metavar="DIR", dest="floats",
                        help="float32 STAGE.tflite of every stage, to compare with (default: NAME.float beside the bundle)")  # fmt: skip
    parser.add_argument("--split", type=pathlib.Path, metavar="FILE",
                        help="JSON: stage, then train and test, lists of people (default: all others are scored)")  # fmt: skip
    parser.add_argument("--baselines", choices=["none", "quick", "full"], default="quick",
                        help="classical rows: none, on 6000 faces (default), on all")  # fmt: skip
    parser.add_argument("--curves", choices=["none", "quick", "full"], default="full", help="robustness curves and flips (default: full)")
    parser.add_argument("--quick", action="store_true", help="thin the samples of the curves: the same as --curves quick")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate as asked; 0."""
    import os

    from edge.bundle import load_bundle

    if not args.data.is_dir():
        raise InputError(f"{args.data}: no such folder; --data names the one with fer2013, emodb, ravdess and stress_predict")
    page, report = _outputs(args)
    bundles = [load_bundle(path) for path in args.bundles]
    floats = [_floats(path, args.floats, len(bundles)) for path in args.bundles]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    told = examined(bundles, floats, args)
    if report:
        _write(report, json.dumps(told, indent=1))
    if page:
        from convert.evaluation.page import render

        _write(page, render(told))
    print("\n\n".join("\n".join(as_lines(one["results"])) for one in told["bundles"]))
    print("\n".join(_not_measured(told)))
    return 0


def examined(
    bundles: collections.abc.Sequence[Bundle], floats: collections.abc.Sequence[pathlib.Path | None], args: argparse.Namespace
) -> dict[str, typing.Any]:
    """What is written as JSON: ``bundles``, each with ``results`` and what is ``missing``, and ``over_seeds``."""
    from convert.evaluation import seeds
    from convert.evaluation.apart import learnt_from, read_split

    numbers = [learnt_from(bundle).seed for bundle in bundles]
    seeds.require_alike([bundle.manifest.name for bundle in bundles], numbers, [bundle.sha256 for bundle in bundles])
    split = read_split(args.split) if args.split else None
    made: list[dict[str, typing.Any]] = []
    for bundle, seed, folder in zip(bundles, numbers, floats, strict=True):
        results, missing = _results(bundle, folder, split, args)
        made.append(
            {
                "name": bundle.manifest.name,
                "version": bundle.manifest.version,
                "file": bundle.path.name,
                "sha256": bundle.sha256,
                "seed": seed,
                "float": any("float" in one for one in results.values()),
                "bytes": {name: bundle.manifest.parts[spec.file].bytes for name, spec in bundle.manifest.stages.items()},
                "weights": {name: spec.weights for name, spec in bundle.manifest.stages.items()},
                "recorded_spread": seeds.recorded(bundle.quality),
                "results": results,
                "missing": missing,
            }
        )
    return {
        "format": FORMAT,
        "curves": "quick" if args.quick else args.curves,
        "baselines": args.baselines,
        "bundles": made,
        "over_seeds": seeds.over([one["results"] for one in made]) if len(made) > 1 else None,
    }


def _results(
    bundle: Bundle, folder: pathlib.Path | None, split: typing.Any, args: argparse.Namespace
) -> tuple[dict[str, typing.Any], dict[str, str]]:
    def progress(what: str) -> None:
        print(f"evaluate: {bundle.path.name}: {what}", file=sys.stderr, flush=True)

    if not bundle.manifest.name.startswith(CLASSROOM):
        if split:
            raise InputError(f"{bundle.path}: --split is for bundles of a classroom; leave it out")
        return _system(bundle, args.data, progress), {}
    from convert.evaluation.evaluate import Options, examine

    curves: typing.Any = "quick" if args.quick else args.curves
    options = Options(curves=curves, baselines=args.baselines, floats=folder, split=split)
    found = examine(bundle, args.data, options=options, progress=progress)
    return found.results, found.missing


def _system(bundle: Bundle, data: pathlib.Path, progress: collections.abc.Callable[[str], None]) -> dict[str, typing.Any]:
    """A bundle of a published system, scored by their own module."""
    refused = InputError(
        f"{bundle.path}: {bundle.manifest.name}: nothing here knows how to evaluate it; bundles of affectkit train can be evaluated"
    )
    try:
        from convert.training.systems import RECIPES, system
    except ImportError:
        raise refused from None
    if bundle.manifest.name not in RECIPES or not hasattr(system, "evaluate"):
        raise refused
    return system.evaluate(bundle, data, progress=progress)


def _outputs(args: argparse.Namespace) -> tuple[pathlib.Path | None, pathlib.Path | None]:
    """Where the page and the JSON go; nothing that exists is replaced unasked."""
    if args.output and (args.page or args.report):
        raise InputError("-o DIR writes both files; leave out --page and --report")
    page, report = (args.output / PAGE, args.output / REPORT) if args.output else (args.page, args.report)
    for file in (page, report):
        if file and file.exists() and not args.overwrite:
            raise InputError(f"{file}: exists; name another file or say --overwrite")
    if args.output:
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{args.output}: cannot be a folder ({error.strerror}); name another with -o") from None
    for file in (page, report):
        if file and not file.parent.is_dir():
            raise InputError(f"{file.parent}: no such folder; make it first")
    return page, report


def _floats(bundle: pathlib.Path, told: pathlib.Path | None, bundles: int) -> pathlib.Path | None:
    """The folder of float32 stages: as told, or the one beside the bundle if it is there."""
    if told is None:
        beside = bundle.with_suffix(".float")
        return beside if beside.is_dir() else None
    if bundles > 1:
        raise InputError("--float is for one bundle; of several, put each one's folder NAME.float beside it")
    if not told.is_dir():
        raise InputError(f"{told}: no such folder; --float names one with a float32 .tflite for every stage of the bundle")
    return told


def _write(file: pathlib.Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.writing")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def as_lines(results: dict[str, typing.Any]) -> list[str]:
    """The results as a table for people."""
    lines = [f"{'stage':<30}{'samples':>8}{'people':>12}{'accuracy':>10}{'UAR':>8}{'macro-F1':>10}{'ECE':>7}{'majority':>10}{'linear':>8}"]
    for stage, one in results.items():
        if stage == "fusion":
            continue
        got, line = one["int8"], (one.get("linear") or {}).get("uar")
        lines.append(
            f"{stage:<30}{got['samples']:>8}{one['people']:>12}{got['accuracy']:>10.3f}{got['uar']:>8.3f}{got['macro_f1']:>10.3f}"
            f"{got['ece']:>7.3f}{one['majority']['uar']:>10.3f}{'-' if line is None else f'{line:.3f}':>8}"
        )
    lines.append("majority and linear: UAR. face: accuracy over seven expressions; speech and physiology: split by person")
    for stage, one in results.items():
        lines += [f"{stage}, {row}: UAR {got['uar']:.3f}, on {got['learnt_on']} samples" for row, got in one.get("baselines", {}).items()]
    if "fusion" in results:
        lines += _fusion_lines(results["fusion"])
    return lines


def _fusion_lines(fused: dict[str, typing.Any]) -> list[str]:
    lines = ["", f"{'fusion, present':<34}{'accuracy':>10}{'UAR':>8}{'ECE':>7}{'best single':>13}{'gain':>8}"]
    named = [*fused["by_presence"].items(), *((f"each absent with chance {rate}", got) for rate, got in fused["by_missing_rate"].items())]
    for present, got in named:
        single = f"{got['best_single_accuracy']:>13.3f}{got['gain']:>+8.3f}"
        lines.append(f"{present:<34}{got['accuracy']:>10.3f}{got['uar']:>8.3f}{got['ece']:>7.3f}{single}")
    if "flips" in fused:
        steady = list(fused["flips"]["by_presence"].values())[-1]
        lines.append(f"flips a minute on a steady input, all present: {steady['flips_per_minute']:.2f}")
    return lines


def _not_measured(told: dict[str, typing.Any]) -> list[str]:
    lines = []
    for one in told["bundles"]:
        lines += [f"not measured: {name}: {why}" for name, why in one["missing"].items()]
        lines += (
            [] if one["float"] else [f"not measured: float beside int8, of {one['file']}: needs --float, or NAME.float beside the bundle"]
        )
    if told["over_seeds"] is None and not any(one["recorded_spread"] for one in told["bundles"]):
        lines.append("one seed; spread not measured")
    return lines
