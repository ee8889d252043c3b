"""A card for one kit: an image of Raspberry Pi OS with room and files of the kit's own, and whether a card is such a one."""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import json
import pathlib
import typing

from edge import __version__
from edge.errors import InputError
from firmware_configs import boards, boot_files, layout
from firmware_configs.boot_files import MANIFEST
from firmware_configs.classroom import Kit
from firmware_configs.fat import FatVolume
from firmware_configs.image import open_boot
from firmware_configs.load import SETTINGS, Load, size_and_sum
from firmware_configs.password import PATTERN
from firmware_configs.unpack import told_if_full

_MOST_MANIFEST_BYTES = 8 << 20
Content = bytes | pathlib.Path


def refuse_mismatch(kits: collections.abc.Iterable[Kit], what: Load) -> None:
    """InputError if the settings want a heart rate strap and a kit's Bluetooth is off."""
    from edge.config import load_settings

    if any(source.startswith("strap:") for source in load_settings(what.files[f"{boot_files.FOLDER}/{SETTINGS}"]).sources.use):
        for kit in kits:
            if not kit.bluetooth:
                raise InputError(f"{kit.hostname}: kit.toml has a strap: source, and Bluetooth is off; write yes in its column 'bluetooth'")


def os_of(volume: FatVolume) -> boards.OsName:
    """Which system an image holds: those with cloud-init's files are Trixie or later."""
    return "trixie" if volume.find("user-data") and volume.find("meta-data") else "bookworm"


def contents(
    volume: FatVolume, kit: Kit, password_hash: str, what: Load, table: layout.Table, written: tuple[tuple[int, int], ...]
) -> dict[str, Content]:
    """Path on the boot partition -> content, of everything that a card has beyond the image, the manifest last.

    ``table`` is what its partition table will be, and ``written`` the stretches that must be on it (see ``layout.spans``).
    """
    if (is_ := os_of(volume)) != what.target.os:
        why = "has" if is_ == "trixie" else "lacks"
        raise InputError(f"the image looks like {is_} (its boot partition {why} user-data and meta-data); say --os {is_}, or take another")
    target = dataclasses.replace(what.target, own_layout=_own_layout(what.room, table))
    found: dict[str, Content] = dict(what.files)
    found |= boot_files.first_boot_files(kit, password_hash, target, installs=what.installs)
    found["config.txt"] = boot_files.edited_config(volume.read("config.txt"), kit, target)
    found["cmdline.txt"] = boot_files.edited_cmdline(volume.read("cmdline.txt"), kit, target)
    sums = {path: _size_and_sum(content, what, path) for path, content in sorted(found.items())}
    manifest = {
        "format": 1,
        "affectkit": __version__,
        "hostname": kit.hostname,
        "os": target.os,
        "board": target.board,
        "own_layout": target.own_layout,
        "room": dataclasses.asdict(what.room) if what.room else None,
        "disk_id": table.disk_id,
        "partitions": table.partitions,
        "written": written,
        "files": {path: {"bytes": size, "sha256": digest} for path, (size, digest) in sums.items()},
    }
    found[MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
    return found


def _own_layout(room: layout.Room | None, table: layout.Table) -> bool:
    return room is not None and bool(table.disk_id) and table.data is not None


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _size_and_sum(content: Content, what: Load, path: str) -> tuple[int, str]:
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    return what.sums.get(path) or size_and_sum(content)


def _sha256_on(volume: FatVolume, path: str) -> str:
    digest = hashlib.sha256()
    for chunk in volume.chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def refuse_full(volume: FatVolume, files: collections.abc.Mapping[str, Content], where: str) -> None:
    """InputError if ``files`` do not fit onto the boot partition."""
    if missing := volume.missing_bytes({path: _size(content) for path, content in files.items()}):
        raise InputError(f"{where}: the boot partition is too full, {missing} bytes are missing; give a smaller payload")


def probe(image: pathlib.Path, kit: Kit, what: Load) -> str:
    """Looks whether ``image`` can become the kit's card; changes nothing. What people should know of it, or nothing.

    Raises InputError as ``edit`` does.
    """
    table = layout.planned(image, what.room, _own_table(image)) if what.room else None
    after = table or layout.read_table(image)
    with open_boot(image) as volume:
        hash_ = "$6$" + "." * 103
        refuse_full(volume, contents(volume, kit, hash_, what, after, layout.spans(table, image.stat().st_size)), str(image))
    if what.room and table is None:
        return f"{image}: has a GPT, whose partitions are left as they are: the cards get no data partition, and stay writable as a whole"
    return ""


def edit(image: pathlib.Path, kit: Kit, password_hash: str, what: Load) -> None:
    """Makes the image at ``image`` the kit's card, in place, and reads everything back.

    Raises:
        InputError: it is no image of Raspberry Pi OS, the boot partition is too full (with the bytes missing), or what was read
            back differs. The image is then half-edited: work on a copy.
    """
    own, size = _own_table(image), image.stat().st_size
    table = layout.enlarge(image, what.room, own) if what.room else None
    after = table or layout.read_table(image)
    with told_if_full(image), open_boot(image, write=True) as volume:
        files = contents(volume, kit, password_hash, what, after, layout.spans(table, size))
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


def _own_table(image: pathlib.Path) -> layout.Table | None:
    """The table in the manifest of an image that is a card already; None of any other."""
    with open_boot(image) as volume:
        if not volume.find(MANIFEST):
            return None
        manifest = manifest_of(volume)
        return _table_in(manifest) if manifest["own_layout"] else None


def _table_in(manifest: dict[str, typing.Any]) -> layout.Table:
    return layout.Table(manifest["disk_id"], tuple(tuple(each) for each in manifest["partitions"]))


def written(image: pathlib.Path) -> tuple[tuple[int, int], ...]:
    """First byte and size of the stretches of a card's image that must be on a card. InputError if it is none."""
    with open_boot(image) as volume:
        return tuple((start, size) for start, size in manifest_of(volume)["written"])


def is_of(image: pathlib.Path, what: Load) -> bool:
    """Whether the card in ``image`` was made of the same payload and settings, with as much room."""
    with open_boot(image) as volume:
        manifest = manifest_of(volume)
    listed = {path: (each["bytes"], each["sha256"]) for path, each in manifest["files"].items()}
    room = dataclasses.asdict(what.room) if what.room else None
    made = {path for path in listed if path.startswith(f"{boot_files.FOLDER}/")} - {boot_files.ABOUT}
    return made == set(what.files) and all(listed[path] == found for path, found in what.sums.items()) and manifest["room"] == room


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
        _ = found["hostname"], found["room"], [(entry["bytes"], entry["sha256"]) for entry in found["files"].values()]
        _ = bool(found["own_layout"]), found["disk_id"] + "", [(a + b + c + d) for a, b, c, d in found["partitions"]]
        _ = [start + size for start, size in found["written"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
        wrong = _against_table(image, _table_in(manifest))
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


def _against_table(image: pathlib.Path, wanted: layout.Table) -> list[str]:
    found = layout.read_table(image)
    if found.disk_id != wanted.disk_id:
        return [f"partition table: has the disk id {found.disk_id or 'of a GPT'} instead of {wanted.disk_id or 'that of a GPT'}"]
    wrong = []
    for number in sorted({each[0] for each in (*found.partitions, *wanted.partitions)}):
        is_, should = (next((each[1:] for each in table.partitions if each[0] == number), None) for table in (found, wanted))
        if is_ != should:
            wrong.append(f"partition {number}: is {_words(is_)} instead of {_words(should)}")
    if not wrong and wanted.disk_id and layout.foreign(image, wanted):
        wrong.append(f"partition {layout.DATA}: holds something that is not the kit's; make the card again")
    return wrong


def _words(entry: tuple[int, int, int] | None) -> str:
    return f"{entry[2]} bytes at {entry[1]} of type {entry[0]:#04x}" if entry else "missing"


def _against(volume: FatVolume, manifest: dict[str, typing.Any], kits: collections.abc.Sequence[Kit]) -> list[str]:
    kit = next((kit for kit in kits if kit.hostname == manifest["hostname"]), None)
    if kit is None:
        return [f"host name {manifest['hostname']}: no line of the list has it"]
    target = boot_files.Target(manifest["os"], manifest["board"], own_layout=manifest["own_layout"])
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
