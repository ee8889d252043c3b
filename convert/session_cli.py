"""``affectkit session build``: compose the session that the kit ships with."""

from __future__ import annotations

import argparse
import pathlib

from edge.errors import InputError


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add ``session`` to the command line."""
    session = subparsers.add_parser("session", help="build the embedded recorded session")
    actions = session.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="compose it from EmoDB, Stress-Predict and a public-domain portrait")
    build.add_argument("--data", type=pathlib.Path, required=True, metavar="DIR", help="folder that holds emodb/ and stress_predict/")
    build.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="FILE", help="the session to write, NAME.session.zip")
    build.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    build.set_defaults(run=_build)


def _build(args: argparse.Namespace) -> int:
    try:
        from convert.session_builder import build

        samples = build(args.data, args.output, overwrite=args.overwrite)
    except ModuleNotFoundError as error:
        raise InputError(
            f"session build: {error.name} is not installed; install the convert extra: pip install 'affectkit[convert]'"
        ) from error
    counts = ", ".join(f"{count} {track}" for track, count in samples.items())
    print(f"{args.output}: {args.output.stat().st_size} bytes, samples: {counts}")
    return 0
