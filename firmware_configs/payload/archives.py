"""The archives that Debian packages come from, and the keys that their signatures are checked with."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import urllib.error
import urllib.request

from edge.errors import EdgeError, InputError
from firmware_configs import boards
from firmware_configs.payload.cache import cache_folder
from firmware_configs.payload.openpgp import dearmored, fingerprints

DEBIAN = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
RASPBERRY = "https://archive.raspberrypi.com/debian"
RASPBERRY_KEY = "CF8A1AF502A2AA2D763BAE7E82B129927FA3303E"
"""Raspberry Pi's archive key, by its fingerprint."""
_KEYRINGS = pathlib.Path("/usr/share/keyrings")
_RASPBERRY_KEYRINGS = (
    "usr/share/keyrings/raspberrypi-archive-keyring.pgp",
    "usr/share/keyrings/raspberrypi-archive-keyring.gpg",
    "etc/apt/trusted.gpg.d/raspberrypi-archive-stable.gpg",
)
_MOST_KEY_BYTES = 1 << 20
_WAIT_S = 30


@dataclasses.dataclass(frozen=True)
class Archive:
    """One archive of packages."""

    url: str
    suites: tuple[str, ...]
    """A single one ending in "/" is a flat archive."""
    keyring: pathlib.Path
    """Public keys, one of which must have signed what comes from there."""
    if_missing: str = "connect to the network"
    """What to do if it cannot be reached."""

    @property
    def source(self) -> str:
        """As apt is told of it (sources.list(5), deb822)."""
        lines = ["Types: deb", f"URIs: {self.url}", f"Suites: {' '.join(self.suites)}"]
        if not self.suites[0].endswith("/"):
            lines.append("Components: main")
        return "\n".join([*lines, "Architectures: arm64", f"Signed-By: {self.keyring}", "", ""])


def debian(os: boards.OsName, mirror: str = DEBIAN) -> list[Archive]:
    """Debian's, with its updates. InputError if this workstation has not got Debian's keys."""
    keyring = next((path for end in ("gpg", "pgp") if (path := _KEYRINGS / f"debian-archive-keyring.{end}").is_file()), None)
    if keyring is None:
        raise InputError(f"{_KEYRINGS}: has not got Debian's keys; apt-get install debian-archive-keyring")
    return [
        Archive(mirror, (os, f"{os}-updates"), keyring, "connect to the network, or give another --mirror"),
        Archive(SECURITY, (f"{os}-security",), keyring),
    ]


def raspberry(os: boards.OsName, read: collections.abc.Callable[[str], bytes | None] = lambda path: None, url: str = RASPBERRY) -> Archive:
    """Raspberry Pi's own archive, for its camera packages. Never tried: it could not be reached where this was written.

    Its keys are those of the system the kit gets, which ``read`` gives by their path there; else this workstation's; else the key
    that the archive gives, if it is the known one.

    Raises:
        EdgeError: the archive cannot be reached.
        InputError: it gives another key.
    """
    without = "connect to the network, or leave the CSI camera out with --no-camera"
    folder = cache_folder("payload", "keys")
    for name in _RASPBERRY_KEYRINGS:
        here = pathlib.Path("/") / name
        content = read(name) or (here.read_bytes() if here.is_file() else None)
        if content:
            path = folder / pathlib.Path(name).with_suffix(".gpg").name
            path.write_bytes(dearmored(content, name))
            return Archive(url, (os,), path, without)
    address = f"{url}/raspberrypi.gpg.key"
    try:
        with urllib.request.urlopen(address, timeout=_WAIT_S) as answer:
            content = answer.read(_MOST_KEY_BYTES)
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise EdgeError(f"{address}: cannot be fetched ({reason}); {without}") from error
    path = folder / "raspberrypi-archive-fetched.gpg"
    path.write_bytes(checked_key(content, address))
    return Archive(url, (os,), path, without)


def checked_key(content: bytes, where: str) -> bytes:
    """The key in ``content`` without its armor. InputError if there is any other than Raspberry Pi's."""
    if others := [found for found in fingerprints(content, where) if found != RASPBERRY_KEY]:
        raise InputError(f"{where}: gave the key {others[0]}, not {RASPBERRY_KEY}; do not trust this network, or leave out the CSI camera")
    return dearmored(content, where)
