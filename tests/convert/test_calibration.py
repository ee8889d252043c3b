"""Calibration data that cannot be used is told apart before anything slow starts."""

from __future__ import annotations

import numpy as np
import pytest

from convert.calibration import check_samples, load_samples
from edge.errors import InputError

RANDOM = np.random.default_rng(0)
SHAPES = {"face": (4, 4, 1), "mask": (3,)}


def good() -> dict[str, np.ndarray]:
    return {"mask": RANDOM.random((120, 3)), "face": RANDOM.random((120, 4, 4, 1))}


def refuse(samples, words, shapes=SHAPES):
    with pytest.raises(InputError, match=words) as caught:
        check_samples(samples, shapes)
    assert "\n" not in str(caught.value)


def test_good_samples_come_back_in_float32_and_in_the_models_order():
    checked = check_samples(good(), SHAPES)
    assert list(checked) == ["face", "mask"]
    assert {values.dtype for values in checked.values()} == {np.dtype(np.float32)}


def test_a_single_array_may_have_any_name():
    assert list(check_samples({"arr_0": good()["mask"]}, {"mask": (3,)})) == ["mask"]


def test_an_open_axis_takes_any_size():
    assert check_samples({"x": RANDOM.random((100, 7, 3))}, {"x": (None, 3)})["x"].shape == (100, 7, 3)


def test_other_names_are_refused_with_both_lists():
    refuse({"face": good()["face"]}, "has arrays face, and the model has inputs face, mask")
    refuse({**good(), "extra": np.zeros(3)}, "has arrays extra, face, mask")


def test_a_wrong_shape_is_refused_with_the_right_one():
    refuse({**good(), "face": np.zeros((120, 4, 4))}, r"'face' has shape \(120, 4, 4\): the model takes \(samples, 4, 4, 1\)")


def test_too_few_are_refused():
    refuse({name: values[:99] for name, values in good().items()}, "99 calibration samples are too few: give 100 or more")


def test_different_lengths_are_refused():
    refuse({**good(), "mask": np.ones((121, 3))}, "differ in length: face 120, mask 121")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_with_the_sample(value):
    samples = good()
    samples["mask"][17, 1] = value
    refuse(samples, "'mask' has NaN or infinity, first in sample 17")


def test_one_sample_repeated_is_refused():
    refuse({name: np.repeat(values[:1], 120, axis=0) for name, values in good().items()}, "all 120 calibration samples are the same")


def test_an_input_that_never_changes_is_refused():
    refuse({**good(), "mask": np.ones((120, 3))}, "'mask' is 1 everywhere")


def test_text_is_refused():
    refuse({**good(), "mask": np.full((120, 3), "x")}, "'mask' is of type <U1")


def test_a_stored_file_comes_back(tmp_path):
    np.savez(tmp_path / "c.npz", **good())
    assert set(load_samples(tmp_path / "c.npz")) == set(SHAPES)


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    path = tmp_path / "c.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"c\.npz") as caught:
        load_samples(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_bare_array_and_pickles_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_samples(tmp_path / "none.npz")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    with pytest.raises(InputError, match="one bare array"):
        load_samples(tmp_path / "bare.npy")
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="plain numbers"):
        load_samples(tmp_path / "pickle.npz")
