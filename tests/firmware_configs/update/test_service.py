"""What systemd says of the kit's service, in its own words, and the word on the LED."""

from __future__ import annotations

import os
import stat

import pytest

from firmware_configs.update.service import Led, SystemdService, run_command

# As `systemctl show` of systemd 252 prints it.
DECIDING = """ActiveState=active
SubState=running
Result=success
ExecMainStatus=0
ActiveEnterTimestampMonotonic=51219348
WatchdogTimestampMonotonic=114219000
NRestarts=2
"""


def service(said: str, status: int = 0) -> SystemdService:
    return SystemdService(lambda command, _: (status, said))


def test_a_minute_of_decisions_is_from_the_first_to_the_newest_that_the_watchdog_was_told_of():
    state = service(DECIDING).state()
    assert (state.word, state.restarts) == ("deciding", 2)
    assert state.deciding_s == pytest.approx(62.999652)


@pytest.mark.parametrize(("changes", "word"), [
    ({"ActiveState": "activating", "SubState": "start"}, "starting"),
    ({"ActiveState": "activating", "SubState": "auto-restart"}, "starting"),
    ({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2"}, "refused"),
    ({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "1"}, "failed"),
    ({"ActiveState": "failed", "Result": "watchdog", "ExecMainStatus": "9"}, "failed"),
    ({"ActiveState": "inactive"}, "stopped"),
    ({"ActiveState": "deactivating"}, "stopped"),
])  # fmt: skip
def test_every_other_state_has_its_word_and_no_decisions(changes, word):
    values = dict(line.split("=", 1) for line in DECIDING.splitlines()) | changes
    state = service("".join(f"{key}={value}\n" for key, value in values.items())).state()
    assert state.word == word and state.deciding_s == 0


@pytest.mark.parametrize("said", ["", "ActiveState=active\n", "ActiveState=active\nActiveEnterTimestampMonotonic=\nNRestarts=[not set]\n"])
def test_what_systemd_leaves_out_counts_for_nothing(said):
    assert service(said).state().deciding_s == 0


def test_a_machine_without_systemd_has_no_state():
    assert service("", status=127).state().active == ""
    assert run_command(("no-such-command-here",), 5.0) == (127, "")
    assert run_command(("sleep", "5"), 0.01) == (124, "")


def test_a_restart_says_whether_there_was_a_first_decision():
    asked = []
    fine = SystemdService(lambda command, longest_s: (asked.append((command, longest_s)) or 0, ""))
    assert fine.restart()
    assert asked[-1][0] == ("systemctl", "restart", "affectkit.service") and asked[-1][1] > 240, "longer than TimeoutStartSec="
    assert not SystemdService(lambda command, _: (int("restart" in command), "")).restart()


# --- the LED --------------------------------------------------------------------------------------------------------------


def test_a_word_is_left_for_the_led_and_read_again(tmp_path):
    led = Led(tmp_path)
    assert led.word() == ""
    led.say("updating")
    led.say("updated")
    assert (tmp_path / "state").read_text() == "updated\n" and led.word() == "updated"


def test_a_link_in_the_kits_folder_is_not_followed(tmp_path):
    """The folder is the unprivileged user's; root writes there."""
    (tmp_path / "secret").write_text("root's")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/state").symlink_to(tmp_path / "secret")
    led = Led(tmp_path / "run")
    led.say("updated")
    assert (tmp_path / "secret").read_text() == "root's" and led.word() == ""


def test_a_pipe_in_the_kits_folder_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "state")
    Led(tmp_path).say("updated")
    assert Led(tmp_path).word() == ""


def test_a_kit_without_the_folder_goes_without(tmp_path):
    Led(tmp_path / "nowhere").say("updated")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_file_stays_the_users_who_writes_to_it_too(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    Led(tmp_path).say("updating")
    there = os.stat(tmp_path / "state")
    assert (there.st_uid, there.st_gid) == (65534, 65534) and stat.S_IMODE(there.st_mode) & 0o600 == 0o600
