"""What a device has already: read out of its image without root rights, or of a root folder."""

from __future__ import annotations

import lzma
import os
import pathlib
import shutil
import subprocess

import pytest

from edge.errors import EdgeError, InputError
from firmware_configs.payload import present, roots
from tests.firmware_configs.disk import MIB, START, dos_table, make_disk

STATUS = """Package: dpkg
Status: install ok installed
Essential: yes
Architecture: arm64
Version: 1.22.21

Package: python3-picamera2
Status: install ok installed
Architecture: all
Version: 0.3.31-1

Package: vlc
Status: deinstall ok config-files
Architecture: arm64
Version: 3.0
"""
TOOLS = [name for name in ("mke2fs", "debugfs") if not (shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin"))]
needs_ext4 = pytest.mark.skipif(bool(TOOLS), reason=f"not installed here: {', '.join(TOOLS)} (e2fsprogs)")


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
    """A root folder of Trixie's."""
    folder = tmp_path / "root"
    for name, text in {
        "var/lib/dpkg/status": STATUS,
        "usr/lib/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\n',
        "usr/share/keyrings/raspberrypi-archive-keyring.pgp": "key",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def image(tmp_path, root) -> pathlib.Path:
    """A disk as Raspberry Pi OS is laid out, with ``root`` in an ext4 partition behind the one to boot from."""
    path, at, size = make_disk(tmp_path / "raspios.img", boot_mib=8, wide=False), START + 8 * MIB, 8 * MIB
    file_system = tmp_path / "ext4"
    mke2fs = shutil.which("mke2fs") or "/usr/sbin/mke2fs"
    subprocess.run([mke2fs, "-q", "-t", "ext4", "-d", root, file_system, f"{size // 1024}k"], check=True, capture_output=True)
    with path.open("r+b") as file:
        file.truncate(at + size)
        file.seek(at)
        file.write(file_system.read_bytes())
    dos_table(path, [(0x0C, START, 8 * MIB), (0x83, at, size)])
    return path


@needs_ext4
def test_an_image_tells_its_packages_and_its_keys(image):
    before = image.read_bytes()
    found = present.of_image(image, "trixie")
    # What was removed and left its settings behind is not there.
    assert found.packages == {"dpkg", "python3-picamera2"}
    assert found.status.decode() == STATUS
    assert found.read("usr/share/keyrings/raspberrypi-archive-keyring.pgp") == b"key"
    assert found.read("usr/share/keyrings/none") is None
    assert image.read_bytes() == before


@needs_ext4
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files their owners")
def test_the_system_of_an_image_can_be_taken_out_to_try_a_payload_in_it(image, root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with roots.of_image(image) as out:
        assert (out / present.STATUS).read_text() == STATUS
        assert {path.relative_to(out) for path in out.rglob("*")} == {path.relative_to(root) for path in root.rglob("*")} | {
            pathlib.Path("lost+found")
        }
        assert out.stat().st_mode & 0o777 == 0o755
    assert not out.exists()
    image.write_bytes(make_disk(tmp_path / "b.img", boot_mib=8, wide=False).read_bytes())
    with pytest.raises(EdgeError, match="could not be unpacked"), roots.of_image(image):
        pass


def test_a_root_folder_tells_the_same(root):
    found = present.of_folder(root, "trixie")
    assert found.packages == {"dpkg", "python3-picamera2"}
    assert found.read("usr/share/keyrings/raspberrypi-archive-keyring.pgp") == b"key"
    assert found.read("usr/share") is None


def test_another_system_is_refused(root, tmp_path):
    with pytest.raises(InputError, match="is trixie, the payload is for bookworm; say --os trixie"):
        present.of_folder(root, "bookworm")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"has no var/lib/dpkg/status"):
        present.of_folder(tmp_path / "none", "trixie")


def test_a_32_bit_system_is_refused(root):
    (root / present.STATUS).write_text(STATUS.replace("Architecture: arm64", "Architecture: armhf", 1))
    with pytest.raises(InputError, match=r"is no 64-bit system \(arm64\)"):
        present.of_folder(root, "trixie")


def test_an_image_that_cannot_be_looked_into_is_one_line(tmp_path):
    (tmp_path / "a.img.xz").write_bytes(lzma.compress(bytes(1000)))
    with pytest.raises(InputError, match="is packed; unpack it first"):
        present.of_image(tmp_path / "a.img.xz", "trixie")
    (tmp_path / "b.img").write_bytes(bytes(1000))
    with pytest.raises(InputError, match=r"is not the image of a disk|debugfs"):
        present.of_image(tmp_path / "b.img", "trixie")


@needs_ext4
def test_an_image_whose_second_partition_is_no_ext4_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no var/lib/dpkg/status"):
        present.of_image(make_disk(tmp_path / "a.img", boot_mib=8, wide=False), "trixie")
