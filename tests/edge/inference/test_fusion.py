from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny import WIDTH, Votes, fusion

from edge.inference.form import Form
from edge.inference.fusion import Fusion, NonFiniteError, softmax
from edge.inference.scheduler import MS
from edge.types import Absence, Embedding


def embedding(modality: str, value: float) -> Embedding:
    return Embedding(modality, 0, np.full(WIDTH, value, np.float32), 1.0)


@given(arrays(np.float32, 4, elements=st.floats(-50, 50, width=32)), st.floats(0.2, 5))
def test_softmax_sums_to_one_keeps_the_order_and_flattens_with_temperature(logits, temperature):
    p = softmax(logits, temperature)
    assert p.dtype == np.float32 and p.sum() == pytest.approx(1, abs=1e-5)
    assert p[logits.argmax()] == p.max()
    assert softmax(logits, 2 * temperature).max() <= p.max() + 1e-6


def test_absent_modalities_are_zeros_with_a_mask_and_take_no_weight():
    votes = Votes()
    estimate = fusion(votes).estimate(0, {"face": embedding("face", 1), "physiology": embedding("physiology", 0.5)}, {})
    np.testing.assert_array_equal(votes.given[0]["mask"], [1, 0, 1])
    np.testing.assert_array_equal(votes.given[0]["speech"], np.zeros(WIDTH))
    assert estimate.weights == pytest.approx({"face": 0.5 / 0.7, "physiology": 0.2 / 0.7})
    assert estimate.probabilities.sum() == pytest.approx(1)


def test_weights_that_all_round_to_zero_become_equal_shares():
    class Blind(Votes):
        def run(self, **arrays):
            return super().run(**arrays) | {"weights": np.zeros(3, np.float32)}

    assert fusion(Blind()).estimate(0, {"face": embedding("face", 1), "speech": embedding("speech", 1)}, {}).weights == {
        "face": 0.5,
        "speech": 0.5,
    }


def test_with_nothing_present_the_stage_is_not_run():
    votes = Votes()
    assert fusion(votes).estimate(0, {}, {}) is None
    assert votes.given == []


def test_the_previous_uncalibrated_answer_goes_back_in_and_is_forgotten_after_a_gap():
    votes = Votes()
    fused, present = fusion(votes, temperature=3.0), {"speech": embedding("speech", 1)}
    first = fused.estimate(0, present, {})
    fused.estimate(250 * MS, present, {})
    fused.estimate(2250 * MS, present, {})
    fused.estimate(4251 * MS, present, {})
    previous = [given["previous"] for given in votes.given]
    np.testing.assert_allclose(previous[0], 0.25)
    np.testing.assert_allclose(previous[1], softmax(np.float32([0, 4, 0, 0])))
    assert previous[1].max() > first.probabilities.max()
    assert previous[2].max() > 0.9
    np.testing.assert_allclose(previous[3], 0.25)


def test_nan_is_an_error_and_does_not_stay_in_the_memory():
    votes = Votes()
    fused, present = fusion(votes), {"face": embedding("face", 1)}
    fused.estimate(0, present, {})
    votes.poisoned = True
    with pytest.raises(NonFiniteError):
        fused.estimate(1, present, {})
    votes.poisoned = False
    assert np.isfinite(fused.estimate(2, present, {}).probabilities).all()
    np.testing.assert_allclose(votes.given[-1]["previous"], 0.25)


class Sum:
    """One label's logit is the sum of all it was given of the face; remembers what that was."""

    def __init__(self, **outputs: np.ndarray) -> None:
        self.given: list[dict[str, np.ndarray]] = []
        self.outputs = outputs

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        self.given.append(arrays)
        return {"logits": np.float32([arrays["face"].sum(), 0, 0, 0]), **self.outputs}


def looking_back(stage: Sum, *windowed: str, steps: int = 3, step_ms: int = 250, **form: object) -> Fusion:
    widths = {"face": WIDTH} | ({"speech": WIDTH} if "weights" in stage.outputs else {})
    said = Form(widths, windowed=windowed, steps=steps, step_ns=step_ms * MS, **{"previous": False, "weights": len(widths) > 1, **form})
    return Fusion(stage, said, labels=4, temperature=1.0, max_age_ns=dict.fromkeys(widths, 600 * MS))


def at(t_ms: int, value: float, modality: str = "face") -> Embedding:
    return Embedding(modality, t_ms * MS, np.full(WIDTH, value, np.float32), 1.0)


def test_one_modality_alone_needs_no_mask_no_weights_and_no_memory():
    stage = Sum()
    fused = Fusion(stage, Form({"face": WIDTH}, mask="none", previous=False, weights=False), labels=4, temperature=1.0)
    estimate = fused.estimate(0, {"face": at(0, 1)}, {})
    assert estimate.weights == {"face": 1.0} and list(stage.given[0]) == ["face"] and not fused.looks_back


def test_a_fusion_that_looks_back_gets_the_last_steps_the_oldest_first():
    stage = Sum()
    fused = looking_back(stage, "face", mask="steps")
    for tick in range(4):
        fused.estimate(250 * tick * MS, {"face": at(250 * tick - 10, tick + 1)}, {})
    assert [given["face"][:, 0].tolist() for given in stage.given] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert [given["mask"][:, 0].tolist() for given in stage.given] == [[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert all(array.dtype == np.float32 for given in stage.given for array in given.values())


def test_steps_between_two_estimates_are_what_was_noted_then():
    stage = Sum()
    fused = looking_back(stage, "face", mask="none", steps=4, step_ms=100)
    for t_ms in (100, 200, 300):
        fused.note((t_ms + 5) * MS, at(t_ms, t_ms))
    fused.note(350 * MS, Absence("face", "lost", "no face in view"))
    fused.note(390 * MS, at(390, 390))
    fused.estimate(400 * MS, {"face": at(390, 390)}, {})
    assert stage.given[0]["face"][:, 0].tolist() == [100, 200, 300, 390]


def test_absent_and_stale_steps_are_zeros_with_a_mask():
    stage = Sum(weights=np.float32([0.5, 0.5]))
    fused = looking_back(stage, "face", "speech", mask="steps", steps=4)
    voice = at(0, 9, "speech")
    for tick in range(4):
        present = {"face": at(250 * tick, tick + 1)} if tick != 1 else {}
        fused.estimate(250 * tick * MS, present | ({"speech": voice} if tick < 3 else {}), {})
    last = stage.given[-1]
    assert last["face"][:, 0].tolist() == [1, 0, 3, 4]
    assert last["speech"][:, 0].tolist() == [9, 9, 9, 0], "600 ms is too old at 750 ms, not at 500 ms"
    assert last["mask"].tolist() == [[1, 1], [0, 1], [1, 1], [1, 0]]


def test_a_mask_of_now_calls_the_whole_window_absent():
    stage = Sum(weights=np.float32([0.5, 0.5]))
    fused = looking_back(stage, "face", mask="now")
    fused.estimate(0, {"face": at(0, 1)}, {})
    fused.estimate(250 * MS, {"speech": at(250, 5, "speech")}, {})
    fused.estimate(500 * MS, {"face": at(500, 2), "speech": at(250, 5, "speech")}, {})
    assert [given["mask"].tolist() for given in stage.given] == [[1, 0], [0, 1], [1, 1]]
    assert [given["face"][:, 0].tolist() for given in stage.given] == [[0, 0, 1], [0, 0, 0], [1, 0, 2]]
    assert [given["speech"].tolist() for given in stage.given] == [[0] * WIDTH, [5] * WIDTH, [5] * WIDTH]


def test_a_gap_of_everything_empties_the_windows_but_for_what_came_since():
    stage = Sum()
    fused = looking_back(stage, "face", mask="none", steps=20)
    fused.estimate(0, {"face": at(0, 1)}, {})
    fused.estimate(250 * MS, {"face": at(250, 2)}, {})
    for t_ms in range(500, 2250, 250):
        assert fused.estimate(t_ms * MS, {}, {}) is None
    fused.note(2100 * MS, at(2100, 3))
    fused.estimate(2500 * MS, {"face": at(2400, 4)}, {})
    window = stage.given[-1]["face"][:, 0].tolist()
    assert window == [0] * 18 + [3, 4]
    fused.estimate(2750 * MS, {"face": at(2700, 5)}, {})
    assert stage.given[-1]["face"][:, 0].tolist() == [*window[1:], 5], "a gap too short to forget for forgets nothing"


def test_nan_empties_the_windows():
    stage = Sum()
    fused = looking_back(stage, "face", mask="none")
    fused.estimate(0, {"face": at(0, 1)}, {})
    stage.outputs = {"logits": np.full(4, np.nan, np.float32)}
    with pytest.raises(NonFiniteError):
        fused.estimate(250 * MS, {"face": at(250, 2)}, {})
    stage.outputs = {}
    fused.estimate(500 * MS, {"face": at(500, 3)}, {})
    assert stage.given[-1]["face"][:, 0].tolist() == [0, 0, 3]
