"""The kit's scripts, run: back-off, what an earlier run left, the LED, and the report of a boot."""

from __future__ import annotations

import collections.abc
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing

import pytest

import firmware_configs

SCRIPTS = pathlib.Path(firmware_configs.__file__).parent / "usr/lib/affectkit"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("sh"), reason="the kit's shell is Linux's")
Script = typing.Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def script(tmp_path: pathlib.Path) -> collections.abc.Iterator[Script]:
    """Runs a script as its unit would, with a ``sleep`` that writes down for how long it was asked; ends with status 0 or is shown."""
    for name in ("state", "run"):
        (tmp_path / name).mkdir()
    sleep = tmp_path / "sleep"
    sleep.write_text(f'#!/bin/sh\necho "$1" >>"{tmp_path}/slept"\n')
    sleep.chmod(0o755)

    def run(name: str, *arguments: str, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "STATE_DIRECTORY": f"{tmp_path}/state", "RUNTIME_DIRECTORY": f"{tmp_path}/run"}
        environment |= {"AFFECTKIT_SLEEP": str(sleep), **variables}
        ran = subprocess.run(
            ["sh", str(SCRIPTS / name), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert ran.returncode == status, ran.stderr
        return ran

    yield run


def slept(folder: pathlib.Path) -> list[str]:
    path = folder / "slept"
    return path.read_text().split() if path.exists() else []


def word(folder: pathlib.Path) -> str:
    return (folder / "run/state").read_text().strip()


# --- back-off -------------------------------------------------------------------------------------------------------------


def test_it_waits_longer_after_each_failure_in_a_row_and_no_longer_than_two_minutes(script, tmp_path):
    for _ in range(9):
        script("before-run")
        script("after-run", SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert slept(tmp_path) == ["5", "10", "20", "40", "80", "120", "120", "120"]
    assert word(tmp_path) == "failed"


def test_a_run_that_ended_well_starts_the_count_anew(script, tmp_path):
    for result in ("watchdog", "watchdog", "success"):
        script("after-run", SERVICE_RESULT=result)
    assert word(tmp_path) == "stopped"
    script("before-run")
    assert slept(tmp_path) == []
    assert word(tmp_path) == "starting"


def test_a_run_that_decided_for_a_minute_starts_the_count_anew(script, tmp_path):
    (tmp_path / "run/failures").write_text("7\n")
    (tmp_path / "run/since").write_text(f"{int(float(pathlib.Path('/proc/uptime').read_text().split()[0])) - 60}\n")
    script("after-run", SERVICE_RESULT="watchdog")
    assert (tmp_path / "run/failures").read_text() == "1\n"


def test_a_run_that_died_soon_after_its_first_decision_does_not(script, tmp_path):
    (tmp_path / "run/failures").write_text("7\n")
    script("tell", "deciding")
    assert word(tmp_path) == "deciding"
    script("after-run", SERVICE_RESULT="oom-kill")
    assert (tmp_path / "run/failures").read_text() == "8\n"


def test_refused_settings_wait_for_a_person_and_cost_no_wait(script, tmp_path):
    script("after-run", SERVICE_RESULT="exit-code", EXIT_CODE="exited", EXIT_STATUS="2")
    assert word(tmp_path) == "refused"
    script("before-run")
    assert slept(tmp_path) == []


# --- what an earlier run left ---------------------------------------------------------------------------------------------


def test_what_a_cut_off_run_left_is_moved_whole_and_nothing_is_written_over(script, tmp_path):
    now = tmp_path / "state/now"
    script("before-run")
    for text in ("first", "second"):
        (now / "decisions.jsonl.partial").write_text(text)
        (now / ".hidden").write_text(text)
        script("before-run")
        assert list(now.iterdir()) == []
    earlier = tmp_path / "state/earlier"
    assert sorted(each.name for each in earlier.iterdir()) == ["00000001", "00000002"]
    assert (earlier / "00000002/decisions.jsonl.partial").read_text() == "second"
    script("before-run")  # nothing was written, so nothing is kept
    assert len(list(earlier.iterdir())) == 2


def test_numbers_go_on_behind_the_highest_whatever_the_clock_says(script, tmp_path):
    for name in ("00000008", "00000099", "notes"):
        (tmp_path / "state/earlier" / name).mkdir(parents=True)
    os.utime(tmp_path / "state/earlier/00000099", (0, 0))
    (tmp_path / "state/now").mkdir()
    (tmp_path / "state/now/report.json").write_text("{}")
    script("before-run")
    assert sorted(each.name for each in (tmp_path / "state/earlier").iterdir()) == ["00000008", "00000099", "00000100", "notes"]


@pytest.mark.parametrize(("limits", "left"), [({"AFFECTKIT_MOST_RUNS": "3"}, 3), ({"AFFECTKIT_MOST_KIB": "60"}, 2), ({}, 5)])
def test_the_oldest_go_when_there_are_too_many_or_they_are_too_large(script, tmp_path, limits, left):
    for number in range(1, 6):
        folder = tmp_path / f"state/earlier/{number:08}"
        folder.mkdir(parents=True)
        (folder / "decisions.jsonl").write_bytes(b"x" * 20 * 1024)
    script("before-run", **limits)
    assert sorted(each.name for each in (tmp_path / "state/earlier").iterdir()) == [f"{number:08}" for number in range(6 - left, 6)]


def test_the_newest_run_stays_however_large(script, tmp_path):
    (tmp_path / "state/now").mkdir()
    (tmp_path / "state/now/decisions.jsonl").write_bytes(b"x" * 100_000)
    script("before-run", AFFECTKIT_MOST_KIB="1", AFFECTKIT_MOST_RUNS="0")
    assert [each.name for each in (tmp_path / "state/earlier").iterdir()] == ["00000001"]


def test_a_run_cut_between_move_and_folder_starts_all_the_same(script, tmp_path):
    (tmp_path / "state/earlier/00000001").mkdir(parents=True)
    script("before-run")
    assert (tmp_path / "state/now").is_dir()


# --- the LED --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def led(tmp_path: pathlib.Path) -> pathlib.Path:
    """An LED as the kernel shows it: files that take what is written. Those of the timer are always there."""
    folder = tmp_path / "leds/ACT"
    folder.mkdir(parents=True)
    for name in ("trigger", "brightness", "delay_on", "delay_off"):
        (folder / name).write_text("")
    return folder


def shown(script: Script, folder: pathlib.Path, state: str) -> dict[str, str]:
    (folder / "run/state").write_text(f"{state}\n")
    script("led", AFFECTKIT_LEDS=f"{folder}/leds", AFFECTKIT_STATE=f"{folder}/run/state")
    return {path.name: path.read_text().strip() for path in (folder / "leds").glob("*/*")}


def test_every_word_that_the_kit_says_looks_different(script, tmp_path, led):
    words = ["deciding", "starting", "refused", "failed", "updating", "updated", "update-refused", "stopped"]
    looks = []
    for each in words:
        for path in led.iterdir():
            path.write_text("")
        looks.append(tuple(sorted(shown(script, tmp_path, each).items())))
    assert len(set(looks)) == len(words)
    assert dict(looks[0])["trigger"] == "heartbeat"
    assert (dict(looks[2])["delay_on"], dict(looks[2])["delay_off"]) == ("2700", "300")
    assert (dict(looks[5])["trigger"], dict(looks[5])["brightness"]) == ("none", "1")


def test_the_words_of_the_scripts_are_those_that_the_led_knows():
    known = (SCRIPTS / "led").read_text()
    said = set()
    for name in ("before-run", "after-run"):
        text = (SCRIPTS / name).read_text()
        said |= {each for each in ("starting", "stopped", "refused", "failed") if f"word={each}" in text or f"echo {each} >" in text}
    assert said == {"starting", "stopped", "refused", "failed"}
    assert all(f" {each})" in known for each in said - {"stopped"}), "stopped is off, as every unknown word"


def test_an_older_kernels_name_is_found_and_a_board_without_led_goes_without(script, tmp_path, led):
    led.rename(led.with_name("led0"))
    assert shown(script, tmp_path, "deciding")["trigger"] == "heartbeat"
    shutil.rmtree(tmp_path / "leds")
    assert shown(script, tmp_path, "deciding") == {}


def test_a_word_that_comes_while_another_is_shown_is_shown_too(script, tmp_path, led):
    sleep = tmp_path / "sleep"
    sleep.write_text(f'#!/bin/sh\necho deciding >"{tmp_path}/run/state"\n')
    assert shown(script, tmp_path, "starting")["trigger"] == "heartbeat"


# --- the report of a boot -------------------------------------------------------------------------------------------------


def program(folder: pathlib.Path, line: str) -> str:
    path = folder / "affectkit"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


def test_a_report_that_finds_something_is_a_report(script, tmp_path):
    config = tmp_path / "kit.toml"
    config.write_text('[sources]\nuse = ["max30102:77"]\n')
    root = SCRIPTS.parents[3]
    real = program(tmp_path, f'cd "{root}" && exec "{sys.executable}" -m edge "$@"')
    script("health-report", AFFECTKIT=real, AFFECTKIT_CONFIG=str(config))
    (report,) = (tmp_path / "state/health").iterdir()
    record = json.loads(report.read_text())
    assert record["ok"] is False
    assert "purpose" in {finding["name"] for finding in record["findings"] if finding["state"] == "fail"}


@pytest.mark.parametrize("line", ["echo '{' && exit 3", "exit 0"])
def test_a_failed_report_leaves_the_old_one(script, tmp_path, line):
    health = tmp_path / "state/health"
    health.mkdir()
    (health / "doctor.json").write_text("old")
    ran = script("health-report", status=1, AFFECTKIT=program(tmp_path, line))
    assert ran.stderr.count("\n") == 1
    assert (health / "doctor.json").read_text() == "old"
