"""Child of ``benchmarks.cycle_peers``: one peer on one thread, which does a pass over the session each time it is told to.

    python -m benchmarks.cycle_child PEER WORK           reads "run", "answers FILE", "stages", "profile"; a line of JSON each
    python -m benchmarks.cycle_child PEER WORK --once N  N passes over the short session, for counting instructions

WORK is what ``prepare`` left there.
"""

from __future__ import annotations

import argparse
import collections.abc
import functools
import gc
import io
import json
import os
import pathlib
import pickle
import sys
import tempfile
import time
import typing

import numpy as np

from benchmarks.cycle_session import Decoded, decode
from edge import Runtime, load_bundle
from edge.bundle import Bundle
from edge.compose import Stages, load_stages
from edge.config import Settings
from edge.embedded import BUNDLE
from edge.inference.model import probe
from edge.outputs.jsonlines import JsonLines
from edge.types import MODALITIES

Arrays = dict[str, np.ndarray]
SHORT_S = 5.0
CALIBRATION = 100
"""Inputs of each stage that the int8 of others is calibrated on."""


class Peer(typing.Protocol):
    """One way of doing the job."""

    def run(self) -> None:
        """A whole pass."""
        ...

    def answers(self) -> Arrays:
        """Of a pass, not timed: ``probabilities`` (ticks, labels), ``face``, ``speech``, ``physiology`` (ticks, width); NaN: absent."""
        ...


class Recorded:
    """A stage that keeps what it was given, as real numbers, and what it gave; in all else the stage itself."""

    def __init__(self, stage: typing.Any, keep: collections.abc.Callable[[Arrays, Arrays], None]):
        self._stage, self._keep = stage, keep

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(self._stage, name)

    def run(self, **arrays: np.ndarray) -> Arrays:
        """As the stage's."""
        given = {name: self._real(name, array) for name, array in arrays.items()}
        made = typing.cast(Arrays, self._stage.run(**arrays))
        self._keep(given, made)
        return made

    def _real(self, name: str, array: np.ndarray) -> np.ndarray:
        """A copy; an input may come as the tensor stores it."""
        if array.dtype.kind not in "iu":
            return np.array(array)
        tensor = self._stage.details().inputs[name]
        return (array.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)


class Streamed:
    """affectkit's own runtime; with other stages, the same cycle in another interpreter. A JSON line a decision goes to a file."""

    def __init__(self, bundle: Bundle, decoded: Decoded, stages: collections.abc.Mapping[str, typing.Any]):
        self._bundle, self._decoded, self._stages = bundle, decoded, dict(stages)

    def runtime(self, stages: collections.abc.Mapping[str, typing.Any] | None = None) -> Runtime:
        """A run from its beginning."""
        made = Stages(dict(stages or self._stages))
        return Runtime(self._bundle, [self._decoded.sensor()], fast=True, stages=lambda bundle, settings: made)

    def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="affectkit-cycle-") as folder:
            self.runtime().run([JsonLines(pathlib.Path(folder, "decisions.jsonl"))])

    def answers(self) -> Arrays:
        labels, given = self._bundle.manifest.labels, list[Arrays]()
        stages = self._stages | {"fusion": Recorded(self._stages["fusion"], lambda inputs, outputs: given.append(inputs))}
        rows, fused = [], 0
        for decision in self.runtime(stages):
            present: Arrays = {}
            if len(given) > fused:
                fused = len(given)
                present = {m: given[-1][m] for i, m in enumerate(MODALITIES) if given[-1]["mask"][i]}
            said = np.array([decision.probabilities.get(label, np.nan) for label in labels], np.float32)
            rows.append(row(present, said))
        return stacked(rows)

    def stage_ms(self, work: pathlib.Path, passes: int = 3) -> dict[str, float]:
        """CPU milliseconds of one run of each stage, converting inputs and outputs included, on what it sees in the session."""
        told = {}
        for name, stage in self._stages.items():
            with np.load(work / f"{name}.inputs.npz") as stored:
                arrays = {key: stored[key] for key in stored.files}
            rows = [dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True)]
            took = []
            for _ in range(passes + 1):
                began_s = time.process_time()
                for one in rows:
                    stage.run(**one)
                took.append(time.process_time() - began_s)
            told[name] = 1000 * min(took[1:]) / len(rows)
        return told


class Taught:
    """``benchmarks.cycle_tutorial``."""

    def __init__(self, bundle: Bundle, decoded: Decoded, *, build_each: bool = False):
        from benchmarks.cycle_tutorial import Tutorial

        self._loop, self._labels = Tutorial(bundle, decoded, build_each=build_each), len(bundle.manifest.labels)

    def run(self) -> None:
        with tempfile.TemporaryFile("w") as lines:
            self._loop.run(lines)

    def answers(self) -> Arrays:
        rows: list[Arrays] = []
        nothing = np.full(self._labels, np.nan, np.float32)
        self._loop.run(io.StringIO(), lambda _, present, said: rows.append(row(present, nothing if said is None else said)))
        return stacked(rows)


class Bare:
    """The same stages invoked as often and in the same order as affectkit did, on one input each, and nothing else."""

    def __init__(self, bundle: Bundle, work: pathlib.Path, *, short: bool = False):
        order = json.loads((work / ("order.short.json" if short else "order.json")).read_text())
        self._kept: list[typing.Any] = []
        invoke = {}
        for name in bundle.manifest.stages:
            interpreter = probe().interpreter(model_content=bundle.stage(name), num_threads=1)
            interpreter.allocate_tensors()
            with np.load(work / f"{name}.inputs.npz") as stored:
                for detail in interpreter.get_input_details():
                    scale, zero = detail["quantization"]
                    real = stored[detail["name"]][-1:]
                    interpreter.set_tensor(detail["index"], np.clip(np.rint(real / scale + zero), -128, 127).astype(np.int8))
            self._kept.append(interpreter)
            invoke[name] = interpreter.invoke
        self._calls = [invoke[name] for name in order]

    def run(self) -> None:
        for call in self._calls:
            call()

    def answers(self) -> Arrays:
        return {}


def row(present: collections.abc.Mapping[str, np.ndarray], probabilities: np.ndarray) -> Arrays:
    """Of one tick: embeddings of what is present."""
    return {name: np.asarray(vector, np.float32) for name, vector in present.items()} | {"probabilities": probabilities}


def stacked(rows: collections.abc.Sequence[Arrays]) -> Arrays:
    """Of all ticks; NaN where something is absent, one column of it for what never is present."""
    made: Arrays = {}
    for name in (*MODALITIES, "probabilities") if rows else ():
        nothing = np.full_like(next((one[name] for one in rows if name in one), np.zeros(1, np.float32)), np.nan)
        made[name] = np.stack([one.get(name, nothing) for one in rows])
    return made


def _onnx(bundle: Bundle, decoded: Decoded, work: pathlib.Path, kind: str) -> Streamed:
    from benchmarks.cycle_onnx import OrtStage

    return Streamed(bundle, decoded, {name: OrtStage(work / f"{name}.{kind}.onnx") for name in bundle.manifest.stages})


def make(name: str, work: pathlib.Path, *, short: bool = False) -> Peer:
    """A peer by name.

    Args:
        name: "affectkit", "tutorial", "tutorial, built anew", "onnx float", "onnx int8" or "bare".
        work: what ``prepare`` left.
        short: only the first seconds of the session.
    """
    bundle = load_bundle(BUNDLE)
    if name == "bare":
        return Bare(bundle, work, short=short)
    decoded = typing.cast(Decoded, pickle.loads((work / ("short.pickle" if short else "session.pickle")).read_bytes()))
    makers: dict[str, collections.abc.Callable[[], Peer]] = {
        "affectkit": lambda: Streamed(bundle, decoded, load_stages(bundle, Settings()).models),
        "tutorial": lambda: Taught(bundle, decoded),
        "tutorial, built anew": lambda: Taught(bundle, decoded, build_each=True),
        "onnx float": functools.partial(_onnx, bundle, decoded, work, "float"),
        "onnx int8": functools.partial(_onnx, bundle, decoded, work, "int8"),
    }
    return makers[name]()


def prepare(work: pathlib.Path, *, session_s: float = 1e9, short_s: float = SHORT_S) -> None:
    """Write what the peers need: the decoded session, which stages affectkit invokes in which order, what they see."""
    bundle = load_bundle(BUNDLE)
    decoded = decode().until(session_s)
    for name, part in (("session", decoded), ("short", decoded.until(short_s))):
        (work / f"{name}.pickle").write_bytes(pickle.dumps(part))
    stages = load_stages(bundle, Settings()).models
    for part, name in ((decoded.until(short_s), "order.short.json"), (decoded, "order.json")):
        order: list[str] = []
        inputs: dict[str, list[Arrays]] = {stage: [] for stage in stages}
        recorded = {stage: Recorded(model, functools.partial(_keep, order, inputs, stage)) for stage, model in stages.items()}
        for _ in Streamed(bundle, part, recorded).runtime():
            pass
        (work / name).write_text(json.dumps(order))
    for stage, rows in inputs.items():
        kept = rows[:: max(1, len(rows) // CALIBRATION)]
        arrays: Arrays = {name: np.stack([one[name] for one in kept]).astype(np.float32) for name in kept[0]}
        np.savez(work / f"{stage}.inputs.npz", **arrays)  # type: ignore[arg-type]


def _keep(order: list[str], inputs: dict[str, list[Arrays]], stage: str, given: Arrays, made: Arrays) -> None:
    order.append(stage)
    inputs[stage].append(given)


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Serve, or run so many passes; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cycle_child")
    parser.add_argument("peer")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--once", type=int)
    args = parser.parse_args(arguments)
    if args.once is not None:
        counted = make(args.peer, args.work, short=True)
        for _ in range(args.once):
            counted.run()
        sys.stdout.flush()
        os._exit(0)  # the end of an interpreter is no part of the work
    peer = make(args.peer, args.work)
    print(json.dumps({"ready": args.peer}), flush=True)
    for line in sys.stdin:
        told, _, path = line.strip().partition(" ")
        if told == "answers":
            np.savez(path, **peer.answers())  # type: ignore[arg-type]
            print(json.dumps({"answers": path}), flush=True)
        elif told == "stages" and isinstance(peer, Streamed):
            print(json.dumps(peer.stage_ms(args.work)), flush=True)
        elif told == "profile":
            from benchmarks.cycle_profile import profiled

            print(json.dumps(profiled(peer.run)), flush=True)
        else:
            gc.collect()
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            peer.run()
            print(json.dumps({"cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - wall_s}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
