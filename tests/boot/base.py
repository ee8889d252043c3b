"""The image that cards are made of: Raspberry Pi OS Lite's layout on Debian arm64, made once and kept.

Raspberry Pi OS itself cannot be had everywhere and boots on no emulated board that has USB, so its card is built again: a DOS label,
512 MiB of FAT at 4 MiB with config.txt, cmdline.txt and cloud-init's three files, and an ext4 root with the packages that matter
here (after pi-gen's ``export-image/prerun.sh``, ``stage1`` and ``stage2``). What the firmware would load, the kernel and the initrd,
lies beside the image. Nobody needs root's rights for the image; the root directory is made by debootstrap, which does.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import os
import pathlib
import platform
import shutil
import struct
import subprocess

from common import GUEST, CannotError, cache_folder, once, run
from initrd import make_initrd
from kit import SESSION, write_session

RELEASE = "trixie"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = (
    *("linux-image-arm64", "systemd-sysv", "udev", "dbus", "libpam-systemd", "polkitd", "kmod", "sudo", "systemd-timesyncd", "usbutils"),
    *("cloud-init", "netplan.io", "network-manager", "openssh-server", "rfkill"),
    *("python3", "python3-venv", "e2fsprogs", "fdisk", "dosfstools", "parted", "cloud-guest-utils"),
)
"""Of what Raspberry Pi OS Lite has, all that a card's first boot, its services or its updates may meet."""
COMMANDS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-img": "qemu-utils",
    "qemu-aarch64": "qemu-user-binfmt",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "cpio": "cpio",
    "modprobe": "kmod",
    "xz": "xz-utils",
}
"""What is run -> the package that has it."""
DISK_ID = 0x52494721
MIB = 1 << 20
BOOT_START, BOOT_BYTES = 4 * MIB, 512 * MIB
ROOT_START = BOOT_START + BOOT_BYTES
CMDLINE = "console=serial0,115200 console=tty1 root=PARTUUID={id:08x}-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n"
CONFIG = """\
# For more options and information see
# http://rptl.io/configtxt

# Uncomment some or all of these to enable the optional hardware interfaces
#dtparam=i2c_arm=on
#dtparam=i2s=on
#dtparam=spi=on

# Enable audio (loads snd_bcm2835)
dtparam=audio=on

# Automatically load overlays for detected cameras
camera_auto_detect=1

# Automatically load initramfs files, if found
auto_initramfs=1

# Run in 64-bit mode
arm_64bit=1

[cm4]
otg_mode=1

[all]
"""
_TREE = {
    "etc/fstab": "proc /proc proc defaults 0 0\nPARTUUID={id:08x}-01 /boot/firmware vfat defaults 0 2\n"
    "PARTUUID={id:08x}-02 / ext4 defaults,noatime 0 1\n",
    "etc/hostname": "raspberrypi\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n\n127.0.1.1\traspberrypi\n",
    # The first boot of a system that has none yet.
    "etc/machine-id": "uninitialized\n",
    "etc/resolv.conf": "",
    "etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg": "datasource_list: [NoCloud, None]\ndatasource: {{NoCloud: {{seedfrom: 'file:///boot/firmware'}}}}\n"
    "ssh_deletekeys: false\nssh_genkeytypes: []\n",
    "usr/lib/netplan/00-network-manager-all.yaml": "network: {{version: 2, renderer: NetworkManager}}\n",
}
_GUEST = {
    "agent": "usr/local/lib/rig/agent",
    "rig.service": "etc/systemd/system/rig.service",
    "99-rig.rules": "etc/udev/rules.d/99-rig.rules",
    "zz-rig.conf": "etc/systemd/journald.conf.d/zz-rig.conf",
    "zz-slow.conf": "etc/systemd/system.conf.d/zz-rig.conf",
    "zz-affectkit.conf": "etc/systemd/system/affectkit.service.d/zz-rig.conf",
}
_INSIDE = f"""
mount -t proc proc /proc
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# An initrd is made on this computer: under emulation mkinitramfs takes longer than all the rest.
dpkg-divert --quiet --local --rename --add /usr/sbin/update-initramfs
ln -sf /bin/true /usr/sbin/update-initramfs
apt-get update -q
apt-get install -yq --no-install-recommends {" ".join(PACKAGES)}
"""
_FINISH = """
for group in gpio spi i2c; do getent group $group >/dev/null || groupadd --system $group; done
systemctl disable ssh.service ssh.socket
mkdir -p /boot/firmware
cd /tmp && apt-get -o APT::Sandbox::User=root download busybox-static
dpkg-deb -x busybox-static_*.deb /tmp/busybox
apt-get clean
rm -rf /tmp/*.deb /var/lib/apt/lists/* /etc/ssh/ssh_host_* /usr/sbin/policy-rc.d /etc/dpkg/dpkg.cfg.d/rig
"""


@dataclasses.dataclass(frozen=True)
class Base:
    """What a card is made of, and what its board's firmware would load."""

    image: pathlib.Path
    kernel: pathlib.Path
    initrd: pathlib.Path


def make_base(mirror: str = MIRROR) -> Base:
    """The image and what boots it, from the cache or made. Raises CannotError."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotError(f"this rig runs on x86-64 Linux, this is {platform.system()} on {platform.machine()}: use such a machine")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin"])
    missing = sorted({package for command, package in COMMANDS.items() if shutil.which(command) is None})
    if missing:
        raise CannotError(f"missing: sudo apt-get install --no-install-recommends {' '.join(missing)} (QEMU 10 or newer)")
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotError(f"{folder}: cannot be made: {error.strerror}; set XDG_CACHE_HOME to a folder of yours") from error
    root = folder / "root"
    once(root, "debian", lambda: _debian(root, mirror))
    once(folder / "kernel", _digest("init"), lambda: _kernel(root, folder / "kernel"))
    image = folder / "base.img"
    once(image, _digest(*_GUEST), lambda: _image(root, image))
    kernel = folder / "kernel"
    return Base(image, kernel / "vmlinuz", kernel / "initrd.img")


def _digest(*names: str) -> str:
    """What the files ``names`` of the guest, and this file, are now."""
    digest = hashlib.sha256()
    for path in (pathlib.Path(__file__), *(GUEST / name for name in names)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _debian(root: pathlib.Path, mirror: str) -> None:
    if os.geteuid() != 0:
        raise CannotError(f"making a root directory of Debian {RELEASE} needs root, once: run it with sudo")
    print(f"making a root directory of Debian {RELEASE} for arm64 (once, 15 minutes)", flush=True)
    if not pathlib.Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        raise CannotError("programs for arm64 do not run here: mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; update-binfmts --enable")
    plain = cache_folder().with_name("arm64") / f"{RELEASE}-base"  # what test-arm64 begins with, too
    if plain.with_name(f"{RELEASE}.log").exists() and (plain / "etc" / "debian_version").exists():
        run(["cp", "-a", "--reflink=auto", str(plain), str(root)], "is the disk full?")
    else:
        run(["debootstrap", "--arch=arm64", "--variant=minbase", RELEASE, str(root), mirror], "is there a network?")
    policy = root / "usr" / "sbin" / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # no service starts in here
    policy.chmod(0o755)
    (root / "etc" / "dpkg" / "dpkg.cfg.d" / "rig").write_text("force-unsafe-io\n")
    shutil.copyfile("/etc/resolv.conf", root / "etc" / "resolv.conf")
    # In a mount namespace of its own: nothing stays mounted when this is killed.
    for script in (_INSIDE, _FINISH):
        run(["unshare", "--mount", "chroot", str(root), "sh", "-ec", script], "is there a network?")
    shutil.copyfile(next((root / "tmp" / "busybox").rglob("bin/busybox")), cache_folder() / "busybox")
    shutil.rmtree(root / "tmp" / "busybox")


def _kernel(root: pathlib.Path, place: pathlib.Path) -> None:
    place.mkdir()
    shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), place / "vmlinuz")
    make_initrd(root, cache_folder() / "busybox", place / "initrd.img")


def _image(root: pathlib.Path, image: pathlib.Path) -> None:
    print("making the base image (1 minute)", flush=True)
    for name, text in _TREE.items():
        _put(root / name, text.format(id=DISK_ID).encode())
    for name, inside in _GUEST.items():
        _put(root / inside, (GUEST / name).read_bytes())
    write_session(root / SESSION)
    (root / SESSION).chmod(0o644)
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    for name in ("var/log", "var/cache/apt/archives", "tmp"):
        for path in (root / name).rglob("*"):
            if path.is_file():
                path.unlink()
    used = int(subprocess.run(["du", "-sx", "-B1", str(root)], capture_output=True, text=True, check=True).stdout.split()[0])
    # pi-gen leaves a fifth and 200 MB free.
    size = -(-int(used * 1.2 + 200 * MIB) // (4 * MIB)) * 4 * MIB
    partial = image.with_suffix(".partial")
    with partial.open("wb") as file:
        file.truncate(ROOT_START + size)
        file.write(_label(size))
    make = ["mke2fs", "-q", "-t", "ext4", "-L", "rootfs", "-O", "^huge_file,^64bit", "-d", str(root), "-E", f"offset={ROOT_START}"]
    run([*make, str(partial), f"{size >> 10}k"], "is the disk full?")
    _fat(partial)
    partial.rename(image)


def _put(path: pathlib.Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)


def _label(root_bytes: int) -> bytes:
    """A DOS label of two partitions, as the first sector of a disk."""
    entries = b""
    for kind, start, size in ((0x0C, BOOT_START, BOOT_BYTES), (0x83, ROOT_START, root_bytes)):
        entries += struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start >> 9, size >> 9)
    return bytes(440) + struct.pack("<IH", DISK_ID, 0) + entries.ljust(64, b"\0") + b"\x55\xaa"


def _fat(image: pathlib.Path) -> None:
    """The boot partition, as the image is downloaded: cloud-init's files are there, and say nothing."""
    options = ["-F", "32", "-s", "4", "-n", "bootfs", f"--offset={BOOT_START >> 9}", str(image), str(BOOT_BYTES >> 10)]
    run(["mkfs.vfat", *options], "apt-get install --reinstall dosfstools")
    files = {
        "config.txt": CONFIG,
        "cmdline.txt": CMDLINE.format(id=DISK_ID),
        "user-data": "#cloud-config\n",
        "meta-data": "dsmode: local\ninstance_id: rpios-image\n",
        "network-config": "# This file contains a netplan-compatible configuration\n",
    }
    for name, text in files.items():
        command: collections.abc.Sequence[str] = ["mcopy", "-i", f"{image}@@{BOOT_START}", "-", f"::{name}"]
        if subprocess.run(command, input=text.encode(), capture_output=True, check=False).returncode:
            raise CannotError(f"mcopy cannot write {name} into {image}: is the disk full?")
