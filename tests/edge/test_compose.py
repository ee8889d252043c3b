"""Any bundle whose stages fit together runs on the embedded session: one modality or several, with and without memory; what does not fit is
said when it is composed, in one line."""

from __future__ import annotations

import dataclasses
import logging
import pathlib

import numpy as np
import pytest
from linear_stage import Shape, linear, refitted

from edge import embedded
from edge.bundle import Bundle, load_bundle
from edge.clock import ManualClock
from edge.compose import Stages, compose_cycle, load_stages
from edge.config import Settings, settings_from
from edge.errors import BundleError, SensorError
from edge.outputs.jsonlines import JsonLines
from edge.runtime import Runtime
from edge.types import Decision

RNG = np.random.default_rng(11)
SOURCE = f"replay:{embedded.SESSION}"
STEP = {"step_ms": 100, "steps": 10}
FACE = {"face": (10, 48)}
TWO: dict[str, Shape] = {"face": (8, 48), "mask": (2,), "previous": (4,), "speech": (96,)}


def row(inputs: dict[str, Shape]) -> int:
    return sum(int(np.prod(shape)) for shape in inputs.values())


def logits(inputs: dict[str, Shape], labels: int = 4) -> np.ndarray:
    return RNG.normal(0, 1 / np.sqrt(row(inputs)), (labels, row(inputs)))


@pytest.fixture(scope="module")
def face_only(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A face in its last ten steps, without mask, weights and feedback, as a CNN-LSTM has it; OpenCV's detector is not needed."""
    path = tmp_path_factory.mktemp("face") / "face-only.affectkit"
    return refitted(path, linear(FACE, {"logits": logits(FACE)}), FACE, ["logits"], keep=["detector", "face"], parameters=STEP)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Windows of the face beside one vector of the voice, with a mask of now, feedback and weights that are the mask."""
    weights = np.zeros((2, row(TWO)))
    weights[:, 8 * 48 : 8 * 48 + 2] = np.diag([3, 1])
    fusion = linear(TWO, {"logits": logits(TWO), "weights": weights})
    path = tmp_path_factory.mktemp("two") / "two.affectkit"
    parameters = {"step_ms": 250, "steps": 8}
    return refitted(path, fusion, TWO, ["logits", "weights"], keep=["detector", "face", "speech"], parameters=parameters)


class Watched:
    """A stage that keeps what it was given."""

    def __init__(self, stage):
        self._stage, self.given = stage, []

    def __getattr__(self, name):
        return getattr(self._stage, name)

    def run(self, **arrays):
        self.given.append({name: np.array(array) for name, array in arrays.items()})
        return self._stage.run(**arrays)


def replayed(bundle: Bundle, duration_s: float, **watched: list) -> list[Decision]:
    """Decisions in virtual time; a list given for a stage is filled with what that stage was given."""

    def stages(bundle, settings):
        made = load_stages(bundle, settings)
        seen = {name: Watched(made.models[name]) for name in watched}
        for name, stage in seen.items():
            stage.given = watched[name]
        return Stages({**made.models, **seen})

    return list(Runtime(bundle, [SOURCE], fast=True, duration_s=duration_s, stages=stages))


def test_a_bundle_of_one_modality_decides_on_its_last_steps(face_only):
    fused: list = []
    decisions = replayed(face_only, 27.0, fusion=fused)
    by_state = {state: [d for d in decisions if d.state == state] for state in ("decided", "unsure", "no decision")}
    made = by_state["decided"] + by_state["unsure"]
    assert len(made) == len(fused) > 85
    for decision in made:
        assert decision.weights == {"face": 1.0} and decision.ends_ns.keys() == {"face"}
        assert {m: a.detail for m, a in decision.absent.items()} == dict.fromkeys(("speech", "physiology"), "not in this bundle")
    gone = [d.t_ns / 1e9 for d in by_state["no decision"]]
    assert gone and 24 < min(gone) < 25 and max(gone) == 27.0, "the face leaves at 24 s"
    first = fused[0]["face"]
    assert list(fused[0]) == ["face"] and first.shape == (10, 48) and not first[:7].any() and first[9].any()
    assert all(given["face"].any(axis=1).all() for given in fused[4:80])
    changes = [len(np.unique(given["face"], axis=0)) for given in fused[8:80]]
    assert np.median(changes) >= 7, "frames between two decisions have steps of their own"


def test_windows_follow_one_another_in_time(face_only):
    fused: list = []
    replayed(face_only, 6.0, fusion=fused)
    # 250 ms on, steps of 100 ms: after two decisions five steps have gone, and the others are the same.
    for before, after in zip(fused[4:], fused[6:], strict=False):
        np.testing.assert_array_equal(after["face"][:4], before["face"][5:9])


def test_two_modalities_of_three_with_a_window_a_mask_and_feedback(two):
    fused: list = []
    decisions = [d for d in replayed(two, 12.0, fusion=fused) if d.state != "no decision"]
    assert len(decisions) == len(fused)
    both = 0
    for decision, given in zip(decisions, fused, strict=True):
        here = [float(m in decision.weights) for m in ("face", "speech")]
        assert given["mask"].tolist() == here and decision.absent["physiology"].detail == "not in this bundle"
        assert given["face"].any() == bool(here[0]) and given["speech"].any() == bool(here[1])
        if all(here):
            both += 1
            assert decision.weights == pytest.approx({"face": 0.75, "speech": 0.25})
    assert both > 10
    np.testing.assert_allclose(fused[0]["previous"], 0.25)
    assert not np.allclose(fused[1]["previous"], 0.25) and fused[1]["previous"].sum() == pytest.approx(1, abs=1e-5)


def test_a_bundle_without_the_face_runs_too(tmp_path):
    inputs = {"speech": (96,)}
    bundle = refitted(tmp_path / "v.affectkit", linear(inputs, {"logits": logits(inputs)}), inputs, ["logits"], keep=["speech"])
    decisions = replayed(bundle, 8.0)
    made = [d for d in decisions if d.state != "no decision"]
    assert made and all(d.weights == {"speech": 1.0} and d.absent["face"].detail == "not in this bundle" for d in made)


def test_an_encoder_that_the_fusion_does_not_take_is_not_run(tmp_path):
    inputs = {"speech": (96,)}
    fusion = linear(inputs, {"logits": logits(inputs)})
    bundle = refitted(tmp_path / "v.affectkit", fusion, inputs, ["logits"], keep=["detector", "face", "speech"])
    faces: list = []
    assert replayed(bundle, 3.0, face=faces) and not faces


def test_the_same_session_gives_the_same_bytes(face_only, two, tmp_path):
    for bundle in (face_only, two):
        for name in ("a", "b"):
            path = tmp_path / f"{bundle.path.stem}-{name}"
            Runtime(bundle, [SOURCE], fast=True, duration_s=5.0).run([JsonLines(path)])
        assert (tmp_path / f"{bundle.path.stem}-a").read_bytes() == (tmp_path / f"{bundle.path.stem}-b").read_bytes()


def test_nan_of_an_encoder_is_an_absence_and_a_hole_in_the_window(face_only):
    fused: list = []

    class Poisoned:
        def __init__(self, stage):
            self._stage, self.runs = stage, 0

        def __getattr__(self, name):
            return getattr(self._stage, name)

        def run(self, **arrays):
            self.runs += 1
            answer = self._stage.run(**arrays)
            return {"embedding": answer["embedding"] * np.nan} if 30 <= self.runs < 40 else answer

    def stages(bundle, settings):
        models = load_stages(bundle, settings).models
        watched = Watched(models["fusion"])
        watched.given = fused
        return Stages({**models, "face": Poisoned(models["face"]), "fusion": watched})

    decisions = list(Runtime(face_only, [SOURCE], fast=True, duration_s=6.0, stages=stages))
    holes = [d for d in decisions if d.absent.get("face") is not None and d.absent["face"].detail == "its encoder gave NaN"]
    assert holes and decisions[-1].state != "no decision"
    assert all(np.isfinite(given["face"]).all() for given in fused)
    assert any(given["face"][-1].any() and not given["face"].any(axis=1).all() for given in fused[4:]), "a window over the hole"


def refused(bundle: Bundle) -> str:
    with pytest.raises(BundleError, match=r"^[^\n]*$") as caught:
        compose_cycle(bundle, Settings(), ManualClock())
    assert str(caught.value).startswith(str(bundle.path))
    return str(caught.value)


def test_a_bundle_that_does_not_fit_together_is_refused_when_it_is_composed(tmp_path):
    path = tmp_path / "a.affectkit"
    narrow = {"face": (40,)}
    said = refused(refitted(path, linear(narrow, {"logits": logits(narrow)}), narrow, ["logits"], keep=["face"]))
    assert "stage fusion, input face: shape (40,), expected (48,)" in said
    fusion = linear(FACE, {"logits": logits(FACE)})
    assert "say step_ms and steps" in refused(refitted(path, fusion, FACE, ["logits"], keep=["face"]))
    odd = refitted(path, fusion, FACE, ["logits"], keep=["face"], parameters={**STEP, "stride": 2})
    assert "parameters of fusion: " in refused(odd) and "stride" in refused(odd)
    assert "expected (48,) or (9, 48)" in refused(refitted(path, fusion, FACE, ["logits"], keep=["face"], parameters={**STEP, "steps": 9}))
    seven = refitted(path, fusion, FACE, ["logits"], keep=["face"], parameters=STEP, labels=tuple("abcdefg"))
    assert "output logits: shape (4,), expected (7,)" in refused(seven)


def test_an_encoder_that_takes_another_window_than_its_front_gives_is_refused(tmp_path):
    inputs = {"face": (48,)}
    bundle = refitted(tmp_path / "a.affectkit", linear(inputs, {"logits": logits(inputs)}), inputs, ["logits"], keep=["face"])
    manifest = dataclasses.replace(bundle.manifest, preprocess={"face": {**bundle.manifest.preprocess["face"], "size_px": 64}})
    said = refused(Bundle(bundle.path, bundle.sha256, manifest))
    assert "stage face, input face: shape (48, 48, 1), expected (64, 64, 1) by the parameters of face" in said


def test_a_smaller_encoder_into_another_space_is_refused(tmp_path):
    inputs = {"face": (48,)}
    bundle = refitted(tmp_path / "a.affectkit", linear(inputs, {"logits": logits(inputs)}), inputs, ["logits"], keep=["face"])
    models = dict(load_stages(bundle, Settings()).models)

    class Narrow(Watched):
        def details(self):
            found = self._stage.details()
            outputs = {"embedding": dataclasses.replace(found.outputs["embedding"], shape=(24,))}
            return dataclasses.replace(found, outputs=outputs)

    manifest = dataclasses.replace(bundle.manifest, stages={**bundle.manifest.stages, "face@1": bundle.manifest.stages["face"]})
    models["face@1"] = Narrow(models["face"])
    with pytest.raises(BundleError, match=r"stage face@1, output embedding: shape \(24,\), expected \(48,\) as of stage face"):
        compose_cycle(Bundle(bundle.path, bundle.sha256, manifest), Settings(), ManualClock(), Stages(models))


class Wired:
    """A live source on a wire of its own."""

    live, duration_ns, planned = True, None, ()

    def __init__(self, *tracks: str):
        self.tracks = tracks

    def open(self) -> None: ...
    def read(self):
        raise SensorError("unplugged")

    def close(self) -> None: ...


def test_live_sources_that_no_stage_takes_are_told_of_once(face_only, caplog):
    declared = {"jurisdiction": "US", "purpose": "research", "setting": "laboratory", "responsible": "A", "consent_reference": "B"}
    settings = settings_from({"purpose": declared}, where="kit.toml")
    with caplog.at_level(logging.WARNING, "affectkit"):
        Runtime(face_only, [Wired("video"), Wired("audio"), Wired("ppg", "eda")], settings=settings, stages=load_stages)
        Runtime(face_only, [SOURCE], fast=True)
    assert [record.getMessage() for record in caplog.records] == ["audio and ppg and eda: no stage of refitted takes it"]


def test_at_real_pace_the_plan_knows_what_the_bundle_has(face_only):
    runtime = Runtime(face_only, [SOURCE])
    assert runtime.plan is not None and runtime.plan.dropped == () and set(runtime.plan.costs) == {"detector", "face", "fusion"}


def test_the_embedded_bundle_takes_what_it_always_took(embedded_bundle: pathlib.Path):
    fused: list = []
    replayed(load_bundle(embedded_bundle), 2.0, fusion=fused)
    assert list(fused[0]) == ["face", "speech", "physiology", "mask", "previous"]
    assert [array.shape for array in fused[0].values()] == [(48,), (96,), (32,), (3,), (4,)]
