"""A card for one kit: an image of Raspberry Pi OS with the kit's files on its boot partition, and whether a card is such a one."""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import json
import pathlib
import typing

from edge import __version__
from edge.errors import InputError
from firmware_configs import boards, boot_files
from firmware_configs.classroom import Kit
from firmware_configs.fat import FatVolume
from firmware_configs.image import open_boot
from firmware_configs.password import PATTERN

MANIFEST = f"{boot_files.FOLDER}/card.json"
SETTINGS = f"{boot_files.FOLDER}/kit.toml"
DEFAULT_SETTINGS = pathlib.Path(__file__).resolve().parent / "etc" / "affectkit" / "kit.toml"
_MOST_MANIFEST_BYTES = 8 << 20
Content = bytes | pathlib.Path


@dataclasses.dataclass(frozen=True)
class Load:
    """What is the same on every card of a batch."""

    target: boot_files.Target
    files: collections.abc.Mapping[str, pathlib.Path]
    """Path on the boot partition -> file, of the payload and the settings."""

    @property
    def installs(self) -> bool:
        return boot_files.INSTALLER in self.files


def load(target: boot_files.Target, payload: pathlib.Path | None = None, settings: pathlib.Path | None = None) -> Load:
    """What goes onto every card: the folder ``payload`` if given, and ``kit.toml`` from ``settings``, the payload or the default.

    Raises:
        InputError: the payload is none, has names or links that cannot be on a card, or is for another system or board; the
            settings are wrong.
    """
    from edge.config import load_settings

    files: dict[str, pathlib.Path] = {}
    if payload is not None:
        if not payload.is_dir():
            raise InputError(f"{payload}: is no folder; give what `affectkit kit payload` has made")
        for path in sorted(payload.rglob("*")):
            inside = path.relative_to(payload).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InputError(f"{path}: is a link or no plain file, which a card cannot hold; copy the file itself there")
            if path.is_file():
                files[f"{boot_files.FOLDER}/{inside}"] = path
        if not files:
            raise InputError(f"{payload}: is empty; give what `affectkit kit payload` has made")
        _refuse_other(payload, target)
        for reserved in (MANIFEST, f"{boot_files.FOLDER}/ABOUT.txt"):
            if reserved in files:
                raise InputError(f"{files[reserved]}: has a name that the card itself needs; rename it")
    files[SETTINGS] = settings or files.get(SETTINGS, DEFAULT_SETTINGS)
    load_settings(files[SETTINGS])
    return Load(target, files)


def _refuse_other(payload: pathlib.Path, target: boot_files.Target) -> None:
    """InputError if ``payload.json`` says that a payload is for another system or board."""
    path = payload / "payload.json"
    if not path.is_file():
        return
    try:
        says = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; make the payload again") from error
    for key, wanted in (("os", target.os), ("board", target.board)):
        got = says.get(key) if isinstance(says, dict) else None
        if got is not None and got != wanted and not (key == "board" and target.board == boot_files.ANY_BOARD):
            raise InputError(f"{payload}: is for the {key} {got}, the card for {wanted}; make one with --{key} {wanted}")


def refuse_mismatch(kits: collections.abc.Iterable[Kit], what: Load) -> None:
    """InputError if the settings want a heart rate strap and a kit's Bluetooth is off."""
    from edge.config import load_settings

    if any(source.startswith("strap:") for source in load_settings(what.files[SETTINGS]).sources.use):
        for kit in kits:
            if not kit.bluetooth:
                raise InputError(f"{kit.hostname}: kit.toml has a strap: source, and Bluetooth is off; write yes in its column 'bluetooth'")


def os_of(volume: FatVolume) -> boards.OsName:
    """Which system an image holds: those with cloud-init's files are Trixie or later."""
    return "trixie" if volume.find("user-data") and volume.find("meta-data") else "bookworm"


def contents(volume: FatVolume, kit: Kit, password_hash: str, what: Load) -> dict[str, Content]:
    """Path on the boot partition -> content, of everything that a card has beyond the image, the manifest last."""
    if (is_ := os_of(volume)) != what.target.os:
        why = "has" if is_ == "trixie" else "lacks"
        raise InputError(f"the image looks like {is_} (its boot partition {why} user-data and meta-data); say --os {is_}, or take another")
    found: dict[str, Content] = dict(what.files)
    found |= boot_files.first_boot_files(kit, password_hash, what.target, installs=what.installs)
    found["config.txt"] = boot_files.edited_config(volume.read("config.txt"), kit, what.target)
    found["cmdline.txt"] = boot_files.edited_cmdline(volume.read("cmdline.txt"), kit, what.target)
    listed = {path: {"bytes": _size(content), "sha256": _sha256(content)} for path, content in sorted(found.items())}
    manifest = {
        "format": 1,
        "affectkit": __version__,
        "hostname": kit.hostname,
        "os": what.target.os,
        "board": what.target.board,
        "files": listed,
    }
    found[MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
    return found


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _sha256(content: Content) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_on(volume: FatVolume, path: str) -> str:
    digest = hashlib.sha256()
    for chunk in volume.chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def refuse_full(volume: FatVolume, files: collections.abc.Mapping[str, Content], where: str) -> None:
    """InputError if ``files`` do not fit onto the boot partition."""
    if missing := volume.missing_bytes({path: _size(content) for path, content in files.items()}):
        raise InputError(f"{where}: the boot partition is too full, {missing} bytes are missing; give a smaller payload")


def probe(image: pathlib.Path, kit: Kit, what: Load) -> None:
    """Looks whether ``image`` can become the kit's card; changes nothing. Raises InputError as ``edit`` does."""
    with open_boot(image) as volume:
        refuse_full(volume, contents(volume, kit, "$6$" + "." * 103, what), str(image))


def edit(image: pathlib.Path, kit: Kit, password_hash: str, what: Load) -> None:
    """Makes the image at ``image`` the kit's card, in place, and reads everything back.

    Raises:
        InputError: it is no image of Raspberry Pi OS, the boot partition is too full (with the bytes missing), or what was read
            back differs. The image is then half-edited: work on a copy.
    """
    with open_boot(image, write=True) as volume:
        files = contents(volume, kit, password_hash, what)
        for path in boot_files.removed_files(what.target):
            if path not in files and volume.find(path):
                volume.delete(path)
        refuse_full(volume, files, str(image))
        for path, content in files.items():
            if isinstance(content, bytes):
                volume.write(path, content)
            else:
                with content.open("rb") as source:
                    volume.write(path, source, content.stat().st_size)
    if wrong := check(image):
        raise InputError(f"{image}: was not written as it should be: {wrong[0]}; try another disk")


def manifest_of(volume: FatVolume) -> dict[str, typing.Any]:
    """What the card says of itself. InputError if it says nothing or nonsense."""
    entry = volume.find(MANIFEST)
    if entry is None or entry.is_folder or entry.size_bytes > _MOST_MANIFEST_BYTES:
        raise InputError(f"no {MANIFEST} on the boot partition: no card that `affectkit kit card` has made")
    try:
        found = json.loads(volume.read(MANIFEST))
        if found["format"] != 1:
            raise InputError(f"{MANIFEST}: is of format {found['format']}, which this version does not know; update affectkit")
        boot_files.Target(found["os"], found["board"]).config_lines()
        _ = found["hostname"], [(entry["bytes"], entry["sha256"]) for entry in found["files"].values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{MANIFEST}: is damaged; make the card again") from error
    return found


def check(image: pathlib.Path, kits: collections.abc.Sequence[Kit] | None = None) -> list[str]:
    """What is wrong with the card in ``image`` (a file or a device), a line each; nothing if it is what it should be.

    Every file of its manifest is compared by length and SHA-256; with ``kits`` also what its line of the list says: host name,
    radios, keys. InputError if it is no image at all.
    """
    with open_boot(image) as volume:
        try:
            manifest = manifest_of(volume)
        except InputError as error:
            return [str(error)]
        wrong = []
        for path, listed in manifest["files"].items():
            entry = volume.find(path)
            if entry is None or entry.is_folder:
                wrong.append(f"{path}: is missing")
            elif entry.size_bytes != listed["bytes"]:
                wrong.append(f"{path}: has {entry.size_bytes} bytes instead of {listed['bytes']}")
            elif _sha256_on(volume, path) != listed["sha256"]:
                wrong.append(f"{path}: has changed since the card was made")
        if kits is not None and not wrong:
            wrong += _against(volume, manifest, kits)
        return wrong


def _against(volume: FatVolume, manifest: dict[str, typing.Any], kits: collections.abc.Sequence[Kit]) -> list[str]:
    kit = next((kit for kit in kits if kit.hostname == manifest["hostname"]), None)
    if kit is None:
        return [f"host name {manifest['hostname']}: no line of the list has it"]
    target = boot_files.Target(manifest["os"], manifest["board"])
    password_hash = hash_on(volume)
    if password_hash is None:
        return ["no password is set: nobody could log in"]
    wanted = boot_files.first_boot_files(kit, password_hash, target, installs=boot_files.INSTALLER in manifest["files"])
    wanted["config.txt"] = boot_files.edited_config(volume.read("config.txt"), kit, target)
    wanted["cmdline.txt"] = boot_files.edited_cmdline(volume.read("cmdline.txt"), kit, target)
    wrong = [
        f"{path}: is not what the list says" for path, content in wanted.items() if not volume.find(path) or volume.read(path) != content
    ]
    return wrong + [f"{path}: should not be there" for path in boot_files.removed_files(target) if path not in wanted and volume.find(path)]


def hash_on(volume: FatVolume) -> str | None:
    """The hash of the password in a card's files for the first boot; None if there is none."""
    for path in ("user-data", "userconf.txt"):
        if volume.find(path) and (found := PATTERN.search(volume.read(path).decode("utf-8", "replace"))):
            return found.group()
    return None
