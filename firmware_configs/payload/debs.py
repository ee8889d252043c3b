"""Debian packages for a device that never meets a network: fetched by apt-get itself, for the device, with a state of its own.

apt-get chooses what is missing on the device, and checks the archives' signatures and every package's hash. On the device the folder
is a flat archive, which apt takes without a signature: by then ``payload.json`` vouches for every file.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess

from edge.errors import InputError
from firmware_configs.payload.archives import Archive
from firmware_configs.payload.cache import is_cached
from firmware_configs.payload.present import LITE
from firmware_configs.unpack import told_if_full

MICROPHONE = "python3-pyaudio"
CAMERA = "python3-picamera2"
ESSENTIAL = ("?essential", "apt")
_INSTALLS = re.compile(r"Inst ([a-z0-9][a-z0-9.+-]*)(?: \[[^\]]*\])? \((\S+) ")


@dataclasses.dataclass(frozen=True)
class Package:
    """One package of an archive."""

    name: str
    version: str
    architecture: str
    fields: str
    """All that the index says of it, without ``Filename``."""

    @property
    def file(self) -> str:
        """Of its name on the card: without the epoch, whose colon FAT cannot hold (deb-version(7))."""
        return f"{self.name}_{self.version.rpartition(':')[2]}_{self.architecture}.deb"

    @property
    def sha256(self) -> str:
        return self._field("SHA256")

    @property
    def unpacked_bytes(self) -> int:
        return int(self._field("Installed-Size") or 0) * 1024

    def _field(self, name: str) -> str:
        match = re.search(rf"(?m)^{name}: (.*)$", self.fields)
        return match[1].strip() if match else ""


class Apt:
    """apt-get for arm64 with its lists and packages in ``folder``; this workstation's own packages are neither seen nor changed.

    Raises:
        InputError: this workstation has no apt-get.
    """

    def __init__(self, folder: pathlib.Path, archives: collections.abc.Sequence[Archive]):
        if not shutil.which("apt-get"):
            raise InputError(
                "Debian packages need apt-get, which this workstation has not got: run this on Debian, Ubuntu or Raspberry Pi OS (a "
                "container will do), or leave them out with --no-debian"
            )
        self._folder, self._archives = folder, archives
        with told_if_full(folder):
            for name in ("lists/partial", "archives/partial"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / "kit.sources").write_text("".join(archive.source for archive in archives), encoding="utf-8")
        self.assume(b"")

    def assume(self, status: bytes) -> None:
        """From here on the device has the packages of dpkg's ``status``."""
        with told_if_full(self._folder):
            (self._folder / "status").write_bytes(status)
            (self._folder / "apt.conf").write_text(self._settings(), encoding="utf-8")

    def _settings(self) -> str:
        folder = self._folder
        nothing = "/dev/null"
        settings = {
            # The workstation's own settings belong to its own packages; some delete what was fetched.
            "Dir::Etc::main": nothing,
            "Dir::Etc::parts": nothing,
            "Dir::Etc::sourcelist": folder / "kit.sources",
            "Dir::Etc::sourceparts": nothing,
            "Dir::Etc::preferences": nothing,
            "Dir::Etc::preferencesparts": nothing,
            # Each archive names its own keys.
            "Dir::Etc::trusted": nothing,
            "Dir::Etc::trustedparts": nothing,
            "Dir::State": folder,
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder,
            "Dir::Cache::archives": folder / "archives",
            "Dir::Log": folder,
            "APT::Architecture": "arm64",
            "APT::Install-Recommends": "false",
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            # An archive that cannot be reached is an error, not a warning.
            "APT::Update::Error-Mode": "any",
            # As root apt-get would fetch as a user who may not write here.
            "APT::Sandbox::User": "root",
            "quiet": "2",
        }
        lines = [f'{key} "{value}";' for key, value in settings.items()]
        return "\n".join([*lines, 'APT::Architectures { "arm64"; };', *self._proxies(), ""])

    def _proxies(self) -> list[str]:
        """How this workstation reaches archives."""
        ran = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
        return [line for line in ran.stdout.splitlines() if line.startswith(("Acquire::http::", "Acquire::https::"))]

    def update(self) -> None:
        """Fetches the archives' lists, those that have changed. InputError if one cannot be had or its signature is wrong."""
        self._run("apt-get", "update")

    def needed(self, names: collections.abc.Sequence[str]) -> list[Package]:
        """``names`` and all that they need and the device has not got. InputError if that cannot be had."""
        # Not --print-uris, which says nothing of what was fetched before.
        said = self._run("apt-get", "install", "--yes", "--no-remove", "--simulate", *names)
        wanted = [f"{match[1]}={match[2]}" for match in map(_INSTALLS.match, said.splitlines()) if match]
        return self._described(wanted) if wanted else []

    def _described(self, wanted: collections.abc.Sequence[str]) -> list[Package]:
        found: dict[str, Package] = {}
        for entry in self._run("apt-cache", "show", "--no-all-versions", *wanted).strip().split("\n\n"):
            fields = dict(re.findall(r"(?m)^(Package|Version|Architecture): (.*)$", entry))
            rest = re.sub(r"(?m)^(Filename|Description|Description-md5|Tag): .*\n(?: .*\n)*", "", entry + "\n").strip()
            package = Package(fields["Package"], fields["Version"], fields["Architecture"], rest)
            found.setdefault(f"{package.name}={package.version}", package)
        if missing := set(wanted) - set(found):
            raise InputError(f"apt-cache: knows nothing of {sorted(missing)[0]}; try again")
        return [found[name] for name in wanted]

    def assume_least(self) -> None:
        """The device has what no Debian is without, and ``LITE``."""
        self.assume(b"")
        packages = self.needed((*ESSENTIAL, *LITE))
        self.assume("".join(f"{package.fields}\nStatus: install ok installed\n\n" for package in packages).encode())

    def fetch(self, names: collections.abc.Sequence[str], packages: collections.abc.Sequence[Package], to: pathlib.Path) -> None:
        """Puts ``packages``, which ``names`` need, into ``to`` with their index; those that are there already are not fetched.

        Raises:
            InputError: one cannot be fetched, or is not what the archive says.
        """
        self._run("apt-get", "install", "--yes", "--no-remove", "--download-only", *names)
        index = []
        for package in packages:
            quoted = package.version.replace(":", "%3a")
            path = self._folder / "archives" / f"{package.name}_{quoted}_{package.architecture}.deb"
            if not is_cached(path, package.sha256):
                raise InputError(f"{path}: is not what the archive says; delete it and try again")
            with told_if_full(to):
                shutil.copyfile(path, to / package.file)
            index.append(f"{package.fields}\nFilename: ./{package.file}\n\n")
        with told_if_full(to):
            # An empty line after the last one too: without it apt does not find that one again.
            (to / "Packages").write_text("".join(index), encoding="utf-8")

    def _run(self, command: str, *arguments: str) -> str:
        environment = os.environ | {"APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        ran = subprocess.run([command, *arguments], capture_output=True, text=True, check=False, env=environment)
        if ran.returncode:
            raise InputError(self._reason(arguments[0], ran.stderr))
        return ran.stdout

    def _reason(self, what: str, said: str) -> str:
        lines = [line for line in said.splitlines() if line.startswith(("E: ", "W: "))] or said.splitlines() or ["it said nothing"]
        if any("No space left" in line for line in lines):
            return f"{self._folder}: the disk is full; free some space (what was fetched is kept)"
        if what == "update":
            for archive in self._archives:
                if line := next((line for line in lines if archive.url in line), None):
                    return f"{archive.url}: {line[3:].strip()}; {archive.if_missing}"
        return f"Debian packages: apt-get failed: {lines[0].removeprefix('E: ').removeprefix('W: ').strip()}"
