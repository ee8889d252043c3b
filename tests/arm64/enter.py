"""Process 1 of the rig's namespaces: makes the mounts that an aarch64 root directory needs, and runs one command in it.

Started by ``chroot.py`` behind ``unshare``, with what to do as JSON in its only argument. It stays the namespace's first process while
the command runs as somebody without rights; when it ends, however it ends, the kernel ends all others and takes the mounts away.
"""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import typing

NODES = ("null", "zero", "full", "random", "urandom", "tty")


def main() -> int:
    job: dict[str, typing.Any] = json.loads(sys.argv[1])
    root = pathlib.Path(job["root"])
    _mount("--bind", str(root), str(root))
    for place, (source, writable) in job["binds"].items():
        _bind(source, root / place, writable=writable)
    _remount(root)
    for place in ("tmp", "run", "root", "var/tmp"):
        _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(root / place))
    _mount("-t", "proc", "proc", str(root / "proc"))
    _mount("-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys"))
    _devices(root / "dev")
    _loopback()
    command = ["chroot", "--userspec=1000:1000", str(root), "/usr/bin/env", "-C", job["cwd"], "-i"]
    command += [f"{name}={value}" for name, value in job["environment"].items()]
    return subprocess.run([*command, *job["command"]], check=False).returncode


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _remount(place: pathlib.Path) -> None:
    _mount("-o", "remount,bind,ro", str(place))


def _bind(source: str, place: pathlib.Path, *, writable: bool) -> None:
    _mount("--bind", source, str(place))
    if not writable:
        _remount(place)


def _devices(dev: pathlib.Path) -> None:
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(dev))
    for name in NODES:
        (dev / name).touch()
        _mount("--bind", f"/dev/{name}", str(dev / name))
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", str(dev / "pts"))
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(dev / "shm"))
    (dev / "ptmx").symlink_to("pts/ptmx")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")
    (dev / "fd").symlink_to("/proc/self/fd")


def _loopback() -> None:
    """A machine without a network still talks to itself."""
    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(handle, get_flags, asked))[1]
        fcntl.ioctl(handle, set_flags, struct.pack("16sh14x", b"lo", flags | up))


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
