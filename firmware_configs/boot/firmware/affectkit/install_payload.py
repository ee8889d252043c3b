"""The payload beside this file: what it says of itself, and whether it is whole and for this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
import typing

from install_files import InstallError, Root, sha256_of

NOT_LISTED = ("payload.json", "kit.toml", "install.log", "first-boot.log")


@dataclasses.dataclass(frozen=True)
class Payload:
    """A folder that `affectkit kit payload` has made."""

    folder: pathlib.Path
    says: dict[str, typing.Any]
    """``payload.json``."""
    sha256: str
    """Of ``payload.json``, and so of all that it lists."""

    @property
    def files(self) -> dict[str, dict[str, typing.Any]]:
        return self.says["files"]

    def has(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str) -> bytes:
        """A listed file, whole and as listed. InstallError if it is not."""
        self.check(name)
        return (self.folder / name).read_bytes()

    def check(self, name: str) -> None:
        """InstallError if the file ``name`` is not what ``payload.json`` says."""
        path, listed = self.folder / name, self.files[name]
        again = "make the card again, and take another card if it happens twice"
        try:
            size = path.stat().st_size
            if size != listed["bytes"]:
                raise InstallError(f"{path}: has {size} bytes instead of {listed['bytes']}; {again}")
            if sha256_of(path) != listed["sha256"]:
                raise InstallError(f"{path}: is damaged (another SHA-256 than payload.json says); {again}")
        except OSError as error:
            raise InstallError(f"{path}: cannot be read ({error.strerror}); {again}") from error


def opened(folder: pathlib.Path) -> Payload:
    """The payload in ``folder``. InstallError if ``payload.json`` is missing, damaged or newer."""
    path = folder / "payload.json"
    again = "make the payload again with `affectkit kit payload`"
    try:
        says = json.loads(path.read_bytes())
        if says["format"] != 1:
            raise InstallError(f"{path}: is of format {says['format']}, this installer knows 1; {again}")
        wanted = {"affectkit": str, "os": str, "board": str, "python": str, "bundle_sha256": str, "debian": list, "files": dict}
        for key, kind in wanted.items():
            if not isinstance(says[key], kind):
                raise InstallError(f"{path}: {key} is {says[key]!r}; {again}")
        for name, listed in says["files"].items():
            if name.startswith("/") or ".." in name.split("/") or "\\" in name or not isinstance(listed["bytes"], int):
                raise InstallError(f"{path}: lists {name!r}, which is no file of a payload; {again}")
    except OSError as error:
        raise InstallError(f"{path}: cannot be read ({error.strerror}); {again}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InstallError(f"{path}: is damaged ({error!r}); {again}") from error
    return Payload(folder, says, sha256_of(path))


def refuse_other_machine(payload: Payload, root: Root) -> None:
    """InstallError if the payload is for another system, Python or processor than this."""
    says = payload.says
    release = root.at("/etc/os-release")
    here = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line) if release.exists() else {}
    codename = here.get("VERSION_CODENAME", "unknown").strip('"')
    if codename != says["os"]:
        raise InstallError(
            f"this system is {codename}, the payload is for {says['os']}; make one with `affectkit kit payload --os {codename}`"
        )
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    if python != says["python"]:
        raise InstallError(f"python3 is {python}, the wheels are for {says['python']}; make the payload for this system's Python")
    machine, wanted = os.uname().machine, says.get("machine", "aarch64")
    if machine != wanted:
        raise InstallError(f"this machine is {machine}, the payload is for {wanted}; write the card with the 64-bit system")


def other_board(payload: Payload, root: Root) -> str | None:
    """What to say if the board is another than the payload's; None if it is the same, or if neither says."""
    path, wanted = root.at("/proc/device-tree/model"), payload.says.get("model")
    if not wanted or not path.exists():
        return None
    model = path.read_bytes().decode("utf-8", "replace").strip("\0 \n")
    if model == wanted or model.startswith(f"{wanted} Rev "):
        return None
    return f"this board is a {model}, the payload was made for a {wanted}: limits and settings are of that board"


def check_all(payload: Payload) -> int:
    """Looks at every file; the bytes read. InstallError at the first that is not what it should be."""
    for name in payload.files:
        payload.check(name)
    return sum(listed["bytes"] for listed in payload.files.values())
