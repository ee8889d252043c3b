"""Scenario *stage*: each model alone."""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

from benchmarks.harness import Order, Record, distribution, in_child, metric, process_began_ns
from edge.bundle import Bundle, load_bundle
from edge.inference.model import Model

ROUNDS = 6
LEAST_RUNS = 5


def measure(order: Order) -> Record:
    """What one inference of each model takes, alone.

    From: the call of ``Model.run`` with real numbers (quantizing included). To: its return with real numbers. The inputs are the
    golden ones of the bundle, in turn. All models run in rounds in one process, first on one thread, then on as many as there are
    cores, so that what disturbs the machine disturbs all alike; the first five runs of each round are not counted. Each model's cold
    start is measured in fresh processes: from the load of the model to its first answer, and from the start of the process.
    Nothing has a deadline here, so nothing is a miss.
    """
    said = in_child("benchmarks.stage:child", order).said
    starts: dict[str, list[Record]] = {}
    for name in said["stages"]:
        starts[name] = [in_child("benchmarks.stage:cold", order, stage=name).said for _ in range(order.starts)]
    metrics = {}
    for name, stage in said["stages"].items():
        stage["cold"] = {
            "load_ms": [start["load_ms"] for start in starts[name]],
            "first_ms": [start["first_ms"] for start in starts[name]],
            "process_ms": [start["process_ms"] for start in starts[name]],
        }
        for threads, one in stage["threads"].items():
            repeats = one.pop("repeats")
            metrics[f"{name}, {threads} thread{'s' if threads != '1' else ''}, median"] = metric(one["percentiles"]["50"], "ms", repeats)
        cold = [sum(pair) for pair in zip(stage["cold"]["load_ms"], stage["cold"]["first_ms"], strict=True)]
        metrics[f"{name}, cold start"] = metric(statistics.median(cold), "ms", cold)
    return {**said, "metrics": metrics}


def child(order: Order) -> Record:
    """All models in rounds."""
    bundle = load_bundle(order.bundle)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    stages: Record = {}
    times: dict[tuple[str, int], list[list[float]]] = {}
    models = {(name, threads): _model(bundle, name, threads) for threads in sorted({1, cores}) for name in bundle.manifest.stages}
    rows = {name: inputs(bundle, name, models[name, 1]) for name in bundle.manifest.stages}
    for _ in range(ROUNDS):
        for key, model in models.items():
            times.setdefault(key, []).append(_round(model, rows[key[0]], order.stage_s / ROUNDS))
    for (name, threads), rounds in times.items():
        spec = bundle.manifest.stages[name]
        stage = stages.setdefault(name, {"macs": spec.macs, "weights": spec.weights, "threads": {}})
        merged = distribution([ms for one in rounds for ms in one])
        stage["threads"][str(threads)] = {**merged, "repeats": [statistics.median(one) for one in rounds]}
    return {"stages": stages, "cores": cores, "runtime": next(iter(models.values())).runtime}


def cold(order: Order, stage: str) -> Record:
    """One model in a fresh process: load and first inference, ms."""
    bundle = load_bundle(order.bundle)
    began_ns = time.monotonic_ns()
    model = _model(bundle, stage, 1)
    loaded_ns = time.monotonic_ns()
    arrays = {name: np.zeros(tensor.shape, np.float32) for name, tensor in model.details().inputs.items()}
    before_ns = time.monotonic_ns()
    model.run(**arrays)
    now_ns = time.monotonic_ns()
    return {
        "load_ms": (loaded_ns - began_ns) / 1e6,
        "first_ms": (now_ns - before_ns) / 1e6,
        "process_ms": (now_ns - process_began_ns(began_ns)) / 1e6,
    }


def _model(bundle: Bundle, name: str, threads: int) -> Model:
    spec = bundle.manifest.stages[name]
    return Model(bundle.stage(name), name=name, inputs=spec.inputs, outputs=spec.outputs, threads=threads)


def inputs(bundle: Bundle, name: str, model: Model) -> list[dict[str, np.ndarray]]:
    """The golden inputs of a stage as real numbers."""
    stored, tensors = bundle.golden(name), model.details().inputs
    count = len(stored[f"input_{next(iter(tensors))}"])

    def real(key: str, number: int) -> np.ndarray:
        values, tensor = stored[f"input_{key}"][number].astype(np.float32), tensors[key]
        return (values - np.float32(tensor.zero_point)) * np.float32(tensor.scale) if tensor.scale else values

    return [{key: real(key, number) for key in tensors} for number in range(count)]


def _round(model: Model, rows: list[dict[str, np.ndarray]], for_s: float) -> list[float]:
    """Times of single inferences, ms."""
    for number in range(LEAST_RUNS):
        model.run(**rows[number % len(rows)])
    taken: list[float] = []
    until_ns = time.perf_counter_ns() + round(for_s * 1e9)
    while len(taken) < LEAST_RUNS or time.perf_counter_ns() < until_ns:
        row = rows[len(taken) % len(rows)]
        began_ns = time.perf_counter_ns()
        model.run(**row)
        taken.append((time.perf_counter_ns() - began_ns) / 1e6)
    return taken
