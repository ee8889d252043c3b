"""What an installation that was cut off says of itself must be so: each way in which it could be untrue is found."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.power import install, tree

RELEASE = "opt/affectkit/releases/0123456789abcdef"
FILES = {
    install.INSTALLED: b'{"payload_sha256": "ab"}',
    install.UNIT: b"[Unit]\n",
    "usr/lib/affectkit/led": b"#!/bin/sh\n",
    f"{RELEASE}/lib/a.py": b"a = 1\n",
    f"{RELEASE}/.whole": b"",
}


@pytest.fixture
def root(tmp_path):
    """All of an installation that is done."""
    for name, content in FILES.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(content)
    return tmp_path / "root"


@pytest.fixture
def wanted(root):
    return install.kept(root)


def said(root: pathlib.Path, wanted: tree.Tree) -> str:
    return install._wrong(install.Material(root.parent), root, wanted)


def call_again(root: pathlib.Path) -> None:
    (root / install.WANTED).parent.mkdir(parents=True, exist_ok=True)
    (root / install.WANTED).symlink_to("../affectkit-install.service")


def test_a_whole_installation_is_right_whether_it_is_still_called_or_not(root, wanted):
    assert said(root, wanted) == ""
    (root / install.WANTED).parent.mkdir(parents=True)
    wanted = install.kept(root)
    call_again(root)
    assert said(root, wanted) == ""


def test_nothing_at_all_is_right(root, wanted):
    shutil.rmtree(root)
    root.mkdir()
    assert said(root, wanted) == ""


@pytest.mark.parametrize("name", [f"{RELEASE}/lib/a.py", "usr/lib/affectkit/led"])
def test_an_installation_with_an_empty_file_is_not_installed(root, wanted, name):
    (root / name).write_bytes(b"")
    assert "says that it is installed, and 1 files are not" in said(root, wanted)


def test_a_torn_record_is_found(root, wanted):
    (root / install.INSTALLED).write_bytes(b"{")
    assert "torn" in said(root, wanted)


def test_what_has_begun_must_be_called_again(root, wanted):
    (root / install.INSTALLED).unlink()
    assert "nothing would go on with it" in said(root, wanted)
    call_again(root)
    assert said(root, wanted) == ""
    (root / install.UNIT).write_bytes(b"")
    assert "unit" in said(root, wanted)


def test_python_that_is_called_whole_must_be(root, wanted):
    (root / install.INSTALLED).unlink()
    call_again(root)
    (root / RELEASE / "lib/a.py").write_bytes(b"a =")
    assert "Python is whole" in said(root, wanted)
    (root / RELEASE / ".whole").unlink()
    assert said(root, wanted) == ""


def test_what_passes_does_not_count(root, wanted):
    for name in ("run/lock", "var/lib/x", "usr/lib/affectkit/.led.affectkit-new", "etc/.#groupa54GGj"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    assert said(root, wanted) == ""
