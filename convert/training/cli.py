"""``affectkit train``: make a bundle from the public sets."""

from __future__ import annotations

import argparse
import pathlib
import sys
import typing

from convert.training.systems import RECIPES, find_recipe
from edge.errors import InputError

CLASSROOM = "classroom"


def add_commands(subparsers: typing.Any) -> None:
    """Add ``train``."""
    parser = subparsers.add_parser("train", help="train, convert and measure a bundle from the public sets")
    parser.add_argument(
        "name",
        choices=[CLASSROOM, *RECIPES],
        metavar="NAME",
        help=f"{CLASSROOM}, the kit's own, or a published system: {', '.join(RECIPES)}",
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with fer2013, emodb, ravdess and stress_predict")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="OUT.affectkit")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("work"), help="checkpoints; a second call goes on from there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle-version", default="0.1.0", help="what the bundle calls itself (default: 0.1.0)")
    parser.add_argument("--created", default="2026-11-21", help="ISO date to write into the bundle; no clock is read")
    parser.add_argument(
        "--seeds", type=int, default=1, help=f"{CLASSROOM}: tell mean and spread over so many in the card (default: 1, none)"
    )
    parser.add_argument(
        "--detector-from", type=pathlib.Path, metavar="BUNDLE", help=f"{CLASSROOM}: take the face detector of this bundle as it is"
    )
    parser.add_argument(
        "--epochs-scale",
        type=_scale,
        default=1.0,
        metavar="FACTOR",
        help="published systems: train for so many times the epochs (the card says so)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(run=run)


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not over 0 and up to 100")
    return value


def run(args: argparse.Namespace) -> int:
    """Train as asked; 0."""
    import os

    if args.output.exists() and not args.overwrite:
        raise InputError(f"{args.output}: exists; name another file or say --overwrite")
    if not args.data.is_dir():
        raise InputError(f"{args.data}: no such folder; --data names the one with fer2013, emodb, ravdess and stress_predict")
    if not args.output.absolute().parent.is_dir():
        raise InputError(f"{args.output}: cannot be written, {args.output.parent} is no folder; make it first")
    for option, value, own in (
        ("--epochs-scale", args.epochs_scale, args.name != CLASSROOM),
        ("--seeds", args.seeds, args.name == CLASSROOM),
    ):
        if value != 1 and not own:
            raise InputError(f"{option} {value:g}: not for {args.name}; leave it out")
    if args.detector_from is not None and args.name != CLASSROOM:
        raise InputError(f"--detector-from {args.detector_from}: not for {args.name}; leave it out")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if args.name != CLASSROOM:
        return _run_system(args)
    from convert.training import classroom

    classroom.train(
        args.data,
        args.work,
        args.output,
        seed=args.seed,
        version=args.bundle_version,
        created=args.created,
        seeds=args.seeds,
        detector_from=args.detector_from,
        overwrite=args.overwrite,
    )
    return 0


def _run_system(args: argparse.Namespace) -> int:
    def say(what: str) -> None:
        print(f"{args.name}: {what}", file=sys.stderr, flush=True)

    recipe = find_recipe(args.name).recipe
    from convert.training.systems.system import pack

    trained = recipe(args.data, args.work, seed=args.seed, say=say, epochs_scale=args.epochs_scale)
    pack(trained, args.output, version=args.bundle_version, created=args.created, say=say, overwrite=args.overwrite)
    return 0
