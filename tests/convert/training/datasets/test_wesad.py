"""WESAD, and that its pickles are read without running them."""

from __future__ import annotations

import os
import pathlib
import pickle
import struct
import typing

import numpy as np
import pytest

from convert.training.datasets.array_pickle import load_arrays, unpack
from convert.training.datasets.stress_predict import Recording
from convert.training.datasets.wesad import survey_wesad, wesad
from edge.errors import InputError

CONDITIONS = [0, 1, 1, 2, 2, 2, 3, 4, 7, 0]
"""A second each."""


def content(person: int = 2) -> dict:
    """A person's ten seconds as published, chest left out."""
    seconds = len(CONDITIONS)
    rng = np.random.default_rng(person)
    wrist = {"BVP": rng.normal(size=(seconds * 64, 1)), "EDA": rng.uniform(0.2, 3, (seconds * 4, 1)), "TEMP": np.ones((seconds * 4, 1))}
    labels = np.repeat(CONDITIONS, 700).astype(np.int32)
    labels[3 * 700 - 1] = 2  # stress begins within the third second
    return {"signal": {"wrist": wrist, "chest": {"ECG": np.zeros((70, 1))}}, "label": labels, "subject": f"S{person}"}


def write(folder: pathlib.Path, what: object, person: int = 2, protocol: int = 2) -> pathlib.Path:
    path = folder / "WESAD" / f"S{person}" / f"S{person}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(what if isinstance(what, bytes) else pickle.dumps(what, protocol=protocol))
    return path


def of_python_2(array: np.ndarray) -> bytes:
    """The opcodes that cPickle and NumPy of Python 2 write for an array, with text for bytes."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n(" + text(array.dtype.str[1:].encode()) + number(0) + number(1) + b"tR"
    dtype += b"(" + number(3) + text(b"<") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    shape = b"(" + b"".join(number(size) for size in array.shape) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR"
    return made + b"(" + number(1) + shape + dtype + b"\x89" + text(array.tobytes()) + b"tb"


# --- pickles


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_come_back_as_they_were(tmp_path: pathlib.Path, protocol: int):
    arrays: dict[str, typing.Any] = {
        "f8": np.linspace(-1, 1, 12).reshape(4, 3),
        "f4": np.array([[1], [2]], np.float32),
        "i4": np.array([1, -2, 3], np.int32),
        "big": np.array([1.5, 2.5], ">f8"),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "true": np.array([True, False]),
        "empty": np.zeros((0, 1)),
        "one": np.float64(3.25),
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"deep": arrays, "plain": ["text", 1, 2.5, None, True, b"bytes", (1, 2), {3}]}, protocol=protocol))
    found = load_arrays(path)
    assert found["plain"] == ["text", 1, 2.5, None, True, b"bytes", (1, 2), {3}]
    for name, array in arrays.items():
        back = unpack(path, found, "deep", name)
        assert np.array_equal(back, array)
        assert back.dtype == array.dtype
        assert back.shape == array.shape


def test_what_python_2_wrote_is_read(tmp_path: pathlib.Path):
    array = np.array([[1.0], [-2.5], [255.0]])
    path = tmp_path / "old.pkl"
    path.write_bytes(b"\x80\x02}U\x05label" + of_python_2(array) + b"s.")
    assert np.array_equal(unpack(path, load_arrays(path), "label"), array)


class _Evil:
    """Runs ``call`` when it is unpickled."""

    def __init__(self, *call: object):
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (lambda harm: _Evil(os.mkdir, harm), "posix.mkdir"),
        (lambda harm: _Evil(eval, f"__import__('os').mkdir({harm!r})"), "eval"),
        (lambda harm: _Evil(exec, f"import os; os.mkdir({harm!r})"), "exec"),
        (lambda harm: _Evil(getattr, harm, "upper"), "getattr"),
        (lambda harm: _Evil(np.save, harm, 1), "numpy.save"),
        (lambda harm: np.array([_Evil(os.mkdir, harm)], object), "posix.mkdir"),
    ],
)
def test_nothing_in_a_pickle_is_run(tmp_path: pathlib.Path, evil: typing.Callable[[str], object], name: str, protocol: int):
    harm = tmp_path / "harm"
    inside = content()
    inside["signal"]["wrist"]["BVP"] = evil(str(harm))
    write(tmp_path, inside, protocol=protocol)
    with pytest.raises(InputError, match=rf"S2\.pkl: holds .*{name}, not arrays and plain values alone; not run") as error:
        wesad(tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["WESAD"]


def test_the_evil_pickle_would_do_harm_elsewhere(tmp_path: pathlib.Path):
    pickle.loads(pickle.dumps(_Evil(os.mkdir, str(tmp_path / "harm"))))
    assert (tmp_path / "harm").is_dir()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not a whole pickle"),
        (b"no pickle at all", "not a whole pickle"),
        (pickle.dumps(content(), protocol=2)[:-200], "not a whole pickle"),
        (b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"x.", "not a whole pickle"),
        (b"\x80\x02cnumpy\ndtype\n(I1\nI2\ntR.", "has no signal/wrist/BVP"),
        (b"\x80\x02c_codecs\nencode\n)R.", "has no signal/wrist/BVP"),
        (b"\x80\x02c_codecs\nencode\n(I1\ntR.", "not a whole pickle"),
        (b"\x80\x02Pidentity\n.", "not a whole pickle"),
        (b"\x80\x02\x82\x01.", "not a whole pickle"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: pathlib.Path, raw: bytes, said: str):
    write(tmp_path, raw)
    with pytest.raises(InputError, match=rf"S2\.pkl: {said}") as error:
        wesad(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("bvp", "said"),
    [
        (np.array([object()] * 640), "holds builtins.object|holds __builtin__.object"),
        (np.array(["a"] * 640), "signal/wrist/BVP is damaged .an array of type 'U1'."),
        ([1.0, 2.0], "signal/wrist/BVP is no array"),
        (np.full((640, 1), np.nan), "BVP or EDA hold values that are no numbers"),
        (np.full((640, 1), 1e300), "BVP or EDA hold values that are no numbers"),
        (np.zeros((64 * 5, 1)), r"lengths differ \(label 10 s, BVP 5 s, EDA 10 s\), at most 2 s"),
    ],
)
def test_signals_that_are_none_are_refused(tmp_path: pathlib.Path, bvp: object, said: str):
    inside = content()
    inside["signal"]["wrist"]["BVP"] = bvp
    write(tmp_path, inside)
    with pytest.raises(InputError, match=said):
        wesad(tmp_path)


def test_names_in_a_pickle_cannot_write_to_the_terminal(tmp_path: pathlib.Path):
    write(tmp_path, b"\x80\x02cnum\x1b[2Jpy\nload\xc2\x85x\n.")
    with pytest.raises(InputError, match=r"holds num\\x1b\[2Jpy\.load x, not arrays") as error:
        wesad(tmp_path)
    assert str(error.value).isprintable()


def test_an_array_whose_bytes_do_not_fill_it_is_refused(tmp_path: pathlib.Path):
    array = of_python_2(np.zeros(4)).replace(b"(J" + struct.pack("<i", 4) + b"t", b"(J" + struct.pack("<i", 1 << 30) + b"t")
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02}U\x05label" + array + b"s.")
    with pytest.raises(InputError, match=r"label is damaged \(32 bytes for an array of shape \(1073741824,\)\)"):
        unpack(path, load_arrays(path), "label")


# --- recordings


def test_a_person_becomes_a_recording_with_a_label_a_second(tmp_path: pathlib.Path):
    inside = content()
    write(tmp_path, inside)
    (found,) = wesad(tmp_path)
    assert isinstance(found, Recording)
    assert (found.person, found.name, found.start_s, found.ppg_rate_hz, found.eda_rate_hz) == (2, "wesad-02", 0, 64.0, 4.0)
    np.testing.assert_allclose(found.ppg, inside["signal"]["wrist"]["BVP"][:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.eda, inside["signal"]["wrist"]["EDA"][:, 0], rtol=1e-6)
    assert found.ppg.dtype == found.eda.dtype == np.float32
    assert found.conditions is not None
    assert found.conditions.tolist() == [0, 1, 0, 2, 2, 2, 3, 4, 7, 0]
    assert found.labels.tolist() == [-1, 0, -1, 1, 1, 1, 0, -1, -1, -1]
    assert found.labels.dtype == np.int8


def test_what_counts_as_rest_can_be_chosen(tmp_path: pathlib.Path):
    write(tmp_path, content())
    (found,) = wesad(tmp_path, rest=("baseline", "meditation"))
    assert found.labels.tolist() == [-1, 0, -1, 1, 1, 1, -1, 0, -1, -1]
    with pytest.raises(InputError, match="'stress' cannot be rest"):
        wesad(tmp_path, rest=("stress",))


def test_people_are_in_order_of_number_and_can_be_chosen(tmp_path: pathlib.Path):
    for person in (10, 2, 3):
        write(tmp_path, content(person), person)
    (tmp_path / "WESAD" / "S3_notes").mkdir()
    assert [one.person for one in wesad(tmp_path)] == [2, 3, 10]
    assert [one.person for one in wesad(tmp_path, (10, 3))] == [10, 3]
    with pytest.raises(InputError, match="no folder of S4, S5; leave them out"):
        wesad(tmp_path, (2, 4, 5))
    survey = survey_wesad(tmp_path)
    assert (survey.samples, survey.people, survey.note) == (3, 3, "3 of 15 people; S2, S3, S10")


def test_what_wesad_lacks_is_said(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="wesad: the WESAD set is missing"):
        wesad(tmp_path)
    (tmp_path / "wesad").mkdir()
    with pytest.raises(InputError, match=r"no folders such as S2 with S2\.pkl"):
        wesad(tmp_path)
    (tmp_path / "wesad" / "S2").mkdir()
    for reader in (wesad, survey_wesad):
        with pytest.raises(InputError, match=r"S2\.pkl: a person's file is missing"):
            reader(tmp_path)


def test_another_persons_file_and_odd_conditions_are_refused(tmp_path: pathlib.Path):
    write(tmp_path, content(3), 2)
    with pytest.raises(InputError, match=r"S2\.pkl: is of 'S3'; put it into its folder"):
        wesad(tmp_path)
    inside = content()
    inside["label"][5] = 300
    write(tmp_path, inside)
    with pytest.raises(InputError, match="conditions from 0 to 300, needs 0 to 7"):
        wesad(tmp_path)


def test_a_survey_sees_a_download_that_broke_off(tmp_path: pathlib.Path):
    path = write(tmp_path, content())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"S2\.pkl: not a whole pickle"):
        survey_wesad(tmp_path)
