"""Models that others trained, on real inputs, against their float selves and their makers' own int8 files."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = [pytest.mark.convert, pytest.mark.slow]
pytest.importorskip("tensorflow")

from benchmarks import material  # noqa: E402
from convert.pipeline import convert_model  # noqa: E402
from convert.readers import read  # noqa: E402
from convert.verify import outputs_of  # noqa: E402
from convert.worker import Worker  # noqa: E402
from edge.inference.model import Model, probe  # noqa: E402


@pytest.fixture(scope="module")
def worker():
    with Worker() as running:
        yield running


def converted(case, worker, **options):
    source = read(case.model)
    name = next(iter(source.inputs))
    made = convert_model(
        source, {name: case.calibration}, verification={name: case.verification}, labels=case.labels, worker=worker, **options
    )
    return made, name


def case_of(data, name):
    return next(case for case in material.third_party(data) if case.name == name)


def test_mini_xception_keeps_its_accuracy_on_public_test(data, worker):
    made, _ = converted(case_of(data, "mini-XCEPTION 48x48"), worker)
    task = made.report.verification.task
    assert made.report.verification.samples > 3000
    assert task.float_accuracy > 0.6
    assert abs(task.drop) < 0.01
    assert made.report.verification.agreement > 0.96
    assert made.report.bytes < 0.35 * made.report.float_bytes


def reference_answers(case):
    content = case.reference.read_bytes()
    plain = probe().interpreter(model_content=content)
    model = Model(
        content,
        name="reference",
        inputs={"x": plain.get_input_details()[0]["name"]},
        outputs={"y": plain.get_output_details()[0]["name"]},
    )
    shape = model.details().inputs["x"].shape
    return outputs_of(model, {"x": case.verification.reshape(len(case.verification), *shape)})["y"]


@pytest.mark.parametrize(
    ("name", "sure", "least"),
    [
        # Patches of films are nothing that CIFAR knows: where the float model itself is not sure, its makers' file differs as well.
        ("MLPerf Tiny ResNet", 0.6, 0.97),
        ("MLPerf Tiny wake word", 0.0, 0.97),
        pytest.param("MLPerf Tiny keywords", 0.0, 0.97, marks=pytest.mark.long),
    ],
)
def test_mlperf_tiny_models_answer_as_their_makers_int8_files(name, sure, least, data, worker):
    case = case_of(data, name)
    made, key = converted(case, worker)
    ours, plain = (next(iter(outputs_of(model, {key: case.verification}).values())) for model in (made.model(), made.float_model()))
    rows = plain.max(axis=1) >= sure
    assert rows.sum() > 300
    assert material.agreement(ours[rows], reference_answers(case)[rows]) >= least
    assert made.report.verification.agreement >= material.agreement(reference_answers(case), plain) - 0.01


def overlap(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared)


def boxes(scores, corners):
    """Faces above 0.7, the best of those that overlap, as the model's makers pick them."""
    score, left, kept = scores[:, 1], np.flatnonzero(scores[:, 1] > 0.7), []
    left = left[np.argsort(-score[left])]
    while len(left):
        kept.append(left[0])
        left = left[1:][overlap(corners[left[0]], corners[left[1:]]) < 0.3]
    return corners[kept]


@pytest.mark.parametrize(
    ("recipe", "mean", "worst"), [("static_wi8_ai8", 0.90, 0.75), pytest.param("dynamic_wi8_afp32", 0.97, 0.85, marks=pytest.mark.long)]
)
def test_a_face_detector_from_onnx_finds_the_same_boxes(recipe, mean, worst, data, worker):
    case = case_of(data, "RFB-320 plain")
    made, key = converted(case, worker, recipe=recipe)
    pictures = {key: case.verification[::9]}
    plain, ours = outputs_of(made.float_model(), pictures), outputs_of(made.model(), pictures)
    found = []
    for i in range(len(pictures[key])):
        expected, got = (boxes(answers["scores"][i], answers["boxes"][i]) for answers in (plain, ours))
        assert len(got) == len(expected)
        found += [overlap(box, got).max() for box in expected]
    assert len(found) > 15
    assert np.mean(found) > mean
    assert min(found) > worst
    assert "TRANSPOSE" not in made.report.operators
