"""Taking an update, from the stick to the bundle that runs: resumed, refused, tried, kept or taken back."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

import pytest

from edge.bundle import load_bundle
from edge.errors import InputError
from firmware_configs.update import media
from firmware_configs.update.store import CURRENT, GOOD, file_name
from firmware_configs.update.take import Kit, serials, take
from firmware_configs.update.trial import settle
from tests.firmware_configs.update import made


class Class:
    """A workstation, a kit that runs the embedded bundle, and sticks for it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.repository = made.Repository()
        self.kit = made.kit(folder, self.repository.roots[1])
        self.serial = 0
        self.first = self.kit.store.target(CURRENT)

    def stick(self, version: str, serial: int | None = None) -> pathlib.Path:
        self.serial = serial or self.serial + 1
        self.repository.add(made.bundle(self.folder / "classroom.affectkit", version), self.serial)
        return self.repository.write(self.folder / f"stick-{version}-{self.serial}")

    def new(self) -> str:
        return file_name(load_bundle(self.folder / "classroom.affectkit").sha256)

    def target(self, stick: pathlib.Path) -> pathlib.Path:
        return next((stick / "affectkit-update/targets").iterdir())

    def runs(self) -> str | None:
        return self.kit.store.target(CURRENT)


@pytest.fixture
def school(tmp_path: pathlib.Path) -> Class:
    return Class(tmp_path)


def test_a_newer_bundle_runs_and_is_the_good_one(school):
    result = take(school.kit, school.stick("9.2.1"))
    assert (result.outcome, result.exit_status) == ("updated", 0)
    assert result.line == "the kit runs classroom 9.2.1 now: it gave decisions for 60 s"
    assert school.runs() == school.kit.store.target(GOOD) == school.new()
    assert school.kit.led.word() == "updated"
    assert list(school.kit.store.partial.iterdir()) == []
    last = json.loads((school.kit.store.update / "last.json").read_text())
    assert last["outcome"] == "updated" and last["at"] == "2026-11-21T12:00:00Z"


def test_the_led_says_to_leave_the_stick_in_until_the_report_is_on_it(school):
    words = []
    take(school.kit, school.stick("9.2.1"), lambda _: words.append(school.kit.led.word()))
    assert [*words, school.kit.led.word()] == ["updating", "updated"]


def test_the_same_stick_again_changes_nothing(school):
    stick = school.stick("9.2.1")
    take(school.kit, stick)
    starts = len(school.kit.service.starts)
    result = take(school.kit, stick)
    assert (result.outcome, result.exit_status) == ("nothing newer", 0)
    assert len(school.kit.service.starts) == starts, "the kit goes on deciding"


def test_a_stick_with_the_bundle_that_came_with_the_card_changes_nothing(school, tmp_path):
    school.repository.add(school.kit.store.bundles / str(school.first), 4, "classroom.affectkit")
    assert take(school.kit, school.repository.write(tmp_path / "stick")).outcome == "nothing newer"
    assert serials(school.kit.store) == {school.first: 4}


def test_a_lower_number_under_newer_signatures_is_refused(school):
    """A workstation restored from a backup: all is rightly signed, and still goes back."""
    take(school.kit, school.stick("9.5.0", 5))
    running = school.runs()
    result = take(school.kit, school.stick("9.4.0", 4))
    assert (result.outcome, result.exit_status) == ("refused", 2)
    assert "is older (number 4) than the one that the kit has (number 5)" in result.line
    assert school.runs() == running


def test_of_several_the_one_of_the_kits_own_name_is_taken(school, tmp_path):
    mine = made.bundle(tmp_path / "classroom.affectkit", "9.2.1")
    other = made.bundle(tmp_path / "lecture.affectkit", "0.9.0", name="lecture")
    school.repository.add(mine, 2)
    targets, files = school.repository.targets, school.repository.files
    targets["classroom.affectkit"].unrecognized_fields["custom"]["name"] = "classroom"
    school.repository.add(other, 3)
    school.repository.targets |= targets
    school.repository.files |= files
    assert "classroom 9.2.1" in take(school.kit, school.repository.write(tmp_path / "stick")).line


def test_a_bundle_that_gives_no_decisions_is_taken_back_and_not_tried_again(school):
    stick = school.stick("9.2.1")
    school.kit.service.refuses = {school.new()}
    result = take(school.kit, stick)
    assert (result.outcome, result.exit_status) == ("fell back", 1)
    assert school.runs() == school.first and school.kit.service.state().word == "deciding"
    assert school.kit.led.word() == "update-refused"
    starts = len(school.kit.service.starts)
    again = take(school.kit, stick)
    assert again.outcome == "refused" and "was tried on this kit before" in again.line
    assert len(school.kit.service.starts) == starts
    assert take(school.kit, school.stick("9.3.0")).outcome == "updated"


def test_on_a_kit_that_did_not_decide_before_it_is_not_the_bundles_fault(school):
    stick = school.stick("9.2.1")
    school.kit.service.refuses = {school.new(), school.first}
    school.kit.service.start()
    result = take(school.kit, stick)
    assert result.outcome == "fell back" and "did not decide before the update either" in result.line
    school.kit.service.refuses = set()
    school.kit.service.start()
    assert take(school.kit, stick).outcome == "updated"


def test_a_trial_that_a_pulled_stick_left_is_settled_first(school):
    stick = school.stick("9.2.1")
    kit, new = school.kit, school.new()

    class PulledError(BaseException):
        pass

    def pulled(_: float) -> None:
        raise PulledError

    cut = dataclasses.replace(kit, pause=made.FakePause())
    cut.pause.wait = pulled
    with pytest.raises(PulledError):
        take(cut, stick)
    assert school.runs() == new and kit.store.target(GOOD) == school.first
    assert take(kit, stick).outcome == "nothing newer"
    assert kit.store.target(GOOD) == new


# --- copying --------------------------------------------------------------------------------------------------------------


def partial(kit: Kit, stick: pathlib.Path, content: bytes) -> pathlib.Path:
    kit.store.prepare()
    sha256 = next((stick / "affectkit-update/targets").iterdir()).name.partition(".")[0]
    path = kit.store.partial / sha256
    path.write_bytes(content)
    return path


def test_a_copy_goes_on_where_it_was_cut_off(school, monkeypatch):
    stick = school.stick("9.2.1")
    content = school.target(stick).read_bytes()
    partial(school.kit, stick, content[:300_000])
    (school.kit.store.partial / ("0" * 64)).write_bytes(b"of another stick")
    read: list[int] = []
    real = os.read

    def counted(file: int, count: int) -> bytes:
        block = real(file, count)
        if "/targets/" in os.readlink(f"/proc/self/fd/{file}"):
            read.append(len(block))
        return block

    monkeypatch.setattr(os, "read", counted)
    assert take(school.kit, stick).outcome == "updated"
    assert sum(read) == len(content) - 300_000
    assert list(school.kit.store.partial.iterdir()) == []


@pytest.mark.parametrize(
    "harm", [lambda content: b"\0" * 1000, lambda content: content[:1000] + b"x" + content[1001:], lambda c: c + b"more"]
)
def test_a_damaged_half_copy_is_copied_anew(school, harm):
    stick = school.stick("9.2.1")
    partial(school.kit, stick, harm(school.target(stick).read_bytes()))
    assert take(school.kit, stick).outcome == "updated"


def test_a_whole_copy_needs_the_stick_no_more_than_to_be_there(school):
    stick = school.stick("9.2.1")
    partial(school.kit, stick, school.target(stick).read_bytes())
    assert take(school.kit, stick).outcome == "updated"


def test_a_stick_pulled_out_while_it_is_copied_leaves_what_was_copied(school, monkeypatch):
    stick = school.stick("9.2.1")
    monkeypatch.setattr(media, "BLOCK", 100_000)
    real, blocks = os.read, []

    def pulled(file: int, count: int) -> bytes:
        if "/targets/" in os.readlink(f"/proc/self/fd/{file}"):
            blocks.append(count)
            if len(blocks) > 3:
                raise OSError(5, "Input/output error")
        return real(file, count)

    monkeypatch.setattr(os, "read", pulled)
    result = take(school.kit, stick)
    assert result.outcome == "refused" and "put it in again: the copy goes on where it was" in result.line
    (half,) = school.kit.store.partial.iterdir()
    assert half.stat().st_size == 300_000
    assert school.runs() == school.first
    monkeypatch.setattr(os, "read", real)
    assert take(school.kit, stick).outcome == "updated"


def test_a_full_card_says_how_much_is_missing(school, monkeypatch):
    stick = school.stick("9.2.1")
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 9, 9, 9, 9, 9, 9, 0, 255)))
    result = take(school.kit, stick)
    assert result.outcome == "refused" and "too full for the update by 17 MiB" in result.line
    assert school.runs() == school.first


def test_a_card_that_cannot_be_written_is_told_in_words(school, monkeypatch):
    stick = school.stick("9.2.1")

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    result = take(school.kit, stick)
    assert result.outcome == "refused" and "read-only file system" in result.line and "\n" not in result.line
    assert school.runs() == school.first


# --- checks on the board --------------------------------------------------------------------------------------------------


def test_a_bundle_that_the_board_refuses_changes_nothing(school):
    def refuses(path: pathlib.Path, config: pathlib.Path | None) -> None:
        raise InputError("the new bundle's stage face is 60 steps off")

    stick = school.stick("9.2.1")
    result = take(dataclasses.replace(school.kit, probe=refuses), stick)
    assert result.outcome == "refused" and "60 steps off" in result.line
    assert school.runs() == school.first and len(school.kit.service.starts) == 1
    assert list(school.kit.store.partial.iterdir()) == [] and not (school.kit.store.update / "metadata").exists()


def test_nothing_that_a_stick_says_reaches_a_terminal_as_it_is(school):
    def refuses(path: pathlib.Path, config: pathlib.Path | None) -> None:
        raise InputError("bad \x1b[2J name\nand more")

    result = take(dataclasses.replace(school.kit, probe=refuses), school.stick("9.2.1"))
    assert result.line == "bad ?[2J name and more"


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ((), ("face",), "refused"),
        (("face",), ("face",), "updated"),
        (("speech",), ("face",), "refused"),
        (("face", "speech"), ("face",), "updated"),
    ],
)
def test_a_bundle_may_not_leave_out_what_the_one_that_runs_does(school, before, after, outcome):
    def slow(path: pathlib.Path, config: pathlib.Path | None) -> object:
        return dataclasses.replace(made.passes(path), dropped=before if path.parent.name == "bundles" else after)

    result = take(dataclasses.replace(school.kit, probe=slow), school.stick("9.2.1"))
    assert result.outcome == outcome, result.line
    if outcome == "refused":
        assert "too slow for this board: face would be left out" in result.line


def test_a_strangers_stick_is_let_alone(school, tmp_path):
    (tmp_path / "homework").mkdir()
    told: list[object] = []
    before = school.kit.led.word()
    result = take(school.kit, tmp_path / "homework", told.append)
    assert (result.outcome, result.exit_status, told) == ("no update", 0, [])
    assert school.kit.led.word() == before


def test_a_stick_for_reports_alone_gets_one(school, tmp_path):
    (tmp_path / "stick/affectkit-reports").mkdir(parents=True)
    told: list[object] = []
    assert take(school.kit, tmp_path / "stick", told.append).outcome == "no update"
    assert len(told) == 1


def test_what_became_of_a_trial_is_the_same_whoever_waits_for_it(school):
    """take starts the trial and is killed; affectkit-settle.service ends it."""
    stick = school.stick("9.2.1")
    kit = school.kit
    path = made.bundle(kit.store.partial / "x.affectkit", "9.2.1")
    kit.store.begin_trial(path, load_bundle(path).sha256)
    kit.service.start()
    assert settle(kit.store, kit.service, kit.pause)[0] == "confirmed"
    assert take(kit, stick).outcome == "nothing newer"
