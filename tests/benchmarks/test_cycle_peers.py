"""Peers as processes: told what to do, and honest about what failed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from benchmarks import cycle_onnx, cycle_peers
from edge.errors import InferenceError, InputError

SERVER = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for count, line in enumerate(sys.stdin):
    if line == "break\\n":
        sys.exit("the model is gone")
    print(json.dumps({"cpu_s": count, "told": line.strip()}), flush=True)
"""


@pytest.fixture
def child():
    made = cycle_peers.Child([sys.executable, "-c", SERVER])
    yield made
    made.close()


def test_a_child_answers_each_line(child):
    assert child.tell("run") == {"cpu_s": 0, "told": "run"}
    assert child.tell("answers x") == {"cpu_s": 1, "told": "answers x"}


def test_a_child_that_ends_tells_its_last_words(child):
    with pytest.raises(InferenceError, match="status 1: the model is gone"):
        child.tell("break")


def test_rounds_are_taken_in_turn_each_beginning_with_another_peer():
    log = []

    class Told:
        def __init__(self, name):
            self.name = name

        def tell(self, line):
            log.append(self.name)
            return {"cpu_s": float(len(log))}

    took = cycle_peers._rounds({name: Told(name) for name in "abc"}, 2)
    assert "".join(log) == "abcbca"
    assert took == {"a": [1.0, 6.0], "b": [2.0, 4.0], "c": [3.0, 5.0]}


def test_a_peer_that_nobody_knows_is_refused_with_those_known():
    assert cycle_peers._chosen(["bare", "affectkit"]) == ["affectkit", "bare"]
    with pytest.raises(InputError, match="got 'onnx'; it is one of affectkit"):
        cycle_peers._chosen(["onnx"])


def test_detectors_agree_by_presence_and_by_overlap_of_the_faces_that_both_found():
    nothing = [np.nan] * 4
    ours = np.array([[0, 0, 10, 10], [0, 0, 10, 10], nothing, nothing], np.float32)
    theirs = np.array([[0, 0, 10, 5], nothing, nothing, nothing], np.float32)
    assert cycle_peers._alike(ours, theirs) == {"presence": 0.75, "overlap": 0.5}


def test_counting_keeps_what_was_measured_before(tmp_path, monkeypatch):
    (tmp_path / "cycle-peers.json").write_text(json.dumps({"session_s": 90.0}))
    monkeypatch.setattr(cycle_peers, "count_instructions", lambda name, work: {"affectkit": 10, "bare": 5}[name])
    told = cycle_peers._with_instructions(tmp_path, tmp_path)
    assert told["session_s"] == 90.0
    assert told["instructions"]["counts"] == {"affectkit": 10, "bare": 5}


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "pads"),
    [((48, 48), (3, 3), (1, 1), [1, 1, 1, 1]), ((48, 48), (3, 3), (2, 2), [0, 0, 1, 1]), ((15, 20), (5, 1), (1, 1), [2, 0, 2, 0])],
)
def test_padding_is_tensorflows_same(size, kernel, strides, pads):
    assert cycle_onnx._pads(size, kernel, strides) == pads
