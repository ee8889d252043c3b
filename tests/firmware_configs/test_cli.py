"""Cards that are written to a reader, one after the other, each after a yes."""

from __future__ import annotations

import io
import pathlib
import sys

import pytest

pytest.importorskip("passlib", reason="libpass is not installed (the extra kit)")
pytest.importorskip("segno", reason="segno is not installed (the extra kit)")

from edge.errors import InputError
from firmware_configs import card, cli
from firmware_configs.batch import Batch
from firmware_configs.boot_files import Target
from firmware_configs.classroom import Kit
from firmware_configs.device import Disks
from firmware_configs.layout import Room
from firmware_configs.load import load
from tests.firmware_configs.disk import MIB, make_disk


@pytest.fixture
def stock(tmp_path) -> pathlib.Path:
    return make_disk(tmp_path / "raspios-trixie.img", wide=False, boot_mib=8, root_mib=1)


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_cards_for_a_device_come_one_after_the_other_and_go(stock, tmp_path):
    listed = [Kit("kit-01"), Kit("kit-02"), Kit("kit-03")]
    found = []
    for kit, path in Batch(stock, listed, load(Target("trixie")), tmp_path / "cards").make_each():
        assert card.check(path, listed) == []
        found.append((kit.hostname, len([p for p in path.parent.iterdir() if p.suffix == ".img"])))
    assert found == [("kit-01", 1), ("kit-02", 1), ("kit-03", 1)]
    assert names(tmp_path / "cards") == {"passwords.csv", "sheet.html"}


@pytest.mark.parametrize("answer", ["yes", "", "no"])
def test_a_card_is_written_only_after_yes(monkeypatch, stock, tmp_path, answer):
    block = tmp_path / "block/sdb"
    block.mkdir(parents=True)
    device = tmp_path / "sdb"
    device.write_bytes(b"\xff" * 20 * MIB)
    for name, word in {"removable": "1", "ro": "0", "size": str(20 * MIB // 512)}.items():
        (block / name).write_text(word)
    disks = Disks(tmp_path / "mounts", tmp_path / "swaps", tmp_path / "block")
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer + "\n"))
    cards = Batch(stock, [Kit("kit-01")], load(Target("trixie")), tmp_path / "cards")
    if answer == "yes":
        # Room that the reader's card does not have is refused before anybody is asked.
        roomy = Batch(stock, [Kit("kit-01")], load(Target("trixie"), room=Room(0, 192)), tmp_path / "large")
        with pytest.raises(InputError, match="too few; take a larger card"):
            cli._to_device(roomy, device, disks)
        assert cli._to_device(cards, device, disks) == 0
        assert card.check(device, [Kit("kit-01")]) == []
        assert names(tmp_path / "cards") == {"passwords.csv", "sheet.html"}
    else:
        with pytest.raises(InputError, match="nobody said yes"):
            cli._to_device(cards, device, disks)
        assert device.read_bytes() == b"\xff" * 20 * MIB
