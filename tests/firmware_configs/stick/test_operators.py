"""Operators that no kit has are found without an interpreter, whatever the file holds."""

from __future__ import annotations

import pytest

from edge import embedded
from edge.bundle import load_bundle
from edge.errors import BundleError
from firmware_configs.stick.operators import custom_operators, refuse_custom
from tests.firmware_configs.stick.attacks import custom, flex_bundle


@pytest.fixture(scope="module")
def stages():
    bundle = load_bundle(embedded.BUNDLE)
    return [bundle.stage(name) for name in bundle.manifest.stages]


def test_the_embedded_bundle_has_builtin_operators_alone(stages):
    assert [custom_operators(stage) for stage in stages] == [()] * len(stages)
    refuse_custom(load_bundle(embedded.BUNDLE))


def test_a_custom_operator_is_named(stages):
    assert custom_operators(custom(stages[0], b"FlexErf")) == ("FlexErf",)
    assert custom_operators(custom(stages[0], b"My\nOp\x1b")) == ("My?Op?",)
    assert custom_operators(custom(stages[0], b"")) == ("without a name",)


def test_a_bundle_with_flex_is_refused_in_one_line(tmp_path):
    bundle = load_bundle(flex_bundle(tmp_path / "flex.affectkit"))
    with pytest.raises(BundleError, match=r"^[^\n]*TensorFlow's \(Flex\) operators, which no kit has: FlexErf; convert [^\n]*$"):
        refuse_custom(bundle)


def test_a_bundle_with_another_custom_operator_is_refused(tmp_path):
    bundle = load_bundle(flex_bundle(tmp_path / "custom.affectkit", b"MyOwn"))
    with pytest.raises(BundleError, match="custom operators, which no kit has: MyOwn"):
        refuse_custom(bundle)


def test_a_damaged_model_is_a_value_error_and_nothing_else(stages):
    content = custom(stages[0], b"FlexErf")
    told = set()
    for end in [*range(0, 200), *range(200, len(content), 997)]:
        try:
            told.add(custom_operators(content[:end]))
        except ValueError as error:
            told.add(str(error))
    for at in range(0, 64):
        try:
            custom_operators(content[:at] + b"\xff" + content[at + 1 :])
        except ValueError as error:
            told.add(str(error))
    assert "a damaged .tflite flatbuffer" in told and "not a .tflite flatbuffer" in told
