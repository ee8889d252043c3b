"""Scenario *overload*: stages slower than the board can bear."""

from __future__ import annotations

import collections
import collections.abc
import functools
import pathlib
import typing

from benchmarks.harness import Order, Record, distribution, in_child, metric
from benchmarks.recording import Looped, Spooled
from benchmarks.trace import Collector, Slowed, Slowness, Tick
from edge.bundle import Bundle, load_bundle
from edge.clock import SystemClock
from edge.compose import Stages, load_stages, measured_stages, rates, smaller_encoders
from edge.config import InferenceSettings, Settings
from edge.errors import InferenceError
from edge.inference.ladder import Effort, steps
from edge.inference.plan import StageCost, demand, plan
from edge.inference.scheduler import Budget
from edge.runtime import Runtime
from edge.sensors.replay import Replay
from edge.types import MODALITIES

FILLED = 0.6
"""Of the budget and of a core, what the slow board's stages take."""
SLOW_SHARE = 3 / 8
"""Of a run; the rest is at the slow board's own speed, to recover."""
NOBODY = "no decision"


def measure(order: Order) -> Record:
    """What degrades when all stages are slower than planned, and whether the beat is kept.

    First a *slow board* is made of this one: each stage burns time until it has taken a fixed multiple of its median here, so large
    that all stages together fill 60 % of the budget, or of a core, whichever is reached first; that plan just fits. A run begins
    planned for that board, and from its first inference on every stage takes 1, 2, 3 or 5 times as long, untold: for three eighths of
    the run, then as long as planned. A tick is served if it got a decision with somebody in it, or if the session has nobody there:
    no decision either where the same session is decided fast, without any want of time. A tick without a decision and one whose
    decision came later than the budget are misses. Recovery is the time from the end of the slowness to the end of each step back.
    What a plan would decide that is told of the slowness beforehand stands beside it.
    """
    board = in_child("benchmarks.overload:slow_board", order).said
    runs, metrics = [], {}
    for factor in order.factors:
        said = in_child("benchmarks.overload:child", order, factor=factor, takes_ns=board["takes_ns"]).said
        said["served"] = served(said.pop("states"), board["states"], said["due"])
        runs.append(said)
        name = f"{factor:g} x slower"
        metrics[f"{name}: ticks not served"] = metric(said["due"] - said["served"]["count"], f"of {said['due']}", counted=True)
        metrics[f"{name}: misses"] = metric(said["misses"], f"of {said['due']}", counted=True)
    return {**{key: value for key, value in board.items() if key != "states"}, "runs": runs, "metrics": metrics}


def served(states: collections.abc.Mapping[str, str], usual: collections.abc.Mapping[str, str], due: int) -> Record:
    """How many of ``due`` ticks got what they should; both mappings are by the number of the tick, as text."""
    count = sum(state != NOBODY or usual.get(number, NOBODY) == NOBODY for number, state in states.items())
    return {"count": count, "share": round(count / due, 5) if due else None}


def slow_board(order: Order) -> Record:
    """What each stage takes on the slow board, what a plan says of it at each factor, and what is decided without want of time."""
    bundle, settings = load_bundle(order.bundle), Settings(inference=InferenceSettings(threads=1))
    costs = measured_stages(bundle, settings).costs
    budget, often = Budget(bundle.manifest.cadence_ms, bundle.manifest.budget_ms), rates(bundle, settings)
    used, longest_ms = demand(costs, Effort(), (), often, budget)
    scale = FILLED / max(used, longest_ms / budget.budget_ms)
    takes_ns = {name: cost.median_ns * scale for name, cost in costs.items()}
    fed = [modality for modality in MODALITIES if modality in bundle.manifest.stages]
    ladder = steps(fed, 1 + max((len(smaller_encoders(bundle, modality)) for modality in fed), default=0))
    planned = []
    for factor in order.factors:
        slow = {name: _cost(ns * factor) for name, ns in takes_ns.items()}
        try:
            made = plan(slow, ladder, fed, often, budget)
            planned.append({"factor": factor, "rung": made.rung, "why": list(made.why)})
        except InferenceError as error:
            planned.append({"factor": factor, "rung": None, "why": [str(error)]})
    fast = Runtime(bundle, [_source(order)], fast=True)
    states = {str(round(decision.t_ns / budget.cadence_ns)): decision.state for decision in fast}
    return {
        "scale": round(scale, 3),
        "takes_ns": takes_ns,
        "utilisation": round(used * scale, 4),
        "longest_ms": round(longest_ms * scale, 3),
        "planned": planned,
        "states": states,
    }


def child(order: Order, factor: float, takes_ns: dict[str, float]) -> Record:
    """One run that is slower for its beginning."""
    slow_s = SLOW_SHARE * order.overload_s
    slowness, collector = Slowness(factor, round(slow_s * 1e9)), Collector()

    def stages(bundle: Bundle, settings: Settings) -> Stages:
        models = {name: Slowed(model, takes_ns[name], slowness) for name, model in load_stages(bundle, settings).models.items()}
        return Stages(typing.cast(typing.Any, models), {name: _cost(ns) for name, ns in takes_ns.items()})

    runtime = Runtime(load_bundle(order.bundle), [_source(order)], settings=Settings(inference=InferenceSettings(threads=1)), stages=stages)
    report = runtime.run([collector])
    said = summed(collector.ticks, collector.told(), report, slow_s)
    return {"factor": factor, **said, "begins_at_rung": 0 if runtime.plan is None else runtime.plan.rung}


def summed(ticks: list[Tick], events: list[Record], report: Record, slow_s: float) -> Record:
    """What a run with slowness up to ``slow_s`` came to."""
    cadence_s = report["cadence_ms"] / 1000
    due = len(ticks) + sum(tick.skipped for tick in ticks)
    phases = {}
    for name, chosen in (
        ("slow", [tick for tick in ticks if tick.number * cadence_s <= slow_s]),
        ("after", [tick for tick in ticks if tick.number * cadence_s > slow_s]),
    ):
        present = collections.Counter(modality for tick in chosen for modality in tick.present)
        phases[name] = {
            "decisions": len(chosen),
            "late": sum(tick.missed for tick in chosen),
            "skipped": sum(tick.skipped for tick in chosen),
            "present": {modality: round(present[modality] / max(1, len(chosen)), 4) for modality in MODALITIES},
            "response_ms": distribution(tick.response_ms for tick in chosen),
        }
    back = [round(event["t_s"] - slow_s, 3) for event in events if event["event"] == "restored" and event["t_s"] > slow_s]
    changes = [event for event in events if event["event"] in ("degraded", "restored")]
    down = sum(1 if event["event"] == "degraded" else -1 for event in changes)
    return {
        "states": {str(tick.number): tick.state for tick in ticks},
        "due": due,
        "misses": sum(tick.missed for tick in ticks) + due - len(ticks),
        "budget_ms": report["budget_ms"],
        "cadence_kept": round(len(ticks) / due, 5) if due else None,
        "slow_s": slow_s,
        "session_s": report["session_s"],
        "phases": phases,
        "events": changes,
        "recovery": {"restored_after_s": back, "steps_not_yet_back": down},
        "late_encodings": report["late_encodings"],
        "dropped_chunks": report["dropped_chunks"],
        "response_series_ms": [[round(tick.number * cadence_s, 3), round(tick.response_ms, 3)] for tick in ticks],
    }


def _cost(ns: float) -> StageCost:
    return StageCost(ns, ns, ns, 1)


def _source(order: Order) -> typing.Callable[[], Replay]:
    recording = Looped(Spooled(pathlib.Path(order.spool)), round(order.overload_s * 1e9))
    return functools.partial(Replay, recording, SystemClock())
