"""A curve falls as the trouble grows."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs the convert extra")
from convert.evaluation import body, curves, moments
from convert.training.datasets.fer2013 import Faces
from convert.training.datasets.speech import Clips
from convert.training.datasets.stress_predict import Recording
from convert.training.fusion import Pool
from edge.preprocess.physiology import PhysiologyParameters
from edge.preprocess.speech import SpeechParameters

pytestmark = pytest.mark.convert


@pytest.fixture(scope="module")
def faces() -> Faces:
    """Stripes across or along, fine enough to be lost in blur and small sizes; classes 0 and 3."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 3], 30)
    made = []
    for label in labels:
        wave = np.sign(np.sin((np.arange(48) + rng.integers(0, 6)) * np.pi / 1.5)) * rng.uniform(15, 30)
        made.append(128 + (wave[:, None] if label else wave[None, :]) + rng.normal(0, 10, (48, 48)))
    return Faces(np.clip(made, 0, 255).astype(np.uint8), labels)


def stripes(inputs: np.ndarray) -> np.ndarray:
    """Across, unless differences along are clearly stronger: without any contrast left, half of the answers are wrong."""
    x = inputs[..., 0]
    down, right = (np.diff(x, axis=axis) ** 2 for axis in (1, 2))
    share = np.clip(0.5 + (down.mean(axis=(1, 2)) - right.mean(axis=(1, 2)) - 0.01) * 10, 0.0, 1.0)
    return np.stack([1 - share, 0 * share, 0 * share, share, 0 * share, 0 * share, 0 * share], axis=1)


def test_faces_are_told_worse_and_worse_as_the_trouble_grows(faces):
    told = curves.of_faces(faces, stripes, most=60)
    assert set(told) == {"occlusion", "size", "blur", "jpeg", "light"}
    for name in ("occlusion", "size", "blur"):  # stripes of three pixels
        got = [point["accuracy"] for point in told[name]["points"]]
        assert got[0] >= 0.85 and got[-1] < got[0]
        # alike draws for each value: no point rises by more than a few faces
        assert all(later <= earlier + 0.1 for earlier, later in itertools.pairwise(got))
    assert [point["value"] for point in told["occlusion"]["points"]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert [point["value"] for point in told["size"]["points"]][0::5] == [48, 12]


def test_the_first_point_of_a_curve_is_the_untouched_input(faces):
    plain = curves.scores(faces.labels, stripes(curves.face_material(faces).inputs))["accuracy"]
    told = curves.of_faces(faces, stripes, most=60)
    assert {told[name]["points"][0]["accuracy"] for name in ("occlusion", "size", "blur", "light")} == {plain}


def test_curves_are_the_same_each_time_and_say_how_many_samples_they_have(faces):
    one, other = (curves.of_faces(faces, stripes, most=10, seed=3) for _ in range(2))
    assert one == other
    assert {point["samples"] for curve in one.values() for point in curve["points"]} == {10}


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Two seconds of syllables, low or high: classes 0 and 3."""
    rng = np.random.default_rng(0)
    t = np.arange(32000) / 16000
    labels, sounds = np.tile([0, 3], 3), []
    for label in labels:
        pitch = (400.0 if label == 0 else 1500.0) * rng.uniform(0.95, 1.05)
        syllables = np.clip(np.sin(2 * np.pi * 3.0 * t), 0.0, None)
        sounds.append((0.3 * syllables * np.sin(2 * np.pi * pitch * t) + rng.normal(0, 1e-4, len(t))).astype(np.float32))
    return Clips(tuple(sounds), labels, np.array([f"x-{i}" for i in range(6)]), np.array(["happy", "angry"] * 3))


def pitched(windows: np.ndarray) -> np.ndarray:
    """Class 3 where the upper bands are louder on average, leaning towards it in noise."""
    high = windows[..., 16:].max(axis=2).mean(axis=1) / (windows.max(axis=2).mean(axis=1) + 1e-9)
    share = np.clip((high - 0.6) * 2 + 0.5, 0.0, 1.0)
    return np.stack([1 - share, 0 * share, 0 * share, share], axis=1)


def test_noise_makes_the_front_withhold_voices_and_the_encoder_err(clips):
    told = curves.of_speech(clips, SpeechParameters(), pitched, most=6)
    points = told["noise"]["points"]
    assert points[0]["value"] == 30 and points[-1]["value"] == -5
    assert points[0]["given"] == 1.0 and points[-1]["given"] == 0.0
    given = [point["given"] for point in points]
    assert given == sorted(given, reverse=True)
    assert points[0]["accuracy"] == 1.0 and points[-1]["accuracy"] < 1.0
    assert set(told) == {"noise", "reverberation"}


def test_a_voice_that_the_front_withholds_is_judged_on_what_it_would_have_given(clips):
    clean, through = curves.heard(clips.samples[0], SpeechParameters())
    assert through and clean.any()
    noisy = clips.samples[0] + np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    window, through = curves.heard(noisy, SpeechParameters())
    assert not through and window.shape == clean.shape and window.any()


class Sum:
    """A fusion without memory: adds what the modalities say, as the device's model is asked."""

    def run(self, *, mask, previous, **streams):
        return {"logits": sum(values * mask[i] for i, values in enumerate(streams.values())) * 10.0}


@pytest.fixture(scope="module")
def pools() -> dict[str, Pool]:
    """Embeddings that are the answer itself; a pulse tells nothing."""
    labels = np.arange(40) % 4
    rest = np.arange(40) % 2
    pools = {name: Pool(np.eye(4, dtype=np.float32)[labels], labels, labels) for name in ("face", "speech")}
    return pools | {"physiology": Pool(np.zeros((40, 4), np.float32), rest, rest)}


def test_late_inputs_are_wrong_for_as_long_as_they_are_late(pools):
    told = moments.curves(Sum(), pools, seed=0, cadence_ms=250, count=40)
    stale = {point["value"]: point for point in told["stale"]["points"]}
    assert stale[0]["accuracy"] == stale[0]["after_change"] == 1.0
    assert [point["late_ms"] for point in told["stale"]["points"]] == [0, 250, 500, 1000, 2000, 3000]
    accuracy = [point["accuracy"] for point in told["stale"]["points"]]
    assert accuracy == sorted(accuracy, reverse=True)
    # a quarter of the changes are to the label that was there; the others are missed for k of 20 steps
    changed = 1 - stale[12]["after_change"]
    assert stale[4]["after_change"] == pytest.approx(1 - changed * 4 / 12)
    skewed = [point["accuracy"] for point in told["skewed"]["points"]]
    assert skewed[0] == 1.0 and skewed[-1] < 1.0
    assert all(late >= stale for late, stale in zip(skewed, accuracy, strict=True))


def wearer(seconds: int = 240) -> Recording:
    """A steady pulse of 72 a minute and dry skin; rest, then stress."""
    t, s = np.arange(seconds * 64) / 64, np.arange(seconds * 4) / 4
    ppg = 40 * np.sin(2 * np.pi * 1.2 * t) + 12 * np.sin(2 * np.pi * 2.4 * t + 1.0)
    eda = 2.0 + 0.1 * np.sin(2 * np.pi * s / 40)
    labels = np.repeat([0, 1], seconds // 2).astype(np.int8)
    return Recording(2, 0, 64.0, ppg.astype(np.float32), 4.0, eda.astype(np.float32), labels)


def test_lifted_electrodes_and_a_moving_wrist_cost_more_the_more_often_they_are():
    recording = wearer()
    zeros = [np.sum(body.lift(recording, rate, np.random.default_rng(0)).eda == 0.0) for rate in (0.0, 1.0, 4.0, 16.0)]
    assert zeros[0] == 0 and zeros == sorted(zeros) and zeros[-1] > zeros[1]
    moved = [np.mean(body.move(recording, rate, np.random.default_rng(0)).ppg != recording.ppg) for rate in (0.0, 1.0, 4.0, 16.0)]
    assert moved[0] == 0 and moved == sorted(moved) and moved[-1] > moved[1]
    loud = body.move(recording, 60.0, np.random.default_rng(0)).ppg
    assert np.std(loud) > 2 * np.std(recording.ppg)
    assert recording.eda.min() > 1.0  # what was given is not changed


def test_the_front_withholds_what_lifted_electrodes_spoil():
    def say_stress(inputs: np.ndarray) -> np.ndarray:
        return np.tile([0.2, 0.8], (len(inputs), 1))

    told = body.of_physiology([wearer()], PhysiologyParameters(), say_stress)
    assert set(told) == {"electrodes", "motion"}
    given = [point["given"] for point in told["electrodes"]["points"]]
    assert given[0] == 1.0 and given[-1] < 0.9
    assert all(later <= earlier + 0.1 for earlier, later in itertools.pairwise(given))
    assert told["electrodes"]["points"][0]["samples"] > 20
    # nothing but stress is said, so the recalls are 0 and 1 whatever happens
    assert {point["uar"] for point in told["motion"]["points"] if point["samples"]} == {0.5}


def test_a_front_that_gives_nothing_has_no_score():
    silent = dataclasses.replace(wearer(60), eda=np.zeros(240, np.float32))
    told = body.of_physiology([silent], PhysiologyParameters(), lambda inputs: inputs, quick=True)
    assert told["motion"]["points"][0] == {"value": 0.0, "samples": 0, "accuracy": None, "uar": None, "ece": None, "given": 0.0}
