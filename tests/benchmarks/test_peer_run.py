"""Files of other converters are fitted to the network they were made from, by name, size and values."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import peer_run
from edge.errors import InferenceError


def test_inputs_are_matched_by_name_without_what_converters_add():
    shapes = {"face": (10, 4), "speech": (10, 4)}
    found = {"serving_default_speech:0": (10, 4), "serving_default_face:0": (10, 4)}
    assert peer_run.matched_inputs(shapes, found) == {"face": "serving_default_face:0", "speech": "serving_default_speech:0"}


def test_an_input_of_another_name_is_matched_by_its_size():
    assert peer_run.matched_inputs({"a": (4, 6, 3), "b": (5,)}, {"x": (5,), "y": (3, 4, 6)}) == {"a": "y", "b": "x"}


def test_an_input_that_could_be_two_is_refused():
    with pytest.raises(InferenceError, match="no one of them is input 'a'"):
        peer_run.matched_inputs({"a": (5,), "b": (5,)}, {"x": (5,), "y": (5,)})


def test_outputs_of_one_size_are_told_apart_by_their_values():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 8, 3))
    got = {"x": second + 0.1, "y": (first - 0.1).reshape(8, 3, 1), "z": np.zeros((8, 4))}
    assert peer_run.matched_outputs({"first": first, "second": second}, got) == {"first": "y", "second": "x"}


def test_a_missing_output_is_refused():
    with pytest.raises(InferenceError, match="no output 'boxes'"):
        peer_run.matched_outputs({"boxes": np.zeros((8, 4))}, {"x": np.zeros((8, 3))})


def test_channels_go_first_where_the_file_has_them_first():
    image = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    assert np.array_equal(peer_run._mover((2, 5, 3), (3, 2, 5))(image), image.transpose(2, 0, 1))
    assert peer_run._mover((2, 5, 1), (1, 2, 5))(image[..., :1]).shape == (1, 2, 5)
    with pytest.raises(InferenceError, match="takes"):
        peer_run._mover((2, 5, 3), (3, 2, 4))
