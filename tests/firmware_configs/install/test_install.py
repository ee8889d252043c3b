"""An installation from the boot partition: what it leaves, what it does not touch, and that doing it again changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys

import pytest

from tests.firmware_configs.install.rig import BUNDLE, Device, make_device

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("sh"), reason="the kit's system is Linux")
NOTES = "/var/lib/cloud/instance/sem"
WANTED = "/etc/systemd/system/multi-user.target.wants/affectkit-install.service"


@pytest.fixture
def device(tmp_path: pathlib.Path, installed: Device) -> Device:
    """A device before its installation, but for the virtual environment."""
    fresh = make_device(tmp_path)
    fresh.take_python_of(installed)
    return fresh


def snapshot(folder: pathlib.Path) -> dict[str, tuple[int, str]]:
    """Mode and content of everything."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (stat.S_IMODE(status.st_mode), content)
    return found


def test_it_ends_installed_and_says_so(installed):
    assert installed.is_installed()
    log = (installed.payload / "first-boot.log").read_text().splitlines()
    assert "INSTALLED, " in log[-1]
    record = json.loads(installed.at("/etc/affectkit/installed.json").read_text())
    assert record["board"] == "pi-4" and record["os"] == "trixie" and record["built"] == "2026-11-21T00:00:00Z"
    assert set(record["steps"]) >= {"check", "files", "packages", "python", "bundle", "services"}


def test_a_second_call_changes_nothing(installed):
    shutil.rmtree(installed.at("/run"))
    before = snapshot(installed.root)
    assert "installed already" in installed.install()
    after = snapshot(installed.root)
    ignored = ("boot/firmware/affectkit/first-boot.log", "run")
    assert {name: one for name, one in after.items() if not name.startswith(ignored)} == {
        name: one for name, one in before.items() if not name.startswith(ignored)
    }


def test_the_program_is_on_the_path_and_lies_in_a_release_named_after_its_requirements(installed):
    name = hashlib.sha256((installed.payload / "requirements.txt").read_bytes()).hexdigest()[:16]
    assert os.readlink(installed.at("/opt/affectkit/venv")) == f"releases/{name}"
    assert os.readlink(installed.at("/usr/local/bin/affectkit")) == "/opt/affectkit/venv/bin/affectkit"
    site = next(installed.at("/opt/affectkit/venv/lib").glob("python3*/site-packages"))
    assert not list(site.glob("pip*")), "pip stays out of the kit"
    assert list(site.glob("__pycache__/kit_of_test.*.pyc")), "compiled: the service may not write there"
    assert "include-system-site-packages = true" in installed.at("/opt/affectkit/venv/pyvenv.cfg").read_text()


def test_fat_gives_no_modes_so_the_installer_does(installed):
    for name, mode in {
        "/etc/affectkit/kit.toml": 0o644,
        "/etc/systemd/system/affectkit.service": 0o644,
        "/usr/lib/affectkit/before-run": 0o755,
        "/usr/lib/affectkit/drop-ins/strap.conf": 0o644,
        "/etc/systemd/system/affectkit.service.d/board.conf": 0o644,
    }.items():
        assert stat.S_IMODE(installed.at(name).stat().st_mode) == mode, name


def test_the_bundle_lies_under_its_hash_with_links_to_it(installed):
    bundles = installed.at("/srv/affectkit/bundles")
    assert sorted(path.name for path in bundles.iterdir()) == [
        "0123456789abcdef0123456789abcdef.affectkit",
        "current.affectkit",
        "good.affectkit",
    ]
    assert os.readlink(bundles / "current.affectkit") == "0123456789abcdef0123456789abcdef.affectkit"


def test_packages_come_from_the_card_alone_and_start_nothing(installed):
    said = installed.calls()
    update = next(line for line in said if line.startswith("apt-get") and line.endswith(" update"))
    assert "-oDir::Etc::sourceparts=/dev/null" in update
    source = update.split("-oDir::Etc::sourcelist=")[1].split()[0]
    assert source.startswith(str(installed.root / "run"))
    assert any(line.startswith("apt-get") and line.endswith("--no-remove install python3-pyaudio") for line in said)
    assert said.index(next(line for line in said if line.startswith("dpkg") and line.endswith("--configure -a"))) < said.index(update)


def test_units_are_switched_on_by_the_preset_and_nothing_else_is(installed):
    (preset,) = [line.split() for line in installed.calls() if line.startswith("systemctl")]
    assert preset[2] == "preset" and "preset-all" not in preset
    assert {"affectkit.service", "affectkit-led.path", "systemd-timesyncd.service"} <= set(preset)


def test_packages_are_refused_to_start_services_while_they_are_installed_and_not_after(tmp_path):
    device = make_device(tmp_path)
    seen = tmp_path / "seen"
    (device.programs / "apt-get").write_text(f'#!/bin/sh\nsh {device.at("/usr/sbin/policy-rc.d")}; echo $? >>"{seen}"; exit 9\n')
    said = device.install(status=1)
    assert seen.read_text().split() == ["101"]
    assert "NOT INSTALLED: apt-get" in said and "ended with status 9" in said
    assert not device.at("/usr/sbin/policy-rc.d").exists()


def test_a_policy_of_somebody_else_stays(tmp_path):
    device = make_device(tmp_path)
    device.at("/usr/sbin").mkdir(parents=True)
    device.at("/usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 0\n")
    (device.programs / "dpkg").write_text("#!/bin/sh\nexit 1\n")
    (device.programs / "apt-get").write_text("#!/bin/sh\nexit 9\n")
    device.install(status=1)
    assert device.at("/usr/sbin/policy-rc.d").read_text() == "#!/bin/sh\nexit 0\n"


def test_settings_that_are_there_stay(device):
    device.at("/etc/affectkit").mkdir()
    device.at("/etc/affectkit/kit.toml").write_text('[sources]\nuse = ["strap:belt"]\n')
    said = device.install()
    assert "strap:belt" in device.at("/etc/affectkit/kit.toml").read_text()
    assert "bundles of update sticks will not be used" in said
    assert device.at("/etc/systemd/system/affectkit.service.d/strap.conf").exists()


def test_a_strap_without_bluetooths_group_gets_no_drop_in_that_would_keep_the_service_from_starting(device):
    device.at("/etc/group").write_text("root:x:0:\n")
    (device.payload / "kit.toml").write_text('[sources]\nuse = ["strap:belt"]\n')
    (device.payload / "debs/Packages").unlink()
    device.says(debian=[])
    device.install()
    assert not device.at("/etc/systemd/system/affectkit.service.d/strap.conf").exists()
    assert not [line for line in device.calls() if line.startswith(("apt-get", "dpkg"))]


def test_an_update_from_a_stick_is_not_undone(device):
    bundles = device.at("/srv/affectkit/bundles")
    bundles.mkdir(parents=True)
    (bundles / "newer.affectkit").write_bytes(b"newer")
    (bundles / "current.affectkit").symlink_to("newer.affectkit")
    device.install()
    assert (bundles / "current.affectkit").read_bytes() == b"newer"
    assert (bundles / "good.affectkit").read_bytes() == BUNDLE


def test_another_payload_is_installed_over_the_first(installed, tmp_path):
    device = Device(tmp_path / "root", installed.programs)
    shutil.copytree(installed.root, device.root, symlinks=True)
    (device.payload / "requirements.txt").write_text("# another\n" + (device.payload / "requirements.txt").read_text())
    before = os.readlink(device.at("/opt/affectkit/venv"))
    device.says()
    assert "INSTALLED, " in device.install()
    assert os.readlink(device.at("/opt/affectkit/venv")) != before
    assert len(list(device.at("/opt/affectkit/releases").iterdir())) == 1, "the old one takes no room"
    assert device.is_installed()


def test_what_the_caller_sends_to_the_log_is_not_written_twice(installed):
    log = installed.payload / "first-boot.log"
    log.unlink()
    with log.open("a") as file:
        subprocess.run(installed.command(), env=installed.environment(), stdout=file, stderr=file, check=True, timeout=60)
    assert log.read_text().count("installed already") == 1


def test_a_read_only_boot_partition_only_loses_the_log(installed):
    log = installed.payload / "first-boot.log"
    log.unlink(missing_ok=True)
    log.mkdir()  # nobody, not even root, can append to a folder
    try:
        assert "installed already" in installed.install()
    finally:
        log.rmdir()


# --- the early call ---------------------------------------------------------------------------------------------------------


def test_the_early_call_has_the_installation_called_again_and_cloud_init_go_on(tmp_path):
    device = make_device(tmp_path)
    notes = device.at(NOTES)
    notes.mkdir(parents=True)
    for name in ("config_users_groups", "config_runcmd", "config_scripts_user", "consume_data"):
        (notes / name).write_text("1: 1\n")
    device.install("--hook")
    assert os.readlink(device.at(WANTED)) == "../affectkit-install.service"
    assert device.at("/etc/systemd/system/affectkit-install.service").exists()
    assert [path.name for path in notes.iterdir()] == ["consume_data"]
    assert device.calls() == []


def test_a_cloud_init_that_got_to_its_end_is_left_alone(tmp_path):
    device = make_device(tmp_path)
    notes = device.at(NOTES)
    notes.mkdir(parents=True)
    names = {"config_users_groups", "config_runcmd", "config_scripts_user", "config_ssh_authkey_fingerprints"}
    for name in names:
        (notes / name).write_text("1: 1\n")
    device.install("--hook")
    assert {path.name for path in notes.iterdir()} == names


def test_the_early_call_does_nothing_to_an_installed_kit_and_never_stops_the_boot(installed, tmp_path):
    installed.install("--hook")
    assert not installed.at(WANTED).is_symlink()
    device = make_device(tmp_path)
    (device.payload / "payload.json").write_text("{")
    assert "NOT INSTALLED" in device.install("--hook", status=0)
    (device.programs / "python3").unlink()
    for name in ("dirname", "tee"):
        (device.programs / name).symlink_to(shutil.which(name) or "")
    environment = device.environment() | {"PATH": str(device.programs)}
    ran = subprocess.run([shutil.which("sh") or "sh", *device.command("--hook")[1:]], env=environment, capture_output=True, check=False)
    assert ran.returncode == 0 and b"no python3" in ran.stdout
