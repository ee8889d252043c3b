"""What keeps a kit from being installed is said in one line, before anything is touched; and it is tried again."""

from __future__ import annotations

import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

import pytest

from tests.firmware_configs.install.rig import Device, make_device

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kit's system is Linux")


@pytest.fixture
def device(tmp_path: pathlib.Path) -> Device:
    return make_device(tmp_path)


def refused(device: Device) -> str:
    """Why it was not installed: one line, with what to do behind it."""
    said = device.install(status=1)
    (line,) = re.findall(r"NOT INSTALLED: (.*)", said)
    assert "Traceback" not in said and "tried again at the next boot" in said.splitlines()[-1]
    assert not device.at("/etc/affectkit/installed.json").exists()
    return line


def untouched(device: Device) -> bool:
    """Nothing but its own next call was put in place."""
    return device.calls() == [] and not any(device.at(name).exists() for name in ("/opt", "/srv", "/usr/lib/affectkit", "/etc/affectkit"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"os": "bookworm"}, "this system is trixie, the payload is for bookworm"),
        ({"python": "cp27"}, "the wheels are for cp27"),
        ({"machine": "s390x"}, "the payload is for s390x"),
        ({"format": 2}, "format 2, this installer knows 1"),
        ({"debian": "python3"}, "debian is 'python3'"),
        ({"files": {"../../etc/shadow": {"bytes": 1, "sha256": "0"}}}, "'../../etc/shadow', which is no file of a payload"),
        ({"files": {"/etc/shadow": {"bytes": 1, "sha256": "0"}}}, "'/etc/shadow', which is no file of a payload"),
        ({"files": []}, "files is []"),
    ],
)
def test_a_payload_for_another_system_or_with_nonsense_in_it(device, changed, says):
    device.says(**changed)
    assert says in refused(device)
    assert untouched(device)


def test_another_board_is_told_and_not_refused(device):
    device.at("/proc/device-tree/model").write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    (device.programs / "apt-get").write_text("#!/bin/sh\nexit 9\n")
    said = device.install(status=1)
    assert "this board is a Raspberry Pi 5 Model B Rev 1.0, the payload was made for a Raspberry Pi 4 Model B" in said
    assert "NOT INSTALLED: apt-get" in said


@pytest.mark.parametrize("name", ["bundle.affectkit", "wheels/pip-1-py3-none-any.whl", "system/usr/lib/affectkit/led", "requirements.txt"])
@pytest.mark.parametrize("damage", ["a bit", "the end", "all"])
def test_a_damaged_payload_names_the_file(device, name, damage):
    path = device.payload / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "all":
        path.unlink()
    else:
        path.write_bytes(content if damage == "a bit" else content[:-1])
    line = refused(device)
    assert str(path) in line and "make the card again" in line
    assert untouched(device)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b'{"format": 1, "files": {"a": 1}}'])
def test_a_damaged_list_of_files(device, content):
    (device.payload / "payload.json").write_bytes(content)
    assert "make the payload again" in refused(device)
    assert untouched(device)


def test_settings_that_are_no_toml_are_named(device):
    (device.payload / "kit.toml").write_text("use = [")
    assert "kit.toml: is no TOML" in refused(device)


def test_a_command_that_fails_is_told_with_its_last_words_and_the_next_call_goes_on(device, installed):
    (device.programs / "systemd-sysusers").write_text("#!/bin/sh\necho Failed to write /etc/passwd: Input/output error\nexit 1\n")
    assert "systemd-sysusers" in (line := refused(device)) and "Input/output error" in line
    assert (device.at("/etc/systemd/system/multi-user.target.wants") / "affectkit-install.service").is_symlink()
    (device.programs / "systemd-sysusers").write_text("#!/bin/sh\n")
    device.take_python_of(installed)
    device.install()
    assert device.is_installed()


def test_a_file_that_does_not_fit_is_told(device):
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    said = device.install(status=1, preexec_fn=limited)
    assert "NOT INSTALLED: [Errno 27]" in said


def test_a_full_card_is_told_and_a_larger_one_is_installed(tmp_path, installed):
    """A file system of 16 KB, mounted where only this test sees it."""
    may = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False) if shutil.which("unshare") else None
    if os.geteuid() != 0 or may is None or may.returncode:
        pytest.skip("only root may mount a small file system")
    device = make_device(tmp_path)
    device.at("/opt").mkdir()
    line = 'mount -t tmpfs -o size=16k small "$1" && shift && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", line, "sh", device.at("/opt"), *device.command()]
    ran = subprocess.run(command, env=device.environment(), capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 1
    assert "No space left on device" in ran.stdout and "NOT INSTALLED" in ran.stdout
    device.take_python_of(installed)
    device.install()
    assert device.is_installed()
