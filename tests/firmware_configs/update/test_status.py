"""``affectkit kit status``: in words, for anybody."""

from __future__ import annotations

import argparse
import json
import pathlib

import pytest

from firmware_configs.update import cli, report, status
from firmware_configs.update.service import State
from firmware_configs.update.take import take
from tests.firmware_configs.update import made


@pytest.fixture
def kit(tmp_path: pathlib.Path):
    repository = made.Repository()
    kit = made.kit(tmp_path, repository.roots[1])
    repository.add(made.bundle(tmp_path / "classroom.affectkit", "9.2.1"), 1)
    take(kit, repository.write(tmp_path / "stick"))
    return kit


def lines(kit, health: pathlib.Path = pathlib.Path("/nowhere/doctor.json")) -> str:
    return "\n".join(status.as_lines(status.look(kit.store, kit.service, kit.led, health)))


def test_a_kit_that_decides_says_what_it_runs_and_since_when(kit, capsys):
    said = lines(kit)
    assert "kit        it decides" in said and "to do" not in said
    assert "bundle     classroom 9.2.1, made " in said and "known to be good" in said
    assert "stick      updated at 2026-11-21T12:00:00Z: the kit runs classroom 9.2.1 now" in said
    assert "done: take the stick out" in said
    assert status.show(status.look(kit.store, kit.service, kit.led), as_json=False) == 0
    assert capsys.readouterr().out.count("\n") == 7


@pytest.mark.parametrize(("state", "word", "todo"), [
    (State("failed", "exit-code", 2, 0, 0, 0), "waits for a person", "affectkit doctor"),
    (State("failed", "watchdog", 9, 0, 0, 0), "has failed", "journalctl -u affectkit"),
    (State("activating", "success", 0, 0, 0, 0), "is starting", "wait some minutes"),
    (State("inactive", "success", 0, 0, 0, 0), "is stopped", "sudo systemctl start affectkit"),
    (State("", "", 0, 0, 0, 0), "is this a kit?", ""),
])  # fmt: skip
def test_one_that_does_not_says_what_to_do(kit, state, word, todo, capsys):
    kit.service.state = lambda: state
    said = lines(kit)
    assert word in said and todo in said
    assert status.show(status.look(kit.store, kit.service, kit.led), as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["bundle"]["version"] == "9.2.1"


def test_the_worst_finding_of_the_health_report_comes_first(kit, tmp_path):
    path = tmp_path / "doctor.json"
    findings = [
        {"name": "temperature", "state": "warn", "what": "80.0 degrees Celsius", "remedy": "give it air"},
        {"name": "i2c", "state": "fail", "what": "bus 1 is not there", "remedy": "enable it"},
        {"name": "memory", "state": "pass", "what": "fine", "remedy": ""},
    ]
    path.write_text(json.dumps({"findings": findings, "board": {}}))
    assert "health     i2c: bus 1 is not there; enable it (and 1 more)" in lines(kit, path)
    path.write_text(json.dumps({"findings": findings[2:], "board": {}}))
    assert "health     all is well" in lines(kit, path)
    assert "health     no report of this boot yet" in lines(kit, tmp_path / "none.json")


def test_what_this_user_may_not_read_is_said_to_be_so(kit, tmp_path, monkeypatch):
    def hidden(path: object, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(status.os, "stat", hidden)
    assert "only root may read it: sudo affectkit kit status" in lines(kit, tmp_path / "doctor.json")


def test_a_kit_that_never_saw_a_stick_and_one_without_bundles(tmp_path):
    kit = made.kit(tmp_path, b"root")
    assert "stick      none was put in so far" in lines(kit)
    for path in list(kit.store.bundles.iterdir()):
        path.unlink()
    assert "bundle     none that can be read" in lines(kit)


def test_decisions_that_the_power_would_take_are_told_of(kit, monkeypatch):
    assert "IN MEMORY" not in lines(kit)
    # A file system in memory that every Linux has; what the kit's own folder would be covered by.
    monkeypatch.setattr(status, "_DECISIONS", pathlib.Path("/dev/shm"))
    if not report.in_memory(pathlib.Path("/dev/shm")):
        pytest.skip("/dev/shm is no tmpfs here")
    assert "IN MEMORY" in lines(kit)


def test_on_a_trial_it_says_so(kit, tmp_path):
    from edge.bundle import load_bundle

    path = made.bundle(kit.store.partial / "x.affectkit", "9.3.0")
    kit.store.begin_trial(path, load_bundle(path).sha256)
    assert "classroom 9.3.0" in lines(kit) and "on trial" in lines(kit)


def test_no_control_characters_reach_the_terminal(kit):
    record = json.loads((kit.store.update / "last.json").read_text())
    (kit.store.update / "last.json").write_text(json.dumps({**record, "line": "fine"}).replace("fine", "x\\u009by"))
    assert all(line.isprintable() for line in lines(kit).splitlines())


# --- the commands ---------------------------------------------------------------------------------------------------------


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for add in (cli.add_take, cli.add_settle, cli.add_status):
        add(commands)
    return parser.parse_args(arguments)


@pytest.fixture
def places(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options for a kit in a folder, and a systemctl that says that it has decided for a minute."""
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    said = "\\n".join(
        ("ActiveState=active", "Result=success", "ActiveEnterTimestampMonotonic=1000000", "WatchdogTimestampMonotonic=71000000")
    )
    program.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/asked"\n[ "$1" != show ] || printf "{said}\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "run").mkdir()
    return ["--store", f"{tmp_path}/srv", "--run-folder", f"{tmp_path}/run"]


def test_before_a_start_it_says_what_runs(places, capsys, tmp_path):
    args = parsed("settle", "--before", *places)
    assert args.run(args) == 0
    assert capsys.readouterr().out.startswith("runs ")
    assert (tmp_path / "srv/bundles/current.affectkit").exists()


def test_take_as_it_is_called_with_all_that_is_real(places, capsys, tmp_path):
    """The real probe, the real report, the command line; systemd alone is stood in for."""
    repository = made.Repository()
    repository.signed_at = made.NOW
    (tmp_path / "root.json").write_bytes(repository.roots[1])
    repository.add(made.bundle(tmp_path / "classroom.affectkit", "9.2.1"), 1)
    stick = repository.write(tmp_path / "stick")
    args = parsed("take", str(stick), "--root", f"{tmp_path}/root.json", "--config", f"{tmp_path}/none.toml", *places)
    assert args.run(args) == 0
    said = capsys.readouterr().out
    assert said == "updated: the kit runs classroom 9.2.1 now: it gave decisions for 60 s\na report was left on the stick\n"
    (words,) = stick.glob("affectkit-reports/*/result.txt")
    assert "UPDATED" in words.read_text() and "fusion" in words.read_text()
    assert "restart affectkit.service" in (tmp_path / "asked").read_text()
    # Pulled out: the LED shows the kit's own state again.
    after = parsed("settle", "--after", *places)
    assert after.run(after) == 0 and (tmp_path / "run/state").read_text() == "deciding\n"
    show = parsed("status", "--json", *places)
    assert show.run(show) == 0
    assert json.loads(capsys.readouterr().out)["last_stick"]["outcome"] == "updated"


def test_a_refusal_is_a_line_on_standard_error_and_status_2(places, capsys, tmp_path):
    stranger, ours = made.Repository(keys="stranger"), made.Repository()
    (tmp_path / "root.json").write_bytes(ours.roots[1])
    stranger.add(made.bundle(tmp_path / "classroom.affectkit", "9.2.1"), 1)
    stick = stranger.write(tmp_path / "stick")
    args = parsed("take", str(stick), "--root", f"{tmp_path}/root.json", "--config", f"{tmp_path}/none.toml", *places)
    assert args.run(args) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("refused: the stick's ") and said.err.count("\n") == 2
    (words,) = stick.glob("affectkit-reports/*/result.txt")
    assert "NOT TAKEN" in words.read_text()


def test_settling_after_a_pulled_stick_writes_down_what_became_of_it(places, capsys, tmp_path):
    from edge.bundle import load_bundle
    from firmware_configs.update.store import Store

    store = Store(tmp_path / "srv")
    store.recover()
    path = made.bundle(store.partial / "x.affectkit", "9.2.1")
    store.begin_trial(path, load_bundle(path).sha256)
    args = parsed("settle", *places)
    assert args.run(args) == 0
    assert capsys.readouterr().out == "confirmed: it gave decisions for 60 s\n"
    assert json.loads((store.update / "last.json").read_text())["line"] == "the kit runs classroom 9.2.1 now: it gave decisions for 60 s"
