"""What is the same on every card of a batch: the payload, whole and for this system, and the settings."""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import json
import pathlib
import typing

from edge.errors import InputError
from firmware_configs import boards, boot_files
from firmware_configs.layout import Room

LISTING = "payload.json"
SETTINGS = "kit.toml"
"""Not among the files that ``LISTING`` gives: a kit's settings may differ."""
LOGS = ("install.log", "first-boot.log")
RUBBISH = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers leave behind in folders that somebody has looked into."""
DEFAULT_SETTINGS = pathlib.Path(__file__).resolve().parent / "etc" / "affectkit" / "kit.toml"
CURRENT = "/srv/affectkit/bundles/current.affectkit"
"""Leads to the bundle that runs; update sticks change it."""
_MOST_LISTING_BYTES = 8 << 20


@dataclasses.dataclass(frozen=True)
class Load:
    """What goes onto every card of a batch."""

    target: boot_files.Target
    files: collections.abc.Mapping[str, pathlib.Path]
    """Path on the boot partition -> file, of the payload and the settings."""
    sums: collections.abc.Mapping[str, tuple[int, str]]
    """Path on the boot partition -> size in bytes and SHA-256 of the same files."""
    room: Room | None = None
    """None leaves the partitions as the image has them."""

    @property
    def installs(self) -> bool:
        return boot_files.INSTALLER in self.files


def load(
    target: boot_files.Target, payload: pathlib.Path | None = None, settings: pathlib.Path | None = None, room: Room | None = None
) -> Load:
    """What goes onto every card: the folder ``payload`` if given, and ``kit.toml`` from ``settings``, the payload or the default.

    Raises:
        InputError: the payload is none, is for another system or board, is damaged, or has files of its own that nobody vouches for;
            the settings are wrong.
    """
    from edge.config import load_settings

    files = {f"{boot_files.FOLDER}/{inside}": path for inside, path in _whole(payload, target).items()} if payload else {}
    for reserved in (boot_files.MANIFEST, boot_files.ABOUT):
        if reserved in files:
            raise InputError(f"{files[reserved]}: has a name that the card itself needs; rename it")
    kit_toml = f"{boot_files.FOLDER}/{SETTINGS}"
    files[kit_toml] = settings or files.get(kit_toml, DEFAULT_SETTINGS)
    load_settings(files[kit_toml])
    return Load(target, files, {name: size_and_sum(path) for name, path in sorted(files.items())}, room)


def notes(what: Load, says: collections.abc.Mapping[str, typing.Any]) -> list[str]:
    """What the cards lack without being wrong, a line each: better known before they are in thirty kits.

    Args:
        what: from ``load``.
        says: from ``listing``; empty without a payload.
    """
    from edge.config import load_settings
    from edge.errors import PurposeError
    from edge.purpose import check_purpose

    path = what.files[f"{boot_files.FOLDER}/{SETTINGS}"]
    settings = load_settings(path)
    found = []
    if what.installs and settings.bundle.path != CURRENT:
        found.append(f'{path}: path in [bundle] is not "{CURRENT}": these kits will not use the bundles of update sticks')
    try:
        check_purpose(settings.purpose, live=any(not source.startswith("replay:") for source in settings.sources.use))
    except PurposeError as error:
        found.append(f"{path}: these kits will wait and sense nobody: {error}")
    if says and not says.get("proved"):
        found.append("the payload was not proved in an emulated device; `affectkit kit payload --prove` does it")
    return found


def listing(payload: pathlib.Path) -> dict[str, typing.Any]:
    """What ``payload.json`` says. InputError if there is none, or it is not what `affectkit kit payload` writes."""
    path = payload / LISTING
    if not payload.is_dir():
        raise InputError(f"{payload}: is no folder; give what `affectkit kit payload` has made")
    try:
        if path.stat().st_size > _MOST_LISTING_BYTES:
            raise InputError(f"{path}: is larger than any that `affectkit kit payload` makes; make the payload again")
        says = json.loads(path.read_text(encoding="utf-8"))
        if says["format"] != 1:
            raise InputError(f"{path}: is of format {says['format']!r}, which this version does not know; make the payload again")
        for key in ("os", "board", "python"):
            if not isinstance(says[key], str):
                raise TypeError(key)
        for name, entry in says["files"].items():
            if not isinstance(name, str) or not isinstance(entry["bytes"], int) or not isinstance(entry["sha256"], str):
                raise TypeError(name)
    except FileNotFoundError as error:
        raise InputError(f"{payload}: has no {LISTING}, which tells what is in it; make it with `affectkit kit payload`") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {error}); make the payload again") from error
    return typing.cast(dict[str, typing.Any], says)


def _whole(payload: pathlib.Path, target: boot_files.Target) -> dict[str, pathlib.Path]:
    """Every file of a payload by its path inside, each compared with what ``payload.json`` says of it."""
    says = listing(payload)
    for key, wanted in (("os", target.os), ("board", target.board)):
        if says[key] != wanted and not (key == "board" and wanted == boot_files.ANY_BOARD):
            raise InputError(f"{payload}: is for the {key} {says[key]}, the card for {wanted}; make one with --{key} {wanted}")
    python = boards.named(says["board"]).os[target.os].python
    if says["python"] != python:
        raise InputError(f"{payload}: its wheels are for {says['python']}, and {target.os} has {python}; make the payload again")
    found: dict[str, pathlib.Path] = {}
    for path in sorted(payload.rglob("*")):
        inside = path.relative_to(payload).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: is a link or no plain file, which a card cannot hold; copy the file itself there")
        if path.is_dir() or inside in LOGS or path.name in RUBBISH or path.name.startswith("._"):
            continue
        if inside not in says["files"] and inside not in (LISTING, SETTINGS):
            raise InputError(f"{path}: is not listed in {LISTING}, so nobody knows what it is; delete it, or make the payload again")
        found[inside] = path
    for name, entry in says["files"].items():
        if name not in found:
            raise InputError(f"{payload / name}: is missing; copy the payload again, or make it again")
        size, digest = size_and_sum(found[name])
        if size != entry["bytes"]:
            raise InputError(f"{found[name]}: has {size} bytes instead of {entry['bytes']}; copy the payload again, or make it again")
        if digest != entry["sha256"]:
            raise InputError(f"{found[name]}: has changed since the payload was made; copy the payload again, or make it again")
    return found


def size_and_sum(path: pathlib.Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file. InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
