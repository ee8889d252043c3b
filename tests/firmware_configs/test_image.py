"""Which disk images are taken, and what is said of the others."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from edge.errors import InputError
from firmware_configs.image import boot_partition, open_boot, partitions
from tests.firmware_configs.disk import MIB, START, STOCK, checked, dos_table, format_fat, gpt_table, make_disk


def refused(path) -> str:
    with pytest.raises(InputError) as caught, open_boot(path):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("table", ["dos", "gpt"])
def test_the_boot_partition_is_found_and_edited_and_the_rest_stays(tmp_path, table):
    disk = make_disk(tmp_path / "a.img", table=table)
    before = disk.read_bytes()
    with open_boot(disk, write=True) as volume:
        assert volume.read("config.txt") == STOCK["config.txt"]
        volume.write("affectkit/new", b"new" * 1000)
    after = disk.read_bytes()
    end = START + 40 * MIB
    assert (after[:START], after[end:]) == (before[:START], before[end:])
    assert checked(disk) in ("", "absent")


@pytest.mark.skipif(not shutil.which("sfdisk"), reason="sfdisk is not installed (apt install fdisk)")
@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_tables_that_sfdisk_wrote_are_read(tmp_path, label):
    path = tmp_path / "a.img"
    with path.open("xb") as file:
        file.truncate(64 * MIB)
    kind = "c" if label == "dos" else "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
    script = f"label: {label}\nstart=8192, size=81920, type={kind}\nstart=90112, size=8192\n"
    subprocess.run(["sfdisk", "--quiet", str(path)], input=script, text=True, check=True)
    format_fat(path, START, 40 * MIB, wide=True)
    with path.open("rb") as file:
        assert [(p.start_byte, p.size_bytes) for p in partitions(file, "a")] == [(START, 40 * MIB), (90112 * 512, 8192 * 512)]
        assert boot_partition(file, "a").number == 1


def test_an_fat_partition_that_is_not_the_first_is_found(tmp_path):
    path = tmp_path / "a.img"
    with path.open("xb") as file:
        file.truncate(START + 12 * MIB)
    dos_table(path, [(0x83, MIB, MIB), (0x0E, START, 8 * MIB)])
    format_fat(path, START, 8 * MIB, wide=False)
    with path.open("rb") as file:
        assert boot_partition(file, "a").number == 2


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 4096, b"PK\x03\x04" * 500, bytes(range(256)) * 64])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "a.img"
    path.write_bytes(content)
    assert "is not the image of a disk" in refused(path)


def test_a_file_system_without_a_partition_table_is_refused(tmp_path):
    path = tmp_path / "a.img"
    with path.open("xb") as file:
        file.truncate(8 * MIB)
    format_fat(path, 0, 8 * MIB, wide=False)
    assert "FAT partition" in refused(path)


def test_an_image_without_a_fat_partition_is_refused(tmp_path):
    path = tmp_path / "a.img"
    with path.open("xb") as file:
        file.truncate(8 * MIB)
    dos_table(path, [(0x83, MIB, MIB), (0x0C, 3 * MIB, MIB)])
    assert "no FAT partition to boot from" in refused(path)


def test_a_truncated_image_says_by_how_much(tmp_path):
    disk = make_disk(tmp_path / "a.img", wide=False, boot_mib=8)
    with disk.open("r+b") as file:
        file.truncate(START + 9 * MIB)
    assert f"ends {MIB} bytes before partition 2 does" in refused(disk)


@pytest.mark.parametrize("place", [512 + 8, 512 + 60, 1024 + 40])
def test_a_damaged_gpt_is_refused(tmp_path, place):
    path = tmp_path / "a.img"
    with path.open("xb") as file:
        file.truncate(16 * MIB)
    gpt_table(path, [(START, 8 * MIB)])
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\x77")
    assert "damaged" in refused(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "cannot be opened" in refused(tmp_path / "none.img")
    assert "cannot be opened" in refused(tmp_path)
