"""``affectkit train``: make a bundle from the public sets."""

from __future__ import annotations

import argparse
import pathlib
import typing

from edge.errors import InputError


def add_commands(subparsers: typing.Any) -> None:
    """Add ``train``."""
    parser = subparsers.add_parser("train", help="train, convert and measure a bundle from the public sets")
    parser.add_argument("name", choices=["classroom"], help="which bundle")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with fer2013, emodb, ravdess and stress_predict")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="OUT.affectkit")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("work"), help="checkpoints; a second call goes on from there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle-version", default="0.1.0", help="what the bundle calls itself (default: 0.1.0)")
    parser.add_argument("--created", default="2026-11-21", help="ISO date to write into the bundle; no clock is read")
    parser.add_argument("--seeds", type=int, default=1, help="tell mean and spread over so many in the card (default: 1, none)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train as asked; 0."""
    import os

    if args.output.exists() and not args.overwrite:
        raise InputError(f"{args.output}: exists; name another file or say --overwrite")
    if not args.data.is_dir():
        raise InputError(f"{args.data}: no such folder; --data names the one with fer2013, emodb, ravdess and stress_predict")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from convert.training import classroom

    classroom.train(
        args.data,
        args.work,
        args.output,
        seed=args.seed,
        version=args.bundle_version,
        created=args.created,
        seeds=args.seeds,
        overwrite=args.overwrite,
    )
    return 0
