"""Another system's root folder: entered without a network, measured, and left as it was."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

from edge.errors import EdgeError
from firmware_configs.payload import roots
from firmware_configs.payload.cache import cache_folder


def may_unshare() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False).returncode == 0


needs_root = pytest.mark.skipif(not may_unshare(), reason="needs root, and name spaces of its own")


@pytest.fixture
def mounts():
    return lambda: pathlib.Path("/proc/self/mounts").read_text()


@needs_root
def test_in_there_is_no_network_and_nothing_stays_mounted(mounts):
    before = mounts()
    ran = roots.run_in(pathlib.Path("/"), ["cat", "/proc/net/dev"])
    assert ran.status == 0
    assert [line.split(":")[0].strip() for line in ran.output.splitlines() if ":" in line] == ["lo"]
    assert mounts() == before


@needs_root
def test_in_there_the_environment_is_its_own_and_a_failure_is_told(monkeypatch):
    monkeypatch.setenv("SECRET", "here")
    ran = roots.run_in(pathlib.Path("/"), ["sh", "-c", "env; echo of this >&2; exit 7"], environment={"QEMU_CPU": "cortex-a53"})
    assert ran.status == 7
    assert "QEMU_CPU=cortex-a53" in ran.output and "SECRET" not in ran.output
    assert ran.why == "of this"


@needs_root
def test_what_was_started_in_there_does_not_go_on(tmp_path):
    mark = tmp_path / "mark"
    roots.run_in(pathlib.Path("/"), ["sh", "-c", f"(while sleep 0.05; do date +%N >{mark}; done) >/dev/null 2>&1 & sleep 0.3"])
    last = mark.read_text()
    subprocess.run(["sleep", "0.3"], check=True)
    assert mark.read_text() == last


def test_the_installers_own_line_says_why():
    output = "affectkit: [1.0 s] NOT INSTALLED: no python3\naffectkit: later\n\n"
    assert roots.Ran(1, output, "warning\n", 1.0).why == "affectkit: [1.0 s] NOT INSTALLED: no python3"
    assert roots.Ran(1, "begun\n", "it broke\n", 1.0).why == "it broke"
    assert roots.Ran(1, "\n", "", 1.0).why == "it said nothing"


@needs_root
def test_in_there_the_processors_can_be_counted():
    ran = roots.run_in(pathlib.Path("/"), ["cat", "/sys/devices/system/cpu/possible"])
    assert ran.status == 0 and ran.output.startswith("0")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "needs QEMU 10 or later"),
        ("disabled\ninterpreter /bin/true\nflags: POF\n", "needs QEMU 10 or later"),
        ("enabled\ninterpreter /bin/true\nflags: \n", "no flag F"),
        ("enabled\ninterpreter {old}\nflags: POF\n", r"is version 7\.2\.13; 10 or later is needed"),
        ("enabled\ninterpreter /nowhere/qemu\nflags: POF\n", "is version 0 or unknown"),
    ],
)
def test_an_emulator_that_cannot_do_is_told_in_one_line(tmp_path, monkeypatch, found, says):
    old = tmp_path / "qemu-aarch64"
    old.write_text("#!/bin/sh\necho 'qemu-aarch64 version 7.2.13 (Debian 1:7.2)'\n")
    old.chmod(0o755)
    if found is not None:
        (tmp_path / "binfmt").write_text(found.format(old=old))
    monkeypatch.setattr(roots, "_BINFMT", tmp_path / "binfmt")
    monkeypatch.setattr(roots.os, "geteuid", lambda: 0)
    monkeypatch.setattr(roots.shutil, "which", lambda name: name)
    monkeypatch.setattr(roots.platform, "system", lambda: "Linux")
    monkeypatch.setattr(roots.platform, "machine", lambda: "x86_64")
    with pytest.raises(roots.CannotProveError, match=says):
        roots.emulator()
    old.write_text("#!/bin/sh\necho 'qemu-aarch64 version 10.0.2 (Debian 1:10)'\n")
    (tmp_path / "binfmt").write_text(f"enabled\ninterpreter {old}\nflags: POF\n")
    assert roots.emulator() == "qemu-aarch64 10.0.2"


def test_a_file_with_two_names_is_counted_once(tmp_path):
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/a").write_bytes(os.urandom(100_000))
    once = roots.used_bytes(tmp_path)
    assert once >= 100_000
    os.link(tmp_path / "usr/a", tmp_path / "usr/b")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/c").write_bytes(os.urandom(100_000))
    assert roots.used_bytes(tmp_path, ("tmp",)) == once
    assert roots.used_bytes(tmp_path) > once


def test_a_copy_is_gone_afterwards_and_the_base_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (base := tmp_path / "base").mkdir()
    (base / "a").write_text("a")
    with roots.copied(base) as root:
        (root / "a").write_text("b")
        (root / "c").write_text("c")
    assert {path.name: path.read_text() for path in base.iterdir()} == {"a": "a"}
    assert list(cache_folder("arm64").iterdir()) == []
    with pytest.raises(EdgeError, match="none: cannot be copied"), roots.copied(tmp_path / "none"):
        pass


def test_without_a_base_and_debootstrap_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(roots.CannotProveError, match="apt-get install debootstrap, or give a root folder with --prove DIR"):
        roots.lite("trixie")
    assert list(cache_folder("arm64").iterdir()) == []
