"""Files of a device, written so that a power cut leaves the old or the new ones; commands; and the error that ends an installation."""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import os
import pathlib
import shutil
import subprocess

NEW = ".affectkit-new"
"""Behind a dot and the name: a file that has not got its own name yet. No folder of drop-ins reads such names."""


class InstallError(Exception):
    """The installation cannot go on: one line that says what, where, and what to do."""


@dataclasses.dataclass(frozen=True)
class Root:
    """The file system of the device; elsewhere than "/" in a test."""

    path: pathlib.Path

    @property
    def is_device(self) -> bool:
        return str(self.path) == "/"

    def at(self, name: str) -> pathlib.Path:
        """Where the absolute ``name`` of the device lies."""
        return self.path / name.lstrip("/")

    def write(self, name: str, content: bytes, mode: int = 0o644) -> bool:
        """Makes the file ``name`` have ``content``; says whether it was another before."""
        path = self.at(name)
        if path.is_file() and not path.is_symlink() and path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
            return False
        made(path.parent)
        new = path.with_name(f".{path.name}{NEW}")
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(new, path)
        sync_folder(path.parent)
        return True

    def link(self, name: str, target: str) -> None:
        """Makes ``name`` a link to ``target``, by one rename."""
        path = self.at(name)
        if path.is_symlink() and os.readlink(path) == target:
            return
        made(path.parent)
        new = path.with_name(f".{path.name}{NEW}")
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        os.replace(new, path)
        sync_folder(path.parent)

    def remove(self, name: str) -> None:
        """Takes the file or link ``name`` away; nothing if there is none."""
        path = self.at(name)
        if path.is_symlink() or path.exists():
            path.unlink()
            sync_folder(path.parent)


def made(folder: pathlib.Path, mode: int = 0o755) -> None:
    """Makes ``folder`` and those above it, each on the card before what will lie in it."""
    if folder.is_dir():
        return
    made(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
    sync_folder(folder.parent)


def sync_folder(folder: pathlib.Path) -> None:
    """Waits until the names in ``folder`` are on the card."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ran(
    *command: str | pathlib.Path,
    environment: collections.abc.Mapping[str, str] | None = None,
    may_fail: bool = False,
) -> str:
    """Runs ``command`` to its end; what it said. InstallError, with its last lines, unless it ``may_fail``."""
    words = [str(word) for word in command]
    if shutil.which(words[0]) is None:
        if may_fail:
            return ""
        raise InstallError(f"{words[0]}: this system has no such command; write the card anew with Raspberry Pi OS Lite (64-bit)")
    done = subprocess.run(
        words,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode and not may_fail:
        last = " | ".join(line.strip() for line in said.splitlines()[-4:])
        raise InstallError(f"{' '.join(words[:3])}: ended with status {done.returncode}: {last or 'it said nothing'}")
    return said
