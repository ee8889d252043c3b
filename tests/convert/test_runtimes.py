"""A file is tried where it shall run, in a process that may die."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import stat
import subprocess
import sys

import numpy as np
import pytest

from convert import runtimes
from edge.bundle import load_bundle
from edge.inference.golden import golden
from edge.inference.model import _TINY, Model

HERE = runtimes.Interpreter("ai-edge-litert", sys.executable)
MAPS = ({"x": "x"}, {"y": "y"})


def vectors():
    return golden(Model(_TINY, name="t", inputs=MAPS[0], outputs=MAPS[1]), {"x": np.arange(8, dtype=np.float32).reshape(2, 4)})


def test_a_file_that_answers_as_before_runs():
    found = runtimes.check(HERE, _TINY, *MAPS, vectors())
    assert (found["status"], found["why"], found["largest_difference"]) == ("runs", "", 0.0)
    assert {**found["delegated"], **found["left"]} == {"ADD": 1}


def test_other_answers_and_damage_are_told_apart():
    changed = vectors()
    changed["output_y"] = changed["output_y"] + 1
    found = runtimes.check(HERE, _TINY, *MAPS, changed)
    assert (found["status"], found["largest_difference"]) == ("differs", 1.0)
    assert runtimes.check(HERE, _TINY[:200], *MAPS, vectors())["status"] == "fails"


def test_a_crash_is_a_failure_with_its_status(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    found = runtimes.check(runtimes.Interpreter("other", str(python)), _TINY, *MAPS, vectors())
    assert found["status"] == "fails"
    assert "crashed (status -11)" in found["why"]


def test_what_is_not_installed_is_not_tried():
    found = runtimes.check(runtimes.Interpreter("other", "", "not installed here"), _TINY, *MAPS, vectors())
    assert (found["status"], found["why"]) == ("not tried", "not installed here")


def test_delegated_operators_are_those_between_the_borders():
    details = [
        {"index": 0, "op_name": "CONV_2D", "inputs": [0, 1], "outputs": [2]},
        {"index": 1, "op_name": "ADD", "inputs": [2, 2], "outputs": [3]},
        {"index": 2, "op_name": "SOFTMAX", "inputs": [3], "outputs": [4]},
        {"index": 3, "op_name": "DELEGATE", "inputs": [0, 1], "outputs": [3]},
    ]
    assert runtimes.delegated(details) == ({"ADD": 1, "CONV_2D": 1}, {"SOFTMAX": 1})


def test_the_embedded_bundle_runs_in_the_old_runtime_too(embedded_bundle, tmp_path, monkeypatch):
    """Installs tflite-runtime 2.14 in a folder of its own, which takes Python 3.11 and a package index."""
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("AFFECTKIT_TEST_CACHE", str(tmp_path)))
    if sys.version_info[:2] != (3, 11) and not _runs("python3.11"):
        pytest.skip("no Python 3.11 here, and tflite-runtime has no newer wheel")
    from edge.errors import ConversionError

    try:
        runtimes.install_old()
    except ConversionError as error:
        pytest.skip(f"tflite-runtime cannot be installed here: {error}")
    old = runtimes.known()[1]
    bundle = load_bundle(embedded_bundle)
    for name, spec in bundle.manifest.stages.items():
        found = runtimes.check(old, bundle.stage(name), spec.inputs, spec.outputs, bundle.golden(name))
        assert found["status"] == "runs", (name, found)
        assert found["runtime"] == "tflite-runtime 2.14.0"


def _runs(command: str) -> bool:
    try:
        return subprocess.run([command, "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def test_the_child_needs_nothing_but_the_interpreter_and_numpy():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'scipy', 'rich', 'PIL'), None)); import convert.runtimes; "
        "import edge.inference.golden"
    )
    root = pathlib.Path(importlib.util.find_spec("convert").origin).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
