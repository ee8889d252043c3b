from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convert.explanation.moment import Choice, Moment, decide_again
from edge.errors import BundleError, InputError
from edge.journal import Begun, Changed, Decided, Lost, Took
from edge.runtime import Runtime
from edge.sensors.recorder import Recorder
from edge.session import open_session
from edge.session_writer import SessionWriter
from edge.types import MODALITIES, Decision


def same(told, bundle, session) -> None:
    """The runtime decides the same."""
    start_ns = 0 if session.journal is None else session.journal.start_ns
    decisions = list(Runtime(bundle, [f"replay:{session.path}"], fast=True))
    assert [dataclasses.replace(one, t_ns=one.t_ns - start_ns, ends_ns={}) for one in decisions] == [
        dataclasses.replace(one, t_ns=t_ns, ends_ns={}) for one, t_ns in zip(told.decisions, told.times_ns, strict=True)
    ]


def test_a_session_is_decided_as_the_runtime_does_and_the_moment_holds_what_the_stages_were_given(bundle, short):
    told = decide_again(bundle, short, at_s=3.1)
    same(told, bundle, short)
    moment = told.moment
    assert moment.t_ns == 3_000_000_000 and moment.decision == told.decisions[11] and "3.1 s" in told.why
    assert moment.encoded.keys() == moment.decision.weights.keys() == {"face", "speech"}
    np.testing.assert_array_equal(moment.inputs["mask"], [1, 1, 0])
    for modality, encoded in moment.encoded.items():
        np.testing.assert_array_equal(moment.inputs[modality], encoded.embedding)
        again = encoded.model.run(**{encoded.input_name: encoded.window})["embedding"]
        np.testing.assert_array_equal(again, encoded.embedding)


def test_a_live_recording_is_decided_as_its_journal_says(bundle, chunks, tmp_path):
    start_ns, path = 7_000_000_123, tmp_path / "live.session.zip"
    recorder = Recorder(path, title="Live", consent="folder 3", kit={})
    recorder.open(start_ns, bundle.sha256)
    recorder.write(Begun(("video", "audio", "ppg", "eda")))
    tick_ns = start_ns + 250_000_000
    for chunk in chunks:
        if chunk.track in ("ppg", "eda"):
            continue
        late_ns = start_ns + chunk.end_ns + 20_000_000
        while tick_ns < late_ns:
            if tick_ns - start_ns == 2_000_000_000:
                recorder.write(Lost("ppg", "unplugged"))
                recorder.write(Lost("eda", "unplugged"))
                recorder.write(Changed({"detect_stretch": 2, "face_gap_ms": 0, "variant": 0, "dropped": []}))
            if tick_ns - start_ns != 3_000_000_000:  # one tick was slept through
                recorder.write(Decided(tick_ns, {"speech": "look"} if tick_ns - start_ns < 1_500_000_000 else {}))
            tick_ns += 250_000_000
        recorder.write(Took(late_ns, (dataclasses.replace(chunk, t_ns=chunk.t_ns + start_ns),), {}))
    recorder.close()
    session = open_session(path)
    told = decide_again(bundle, session)
    same(told, bundle, session)
    assert 3_000_000_000 not in told.times_ns and len(told.decisions) >= 15
    assert told.decisions[-1].absent["physiology"].detail == "unplugged"


def test_what_was_not_there_has_no_window_and_went_in_as_zeros(bundle, short):
    moment = decide_again(bundle, short, at_s=0.0).moment
    assert moment.t_ns == 250_000_000 and moment.encoded.keys() == {"face"}
    assert moment.inputs.keys() == {"face", "speech", "physiology", "mask", "previous"}
    assert not moment.inputs["speech"].any()


def chosen(at_ns: int | None, *decisions: tuple[str | None, float, int]) -> tuple[int, str]:
    """The time of the moment that is chosen of decisions 1, 2, ...: label, confidence, modalities present; and why."""
    choice = Choice(at_ns, middle_ns=3)
    for t_ns, (label, confidence, present) in enumerate(decisions, 1):
        weights = dict.fromkeys(MODALITIES[:present], 1 / max(present, 1))
        state = "no decision" if not present else "unsure" if label is None else "decided"
        decision = Decision(t_ns, label, state, confidence, {}, weights, {}, {})
        choice.see(t_ns, decision, lambda t_ns=t_ns, decision=decision: Moment(t_ns, decision, None, {}, {}))
    return choice.moment.t_ns, choice.why


def test_without_a_time_it_is_a_change_of_label_with_much_present_and_much_confidence():
    calm, low = ("calm", 0.9, 2), ("low", 0.6, 2)
    assert chosen(None, calm, low, ("tense", 0.7, 2), ("tense", 0.99, 2)) == (3, Choice.CHANGE)
    assert chosen(None, calm, ("low", 0.5, 3), calm) == (2, Choice.CHANGE)  # three modalities come before confidence
    assert chosen(None, calm, (None, 0.3, 2), (None, 0.0, 0), calm, low) == (5, Choice.CHANGE)  # back to the same is no change


def test_without_a_change_it_is_the_middle_where_something_was_present():
    calm, nothing = ("calm", 0.9, 2), (None, 0.0, 0)
    assert chosen(None, calm, calm, calm, calm, calm) == (3, Choice.MIDDLE)
    assert chosen(None, calm, nothing, nothing, nothing, nothing) == (1, Choice.MIDDLE)
    assert chosen(None, nothing, nothing, nothing) == (3, Choice.MIDDLE)
    assert chosen(2, calm, calm, ("low", 0.9, 3))[0] == 2


def test_a_time_outside_the_session_is_refused(bundle, short):
    with pytest.raises(InputError, match=r"--at 5\.1 is outside short\.session\.zip, which lasts 5 s"):
        decide_again(bundle, short, at_s=5.1)


def test_a_bundle_that_decides_nothing_is_refused_in_one_line(bundle, short):
    stages = {name: spec for name, spec in bundle.manifest.stages.items() if name != "fusion"}
    lone = type(bundle)(bundle.path, bundle.sha256, dataclasses.replace(bundle.manifest, stages=stages))
    with pytest.raises(BundleError, match="no stage fusion, so it decides nothing; it has detector, face"):
        decide_again(lone, short)


def test_a_session_that_ends_before_the_first_decision_is_refused(bundle, chunks, tmp_path):
    with SessionWriter(tmp_path / "s.session.zip", title="Blink", duration_ms=200) as writer:
        writer.add(next(chunk for chunk in chunks if chunk.track == "video"))
    with pytest.raises(InputError, match="too short for a single decision; there is one every 250 ms"):
        decide_again(bundle, open_session(tmp_path / "s.session.zip"))
