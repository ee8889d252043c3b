"""Whose time it is: a library's goes to who called it."""

from __future__ import annotations

import pytest

from benchmarks import cycle_profile

ROOT = ("/x/benchmarks/cycle_child.py", 1, "run")
SPEECH = ("/x/edge/preprocess/speech.py", 10, "push")
FACE = ("/x/edge/preprocess/image.py", 20, "crop_area")
MODEL = ("/x/edge/inference/model.py", 30, "run")
LIBRARY = ("/lib/numpy/lib.py", 5, "mean")
NATIVE = ("~", 0, "<built-in method reduce>")
INVOKE = ("~", 0, "<method 'Invoke' of 'InterpreterWrapper' objects>")
WRAPPER = ("/lib/ai_edge_litert/interpreter.py", 9, "invoke")


def stats():
    return {
        ROOT: (1, 1, 0.0, 10.0, {}),
        SPEECH: (4, 4, 1.0, 4.0, {ROOT: (4, 4, 1.0, 4.0)}),
        FACE: (2, 2, 0.5, 1.5, {ROOT: (2, 2, 0.5, 1.5)}),
        MODEL: (2, 2, 0.25, 3.25, {ROOT: (2, 2, 0.25, 3.25)}),
        LIBRARY: (6, 6, 1.0, 4.0, {SPEECH: (4, 4, 0.75, 3.0), FACE: (2, 2, 0.25, 1.0)}),
        NATIVE: (6, 6, 3.0, 3.0, {LIBRARY: (6, 6, 3.0, 3.0)}),
        WRAPPER: (2, 2, 0.5, 3.0, {MODEL: (2, 2, 0.5, 3.0)}),
        INVOKE: (2, 2, 2.5, 2.5, {WRAPPER: (2, 2, 2.5, 2.5)}),
    }


def test_library_time_is_shared_out_among_the_modules_that_called_it_as_their_calls_took_time():
    booked = cycle_profile.booked(stats())
    assert booked["speech features"] == pytest.approx(1.0 + 0.75 * 4.0)
    assert booked["face features"] == pytest.approx(0.5 + 0.25 * 4.0)


def test_only_the_native_call_of_the_interpreter_is_an_invocation_and_its_wrapper_is_glue():
    booked = cycle_profile.booked(stats())
    assert booked[cycle_profile.INVOCATION] == pytest.approx(2.5)
    assert booked["model glue"] == pytest.approx(0.75)


def test_nothing_is_lost_or_counted_twice():
    assert sum(cycle_profile.booked(stats()).values()) == pytest.approx(sum(row[2] for row in stats().values()))


def test_libraries_that_call_each_other_for_ever_end_as_other():
    first, second = ("/lib/a.py", 1, "a"), ("/lib/b.py", 1, "b")
    circle = {first: (1, 1, 1.0, 2.0, {second: (1, 1, 1.0, 2.0)}), second: (1, 1, 1.0, 2.0, {first: (1, 1, 1.0, 2.0)})}
    assert cycle_profile.booked(circle) == {cycle_profile.OTHER: pytest.approx(2.0)}


def test_heaviest_names_our_functions_with_what_they_asked_of_libraries():
    name, calls, seconds = cycle_profile.heaviest(stats(), 1)[0]
    assert (name, calls) == ("edge/preprocess/speech.py:10 push", 4)
    assert seconds == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/a/edge/preprocess/detection.py", "face features"),
        ("/a/edge/preprocess/ppg.py", "physiology features"),
        ("/a/edge/preprocess/voice.py", "speech features"),
        ("/a/edge/preprocess/one_that_is_new.py", "other features"),
        ("/a/edge/inference/cycle.py", "scheduling"),
        ("/a/edge/inference/fusion.py", "fusion glue"),
        ("/a/edge/session_tracks.py", "sensors"),
        ("/lib/numpy/core.py", None),
    ],
)
def test_a_module_is_booked_by_its_path(file, name):
    assert cycle_profile.group(file) == name


def test_samples_find_the_module_of_ours_that_is_at_work():
    from edge.preprocess.image import area_weights

    def work():
        for _ in range(1500):
            area_weights(240, 120, 0.0, 240.0)

    found = cycle_profile.sampled(work, passes=3, every_s=0.001)
    assert max(found, key=found.__getitem__) == "face features"
