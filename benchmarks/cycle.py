"""Scenario *cycle*: the whole pipeline at live pace; and *nothing*, the same pace without any work."""

from __future__ import annotations

import functools
import pathlib
import statistics
import time
import typing

import numpy as np

from benchmarks.harness import Order, Record, Vitals, blocks, distribution, in_child, metric, percentile, process_began_ns
from benchmarks.recording import Looped, Spooled
from benchmarks.trace import Collector, Spans, Tick
from edge.bundle import Bundle, load_bundle
from edge.clock import Clock, SystemClock
from edge.compose import Stages, measured_stages
from edge.config import Settings
from edge.inference.branch import Branch, Patience
from edge.inference.cycle import Cycle
from edge.inference.form import Form
from edge.inference.fusion import Fusion
from edge.inference.smoothing import Smoother
from edge.outputs import Opening, Timing
from edge.runtime import Runtime
from edge.sensors.replay import Replay
from edge.types import MODALITIES, Chunk, Decision, Modality, Track

BLOCKS = 6
SHOWN_TICKS = 3
"""Ordinary ones, beside the worst three."""


def measure(order: Order) -> Record:
    """The whole pipeline at live pace on the session, decoded beforehand, in a process of its own.

    Latency: from the capture of the newest sample that a decision uses to that decision given out, the wait for the beat included.
    Response: the part of it that is ours, from the tick to the decision given out, or from the arrival of a chunk to its embedding
    if that is longer. One of each a tick, every tick of the run. A miss is a tick whose response is over the bundle's budget, or that
    got no decision at all. CPU is user and system time of the process from the first tick on, sensors' threads and sinks included.
    Memory is read from outside once a second: peak is the most the process ever had resident, steady the median of the second half.
    The start is measured in further fresh processes that run the session as a user would, up to the first decision with somebody in it.
    """
    run = in_child("benchmarks.cycle:child", order)
    said = run.said
    starts = [_start(order) for _ in range(order.starts)]
    said["memory"] = _memory(run.vitals, said["peak_rss_mib"])
    said["start"] = {
        "process_to_first_decision_s": [one["from_exec_s"] for one in starts],
        "python_to_first_decision_s": [one["from_python_s"] for one in starts],
    }
    for name, key in (
        ("start to first decision", "process_to_first_decision_s"),
        ("first line to first decision", "python_to_first_decision_s"),
    ):
        said["metrics"][name] = metric(statistics.median(said["start"][key]), "s", said["start"][key])
    said["metrics"]["steady memory"] = metric(said["memory"]["steady_mib"], "MiB", said["memory"].pop("steady_parts"))
    said["metrics"]["peak memory"] = metric(said["memory"]["peak_mib"], "MiB", [])
    return said


def measure_nothing(order: Order) -> Record:
    """A system that does nothing: the same sensors, threads, beat and sink as *cycle*, branches that look at no chunk and no model.

    What it costs is the floor of every other number here: sensors' threads, queues, the beat, and the measuring itself.
    """
    return in_child("benchmarks.cycle:nothing", order).said


def child(order: Order) -> Record:
    """The run itself."""
    bundle, spans, collector = load_bundle(order.bundle), Spans(), Collector()

    def stages(bundle: Bundle, settings: Settings) -> Stages:
        made = measured_stages(bundle, settings)
        traced = {name: spans.traced(model) for name, model in made.models.items()}
        return Stages(typing.cast(typing.Any, traced), made.costs)

    report = Runtime(bundle, [_source(order, order.cycle_s)], stages=stages).run([collector])
    said = summed(collector.ticks, report)
    said["timeline"] = timeline(collector, spans)
    busy = spans.busy_s()
    models_s = sum(busy.values())
    said["cpu"] |= {
        "models_s_per_s": {name: round(one / report["session_s"], 6) for name, one in busy.items()},
        "outside_models_share": round((report["cpu_s"] - models_s) / models_s, 4) if models_s else None,
    }
    kept = (
        "dropped_chunks",
        "late_encodings",
        "encoded",
        "dropped_outputs",
        "faults",
        "modalities",
        "peak_rss_mib",
        "plan",
        "events",
        "skew_ms",
    )
    return {**said, **{key: report[key] for key in kept}}


def summed(ticks: list[Tick], report: Record) -> Record:
    """Distributions, misses and metrics of one run's ticks."""
    session_s = report["session_s"]
    latencies = [tick.latency_ms for tick in ticks if tick.latency_ms is not None]
    responses = [tick.response_ms for tick in ticks]
    parts = blocks(range(len(ticks)), BLOCKS)
    cadence_s = report["cadence_ms"] / 1000
    cpu = [
        (ticks[part[-1]].cpu_s - ticks[part[0]].cpu_s) / ((ticks[part[-1]].number - ticks[part[0]].number) * cadence_s)
        for part in parts
        if len(part) > 1
    ]
    due = len(ticks) + sum(tick.skipped for tick in ticks)
    misses = sum(tick.missed for tick in ticks) + sum(tick.skipped for tick in ticks)
    metrics = {"misses": metric(misses, f"of {due}", [], counted=True)}
    for name, values in (("latency", latencies), ("response", responses)):
        rising = sorted(values)
        for percent in (50, 95, 99):
            repeats = [percentile(sorted(part), percent) for part in blocks(values, BLOCKS)]
            metrics[f"{name} p{percent}"] = metric(percentile(rising, percent) if rising else None, "ms", repeats)
    per_s = report["cpu_s"] / session_s if session_s else None
    metrics["CPU"] = metric(per_s, "s/s", cpu)
    return {
        "latency_ms": distribution(latencies),
        "response_ms": distribution(responses),
        "compute_ms": distribution(tick.compute_ms for tick in ticks),
        "due": due,
        "decisions": len(ticks),
        "states": report["states"],
        "misses": misses,
        "late_ticks": sum(tick.missed for tick in ticks),
        "skipped_ticks": sum(tick.skipped for tick in ticks),
        "cadence_ms": report["cadence_ms"],
        "budget_ms": report["budget_ms"],
        "session_s": session_s,
        "cpu": {"s_per_s": None if per_s is None else round(per_s, 6)},
        "metrics": metrics,
    }


def timeline(collector: Collector, spans: Spans) -> list[Record]:
    """The worst ticks and some ordinary ones: what ran when, ms from the tick; the newest samples are negative."""
    opening = collector.opening
    if opening is None or not collector.ticks:
        return []
    cadence_ns = opening.cadence_ms * 1_000_000
    settled = collector.ticks[4:] or collector.ticks
    worst = sorted(settled, key=lambda tick: -tick.response_ms)[:SHOWN_TICKS]
    middle = sorted(settled, key=lambda tick: tick.response_ms)[len(settled) // 2 :][:SHOWN_TICKS]
    shown = []
    for kind, ticks in (("worst", worst), ("median", [tick for tick in middle if tick not in worst])):
        for tick in ticks:
            # The response may be that of an embedding made before the tick; the latency is always up to the decision.
            newest_ns = max((end for _, end in tick.ends_ns), default=None)
            after_ms = tick.response_ms if newest_ns is None or tick.latency_ms is None else tick.latency_ms - (tick.t_ns - newest_ns) / 1e6
            out_ns = tick.t_ns + round(after_ms * 1e6)
            ran = spans.between(tick.t_ns - cadence_ns, out_ns)
            shown.append(
                {
                    "kind": kind,
                    "t_s": round((tick.t_ns - opening.start_ns) / 1e9, 3),
                    "response_ms": round(tick.response_ms, 4),
                    "out_ms": round(after_ms, 4),
                    "captured_ms": {modality: round((end - tick.t_ns) / 1e6, 3) for modality, end in tick.ends_ns},
                    "stages": [[name, round((a - tick.t_ns) / 1e6, 4), round((b - tick.t_ns) / 1e6, 4)] for name, a, b in ran],
                }
            )
    return shown


class _First:
    """Notes when the first decision came, and ends the run at the first with somebody in it."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.at_ns: int | None = None

    def open(self, opening: Opening) -> None: ...
    def close(self) -> None: ...

    def give(self, decision: Decision, timing: Timing) -> None:
        if decision.state != "no decision" and self.at_ns is None:
            self.at_ns = time.monotonic_ns()
            if self.runtime is not None:
                self.runtime.stop()


def _start(order: Order) -> Record:
    run = in_child("benchmarks.cycle:start", order)
    at_ns = run.said["at_ns"]
    return {"from_exec_s": (at_ns - run.exec_ns) / 1e9, "from_python_s": (at_ns - run.said["began_ns"]) / 1e9}


def start(order: Order) -> Record:
    """A user's run up to its first decision."""
    from edge.errors import InputError

    sink = _First()
    sink.runtime = Runtime(load_bundle(order.bundle), [f"replay:{order.session}"], duration_s=60.0)
    sink.runtime.run([sink])
    if sink.at_ns is None:
        raise InputError(f"{pathlib.PurePath(order.session).name}: nobody in its first 60 s, so no first decision; use another session")
    return {"at_ns": sink.at_ns, "began_ns": process_began_ns(sink.at_ns)}


def nothing(order: Order) -> Record:
    """The run without work."""
    bundle, collector = load_bundle(order.bundle), Collector()
    runtime = Runtime(bundle, [_source(order, order.idle_s)], compose=idle_cycle)
    report = runtime.run([collector])
    said = summed(collector.ticks, report)
    return {key: said[key] for key in ("response_ms", "cpu", "due", "misses", "session_s")} | {"peak_rss_mib": report["peak_rss_mib"]}


class _Deaf:
    """A front that looks at nothing."""

    detect_stretch = 1

    def __init__(self, modality: Modality, tracks: tuple[Track, ...]):
        self.modality, self.tracks = modality, tracks

    def push(self, chunk: Chunk) -> None: ...
    def poll(self, now_ns: int) -> None: ...


class _Mute:
    """A stage that is never asked."""

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        return {}


_TRACKS: dict[Modality, tuple[Track, ...]] = {"face": ("video",), "speech": ("audio",), "physiology": ("ppg", "ibi", "eda")}


def idle_cycle(bundle: Bundle, settings: Settings, clock: Clock) -> Cycle:
    """A cycle that takes chunks and does nothing with them: every decision is "no decision"."""
    branches = [Branch(_Deaf(modality, _TRACKS[modality]), _Mute(), "", patience=Patience(), clock=clock) for modality in MODALITIES]
    labels = bundle.manifest.labels
    fusion = Fusion(_Mute(), Form(dict.fromkeys(MODALITIES, 1)), labels=len(labels), temperature=1.0)
    return Cycle(branches, fusion, Smoother(labels, abstain_below=0.5, switch_margin=0.1), clock=clock)


def _source(order: Order, duration_s: float) -> typing.Callable[[], Replay]:
    recording = Looped(Spooled(pathlib.Path(order.spool)), round(duration_s * 1e9))
    return functools.partial(Replay, recording, SystemClock())


def _memory(seen: tuple[Vitals, ...], peak_mib: float) -> Record:
    half = [one.rss_mib for one in seen[len(seen) // 2 :]]
    return {
        "peak_mib": peak_mib,
        "steady_mib": statistics.median(half) if half else None,
        "steady_parts": [statistics.median(part) for part in blocks(half, 3, 3)],
        "series": [[one.t_s, one.rss_mib] for one in seen],
        "descriptors": [seen[len(seen) // 2].descriptors, seen[-1].descriptors] if seen else None,
        "threads": [seen[len(seen) // 2].threads, seen[-1].threads] if seen else None,
    }
