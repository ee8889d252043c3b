"""What the aarch64 rig asks of this machine and of PyPI."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest


def load(name: str):
    """A file of the rig, which is run as a script and so is no package."""
    path = pathlib.Path(__file__).resolve().with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"arm64_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


roots = load("roots")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("qemu-aarch64 version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright", (10, 0, 2)),
        ("qemu-aarch64 version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u12)", (7, 2, 17)),
        ("", (0,)),
    ],
)
def test_the_version_of_qemu_is_read_from_what_it_prints(said, version):
    assert roots.qemu_version(said) == version


def test_a_debian_takes_wheels_for_its_glibc_and_older_ones():
    tags = roots.platforms((2, 36))
    assert tags[0] == "manylinux_2_36_aarch64" and "manylinux_2_17_aarch64" in tags and "manylinux_2_37_aarch64" not in tags
    assert tags[-1] == "any"


def test_the_device_gets_what_setup_cfg_says_and_no_checker_of_style():
    names = {roots.distribution(requirement) for requirement in roots.requirements(roots.TRIXIE)}
    assert {"numpy", "ai-edge-litert", "smbus2", "soxr", "bleak", "pytest", "hypothesis"} <= names
    assert not names & {"ruff", "mypy", "tensorflow", "keras"}


def test_the_older_interpreter_gets_the_numpy_it_can_stand():
    assert "numpy<2" in roots.requirements(roots.BOOKWORM)


def test_a_machine_that_cannot_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(roots.platform, "machine", lambda: "aarch64")
    with pytest.raises(roots.CannotError, match="make test-device") as told:
        roots.have_emulator()
    assert "\n" not in str(told.value)


def test_an_old_emulator_is_refused_with_the_reason(monkeypatch, tmp_path):
    old = tmp_path / "qemu-aarch64"
    old.write_text("#!/bin/sh\necho 'qemu-aarch64 version 7.2.17 (Debian)'\n")
    old.chmod(0o755)
    for name in set(roots.COMMANDS) - {"qemu-aarch64"}:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(roots.os, "geteuid", lambda: 0)
    monkeypatch.setattr(roots.platform, "machine", lambda: "x86_64")
    with pytest.raises(roots.CannotError, match=r"7\.2\.17.*int8.*backports"):
        roots.have_emulator()
