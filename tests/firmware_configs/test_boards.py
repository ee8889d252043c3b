"""The boards: their files say what can be, and one with a mistake is refused in one line that names it."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import re
import subprocess
import sys

import pytest

from edge.config import settings_from
from edge.errors import ConfigError
from firmware_configs.boards import FOLDER, OsFacts, board_names, board_of, load_board, named

ALL = ["pi-3b-plus", "pi-4", "pi-5", "pi-zero-2-w"]


def test_the_four_boards_are_there():
    assert list(board_names()) == ALL


@pytest.mark.parametrize("name", ALL)
def test_a_board_loads_and_its_suggestions_are_settings(name):
    board = named(name)
    assert board.name == name
    assert not board.suggested.measured, "a measured board names its results: until there are some, it says so"
    settings = settings_from(board.suggested.as_settings(), where=name)
    assert settings.budget.cadence_ms == board.suggested.cadence_ms
    assert settings.camera.rate_hz == board.suggested.camera_rate_hz
    assert board.limits.memory_max_mib < board.memory_mib
    with pytest.raises(dataclasses.FrozenInstanceError):
        board.cores = 8  # type: ignore[misc]


@pytest.mark.parametrize("name", ALL)
def test_every_line_of_a_board_has_a_comment_above_it_or_a_reason_beside_it(name):
    lines = (FOLDER / f"{name}.toml").read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"(?!why|line|python|glibc)\w+ =", line):
            assert above.startswith("# "), f"{name}: nothing says why: {line}"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Raspberry Pi Zero 2 W Rev 1.0\0", "pi-zero-2-w"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3\0", "pi-3b-plus"),
        ("Raspberry Pi 4 Model B Rev 1.5\0", "pi-4"),
        ("Raspberry Pi 5 Model B Rev 1.0\0", "pi-5"),
        ("Raspberry Pi 3 Model B Rev 1.2\0", None),
        ("Raspberry Pi Zero W Rev 1.1\0", None),
        ("QEMU Virtual Machine", None),
        ("", None),
    ],
)
def test_a_board_is_known_by_what_its_device_tree_says(model, name):
    board = board_of(model)
    assert (board and board.name) == name


def test_an_unknown_board_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"board 'pi4': unknown; did you mean 'pi-4'\?"):
        named("pi4")


@pytest.mark.parametrize("name", ["../boards/pi-4", "/etc/passwd", ""])
def test_a_name_is_no_path(name):
    with pytest.raises(ConfigError, match="unknown"):
        named(name)


def test_both_systems_have_their_wheels():
    for name in ALL:
        os_of = named(name).os
        assert {key: facts.python for key, facts in os_of.items()} == {"bookworm": "cp311", "trixie": "cp313"}
        assert os_of["bookworm"].platform_tags()[0] == "manylinux_2_36_aarch64"
        assert os_of["trixie"].platform_tags()[0] == "manylinux_2_41_aarch64"


def test_platform_tags_are_those_that_a_machine_of_that_glibc_takes():
    manylinux = pytest.importorskip("packaging._manylinux", reason="packaging tells what a machine takes")
    # It knows the glibc of this machine alone: ask for that one, on the kit's architecture, back to the floor of PEP 599.
    here = manylinux._get_glibc_version()
    if here.major != 2 or not 17 <= here.minor <= 99:
        pytest.skip(f"glibc is {here.major}.{here.minor} here")
    floor = [tag for tag in manylinux.platform_tags(["x86_64"]) if not re.search(r"manylinux1_|2010|manylinux_2_(\d|1[0-6])_", tag)]
    assert set(OsFacts("cp311", f"2.{here.minor}").platform_tags()) == {tag.replace("x86_64", "aarch64") for tag in floor}


def changed(folder: pathlib.Path, old: str, new: str) -> pathlib.Path:
    text = (FOLDER / "pi-4.toml").read_text()
    assert old in text
    path = folder / "pi-4.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("cores = 4", "cores = 0", "cores: got 0; it is 1 to 64"),
        ("cores = 4", "", "cores is missing"),
        ("cores = 4", "core = 4", "unknown key 'core'; did you mean 'cores'"),
        ("cores = 4", 'cores = "4"', "cores: got '4'; it is a whole number"),
        ("cores = 4", 'name = "pi"\ncores = 4', "unknown key 'name'"),
        ("measured = false", "measured = 0", "suggested.measured: got 0; it is true or false"),
        ("memory_max_mib = 384", "memory_max_mib = 1000", "got 1000 of 1024 MiB; it is 832 at most"),
        ("memory_max_mib = 384", "memory_max_mib = 64", "limits.memory_max_mib: got 64; it is 200 to"),
        ("cpu_quota_percent = 350", "cpu_quota_percent = 401", "got 401; 4 cores are 400"),
        ("threads = 0", "threads = 5", "suggested.threads: got 5; the board has 4 cores"),
        ("threads = 0", "threads = -1", "inference.threads: got -1"),
        ("budget_ms = 200", "budget_ms = 251", "suggested.budget_ms: got 251; it is 10 to 250"),
        ("camera_width = 320", "camera_width = 321", "camera.width: got 321; it is even"),
        ("[[cmdline]]", "[cmdline]", "cmdline is a list of tables; write [[cmdline]] above each"),
        ("[limits]", "[[limits]]", "limits is a table; write [limits] above its keys"),
        ('line = "camera_auto_detect=1"', 'line = "camera_auto_detect=1\\nstart_x=1"', "it is one word such as dtparam=i2c_arm=on"),
        ('line = "camera_auto_detect=1"', 'line = "dtparam=i2c_arm=on"', "config_txt: dtparam=i2c_arm=on is there twice"),
        ('why = "Finds', 'why = ""  # "Finds', "say the reason in one line"),
        ('python = "cp311"', 'python = "cp310"', "os.python: got 'cp310'"),
        ('glibc = "2.36"', 'glibc = "2"', "os.glibc: got '2'"),
        ("[os.trixie]", "[os.trixi]", "unknown key 'os.trixi'; did you mean 'trixie'"),
        ("[limits]", "[limits", "is not TOML"),
    ],
)
def test_a_mistake_is_refused_in_one_line(tmp_path, old, new, complaint):
    path = changed(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load_board(path)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match="cannot be read"):
        load_board(os.devnull + ".toml")


@pytest.mark.parametrize("name", ALL)
def test_the_drop_in_says_the_limits_and_why(name):
    board = named(name)
    lines = board.drop_in().splitlines()
    assert f"MemoryMax={board.limits.memory_max_mib}M" in lines
    assert f"CPUQuota={board.limits.cpu_quota_percent}%" in lines
    for above, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert above.startswith("#")


def test_wheels_of_the_interpreter_fit_the_tags_of_both_systems():
    """The command line that ``pip download`` is given parses: every tag is one that pip knows."""
    for facts in named("pi-4").os.values():
        tags = [word for tag in facts.platform_tags() for word in ("--platform", tag)]
        command = [sys.executable, "-m", "pip", "debug", *tags, "--python-version", facts.python[2:], "--implementation", "cp", "--verbose"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if ran.returncode:
            pytest.skip(f"no pip here: {ran.stderr.strip()[-80:]}")
        assert f"{facts.python}-{facts.python}-{facts.platform_tags()[0]}" in ran.stdout
        assert "-manylinux2014_aarch64" in ran.stdout
