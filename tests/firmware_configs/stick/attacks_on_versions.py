"""Sticks that are too old, or put together of several."""

from __future__ import annotations

import hashlib
import json
import pathlib

from firmware_configs.stick import FOLDER, METADATA, TARGETS
from tests.firmware_configs.stick.register import DAY, attack, iso
from tests.firmware_configs.stick.workshop import Workshop, path_of, target_of


@attack(fresh=False)
def rollback(workshop: Workshop) -> pathlib.Path:
    """A good stick that is older than the one the kit has taken."""
    return workshop.copy("rollback", of=workshop.old)


@attack(fresh=False)
def rollback_of_targets(workshop: Workshop) -> pathlib.Path:
    """New timestamp and snapshot that point to an older list of targets: from a stolen snapshot key, or a restored backup."""
    stick = workshop.write("rollback-targets")
    older = path_of(workshop.old, "targets").read_bytes()
    path_of(stick, "targets").unlink()
    (stick / FOLDER / METADATA / "1.targets.json").write_bytes(older)
    for path in (workshop.old / FOLDER / TARGETS).iterdir():
        (stick / FOLDER / TARGETS / path.name).write_bytes(path.read_bytes())
    meta = {"targets.json": {"version": 1, "length": len(older), "hashes": {"sha256": hashlib.sha256(older).hexdigest()}}}
    workshop.resign(stick, "snapshot", lambda said: said.update(meta=meta))
    return stick


@attack()
def expired(workshop: Workshop) -> pathlib.Path:
    """Newer numbers, and an end 100 days ago: for a kit that knows the time, or has taken the good stick."""
    return workshop.write("expired", signed=workshop.now - 500 * DAY, expires=workshop.now - 100 * DAY)


@attack()
def expired_targets(workshop: Workshop) -> pathlib.Path:
    """Only the list of targets has ended."""
    stick = workshop.copy("expired-targets")
    end = iso(workshop.now - 100 * DAY)
    workshop.resign(stick, "targets", lambda said: said.update(expires=end))
    return stick


@attack()
def expired_snapshot(workshop: Workshop) -> pathlib.Path:
    """Only the snapshot has ended."""
    stick = workshop.copy("expired-snapshot")
    end = iso(workshop.now - 100 * DAY)
    workshop.resign(stick, "snapshot", lambda said: said.update(expires=end))
    return stick


@attack()
def freeze(workshop: Workshop) -> pathlib.Path:
    """The new stick with the timestamp of the old one: whoever holds back what is new."""
    stick = workshop.copy("freeze")
    path_of(stick, "timestamp").write_bytes(path_of(workshop.old, "timestamp").read_bytes())
    return stick


@attack(fresh=False)
def freeze_whole(workshop: Workshop) -> pathlib.Path:
    """Timestamp and snapshot of the old stick, replayed with all that belongs to them, beside the new list."""
    stick = workshop.copy("freeze-whole", of=workshop.old)
    path = path_of(workshop.newer, "targets")
    (stick / FOLDER / METADATA / path.name).write_bytes(path.read_bytes())
    return stick


@attack()
def no_signing_time(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("no-time")
    workshop.resign(stick, "timestamp", lambda said: said.pop("signed_at"))
    return stick


@attack()
def signing_time_is_nonsense(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("odd-time")
    workshop.resign(stick, "timestamp", lambda said: said.update(signed_at="yesterday\n"))
    return stick


@attack()
def signed_after_its_end(workshop: Workshop) -> pathlib.Path:
    """Would put the kit's clock beyond every stick to come."""
    stick = workshop.copy("late")
    workshop.resign(stick, "timestamp", lambda said: said.update(signed_at="2199-01-01T00:00:00Z"))
    return stick


@attack()
def version_zero(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("zero")
    workshop.resign(stick, "timestamp", lambda said: said.update(version=0))
    return stick


@attack()
def version_is_text(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("text")
    workshop.resign(stick, "timestamp", lambda said: said.update(version="3"))
    return stick


@attack()
def mixed_snapshot(workshop: Workshop) -> pathlib.Path:
    """The new timestamp, and in place of its snapshot that of the stick before, under its name."""
    stick = workshop.copy("mixed-snapshot")
    path_of(stick, "snapshot").write_bytes(path_of(workshop.good, "snapshot").read_bytes())
    return stick


@attack()
def mixed_targets(workshop: Workshop) -> pathlib.Path:
    """The new timestamp and snapshot, and the list of the stick before."""
    stick = workshop.copy("mixed-targets")
    path_of(stick, "targets").write_bytes(path_of(workshop.good, "targets").read_bytes())
    return stick


@attack()
def mixed_bundle(workshop: Workshop) -> pathlib.Path:
    """All metadata new, and an older bundle under the name of the new one."""
    stick = workshop.copy("mixed-bundle")
    target_of(stick).write_bytes(target_of(workshop.good).read_bytes())
    return stick


@attack()
def snapshot_in_place_of_the_timestamp(workshop: Workshop) -> pathlib.Path:
    """Metadata of another role, rightly signed."""
    stick = workshop.copy("role")
    path_of(stick, "timestamp").write_bytes(path_of(stick, "snapshot").read_bytes())
    return stick


@attack()
def timestamp_in_place_of_the_targets(workshop: Workshop) -> pathlib.Path:
    """Signed by the key of the targets, and of another type."""
    stick = workshop.copy("type")
    said = json.loads(path_of(stick, "timestamp").read_bytes())["signed"]
    workshop.resign(stick, "targets", lambda signed: (signed.clear(), signed.update(said)))
    return stick


@attack()
def no_metadata(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("no-metadata")
    for path in (stick / FOLDER / METADATA).iterdir():
        path.unlink()
    return stick


@attack()
def no_targets_metadata(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("no-targets")
    path_of(stick, "targets").unlink()
    return stick
