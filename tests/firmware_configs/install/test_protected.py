"""The data partition, and a root that is read-only: what is formatted and what never, and what fstab says then."""

from __future__ import annotations

import collections.abc
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import types

import pytest

from tests.firmware_configs.disk import MIB, dos_table
from tests.firmware_configs.install.rig import INSTALLER, Device, make_device

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kit's system is Linux")
DATA = "UUID=6b1c /srv/affectkit ext4 defaults,noatime,data=ordered,nofail 0 2\n"


@pytest.fixture(scope="module")
def card() -> collections.abc.Iterator[types.ModuleType]:
    """``install_card``, imported as install.py imports it."""
    before = set(sys.modules)
    sys.path.insert(0, str(INSTALLER))
    sys.dont_write_bytecode, was = True, sys.dont_write_bytecode
    try:
        yield importlib.import_module("install_card")
    finally:
        sys.path.remove(str(INSTALLER))
        sys.dont_write_bytecode = was
        for name in set(sys.modules) - before:
            if name.startswith("install_"):
                del sys.modules[name]


@pytest.fixture
def root(card: types.ModuleType, tmp_path: pathlib.Path) -> object:
    (tmp_path / "root/etc").mkdir(parents=True)
    return card.Root(tmp_path / "root")


@pytest.fixture
def partition(tmp_path: pathlib.Path) -> pathlib.Path:
    """An empty partition of 16 MiB, as a file."""
    path = tmp_path / "partition"
    with path.open("wb") as file:
        file.truncate(16 * MIB)
    return path


needs_mkfs = pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="mkfs.ext4 is not installed")


@needs_mkfs
def test_an_empty_partition_is_formatted_and_known_again(card, root, partition):
    uuid = card.prepare(root, partition, "mmcblk0p3")
    assert card.kind_of(partition) == "ours"
    assert not root.at(card.FORMATTING).exists()
    (partition.parent / "note").write_text("of a person")
    if shutil.which("debugfs"):
        subprocess.run(["debugfs", "-w", "-R", f"write {partition.parent}/note note", partition], check=True, capture_output=True)
    content = partition.read_bytes()
    assert card.prepare(root, partition, "mmcblk0p3") == uuid
    assert partition.read_bytes() == content, "what is there stays"


@needs_mkfs
@pytest.mark.parametrize("kept", [1 * MIB, 64 << 10, 4096, 1536])
def test_formatting_that_was_cut_off_is_done_again(card, root, partition, kept):
    """The first bytes of the file system got onto the card, the rest did not; or all but the superblock did."""
    card.prepare(root, partition, "mmcblk0p3")
    whole = partition.read_bytes()
    for half in (whole[:kept] + bytes(len(whole) - kept), bytes(2048) + whole[2048:]):
        partition.write_bytes(half)
        root.write(card.FORMATTING, b"mmcblk0p3")
        card.prepare(root, partition, "mmcblk0p3")
        assert subprocess.run(["e2fsck", "-fn", partition], capture_output=True, check=False).returncode == 0
        assert not root.at(card.FORMATTING).exists()


@pytest.mark.parametrize("content", ["ext4 of another name", "a byte", "a table"])
def test_what_is_not_ours_is_never_formatted(card, root, partition, content):
    if content.startswith("ext4"):
        if not shutil.which("mkfs.ext4"):
            pytest.skip("mkfs.ext4 is not installed")
        subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "photos", partition], check=True)
    else:
        with partition.open("r+b") as file:
            file.seek(MIB - 1 if content == "a byte" else 510)
            file.write(b"\x01" if content == "a byte" else b"\x55\xaa")
    before = partition.read_bytes()
    with pytest.raises(card.InstallError, match="is left as it is"):
        card.prepare(root, partition, "mmcblk0p3")
    # A note of another partition's formatting is none of this one's.
    root.write(card.FORMATTING, b"sda3")
    with pytest.raises(card.InstallError, match="is left as it is"):
        card.prepare(root, partition, "mmcblk0p3")
    assert partition.read_bytes() == before


@pytest.mark.parametrize(
    ("third", "ours"),
    [((0x83, 40, 8), True), ((0x83, 41, 8), True), (None, False), ((0x07, 40, 8), False), ((0x83, 39, 8), False), ((0x83, 40, 0), False)],
)
def test_only_a_linux_partition_behind_root_is_ours(card, tmp_path, third, ours):
    path = tmp_path / "table"
    path.write_bytes(bytes(512))
    assert not card.is_ours(path.read_bytes(), 3)
    assert not card.is_ours(b"", 3)
    parts = [(0x0C, 4, 16), (0x83, 20, 20), *([third] if third else [])]
    dos_table(path, [(kind, start * MIB, size * MIB) for kind, start, size in parts])
    assert card.is_ours(path.read_bytes(), 3) == ours


# --- read-only ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: pathlib.Path, installed: Device) -> Device:
    """A device whose data partition is in fstab already."""
    device = make_device(tmp_path)
    device.take_python_of(installed)
    with device.at("/etc/fstab").open("a") as file:
        file.write(f"tmpfs /tmp tmpfs defaults 0 0\nUUID=1-2 /media/stick exfat noauto 0 0\n{DATA}")
    device.at("/etc/cloud").mkdir()
    return device


def options_of(device: Device) -> dict[str, set[str]]:
    lines = [line.split() for line in device.at("/etc/fstab").read_text().splitlines() if line and not line.startswith("#")]
    assert len({fields[1] for fields in lines}) == len(lines), "a mount point twice"
    return {fields[1]: {fields[2], *fields[3].split(",")} for fields in lines}


def test_with_a_data_partition_all_else_is_read_only_from_the_next_boot(device):
    assert "read-only" in device.install()
    options = options_of(device)
    assert "ro" in options["/"] and "noatime" in options["/"] and "ro" in options["/boot/firmware"]
    assert {"tmpfs", "nosuid", "nodev"} <= options["/tmp"] & options["/var/tmp"] & options["/var/log"]
    assert "mode=1777" in options["/tmp"] and "mode=0755" in options["/var/log"]
    assert "ro" not in options["/srv/affectkit"] and "nofail" in options["/srv/affectkit"]
    assert "ro" not in options["/proc"] and "noauto" in options["/media/stick"]
    assert device.at("/etc/cloud/cloud-init.disabled").exists()
    for unit in ("affectkit-state.service", "affectkit-mend.service"):
        wanted = device.at(f"/etc/systemd/system/local-fs.target.wants/{unit}")
        assert os.readlink(wanted) == f"../{unit}" and wanted.exists()
    assert os.readlink(device.at("/usr/local/sbin/affectkit-rw")) == "/usr/lib/affectkit/affectkit-rw"
    before = device.at("/etc/fstab").read_bytes()
    device.install()
    assert device.at("/etc/fstab").read_bytes() == before


def test_host_keys_are_made_while_that_can_be_done_and_what_cannot_work_is_off(device):
    units = device.at("/usr/lib/systemd/system")
    for name in ("regenerate_ssh_host_keys.service", "dphys-swapfile.service", "NetworkManager.service"):
        (units / name).write_text("[Unit]\n")
    device.at("/etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    device.at("/etc/rpi").mkdir()
    device.at("/etc/rpi/swap.conf").write_text("[Main]\n")
    device.at("/var/lib/systemd/timesync").mkdir(parents=True)
    device.at("/var/lib/systemd/timesync/clock").touch()
    device.install()
    assert device.at("/srv/affectkit/system/systemd/timesync/clock").exists(), "the clock's last time outlives a power cut"
    calls = device.calls()
    assert "ssh-keygen -A" in calls
    assert os.readlink(device.at("/etc/systemd/system/dphys-swapfile.service")) == "/dev/null"
    assert not device.at("/etc/systemd/system/apt-daily.timer").is_symlink(), "this system has none"
    assert os.readlink(device.at("/etc/resolv.conf")) == "/run/NetworkManager/resolv.conf"
    assert "Mechanism=zram" in device.at("/etc/rpi/swap.conf.d/affectkit.conf").read_text()


@pytest.mark.parametrize("why", ["keep-writable", "no data partition", "no root in fstab"])
def test_where_it_cannot_or_shall_not_be_everything_stays_writable(device, why):
    if why == "keep-writable":
        (device.payload / "keep-writable").touch()
    elif why == "no data partition":
        device.at("/etc/fstab").write_text(device.at("/etc/fstab").read_text().replace(DATA, ""))
    else:
        device.at("/etc/fstab").write_text(DATA)
    before = device.at("/etc/fstab").read_bytes()
    assert "everything stays writable" in device.install()
    assert device.at("/etc/fstab").read_bytes() == before
    assert not device.at("/etc/cloud/cloud-init.disabled").exists()
    assert device.is_installed()


def test_fstab_is_read_only_only_after_all_is_installed(device):
    (device.programs / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    before = device.at("/etc/fstab").read_bytes()
    device.install(status=1)
    assert device.at("/etc/fstab").read_bytes() == before


def test_a_kit_that_was_cut_off_before_it_was_protected_is_protected_by_the_next_call(device):
    device.install()
    text = device.at("/etc/fstab").read_text()
    device.at("/etc/fstab").write_text(text.replace("noatime,ro", "noatime"))
    assert "read-only" in device.install()
    assert "ro" in options_of(device)["/"]


def test_the_kernel_takes_the_fstab(device):
    """findmnt reads it as mount does."""
    device.install()
    if not shutil.which("findmnt"):
        pytest.skip("findmnt is not installed")
    ran = subprocess.run(
        ["findmnt", "--tab-file", device.at("/etc/fstab"), "-n", "-o", "OPTIONS", "/"], capture_output=True, text=True, check=True
    )
    assert "ro" in ran.stdout.strip().split(",")
