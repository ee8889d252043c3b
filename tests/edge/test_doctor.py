"""``affectkit doctor`` finds what is there, fails only on what the settings ask for, and outlives what hangs."""

from __future__ import annotations

import argparse
import datetime
import errno
import json
import pathlib
import re
import threading

import numpy as np
import pytest
from rig import StallingClock, gaps_s
from test_board import PI, tree

from edge import doctor
from edge.board import board_facts
from edge.clock import ManualClock, SystemClock
from edge.config import BundleSettings, OutputSettings, Purpose, Settings, SourceSettings
from edge.doctor import Check, as_lines, examine, synchronized
from edge.doctor_checks import Finding, check_board, check_bundle, check_clock, check_interpreter, check_settings, check_space
from edge.doctor_sensors import check_bluetooth, check_cameras, check_i2c, check_microphones, check_permissions
from edge.errors import SensorError
from edge.sensors.bus import SmBus
from edge.sensors.portaudio import MicrophoneInfo
from edge.sensors.simulated.ads1115 import SimulatedAds1115, divider
from edge.sensors.simulated.bus import Fault, SimulatedBus
from edge.sensors.simulated.max30102 import SimulatedMax30102
from edge.sensors.simulated.signals import finger, pulse

NOTHING = Settings()
LAWFUL = Purpose("US-CA", "research", "laboratory", "Dr A. Example", "file 12")


def asking(*sources: str, purpose: Purpose = LAWFUL) -> Settings:
    return Settings(sources=SourceSettings(use=sources), purpose=purpose)


def states(findings: list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def only(findings: list[Finding], text: str) -> Finding:
    (found,) = [finding for finding in findings if text in f"{finding.name}: {finding.what}"]
    return found


# --- I2C ------------------------------------------------------------------------------------------------------------------


class Bench:
    """A tree with bus 1, and simulated chips on it."""

    def __init__(self, root: pathlib.Path, *, part_id: int = 0x15):
        self.clock = StallingClock()
        self.pulse = SimulatedMax30102(self.clock, finger(pulse(70)), part_id=part_id)
        self.skin = SimulatedAds1115(self.clock, lambda t_s: np.full_like(t_s, 5.0), divider())
        self.bus = SimulatedBus(self.clock, {0x57: self.pulse, 0x48: self.skin})
        self.root = tree(root, {"dev/i2c-1": ""})
        self.opened: list[int | str] = []

    def open(self, bus: int | str) -> SmBus:
        self.opened.append(bus)
        if bus not in (1, "/dev/i2c-1"):
            raise OSError(errno.ENOENT, "No such file or directory")
        self.bus.open(bus)
        return self.bus

    def check(self, settings: Settings = NOTHING) -> list[Finding]:
        return check_i2c(self.root, self.open, self.clock, settings)


def test_chips_are_known_by_address_and_id(tmp_path: pathlib.Path):
    bench = Bench(tmp_path)
    findings = bench.check()
    assert [(finding.state, finding.what) for finding in findings] == [("pass", "0x57: MAX30102, revision 0x03"), ("pass", "0x48: ADS1115")]
    assert bench.bus.closed


@pytest.mark.parametrize("settings", [NOTHING, asking("max30102:1", "ads1115:i2c-1@0x48"), asking("max30102:/dev/i2c-1")])
def test_a_bus_is_looked_at_once_however_it_is_called(tmp_path: pathlib.Path, settings: Settings):
    bench = Bench(tmp_path)
    assert states(bench.check(settings)) == ["pass", "pass"] and bench.opened == [1]


@pytest.mark.parametrize("kind", ["pulse", "skin"])
def test_looking_does_not_disturb_a_chip_that_runs(tmp_path: pathlib.Path, kind: str):
    """Every sample arrives, and the chip need not be started anew, while the doctor looks again and again."""
    from edge.sensors.ads1115 import SkinConductanceSensor
    from edge.sensors.max30102 import PulseSensor

    bench = Bench(tmp_path)
    sensor = {"pulse": PulseSensor, "skin": SkinConductanceSensor}[kind](1, bench.clock, smbus=bench.bus, live=False)
    sensor.open()
    chunks = []
    for _ in range(20):
        chunks.append(sensor.read())
        assert states(bench.check()) == ["pass", "pass"]
        bench.bus.open(1)  # the doctor closed its own
    chip = getattr(sensor, "chip", sensor)
    assert chip.lost == chip.restarts == 0 and not gaps_s(chunks)


def test_a_chip_that_is_asked_for_and_not_there_fails_with_a_remedy(tmp_path: pathlib.Path):
    bench = Bench(tmp_path)
    bench.bus.faults.append(Fault("nack", 0, 1 << 62, address=0x57))
    assert states(bench.check()) == ["pass"], "not asked for"
    found = only(bench.check(asking("max30102:1")), "max30102")
    assert (found.state, found.what) == ("fail", "max30102 at 0x57: nobody answers") and "wiring" in found.remedy
    assert only(bench.check(asking("ads1115:1@0x4a")), "0x4a").state == "fail"


def test_another_chip_at_the_address_fails_if_asked_for(tmp_path: pathlib.Path):
    bench = Bench(tmp_path, part_id=0x11)
    assert only(bench.check(), "0x57").state == "warn"
    assert only(bench.check(asking("max30102:1")), "part id 0x11").state == "fail"
    bench.bus.open(1)
    bench.bus.write_i2c_block_data(0x48, 0x02, [0x4B, 0x00])
    assert only(bench.check(), "0x48").state == "warn"


def test_a_bus_that_is_missing_or_closed_to_the_user_fails_if_asked_for(tmp_path: pathlib.Path):
    bench = Bench(tmp_path)
    assert only(bench.check(asking("max30102:7")), "i2c 7").state == "fail"

    def locked(bus: int | str) -> SmBus:
        raise PermissionError(errno.EACCES, "Permission denied")

    for settings, state in ((NOTHING, "warn"), (asking("ads1115:1"), "fail")):
        (found,) = check_i2c(bench.root, locked, bench.clock, settings)
        assert found.state == state and "usermod -aG i2c" in found.remedy

    def lacking(bus: int | str) -> SmBus:
        raise SensorError("I2C bus 1: the package smbus2 is missing; install it: pip install 'affectkit[sensors]'")

    for settings, state in ((NOTHING, "absent"), (asking("ads1115:1"), "fail")):
        (found,) = check_i2c(bench.root, lacking, bench.clock, settings)
        assert found.state == state and found.remedy.startswith("install it")


def test_a_stuck_bus_is_given_up_at_once(tmp_path: pathlib.Path):
    bench = Bench(tmp_path)
    bench.bus.faults.append(Fault("stuck", 0, 1 << 62))
    began_ns = bench.clock.now_ns()
    (found,) = bench.check(asking("max30102:1"))
    assert found.state == "fail" and "stuck" in found.what and "power off" in found.remedy
    assert bench.clock.now_ns() - began_ns < 2.5e9, "not a second for each address"


def test_no_bus_is_absent(tmp_path: pathlib.Path):
    (found,) = check_i2c(tmp_path, lambda bus: pytest.fail("nothing to open"), ManualClock(), NOTHING)
    assert found.state == "absent" and "i2c_arm=on" in found.remedy


# --- cameras, microphones, Bluetooth, permissions -------------------------------------------------------------------------


def no_picamera2() -> list[tuple[int, str]]:
    raise SensorError("picamera2: cannot be imported; install it: sudo apt install python3-picamera2")


def test_cameras_are_listed_and_those_asked_for_must_be_there():
    usb = [("/dev/video0", "HD Pro Webcam C920")]
    assert states(check_cameras(lambda: [(0, "imx708")], lambda: usb, NOTHING)) == ["pass", "pass"]
    assert states(check_cameras(no_picamera2, lambda: [], NOTHING)) == ["absent"]
    assert states(check_cameras(no_picamera2, lambda: usb, asking("usb:c920", "usb:/dev/video0"))) == ["absent", "pass"]
    assert only(check_cameras(no_picamera2, lambda: usb, asking("picamera2:0")), "picamera2").state == "fail"
    findings = check_cameras(lambda: [(0, "imx708")], lambda: usb, asking("picamera2:1", "usb:1", "usb:/dev/video4"))
    assert states(findings) == ["pass", "fail", "pass", "fail", "fail"]
    assert all(finding.remedy for finding in findings if finding.state == "fail")
    assert states(check_cameras(lambda: [], lambda: [], NOTHING)) == ["absent"]


def test_microphones_are_listed_and_those_asked_for_must_be_there():
    known = [MicrophoneInfo(2, "USB PnP Sound Device", 1, 44_100, True)]
    assert "44100 Hz, the default" in only(check_microphones(lambda: known, NOTHING), "USB PnP").what
    assert states(check_microphones(lambda: known, asking("microphone:default", "microphone:usb"))) == ["pass"]
    found = only(check_microphones(lambda: known, asking("microphone:headset")), "headset")
    assert found.state == "fail" and "known: 2 'USB PnP" in found.what and found.remedy
    assert states(check_microphones(list, NOTHING)) == ["absent"] and states(check_microphones(list, asking("microphone:default"))) == [
        "fail"
    ]

    def lacking() -> list[MicrophoneInfo]:
        raise SensorError("microphone: the package pyaudio is missing; install it: sudo apt install portaudio19-dev")

    assert states(check_microphones(lacking, NOTHING)) == ["absent"] and states(check_microphones(lacking, asking("microphone:0"))) == [
        "fail"
    ]


def test_bluetooth_adapters_and_their_switches(tmp_path: pathlib.Path):
    strap = asking("strap:Polar")
    assert states(check_bluetooth(tmp_path, NOTHING)) == ["absent"] and states(check_bluetooth(tmp_path, strap)) == ["fail"]
    tree(tmp_path, {"sys/class/bluetooth/hci0/rfkill1/soft": "0\n", "sys/class/bluetooth/hci0:64/uevent": ""})
    assert [(found.state, found.what) for found in check_bluetooth(tmp_path, strap)] == [("pass", "hci0")]
    assert "bleak" in only(check_bluetooth(tmp_path, strap, has_bleak=False), "missing").what
    tree(tmp_path, {"sys/class/bluetooth/hci0/rfkill1/soft": "1\n"})
    assert only(check_bluetooth(tmp_path, NOTHING), "blocked").state == "warn"
    found = only(check_bluetooth(tmp_path, strap), "blocked")
    assert found.state == "fail" and found.remedy == "rfkill unblock bluetooth"


def test_permissions_of_device_nodes(tmp_path: pathlib.Path):
    tree(tmp_path, {"dev/video0": "", "dev/i2c-1": "", "dev/snd/pcmC1D0c": "", "dev/snd/pcmC0D0p": ""})
    assert states(check_permissions(tmp_path, NOTHING, lambda path: True)) == ["pass", "pass", "pass"]
    findings = check_permissions(tmp_path, asking("max30102:1"), lambda path: path.name.startswith("video"))
    assert states(findings) == ["pass", "fail", "warn"]
    assert "usermod -aG i2c" in findings[1].remedy and findings[2].what == "no permission for pcmC1D0c"
    assert states(check_permissions(tmp_path / "dev", NOTHING)) == ["absent"] * 3


# --- settings, bundle, interpreter ----------------------------------------------------------------------------------------


def test_settings_that_make_sense_pass(tmp_path: pathlib.Path):
    from edge import embedded

    clock = SystemClock()
    assert states(check_settings(NOTHING, "defaults", clock)) == ["pass", "absent"]
    assert states(check_settings(asking(f"replay:{embedded.SESSION}"), "kit.toml", clock)) == ["pass", "absent"]
    findings = check_settings(asking("max30102:1"), "kit.toml", clock)
    assert states(findings) == ["pass"] and findings[0].what == "research in US-CA, laboratory"


def test_settings_that_cannot_be_fail_one_by_one(tmp_path: pathlib.Path):
    clock = SystemClock()
    settings = asking("replay:none.zip", "webcam:0", "ads1115:here", "max30102:1", purpose=Purpose())
    findings = check_settings(settings, "kit.toml", clock)
    assert states(findings) == ["fail"] * 4 and [finding.name for finding in findings] == ["source", "source", "source", "purpose"]
    assert all(finding.remedy for finding in findings)
    forbidden = asking("max30102:1", purpose=Purpose("DE", "research", "education", "A", "B"))
    assert "Article 5(1)(f)" in only(check_settings(forbidden, "kit.toml", clock), "purpose").what


def test_folders_of_outputs_must_exist(tmp_path: pathlib.Path):
    settings = Settings(outputs=OutputSettings(jsonl=str(tmp_path / "a.jsonl"), report=str(tmp_path / "none" / "b.json")))
    findings = check_settings(settings, "kit.toml", SystemClock())
    assert only(findings, "jsonl").state == "pass" and only(findings, "report").state == "fail"


def test_the_embedded_bundle_and_the_interpreter_pass():
    (found,) = check_bundle(NOTHING)
    assert found.state in ("pass", "warn") and "classroom" in found.what
    (found,) = check_interpreter()
    assert found.state == "pass" and re.match(r"(ai-edge-litert|tflite-runtime) \d", found.what)


def test_a_bundle_that_is_damaged_fails(tmp_path: pathlib.Path):
    from edge import embedded

    path = tmp_path / "cut.affectkit"
    path.write_bytes(embedded.BUNDLE.read_bytes()[:-9])
    (found,) = check_bundle(Settings(bundle=BundleSettings(path=str(path))))
    assert found.state == "fail" and "cut short" in found.what and found.remedy == "copy it again"


# --- the machine ----------------------------------------------------------------------------------------------------------


def test_a_raspberry_pi_with_a_weak_supply(tmp_path: pathlib.Path):
    findings = check_board(board_facts(tree(tmp_path, PI)))
    assert [(finding.name, finding.state) for finding in findings] == [
        *(("board", "pass"), ("governor", "pass"), ("temperature", "pass"), ("throttling", "warn"), ("memory", "pass"))
    ]
    assert "under-voltage now" in findings[3].what and "power supply" in findings[3].remedy
    assert findings[1].what == "ondemand, now 1500 of 2400 MHz"


def test_a_board_that_is_hot_slow_and_full(tmp_path: pathlib.Path):
    changed = {
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/class/thermal/thermal_zone1/temp": "82000\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "8\n",
        "proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 90000 kB\n",
    }
    findings = check_board(board_facts(tree(tmp_path, {**PI, **changed})))
    assert states(findings[1:]) == ["warn"] * 4 and all(finding.remedy for finding in findings[1:])
    assert "supply" not in findings[3].remedy


def test_another_machine_is_no_failure(tmp_path: pathlib.Path):
    findings = check_board(board_facts(tmp_path))
    assert states(findings) == ["pass", *["absent"] * 4] and findings[3].what == "not a Raspberry Pi"


def test_the_clock_is_judged_and_nothing_depends_on_it():
    built, now = datetime.date(2025, 3, 1), datetime.datetime(2025, 6, 1, 8, 30, tzinfo=datetime.UTC)
    (found,) = check_clock(now, built, True)
    assert found.state == "pass" and found.what == "2025-06-01 08:30 UTC, synchronized; no decision depends on it"
    assert states(check_clock(now, built, False)) == ["pass"]
    (found,) = check_clock(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), built, None)
    assert found.state == "warn" and "before 2025-03-01" in found.what
    assert synchronized() in (True, False, None)


def test_free_space_is_told(tmp_path: pathlib.Path):
    (found,) = check_space(tmp_path)
    assert re.fullmatch(r"\d+ MiB free", found.what)


# --- the command ----------------------------------------------------------------------------------------------------------


def test_a_check_that_hangs_is_cut_off_and_the_next_one_runs():
    never = threading.Event()

    def hangs() -> list[Finding]:
        never.wait(30)
        return []

    fine = Check(lambda: [Finding("b", "pass", "well")], False)
    findings = examine({"a": Check(hangs, True), "b": fine}, cut_off_s=0.05)
    assert states(findings) == ["fail", "pass"] and "hangs" in findings[0].what
    assert states(examine({"a": Check(hangs, False)}, cut_off_s=0.05)) == ["warn"]
    never.set()
    assert doctor.CUT_OFF_S == 5.0


def test_a_check_that_breaks_is_a_line_of_the_report():
    def broken() -> list[Finding]:
        raise ZeroDivisionError("division by zero")

    def failing() -> list[Finding]:
        raise SensorError("bus 1: no such bus; name another")

    findings = examine({"a": Check(broken, True), "b": Check(failing, True), "c": Check(broken, False)})
    assert states(findings) == ["fail", "fail", "warn"]
    assert findings[0].what.startswith("ZeroDivisionError") and findings[1] == Finding("b", "fail", "bus 1: no such bus", "name another")


def test_lines_are_plain_text_with_the_remedy():
    lines = as_lines([Finding("a", "fail", "odd\x1b[31m name", "mend it"), Finding("long name", "pass", "well")])
    assert lines == ["fail    a          odd?[31m name; mend it", "pass    long name  well", "", "1 fail, 1 pass"]


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add_commands(parser.add_subparsers())
    args = parser.parse_args(["doctor", *arguments])
    return args.run(args)


def test_this_machine_without_settings_fails_in_nothing(capsys: pytest.CaptureFixture[str]):
    assert run() == 0
    shown = capsys.readouterr().out
    assert not re.search("^fail", shown, re.MULTILINE)
    assert all(f" {name} " in shown for name in ("bundle", "interpreter", "throttling", "memory", "clock"))


def test_settings_that_ask_for_what_is_not_here_fail(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    kit = tmp_path / "kit.toml"
    kit.write_text('[sources]\nuse = ["max30102:/dev/i2c-none", "replay:none.zip"]\n', encoding="utf-8")
    assert run("--config", str(kit), "--json") == 1
    record = json.loads(capsys.readouterr().out)
    failed = {finding["name"] for finding in record["findings"] if finding["state"] == "fail"}
    assert {"source", "purpose", "i2c /dev/i2c-none"} <= failed and record["ok"] is False
    assert record["board"]["cores"] >= 1


def test_a_settings_file_that_is_wrong_fails_and_the_rest_is_still_looked_at(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    kit = tmp_path / "kit.toml"
    kit.write_text("[sources]\nuze = []\n", encoding="utf-8")
    assert run("--config", str(kit)) == 1
    shown = capsys.readouterr().out
    assert "did you mean 'use'" in shown and " interpreter " in shown
