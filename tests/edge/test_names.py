from __future__ import annotations

import subprocess
import sys

import pytest

import edge


def test_the_names_a_reader_needs_are_there_and_no_others():
    assert set(edge.__all__) == {"Decision", "EdgeError", "Runtime", "load_bundle"}
    for name in edge.__all__:
        assert getattr(edge, name).__name__ == name and name in dir(edge)
    with pytest.raises(AttributeError, match="no attribute 'Runtim'"):
        edge.Runtim  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = "import edge, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "edge.runtime", "rich"} & set(done.stdout.split())
