"""What a fusion stage takes is read off its tensors, and what does not fit is said in one line."""

from __future__ import annotations

import types

import pytest

from edge.errors import BundleError
from edge.inference.form import Form, FusionParameters, read_form

LABELS = 4
CLASSROOM = {"face": (48,), "mask": (3,), "physiology": (32,), "previous": (4,), "speech": (48,)}
WIDTHS = {"face": 48, "speech": 48, "physiology": 32}


def form(inputs, outputs=None, *, widths=None, steps: int | None = None) -> Form:
    def tensors(shapes):
        return {name: types.SimpleNamespace(shape=shape) for name, shape in shapes.items()}

    parameters = None if steps is None else FusionParameters(step_ms=100, steps=steps)
    outputs = outputs or {"logits": (LABELS,), "weights": (sum(name in WIDTHS for name in inputs),)}
    return read_form(tensors(inputs), tensors(outputs), widths=widths or WIDTHS, labels=LABELS, parameters=parameters, where="a.affectkit")


def test_the_classrooms_form_is_the_default_one():
    assert form(CLASSROOM) == Form(WIDTHS) and not form(CLASSROOM).looks_back
    assert list(form(CLASSROOM).widths) == ["face", "speech", "physiology"], "of mask and weights, whatever the order of the inputs"


@pytest.mark.parametrize(
    ("inputs", "steps", "windowed", "mask"),
    [
        ({"face": (10, 48)}, 10, ("face",), "none"),
        ({"face": (10, 48), "mask": (10, 1)}, 10, ("face",), "steps"),
        ({"face": (10, 48), "speech": (48,), "mask": (2,)}, 10, ("face",), "now"),
        ({"face": (8, 48), "speech": (8, 48), "mask": (8, 2), "previous": (4,)}, 8, ("face", "speech"), "steps"),
        ({"physiology": (32,)}, None, (), "none"),
    ],
)
def test_published_systems_forms_are_read(inputs, steps, windowed, mask):
    found = form(inputs, steps=steps)
    assert (found.windowed, found.mask, found.previous) == (windowed, mask, "previous" in inputs)
    assert found.looks_back == (steps is not None) and found.step_ns == (0 if steps is None else 100_000_000)
    assert found.weights == (len(found.widths) > 1), "one modality has all the weight"


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"face": (40,)}, {}, r"input face: shape \(40,\), expected \(48,\); convert it again"),
        ({"face": (10, 48)}, {}, r"input face: shape \(10, 48\), expected \(48,\); say step_ms and steps in preprocess fusion"),
        ({"face": (10, 48)}, {"steps": 8}, r"input face: shape \(10, 48\), expected \(48,\) or \(8, 48\)"),
        ({"mask": (2,)}, {}, r"input mask: shape \(2,\), expected \(3,\)"),
        ({"previous": (7,)}, {}, r"input previous: shape \(7,\), expected \(4,\)"),
        ({"interface": (9,)}, {}, "takes interface, which nothing gives; it may take face, speech, physiology, mask and previous"),
        ({}, {"widths": {"face": 48, "speech": 48}}, "takes physiology, and there is no stage physiology"),
        ({}, {"steps": 10}, "parameters of fusion: 10 steps, and stage fusion takes vectors of one"),
        ({}, {"outputs": {"logits": (4,)}}, "gives logits, expected logits and weights"),
        ({}, {"outputs": {"logits": (7,), "weights": (3,)}}, r"output logits: shape \(7,\), expected \(4,\)"),
        ({}, {"outputs": {"logits": (4,), "weights": (4,)}}, r"output weights: shape \(4,\), expected \(3,\)"),
    ],
)
def test_what_does_not_fit_is_named(changes, options, says):
    with pytest.raises(BundleError, match=rf"^a\.affectkit: [^\n]*{says}[^\n]*$"):
        form({**CLASSROOM, **changes}, **options)


def test_a_fusion_of_nothing_is_refused():
    with pytest.raises(BundleError, match="takes previous, expected at least one of face, speech, physiology"):
        form({"previous": (4,)})


@pytest.mark.parametrize(
    "said", [{"steps": 0}, {"steps": 2.5}, {"steps": True}, {"step_ms": 0}, {"step_ms": float("nan")}, {"step_ms": "x"}]
)
def test_odd_parameters_are_refused(said):
    with pytest.raises(ValueError, match=next(iter(said))):
        FusionParameters(**{"step_ms": 100, "steps": 10, **said})
