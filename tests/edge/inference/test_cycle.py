from __future__ import annotations

import threading

import numpy as np
from tiny import LABELS, Encoder, Votes, branch, cycle, fusion

from edge.clock import ManualClock
from edge.inference.cycle import Cycle
from edge.inference.ladder import Effort
from edge.inference.scheduler import MS, NEVER, Budget, Ticks
from edge.inference.smoothing import Smoother
from edge.types import Chunk


def chunks(t_ms: float, **values: float) -> list[Chunk]:
    tracks = {"face": "video", "speech": "audio", "physiology": "ppg"}
    return [Chunk(tracks[m], round(t_ms * MS), 4.0, np.full((1,), value, np.float32)) for m, value in values.items()]


def test_the_loudest_modality_decides_and_the_newest_sample_is_named():
    heart = cycle()
    heart.take(chunks(100, face=0.2, speech=1.0), 100 * MS, NEVER)
    heart.take(chunks(200, face=0.1), 200 * MS, NEVER)
    decision = heart.decide(250 * MS, NEVER)
    assert (decision.label, decision.state, decision.newest_ns) == ("calm", "decided", 200 * MS)
    assert set(decision.weights) == {"face", "speech"} and decision.absent["physiology"].reason == "lost"


def test_chunks_that_piled_up_are_encoded_once():
    heart = cycle()
    heart.take([c for t in range(0, 500, 50) for c in chunks(t, face=1.0)], 500 * MS, NEVER)
    assert heart.branches[0].encoded == 1


def test_with_nothing_present_there_is_no_decision_and_the_fusion_is_not_run():
    votes = Votes()
    heart = cycle(votes=votes)
    decision = heart.decide(250 * MS, NEVER)
    assert decision.state == "no decision" and set(decision.absent) == {"face", "speech", "physiology"}
    assert votes.given == []


def test_a_fusion_that_gives_nan_gives_no_decision_and_recovers():
    votes = Votes()
    heart = cycle(votes=votes)
    heart.take(chunks(0, face=1.0), 0, NEVER)
    votes.poisoned = True
    bad = heart.decide(250 * MS, NEVER)
    assert bad.state == "no decision" and bad.absent["face"].reason == "noisy" and heart.faults()["fusion"] == 1
    votes.poisoned = False
    assert heart.decide(500 * MS, NEVER).state == "decided"


def test_tracks_that_no_modality_wants_are_let_go():
    heart = cycle()
    heart.take([Chunk("eda", 0, 4.0, np.ones(1, np.float32))], 0, NEVER)
    heart.source_lost("eda", "unplugged")
    assert heart.decide(250 * MS, NEVER).state == "no decision"


def test_a_stage_too_slow_to_fit_becomes_late_and_nearly_every_tick_still_decides_in_time():
    """Ten seconds at real pace in simulated time: encoding a face takes 900 ms of a beat of 250."""
    clock, budget = ManualClock(), Budget(250, 200)
    slow = Encoder(clock, takes_ms=900)
    branches = [branch("face", slow, clock), branch("speech", clock=clock), branch("physiology", clock=clock)]
    heart = Cycle(branches, fusion(), Smoother(LABELS, abstain_below=0.4, switch_margin=0.1), clock=clock)
    ticks, decisions, skipped, in_time = Ticks(0, budget.cadence_ns), [], 0, 0
    for t_ms in range(0, 10_000, 50):
        clock.advance_to(t_ms * MS)
        now_ns = clock.now_ns()
        heart.take(chunks(t_ms, face=1.0, speech=1.0, physiology=1.0), now_ns, budget.deadline(ticks.coming_ns(now_ns)))
        if clock.now_ns() >= ticks.next_ns:
            tick_ns, behind = ticks.take_latest(clock.now_ns())
            decisions.append(heart.decide(tick_ns, budget.deadline(tick_ns)))
            in_time += clock.now_ns() <= tick_ns + budget.budget_ns
            skipped += behind
    assert slow.runs == 1, "tried once, and not again for a while"
    assert skipped <= 3 and len(decisions) + skipped == 39 and in_time >= len(decisions) - 1
    assert {d.absent["face"].reason for d in decisions[-20:]} == {"late"}
    assert all(d.weights.keys() == {"speech", "physiology"} for d in decisions[-20:])


class Meets(Encoder):
    """Answers once another one is at work at the same time."""

    def __init__(self, meeting: threading.Barrier):
        super().__init__()
        self.meeting = meeting

    def run(self, **arrays):
        self.meeting.wait(10)
        return super().run(**arrays)


def test_slow_encoders_work_at_the_same_time_and_quick_ones_one_after_the_other():
    for expected_ms, at_once in ((5.0, True), (0.1, False)):
        meeting = threading.Barrier(2)
        encoders = [Meets(meeting) if at_once else Encoder() for _ in range(2)]
        branches = [branch(m, encoder, expected_ms=expected_ms) for m, encoder in zip(("face", "speech"), encoders, strict=True)]
        smoother = Smoother(LABELS, abstain_below=0.4, switch_margin=0.1)
        made = Cycle([*branches, branch("physiology")], fusion(), smoother, clock=ManualClock(), cores=2)
        made.begin(0)
        chunks = [Chunk(track, 0, 4.0, np.ones((1, 2, 2), np.float32)) for track in ("video", "audio")]
        made.take(chunks, MS, NEVER)
        assert [encoder.runs for encoder in encoders] == [1, 1]
        assert made.decide(2 * MS, NEVER).absent.keys() == {"physiology"}


def test_what_is_to_be_left_out_again_is_left_out_whatever_the_time():
    made = cycle()
    made.begin(0)
    made.take([Chunk("video", 0, 4.0, np.ones((1, 2, 2), np.float32))], MS, NEVER, {"face": "encode"})
    assert made.left_out == {"face": "encode"} and made.decide(2 * MS, NEVER, {}).absent["face"].reason == "late"


def test_a_dropped_modality_says_why_and_comes_back():
    made = cycle()
    made.begin(0)
    made.set_effort(Effort(dropped=("face",)))
    made.take([Chunk("video", 0, 4.0, np.ones((1, 2, 2), np.float32))], MS, NEVER)
    assert made.decide(2 * MS, NEVER).absent["face"].detail == "left out to keep the beat"
    made.set_effort(Effort())
    made.take([Chunk("video", 3 * MS, 4.0, np.ones((1, 2, 2), np.float32))], 4 * MS, NEVER)
    assert "face" not in made.decide(5 * MS, NEVER).absent


def test_what_was_too_slow_when_it_was_left_out_is_tried_at_once_when_it_is_taken_in_again():
    clock = ManualClock()
    encoder = Encoder(clock, takes_ms=500)
    faces = branch("face", encoder, clock=clock)
    made = Cycle([faces], fusion(), Smoother(LABELS, abstain_below=0.4, switch_margin=0.1), clock=clock)
    made.begin(0)
    budget = Budget(250, 200)
    for _ in range(12):
        at_ns = clock.now_ns()
        made.take([Chunk("video", at_ns, 4.0, np.ones((1, 2, 2), np.float32))], at_ns, budget.deadline(at_ns))
        clock.advance_to(at_ns + 250 * MS)
    assert made.left_out == {"face": "look"}
    made.set_effort(Effort(dropped=("face",)))
    encoder.takes_ms = 1
    made.set_effort(Effort())
    at_ns = clock.now_ns()
    made.take([Chunk("video", at_ns, 4.0, np.ones((1, 2, 2), np.float32))], at_ns, budget.deadline(at_ns))
    assert made.left_out == {} and made.decide(at_ns + 2 * MS, NEVER).absent.keys() >= {"speech"}


def test_frames_that_wait_for_their_turn_on_purpose_are_not_late():
    clock = ManualClock()
    faces = branch("face", Encoder(clock, takes_ms=1), clock=clock)
    made = Cycle([faces], fusion(), Smoother(LABELS, abstain_below=0.4, switch_margin=0.1), clock=clock)
    made.begin(0)
    made.set_effort(Effort(face_gap_ms=200))
    for at_ms in (0, 100, 201):
        clock.advance_to(at_ms * MS)
        frames = [Chunk("video", at_ms * MS, 4.0, np.ones((1, 2, 2), np.float32))] if at_ms < 200 else []
        made.take(frames, at_ms * MS, NEVER)
    made.decide(201 * MS, NEVER)
    assert faces.encoded == 2 and made.take_lag_ns() <= 3 * MS
