"""What is signed was checked as a kit checks it."""

from __future__ import annotations

import hashlib

import pytest

from edge import embedded
from edge.errors import BundleError
from firmware_configs.stick.bundles import checked
from tests.firmware_configs.stick.attacks import flex_bundle, golden_bundle


def test_a_good_bundle_is_described():
    one = checked(embedded.BUNDLE)
    content = embedded.BUNDLE.read_bytes()
    assert (one.bytes, one.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert one.target == "classroom.affectkit" and one.title == f"classroom {one.bundle.manifest.version}"
    assert one.ran is not None and one.bundle.sha256 != one.sha256


def test_other_golden_vectors_are_refused_unless_that_is_asked_for(tmp_path):
    path = golden_bundle(tmp_path / "golden.affectkit")
    with pytest.raises(BundleError, match=r"^[^\n]*steps off its golden vectors in [^\n]*; convert it again, or say --within[^\n]*$"):
        checked(path)
    assert checked(path, within=256).ran


def test_a_damaged_bundle_is_refused(tmp_path):
    (tmp_path / "x.affectkit").write_bytes(embedded.BUNDLE.read_bytes()[:-5])
    with pytest.raises(BundleError, match="cut short or changed"):
        checked(tmp_path / "x.affectkit")


def test_flex_is_refused_before_any_interpreter_sees_it(tmp_path):
    with pytest.raises(BundleError, match="Flex"):
        checked(flex_bundle(tmp_path / "flex.affectkit"))
