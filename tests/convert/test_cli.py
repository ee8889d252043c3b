"""``affectkit convert`` as a user meets it."""

from __future__ import annotations

import argparse
import json
import zipfile

import numpy as np
import pytest

from convert.cli import add_commands, write_whole
from edge.bundle import load_bundle
from edge.errors import ConversionError, InputError
from edge.inspect import verify

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
def test_a_model_becomes_a_bundle_and_a_report_with_progress_on_standard_error(folder, tmp_path, capfd):
    out = tmp_path / "small.affectkit"
    assert convert(folder / "small.keras", "--calibration", folder / "data.npz", "-o", out) == 0
    said = capfd.readouterr()
    assert said.out == f"{out}\n"
    assert "calibrating and quantizing" in said.err
    assert [line for line in said.err.splitlines() if line.startswith(("I0000", "WARNING", "INFO"))] == []
    measured = json.loads((tmp_path / "small.report" / "report.json").read_text())
    assert measured["verification"]["samples"] == 30
    assert measured["verification"]["outputs"]["probabilities"]["agreement"] > 0.9
    assert measured["source"]["file"] == "small.keras"
    assert next(check["status"] for check in measured["runtimes"]) == "runs"
    assert measured["layers"][-1]["sqnr_db"] > 20
    page = (tmp_path / "small.report" / "report.html").read_text()
    assert "small" in page
    assert "<svg" in page
    bundle = load_bundle(out)
    assert verify(bundle)["stages"]["small"]["exact"]
    assert bundle.quality["conversion"]["small"]["verification"]["samples"] == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.affectkit", "small.report"]


@pytest.mark.convert
def test_the_same_input_gives_the_same_bytes(folder, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        convert(folder / "small.keras", "--calibration", folder / "data.npz", "-o", tmp_path / name / "small.affectkit", "--no-report")
    assert (tmp_path / "a" / "small.affectkit").read_bytes() == (tmp_path / "b" / "small.affectkit").read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["small.affectkit"]


@pytest.mark.convert
def test_a_missed_gate_leaves_the_report_and_no_model(folder, tmp_path):
    out, report = tmp_path / "small.tflite", tmp_path / "measured"
    gates = ("--max-bytes", 100, "--max-macs", 1_000_000)
    with pytest.raises(ConversionError, match=r"missed its gates: max-bytes is 100, and it has [\d,]+; nothing was written") as caught:
        convert(folder / "small.keras", "--calibration", folder / "data.npz", "-o", out, "--report", report, *gates)
    assert caught.value.exit_status == 1
    gates = json.loads((report / "report.json").read_text())["gates"]
    assert [(gate["name"], gate["passed"]) for gate in gates] == [("max-bytes", False), ("max-macs", True)]
    assert (report / "report.html").exists()
    assert not out.exists()


@pytest.mark.convert
def test_auto_chooses_and_says_why(folder, tmp_path, capfd):
    out = tmp_path / "small.tflite"
    assert convert(folder / "small.keras", "--calibration", folder / "data.npz", "-o", out, "--recipe", "auto", "--min-agreement", 0.8) == 0
    assert "chosen: " in capfd.readouterr().err
    assert out.read_bytes()[4:8] == b"TFL3"
    candidates = json.loads((tmp_path / "small.report" / "report.json").read_text())["candidates"]
    assert sum(candidate["chosen"] for candidate in candidates) == 1


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
    refuse(tmp_path, "is of no kind that can be written", model, "-o", tmp_path / "out.bin", "--calibration", "d.npz")
    refuse(tmp_path, "--pin time is not AXIS=SIZE", model, "-o", out, "--calibration", "d.npz", "--pin", "time")
    refuse(tmp_path, "--created soon is no date", model, "-o", out, "--calibration", "d.npz", "--created", "soon")
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
def test_a_gate_that_cannot_be_measured_is_refused(folder, tmp_path):
    arguments = (folder / "small.keras", "--calibration", folder / "data.npz", "-o", tmp_path / "o.tflite")
    refuse(tmp_path, "--max-drop needs labels", *arguments, "--max-drop", 0.01)


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
    refuse(tmp_path, r"^\S*bomb\.keras unpacks to", path, "--calibration", folder / "data.npz", "-o", tmp_path / "o.tflite")


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
