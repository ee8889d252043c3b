"""Peers that do the same job: here on a second or two of the embedded session."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import cycle_table
from benchmarks.cycle_child import Recorded, Streamed
from benchmarks.cycle_session import NS, decode
from edge import load_bundle
from edge.compose import load_stages
from edge.config import Settings
from edge.embedded import BUNDLE


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(BUNDLE)


@pytest.fixture(scope="module")
def decoded():
    return decode().until(3.0)


@pytest.fixture(scope="module")
def ours(bundle, decoded):
    return Streamed(bundle, decoded, load_stages(bundle, Settings()).models).answers()


def test_a_cut_session_holds_what_was_complete_by_then_in_order(decoded):
    chunks = decoded.merged()
    assert decoded.duration_ns == 3 * NS
    assert [c.end_ns for c in chunks] == sorted(c.end_ns for c in chunks)
    assert chunks[-1].end_ns <= 3 * NS
    assert {c.track for c in chunks} == {"video", "audio", "ppg", "eda"}


def test_answers_have_a_row_a_tick_and_say_what_is_absent(ours):
    assert len(ours["probabilities"]) == 12
    assert np.isnan(ours["physiology"]).all()  # it warms up for longer
    assert np.isfinite(ours["face"][-1]).all()


def test_the_loop_from_scratch_sees_the_same_face(bundle, decoded, ours):
    pytest.importorskip("cv2")
    pytest.importorskip("scipy")
    from benchmarks.cycle_tutorial import Tutorial

    loop = Tutorial(bundle, decoded)
    theirs = loop.face(decoded.by_track["video"][-1].samples[-1])
    a, b = ours["face"][-1], theirs
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.98


def test_stages_rebuilt_in_onnx_answer_as_the_bundles_do(bundle, decoded, ours, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from benchmarks import cycle_onnx

    stages = {}
    for name in bundle.manifest.stages:
        cycle_onnx.translate(bundle.stage(name), tmp_path / f"{name}.onnx")
        stages[name] = cycle_onnx.OrtStage(tmp_path / f"{name}.onnx")
    found = cycle_table.agreement(ours, Streamed(bundle, decoded, stages).answers())
    assert found.presence == 1.0 and found.labels >= 0.9  # of twelve ticks, one may be a tie
    assert min(found.cosines.values()) > 0.99


@pytest.mark.parametrize("stage", ["detector", "face", "speech", "physiology", "fusion"])
def test_each_stage_in_onnx_is_within_a_few_int8_steps_on_the_golden_inputs(bundle, stage, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from benchmarks import cycle_onnx
    from edge.inference.model import Model

    spec = bundle.manifest.stages[stage]
    model = Model(bundle.stage(stage), name=stage, inputs=spec.inputs, outputs=spec.outputs)
    cycle_onnx.translate(bundle.stage(stage), tmp_path / "stage.onnx")
    other = cycle_onnx.OrtStage(tmp_path / "stage.onnx")
    details = model.details()
    golden = bundle.golden(stage)
    for i in range(2):
        arrays = {
            name: (golden[f"input_{name}"][i].astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)
            for name, tensor in details.inputs.items()
        }
        here, there = model.run(**arrays), other.run(**arrays)
        for name, tensor in details.outputs.items():
            off = np.abs(here[name] - there[name])
            assert np.median(off) <= 3 * tensor.scale, name


def test_a_recorded_stage_keeps_inputs_and_outputs_and_changes_neither():
    class Stage:
        def run(self, **arrays):
            return {"y": arrays["x"] + 1}

    kept = []
    stage = Recorded(Stage(), lambda given, made: kept.append((given, made)))
    x = np.zeros(2)
    assert stage.run(x=x)["y"].tolist() == [1.0, 1.0]
    x[:] = 9
    assert kept[0][0]["x"].tolist() == [0.0, 0.0]


def test_an_input_that_comes_as_stored_is_kept_as_real_numbers():
    class Tensor:
        scale, zero_point = 0.5, -2

    class Details:
        inputs = {"x": Tensor()}  # noqa: RUF012

    class Stage:
        name = "its own"

        def details(self):
            return Details()

        def run(self, **arrays):
            return {}

    kept = []
    stage = Recorded(Stage(), lambda given, made: kept.append(given))
    stage.run(x=np.array([0, 2], np.int8))
    assert kept[0]["x"].tolist() == [1.0, 2.0]
    assert stage.name == "its own"
