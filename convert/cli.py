"""``affectkit convert``: a trained model and calibration data in, a checked ``.tflite`` out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time
import typing

from convert.recipe import DEFAULT_RECIPE, RECIPES
from edge.errors import InputError

HELD_BACK = 5
"""Every fifth sample is kept from calibration, to compare on."""


def add_commands(subparsers: typing.Any) -> None:
    """Add ``convert`` to ``argparse`` subparsers; its ``run`` takes the parsed arguments and gives the exit status."""
    parser = subparsers.add_parser(
        "convert",
        help="convert a trained Keras model to an int8 .tflite and compare it with the original",
        description="Convert a trained Keras model to a .tflite for the device, and compare both in the device's interpreter.",
    )
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL", help=".keras, .h5 or .hdf5")
    parser.add_argument("--calibration", type=pathlib.Path, metavar="DATA", help=".npz with one array (samples, ...) for each input")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="OUT", help="the .tflite to write")
    parser.add_argument("--recipe", default=DEFAULT_RECIPE, choices=list(RECIPES), help=f"number formats (default: {DEFAULT_RECIPE})")
    parser.add_argument("--lstm-form", choices=["fused", "unrolled"], help="fused: small file; unrolled: faster on most machines (default)")
    parser.add_argument("--min-agreement", type=_share, metavar="SHARE", help="fail if top-1 agreement with float is below, e.g. 0.98")
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE", help="write what was measured as JSON, also if a gate fails")
    parser.add_argument("--name", help="of the stage, for messages and the report (default: the file's name)")
    parser.add_argument("--allow-code", action="store_true", help="load models with Lambda layers, which run code from the file")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT and FILE if they exist")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert as asked; 0.

    Raises:
        InputError: something given is bad; nothing was written.
        ConversionError: the conversion failed or missed its gate; OUT was not written, the report was if there is one.
    """
    from convert.readers import check_path

    for path in filter(None, (args.output, args.report)):
        _check_writable(path, args.overwrite)
    check_path(args.model)
    recipe = RECIPES[args.recipe]
    if args.calibration is None and recipe.calibrated:
        raise InputError(f"--recipe {recipe.name} needs --calibration DATA, an .npz with one array for each input of the model")

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    began_s = time.monotonic()

    def progress(words: str) -> None:
        print(f"convert: {time.monotonic() - began_s:5.1f} s  {words}", file=sys.stderr, flush=True)

    from convert.calibration import load_samples
    from convert.worker import Worker

    samples = load_samples(args.calibration) if args.calibration is not None else None
    with Worker() as worker:
        progress("loading the model")
        from convert.pipeline import convert_model
        from convert.readers import read_model

        model = read_model(args.model, allow_code=args.allow_code)
        calibration = verification = samples
        if samples is not None:
            calibration, verification = _hold_back(model, samples, recipe.minimum_samples if recipe.calibrated else 1, progress)
        converted = convert_model(
            model, calibration, name=args.name or args.model.stem, recipe=recipe, lstm_form=args.lstm_form,
            verification=verification, worker=worker, progress=progress,
        )  # fmt: skip
    print(converted.report, file=sys.stderr)
    if args.report is not None:
        text = json.dumps({**converted.report.as_dict(), "inputs": converted.inputs, "outputs": converted.outputs}, indent=2)
        write_whole(args.report, text.encode() + b"\n", overwrite=args.overwrite)
    if args.min_agreement is not None and converted.report.verification is not None:
        converted.report.verification.check(args.min_agreement)
    write_whole(args.output, converted.content, overwrite=args.overwrite)
    print(args.output)
    return 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _hold_back(model: typing.Any, samples: dict[str, typing.Any], minimum: int, progress: typing.Any) -> tuple[dict, dict]:
    """Samples to calibrate on, and samples to compare on: disjoint if there are enough."""
    from convert.calibration import check_samples
    from convert.lowering import input_names

    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in zip(input_names(model), model.inputs, strict=True)}
    checked = check_samples(samples, shapes, minimum=minimum)
    count = len(next(iter(checked.values())))
    kept = [i for i in range(count) if i % HELD_BACK]
    if len(kept) < minimum or len(kept) == count:
        progress(f"{count} samples are too few to hold any back: comparing on those of the calibration")
        return checked, checked
    return {k: v[kept] for k, v in checked.items()}, {k: v[::HELD_BACK] for k, v in checked.items()}


def _check_writable(path: pathlib.Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: choose another name, or pass --overwrite")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: {path.parent} is no folder")


def write_whole(path: pathlib.Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write beside and rename, so that ``path`` is whole or not there at all.

    Raises:
        InputError: ``path`` exists and may not be replaced, or it cannot be written (no space, no permission).
    """
    _check_writable(path, overwrite)
    beside = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            beside = pathlib.Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if beside is not None:
            with contextlib.suppress(OSError):
                beside.unlink()
