"""Stress-Predict as published and gzipped: the same recordings, and damage named."""

from __future__ import annotations

import gzip
import pathlib

import numpy as np
import pytest

from convert.training.datasets.stress_predict import signal, stress_predict, survey_stress_predict
from edge.errors import InputError

START_S, SECONDS = 1644227574, 20
PUBLISHED = "Processed_data/Improved_All_Combined_hr_rsp_binary.csv"


def put(path: pathlib.Path, text: str, *, zipped: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if zipped:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def small_set(folder: pathlib.Path, labels: str, *, zipped: bool, people: tuple[int, ...] = (2, 3)) -> pathlib.Path:
    for person in people:
        rng = np.random.default_rng(person)
        for name, rate_hz in (("BVP", 64), ("EDA", 4)):
            values = rng.normal(size=SECONDS * rate_hz)
            column = "\n".join([f"{START_S}.000000", f"{rate_hz}.000000", *(f"{value:.6f}" for value in values)])
            put(folder / "Raw_data" / f"S{person:02d}" / f"{name}.csv", column + "\n", zipped=zipped)
    rows = [f"{person},70.5,12.1,{START_S + t},{int(t >= 10)}" for person in people for t in range(1, SECONDS)]
    put(folder / labels, "\n".join(["Participant,HR,respr,Time(sec),Label", *rows]) + "\n", zipped=zipped)
    return folder


@pytest.mark.parametrize("name", ["stress_predict", "Stress-Predict-Dataset", "Stress-Predict-Dataset-main"])
def test_the_published_layout_gives_what_the_gzipped_one_gives(tmp_path: pathlib.Path, name: str):
    small_set(tmp_path / "a" / name, PUBLISHED, zipped=False)
    small_set(tmp_path / "b" / "stress_predict", "labels_hr_resp_1hz.csv", zipped=True)
    plain, zipped = stress_predict(tmp_path / "a"), stress_predict(tmp_path / "b")
    assert [one.person for one in plain] == [2, 3]
    assert [one.name for one in plain] == ["stress-predict-02", "stress-predict-03"]
    for one, other in zip(plain, zipped, strict=True):
        assert (one.start_s, one.ppg_rate_hz, one.eda_rate_hz) == (START_S, 64.0, 4.0)
        assert np.array_equal(one.ppg, other.ppg)
        assert np.array_equal(one.eda, other.eda)
        assert one.labels.tolist() == other.labels.tolist() == [-1] + [0] * 9 + [1] * 10
        assert one.conditions is None


def test_a_signal_is_found_with_and_without_gz(tmp_path: pathlib.Path):
    small_set(tmp_path, PUBLISHED, zipped=False, people=(2,))
    where = tmp_path / "Raw_data" / "S02"
    start_s, rate_hz, samples = signal(where / "EDA.csv.gz")
    assert (start_s, rate_hz, len(samples)) == (START_S, 4.0, SECONDS * 4)
    assert np.array_equal(signal(where / "EDA.csv")[2], samples)


def test_a_survey_counts_people_with_signals(tmp_path: pathlib.Path):
    folder = small_set(tmp_path / "stress_predict", PUBLISHED, zipped=False, people=(2, 3, 4))
    for path in (folder / "Raw_data" / "S03").iterdir():
        path.unlink()
    (folder / "Raw_data" / "S03").rmdir()
    found = survey_stress_predict(tmp_path)
    assert (found.samples, found.people, found.classes) == (2, 2, 2)
    assert "1 more have labels and no signals" in found.note
    (folder / "Raw_data" / "S04" / "EDA.csv").unlink()
    with pytest.raises(InputError, match=r"S04/EDA\.csv\.gz: a signal of Stress-Predict is missing"):
        survey_stress_predict(tmp_path)


def test_damage_is_named_in_one_line(tmp_path: pathlib.Path):
    folder = small_set(tmp_path / "stress_predict", "labels_hr_resp_1hz.csv", zipped=True)
    wave = folder / "Raw_data" / "S02" / "BVP.csv.gz"
    whole = wave.read_bytes()
    for raw in (whole[: len(whole) // 2], b"plain text", gzip.compress(b"a,b\n"), gzip.compress(b"\xff\xfe")):
        wave.write_bytes(raw)
        with pytest.raises(InputError, match=r"BVP\.csv\.gz: not a column of numbers") as error:
            stress_predict(tmp_path)
        assert "\n" not in str(error.value)
    wave.write_bytes(gzip.compress(b"1 2\n3 4\n5 6\n"))
    with pytest.raises(InputError, match=r"BVP\.csv\.gz: 2 columns, needs one"):
        stress_predict(tmp_path)
    wave.write_bytes(gzip.compress(b"1644227574\n64\n1e300\n"))
    with pytest.raises(InputError, match=r"BVP\.csv\.gz: holds 1e\+300, which no wristband gives"):
        stress_predict(tmp_path)
    wave.write_bytes(whole)
    labels = folder / "labels_hr_resp_1hz.csv.gz"
    labels.write_bytes(labels.read_bytes()[:60])
    with pytest.raises(InputError, match=r"labels_hr_resp_1hz\.csv\.gz: not a table of text"):
        stress_predict(tmp_path)
    labels.unlink()
    with pytest.raises(InputError, match=r"labels_hr_resp_1hz\.csv\.gz: the labels of Stress-Predict is missing"):
        stress_predict(tmp_path)


def test_the_real_set_is_as_it_was(data: pathlib.Path):
    if not (data / "stress_predict").is_dir():
        pytest.skip(f"no Stress-Predict at {data}")
    (one,) = stress_predict(data, (2,))
    assert (one.start_s, len(one.ppg), len(one.eda), len(one.labels)) == (START_S, 228173, 14262, 3565)
    assert np.bincount(one.labels[one.labels >= 0]).tolist()[1] == 1161
    assert survey_stress_predict(data).people == 29
