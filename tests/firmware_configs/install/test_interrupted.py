"""Power goes at any instant of an installation: the next call goes on, and ends installed."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.firmware_configs.install.rig import BUNDLE, Device, make_device

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kit's system is Linux")
CUT = pathlib.Path(__file__).with_name("cut.py")
WANTED = "/etc/systemd/system/multi-user.target.wants/affectkit-install.service"


def cut_at(device: Device, change: int) -> bool:
    """Installs until just before its ``change``-th change; whether it was cut off, and did not end before."""
    command = [sys.executable, "-B", CUT, str(change), device.payload / "install.py", f"--root={device.root}"]
    ran = subprocess.run(command, env=device.environment(), capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode in (0, -signal.SIGKILL), ran.stdout + ran.stderr
    return ran.returncode != 0


def promises_hold(device: Device) -> None:
    """What must be so at every instant, whatever has been done by then."""
    if device.at("/etc/affectkit/installed.json").exists():
        assert json.loads(device.at("/etc/affectkit/installed.json").read_text())["payload_sha256"]
        assert device.at("/opt/affectkit/venv/bin/affectkit").exists()
    if device.at("/opt/affectkit/venv").is_symlink():
        assert (device.at("/opt/affectkit/venv").resolve() / ".whole").exists()
    for link in ("current", "good"):
        path = device.at(f"/srv/affectkit/bundles/{link}.affectkit")
        assert not path.is_symlink() or path.read_bytes() == BUNDLE
    listed = json.loads((device.payload / "payload.json").read_text())["files"]
    for name, says in listed.items():
        there = device.at(name.removeprefix("system"))
        if name.startswith("system/") and there.exists():
            assert hashlib.sha256(there.read_bytes()).hexdigest() == says["sha256"], f"{name} is half written"


def test_cut_off_before_every_change_it_makes_it_goes_on_where_it_was(tmp_path, installed):
    """One device, cut off again and again, each time a little later than it got before."""
    device = make_device(tmp_path)
    device.take_python_of(installed)
    cuts, change = 0, 1
    while cut_at(device, change):
        promises_hold(device)
        cuts, change = cuts + 1, change + 1 + cuts // 8
    assert cuts > 15
    assert device.is_installed()


def test_from_its_first_change_on_it_is_called_again_at_the_next_boot(tmp_path):
    device = make_device(tmp_path)
    changes = 1
    while not device.at(WANTED).is_symlink():
        assert cut_at(device, changes)
        changes += 1
    assert device.at("/etc/systemd/system/affectkit-install.service").exists()
    unit = hashlib.sha256((device.payload / "system/etc/systemd/system/affectkit-install.service").read_bytes())
    assert hashlib.sha256(device.at("/etc/systemd/system/affectkit-install.service").read_bytes()).digest() == unit.digest()
    done = {str(path.relative_to(device.root)) for path in device.root.rglob("*") if not path.is_dir()}
    assert not any(name.startswith(("opt/", "srv/", "usr/lib/affectkit")) for name in done), "it is the first thing that is done"


def test_a_half_made_python_is_made_anew(tmp_path, installed):
    device = make_device(tmp_path)
    device.take_python_of(installed)
    (release,) = device.at("/opt/affectkit/releases").iterdir()
    (release / ".whole").unlink()
    (next((release / "lib").glob("python3*")) / "site-packages/kit_of_test.py").write_text("")
    device.install()
    assert device.is_installed()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_with_all_that_it_started_at_any_time_it_ends_installed(tmp_path, seed, installed):
    """With packages and Python for real in between: the whole group of processes is killed, as power does it."""
    times = random.Random(seed)
    device = make_device(tmp_path)
    began = time.monotonic()
    for _ in range(3):
        process = subprocess.Popen(
            device.command(), env=device.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(times.uniform(0.05, 3.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        promises_hold(device)
    device.install()
    assert device.is_installed()
    assert time.monotonic() - began < 300
