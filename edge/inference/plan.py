"""Before a run at real pace: what every stage takes on this machine, and with how much effort the budget can be kept.

The utilisation of the processor is the sum over stages of cost times rate (Liu & Layland, 1973, J. ACM 20(1), section 3); the longest
cycle is the one in which everything falls due at once.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import statistics
import time
import typing

import numpy as np

from edge.errors import InferenceError
from edge.inference.ladder import Effort, Step
from edge.inference.scheduler import MS, Budget
from edge.types import MODALITIES, Modality

FULL = 0.7
"""Utilisation that is planned up to; the rest is for the features, the outputs and the system."""
LEAST_RUNS, MOST_RUNS = 5, 40
LONGEST_NS = 60 * MS
"""Time spent on one stage with one number of threads, but for the first runs."""
WORTH = 0.7
"""More threads are taken when they need no more than this share of the time of one."""


class Runs(typing.Protocol):
    """A stage as ``edge.inference.model.Model`` is one."""

    def details(self) -> typing.Any: ...
    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]: ...


@dataclasses.dataclass(frozen=True)
class StageCost:
    """What one inference of one stage takes here."""

    median_ns: float
    p90_ns: float
    first_ns: float
    """The very first, with caches cold and memory not yet touched."""
    threads: int


def measure(model: Runs, threads: int, *, now_ns: collections.abc.Callable[[], int] = time.perf_counter_ns) -> StageCost:
    """Run ``model`` on zeros: 5 to 40 times, for 60 ms at most once it has run five times."""
    arrays = {name: np.zeros(tensor.shape, np.float32) for name, tensor in model.details().inputs.items()}
    taken: list[int] = []
    began_ns = now_ns()
    while len(taken) <= LEAST_RUNS or (len(taken) <= MOST_RUNS and now_ns() - began_ns < LONGEST_NS):
        before_ns = now_ns()
        model.run(**arrays)
        taken.append(now_ns() - before_ns)
    first, *rest = taken
    return StageCost(statistics.median(rest), sorted(rest)[-max(1, len(rest) // 10)], first, threads)


def choose_threads(costs: collections.abc.Sequence[StageCost]) -> StageCost:
    """The fewest threads that pay: more must bring the median to ``WORTH`` of what the choice so far takes."""
    best = costs[0]
    for cost in costs[1:]:
        if cost.median_ns <= WORTH * best.median_ns:
            best = cost
    return best


@dataclasses.dataclass(frozen=True)
class Rates:
    """How often what falls due in a second."""

    video_hz: float = 15.0
    speech_hz: float = 2.0
    physiology_hz: float = 1.0
    detect_every: int = 2
    """Frames from one face detection to the next."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was measured and decided."""

    costs: collections.abc.Mapping[str, StageCost]
    rung: int
    """Steps of the ladder taken from the start."""
    dropped: tuple[Modality, ...]
    """Modalities left out from the start, the costliest first."""
    utilisation: float
    """Share of one core that the stages take."""
    longest_ms: float
    """All stages one after the other."""
    why: tuple[str, ...]
    """What was decided and why, a line each."""

    def as_record(self) -> dict[str, typing.Any]:
        """For reports."""
        return {
            "stages_ms": {name: round(cost.median_ns / 1e6, 4) for name, cost in self.costs.items()},
            "threads": {name: cost.threads for name, cost in self.costs.items()},
            "rung": self.rung,
            "utilisation": round(self.utilisation, 4),
            "longest_ms": round(self.longest_ms, 3),
            "why": list(self.why),
        }


def demand(
    costs: collections.abc.Mapping[str, StageCost],
    effort: Effort,
    dropped: collections.abc.Collection[Modality],
    rates: Rates,
    budget: Budget,
) -> tuple[float, float]:
    """Utilisation (cores) and the longest cycle (ms) with ``effort``; stages that ``costs`` lacks cost nothing.

    Args:
        costs: by stage; "face@1" is the first smaller encoder of the face.
        effort: how much is done.
        dropped: modalities left out.
        rates: how often what falls due.
        budget: cadence of the fusion.
    """

    def cost_ns(stage: str) -> float:
        names = [f"{stage}@{number}" for number in range(effort.variant, 0, -1)]
        found = next((costs[name] for name in (*names, stage) if name in costs), None)
        return 0.0 if found is None else found.median_ns

    frames_hz = min(rates.video_hz, 1000 / effort.face_gap_ms) if effort.face_gap_ms else rates.video_hz
    every = {
        "face": (frames_hz, cost_ns("face") + cost_ns("detector") / (rates.detect_every * effort.detect_stretch)),
        "speech": (rates.speech_hz, cost_ns("speech")),
        "physiology": (rates.physiology_hz, cost_ns("physiology")),
    }
    kept = {modality: both for modality, both in every.items() if modality not in dropped}
    fusion_ns = cost_ns("fusion")
    used = sum(rate * cost for rate, cost in kept.values()) / 1e9 + fusion_ns / budget.cadence_ns
    longest_ns = sum(cost_ns(modality) for modality in kept) + (cost_ns("detector") if "face" in kept else 0.0) + fusion_ns
    return used, longest_ns / MS


def plan(
    costs: collections.abc.Mapping[str, StageCost],
    ladder: collections.abc.Sequence[Step],
    modalities: collections.abc.Sequence[Modality],
    rates: Rates,
    budget: Budget,
    *,
    refuse: bool = False,
) -> Plan:
    """With how much effort to begin so that ``budget`` is kept.

    Args:
        costs, rates, budget: see ``demand``.
        ladder: from ``ladder.steps``.
        modalities: those with a source.
        refuse: say no rather than do less than everything.

    Raises:
        InferenceError: the budget cannot be kept on this machine, or not in full and ``refuse`` is set.
    """
    dropped: list[Modality] = []
    effort = Effort()
    without = [modality for modality in MODALITIES if modality not in modalities]
    steps_down = len(ladder) - max(len(modalities) - 1, 0)
    tried: list[tuple[float, float]] = []
    for rung in range(len(ladder) + 1):
        if rung:
            effort = ladder[rung - 1].effort
        if rung > steps_down:
            left = [modality for modality in modalities if modality not in dropped]
            dropped.append(max(left, key=lambda m: demand(costs, effort, [o for o in MODALITIES if o != m], rates, budget)[0]))
        tried.append(demand(costs, effort, [*without, *dropped], rates, budget))
        if _fits(tried[-1], budget):
            break
    used, longest_ms = tried[-1]
    words = f"stages take {100 * used:.0f} % of a core, {longest_ms:.1f} ms when all fall due; the budget is {budget.budget_ms} ms"
    if not _fits(tried[-1], budget) or (refuse and rung):
        whole_used, whole_ms = tried[0]
        raise InferenceError(
            f"this machine cannot keep a budget of {budget.budget_ms} ms every {budget.cadence_ms} ms: all stages take "
            f"{whole_ms:.0f} ms and {100 * whole_used:.0f} % of a core; raise [budget] in kit.toml, use a smaller bundle"
            + (' or set if_too_slow = "degrade"' if refuse else "")
        )
    lines = [words]
    for step, before in zip(ladder[:rung], tried, strict=False):
        lines.append(f"{step.says}: with more it would be {100 * before[0]:.0f} % and {before[1]:.1f} ms")
    if dropped:
        lines.append(f"left out: {', '.join(dropped)}")
    if many := {name: cost.threads for name, cost in costs.items() if cost.threads > 1}:
        lines.append("threads: " + ", ".join(f"{name} {threads}" for name, threads in many.items()))
    return Plan(costs, rung, tuple(dropped), used, longest_ms, tuple(lines))


def _fits(needed: tuple[float, float], budget: Budget) -> bool:
    return needed[0] <= FULL and needed[1] <= FULL * budget.budget_ms
