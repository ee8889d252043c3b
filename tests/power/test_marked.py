"""Words in the log: one before each change, in the folder that is watched and nowhere else."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.power.marked import Marks

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Kept(Marks):
    """Keeps the words in place of writing them to a device."""

    def __init__(self, folder: str):
        self._folder = f"{folder}/"
        self.words: list[str] = []

    def write(self, words: str) -> None:
        self.words.append(words)


@pytest.mark.parametrize(
    ("event", "arguments", "words"),
    [
        ("os.rename", ("/mnt/a", "/mnt/b", -1, -1), ["rename a b"]),
        ("os.symlink", ("x.affectkit", "/mnt/.current.new", -1), ["symlink x.affectkit .current.new"]),
        ("os.remove", ("/mnt/trial.json", -1), ["remove trial.json"]),
        ("open", ("/mnt/a", "wb", os.O_WRONLY | os.O_CREAT), ["open a"]),
        ("open", ("/mnt/a", "rb", os.O_RDONLY), []),
        ("open", ("/tmp/a", "wb", os.O_WRONLY | os.O_CREAT), []),
        ("os.rename", ("/tmp/a", "/tmp/b", -1, -1), []),
        ("subprocess.Popen", ("/usr/bin/python3", ["/usr/bin/python3", "-m", "venv", "/mnt/x"], None, None), ["run python3 -m venv x"]),
        ("import", ("os", None, None, None, None), []),
    ],
)
def test_a_word_for_each_change(event, arguments, words):
    marks = Kept("/mnt")
    marks.heard(event, arguments)
    assert marks.words == words


def test_a_program_runs_as_it_does_alone_and_its_last_word_is_on_the_device(tmp_path):
    device, module = tmp_path / "device", tmp_path / "changes.py"
    device.write_bytes(bytes(8192))
    module.write_text("import os, sys\nopen(sys.argv[1], 'w').close()\nos.fsync(0) if '--' in sys.argv else None\nsys.exit(3)\n")
    done = subprocess.run(
        [sys.executable, "-m", "tests.power.marked", "changes", str(tmp_path / "new")],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "POWER_MARKS": f"{device}:4096", "POWER_DISK": str(tmp_path)},
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "Invalid argument" in done.stderr:
        pytest.skip("this folder's file system has no direct writes")
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "new").exists()
    assert device.read_bytes()[4096:].split(b"\0", 1)[0].decode() == f"end changes {tmp_path / 'new'}"
