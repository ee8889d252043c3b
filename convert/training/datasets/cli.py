"""``affectkit data``: which sets are in a folder, how large, on what terms, and what is missing."""

from __future__ import annotations

import argparse
import pathlib
import sys
import typing

from edge.errors import InputError

if typing.TYPE_CHECKING:
    from convert.training.datasets.catalogue import DataSet, State


def add_commands(subparsers: typing.Any) -> None:
    """Add ``data``."""
    parser = subparsers.add_parser("data", help="say which sets for training are in a folder, and what is missing")
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR", help="folder that holds fer2013, emodb, ravdess and so on")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a line or two for each set; 0 if one at least is whole, else 2."""
    if not args.folder.is_dir():
        raise InputError(f"{args.folder}: no such folder; name the one that holds fer2013, emodb, ravdess and so on")
    from convert.training.datasets.catalogue import CATALOGUE, state_of

    states = [(one, state_of(one, args.folder)) for one in CATALOGUE]
    for one, state in states:
        print(_words(one, state))
    if any(state.found for _, state in states):
        return 0
    print(f"affectkit: {args.folder}: no set is whole here; each line above says what is missing", file=sys.stderr)
    return 2


def _words(one: DataSet, state: State) -> str:
    head = f"{one.name:<15} {one.modality:<11}"
    if state.found is None:
        return f"{head} incomplete  {state.missing}" if state.missing else f"{head} not there   would be {one.layout} ({one.terms})"
    found = state.found
    people = "nobody named" if found.people is None else f"{found.people} people"
    said = f"{found.samples} {found.unit}, {found.classes} classes, {people}"
    return f"{head} found       {said} ({found.note}); {one.terms}"
