"""The comparison of two replays finds what differs, however small, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys

import numpy as np
import pytest


def load(name: str):
    """A file of the rig, which is run as a script and so is no package."""
    path = pathlib.Path(__file__).resolve().with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"arm64_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


compare = load("compare")


def test_the_same_arrays_have_no_gap_and_nan_is_itself():
    values = np.array([[0.0, np.nan], [1.5, -2.0]], np.float32)
    assert compare.gap(values, values.copy()) == compare.Gap(4, 0, 0.0, 2, 0)


@pytest.mark.parametrize("start", [1.0, -1.0, 1e-40, -3.4e38, 0.0])
def test_neighbouring_floats_differ(start):
    one = np.array([start], np.float32)
    found = compare.gap(one, np.nextafter(one, np.float32(3.4e38)))
    assert found.differing == found.calls_differing == 1 and found.largest > 0


def test_integers_differ_by_steps_even_from_one_end_to_the_other():
    found = compare.gap(np.array([[-128, 5], [3, 4]], np.int8), np.array([[127, 5], [3, 4]], np.int8))
    assert (found.elements, found.differing, found.largest, found.calls, found.calls_differing) == (4, 1, 255.0, 2, 1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="must fit"):
        compare.gap(np.zeros(3, np.int8), np.zeros(4, np.int8))


def write_trace(path, stored, output):
    stored, output = np.array(stored, np.int8), np.array(output, np.int8)
    np.savez(path, **{"face/real/x": stored.astype(np.float32), "face/stored/x": stored, "face/output/y": output})


def test_only_what_differs_on_the_same_bytes_is_the_interpreters_own(tmp_path):
    write_trace(tmp_path / "one.npz", [[1, 2], [3, 4], [5, 6]], [[1], [2], [3]])
    write_trace(tmp_path / "other.npz", [[1, 2], [3, 9], [5, 6]], [[1], [7], [5]])
    face = compare.compare_stages(tmp_path / "one.npz", tmp_path / "other.npz")["face"]
    assert face.stored.calls_differing == 1
    assert (face.output.differing, face.output.largest) == (2, 5.0)
    assert (face.own, face.own_largest) == (1, 2.0)


def test_a_shorter_trace_is_compared_as_far_as_it_goes(tmp_path):
    write_trace(tmp_path / "one.npz", [[1], [2], [3]], [[1], [2], [3]])
    write_trace(tmp_path / "other.npz", [[1], [2]], [[1], [2]])
    face = compare.compare_stages(tmp_path / "one.npz", tmp_path / "other.npz")["face"]
    assert face.calls == (3, 2) and face.stored.differing == 0


def decisions(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_decisions_are_told_apart_by_bytes_and_by_what_they_say(tmp_path):
    calm = {"state": "decided", "label": "calm", "probabilities": {"calm": 0.8, "tense": 0.2}, "absent": {}}
    nearly = {**calm, "probabilities": {"calm": 0.79, "tense": 0.21}}
    tense = {**calm, "label": "tense"}
    found = compare.compare_decisions(
        decisions(tmp_path / "one", calm, calm, calm), decisions(tmp_path / "other", calm, nearly, tense, tense)
    )
    assert found == compare.DecisionsGap((3, 4), 3, 1, 2, 0.01)


def test_equal_files_have_no_first_difference(tmp_path):
    one = decisions(tmp_path / "one", {"state": "no decision"})
    assert compare.compare_decisions(one, one) == compare.DecisionsGap((1, 1), 0, None, 0, 0.0)
