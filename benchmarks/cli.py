"""``affectkit bench``: what a bundle takes on this machine, what changed between two results, and what another board would take."""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import json
import os
import pathlib
import sys
import typing

from edge import embedded
from edge.errors import InputError

SCENARIOS = ("stage", "cycle", "overload", "soak", "accuracy")
LEAST_OVERLOAD_S = 8.0


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add ``bench`` to the command line."""
    parser = subparsers.add_parser(
        "bench",
        help="measure a bundle on this machine; compare results",
        description="Measures a bundle on this machine: each model alone, the whole pipeline at live pace, overload, hours of session, "
        "and whether the answers are the same. With the defaults it takes about six minutes. Leave the machine alone meanwhile: a "
        "disturbed or throttled run is marked unfit. Status 1 if --compare finds something worse.",
    )
    parser.add_argument("--bundle", metavar="PATH", default=str(embedded.BUNDLE), help="the .affectkit file; default: the embedded one")
    parser.add_argument("--session", metavar="PATH", default=str(embedded.SESSION), help="a recorded session; default: the embedded one")
    parser.add_argument(
        "--scenario", metavar="NAME", nargs="+", choices=SCENARIOS, default=SCENARIOS, help=f"of {', '.join(SCENARIOS)}; default: all"
    )
    parser.add_argument(
        "--duration", metavar="S", type=_positive, help="of the cycle at live pace (60); each overload takes two thirds of it"
    )
    parser.add_argument("--hours", metavar="H", type=_positive, default=0.25, help="session for the soak (0.25); 8 for a full one")
    parser.add_argument("--starts", metavar="N", type=int, default=3, help="fresh processes for what is measured from a start (3)")
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, help="folder for NAME.json, NAME.html and NAME.md")
    parser.add_argument("--name", default="result", help="of the files in DIR (result)")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="the result alone")
    parser.add_argument("--expected", metavar="FILE", help="a result with the decisions to expect; default: the one that ships")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--compare", metavar=("A", "B"), nargs=2, type=pathlib.Path, help="two results: what changed beyond noise")
    parser.add_argument("--anyway", action="store_true", help="compare results that are unfit, or of different boards or bundles")
    parser.add_argument("--estimate", metavar="BOARD", help="what a board would take that is not here: zero2w, 3b+, 4 or 5")
    parser.add_argument("--boards", action="store_true", help="render the table of all boards anew from benchmarks/results")
    parser.set_defaults(run=execute)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}; it is a number above 0")
    return value


def execute(args: argparse.Namespace) -> int:
    """Do what ``args`` say; the exit status."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as affectkit run does, before numpy is loaded
    if args.compare:
        return _compare(args)
    if args.estimate:
        return _estimate(args)
    if args.boards:
        return _boards(args)
    return _measure(args)


def _compare(args: argparse.Namespace) -> int:
    from benchmarks.compare import compare
    from benchmarks.result import read

    before, after = map(read, args.compare)
    lines, status = compare(before, after, anyway=args.anyway)
    print("\n".join(lines))
    return status


def _estimate(args: argparse.Namespace) -> int:
    from benchmarks import estimate
    from edge.bundle import load_bundle

    if args.json:
        _refuse([args.json], args.overwrite)
    board, bundle = estimate.board_of(args.estimate), load_bundle(args.bundle)
    said = estimate.estimate(bundle, board, estimate.measure_here(bundle))
    print(estimate.as_text(said, f"{bundle.manifest.name} {bundle.manifest.version}"), end="")
    if args.json:
        _write(args.json, json.dumps({"estimate": True, "bundle": bundle.sha256, **said}, indent=1) + "\n")
    return 0


def _boards(args: argparse.Namespace) -> int:
    from benchmarks import boards, estimate
    from edge.bundle import load_bundle

    bundle = load_bundle(args.bundle)
    for path in boards.update(bundle, estimate.measure_here(bundle)):
        print(path.name)
    return 0


def _measure(args: argparse.Namespace) -> int:
    from benchmarks import scenarios
    from benchmarks.boards import FOLDER
    from benchmarks.harness import Order
    from benchmarks.result import as_markdown, as_text

    files: dict[str, pathlib.Path] = {}
    if args.output:
        files = {kind: args.output / f"{args.name}.{kind}" for kind in ("json", "html", "md")}
    targets = [*files.values(), *([args.json] if args.json else [])]
    _refuse(targets, args.overwrite)
    if args.starts < 1:
        raise InputError(f"--starts: got {args.starts}; it is at least 1")
    order = Order(
        bundle=str(pathlib.Path(args.bundle).resolve()),
        session=str(pathlib.Path(args.session).resolve()),
        hours=args.hours,
        starts=args.starts,
        expected=args.expected or str(FOLDER / "bench.json"),
    )
    if args.duration:
        order = dataclasses.replace(order, cycle_s=args.duration, overload_s=max(LEAST_OVERLOAD_S, args.duration * 2 / 3))
    result = scenarios.run(order, args.scenario, tell=_tell)
    text = json.dumps(result, indent=1) + "\n"
    if args.json:
        _write(args.json, text)
    if files:
        from benchmarks.bench_page import render

        _write(files["json"], text)
        _write(files["html"], render(result))
        _write(files["md"], as_markdown(result))
    print(as_text(result), end="")
    return 0


def _tell(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


def _refuse(paths: collections.abc.Sequence[pathlib.Path], overwrite: bool) -> None:
    from edge.outputs.jsonlines import refuse_existing

    refuse_existing(paths, overwrite=overwrite)


def _write(path: pathlib.Path, text: str) -> None:
    from benchmarks.result import write

    write(path, text)


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """``python -m benchmarks.cli``: the same without installation; the exit status."""
    from edge.errors import EdgeError

    parser = argparse.ArgumentParser(prog="python -m benchmarks.cli")
    add_commands(parser.add_subparsers())
    args: typing.Any = parser.parse_args(["bench", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        return int(args.run(args))
    except EdgeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
