"""Which Debian packages a device has already: those of its image, of a root folder, or as few as can be."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import re
import shutil
import subprocess
import typing

from edge.errors import InputError
from firmware_configs import boards
from firmware_configs.image import boot_partition, partitions
from firmware_configs.unpack import is_packed

STATUS = "var/lib/dpkg/status"
LITE = ("python3", "systemd-sysv", "udev")
"""What any Raspberry Pi OS has, beside what no Debian is without: the installation could not run without these."""


@dataclasses.dataclass(frozen=True)
class Present:
    """What is there already."""

    status: bytes
    """dpkg's list of packages."""
    where: str
    """Of what, for messages."""
    read: collections.abc.Callable[[str], bytes | None]
    """Content of a file by its path without the first "/"; None if it is not there."""

    @property
    def packages(self) -> frozenset[str]:
        """Names of those installed."""
        found = set()
        for entry in self.status.decode("utf-8", "replace").split("\n\n"):
            fields = dict(re.findall(r"(?m)^(Package|Status): (.*)$", entry))
            if fields.get("Status", "").endswith(" ok installed"):
                found.add(fields.get("Package", ""))
        return frozenset(found)


def of_folder(base: pathlib.Path, os: boards.OsName) -> Present:
    """Of a root folder, such as debootstrap makes. InputError if it is none, or of another system."""

    def read(name: str) -> bytes | None:
        path = base / name
        return path.read_bytes() if path.is_file() else None

    return _checked(read, str(base), os)


def of_image(image: pathlib.Path, os: boards.OsName) -> Present:
    """Of an unpacked image of Raspberry Pi OS, without root rights; its second partition is read by debugfs (e2fsprogs).

    Raises:
        InputError: it is packed or no image, of another system, or debugfs is not installed.
    """
    program, partition = debugfs(image), second_partition(image)

    def read(name: str) -> bytes | None:
        # debugfs knows no error status: what is not there gives nothing.
        ran = subprocess.run([program, "-R", f"cat /{name}", partition], capture_output=True, check=False)
        return ran.stdout or None

    return _checked(read, str(image), os)


def debugfs(image: pathlib.Path) -> str:
    """The path of debugfs (e2fsprogs), which reads ext4 without root rights. InputError if it is not installed."""
    if not (found := shutil.which("debugfs") or shutil.which("debugfs", path="/usr/sbin:/sbin")):
        raise InputError(f"{image}: cannot be looked into without debugfs; apt-get install e2fsprogs")
    return found


def second_partition(image: pathlib.Path) -> str:
    """The partition behind the one to boot from, as debugfs is told of it. InputError if the image is packed, or is none."""
    if is_packed(image):
        raise InputError(f"{image}: is packed; unpack it first (xz --decompress --keep), only then can be seen what is in it")
    try:
        with image.open("rb") as file:
            disk = typing.cast(typing.BinaryIO, file)
            boot = boot_partition(disk, str(image))
            root = next((each for each in partitions(disk, str(image)) if each.number > boot.number), None)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{image}: cannot be read: {error.strerror or error}") from error
    if root is None:
        raise InputError(f"{image}: has no partition after the one to boot from; give an .img of Raspberry Pi OS")
    return f"{image}?offset={root.start_byte}"


def _checked(read: collections.abc.Callable[[str], bytes | None], where: str, os: boards.OsName) -> Present:
    status = read(STATUS)
    if not status:
        raise InputError(f"{where}: has no {STATUS}, so no Debian is in it; give Raspberry Pi OS Lite 64-bit")
    release = (read("usr/lib/os-release") or b"").decode("utf-8", "replace")
    codename = match[1] if (match := re.search(r'(?m)^VERSION_CODENAME="?(\w+)', release)) else "unknown"
    if codename != os:
        raise InputError(f"{where}: is {codename}, the payload is for {os}; say --os {codename}, or give another")
    if not re.search(rb"(?m)^Package: dpkg\n(?:.+\n)*?Architecture: arm64$", status):
        raise InputError(f"{where}: is no 64-bit system (arm64); give Raspberry Pi OS Lite 64-bit")
    return Present(status, where, read)
