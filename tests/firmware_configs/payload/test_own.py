"""affectkit's own wheel where there is no source: packed again from what pip installed."""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

from edge.errors import InputError
from firmware_configs.payload.own import packed_again
from tests.firmware_configs.payload import tiny


def installed(wheel: pathlib.Path, to: pathlib.Path) -> importlib.metadata.Distribution:
    """What pip makes of ``wheel`` in the folder ``to``."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", to, wheel]
    subprocess.run(list(map(str, command)), check=True)
    (found,) = importlib.metadata.distributions(path=[str(to)])
    return found


def test_what_is_installed_is_packed_into_a_wheel_that_installs_the_same(tmp_path):
    first = installed(tiny.make_wheel(tmp_path, "parcel", "1.0"), tmp_path / "first")
    again = packed_again(first, tmp_path)
    assert again.name == "parcel-1.0-py3-none-any.whl"
    installed(again, tmp_path / "second")
    kept = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.py")]
    assert [str(path) for path in kept] == ["parcel/__init__.py"]
    assert all((tmp_path / "first" / path).read_bytes() == (tmp_path / "second" / path).read_bytes() for path in kept)


def test_it_is_the_same_to_the_byte_each_time(tmp_path):
    found = installed(tiny.make_wheel(tmp_path, "parcel", "1.0"), tmp_path / "site")
    assert packed_again(found, tmp_path).read_bytes() == packed_again(found, tmp_path).read_bytes()


def test_a_file_that_was_changed_since_is_not_packed(tmp_path):
    found = installed(tiny.make_wheel(tmp_path, "parcel", "1.0"), tmp_path / "site")
    (tmp_path / "site/parcel/__init__.py").write_text("VALUE = 2\n")
    with pytest.raises(InputError, match="was changed since it was installed"):
        packed_again(found, tmp_path)


def test_a_file_that_is_missing_is_named(tmp_path):
    found = installed(tiny.make_wheel(tmp_path, "parcel", "1.0"), tmp_path / "site")
    (tmp_path / "site/parcel/__init__.py").unlink()
    with pytest.raises(InputError, match=r"__init__\.py: cannot be read"):
        packed_again(found, tmp_path)
