"""Which disks are written to, and that what is on them afterwards is what was meant."""

from __future__ import annotations

import io
import pathlib
import subprocess
import sys
import textwrap

import pytest

from edge.errors import InputError
from firmware_configs.device import Disks, check_device, write_device

GB = 10**9
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def disks(tmp_path) -> Disks:
    """A notebook with a built-in disk sda, a card reader on USB (sdb) and one of its own (mmcblk0)."""
    block = tmp_path / "block"
    for name, removable, size, kind, parts in [
        ("sda", "0", 512 * GB, "", ["sda1", "sda2"]),
        ("sdb", "1", 32 * GB, "", ["sdb1", "sdb2"]),
        ("sdc", "1", 0, "", []),
        ("mmcblk0", "0", 32 * GB, "SD", ["mmcblk0p1"]),
        ("mmcblk1", "0", 64 * GB, "MMC", []),
    ]:
        folder = block / name
        (folder / "device").mkdir(parents=True)
        (folder / "holders").mkdir()
        (folder / "removable").write_text(removable + "\n")
        (folder / "size").write_text(f"{size // 512}\n")
        (folder / "ro").write_text("0\n")
        (folder / "device/model").write_text("STORAGE DEVICE \n")
        if kind:
            (folder / "device/type").write_text(kind + "\n")
        for part in parts:
            (folder / part / "holders").mkdir(parents=True)
            (folder / part / "partition").write_text("1\n")
    (tmp_path / "mounts").write_text("/dev/sda2 / ext4 rw 0 0\nproc /proc proc rw 0 0\n")
    (tmp_path / "swaps").write_text("Filename\t\tType\t\tSize\n/dev/sda1 partition 100\n")
    return Disks(tmp_path / "mounts", tmp_path / "swaps", block)


@pytest.mark.parametrize("name", ["sdb", "mmcblk0"])
def test_a_card_in_a_reader_is_taken(disks, name):
    disk = check_device(pathlib.Path(f"/dev/{name}"), 3 * GB, disks)
    assert disk.size_bytes == 32 * GB // 512 * 512
    assert str(disk) == f"/dev/{name} (STORAGE DEVICE, 32.0 GB)"


def mounted(disks):
    disks.mounts.write_text("/dev/sdb2 /media/me/my\\040card ext4 rw 0 0\n")


def held(disks):
    (disks.block / "sdb/sdb2/holders/dm-0").touch()


def protected(disks):
    (disks.block / "sdb/ro").write_text("1\n")


def swapping(disks):
    disks.swaps.write_text("Filename Type\n/dev/sdb1 partition\n")


def nothing(disks):
    pass


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("sda", nothing, "sda2 is mounted at /"),
        ("sdb", mounted, "sdb2 is mounted at /media/me/my card; unmount it first: umount /dev/sdb2"),
        ("sdb", held, "in use by another device"),
        ("sdb", protected, "write-protected"),
        ("sdb", swapping, "used for swapping"),
        ("sdb1", nothing, "is a partition; give the whole disk, /dev/sdb"),
        ("sdc", nothing, "no card in it"),
        ("mmcblk1", nothing, "is no removable disk"),
        ("sdz", nothing, "is no disk"),
    ],
)
def test_any_other_is_refused_in_one_line(disks, name, change, says):
    change(disks)
    with pytest.raises(InputError) as caught:
        check_device(pathlib.Path(f"/dev/{name}"), 3 * GB, disks)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_built_in_disk_is_refused_though_nothing_of_it_is_used(disks):
    disks.mounts.write_text("")
    disks.swaps.write_text("")
    with pytest.raises(InputError, match="no removable disk"):
        check_device(pathlib.Path("/dev/sda"), 3 * GB, disks)


def test_a_card_that_is_too_small_says_by_how_much(disks):
    with pytest.raises(InputError, match="512 too few"):
        check_device(pathlib.Path("/dev/sdb"), 32 * GB + 512, disks)


@pytest.mark.parametrize("what", [pathlib.Path("/dev/null"), pathlib.Path("/nowhere"), pathlib.Path("/tmp")])
def test_what_is_no_disk_on_this_machine_is_refused(what):
    with pytest.raises(InputError, match="is no disk"):
        check_device(what, 1)


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_than_on_linux_no_card_is_written(monkeypatch, tmp_path, platform):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(InputError, match="on Linux only; make images with -o and write them with Raspberry Pi Imager"):
        check_device(tmp_path, 1)


def test_all_is_imported_where_there_is_no_unix():
    """What only Unix has is missing, as on Windows; the commands are there and say their help."""
    script = textwrap.dedent(
        """
        import sys
        sys.modules |= dict.fromkeys(["fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog"])
        import edge.cli
        edge.cli.commands = lambda: {"kit": "firmware_configs.cli:add_commands"}
        import firmware_configs.batch, firmware_configs.card, firmware_configs.device, firmware_configs.layout
        for command in ("card", "verify-image"):
            try:
                edge.cli.main(["kit", command, "--help"])
            except SystemExit as end:
                assert not end.code
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_imports_nothing_heavy():
    script = """
import argparse, sys
import firmware_configs.cli
firmware_configs.cli.add_commands(argparse.ArgumentParser().add_subparsers())
print({"tuf", "securesystemslib", "cryptography", "segno", "passlib"} & {name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def image(tmp_path, size: int = 5_000_123) -> pathlib.Path:
    path = tmp_path / "a.img"
    path.write_bytes((bytes(range(251)) * (size // 251 + 1))[:size])
    return path


def test_a_card_has_every_byte_and_what_is_behind_stays(tmp_path):
    source, card = image(tmp_path), tmp_path / "card"
    card.write_bytes(b"\xff" * 6_000_000)
    shares: list[float] = []
    write_device(source, card, shares.append)
    assert card.read_bytes() == source.read_bytes() + b"\xff" * (6_000_000 - 5_000_123)
    assert shares == sorted(shares)
    assert shares[-1] == 1


class Counterfeit(io.BytesIO):
    """A card that says it has 32 GB and has 4 MB: what goes beyond lands at the beginning again."""

    fileno = None  # type: ignore[assignment]

    def __init__(self, true_size: int):
        super().__init__(bytes(true_size))
        self.true_size, self.at = true_size, 0

    def seek(self, place: int, whence: int = 0) -> int:
        self.at = place
        return place

    def write(self, data) -> int:
        for begin in range(0, len(data), 4096):
            super().seek((self.at + begin) % self.true_size)
            super().write(data[begin : begin + 4096])
        self.at += len(data)
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        super().seek(self.at % self.true_size)
        data = super().read(size)
        self.at += len(data)
        return data


def test_a_counterfeit_card_is_found_out(tmp_path):
    with pytest.raises(InputError, match="read back differs"):
        write_device(image(tmp_path), pathlib.Path("/dev/sdx"), opened=lambda path: Counterfeit(4 << 20))


def test_a_card_that_is_pulled_out_does_not_look_like_one_that_works(tmp_path):
    held = io.BytesIO(b"\xff" * 6_000_000)

    class Pulled(io.BytesIO):
        def write(self, data):
            if held.tell() > 3_000_000:
                raise OSError(5, "Input/output error")
            return held.write(data)

        def seek(self, place, whence=0):
            return held.seek(place)

    with pytest.raises(InputError, match="Input/output error; take another card or reader"):
        write_device(image(tmp_path), pathlib.Path("/dev/sdx"), opened=lambda path: Pulled())
    assert held.getvalue()[:512] == bytes(512)


def test_a_device_that_takes_nothing_is_one_line(tmp_path):
    with pytest.raises(InputError, match="No space left on device"):
        write_device(image(tmp_path), pathlib.Path("/dev/full"))


def test_a_device_that_cannot_be_opened_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        write_device(image(tmp_path), tmp_path / "none")
