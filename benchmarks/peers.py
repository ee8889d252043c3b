"""affectkit's conversions against other converters', in one run: ``python -m benchmarks.peers --data DATA [-o DIR]``.

Every converter gets the same trained networks and the same calibration samples, and is judged on the same held-back samples; latencies
are taken in turn in one process. What is not installed is said so, never guessed: ``--install`` sets the others up, an environment
each, with every version pinned.
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import tempfile
import typing

import numpy as np

from benchmarks import peer_child, peer_environments, peer_networks, peer_table
from benchmarks.peer_converters import Made, Workshop
from benchmarks.peer_environments import ONNX, QUANTIZER, Environment
from benchmarks.peer_networks import Network
from benchmarks.peer_table import FLOAT, Row
from convert import runtimes
from edge.errors import ConversionError, EdgeError, InputError

LIMIT_S = 600.0
MEASURE_LIMIT_S = 900.0

CAPTION = """Agreement: share of held-back samples with the same largest output as the float original in the framework that wrote it
(Keras, ONNX Runtime, or LiteRT for a float `.tflite`). Mean error: of probabilities; of other outputs in units of the
range that float takes. Accuracy: of float, then points gained or lost, where labels are known. ms: median of one
inference on one thread, converting inputs and outputs included, all candidates in turn in one process. Float operators:
operators that read or write floating point, conversions left out, of all (with dynamic ranges they compute in integers
inside); for ONNX after ONNX Runtime's own optimization. s: time of the conversion, start of the tool and failed
attempts included. Bold: first or equal (size within 1 %, agreement within 0.2 points, mean error and latency within 5
%; sizes and latencies of files that agree on less than 90 % do not count). CNN, BiLSTM, GRU and cross-attention are
built in Keras and taught a made-up task with fixed seeds for half a minute: a smooth prototype for each of 7 classes
plus noise. "ONNX" ones hold the same weights in ONNX's LSTM and GRU operators. The other models are third-party ones
with real inputs (`benchmarks/material.py`)."""


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Convert, compare and print; the exit status."""
    args = _parser().parse_args(arguments)
    try:
        onnx2tf = [peer_environments.onnx2tf(python) for python in args.onnx2tf_python or [sys.executable]]
        if args.install:
            onnx2tf = [_installed(environment) for environment in onnx2tf]
            for environment in (QUANTIZER, ONNX):
                _installed(environment)
        if args.output is not None:
            args.output.mkdir(parents=True, exist_ok=True)
        rows = []
        with contextlib.ExitStack() as stack:
            scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="affectkit-peers-")))
            taught = scratch if args.output is None else args.output
            for number, (name, load) in enumerate(_networks(args.data.resolve(), taught.resolve(), args.only)):
                print(f"peers: {name}", file=sys.stderr, flush=True)
                rows += compare(name, load, scratch / str(number), onnx2tf=onnx2tf, limit_s=args.limit)
                if args.output is not None:
                    _write(args.output, rows)
        if not rows:
            raise InputError(f"no network is called like {', '.join(args.only)}")
        print(document(rows))
    except EdgeError as error:
        print(f"peers: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Compare affectkit's conversions with other converters'."
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, metavar="DATA", help="folder of the public sets")
    parser.add_argument("-o", "--output", type=pathlib.Path, metavar="DIR", help="for peers.json and peers.md; keeps taught networks")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="networks with NAME in their name; may be repeated")
    parser.add_argument("--install", action="store_true", help="set up the other converters in the user's cache (some gigabytes)")
    parser.add_argument(
        "--onnx2tf-python", action="append", metavar="PYTHON",
        help="for onnx2tf's environment: up to 3.11 it gets 1.29.24, from 3.12 2.6.9 (default: this one); may be repeated",
    )  # fmt: skip
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help="for one conversion (default: %(default)g)")
    return parser


def _installed(environment: Environment) -> Environment:
    """Installed, or with the reason why it cannot be."""
    try:
        peer_environments.install(environment)
    except ConversionError as error:
        print(f"peers: {error}", file=sys.stderr)
        return dataclasses.replace(environment, missing=peer_child.shortened(str(error)))
    return environment


def _networks(
    data: pathlib.Path, folder: pathlib.Path, only: collections.abc.Sequence[str]
) -> collections.abc.Iterator[tuple[str, collections.abc.Callable[[], Network]]]:
    def wanted(name: str) -> bool:
        return not only or any(part.lower() in name.lower() for part in only)

    yield from ((name, load) for name, load in peer_networks.made_networks(folder) if wanted(name))
    for network in peer_networks.third_party(data):
        if wanted(network.name):
            yield network.name, functools.partial(lambda network: network, network)


def compare(
    name: str,
    load: collections.abc.Callable[[], Network],
    folder: pathlib.Path,
    *,
    onnx2tf: collections.abc.Sequence[Environment],
    limit_s: float = LIMIT_S,
) -> list[Row]:
    """One network by every converter.

    Args:
        name: of the network.
        load: gives it.
        folder: to work in; made.
        onnx2tf: environments of that converter, a row each.
        limit_s: for one attempt of one converter.
    """
    try:
        shop = Workshop(load(), folder, onnx2tf=onnx2tf, limit_s=limit_s)
    except ConversionError as error:
        return [Row(name, FLOAT, "not converted", str(error))]
    made = list(shop.make_all())
    if shop.float_file.exists():
        made.insert(0, Made(FLOAT, shop.float_file, tool="affectkit", route="before quantization"))
    rows = [_judged(shop, one) for one in made]
    running = {row.converter for row in rows if row.status == "runs"}
    paths = {one.converter: str(one.path) for one in made if one.converter in running}
    job = {"paths": paths, "verification": str(shop.verification), "reference": str(shop.reference)}
    answer = peer_child.run([sys.executable, "-m", "benchmarks.peer_run", "measure"], job, limit_s=MEASURE_LIMIT_S)
    if answer.said is None:
        print(f"peers: {name} could not be measured: {answer.why}", file=sys.stderr)
        return rows
    times = answer.said["latency"]
    return [
        dataclasses.replace(row, median_ms=times[row.converter]["median_ms"], p90_ms=times[row.converter]["p90_ms"])
        if row.converter in times
        else row
        for row in rows
    ]


def _judged(shop: Workshop, made: Made) -> Row:
    """Run what was made, here and in the old interpreter."""
    name = shop.network.name
    if made.path is None:
        return Row(name, made.converter, "not converted", made.why, made.seconds)
    row = Row(name, made.converter, "does not run", "", made.seconds, made.tool, made.route, made.note, made.path.stat().st_size)
    vectors = made.path.with_suffix(".golden.npz")
    job = {"path": str(made.path), "verification": str(shop.verification), "reference": str(shop.reference), "golden": str(vectors)}
    job["labels"] = "" if shop.labels is None else str(shop.labels)
    answer = peer_child.run([sys.executable, "-m", "benchmarks.peer_run", "compare"], job, limit_s=MEASURE_LIMIT_S)
    if answer.said is None:
        return dataclasses.replace(row, why=answer.why)
    checked = answer.said["verification"]
    outputs = list(checked["outputs"].values())
    task = checked["task"] or {}
    found = {checked["runtime"]: "runs"}
    if vectors.exists():
        found = _runtimes(made.path, answer.said, vectors)
    return dataclasses.replace(
        row,
        status="runs",
        agreement=min((o["agreement"] for o in outputs if o["agreement"] is not None), default=None),
        mean_error=max(o["mean_error"] for o in outputs),
        max_error=max(o["max_error"] for o in outputs),
        accuracy=task.get("accuracy"),
        float_accuracy=task.get("float_accuracy"),
        operators=answer.said["operators"],
        float_operators=answer.said["float_operators"],
        runtimes=found,
    )


def _runtimes(path: pathlib.Path, said: dict[str, typing.Any], vectors: pathlib.Path) -> dict[str, str]:
    """What each known interpreter makes of a ``.tflite``."""
    with np.load(vectors) as stored:
        arrays = {name: stored[name] for name in stored.files}
    found = {}
    for interpreter in runtimes.known():
        told = runtimes.check(interpreter, path.read_bytes(), said["inputs"], said["outputs"], arrays)
        found[told["runtime"]] = told["status"] if told["status"] == "runs" else f"{told['status']}, {peer_child.shortened(told['why'])}"
    return found


def machine() -> dict[str, str]:
    """Processor, cores and versions; nothing that names the machine."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    versions = {}
    for package in ("tensorflow", "keras", "ai-edge-litert", "onnx", "onnxruntime", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    told = {"processor": f"{model} ({platform.machine()})", "cores": str(os.cpu_count()), "system": platform.system()}
    return {**told, "python": platform.python_version(), **versions}


def document(rows: collections.abc.Sequence[Row]) -> str:
    """All of it in Markdown."""
    tools = sorted({row.tool for row in rows if row.tool and row.tool != "affectkit"})
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    parts = [
        "# Conversions side by side",
        CAPTION,
        f"Machine: {facts}. Converters: {', '.join(tools)}.",
        "## First or equal, in how many networks",
        peer_table.summary(rows),
        "## Where affectkit is not first or equal",
        "Among all files, floating point left in them or not; affectkit's better number first, then the best:",
        peer_table.lead_lines(rows),
        "Among files of integers throughout:",
        peer_table.lead_lines(rows, integer=True),
        "## Network by network",
        peer_table.table(rows),
    ]
    return "\n\n".join(parts) + "\n"


def _write(folder: pathlib.Path, rows: collections.abc.Sequence[Row]) -> None:
    told = {"machine": machine(), "rows": [dataclasses.asdict(row) for row in rows]}
    (folder / "peers.json").write_text(json.dumps(told, indent=1) + "\n")
    (folder / "peers.md").write_text(document(rows))


if __name__ == "__main__":
    sys.exit(main())
