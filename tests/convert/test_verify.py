"""The measures of agreement on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from convert.verify import OutputError, Verification, compare, kind_of, output_error, softmax
from edge.errors import ConversionError, InputError
from edge.inference.model import _TINY, Model


def verification(agreement: float = 0.9) -> Verification:
    outputs = {"probabilities": OutputError("probabilities", agreement, 0.1, 0.01), "embedding": OutputError("values", None, 0.02, 0.001)}
    return Verification("face", "ai-edge-litert 2.3.0", 50, outputs)


def test_softmax_sums_to_one_and_does_not_overflow():
    assert softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]])).round(6).tolist() == [[0.5, 0.5], [0.25, 0.75]]


def test_probabilities_are_told_by_their_sums_and_logits_by_their_name():
    rows = np.array([[0.25, 0.75], [0.5, 0.5]])
    assert kind_of("answer", rows) == "probabilities"
    assert kind_of("weights", rows) == "values"  # of an attention: which is largest is no answer
    assert kind_of("logits", rows * 7) == "logits"
    assert kind_of("embedding", rows * 7) == "values"
    assert kind_of("scores", np.ones((2, 1))) == "values"


def test_agreement_counts_equal_leaders_and_errors_are_of_probabilities():
    reference = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.0, 1.0]])
    got = np.array([[0.8, 0.2], [0.4, 0.6], [0.2, 0.8], [0.0, 1.0]])
    error = output_error("probabilities", reference, got)
    assert (error.agreement, error.max_error, error.mean_error) == (0.75, pytest.approx(0.2), pytest.approx(0.075))


def test_logits_are_compared_after_softmax():
    error = output_error("logits", np.array([[0.0, np.log(3)]]), np.array([[5.0, 5.0]]))
    assert (error.max_error, error.agreement) == (pytest.approx(0.25), 0.0)


def test_values_are_compared_in_units_of_their_span():
    error = output_error("embedding", np.array([[0.0, 4.0]]), np.array([[1.0, 4.0]]))
    assert (error.agreement, error.max_error, error.mean_error) == (None, 0.25, 0.125)


def test_a_model_agrees_with_itself():
    model = Model(_TINY, name="t", inputs={"x": "x"}, outputs={"y": "y"})
    found = compare(model, model, {"x": np.random.default_rng(0).normal(size=(5, 4))})
    assert (found.samples, found.outputs["y"].max_error, found.runtime) == (5, 0.0, model.runtime)


def test_no_samples_are_refused():
    model = Model(_TINY, name="t", inputs={"x": "x"}, outputs={"y": "y"})
    with pytest.raises(InputError, match="no samples to verify 't'"):
        compare(model, model, {"x": np.zeros((0, 4))})


def test_a_missed_gate_names_the_output_and_both_numbers():
    verification(0.98).check(0.98)
    with pytest.raises(ConversionError, match=r"'face': output 'probabilities' agrees with float on 90\.0% of 50 samples, below 98\.0%"):
        verification().check(0.98)


def test_it_prints_as_one_line_and_turns_into_plain_numbers():
    assert str(verification()).startswith("face: probabilities 90.0% agree, error max 0.100 mean 0.0100; embedding error")
    assert "\n" not in str(verification())
    assert verification().as_dict()["outputs"]["embedding"]["agreement"] is None
    assert verification().agreement == 0.9
