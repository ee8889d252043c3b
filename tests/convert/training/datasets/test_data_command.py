"""``affectkit data``: what is there, on what terms, and what is missing."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from convert.training.datasets.catalogue import CATALOGUE
from edge.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[4]
CALL = """
import argparse, sys
from convert.training.datasets import cli
parser = argparse.ArgumentParser()
cli.add_commands(parser.add_subparsers())
assert "numpy" not in sys.modules
args = parser.parse_args(sys.argv[1:])
status = args.run(args)
assert not {"tensorflow", "keras", "sklearn", "cv2"} & set(sys.modules)
sys.exit(status)
"""


def call(folder: pathlib.Path) -> tuple[int, dict[str, str], str]:
    """(status, line by set, standard error) of a process of its own."""
    done = subprocess.run([sys.executable, "-c", CALL, "data", str(folder)], capture_output=True, text=True, cwd=ROOT, check=False)
    return done.returncode, {line[:15].strip(): line for line in done.stdout.splitlines()}, done.stderr


def run(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    import argparse

    from convert.training.datasets import cli

    status = cli.run(argparse.Namespace(folder=folder))
    return status, {line[:15].strip(): line for line in capsys.readouterr().out.splitlines()}


def put_ravdess(folder: pathlib.Path) -> None:
    for name in ("Actor_01/03-01-03-01-01-01-01.wav", "Actor_02/03-01-05-01-01-01-02.wav", "Actor_02/03-01-04-01-01-01-02.wav"):
        (folder / "ravdess" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "ravdess" / name, np.zeros(160), 16000)


def test_a_whole_set_is_enough_and_no_heavy_package_is_loaded(tmp_path: pathlib.Path):
    put_ravdess(tmp_path)
    status, lines, errors = call(tmp_path)
    assert status == 0, errors
    assert "found       3 clips, 3 classes, 2 people (2 of 24 people; 3 of 1440 clips); CC BY-NC-SA 4.0" in lines["RAVDESS"]
    assert lines.keys() == {one.name for one in CATALOGUE}
    assert all("not there" in line for name, line in lines.items() if name != "RAVDESS")


def test_an_empty_folder_has_none_and_says_what_each_would_be(tmp_path: pathlib.Path):
    status, lines, errors = call(tmp_path)
    assert status == 2
    assert "no set is whole here" in errors
    assert "wesad/S2/S2.pkl (scientific, non-commercial, with credit)" in lines["WESAD"]
    assert "own/physiology/PERSON.csv" in lines["own physiology"]


def test_an_incomplete_set_says_what_is_missing_in_its_line(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "WESAD" / "S2").mkdir(parents=True)
    (tmp_path / "daisee").mkdir()
    (tmp_path / "own" / "faces").mkdir(parents=True)
    status, lines = run(tmp_path, capsys)
    assert status == 2
    assert "incomplete" in lines["WESAD"]
    assert "S2.pkl: a person's file is missing" in lines["WESAD"]
    assert "TrainLabels.csv: the label file is missing" in lines["DAiSEE"]
    assert "incomplete" in lines["own faces"]
    assert len(lines) == len(CATALOGUE)


def test_own_sets_are_found(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    for person in ("anna", "ben"):
        folder = tmp_path / "own" / "speech" / person / "happy"
        folder.mkdir(parents=True)
        soundfile.write(folder / "1.wav", np.zeros(160), 16000)
    status, lines = run(tmp_path, capsys)
    assert status == 0
    assert "found       2 clips, 1 classes, 2 people (happy); yours" in lines["own speech"]


def test_a_folder_that_is_none_is_bad_input(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match="no such folder"):
        run(tmp_path / "none", capsys)


def test_the_real_sets_are_found(data: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    if not all((data / name).is_dir() for name in ("fer2013", "emodb", "ravdess", "stress_predict")):
        pytest.skip(f"not all four sets at {data}")
    status, lines = run(data, capsys)
    assert status == 0
    for name, said in (
        ("FER2013", "32298 pictures, 7 classes, nobody named"),
        ("EmoDB", "408 clips, 7 classes, 8 people"),
        ("RAVDESS", "1200 clips, 8 classes, 20 people"),
        ("Stress-Predict", "29 recordings, 2 classes, 29 people"),
    ):
        assert f"found       {said}" in lines[name]
