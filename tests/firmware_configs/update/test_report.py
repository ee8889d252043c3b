"""What a kit leaves on a stick: of the machine everything that helps, of people nothing; and whatever the stick is like, no failure."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

import pytest

from edge import embedded
from firmware_configs.update import report
from firmware_configs.update.report import MOST_BYTES, MOST_KEPT, compose, health, in_words, leave
from firmware_configs.update.take import Result, take
from tests.firmware_configs.update import made

FINDINGS = [
    {"name": "settings", "state": "pass", "what": "/etc/affectkit/kit.toml", "remedy": ""},
    {"name": "source", "state": "fail", "what": "replay:/home/pi/Anna Larsen.session.zip: damaged", "remedy": "copy it"},
    {"name": "output", "state": "pass", "what": "jsonl: /var/lib/affectkit/now/anna.jsonl", "remedy": ""},
    {"name": "purpose", "state": "fail", "what": "responsible: Ms Larsen, class 7b", "remedy": "declare it"},
    {"name": "bluetooth", "state": "pass", "what": "strap:Anna's HRM", "remedy": ""},
    {"name": "temperature", "state": "warn", "what": "76.0 degrees Celsius", "remedy": "give it a heat sink, a fan or air"},
    {"name": "space", "state": "pass", "what": "512 MiB free", "remedy": ""},
]
BOARD = {
    "model": "Raspberry Pi 4 Model B Rev 1.5", "machine": "aarch64", "temperature_c": 76.0, "throttling": ["throttled since boot"],
    "os": "Raspberry Pi OS", "packages": {"numpy": "2.1.0"}, "serial": "10000000abcdef", "learner": "Anna",
}  # fmt: skip
PRIVATE = (
    "Anna",
    "Larsen",
    "class 7b",
    "tense",
    "calm",
    "positive",
    "kit.toml",
    "jsonl",
    "session",
    "abcdef",
    "probabilit",
    '"t_ms"',
    "consent",
)


@pytest.fixture
def doctor(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "doctor.json"
    path.write_text(json.dumps({"ok": False, "findings": FINDINGS, "board": BOARD}))
    return path


@pytest.fixture
def kit(tmp_path: pathlib.Path):
    return made.kit(tmp_path, b"root")


def composed(kit, doctor: pathlib.Path | None = None) -> dict:
    result = Result("updated", "the kit runs classroom 0.2.1 now", "2026-11-21T12:00:00Z", False, "x.affectkit")
    probed = dataclasses.replace(made.passes(embedded.BUNDLE), stages_ms={"face": {"median": 1.5, "p90": 2.0, "first": 9.0}})
    found = health(doctor) if doctor else None
    return compose(kit.store, kit.service.state(), result, probed, hostname="7b-kit-03.school.example", found=found)


def test_it_tells_how_the_machine_does(kit, doctor):
    (kit.store.update / "boots").write_text("41 3f2c\n")
    said = composed(kit, doctor)
    assert said["format"] == 1 and said["hostname"] == "7b-kit-03"
    assert said["latency"]["stages_ms"]["face"] == {"median": 1.5, "p90": 2.0, "first": 9.0}
    assert said["bundle"]["name"] == "classroom" and said["bundle"]["good"] is True
    assert said["boots"] == 41 and said["uptime_s"] > 0 and said["free_mib"]["kit"] > 0
    assert said["health"]["board"]["throttling"] == ["throttled since boot"]
    assert {"name": "temperature", "state": "warn", "what": "76.0 degrees Celsius", "remedy": "give it a heat sink, a fan or air"} in said[
        "health"
    ]["findings"]
    words = in_words(said)
    for part in (
        "UPDATED",
        "classroom",
        "Raspberry Pi 4",
        "76 degrees",
        "throttled since boot",
        "1.500",
        "41 times",
        "which nobody has set",
    ):
        assert part in words, part
    assert words.count("\r\n") == words.count("\n"), "for a notepad of any system"


def test_nothing_about_people_leaves_the_kit(kit, doctor, tmp_path):
    """A kit full of decisions, recordings and names: none of it is in what is left on the stick."""
    state = tmp_path / "state/now"
    state.mkdir(parents=True)
    (state / "decisions.jsonl").write_text('{"t_ms": 250, "label": "tense", "probabilities": {"tense": 0.9}}\n')
    said = composed(kit, doctor)
    stick = tmp_path / "stick"
    stick.mkdir()
    assert leave(stick, {**said, "hostname": "kit-03"}) == "a report was left on the stick"
    left = "".join(path.read_text() for path in stick.rglob("*") if path.is_file())
    assert len(left) > 1000
    found = [word for word in PRIVATE if word in left]
    assert found == []
    states = {one["name"]: one for one in said["health"]["findings"]}
    assert states["source"] == {"name": "source", "state": "fail"}, "what is wrong is told, not with what"


def test_the_keys_of_the_report_are_these_and_no_others(kit, doctor):
    """A new key is a decision: it must be thought of whether it tells about people."""
    said = composed(kit, doctor)
    machine = {"hostname", "affectkit", "boots", "uptime_s", "free_mib", "system_read_only", "health", "service"}
    assert set(said) == machine | {"format", "at", "clock_trusted", "result", "bundle", "latency"}
    assert set(said["bundle"]) == {"name", "version", "created", "sha256", "on_trial", "good"}
    assert set(said["health"]["board"]) <= {*report.BOARD, *report.BOARD_TOO}


@pytest.mark.parametrize("harm", ["missing", "link", "folder", "text", "list", "odd findings", "pipe"])
def test_a_health_report_that_is_no_such_is_left_out(tmp_path, harm):
    path = tmp_path / "doctor.json"
    if harm == "link":
        (tmp_path / "secret").write_text('{"findings": [{"name": "board", "state": "pass", "what": "secret"}]}')
        path.symlink_to(tmp_path / "secret")
    elif harm == "folder":
        path.mkdir()
    elif harm == "pipe":
        os.mkfifo(path)
    elif harm != "missing":
        path.write_text({"text": "nothing", "list": "[]", "odd findings": '{"findings": [3, {"name": 5, "what": {}}], "board": 7}'}[harm])
    found = health(path)
    assert found is None or (harm == "odd findings" and found == {"findings": [{"name": "", "state": ""}], "board": {}})


# --- onto the stick -------------------------------------------------------------------------------------------------------


def test_reports_before_are_kept_with_numbers_and_no_more_than_twenty(kit, tmp_path):
    stick = tmp_path / "stick"
    stick.mkdir()
    for number in range(MOST_KEPT + 5):
        leave(stick, {**composed(kit), "hostname": "kit-03", "uptime_s": number})
    folder = stick / "affectkit-reports/kit-03"
    assert len(list(folder.glob("*.json"))) == len(list(folder.glob("*.txt"))) == MOST_KEPT
    numbers = [
        json.loads((folder / name).read_text())["uptime_s"] for name in ("report.json", "report.1.json", f"report.{MOST_KEPT - 1}.json")
    ]
    assert numbers == [24, 23, 5]


def test_a_pulled_stick_in_the_middle_leaves_no_half_report_in_its_place(kit, tmp_path, monkeypatch):
    stick = tmp_path / "stick"
    stick.mkdir()
    leave(stick, composed(kit))

    def pulled(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", pulled)
    assert "input/output error" in leave(stick, composed(kit))
    folder = stick / "affectkit-reports/7b-kit-03"
    assert json.loads((folder / "report.1.json").read_text())["format"] == 1
    assert not (folder / "report.json").exists()


@pytest.mark.parametrize("harm", ["read-only", "a file in its place", "a link in its place"])
def test_a_stick_that_takes_no_report_is_a_word(kit, tmp_path, harm, monkeypatch):
    stick = tmp_path / "stick"
    stick.mkdir()
    if harm == "a file in its place":
        (stick / "affectkit-reports").write_text("x")
    elif harm == "a link in its place":
        (tmp_path / "elsewhere").mkdir()
        (stick / "affectkit-reports").symlink_to(tmp_path / "elsewhere")
    else:

        def refused(*_: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(os, "mkdir", refused)
    assert leave(stick, composed(kit)).startswith("no report was left on the stick (")
    assert not (tmp_path / "elsewhere").exists() or not any((tmp_path / "elsewhere").iterdir())


def test_it_is_mounted_writable_for_the_report_alone(kit, tmp_path):
    asked: list[tuple[str, ...]] = []
    leave(tmp_path, composed(kit), remount=True, run=lambda command, _: (asked.append(tuple(command)) or 0, ""))
    assert asked == [("mount", "-o", "remount,rw", str(tmp_path)), ("mount", "-o", "remount,ro", str(tmp_path))]


def test_a_write_protected_stick_is_let_alone(kit, tmp_path):
    said = leave(tmp_path, composed(kit), remount=True, run=lambda command, _: (32, ""))
    assert said == "the stick is write-protected: no report was left on it" and not (tmp_path / "affectkit-reports").exists()


def test_a_report_is_never_large(kit, tmp_path):
    many = {"findings": [{"name": "board", "state": "pass", "what": "x" * 300, "remedy": "y" * 300}] * 400, "board": {}}
    leave(tmp_path, {**composed(kit), "health": many, "hostname": "kit"})
    assert all(path.stat().st_size <= MOST_BYTES for path in tmp_path.rglob("report.json"))


def test_whether_a_file_system_can_be_written_to_is_told_as_it_is(tmp_path):
    told, refuses = report.read_only(pathlib.Path("/")), os.statvfs("/").f_flag & os.ST_RDONLY != 0
    # A mount may be read-only and its file system not, as in a service's name space; never the other way round.
    assert told is not None and refuses >= told
    assert report.read_only(tmp_path) is None


@pytest.mark.parametrize(("called", "folder"), [("Kit_03.local", "kit-03"), ("../../etc", "kit"), ("", "kit"), ("k" * 99, "k" * 63)])
def test_a_host_name_is_no_path(called, folder):
    assert report.safe_name(called) == folder


def test_taking_a_stick_leaves_what_came_of_it(tmp_path):
    repository = made.Repository()
    kit = made.kit(tmp_path, repository.roots[1])
    repository.add(made.bundle(tmp_path / "classroom.affectkit", "0.2.1"), 1)
    stick = repository.write(tmp_path / "stick")
    kit.service.dies = {"none"}

    def tell(result: Result) -> None:
        leave(stick, compose(kit.store, kit.service.state(), result, result.probed, hostname="kit-03"))

    take(kit, stick, tell)
    said = json.loads((stick / "affectkit-reports/kit-03/report.json").read_text())
    assert said["result"]["outcome"] == "updated" and said["bundle"]["version"] == "0.2.1" and said["service"]["state"] == "deciding"
    # And the stick is still what it was.
    assert take(kit, stick).outcome == "nothing newer"
