"""What a second of session costs, and what it costs others doing the same: ``python -m benchmarks.cycle_peers -o benchmarks/results``.

One run, rounds in turn, a process a peer, CPU time of one thread, ratios of medians; every peer's answers are compared with ours.
``--only affectkit --only bare`` tells the overhead in half a minute and writes nothing; ``--instructions`` counts with callgrind.
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import typing

import numpy as np

from benchmarks import cycle_child, cycle_detectors, cycle_report, cycle_table, peer_environments
from benchmarks.peer_environments import Environment
from benchmarks.peers import machine
from edge.bundle import load_bundle
from edge.embedded import BUNDLE
from edge.errors import ConversionError, EdgeError, InferenceError, InputError
from edge.preprocess.detection import overlap

PEERS = ("affectkit", "tutorial", "tutorial, built anew", "onnx float", "onnx int8", "bare")
MEDIAPIPE = Environment("mediapipe-0.10.21", ("mediapipe==0.10.21",))
"""The last that brings its face detector with it; later ones load it from elsewhere."""
COMMAND = "python -m benchmarks.cycle_peers -o benchmarks/results"
EVERY = 8
"""One frame of so many goes to the detectors alone."""
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
LIMIT_S = 1200.0


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit status."""
    args = _parser().parse_args(arguments)
    try:
        with contextlib.ExitStack() as stack:
            work = args.work or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="affectkit-cycle-")))
            work.mkdir(parents=True, exist_ok=True)
            cycle_child.prepare(work, session_s=args.session_s)
            if args.instructions:
                told = _with_instructions(args.output, work)
            else:
                told = measure(work, names=_chosen(args.only), rounds=args.rounds, session_s=args.session_s, install=args.install)
                told |= {key: value for key, value in _before(args.output).items() if key == "instructions"}
        print(cycle_report.markdown(told) if told.get("cpu_s_per_s") else json.dumps(told, indent=1))
        if args.output is not None and not args.only:
            _write(args.output, told)
    except EdgeError as error:
        print(f"cycle_peers: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cycle_peers", description="What a second of session costs, and others.")
    parser.add_argument("-o", "--output", type=pathlib.Path, metavar="DIR", help="for cycle-peers.json, .md and .html")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help=f"of {'; '.join(PEERS)}; detectors; may be repeated; nothing is written"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="timed passes of each peer (default: %(default)s)")
    parser.add_argument("--session-s", type=float, default=90.0, metavar="S", help="of the session from its start (default: all)")
    parser.add_argument("--work", type=pathlib.Path, metavar="DIR", help="keep decoded session and ONNX files here, to start faster")
    parser.add_argument("--install", action="store_true", help="set up MediaPipe in an environment of its own in the user's cache")
    parser.add_argument("--instructions", action="store_true", help="count instructions with valgrind instead (minutes)")
    return parser


def _chosen(only: collections.abc.Sequence[str]) -> list[str]:
    known = (*PEERS, "detectors")
    if unknown := [name for name in only if name not in known]:
        raise InputError(f"--only: got {unknown[0]!r}; it is one of {'; '.join(known)}")
    return [name for name in known if not only or name in only]


class Child:
    """A peer in a process of its own that works when told to.

    Raises:
        InferenceError: it ended, with its last words.
    """

    def __init__(self, command: collections.abc.Sequence[str]):
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed by ``close``)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env={**os.environ, **ONE_THREAD}
        )
        self._command = command
        self.tell()

    def tell(self, line: str = "") -> dict[str, typing.Any]:
        """Send a line, if any, and wait for the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            if line:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            if answer := self._process.stdout.readline():
                return typing.cast("dict[str, typing.Any]", json.loads(answer))
        self._process.wait()
        self._log.seek(0)
        last = (self._log.read().strip().splitlines() or ["said nothing"])[-1]
        raise InferenceError(f"{' '.join(self._command[2:4])} ended with status {self._process.returncode}: {last[:200]}")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def measure(
    work: pathlib.Path, *, names: collections.abc.Sequence[str], rounds: int, session_s: float, install: bool = False
) -> dict[str, typing.Any]:
    """Everything asked for: what the JSON holds.

    Args:
        work: what ``cycle_child.prepare`` left.
        names: of peers, and "detectors".
        rounds: timed passes of each.
        session_s: how long the prepared session is.
        install: set up what is missing.
    """
    told: dict[str, typing.Any] = {"machine": _machine(), "session_s": session_s, "count": rounds, "command": COMMAND}
    if any(name.startswith("onnx") for name in names) or "detectors" in names:
        _make_onnx(work)
    peers = [name for name in names if name in PEERS]
    commands = {name: [sys.executable, "-m", "benchmarks.cycle_child", name, str(work)] for name in peers}
    answers: dict[str, dict[str, np.ndarray]] = {}
    with contextlib.ExitStack() as stack:
        children = _started(commands, stack)
        for number, (name, child) in enumerate(children.items()):
            child.tell(f"answers {work / f'answers{number}.npz'}")
            with np.load(work / f"answers{number}.npz") as stored:
                answers[name] = {key: stored[key] for key in stored.files}
        if "bare" in children:
            children["bare"].tell("run")
        told["rounds"] = _rounds(children, rounds)
        told["stages"] = {name: child.tell("stages") for name, child in children.items() if name == "affectkit" or name.startswith("onnx")}
        if "affectkit" in children:
            told["profile"] = children["affectkit"].tell("profile")
    told["cpu_s_per_s"] = {name: took / session_s for name, took in cycle_table.medians(told["rounds"]).items()}
    if "affectkit" in answers:
        others = {name: made for name, made in answers.items() if made and name != "affectkit"}
        told["agreement"] = {name: dataclasses.asdict(cycle_table.agreement(answers["affectkit"], made)) for name, made in others.items()}
    told["detectors"] = _detectors(work, rounds, install) if "detectors" in names else {}
    return told


def _started(commands: collections.abc.Mapping[str, collections.abc.Sequence[str]], stack: contextlib.ExitStack) -> dict[str, Child]:
    children = {}
    for name, command in commands.items():
        print(f"cycle_peers: {name}", file=sys.stderr, flush=True)
        children[name] = Child(command)
        stack.callback(children[name].close)
    return children


def _rounds(children: collections.abc.Mapping[str, Child], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each pass, in turn, each round beginning with another peer."""
    took: dict[str, list[float]] = {name: [] for name in children}
    order = list(children)
    for number in range(rounds):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            took[name].append(children[name].tell("run")["cpu_s"])
    return took


def _make_onnx(work: pathlib.Path) -> None:
    from benchmarks import cycle_onnx

    bundle = load_bundle(BUNDLE)
    for name in bundle.manifest.stages:
        plain, integer = work / f"{name}.float.onnx", work / f"{name}.int8.onnx"
        if not integer.exists():
            cycle_onnx.translate(bundle.stage(name), plain)
            with np.load(work / f"{name}.inputs.npz") as stored:
                cycle_onnx.quantize(plain, {key: stored[key] for key in stored.files}, integer)


def _detectors(work: pathlib.Path, rounds: int, install: bool) -> dict[str, typing.Any]:
    """Of each, ms a frame and agreement, or why not."""
    decoded = pickle.loads((work / "session.pickle").read_bytes())
    frames = np.stack([chunk.samples[-1] for chunk in decoded.by_track["video"]])[::EVERY]
    np.save(work / "frames.npy", frames)
    if install:
        peer_environments.install(MEDIAPIPE)
    script = [str(pathlib.Path(cycle_detectors.__file__))]
    told: dict[str, typing.Any] = {}
    with contextlib.ExitStack() as stack:
        children: dict[str, Child] = {}
        boxes: dict[str, np.ndarray] = {}
        for number, name in enumerate(cycle_detectors.NAMES):
            try:
                python = [sys.executable, "-m", "benchmarks.cycle_detectors"]
                if name.startswith("MediaPipe"):
                    if not MEDIAPIPE.python:
                        raise ConversionError(MEDIAPIPE.why)
                    python = [MEDIAPIPE.python, *script]
                child = _started({name: [*python, name, str(work), str(work / "frames.npy")]}, stack)[name]
                child.tell(f"answers {work / f'boxes{number}.npy'}")
                boxes[name], children[name] = np.load(work / f"boxes{number}.npy"), child
            except EdgeError as error:
                told[name] = {"why": str(error)}
        took = cycle_table.medians(_rounds(children, rounds))
    ours = boxes.get(cycle_detectors.NAMES[0])
    for name, found in boxes.items():
        told[name] = {"ms": 1000 * took[name] / len(frames), **_alike(ours, found)}
    return {name: told[name] for name in cycle_detectors.NAMES}


def _alike(ours: np.ndarray | None, theirs: np.ndarray) -> dict[str, float]:
    if ours is None:
        return {"presence": float("nan"), "overlap": float("nan")}
    here, there = np.isfinite(ours[:, 0]), np.isfinite(theirs[:, 0])
    both = np.nonzero(here & there)[0]
    shared = [float(overlap(ours[i : i + 1], theirs[i : i + 1])[0, 0]) for i in both]
    return {"presence": float((here == there).mean()), "overlap": float(np.median(shared)) if shared else float("nan")}


# --- instructions -------------------------------------------------------------------------------------------------------


def count_instructions(name: str, work: pathlib.Path) -> int:
    """Instructions of one pass of a peer over the short session: a process that does two less one that does one, so start-up cancels.

    Raises:
        InferenceError: valgrind is missing, or the process failed in it.
    """
    counts = []
    for passes in (1, 2):
        child = [sys.executable, "-m", "benchmarks.cycle_child", name, str(work), "--once", str(passes)]
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *child]
        environment = {**os.environ, **ONE_THREAD, "PYTHONHASHSEED": "0"}
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, env=environment)
            if done.returncode:
                raise InferenceError(f"valgrind: {name} ended with status {done.returncode}: {done.stderr.strip()[-200:]!r}")
            counts.append(cycle_table.instructions(done.stderr))
        except FileNotFoundError as error:
            raise InferenceError("valgrind is not installed; apt install valgrind") from error
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise InferenceError(f"valgrind: {name}: {error}") from error
    return counts[1] - counts[0]


def _with_instructions(folder: pathlib.Path | None, work: pathlib.Path) -> dict[str, typing.Any]:
    counts = {name: count_instructions(name, work) for name in ("affectkit", "bare")}
    how = (
        f"callgrind over the first {cycle_child.SHORT_S:g} s of the session, start-up taken off; valgrind knows no AVX-512, so the "
        "interpreter takes its AVX2 kernels. Compare with earlier counts, not with times."
    )
    told = _before(folder)
    told["instructions"] = {"seconds": cycle_child.SHORT_S, "counts": counts, "how": how}
    return told


def _machine() -> dict[str, str]:
    told = machine()
    for package in ("librosa", "scipy", "opencv-python-headless"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            told[package] = importlib.metadata.version(package)
    return {name: value for name, value in told.items() if name not in ("keras", "tensorflow")}


def _before(folder: pathlib.Path | None) -> dict[str, typing.Any]:
    path = None if folder is None else folder / "cycle-peers.json"
    return typing.cast("dict[str, typing.Any]", json.loads(path.read_text())) if path is not None and path.exists() else {}


def _write(folder: pathlib.Path, told: dict[str, typing.Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cycle-peers.json").write_text(json.dumps(told, indent=1) + "\n")
    if told.get("cpu_s_per_s"):
        (folder / "cycle-peers.md").write_text(cycle_report.markdown(told))
        (folder / "cycle-peers.html").write_text(cycle_report.page(told))


if __name__ == "__main__":
    sys.exit(main())
