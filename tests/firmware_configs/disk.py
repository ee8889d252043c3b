"""Disks for tests: laid out as an image of Raspberry Pi OS, by a small formatter of their own or by mkfs.fat where it is installed."""

from __future__ import annotations

import pathlib
import shutil
import struct
import subprocess
import uuid
import zlib

from firmware_configs.fat import FatVolume

MIB = 1 << 20
START = 4 * MIB
"""Where Raspberry Pi OS begins its boot partition."""
CONFIG = b"# For more options see http://rptl.io/configtxt\n\ndtparam=audio=on\ncamera_auto_detect=1\n\n[cm5]\ndtoverlay=dwc2\n"
CMDLINE = b"console=serial0,115200 console=tty1 root=PARTUUID=57c84f67-02 rootfstype=ext4 fsck.repair=yes rootwait quiet\n"
STOCK = {
    "config.txt": CONFIG,
    "cmdline.txt": CMDLINE,
    "issue.txt": b"Raspberry Pi reference\n",
    "overlays/disable-wifi.dtbo": b"\xd0\x0d" * 300,
}
TRIXIE = {"user-data": b"#cloud-config\n", "meta-data": b"instance-id: rpios-image\n", "network-config": b"# none\n"}


def format_fat(path: pathlib.Path, start: int, size: int, *, wide: bool, sectors_per_cluster: int = 1, root_entries: int = 512) -> None:
    """Formats ``size`` bytes at ``start``, as the specification's example does; FAT32 if ``wide``."""
    sectors, reserved, copies = size // 512, 32 if wide else 4, 2
    width = 4 if wide else 2
    root = 0 if wide else root_entries * 32 // 512
    table = -(-(sectors // sectors_per_cluster + 2) * width // 512)
    head = struct.pack(
        "<3s8sHBHBHHBHHHII", b"\xeb\x58\x90", b"TESTFAT ", 512, sectors_per_cluster, reserved, copies, 0 if wide else root_entries,
        sectors if not wide and sectors < 65536 else 0, 0xF8, 0 if wide else table, 32, 64, start // 512,
        sectors if wide or sectors >= 65536 else 0,
    )  # fmt: skip
    tail = struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x12345678, b"NO NAME    ", b"FAT32   " if wide else b"FAT16   ")
    wide_fields = struct.pack("<IHHIHH12x", table, 0, 0, 2, 1, 6) if wide else b""
    boot = (head + wide_fields + tail).ljust(510, b"\0") + b"\x55\xaa"
    entries = struct.pack("<III", 0x0FFFFFF8, 0x0FFFFFFF, 0x0FFFFFFF) if wide else struct.pack("<HH", 0xFFF8, 0xFFFF)
    with path.open("r+b") as file:
        for place in (0, 6) if wide else (0,):
            file.seek(start + place * 512)
            file.write(boot)
        if wide:
            file.seek(start + 512)
            file.write(b"RRaA".ljust(484, b"\0") + b"rrAa" + struct.pack("<II12xI", 0xFFFFFFFF, 0xFFFFFFFF, 0xAA550000))
        for copy in range(copies):
            file.seek(start + (reserved + copy * table) * 512)
            file.write(entries)
        assert file.seek(0, 2) >= start + (reserved + copies * table + root) * 512


def dos_table(path: pathlib.Path, parts: list[tuple[int, int, int]]) -> None:
    """A DOS partition table with (type, start, size in bytes) for each."""
    entries = b"".join(
        struct.pack("<B3sB3sII", 0, b"\xff" * 3, kind, b"\xff" * 3, start // 512, size // 512) for kind, start, size in parts
    )
    with path.open("r+b") as file:
        file.seek(440)
        file.write(struct.pack("<IH", 0x57C84F67, 0) + entries.ljust(64, b"\0") + b"\x55\xaa")


def gpt_table(path: pathlib.Path, parts: list[tuple[int, int]]) -> None:
    """A GPT with (start, size in bytes) for each, as "basic data" (UEFI 2.10, section 5.3)."""
    kind = uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7").bytes_le
    table = b""
    for start, size in parts:
        table += struct.pack("<16s16sQQQ72x", kind, uuid.UUID(int=start).bytes_le, start // 512, (start + size) // 512 - 1, 0)
    table = table.ljust(128 * 128, b"\0")
    size = path.stat().st_size // 512
    fields = (b"EFI PART", 0x10000, 92, 0, 0, 1, size - 1, 34, size - 34, uuid.UUID(int=7).bytes_le, 2, 128, 128, zlib.crc32(table))
    header = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", *fields))
    header[16:20] = struct.pack("<I", zlib.crc32(header))
    dos_table(path, [(0xEE, 512, (size - 1) * 512)])
    with path.open("r+b") as file:
        file.seek(512)
        file.write(bytes(header))
        file.seek(1024)
        file.write(table)


def make_disk(
    path: pathlib.Path, *, boot_mib: int = 40, root_mib: int = 2, wide: bool = True, table: str = "dos", maker: str = "python",
    trixie: bool = True, sectors_per_cluster: int = 1,
) -> pathlib.Path:  # fmt: skip
    """An image with a boot partition of ``boot_mib`` that holds ``STOCK``, and a second partition that is random in parts."""
    size, second = boot_mib * MIB, START + boot_mib * MIB
    with path.open("xb") as file:
        file.truncate(second + (root_mib + 1) * MIB)
        file.seek(second)
        file.write(b"ext4 would be here" * 3000)
    if table == "gpt":
        gpt_table(path, [(START, size), (second, root_mib * MIB)])
    else:
        dos_table(path, [(0x0C if wide else 0x0E, START, size), (0x83, second, root_mib * MIB)])
    if maker == "mkfs.fat":
        command = ["mkfs.fat", "-F", "32" if wide else "16", "-n", "bootfs", "-s", str(sectors_per_cluster), "--offset", str(START // 512)]
        subprocess.run([*command, str(path), str(size // 1024)], check=True, capture_output=True)
    else:
        format_fat(path, START, size, wide=wide, sectors_per_cluster=sectors_per_cluster)
    with path.open("r+b") as file:
        volume = FatVolume(file, START, size, "test")
        for name, content in (STOCK | (TRIXIE if trixie else {})).items():
            volume.write(name, content)
    return path


def checked(path: pathlib.Path, start: int = START) -> str:
    """What fsck.fat finds in the boot partition: nothing, or a text; "absent" if it is not installed."""
    if not shutil.which("fsck.fat"):
        return "absent"
    part = path.with_name(path.name + ".part")
    with path.open("rb") as file, part.open("wb") as out:
        file.seek(start)
        size = struct.unpack_from("<H", file.read(512), 19)[0]
        file.seek(start)
        size = size or struct.unpack_from("<I", file.read(512), 32)[0]
        file.seek(start)
        for _ in range(size // 2048):
            block = file.read(MIB)
            if block != bytes(MIB):
                out.write(block)
            else:
                out.seek(MIB, 1)
        out.truncate(size * 512)
    found = subprocess.run(["fsck.fat", "-n", "-v", str(part)], capture_output=True, text=True)
    part.unlink()
    return "" if found.returncode == 0 and "Free cluster summary wrong" not in found.stdout else found.stdout


def by_mtools(path: pathlib.Path, name: str, start: int = START) -> bytes:
    """A file of the boot partition as mtools reads it."""
    return subprocess.run(["mtype", "-i", f"{path}@@{start}", f"::{name}"], capture_output=True, check=True).stdout
