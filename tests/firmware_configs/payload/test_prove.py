"""A proof says what was seen, and a payload that does not work is none. The device in here is played; the real one takes minutes."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from edge.errors import EdgeError
from firmware_configs.payload import prove
from firmware_configs.payload.roots import Ran


class Device:
    """Answers as an installed kit does."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.fails = ""
        self.decisions = 20
        self.installs_bytes = 100_000
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, root, command, *, environment):
        assert root == self.root
        assert environment["QEMU_CPU"] == "cortex-a72"
        self.ran.append(tuple(command))
        step = "install" if command[0] == "sh" else "verify" if "verify" in command else "run"
        if step == self.fails:
            return Ran(1, "affectkit: [9.0 s] NOT INSTALLED: dpkg: ended with status 2\naffectkit: later\n", "", 9.0)
        return Ran(0, getattr(self, step)(), "a warning\n", 1.5)

    def install(self) -> str:
        assert (self.root / prove.AT / "payload.json").read_text() == "{}"
        (self.root / "etc/affectkit").mkdir(parents=True)
        (self.root / "etc/affectkit/installed.json").write_text(json.dumps({"steps": {"python": 60.0}}))
        (self.root / "opt/affectkit").mkdir(parents=True)
        (self.root / "opt/affectkit/all").write_bytes(os.urandom(self.installs_bytes))
        return "installed\n"

    def verify(self) -> str:
        return json.dumps({"runtime": "ai-edge-litert 2.3.0", "stages": {"face": {"largest_difference": 1.0, "exact": False}}})

    def run(self) -> str:
        (self.root / "tmp").mkdir()
        lines = [{"event": "plan"}] + [{"label": "calm"}] * self.decisions
        (self.root / "tmp/decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return "done\n"


@pytest.fixture
def payload(tmp_path) -> pathlib.Path:
    (tmp_path / "payload").mkdir()
    (tmp_path / "payload/payload.json").write_text("{}")
    return tmp_path / "payload"


@pytest.fixture
def device(tmp_path, monkeypatch) -> Device:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/os-release").write_text('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\n')
    device = Device(root)
    monkeypatch.setattr(prove, "emulator", lambda: "qemu-aarch64 10.0.2")
    monkeypatch.setattr(prove, "run_in", device)
    return device


def test_what_was_seen_is_told(payload, device):
    told: list[str] = []
    seen = prove.prove(payload, "pi-4", device.root, told.append)
    assert told == ["installing it without a network", "checking the golden vectors", "deciding"]
    footprint = seen.pop("footprint_bytes")
    # The kit, not the payload that it comes from, nor what it writes to /tmp.
    assert 100_000 <= footprint < 140_000
    assert seen == {
        "emulator": "qemu-aarch64 10.0.2", "cpu": "cortex-a72", "base": "Debian GNU/Linux 13 (trixie)", "network": False,
        "seconds": {"install": 1.5, "verify": 1.5, "run": 1.5}, "install_steps_s": {"python": 60.0}, "runtime": "ai-edge-litert 2.3.0",
        "steps_off_golden": {"face": 1.0}, "decisions": 20,
    }  # fmt: skip
    # As the user whom the service has, who may write nowhere.
    assert all(command[:5] == prove.AS_SERVICE for command in device.ran[1:])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fails": "install"}, r"on Debian GNU/Linux 13 \(trixie\) and failed, installing it .*NOT INSTALLED: dpkg: ended with status 2$"),
        ({"fails": "verify"}, "failed, checking the golden vectors"),
        ({"fails": "run"}, "failed, deciding"),
        ({"decisions": 0}, "gave no decision in 5 s"),
        ({"installs_bytes": 3_000_000}, "takes 3 MB of the device's disk, 2 are allowed"),
    ],
)
def test_a_payload_that_does_not_work_is_refused_in_one_line(payload, device, monkeypatch, change, says):
    monkeypatch.setattr(prove, "MOST_BYTES", 2_000_000)
    for name, value in change.items():
        setattr(device, name, value)
    with pytest.raises(EdgeError, match=says) as caught:
        prove.prove(payload, "pi-4", device.root, lambda what: None)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 1
