from __future__ import annotations

import itertools

import hypothesis
import hypothesis.strategies as st
import pytest

from edge.inference.ladder import Effort, Hysteresis, Ladder, least_informative, steps

BEAT_NS = 250_000_000
ALL = ("face", "speech", "physiology")


def drive(ladder: Ladder, loads, weights=None, start: int = 0):
    """One beat a load; (beat, what was said) of each change."""
    return [
        (beat, said)
        for beat, load in enumerate(loads, start=start)
        if (said := ladder.see(beat * BEAT_NS, load, load > 1, weights or {})) is not None
    ]


def test_the_mildest_step_comes_first_and_the_last_modality_is_never_left_out():
    ladder = steps(ALL, variants=2)
    assert [step.effort.detect_stretch for step in ladder[:2]] == [2, 4]
    assert ladder[4].effort == Effort(4, 280, 1) and len(ladder) == 7
    assert steps(("speech",), variants=1) == ()


def test_what_says_least_is_left_out_and_an_unknown_weight_says_nothing():
    assert least_informative({"face": 0.5, "speech": 0.2, "physiology": 0.3}, ALL) == "speech"
    assert least_informative({"face": 0.5, "speech": 0.2}, ALL) == "physiology"
    assert least_informative({}, ("face", "speech")) == "speech"


def test_under_load_it_goes_down_step_by_step_and_leaves_out_by_weight():
    ladder = Ladder(steps(ALL, 1), ALL)
    said = [words for _, words in drive(ladder, [1.5] * 100, {"face": 0.2, "speech": 0.5, "physiology": 0.3})]
    assert said[-2:] == [
        "face is left out: it has the least weight in the fusion",
        "physiology is left out: it has the least weight in the fusion",
    ]
    assert len(said) == 6 and ladder.effort.dropped == ("face", "physiology")


def test_one_bad_beat_changes_nothing_and_neither_do_two():
    ladder = Ladder(steps(ALL, 1), ALL)
    assert drive(ladder, [0.2, 1.5, 0.2, 0.2, 1.5] + [0.2] * 20) == []


def test_it_goes_up_only_after_a_calm_time_and_between_the_thresholds_it_stays():
    ladder = Ladder(steps(ALL, 1), ALL)
    drive(ladder, [1.5] * 3)
    assert ladder.rung == 1
    assert drive(ladder, [0.6] * 400, start=3) == [], "neither high nor low"
    came = drive(ladder, [0.2] * 45, start=403)
    assert [words for _, words in came] == ["no longer: faces are looked for 2 times less often"]
    assert came[0][0] - 403 >= 40, "ten seconds of room first"
    assert ladder.effort == Effort()


def test_a_step_up_that_has_to_be_taken_back_doubles_the_time_until_the_next():
    ladder, beat, tries = Ladder(steps(("face",), 1), ("face",), rung=4), 0, []
    while len(tries) < 4:  # at full effort the load is too high, one step below it is low
        load = 0.3 if ladder.rung >= 4 else 1.2
        before = ladder.rung
        ladder.see(beat * BEAT_NS, load, load > 1, {})
        if ladder.rung < before:
            tries.append(beat)
        beat += 1
    waits = [b - a for a, b in itertools.pairwise(tries)]
    assert waits[1] > 1.6 * waits[0] and waits[2] > 1.6 * waits[1]


@hypothesis.given(st.lists(st.floats(0, 3), max_size=300), st.integers(1, 3))
def test_whatever_happens_the_effort_is_one_of_the_ladder_and_one_modality_stays(loads, count):
    modalities = ALL[:count]
    ladder = Ladder(steps(modalities, 2), modalities)
    for beat, load in enumerate(loads):
        ladder.see(beat * BEAT_NS, load, load > 1, {"face": 0.5})
        assert 0 <= ladder.rung <= len(steps(modalities, 2))
        assert len(set(ladder.effort.dropped)) == len(ladder.effort.dropped) < count
        assert len(ladder.dropped) == max(0, ladder.rung - (len(steps(modalities, 2)) - count + 1))


def test_a_miss_counts_as_a_beat_in_danger_whatever_the_load():
    hysteresis = Hysteresis()
    assert [hysteresis.judge(beat * BEAT_NS, 0.1, True) for beat in range(3)] == [0, 0, 1]


def test_right_after_a_step_nothing_is_judged():
    hysteresis = Hysteresis(settle_ns=4 * BEAT_NS)
    steps_down = [beat for beat in range(30) if hysteresis.judge(beat * BEAT_NS, 2.0, True)]
    assert steps_down == pytest.approx([2, 8, 14, 20, 26])
