"""``affectkit explain``: what a decision of a recorded session was made of, as a page."""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import typing

from edge import embedded
from edge.errors import InputError

if typing.TYPE_CHECKING:
    from convert.explanation.explain import Record


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add ``explain`` to the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="explain a decision of a recorded session, as a page",
        description="Decides a recorded session again and explains one decision: weights, absences and probabilities over time, what each "
        "modality was worth, where in the face and the voice the answer came from, and which body signal moved it. Everything is asked of "
        "the int8 stages in the device's interpreter. No picture or sound goes into the page, unless --with-face is given.",
    )
    parser.add_argument("session", metavar="SESSION", type=pathlib.Path, nargs="?", help="NAME.session.zip (default: the embedded session)")
    parser.add_argument("--bundle", metavar="BUNDLE", type=pathlib.Path, help="NAME.affectkit (default: the embedded bundle)")
    parser.add_argument(
        "--at", metavar="T_S", type=_seconds, help="explain the decision nearest to this time; default: the most confident change of label"
    )
    parser.add_argument("-o", "--output", metavar="PAGE", type=pathlib.Path, required=True, help="the page to write, NAME.html")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the numbers too")
    parser.add_argument("--with-face", action="store_true", help="draw the recorded face under its map; the page then shows a person")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the draws that maps are checked with (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; it is a number of seconds from the start, 0 or more")
    return value


def run(args: argparse.Namespace) -> int:
    """Explain as asked; 0."""
    from convert.cli import write_whole
    from convert.explanation.explain import explain
    from convert.explanation.page import render
    from edge.bundle import load_bundle
    from edge.session import open_session

    outputs = [path for path in (args.output, args.json) if path is not None]
    if len({path.resolve() for path in outputs}) != len(outputs):
        raise InputError(f"{args.output}: is both the page and the JSON; name two files")
    for path in outputs:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file")
        if path.exists() and not args.overwrite:
            raise InputError(f"{path}: exists; name another file or say --overwrite")
    if args.seed < 0:
        raise InputError(f"--seed: got {args.seed}; it is 0 or more")
    bundle, session = load_bundle(args.bundle or embedded.BUNDLE), open_session(args.session or embedded.SESSION)
    record, face = explain(bundle, session, at_s=args.at, seed=args.seed)
    page = render(record, face if args.with_face else None)
    if args.json is not None:
        write_whole(args.json, as_json(record), overwrite=args.overwrite)
    write_whole(args.output, page.encode(), overwrite=args.overwrite)
    print("\n".join(as_lines(record)))
    print(f"page: {args.output}" + ("" if not args.with_face or face is None else ", with the picture of a person"))
    return 0


def as_json(record: Record) -> bytes:
    """The explanation as JSON: the same bytes for the same explanation."""
    return (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def as_lines(record: Record) -> list[str]:
    """What is printed: the decision, and what each modality was worth."""
    decision = record["decision"]
    lines = [f"at {decision['t_s']:g} s: {decision['why']}"]
    if "modalities" not in record:
        return [*lines, "no decision: " + "; ".join(f"{name} {one['reason']} ({one['detail']})" for name, one in record["absent"].items())]
    told = record["modalities"]
    lines.append(f"{decision['state']}: {decision['explained']}, {100 * decision['probability']:.1f} %")
    lines.append(f"  {'equal chances':<14}{100 * told['none']:8.1f} points")
    for one in told["players"]:
        weight = "" if one["weight"] is None else f"   weight {one['weight']:.2f}"
        lines.append(f"  {one['player']:<14}{100 * one['value']:+8.1f} points{weight}")
    lines += [f"  {name} was absent: {one['reason']}, {one['detail']}" for name, one in record["absent"].items()]
    return lines
