"""``affectkit inspect BUNDLE``: what a bundle says of itself, after every check that a run makes.

``affectkit verify BUNDLE``: whether it computes here what it computed where it was made.
"""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import json
import pathlib
import sys
import typing

from edge import embedded
from edge.bundle import Bundle, load_bundle


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add ``inspect`` to the command line."""
    parser = subparsers.add_parser("inspect", help="check a bundle and show what it holds")
    parser.add_argument("bundle", type=pathlib.Path, metavar="BUNDLE", nargs="?", help="NAME.affectkit (default: the embedded bundle)")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.add_argument("--card", action="store_true", help="show the model card")
    parser.add_argument("--verify", action="store_true", help="run the golden vectors; status 1 if any stage differs here")
    parser.set_defaults(run=_inspect)


def add_verify(subparsers: argparse._SubParsersAction) -> None:
    """Add ``verify`` to the command line."""
    parser = subparsers.add_parser(
        "verify",
        help="run a bundle's golden vectors on this machine",
        description="Run a bundle's golden vectors in this machine's interpreter: bit by bit the same, or how far off. "
        "Status 1 if any stage is further off than --within.",
    )
    parser.add_argument("bundle", type=pathlib.Path, metavar="BUNDLE", nargs="?", help="NAME.affectkit (default: the embedded bundle)")
    parser.add_argument(
        "--within", type=float, default=0.0, metavar="STEPS", help="largest difference that passes (default: 0, bit by bit)"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=_verify)


def _verify(args: argparse.Namespace) -> int:
    bundle = load_bundle(args.bundle or embedded.BUNDLE)
    verified = verify(bundle)
    if args.json:
        print(json.dumps({"bundle": str(bundle.path), "sha256": bundle.sha256, **verified}, indent=1))
    else:
        print(f"{bundle.manifest.name} {bundle.manifest.version}, {bundle.path}")
        print("\n".join(_verdict(verified)[1:]))
    return 0 if all(stage["largest_difference"] <= args.within for stage in verified["stages"].values()) else 1


def _inspect(args: argparse.Namespace) -> int:
    bundle = load_bundle(args.bundle or embedded.BUNDLE)
    verified = verify(bundle) if args.verify else None
    if args.json:
        table = describe(bundle)
        if args.card:
            table["card"] = bundle.card
        if verified is not None:
            table["verified"] = verified
        print(json.dumps(table, indent=1))
    elif args.card:
        _show_card(bundle.card)
    else:
        print("\n".join(as_lines(bundle)))
    if verified is not None and not args.json:
        print("\n".join(_verdict(verified)))
    return 0 if verified is None or all(stage["exact"] for stage in verified["stages"].values()) else 1


def describe(bundle: Bundle) -> dict[str, typing.Any]:
    """The manifest, the path, the size and the hash of a bundle, as JSON takes it."""
    manifest = dataclasses.asdict(bundle.manifest)
    return {"path": str(bundle.path), "bytes": bundle.path.stat().st_size, "sha256": bundle.sha256, "manifest": manifest}


def verify(bundle: Bundle) -> dict[str, typing.Any]:
    """Run every stage on its golden inputs.

    Returns:
        ``runtime``, and per stage ``samples``, ``largest_difference`` in steps of the output (0 is bit by bit the same) and ``exact``.

    Raises:
        InferenceError: no interpreter works here, or a stage cannot be run.
    """
    from edge.inference.golden import check_golden
    from edge.inference.model import Model

    stages, runtime = {}, ""
    for name, spec in bundle.manifest.stages.items():
        stored = bundle.golden(name)
        model = Model(bundle.stage(name), name=name, inputs=spec.inputs, outputs=spec.outputs)
        worst = check_golden(model, stored)
        runtime = model.runtime
        stages[name] = {"samples": len(next(iter(stored.values()))), "largest_difference": worst, "exact": worst == 0}
    return {"runtime": runtime, "stages": stages}


def _verdict(verified: dict[str, typing.Any]) -> list[str]:
    lines = ["", f"golden vectors, with {verified['runtime']}"]
    for name, stage in verified["stages"].items():
        said = "bit by bit the same" if stage["exact"] else f"up to {stage['largest_difference']:g} steps off"
        lines.append(f"  {name}: {stage['samples']} samples, {said}")
    return lines


def as_lines(bundle: Bundle) -> list[str]:
    """What ``inspect`` prints: plain text without control characters, whatever the bundle holds."""
    manifest = bundle.manifest
    rows: list[tuple[str, ...]] = [("stage", "bytes", "weights", "MACs", "budget ms", "inputs", "outputs")]
    for name, stage in manifest.stages.items():
        arrays = bundle.golden(name)
        rows.append(
            (
                name,
                f"{manifest.parts[stage.file].bytes:,}",
                f"{stage.weights:,}",
                f"{stage.macs:,}",
                f"{stage.budget_ms:g}",
                ", ".join(f"{key} {_shape(arrays[f'input_{key}'].shape)}" for key in stage.inputs),
                ", ".join(f"{key} {_shape(arrays[f'output_{key}'].shape)}" for key in stage.outputs),
            )
        )
    weights = sum(stage.weights for stage in manifest.stages.values())
    ages = ", ".join(f"{name} {age} ms" for name, age in manifest.max_age_ms.items())
    lines = [
        f"{manifest.name} {manifest.version}, made {manifest.created}, bundle format {manifest.format}",
        f"file        {bundle.path}, {bundle.path.stat().st_size:,} bytes, {weights:,} weights",
        f"sha256      {bundle.sha256}",
        f"labels      {', '.join(manifest.labels)}",
        f"decides     every {manifest.cadence_ms} ms, within {manifest.budget_ms} ms",
        f"too old     {ages}",
        f"confidence  temperature {manifest.temperature:g}, unsure below {manifest.abstain_below:g}, "
        f"switches by {manifest.switch_margin:g}, settles in {manifest.settle_ms:g} ms",
        "",
        *_table(rows, right=range(1, 5)),
        "",
        "preprocessing",
    ]
    for name, parameters in manifest.preprocess.items():
        lines += [f"  {name}", *(f"    {key} = {json.dumps(value)}" for key, value in parameters.items())]
    lines += [
        "",
        "parts",
        *("  " + line for line in _table([(s.sha256, f"{s.bytes:,}", name) for name, s in manifest.parts.items()], right=(1,))),
    ]
    lines += ["", "data and terms", *(f"  {terms}" for terms in manifest.data_terms or ("none stated",))]
    return lines


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape[1:])


def _table(rows: list[tuple[str, ...]], *, right: collections.abc.Container[int]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _show_card(card: str) -> None:
    """Rendered in a terminal, as it is written elsewhere."""
    safe = "".join(character for character in card if character in "\n\t" or character.isprintable())
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(safe))
    else:
        print(safe.rstrip("\n"))
