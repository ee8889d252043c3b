"""The wheels that a device needs, chosen for it by pip, each pinned by its hash."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import pathlib
import re
import shutil
import typing
import urllib.parse
import zipfile

from edge.errors import InputError
from firmware_configs import boards
from firmware_configs.payload.cache import cache_folder, folder_for, is_cached, sha256_of
from firmware_configs.payload.pip import Device, run_pip
from firmware_configs.progress import Progress, silent
from firmware_configs.unpack import told_if_full

EXTRAS = ("sensors", "update")
"""Of affectkit. Not ``microphone``: PyAudio has no wheel for aarch64, and is Debian's python3-pyaudio on the device."""
CONSTRAINTS: typing.Final[collections.abc.Mapping[boards.OsName, tuple[str, ...]]] = {
    # Debian's python3-simplejpeg, which picamera2 imports, was compiled against NumPy 1.24 there: under NumPy 2 it cannot be imported,
    # and the virtual environment sees both. In Trixie all are compiled against NumPy 2.
    "bookworm": ("numpy<2",),
    "trixie": (),
}
_AT_ONCE = 6
"""Wheels for one call of pip, which takes a second to start, and keeps nothing when it is interrupted."""
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+) --hash=sha256:([0-9a-f]{64})")


@dataclasses.dataclass(frozen=True)
class Wheel:
    """One wheel."""

    name: str
    """Of the package, as PEP 503 writes it."""
    version: str
    file: str
    sha256: str
    url: str = ""
    """Where it can be had; empty for a file that is there."""

    @property
    def line(self) -> str:
        """Of ``requirements.txt``."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def normalized(name: str) -> str:
    """A package's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def of_file(path: pathlib.Path) -> Wheel:
    """A wheel by its file. InputError if the name is none of a wheel."""
    parts = path.name.removesuffix(".whl").split("-")
    if len(parts) not in (5, 6) or not path.name.endswith(".whl"):
        raise InputError(f"{path}: is no wheel; the name of one ends in -py3-none-any.whl or the like")
    return Wheel(normalized(parts[0]), parts[1], path.name, sha256_of(path))


def resolve(own: pathlib.Path, device: Device, constraints: collections.abc.Sequence[str] = ()) -> list[Wheel]:
    """All wheels for affectkit, whose own wheel is ``own``, on ``device``, and pip's, in alphabetical order; ``own`` is not among them.

    One call of pip with all platform tags resolves them together. Nothing is installed.

    Raises:
        InputError: ``own`` lacks an extra, no wheels fit, or the index cannot be reached.
    """
    _refuse_without_extras(own)
    with folder_for(cache_folder("payload"), "resolve") as work:
        report = work / "report.json"
        limits = work / "constraints.txt"
        limits.write_text("".join(f"{line}\n" for line in (*CONSTRAINTS[device.os], *constraints)), encoding="utf-8")
        wanted = [f"{own}[{','.join(EXTRAS)}]", "pip", "--constraint", str(limits)]
        options = ["--dry-run", "--ignore-installed", "--quiet", "--target", str(work / "none"), "--report", str(report)]
        run_pip(["install", *options, *device.options(), *wanted], f"wheels for {device.os}", device)
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = [_wheel(item) for item in items]
    return sorted((wheel for wheel in found if wheel.name != "affectkit"), key=lambda wheel: wheel.name)


def _refuse_without_extras(own: pathlib.Path) -> None:
    try:
        with zipfile.ZipFile(own) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            lines = archive.read(name).decode("utf-8").splitlines()
    except (zipfile.BadZipFile, StopIteration, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{own}: is a damaged wheel; build it again") from error
    for extra in EXTRAS:
        if f"Provides-Extra: {extra}" not in lines:
            raise InputError(f"{own.name}: has no extra {extra!r}, which a kit needs; give the wheel of this version of affectkit")


def _wheel(item: dict[str, typing.Any]) -> Wheel:
    download = item["download_info"]
    file = pathlib.PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(download["url"]).path)).name
    # An index need not tell it: then what comes is pinned.
    sha256 = download.get("archive_info", {}).get("hashes", {}).get("sha256", "")
    return Wheel(normalized(item["metadata"]["name"]), item["metadata"]["version"], file, sha256, download["url"])


def versions_of(payload: pathlib.Path) -> list[str]:
    """What an earlier payload had, as constraints for pip: "numpy==2.4.6"; pip too, affectkit not.

    Raises:
        InputError: it is no payload, or a line of its ``requirements.txt`` is none of ours.
    """
    path = payload / "requirements.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; give the folder of an earlier payload") from error
    found = [f"pip=={of_file(wheel).version}" for wheel in (payload / "wheels").glob("pip-*.whl")]
    for number, line in enumerate(lines, 1):
        if not (match := _LINE.fullmatch(line.strip())):
            raise InputError(f"{path}, line {number}: got {line.strip()!r}; it is NAME==VERSION --hash=sha256:HEX")
        if match[1] != "affectkit":
            found.append(f"{match[1]}=={match[2]}")
    return found


def fetch(wheels: collections.abc.Sequence[Wheel], device: Device, to: pathlib.Path, progress: Progress = silent) -> list[Wheel]:
    """Copies every wheel into ``to``, fetching those that are not in the cache; the same wheels, with file and hash.

    A few at a time, which are then kept in the cache: they are not fetched again, whatever happens.

    Raises:
        InputError: one cannot be fetched, is not what its hash says, or the disk is full.
    """
    cache = cache_folder("payload", "wheels")
    missing = [wheel for wheel in wheels if not (wheel.sha256 and is_cached(cache / wheel.file, wheel.sha256))]
    for at in range(0, len(missing), _AT_ONCE):
        progress((len(wheels) - len(missing) + at) / len(wheels))
        _fetch_some(missing[at : at + _AT_ONCE], device, cache)
    for wheel in wheels:
        with told_if_full(to):
            shutil.copyfile(cache / wheel.file, to / wheel.file)
    progress(1.0)
    return [dataclasses.replace(wheel, sha256=sha256_of(to / wheel.file)) for wheel in wheels]


def _fetch_some(wheels: collections.abc.Sequence[Wheel], device: Device, cache: pathlib.Path) -> None:
    names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in wheels)
    with folder_for(cache, "fetch") as work, told_if_full(cache):
        lines = [f"{wheel.url}#sha256={wheel.sha256}" if wheel.sha256 else wheel.url for wheel in wheels]
        (work / "requirements.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        into = work / "wheels"
        options = ["--quiet", "--no-deps", "--dest", str(into), "-r", str(work / "requirements.txt")]
        run_pip(["download", *options, *device.options()], names, device)
        for wheel in wheels:
            if wheel.sha256 and not is_cached(into / wheel.file, wheel.sha256):
                raise InputError(f"{wheel.name} {wheel.version}: what was fetched is not what its hash says; try again")
            os.replace(into / wheel.file, cache / wheel.file)


def unpacked_bytes(path: pathlib.Path) -> int:
    """What a wheel takes on a disk, without the compiled Python that comes to it."""
    with zipfile.ZipFile(path) as archive:
        return sum(part.file_size for part in archive.infolist())
