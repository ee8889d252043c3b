"""Phases are told by the words in a log, and verdicts are counted."""

from __future__ import annotations

import pytest

from tests.power import install, update
from tests.power.cuts import Cut
from tests.power.verdict import Verdict, table
from tests.power.writes import read_log, write_log


@pytest.mark.parametrize(
    ("mark", "phase"),
    [
        ("begin tests.power.inside_update /out kit", "before the first change"),
        ("open store/update/metadata/.root.json.writing-7", "keeps what the stick's keys signed"),
        ("open store/update/partial/0a0b", "copies the bundle"),
        ("run python -P -m firmware_configs.update.probe 0a0b kit.toml", "tries out what the bundle computes"),
        ("run python -m edge run --fast --bundle current.affectkit", "starts the kit with the new bundle"),
        ("rename store/update/partial/0a0b store/bundles/0c.affectkit", "moves the bundle into place"),
        ("rename store/bundles/.trial.json.writing-7 store/bundles/trial.json", "notes the trial"),
        ("rename store/bundles/.current.affectkit.new store/bundles/current.affectkit", "switches to the new bundle"),
        ("rename store/bundles/.good.affectkit.new store/bundles/good.affectkit", "confirms the new bundle"),
        ("remove store/bundles/trial.json", "ends the trial"),
        ("rename store/update/.last.json.writing-7 store/update/last.json", "notes the result"),
    ],
)
def test_the_words_of_an_update_tell_what_it_is_at(mark, phase):
    assert update.phase(mark) == phase


@pytest.mark.parametrize(
    ("mark", "phase"),
    [
        ("symlink ../affectkit-install.service root/etc/systemd/system/multi-user.target.wants/.x", "has itself called again"),
        ("remove root/etc/systemd/system/multi-user.target.wants/.affectkit-install.service.affectkit-new", "has itself called again"),
        ("mkdir root/opt", "prepares for Python"),
        ("remove root/opt/affectkit/.venv.affectkit-new", "links to Python"),
        ("run python3 -m venv --system-site-packages", "makes Python's folder"),
        ("run python3 -m pip --isolated install", "installs the wheels"),
        ("run systemd-sysusers --root=root affectkit.conf", "makes users and folders"),
        ("rename root/usr/lib/affectkit/.led.affectkit-new root/usr/lib/affectkit/led", "writes files"),
        ("rename root/etc/affectkit/.installed.json.affectkit-new root/etc/affectkit/installed.json", "says that it is installed"),
        ("remove root/etc/systemd/system/multi-user.target.wants/affectkit-install.service", "is not called again"),
    ],
)
def test_the_words_of_an_installation_tell_what_it_is_at(mark, phase):
    assert install.phase(mark) == phase


def test_each_way_has_its_part_of_the_log(tmp_path):
    write = (0, b"x" * 512, 0)
    told = [write, "begin inside /out in-place", write, "begin inside /out unsynced", write, write, "begin inside /out kit", write, "end"]
    write_log(tmp_path / "log.img", told)
    spans = update.spans(read_log(tmp_path / "log.img"))
    assert spans == {"in-place": range(2, 4), "unsynced": range(4, 7), "kit": range(7, 10)}


def test_a_cut_is_good_only_if_doing_it_again_ends_well():
    cut = Cut(3, 4)
    assert Verdict(cut, "copies", "old", "new", "").good
    assert not Verdict(cut, "copies", "neither", "", "").good
    assert not Verdict(cut, "copies", "old", "refused: metadata torn", "").good
    assert Verdict(cut, "copies", "old", "new", "").line() == "cut after 3 entries, seed 4; copies; old; again: new"


def test_the_table_counts_phases_in_their_order():
    verdicts = [Verdict(Cut(at, 0), "copies" if at < 3 else "switches", "old" if at < 4 else "new", "new", "") for at in range(6)]
    assert table(verdicts, ("old", "new"))[2:] == [
        "| copies | 3 | 3 |  |  |",
        "| switches | 3 | 1 | 2 |  |",
        "| **all** | **6** | **4** | **2** | **0** |",
    ]
