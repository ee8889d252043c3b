"""A small network through every converter that is at hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.peer_converters import AUTO, DEFAULT, QUANTIZED, STATIC, TFLITE, Workshop
from benchmarks.peer_environments import Environment, onnx2tf
from benchmarks.peer_networks import Network
from benchmarks.peer_table import FLOAT, Row
from edge.errors import ConversionError, InputError


@pytest.fixture
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def network(tmp_path):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x)))
    model.save(tmp_path / "small.keras")
    samples = np.random.default_rng(0).normal(size=(140, 8, 8, 1)).astype(np.float32)
    labels = np.asarray(model(samples[100:])).argmax(axis=1)
    return Network("small", tmp_path / "small.keras", {"input": samples[:100]}, {"input": samples[100:]}, labels)


@pytest.mark.convert
@pytest.mark.slow
def test_a_network_is_converted_compared_and_measured(network, nothing_installed, tmp_path):
    pytest.importorskip("tensorflow")
    rows = peers.compare("small", lambda: network, tmp_path / "work", onnx2tf=[Environment("onnx2tf-9", ("onnx2tf==9",))])
    by_name = {row.converter: row for row in rows}
    assert list(by_name) == [FLOAT, DEFAULT, AUTO, TFLITE, "onnx2tf 9", QUANTIZED, STATIC]
    for converter in ("onnx2tf 9", QUANTIZED, STATIC):
        assert (by_name[converter].status, by_name[converter].why) == ("not converted", "not installed: run again with --install")
    for converter in (DEFAULT, TFLITE):
        row = by_name[converter]
        assert row.status == "runs", row.why
        assert row.agreement is not None and row.agreement > 0.9
        assert row.accuracy == row.agreement  # the labels are what float answers
        assert row.floats == 0 and row.operators["CONV_2D"] == 1
        assert row.median_ms is not None and 0 < row.median_ms <= row.p90_ms
        assert "runs" in row.runtimes.values()
    assert by_name[FLOAT].mean_error < 1e-5
    assert by_name[FLOAT].floats == sum(by_name[FLOAT].operators.values())
    assert by_name[TFLITE].tool.startswith("tensorflow ")
    (tmp_path / "told").mkdir()
    peers._write(tmp_path / "told", rows)
    told = json.loads((tmp_path / "told" / "peers.json").read_text())
    assert [row["converter"] for row in told["rows"]] == list(by_name)
    assert "### small" in (tmp_path / "told" / "peers.md").read_text()


def test_a_network_that_cannot_be_made_is_one_row(tmp_path):
    def fail() -> Network:
        raise ConversionError("small could not be taught: no space left")

    assert peers.compare("small", fail, tmp_path / "work", onnx2tf=[]) == [
        Row("small", FLOAT, "not converted", "small could not be taught: no space left")
    ]


@pytest.mark.convert
def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    pytest.importorskip("tensorflow")
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    samples = {"input": np.zeros((2, 3), np.float32)}
    with pytest.raises(ConversionError, match=r"^broken cannot be computed in float: InputError: broken\.keras is damaged"):
        Workshop(Network("broken", tmp_path / "broken.keras", samples, samples), tmp_path / "work", onnx2tf=[], limit_s=60)


def test_a_python_that_does_not_run_is_named(capsys, tmp_path):
    assert peers.main(["--data", str(tmp_path), "--onnx2tf-python", str(tmp_path / "python")]) == InputError.exit_status
    assert "python cannot be run" in capsys.readouterr().err


def test_the_environment_of_onnx2tf_follows_the_python_and_is_not_there_until_installed(nothing_installed):
    import sys

    environment = onnx2tf(sys.executable)
    assert environment.pins == (("onnx2tf==1.29.24",) if sys.version_info < (3, 12) else ("onnx2tf==2.6.9",))
    assert environment.python == ""
