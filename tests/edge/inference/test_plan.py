from __future__ import annotations

import types

import numpy as np
import pytest

from edge.errors import InferenceError
from edge.inference.ladder import Effort, steps
from edge.inference.plan import Rates, StageCost, choose_threads, demand, measure, plan
from edge.inference.scheduler import MS, Budget

ALL = ("face", "speech", "physiology")
RATES = Rates(video_hz=20.0, speech_hz=2.0, physiology_hz=1.0, detect_every=2)
BUDGET = Budget(250, 200)


def costs(**ms: float) -> dict[str, StageCost]:
    return {name.replace("_1", "@1"): StageCost(value * MS, value * MS, value * MS, 1) for name, value in ms.items()}


def planned(budget: Budget = BUDGET, variants: int = 1, **ms: float):
    return plan(costs(**ms), steps(ALL, variants), ALL, RATES, budget)


class Timed:
    """A stage on a clock of its own: the first run takes 50 ms, the others ``ms``, every tenth twice that."""

    def __init__(self, ms: float):
        self.ms, self.now_ns, self.runs = ms, 0, 0

    def details(self):
        return types.SimpleNamespace(inputs={"window": types.SimpleNamespace(shape=(3, 2))})

    def run(self, **arrays):
        assert arrays["window"].shape == (3, 2) and arrays["window"].dtype == np.float32
        self.now_ns += round((50 if not self.runs else self.ms * (2 if self.runs % 10 == 0 else 1)) * MS)
        self.runs += 1
        return {}


def test_a_stage_is_run_at_least_five_times_and_not_for_long():
    slow, quick = Timed(40), Timed(0.01)
    for stage in (slow, quick):
        stage.cost = measure(stage, 1, now_ns=lambda stage=stage: stage.now_ns)
    assert slow.runs == 6 and slow.cost.median_ns == 40 * MS and slow.cost.first_ns == 50 * MS
    assert quick.runs <= 42 and quick.cost.p90_ns == 0.02 * MS


def test_more_threads_are_taken_only_where_they_pay():
    one, four, even = (StageCost(ms * MS, ms * MS, 0, threads) for ms, threads in ((10, 1), (4, 4), (9, 2)))
    assert choose_threads([one, even]) is one
    assert choose_threads([one, even, four]) is four


def test_the_demand_is_rate_times_cost_and_the_longest_cycle_is_everything_at_once():
    used, longest_ms = demand(costs(face=10, detector=8, speech=20, physiology=5, fusion=1), Effort(), (), RATES, BUDGET)
    assert used == pytest.approx(20 * 0.014 + 2 * 0.020 + 0.005 + 0.004)
    assert longest_ms == pytest.approx(44)


def test_each_part_of_the_effort_takes_off_what_it_says():
    stages = costs(face=10, detector=8, face_1=3, fusion=1)
    stages["face@1"] = stages.pop("face@1")
    assert demand(stages, Effort(detect_stretch=4), (), RATES, BUDGET)[0] == pytest.approx(20 * 0.011 + 0.004)
    assert demand(stages, Effort(face_gap_ms=200), (), RATES, BUDGET)[0] == pytest.approx(5 * 0.014 + 0.004)
    assert demand(stages, Effort(variant=1), (), RATES, BUDGET)[0] == pytest.approx(20 * 0.007 + 0.004)
    assert demand(stages, Effort(), ("face",), RATES, BUDGET)[1] == pytest.approx(1)


def test_what_fits_is_done_in_full():
    made = planned(face=1, detector=1, speech=1, physiology=1, fusion=1)
    assert (made.rung, made.dropped) == (0, ()) and len(made.why) == 1 and "% of a core" in made.why[0]


def test_what_does_not_fit_is_done_less_step_by_step_and_each_step_says_why():
    made = planned(face=20, detector=40, speech=20, physiology=1, fusion=1)
    assert 0 < made.rung <= 4 and not made.dropped
    assert len(made.why) == 1 + made.rung and all("with more it would be" in line for line in made.why[1:])


def test_at_the_end_the_modality_that_costs_most_is_left_out():
    made = planned(face=150, detector=10, speech=20, physiology=1, fusion=1)
    assert made.dropped == ("face",) and made.why[-1] == "left out: face"


def test_a_smaller_encoder_is_taken_before_anything_is_left_out():
    made = planned(variants=2, face=130, face_1=10, detector=10, speech=20, physiology=1, fusion=1)
    assert not made.dropped and made.rung == 5


def test_what_cannot_be_kept_at_all_is_refused_and_so_is_less_where_that_is_asked():
    slow = dict(face=300, detector=10, speech=300, physiology=300, fusion=1)
    with pytest.raises(InferenceError, match="cannot keep a budget of 200 ms every 250 ms: all stages take 911 ms"):
        planned(**slow)
    heavy = costs(face=20, detector=40, speech=20, physiology=1, fusion=1)
    with pytest.raises(InferenceError, match='set if_too_slow = "degrade"'):
        plan(heavy, steps(ALL, 1), ALL, RATES, BUDGET, refuse=True)


def test_a_modality_without_a_source_is_not_planned_for():
    made = plan(costs(face=300, speech=1, fusion=1), steps(("speech",), 1), ("speech",), Rates(video_hz=0.0), BUDGET)
    assert made.rung == 0
