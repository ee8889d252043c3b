"""All forms are built and measured; the fastest that is good enough is kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert import choose  # noqa: E402
from convert.gates import Gates  # noqa: E402
from convert.readers.keras import KerasSource  # noqa: E402
from convert.worker import Worker  # noqa: E402


@pytest.fixture(scope="module")
def worker():
    with Worker() as running:
        yield running


@pytest.fixture(scope="module")
def recurrent():
    keras.utils.set_random_seed(2)
    x = inputs = keras.Input((12, 10), name="x")
    x = layers.Bidirectional(layers.LSTM(32))(x)
    return KerasSource(keras.Model(inputs, {"probabilities": layers.Dense(3, activation="softmax")(x)}, name="r"))


def samples(count):
    return {"x": np.random.default_rng(count).normal(size=(count, 12, 10)).astype(np.float32)}


def test_every_recipe_and_form_is_measured_and_one_is_kept(recurrent, worker):
    made = choose.convert_best(recurrent, samples(120), verification=samples(60), worker=worker, gates=Gates(min_agreement=0.9))
    told = [c for c in made.report.candidates if c.lstm_form != "step"]
    assert [c.failed for c in made.report.candidates if c.lstm_form == "step"] == [
        "'r' has no step form: no forward recurrent layer reads an input step by step"
    ]
    assert {(c.recipe, c.lstm_form) for c in told} == {(r.name, f) for r in choose.RECIPES for f in ("fused", "unrolled")}
    chosen = [c for c in told if c.chosen]
    assert len(chosen) == 1
    assert (chosen[0].recipe, chosen[0].lstm_form, chosen[0].bytes) == (made.report.recipe, made.report.lstm_form, len(made.content))
    assert not chosen[0].failed
    open_to = [c for c in told if not c.failed]
    smallest_float = min(c.bytes for c in told if c.recipe == "float32")
    small = [c for c in open_to if c.bytes <= choose.PREFERRED_SHARE * smallest_float] or open_to
    fastest = min(c.latency.median_ms for c in small)
    assert chosen[0].latency.median_ms <= fastest * (1 + choose.NOISE)
    assert "the fastest float form" in made.report.why
    # The fused operator takes no 16-bit activations: a candidate that cannot be made is told, and stops nothing.
    refused = next(c for c in told if (c.recipe, c.lstm_form) == ("static_wi8_ai16", "fused"))
    assert refused.failed
    assert refused.latency is None


def test_the_step_form_is_measured_beside_the_others_and_not_chosen(worker):
    keras.utils.set_random_seed(2)
    x = inputs = keras.Input((12, 10), name="x")
    model = keras.Model(inputs, {"probabilities": layers.Dense(3, activation="softmax")(layers.LSTM(8)(x))}, name="r")
    made = choose.convert_best(KerasSource(model), samples(120), verification=samples(40), worker=worker, gates=Gates(min_agreement=0.5))
    steps = [c for c in made.report.candidates if c.lstm_form == "step"]
    assert [c.recipe for c in steps] == ["static_wi8_ai8", "dynamic_wi8_afp32"]
    assert all("one step of 12, another interface: --streaming" in c.failed and c.latency.median_ms > 0 and not c.chosen for c in steps)
    assert all(c.mean_error < 0.03 for c in steps)


def test_where_none_is_good_enough_the_nearest_to_float_is_given_with_its_gate_missed(recurrent, worker):
    made = choose.convert_best(recurrent, samples(120), verification=samples(60), worker=worker, gates=Gates(max_bytes=10))
    assert made.report.why.startswith("none passes the gates (max-bytes is 10")
    others = [c for c in made.report.candidates if c.latency is not None and c.recipe != "float32"]
    assert max(c.agreement for c in others) == next(c.agreement for c in others if c.chosen)


@dataclasses.dataclass(frozen=True)
class _Report:
    bytes: int
    verification: None = None


@dataclasses.dataclass(frozen=True)
class _Made:
    report: _Report


def pick(sizes, times, missed=()):
    made = {key: _Made(_Report(size)) for key, size in sizes.items()}
    floats = {("float32", "fused"): 1.0}
    return choose._pick(made, {key: "gate" if key in missed else "" for key in made}, {**times, **floats}, 1000)[0]


def test_a_small_file_goes_before_a_faster_large_one_and_the_smaller_of_two_equally_fast():
    a, b, c = ("static_wi8_ai8", "unrolled"), ("dynamic_wi8_afp32", "fused"), ("static_wi8_ai8", "fused")
    sizes = {a: 900, b: 300, c: 290}
    assert pick(sizes, {a: 0.1, b: 0.5, c: 4.0}) == b
    assert pick(sizes, {a: 0.1, b: 0.5, c: 0.51}) == c
    assert pick({a: 900, b: 800}, {a: 0.1, b: 0.5}) == a
    assert pick(sizes, {a: 0.1, b: 0.5, c: 4.0}, missed=(b,)) == c
