"""Disks after a cut: made whole as a start does it, and what cannot be is said."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

from tests.power import tree
from tests.power.machine import MARK_SECTORS, make_disk

pytestmark = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("mke2fs", "e2fsck", "debugfs", "dumpe2fs")), reason="e2fsprogs is not installed"
)


@pytest.fixture
def image(tmp_path):
    files = tmp_path / "files"
    (files / "store/bundles").mkdir(parents=True)
    (files / "store/bundles/a.affectkit").write_bytes(b"a" * 5000)
    (files / "store/bundles/current.affectkit").symlink_to("a.affectkit")
    assert make_disk(tmp_path / "disk.img", 16, files) == 16 << 20
    assert (tmp_path / "disk.img").stat().st_size == (16 << 20) + MARK_SECTORS * 512
    return tmp_path / "disk.img"


def test_a_disk_that_nothing_happened_to_is_whole(image, tmp_path):
    assert tree.check(image) == tree.Checked(True, "")
    store = tree.extract(image, "/store", tmp_path / "out")
    assert (store / "bundles/current.affectkit").read_bytes() == b"a" * 5000
    assert (store / "bundles/current.affectkit").is_symlink()


def test_what_only_a_person_could_repair_is_not_whole(image):
    """A file that no folder names, though nothing was cut off."""
    subprocess.run(["debugfs", "-w", "-R", "unlink /store/bundles/a.affectkit", str(image)], check=True, capture_output=True)
    checked = tree.check(image)
    assert not checked.whole and "Unattached inode" in checked.words


def tear(image: pathlib.Path) -> None:
    """The first sector of the super block is new, the second, with the checksum, is old."""
    with image.open("r+b") as stream:
        stream.seek(1024 + 0x30)  # when it was last written
        stream.write(bytes(4))


def test_a_torn_super_block_without_a_copy_is_not_whole(image):
    tear(image)
    checked = tree.check(image)
    assert not checked.whole and "alternate superblock" in checked.words


@pytest.mark.skipif(not tree.MEND.exists(), reason="the kit has no script that mends a super block")
def test_a_torn_super_block_is_made_anew_of_its_copy(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a").write_bytes(b"a")
    make_disk(tmp_path / "disk.img", 192, tmp_path / "files")
    tear(tmp_path / "disk.img")
    checked = tree.check(tmp_path / "disk.img")
    assert checked.whole and "made anew of its copy" in checked.words
    assert tree.check(tmp_path / "disk.img") == tree.Checked(True, "")
