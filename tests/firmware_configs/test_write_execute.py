"""``MemoryDenyWriteExecute=yes`` for real: the kernel refuses memory that is written and executed, and the kit plays and records."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"), reason="the filter is of Linux on x86-64 and aarch64"
)

FILTER = """
import ctypes, platform, struct, sys

# seccomp(2) and systemd.exec(5): no mmap that writes and executes, no mprotect that executes.
MMAP, MPROTECT, PKEY_MPROTECT = (9, 10, 329) if platform.machine() == "x86_64" else (222, 226, 288)
LOAD, SAME, AND, GIVE, WRITE, EXECUTE, EPERM = 0x20, 0x15, 0x54, 0x06, 2, 4, 1
program = [
    (LOAD, 0, 0, 0),
    (SAME, 0, 3, MMAP), (LOAD, 0, 0, 32), (AND, 0, 0, WRITE | EXECUTE), (SAME, 5, 4, WRITE | EXECUTE),
    (SAME, 1, 0, MPROTECT), (SAME, 0, 2, PKEY_MPROTECT), (LOAD, 0, 0, 32), (0x45, 1, 0, EXECUTE),
    (GIVE, 0, 0, 0x7FFF0000), (GIVE, 0, 0, 0x00050000 | EPERM),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 2, *[ctypes.c_ulong] * 2]
given = Program(len(program), ctypes.addressof(code))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(given), 0, 0):
    print("no filter:", ctypes.get_errno())
    sys.exit(77)
"""


def ran(code: str, *arguments: str | pathlib.Path) -> str:
    """What ``code`` prints under the filter."""
    said = subprocess.run(
        [sys.executable, "-c", FILTER + code, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if said.returncode == 77:
        pytest.skip(f"seccomp is not to be had here: {said.stdout.strip()}")
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_the_filter_refuses_what_it_should():
    """Call-backs of cffi, which libsndfile takes for a Python file, are such memory: else the tests below would show nothing."""
    said = ran(
        """
import io, mmap, soundfile
for attempt in (lambda: mmap.mmap(-1, 4096, prot=7), lambda: soundfile.SoundFile(io.BytesIO(b"fLaC"))):
    try:
        attempt()
    except (PermissionError, MemoryError) as error:
        print(type(error).__name__)
mmap.mmap(-1, 4096, prot=3)
"""
    )
    assert said.split() == ["PermissionError", "MemoryError"]


def test_a_run_decides_the_same(tmp_path):
    run = "from edge.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    ran(run, "run", "--fast", "--duration", "5", "--jsonl", tmp_path / "filtered.jsonl")
    subprocess.run(
        [sys.executable, "-m", "edge", "run", "--fast", "--duration", "5", "--jsonl", tmp_path / "free.jsonl"],
        check=True, capture_output=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert (tmp_path / "filtered.jsonl").read_bytes() == (tmp_path / "free.jsonl").read_bytes()
    assert len((tmp_path / "free.jsonl").read_bytes().splitlines()) >= 18


def test_sound_is_recorded_and_read_again(tmp_path):
    said = ran(
        """
import numpy as np
from edge.session import open_session
from edge.session_writer import SessionWriter
from edge.types import Chunk
sound = np.round(np.sin(np.arange(16000) / 7) * 9000).astype(np.float32) / 32768
with SessionWriter(sys.argv[1], title="a tone") as writer:
    for at in range(0, 16000, 1600):
        writer.add(Chunk("audio", at * 62500, 16000.0, sound[at : at + 1600]))
read = np.concatenate([chunk.samples for chunk in open_session(sys.argv[1]).chunks("audio")])
print(np.array_equal(read, sound))
""",
        tmp_path / "tone.session.zip",
    )
    assert said.split() == ["True"]
