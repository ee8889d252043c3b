"""``affectkit convert`` as a user meets it."""

from __future__ import annotations

import argparse
import json
import zipfile

import numpy as np
import pytest

from convert.cli import add_commands, write_whole
from edge.errors import ConversionError, InputError

RANDOM = np.random.default_rng(0)


def convert(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(["convert", *map(str, arguments)])
    return args.run(args)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    path = tmp_path_factory.mktemp("cli")
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), name="x")
    model = keras.Model(x, {"probabilities": keras.layers.Dense(3, activation="softmax")(keras.layers.Dense(8, activation="relu")(x))})
    model.save(path / "small.keras")
    np.savez(path / "data.npz", x=RANDOM.normal(size=(150, 6)))
    np.savez(path / "few.npz", x=RANDOM.normal(size=(20, 6)))
    return path


@pytest.mark.convert
def test_a_model_becomes_a_tflite_and_a_report_with_progress_on_standard_error(folder, tmp_path, capfd):
    out, report = tmp_path / "small.tflite", tmp_path / "report.json"
    assert convert(folder / "small.keras", "--calibration", folder / "data.npz", "-o", out, "--report", report) == 0
    said = capfd.readouterr()
    assert said.out == f"{out}\n"
    assert "calibrating and quantizing" in said.err
    assert out.read_bytes()[4:8] == b"TFL3"
    measured = json.loads(report.read_text())
    assert measured["inputs"] == {"x": "x"}
    assert measured["verification"]["samples"] == 30
    assert measured["verification"]["outputs"]["probabilities"]["agreement"] > 0.9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "small.tflite"]


@pytest.mark.convert
def test_a_missed_gate_leaves_the_report_and_no_model(folder, tmp_path, monkeypatch):
    from convert.verify import Verification

    def miss(self: Verification, least: float) -> None:
        raise ConversionError(f"below {least}")

    monkeypatch.setattr(Verification, "check", miss)
    out, report = tmp_path / "small.tflite", tmp_path / "report.json"
    with pytest.raises(ConversionError, match=r"below 0\.98"):
        convert(folder / "small.keras", "--calibration", folder / "data.npz", "-o", out, "--report", report, "--min-agreement", 0.98)
    assert report.exists()
    assert not out.exists()


def refuse(tmp_path, words, *arguments):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=words) as caught:
        convert(*arguments)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_wrong_at_first_sight_is_refused_at_once(tmp_path):
    model, out = tmp_path / "m.keras", tmp_path / "out.tflite"
    refuse(tmp_path, "m.keras does not exist", model, "-o", out, "--calibration", "d.npz")
    refuse(tmp_path, r"of a kind that cannot be read: give one of \.keras", tmp_path / "m.pt", "-o", out, "--calibration", "d.npz")
    refuse(tmp_path, "is no folder", model, "-o", tmp_path / "none" / "out.tflite", "--calibration", "d.npz")
    model.write_bytes(b"x")
    refuse(tmp_path, "needs --calibration", model, "-o", out)
    refuse(tmp_path, r"d\.npz does not exist", model, "-o", out, "--calibration", tmp_path / "d.npz")
    out.write_bytes(b"kept")
    refuse(tmp_path, r"out\.tflite exists: choose another name, or pass --overwrite", model, "-o", out, "--calibration", "d.npz")
    assert out.read_bytes() == b"kept"


@pytest.mark.convert
def test_too_few_samples_are_refused(folder, tmp_path):
    refuse(
        tmp_path,
        "20 calibration samples are too few",
        folder / "small.keras",
        "--calibration",
        folder / "few.npz",
        "-o",
        tmp_path / "o.tflite",
    )


@pytest.mark.convert
def test_a_model_that_brings_code_is_refused(folder, tmp_path):
    import keras

    path = tmp_path / "code.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2)]).save(path)
    refuse(
        tmp_path,
        "has Lambda layers, which run code from the file: pass --allow-code",
        path,
        "--calibration",
        folder / "data.npz",
        "-o",
        tmp_path / "o.tflite",
    )


@pytest.mark.convert
def test_damaged_models_are_one_line(folder, tmp_path):
    whole = (folder / "small.keras").read_bytes()
    cases = {
        "cut.keras": whole[: len(whole) // 2],
        "text.keras": b"no archive",
        "cut.h5": b"\x89HDF\r\n\x1a\n" + bytes(40),
        "text.h5": b"no file",
    }
    for name, content in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        refuse(tmp_path, name, path, "--calibration", folder / "data.npz", "-o", tmp_path / "o.tflite")


@pytest.mark.convert
def test_an_archive_that_unpacks_to_gigabytes_is_refused(folder, tmp_path, monkeypatch):
    from convert.readers import keras as reader

    monkeypatch.setattr(reader, "MAXIMUM_BYTES", 1 << 20)
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(1 << 21))
    refuse(tmp_path, "bomb.keras unpacks to", path, "--calibration", folder / "data.npz", "-o", tmp_path / "o.tflite")


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    import os

    write_whole(tmp_path / "a", b"one")
    with pytest.raises(InputError, match="exists"):
        write_whole(tmp_path / "a", b"two")
    write_whole(tmp_path / "a", b"two", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"two"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="b cannot be written: No space left on device"):
        write_whole(tmp_path / "b", b"three")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
