"""Nobody is on both sides."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs the convert extra")
from convert.evaluation import apart
from convert.training.material import Material
from edge.errors import BundleError, InputError

pytestmark = pytest.mark.convert


def material(people: list[str], stage: str = "speech", *, first: float = 2.0) -> Material:
    inputs = (first + np.arange(len(people), dtype=np.float32))[:, None, None] * np.ones((1, 3, 2), np.float32)
    return Material(stage, "a task", ("a", "b"), inputs, np.arange(len(people)) % 2, np.array(people))


def test_different_people_pass():
    apart.require_apart(material(["a", "b"]), material(["c", "c"], first=10), "data")


def test_a_person_on_both_sides_is_refused_by_name():
    with pytest.raises(InputError, match=r"^data: speech: bert in both training and test; split by person$"):
        apart.require_apart(material(["anna", "bert"]), material(["bert", "carl"], first=10), "data")


def test_the_same_recording_under_another_name_is_refused():
    with pytest.raises(InputError, match=r"2 of 2 test samples are in training too \(sample 0 of anna\)"):
        apart.require_apart(material(["anna", "bert"]), material(["x", "y"]), "data")


def test_faces_that_name_nobody_are_told_by_their_pictures():
    apart.require_apart(material(["0", "1"], "face"), material(["0", "1"], "face", first=10), "data")
    with pytest.raises(InputError, match="1 of 2 test samples are in training too"):
        apart.require_apart(material(["0", "1"], "face", first=3), material(["0", "1"], "face"), "data")


def test_a_window_of_nothing_is_nobodys():
    silent = material(["a", "b"], first=0.0)  # all zeros, and flags alone
    apart.require_apart(silent, material(["c", "d"], first=0.0), "data")


def test_somebody_who_taught_the_bundle_is_not_scored():
    apart.require_unknown(np.array(["a", "b"]), "speech", ("c",), "split")
    with pytest.raises(InputError, match=r"^split: speech: b taught this bundle"):
        apart.require_unknown(np.array(["a", "b"]), "speech", ("b", "c"), "split")


def test_a_bundle_that_says_nothing_of_a_stage_is_not_scored_on_it():
    with pytest.raises(BundleError, match="says nothing of speech"):
        apart.Learnt(0, {"physiology": ("2",)}).of("speech")


def test_a_split_file_is_read(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"physiology": {"train": [2, 3], "test": [4]}}))
    assert apart.read_split(path) == {"physiology": apart.Side(("2", "3"), ("4",))}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"speech": {"train": ["a", "b", "c"], "test": ["d", "b"]}}', "speech: b in both train and test"),
        ('{"speech": {"train": ["a"], "test": []}}', "test names nobody"),
        ('{"speech": {"train": ["a"]}}', "needs train and test"),
        ('{"speech": ["a"]}', "needs train and test"),
        ("[]", "holds no stages"),
        ("{", "cannot be read as a split"),
    ],
)
def test_a_bad_split_file_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        apart.read_split(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_missing_split_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read as a split"):
        apart.read_split(tmp_path / "none.json")
