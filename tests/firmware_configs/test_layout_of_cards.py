"""Cards get room for the system and a partition of their own, and nothing that counts is moved."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

pytest.importorskip("passlib", reason="libpass is not installed (the extra kit)")
pytest.importorskip("segno", reason="segno is not installed (the extra kit)")

from edge.errors import InputError
from firmware_configs import card, layout
from firmware_configs.batch import Batch
from firmware_configs.boot_files import Target
from firmware_configs.classroom import Kit
from firmware_configs.device import write_device
from firmware_configs.image import open_boot
from firmware_configs.layout import Room
from firmware_configs.load import Load, load
from tests.firmware_configs.disk import MIB, START, dos_table, make_disk

BOOT = (0x0C, START, 40 * MIB)
ROOT_AT = START + 40 * MIB


@pytest.fixture
def stock(tmp_path) -> pathlib.Path:
    return make_disk(tmp_path / "a.img")


SMALL = Room(8, 192)


def what(room: Room | None = SMALL, system: str = "trixie") -> Load:
    return load(Target(system), room=room)


def made(stock: pathlib.Path, out: pathlib.Path, room: Room | None = SMALL) -> pathlib.Path:
    Batch(stock, [Kit("kit-01")], what(room), out).make()
    return out / "kit-01.img"


def test_the_root_gets_room_and_partition_3_comes_behind_it(stock, tmp_path):
    image = made(stock, tmp_path / "cards")
    table = layout.read_table(image)
    end = ROOT_AT + 12 * MIB
    assert table.disk_id == "57c84f67" == layout.read_table(stock).disk_id
    # 2 MiB of root and 8 MiB of room end at 54 MiB; 56 MiB is the next multiple of 4.
    assert table.partitions == ((1, *BOOT), (2, 0x83, ROOT_AT, end - ROOT_AT), (3, 0x83, end, 192 * MIB))
    assert image.stat().st_size == end + 192 * MIB
    # The new part takes nothing of the disk.
    assert image.stat().st_blocks * 512 <= stock.stat().st_blocks * 512 + MIB


def test_the_defaults_are_1_gib_and_half_of_one(stock, tmp_path):
    assert layout.planned(stock, Room()).partitions[1:] == (
        (2, 0x83, ROOT_AT, 1028 * MIB),
        (3, 0x83, ROOT_AT + 1028 * MIB, 512 * MIB),
    )


@pytest.mark.skipif(not shutil.which("sfdisk"), reason="sfdisk is not installed (apt install fdisk)")
def test_sfdisk_reads_the_same_table(stock, tmp_path):
    image = made(stock, tmp_path / "cards")
    found = json.loads(subprocess.run(["sfdisk", "--json", str(image)], capture_output=True, check=True).stdout)["partitiontable"]
    assert found["id"] == "0x57c84f67"
    assert tuple(
        (number, int(part["type"], 16), part["start"] * 512, part["size"] * 512) for number, part in enumerate(found["partitions"], 1)
    ) == (layout.read_table(image).partitions)
    assert subprocess.run(["sfdisk", "--verify", str(image)], capture_output=True, text=True).stderr == ""


def test_what_lay_behind_the_root_is_no_file_system_of_partition_3(stock, tmp_path):
    with stock.open("r+b") as file:
        file.truncate(ROOT_AT + 30 * MIB)
        file.seek(ROOT_AT + 2 * MIB)
        file.write(b"\x53\xef" * (14 * MIB))
    image = made(stock, tmp_path / "cards")
    start, _ = layout.read_table(image).data
    with image.open("rb") as file:
        file.seek(start)
        assert not any(file.read(MIB))


def test_without_a_data_partition_the_image_stays_as_it_was(stock, tmp_path):
    image = made(stock, tmp_path / "cards", None)
    assert layout.read_table(image) == layout.read_table(stock)
    assert image.stat().st_size == stock.stat().st_size
    assert card.check(image, [Kit("kit-01")]) == []


def test_a_gpt_stays_as_it_was_and_people_are_told(tmp_path):
    stock = make_disk(tmp_path / "a.img", table="gpt")
    batch = Batch(stock, [Kit("kit-01")], what(), tmp_path / "cards")
    batch.make()
    assert "has a GPT, whose partitions are left as they are" in batch.word
    image = tmp_path / "cards/kit-01.img"
    assert layout.read_table(image) == layout.read_table(stock)
    assert card.check(image, [Kit("kit-01")]) == []
    assert card.written(image) == ((0, stock.stat().st_size),)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([BOOT, (0x83, ROOT_AT, MIB), (0x83, ROOT_AT + MIB, MIB)], "has partitions 1, 2, 3 instead of 1 and 2"),
        ([BOOT], "has partitions 1 instead of"),
        ([BOOT, (0x05, ROOT_AT, MIB)], "partition 2 is not one for Linux behind partition 1"),
        ([BOOT, (0x07, ROOT_AT, MIB)], "partition 2 is not one for Linux"),
        ([BOOT, (0x83, MIB, MIB)], "partition 2 is not one for Linux behind partition 1"),
    ],
)
def test_other_tables_are_refused_in_one_line_unless_they_are_to_stay(stock, tmp_path, parts, says):
    dos_table(stock, parts)
    with pytest.raises(InputError, match="--no-data-partition") as caught:
        made(stock, tmp_path / "cards")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cards").exists()
    assert card.check(made(stock, tmp_path / "left", None)) == []


@pytest.mark.parametrize("room", [(-1, 512), (1024, 191), (1024, 1 << 17)])
def test_room_beyond_reason_is_refused(room):
    with pytest.raises(InputError, match="MiB; it is"):
        Room(*room)


def test_a_table_that_would_end_beyond_what_it_can_say_is_refused(tmp_path):
    path = tmp_path / "a.img"
    with path.open("xb") as file:
        file.truncate(2**41 - 2 * 2**30)
    dos_table(path, [BOOT, (0x83, ROOT_AT, 2**41 - 2 * 2**30 - ROOT_AT)])
    with pytest.raises(InputError, match="beyond 2 TiB"):
        layout.planned(path, Room(4096, 512))


def test_a_card_that_is_made_of_a_card_keeps_its_partitions(stock, tmp_path):
    first = made(stock, tmp_path / "a")
    again = made(first, tmp_path / "b")
    assert layout.read_table(again) == layout.read_table(first)
    assert card.check(again, [Kit("kit-01")]) == []


def test_the_check_sees_a_table_that_has_changed(stock, tmp_path):
    image = made(stock, tmp_path / "cards")
    parts = [each[1:] for each in layout.read_table(image).partitions]
    dos_table(image, parts[:2])
    assert card.check(image)[0].startswith("partition 3: is missing instead of 201326592 bytes at")
    dos_table(image, [parts[0], (0x83, ROOT_AT, 2 * MIB), parts[2]])
    assert card.check(image)[0].startswith(f"partition 2: is {2 * MIB} bytes at {ROOT_AT} of type 0x83 instead of {12 * MIB} bytes")
    dos_table(image, parts)
    assert card.check(image) == []
    with image.open("r+b") as file:
        file.seek(440)
        file.write(b"\x01\x02\x03\x04")
    assert card.check(image)[0] == "partition table: has the disk id 04030201 instead of 57c84f67"


@pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="mkfs.ext4 is not installed (apt install e2fsprogs)")
def test_the_check_tells_the_kits_own_file_system_from_anothers(stock, tmp_path):
    image = made(stock, tmp_path / "cards")
    start, size = layout.read_table(image).data
    for label, wrong in (("AFFECTKIT", []), ("backup", ["partition 3: holds something that is not the kit's; make the card again"])):
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-L", label, "-E", f"offset={start}", str(image), f"{size // 1024}k"], check=True, capture_output=True
        )
        assert card.check(image) == wrong


def test_another_payload_or_other_room_is_made_anew_by_resume(stock, tmp_path):
    out = tmp_path / "cards"
    inode = made(stock, out).stat().st_ino

    def again(room: Room | None, settings: pathlib.Path | None = None) -> int:
        Batch(stock, [Kit("kit-01")], load(Target("trixie"), None, settings, room), out, resume=True).make()
        return (out / "kit-01.img").stat().st_ino

    assert again(Room(8, 192)) == inode
    assert again(Room(8, 196)) != inode
    inode = (out / "kit-01.img").stat().st_ino
    (tmp_path / "kit.toml").write_text("[outputs]\nconsole = true\n")
    assert again(Room(8, 196), tmp_path / "kit.toml") != inode
    with open_boot(out / "kit-01.img") as volume:
        assert volume.read("affectkit/kit.toml") == b"[outputs]\nconsole = true\n"


def test_a_card_gets_what_it_must_hold_and_keeps_the_rest(stock, tmp_path):
    image, device = made(stock, tmp_path / "cards"), tmp_path / "card"
    size = image.stat().st_size
    device.write_bytes(b"\xff" * (size + MIB))
    write_device(image, device, spans=card.written(image))
    old, (start, length) = stock.stat().st_size, layout.read_table(image).data
    after, source = device.read_bytes(), image.read_bytes()
    assert after[:old] == source[:old]
    assert after[start : start + MIB] == after[start + length - MIB : start + length] == bytes(MIB)
    assert after[old:start] + after[start + MIB : start + length - MIB] + after[size:] == b"\xff" * (start - old + length - MIB)
    assert card.check(device, [Kit("kit-01")]) == []


@pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="mkfs.ext4 is not installed (apt install e2fsprogs)")
def test_the_root_grows_over_what_an_earlier_owner_left(tmp_path):
    """What the first boot does: growing the file system into its partition, whose new part was not written."""
    stock = make_disk(tmp_path / "a.img", root_mib=16)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "1024", "-E", f"offset={ROOT_AT}", str(stock), "16M"], check=True, capture_output=True)
    image, device, root = made(stock, tmp_path / "cards", Room(32, 192)), tmp_path / "card", tmp_path / "root"
    device.write_bytes(os.urandom(MIB) * (image.stat().st_size // MIB))
    write_device(image, device, spans=card.written(image))
    _, _, start, size = layout.read_table(device).partitions[1]
    root.write_bytes(device.read_bytes()[start : start + size])
    for command in (["e2fsck", "-fn"], ["resize2fs"], ["e2fsck", "-fn"]):
        done = subprocess.run([*command, str(root)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert size // MIB == 48
    told = subprocess.run(["dumpe2fs", "-h", str(root)], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^Block count: +{size // 1024}$", told, re.MULTILINE)


def test_a_card_that_is_shorter_than_it_says_is_found_out(stock, tmp_path):
    """Both ends of partition 3 are written and read back, so its place is there."""
    image, device = made(stock, tmp_path / "cards"), tmp_path / "card"
    device.write_bytes(b"\xff" * image.stat().st_size)

    class Short:
        def __init__(self) -> None:
            self._file = device.open("r+b", buffering=0)

        def seek(self, place: int) -> int:
            return self._file.seek(place)

        def read(self, size: int) -> bytes | None:
            return self._file.read(size) if self._file.tell() < 60 * MIB else b"\xff" * size

        def write(self, data: bytes) -> int | None:
            return self._file.write(data) if self._file.tell() < 60 * MIB else len(data)

        def close(self) -> None:
            self._file.close()

    with pytest.raises(InputError, match="read back differs near byte"):
        write_device(image, device, opened=lambda path: Short(), spans=card.written(image))


def test_words_for_stock_resizing_go_and_growing_is_off(tmp_path):
    for system, word in (("trixie", b" resize"), ("bookworm", b" init=/usr/lib/raspberrypi-sys-mods/firstboot")):
        stock = make_disk(tmp_path / f"{system}.img", trixie=system == "trixie")
        with open_boot(stock, write=True) as volume:
            before = volume.read("cmdline.txt")
            volume.write("cmdline.txt", before.rstrip() + word + b"\n")
        for room in (Room(8, 192), None):
            out = tmp_path / f"{system}-{room is None}"
            Batch(stock, [Kit("kit-01")], what(room, system), out).make()
            with open_boot(out / "kit-01.img") as volume:
                line = volume.read("cmdline.txt")
                assert (word in line) == (room is None)
                assert line.startswith(before.rstrip())
                about = volume.read("affectkit/ABOUT.txt").decode()
                assert (word.decode().strip() + ": " in about) == (room is not None)
                if system == "trixie":
                    assert (b'growpart:\n  mode: "off"\n' in volume.read("user-data")) == (room is not None)
            assert card.check(out / "kit-01.img", [Kit("kit-01")]) == []
