"""``affectkit convert``: a trained model and calibration data in, a checked bundle or ``.tflite`` out, with a report."""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import datetime
import hashlib
import json
import os
import pathlib
import sys
import tempfile
import time
import typing

from convert.recipe import AUTO, DEFAULT_RECIPE, RECIPES
from edge.errors import ConversionError, InputError

if typing.TYPE_CHECKING:
    from convert.examine import Examined
    from convert.gates import Gates
    from convert.samples import Samples
    from convert.source import Source

HELD_BACK = 5
"""Every fifth sample is kept from calibration, to compare on."""
BUNDLE = ".affectkit"


def add_commands(subparsers: typing.Any) -> None:
    """Add ``convert`` to ``argparse`` subparsers; its ``run`` takes the parsed arguments and gives the exit status."""
    parser = subparsers.add_parser(
        "convert",
        help="convert a trained Keras, ONNX, SavedModel or TFLite model to a verified int8 bundle",
        description="Convert a trained model for the device, compare both in the device's interpreter, and report.",
    )
    parser.add_argument(
        "model", type=pathlib.Path, metavar="MODEL", help=".keras, .h5, .hdf5, .onnx, float .tflite, or a SavedModel folder"
    )
    parser.add_argument(
        "--calibration",
        metavar="DATA",
        help="samples as the device will see them: .npz with one array (samples, ...) for each input and perhaps 'labels'; a folder of "
        "images or audio; MODULE:FUNCTION or FILE.py:FUNCTION",
    )
    parser.add_argument("--verification", metavar="DATA", help="samples to compare on (default: every fifth of the calibration)")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="OUT", help="NAME.affectkit or NAME.tflite to write")
    what = parser.add_argument_group("what to make")
    what.add_argument("--recipe", default=DEFAULT_RECIPE, choices=[*RECIPES, AUTO], help="number formats "
                      f"(default: {DEFAULT_RECIPE}); auto: try all in every form, keep the fastest that passes the gates")  # fmt: skip
    what.add_argument(
        "--lstm-form", choices=["fused", "unrolled"], help="fused: small file; unrolled: faster in int8 on some machines (default)"
    )
    what.add_argument("--streaming", action="store_true", help="convert one step of a recurrent network, its states as inputs and outputs")
    what.add_argument("--pin", action="append", default=[], metavar="AXIS=SIZE", help="fix an open axis: its name, or INPUT:NUMBER")
    what.add_argument("--image-range", type=_pair, metavar="LOW,HIGH", help="what black and white are to the model, for folders of images")
    what.add_argument("--allow-code", action="store_true", help="load models with Lambda layers, which run code from the file")
    what.add_argument("--name", help="of the stage (default: the file's name)")
    what.add_argument("--terms", action="append", default=[], metavar="TEXT", help="for the card: data learnt from, and its terms")
    what.add_argument("--created", metavar="DATE", help="for the bundle (default: the date of MODEL)")
    gates = parser.add_argument_group("gates (status 1 if missed; the report is written, OUT is not)")
    gates.add_argument("--min-agreement", type=_share, metavar="SHARE", help="top-1 agreement with float at least, e.g. 0.98")
    gates.add_argument("--max-drop", type=_share, metavar="SHARE", help="accuracy lost at most, e.g. 0.01; needs labels")
    gates.add_argument("--max-bytes", type=int, metavar="N", help="size of the .tflite at most")
    gates.add_argument("--max-macs", type=int, metavar="N", help="multiply-accumulates at most")
    report = parser.add_argument_group("report")
    report.add_argument("--report", type=pathlib.Path, metavar="FOLDER", help="for report.html and report.json (default: NAME.report)")
    report.add_argument("--no-report", action="store_true", help="write none")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT and the report if they exist")
    parser.set_defaults(run=run)


def add_runtimes(subparsers: typing.Any) -> None:
    """Add ``runtimes``."""
    runtimes = subparsers.add_parser("runtimes", help="show which interpreters conversions are tried in, and install the old one")
    runtimes.add_argument("--install", action="store_true", help="set up tflite-runtime 2.14 in the user's cache (needs Python 3.11)")
    runtimes.set_defaults(run=run_runtimes)


def run_runtimes(args: argparse.Namespace) -> int:
    """Show, or install first; 0."""
    from convert import runtimes

    if args.install:
        runtimes.install_old()
    for one in runtimes.known():
        print(f"{one.runtime}: {one.python or one.why}")
    return 0


def run(args: argparse.Namespace) -> int:
    """Convert as asked; 0.

    Raises:
        InputError: something given is bad; nothing was written.
        ConversionError: the conversion failed or missed its gates; OUT was not written, the report was if a gate was missed.
    """
    from convert.readers import check_path

    folder = None if args.no_report else args.report or args.output.with_suffix(".report")
    _check_output(args.output, args.overwrite)
    for file in () if folder is None else (folder / "report.json", folder / "report.html"):
        if file.exists() and not args.overwrite:
            raise InputError(f"{file} exists: choose another --report, or pass --overwrite")
    if folder is not None:
        _check_folder(folder)
    check_path(args.model)
    pins = _pins(args.pin)
    created = _date(args.created, args.model)
    from convert.samples import check_told

    for told in filter(None, (args.calibration, args.verification)):
        check_told(told)
    if args.calibration is None and (args.recipe == AUTO or RECIPES[args.recipe].calibrated):
        raise InputError(f"--recipe {args.recipe} needs --calibration DATA, samples of each input of the model")

    began_s = time.monotonic()

    def progress(words: str) -> None:
        print(f"convert: {time.monotonic() - began_s:5.1f} s  {words}", file=sys.stderr, flush=True)

    examined = _convert(args, pins, progress)
    report = examined.stage.report
    print(report, file=sys.stderr)
    if report.why:
        print(f"chosen: {report.recipe}{f' {report.lstm_form}' if report.lstm_form else ''}, {report.why}", file=sys.stderr)
    if folder is not None:
        from convert.page import render

        told = json.loads(json.dumps(report.as_dict()))
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made: {error.strerror}: choose another --report") from error
        write_whole(folder / "report.json", json.dumps(told, indent=1).encode() + b"\n", overwrite=args.overwrite)
        write_whole(folder / "report.html", render(told).encode(), overwrite=args.overwrite)
        print(f"report: {folder / 'report.html'}", file=sys.stderr)
    from convert.gates import missed

    failed = missed(report.gates)
    if failed:
        where = f"; see {folder / 'report.html'}" if folder is not None else ""
        raise ConversionError(f"{report.name!r} missed its gates: {failed}; nothing was written to {args.output}{where}")
    _write(args, examined, created)
    print(args.output)
    return 0


def _convert(args: argparse.Namespace, pins: dict[str, int], progress: collections.abc.Callable[[str], None]) -> Examined:
    """Read, convert, choose and measure."""
    from convert.gates import Gates
    from convert.worker import Worker

    gates = Gates(args.min_agreement, args.max_drop, args.max_bytes, args.max_macs)
    with Worker() as worker:  # starts to load while the model is read
        progress("loading the model")
        from convert.quiet import load_tensorflow

        load_tensorflow()
        from convert.choose import convert_best, effective
        from convert.examine import examine
        from convert.pipeline import convert_model
        from convert.readers import read

        source = read(args.model, allow_code=args.allow_code, pins=pins)
        for note in source.notes:
            progress(f"note: {note}")
        calibration, check = _samples(args, source, progress)
        _check_gates(gates, check)
        options: dict[str, typing.Any] = {"name": args.name or args.model.stem, "worker": worker, "progress": progress}
        if check is not None:
            options |= {"verification": check.inputs, "labels": check.labels, "classes": check.classes}
        inputs: collections.abc.Mapping[str, typing.Any] = check.inputs if check is not None else _noise(source)
        if args.streaming:
            from convert.readers.keras import KerasSource
            from convert.streaming import convert_steps

            if not isinstance(source, KerasSource) or calibration is None or args.recipe == AUTO:
                raise InputError("--streaming takes a Keras model, --calibration and one --recipe, not auto")
            stage, inputs = convert_steps(source, calibration.inputs, recipe=args.recipe, **options)
        elif args.recipe == AUTO:
            assert calibration is not None
            gates = effective(gates)
            stage = convert_best(source, calibration.inputs, gates=gates, **options)
        else:
            given = calibration.inputs if calibration is not None else None
            stage = convert_model(source, given, recipe=args.recipe, lstm_form=args.lstm_form, **options)
    told = {"file": args.model.name, "kind": args.model.suffix.lstrip(".") or "SavedModel", "sha256": _sha256(args.model)}
    return examine(stage, inputs, gates=gates, source=told, progress=progress)


def _samples(
    args: argparse.Namespace, source: Source, progress: collections.abc.Callable[[str], None]
) -> tuple[Samples | None, Samples | None]:
    """Samples to calibrate on, and samples to compare on: disjoint if there are enough."""
    from convert.calibration import check_samples
    from convert.samples import Samples, read_samples

    if args.calibration is None:
        return None, None
    minimum = 1 if args.recipe != AUTO and not RECIPES[args.recipe].calibrated else RECIPES[DEFAULT_RECIPE].minimum_samples

    def read(told: str, least: int, *, varied: bool) -> Samples:
        found = read_samples(told, source.inputs, image_range=args.image_range)
        return Samples(check_samples(found.inputs, source.inputs, minimum=least, varied=varied), found.labels, found.classes)

    calibration = read(args.calibration, minimum, varied=True)
    if args.verification is not None:
        return calibration, read(args.verification, 1, varied=False)
    count = len(next(iter(calibration.inputs.values())))
    kept = [i for i in range(count) if i % HELD_BACK]
    if len(kept) < minimum or len(kept) == count:
        progress(f"{count} samples are too few to hold any back: comparing on those of the calibration")
        return calibration, calibration
    return calibration.of(kept), calibration.of(slice(None, None, HELD_BACK))


def _check_gates(gates: Gates, check: Samples | None) -> None:
    if gates.max_drop is not None and (check is None or check.labels is None):
        raise InputError("--max-drop needs labels: an array 'labels' in the .npz, or a folder with one sub-folder a class")
    if gates.min_agreement is not None and check is None:
        raise InputError("--min-agreement needs samples: give --calibration or --verification")


def _noise(source: Source) -> dict[str, typing.Any]:
    import numpy as np

    random = np.random.default_rng(0)
    return {name: random.uniform(-1, 1, (16, *shape)).astype(np.float32) for name, shape in source.inputs.items()}


def _write(args: argparse.Namespace, examined: Examined, created: str) -> None:
    if args.output.suffix != BUNDLE:
        write_whole(args.output, examined.stage.content, overwrite=args.overwrite)
        return
    from convert.stage_bundle import write_stage

    checked = examined.stage.report.verification
    labels = checked.task.classes if checked is not None and checked.task is not None else ()
    write_stage(
        args.output, examined, version="1", created=created, labels=labels, terms=args.terms, overwrite=args.overwrite
    )  # fmt: skip


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _date(told: str | None, model: pathlib.Path) -> str:
    """The date for the bundle; the model's own if none is told, for the same input shall give the same bytes."""
    if told is None:
        file = model / "saved_model.pb" if model.is_dir() else model
        return datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC).date().isoformat()
    try:
        return datetime.date.fromisoformat(told).isoformat()
    except ValueError as error:
        raise InputError(f"--created {told} is no date: give one such as 2026-03-01") from error


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _pair(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no pair of numbers such as -1,1") from None
    return low, high


def _pins(told: list[str]) -> dict[str, int]:
    pins = {}
    for text in told:
        name, _, size = text.rpartition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise InputError(f"--pin {text} is not AXIS=SIZE: name an open axis and a whole number, e.g. time=60 or x:1=60")
        pins[name] = int(size)
    return pins


def _check_folder(folder: pathlib.Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder: choose another --report")
    if not folder.parent.is_dir():
        raise InputError(f"{folder} cannot be made: {folder.parent} is no folder")


def _check_output(path: pathlib.Path, overwrite: bool) -> None:
    if path.suffix not in (BUNDLE, ".tflite"):
        raise InputError(f"{path} is of no kind that can be written: name it NAME{BUNDLE} or NAME.tflite")
    _check_writable(path, overwrite)


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
