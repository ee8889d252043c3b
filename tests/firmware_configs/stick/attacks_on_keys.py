"""Sticks that are not signed by those who should."""

from __future__ import annotations

import json
import os
import pathlib
import typing

from firmware_configs.stick import FOLDER, METADATA
from tests.firmware_configs.stick.register import DAY, Change, Said, attack, edit_file, iso
from tests.firmware_configs.stick.workshop import Workshop, path_of, signed_bytes


@attack()
def unsigned(workshop: Workshop) -> pathlib.Path:
    """No signature on anything."""
    stick = workshop.copy("unsigned")
    for role in ("timestamp", "snapshot", "targets"):
        edit_file(path_of(stick, role), lambda table: table.update(signatures=[]))
    return stick


@attack()
def signed_by_a_stranger(workshop: Workshop) -> pathlib.Path:
    """Everything signed, with keys that nobody knows."""
    return workshop.write("stranger", signers=workshop.stranger)


@attack()
def stranger_under_our_key_id(workshop: Workshop) -> pathlib.Path:
    """A stranger's signature that says it is of the right key."""
    stick = workshop.write("borrowed-id", signers=workshop.stranger)
    for role in ("timestamp", "snapshot", "targets"):
        keyid = workshop.signers[role][0].public_key.keyid
        edit_file(path_of(stick, role), lambda table, keyid=keyid: table["signatures"][0].update(keyid=keyid))
    return stick


@attack()
def changed_after_signing(workshop: Workshop) -> pathlib.Path:
    """The timestamp says it counts for ever; its signature is of what it said before."""
    stick = workshop.copy("changed")
    edit_file(path_of(stick, "timestamp"), lambda table: table["signed"].update(expires="2199-01-01T00:00:00Z"))
    return stick


@attack()
def targets_signed_with_the_timestamp_key(workshop: Workshop) -> pathlib.Path:
    """Who stole the timestamp's key alone: good for nothing but timestamps."""
    one = workshop.signers["timestamp"]
    return workshop.write("stolen", signers={**workshop.signers, "targets": one, "snapshot": one})


@attack()
def timestamp_of_a_stranger_alone(workshop: Workshop) -> pathlib.Path:
    return workshop.write("one-stranger", signers={**workshop.signers, "timestamp": workshop.stranger["timestamp"]})


@attack()
def snapshot_of_a_stranger_alone(workshop: Workshop) -> pathlib.Path:
    return workshop.write("shot-stranger", signers={**workshop.signers, "snapshot": workshop.stranger["snapshot"]})


@attack()
def targets_of_a_stranger_alone(workshop: Workshop) -> pathlib.Path:
    return workshop.write("list-stranger", signers={**workshop.signers, "targets": workshop.stranger["targets"]})


@attack()
def signature_twice(workshop: Workshop) -> pathlib.Path:
    """The same signature twice, as if it were two."""
    stick = workshop.copy("twice")
    edit_file(path_of(stick, "timestamp"), lambda table: table["signatures"].extend(table["signatures"]))
    return stick


def _root(workshop: Workshop, edit: Change, signers: typing.Any) -> bytes:
    """Root 2, as ``edit`` makes it of root 1."""
    said = json.loads(workshop.roots[1])["signed"]
    said["version"] = 2
    edit(said)
    return signed_bytes(said, signers)


def _with_keys_of(signers: typing.Any) -> Change:
    def edit(said: Said) -> None:
        said["keys"] = {one.public_key.keyid: one.public_key.to_dict() for ones in signers.values() for one in ones}
        for role, ones in signers.items():
            said["roles"][role]["keyids"] = [one.public_key.keyid for one in ones]

    return edit


@attack()
def root_of_a_stranger(workshop: Workshop) -> pathlib.Path:
    """A second root with a stranger's keys, signed by the stranger alone, and everything else by these."""
    root = _root(workshop, _with_keys_of(workshop.stranger), workshop.stranger["root"])
    return workshop.write("root-stranger", signers=workshop.stranger, roots={**workshop.roots, 2: root})


@attack()
def root_with_too_few_signatures(workshop: Workshop) -> pathlib.Path:
    """One of two root keys was stolen: it signs for a stranger's keys."""
    root = _root(workshop, _with_keys_of(workshop.stranger), [workshop.signers["root"][0], *workshop.stranger["root"]])
    return workshop.write("root-few", signers=workshop.stranger, roots={**workshop.roots, 2: root})


@attack()
def root_signed_twice_by_one_key(workshop: Workshop) -> pathlib.Path:
    """The same, and the stolen key signs twice."""
    one = workshop.signers["root"][0]
    root = _root(workshop, _with_keys_of(workshop.stranger), [one, one, *workshop.stranger["root"]])
    return workshop.write("root-double", signers=workshop.stranger, roots={**workshop.roots, 2: root})


@attack()
def root_not_signed_by_the_new_keys(workshop: Workshop) -> pathlib.Path:
    """The old keys hand over to keys that have not agreed."""
    root = _root(workshop, _with_keys_of(workshop.stranger), workshop.signers["root"])
    return workshop.write("root-unasked", signers=workshop.stranger, roots={**workshop.roots, 2: root})


@attack()
def root_chain_broken(workshop: Workshop) -> pathlib.Path:
    """Root 3 without root 2, rightly signed; the rest is signed with its keys."""
    both = [*workshop.signers["root"], *workshop.stranger["root"]]
    root = _root(workshop, lambda said: (_with_keys_of(workshop.stranger)(said), said.update(version=3)), both)
    return workshop.write("root-gap", signers=workshop.stranger, roots={**workshop.roots, 3: root})


@attack()
def root_of_another_version_than_its_name(workshop: Workshop) -> pathlib.Path:
    both = [*workshop.signers["root"], *workshop.stranger["root"]]
    root = _root(workshop, lambda said: (_with_keys_of(workshop.stranger)(said), said.update(version=7)), both)
    return workshop.write("root-name", signers=workshop.stranger, roots={**workshop.roots, 2: root})


@attack()
def root_has_ended(workshop: Workshop) -> pathlib.Path:
    """The newest root is rightly signed, and no longer counts."""
    end = iso(workshop.now - 100 * DAY)
    root = _root(workshop, lambda said: said.update(expires=end), workshop.signers["root"])
    return workshop.write("root-ended", roots={**workshop.roots, 2: root})


@attack()
def key_of_an_unknown_kind(workshop: Workshop) -> pathlib.Path:
    """The timestamp's key is said to be of a kind that nobody knows."""

    def edit(said: Said) -> None:
        (keyid,) = said["roles"]["timestamp"]["keyids"]
        said["keys"][keyid].update(keytype="rot13", scheme="rot13")

    root = _root(workshop, edit, workshop.signers["root"])
    return workshop.write("key-kind", roots={**workshop.roots, 2: root})


@attack()
def key_of_the_wrong_kind(workshop: Workshop) -> pathlib.Path:
    """The timestamp's key is said to be of RSA."""

    def edit(said: Said) -> None:
        (keyid,) = said["roles"]["timestamp"]["keyids"]
        said["keys"][keyid].update(keytype="rsa", scheme="rsassa-pss-sha256")

    root = _root(workshop, edit, workshop.signers["root"])
    return workshop.write("key-rsa", roots={**workshop.roots, 2: root})


@attack()
def threshold_not_met(workshop: Workshop) -> pathlib.Path:
    """The root asks for two keys to sign a timestamp, and one has."""

    def edit(said: Said) -> None:
        other = workshop.stranger["timestamp"][0].public_key
        said["keys"][other.keyid] = other.to_dict()
        said["roles"]["timestamp"]["keyids"].append(other.keyid)
        said["roles"]["timestamp"]["threshold"] = 2

    root = _root(workshop, edit, workshop.signers["root"])
    return workshop.write("threshold", roots={**workshop.roots, 2: root})


@attack()
def ten_thousand_roots(workshop: Workshop) -> pathlib.Path:
    """A chain of roots that has no end, of which none is signed."""
    stick = workshop.copy("roots")
    said = json.loads(workshop.roots[1])["signed"]
    before, after = signed_bytes({**said, "version": 987_654}, []).split(b"987654")
    second = stick / FOLDER / METADATA / "2.root.json"
    second.write_bytes(before + b"2" + after)
    for version in range(3, 10_002):
        os.link(second, second.with_name(f"{version}.root.json"))
    return stick
