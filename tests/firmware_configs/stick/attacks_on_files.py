"""Sticks whose files are no plain files, or do not end, or are no JSON that an honest writer makes."""

from __future__ import annotations

import collections.abc
import json
import os
import pathlib

import pytest

from firmware_configs.stick import FOLDER, METADATA, TARGETS
from tests.firmware_configs.stick.register import Said, attack
from tests.firmware_configs.stick.workshop import Workshop, path_of, target_of


def _in_place_of(path: pathlib.Path, make: collections.abc.Callable[[pathlib.Path], object]) -> None:
    path.unlink()
    make(path)


@attack()
def link_in_place_of_the_bundle(workshop: Workshop) -> pathlib.Path:
    """A link to a good bundle elsewhere on the machine."""
    stick = workshop.copy("link-bundle")
    _in_place_of(target_of(stick), lambda path: path.symlink_to(workshop.bundle.bundle.path))
    return stick


@attack()
def link_in_place_of_the_timestamp(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("link-timestamp")
    _in_place_of(path_of(stick, "timestamp"), lambda path: path.symlink_to(path_of(workshop.newer, "timestamp")))
    return stick


@attack()
def link_in_place_of_the_folder(workshop: Workshop) -> pathlib.Path:
    """The whole update is a link to somewhere else."""
    stick = workshop.folder / "link-folder"
    stick.mkdir()
    (stick / FOLDER).symlink_to(workshop.newer / FOLDER)
    return stick


@attack()
def link_in_place_of_the_targets(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("link-targets")
    folder = stick / FOLDER / TARGETS
    folder.rename(stick / "elsewhere")
    folder.symlink_to(stick / "elsewhere")
    return stick


@attack()
def link_to_itself(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("link-loop")
    _in_place_of(path_of(stick, "timestamp"), lambda path: path.symlink_to(path.name))
    return stick


def _device(path: pathlib.Path, major: int, minor: int) -> None:
    try:
        os.mknod(path, 0o20666, os.makedev(major, minor))
    except PermissionError:
        pytest.skip("device files need root")


@attack()
def device_in_place_of_the_bundle(workshop: Workshop) -> pathlib.Path:
    """/dev/zero, which never ends."""
    stick = workshop.copy("device-bundle")
    _in_place_of(target_of(stick), lambda path: _device(path, 1, 5))
    return stick


@attack()
def device_in_place_of_the_timestamp(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("device-timestamp")
    _in_place_of(path_of(stick, "timestamp"), lambda path: _device(path, 1, 5))
    return stick


@attack()
def pipe_in_place_of_the_timestamp(workshop: Workshop) -> pathlib.Path:
    """Who opens it waits for ever."""
    stick = workshop.copy("pipe")
    _in_place_of(path_of(stick, "timestamp"), os.mkfifo)
    return stick


@attack()
def folder_in_place_of_the_timestamp(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("folder")
    _in_place_of(path_of(stick, "timestamp"), lambda path: path.mkdir())
    return stick


@attack(harmless=True)
def ten_thousand_files(workshop: Workshop) -> pathlib.Path:
    """A good stick, cluttered: 10 000 files among the metadata and the bundles."""
    stick = workshop.copy("clutter")
    for number in range(5_000):
        (stick / FOLDER / METADATA / f"{number}.other.json").touch()
        (stick / FOLDER / TARGETS / f"{number}.affectkit").touch()
    return stick


@attack()
def ten_thousand_targets(workshop: Workshop) -> pathlib.Path:
    """10 000 bundles in the list, rightly signed; all but one are not there, and these have the highest serials."""
    stick = workshop.copy("many")

    def edit(said: Said) -> None:
        (target,) = said["targets"].values()
        for number in range(10_000):
            custom = {**target["custom"], "serial": target["custom"]["serial"] + 1 + number}
            said["targets"][f"many-{number}.affectkit"] = {**target, "custom": custom}

    workshop.resign(stick, "targets", edit)
    return stick


def _replaced(workshop: Workshop, folder: str, role: str, content: bytes) -> pathlib.Path:
    stick = workshop.copy(folder)
    path_of(stick, role).write_bytes(content)
    return stick


@attack()
def endless_timestamp(workshop: Workshop) -> pathlib.Path:
    """8 GB of zeros (a hole) where 1 kB is usual."""
    stick = workshop.copy("endless-timestamp")
    os.truncate(path_of(stick, "timestamp"), 8 << 30)
    return stick


@attack()
def endless_targets(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("endless-targets")
    os.truncate(path_of(stick, "targets"), 8 << 30)
    return stick


@attack()
def endless_root(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("endless-root")
    with (stick / FOLDER / METADATA / "2.root.json").open("wb") as stream:
        stream.truncate(8 << 30)
    return stick


@attack()
def empty_timestamp(workshop: Workshop) -> pathlib.Path:
    return _replaced(workshop, "empty-timestamp", "timestamp", b"")


@attack()
def timestamp_is_no_json(workshop: Workshop) -> pathlib.Path:
    return _replaced(workshop, "noise", "timestamp", bytes(range(256)) * 8)


@attack()
def timestamp_is_a_list(workshop: Workshop) -> pathlib.Path:
    return _replaced(workshop, "list", "timestamp", b"[]")


@attack()
def timestamp_is_cut_short(workshop: Workshop) -> pathlib.Path:
    return _replaced(workshop, "cut", "timestamp", path_of(workshop.newer, "timestamp").read_bytes()[:-40])


@attack()
def deep_json(workshop: Workshop) -> pathlib.Path:
    """Nested 8000 deep, within the length that is allowed."""
    return _replaced(workshop, "deep", "timestamp", b'{"signed":' + b"[" * 8000 + b"]" * 8000 + b"}")


@attack()
def deep_json_root(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("deep-root")
    (stick / FOLDER / METADATA / "2.root.json").write_bytes(b'{"signed":' * 9000 + b"1" + b"}" * 9000)
    return stick


def _said_of_version(workshop: Workshop, text: bytes) -> bytes:
    """The newest timestamp with something else for its version, which comes last in it."""
    head, mark, tail = path_of(workshop.newer, "timestamp").read_bytes().rpartition(b'"version":3}')
    assert mark and not tail.strip(b"}"), "the timestamp is not laid out as this builder knows it"
    return head + b'"version":' + text + b"}" + tail


@attack()
def huge_number(workshop: Workshop) -> pathlib.Path:
    """A version of 10 000 digits: slow to read, and above every other."""
    return _replaced(workshop, "digits", "timestamp", _said_of_version(workshop, b"9" * 10_000))


@attack()
def doubled_key(workshop: Workshop) -> pathlib.Path:
    """The version twice, and the signed one first: a reader that takes the last takes what nobody signed."""
    return _replaced(workshop, "doubled", "timestamp", _said_of_version(workshop, b'3,"version":9'))


@attack(harmless=True)
def doubled_key_signed_last(workshop: Workshop) -> pathlib.Path:
    """The other way round: who takes the last takes what is signed."""
    return _replaced(workshop, "doubled-last", "timestamp", _said_of_version(workshop, b'9,"version":3'))


@attack()
def doubled_content(workshop: Workshop) -> pathlib.Path:
    """All that is signed, twice: first as it was signed, then as a stranger would have it."""
    table = json.loads(path_of(workshop.newer, "timestamp").read_bytes())
    signatures, signed = json.dumps(table["signatures"]), json.dumps(table["signed"])
    other = json.dumps({**table["signed"], "expires": "2199-01-01T00:00:00Z"})
    content = f'{{"signatures":{signatures},"signed":{signed},"signed":{other}}}'
    return _replaced(workshop, "doubled-content", "timestamp", content.encode())


@attack()
def not_canonical_snapshot(workshop: Workshop) -> pathlib.Path:
    """The same snapshot with other spaces: its signature is good, its length and hash are not."""
    table = json.loads(path_of(workshop.newer, "snapshot").read_bytes())
    return _replaced(workshop, "spaces", "snapshot", json.dumps(table, indent=4).encode())


@attack()
def not_a_number(workshop: Workshop) -> pathlib.Path:
    return _replaced(workshop, "nan", "timestamp", _said_of_version(workshop, b"NaN"))


@attack()
def fraction_of_a_version(workshop: Workshop) -> pathlib.Path:
    return _replaced(workshop, "fraction", "timestamp", _said_of_version(workshop, b"3.5"))


@attack()
def not_utf8(workshop: Workshop) -> pathlib.Path:
    content = path_of(workshop.newer, "timestamp").read_bytes()
    return _replaced(workshop, "latin", "timestamp", content.replace(b"timestamp", b"timest\xe4mp"))
