"""Sticks that are rightly signed, as by a workstation that was broken into, and whose bundle is not what a kit can take."""

from __future__ import annotations

import collections.abc
import functools
import hashlib
import os
import pathlib
import struct
import zlib

import pytest

from edge import embedded
from edge.bundle import Bundle, load_bundle, pack_golden, write_bundle
from firmware_configs.stick import FOLDER, TARGETS
from firmware_configs.stick.bundles import Checked
from tests.firmware_configs.stick.register import Change, Said, attack, register
from tests.firmware_configs.stick.workshop import Workshop, target_of


def _named(workshop: Workshop, folder: str, name: str) -> pathlib.Path:
    """The stick's bundle under another name, rightly signed; the file too where a file can have that name."""
    stick = workshop.copy(folder)
    path = target_of(stick)

    def edit(said: Said) -> None:
        (target,) = said["targets"].values()
        said["targets"] = {name: target}

    workshop.resign(stick, "targets", edit)
    place = f"{workshop.bundle.sha256}.{name}"
    if "/" not in name and "\0" not in name and len(place.encode()) < 256:
        path.rename(path.with_name(place))
    return stick


_NAMES = {
    "path-traversal": "../../../../etc/affectkit/kit.affectkit",
    "path-traversal-behind-a-name": "classroom/../../../../etc/cron.d/kit.affectkit",
    "absolute-path": "/etc/affectkit/kit.affectkit",
    "path-of-windows": "..\\..\\kit.affectkit",
    "drive-of-windows": "c:kit.affectkit",
    "name-with-nul": "kit\0.affectkit",
    "name-with-newline": "kit\n.affectkit",
    "name-with-escape": "kit\x1b[2J\x1b]0;owned\x07.affectkit",
    "name-with-reversed-text": "kit\u202etiktceffa.affectkit",
    "name-very-long": "k" * 4000 + ".affectkit",
    "name-empty": "",
    "name-dots": "..",
    "name-in-capitals": "CLASSROOM.AFFECTKIT",
    "name-of-another-kind": "classroom.sh",
    "name-of-a-device": "con.affectkit/../nul",
    "name-not-normalized": "kit\u0301.affectkit",
}
"""Targets as no honest stick has them; all rightly signed, as by a workstation that was broken into."""


for _key, _name in _NAMES.items():
    register(_key, functools.partial(_named, folder=_key, name=_name))


@attack()
def case_collision(workshop: Workshop) -> pathlib.Path:
    """Two targets whose names are one on a FAT file system, with other content."""
    stick = workshop.copy("case")
    older = workshop.bundles[0]

    def edit(said: Said) -> None:
        (target,) = said["targets"].values()
        other = {**target, "length": older.bytes, "hashes": {"sha256": older.sha256}}
        said["targets"]["Classroom.affectkit"] = other

    workshop.resign(stick, "targets", edit)
    (stick / FOLDER / TARGETS / f"{older.sha256}.Classroom.affectkit").write_bytes(older.bundle.path.read_bytes())
    return stick


def _target(workshop: Workshop, folder: str, edit: Change) -> pathlib.Path:
    """Says something else of the only target, rightly signed."""
    stick = workshop.copy(folder)
    workshop.resign(stick, "targets", lambda said: edit(next(iter(said["targets"].values()))))
    return stick


@attack()
def wrong_length(workshop: Workshop) -> pathlib.Path:
    """The list says that the bundle is shorter."""
    return _target(workshop, "length", lambda target: target.update(length=target["length"] - 1))


@attack()
def wrong_hash(workshop: Workshop) -> pathlib.Path:
    """One byte in the middle of the bundle is another."""
    stick = workshop.copy("hash")
    path = target_of(stick)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return stick


@attack()
def no_hash(workshop: Workshop) -> pathlib.Path:
    return _target(workshop, "no-hash", lambda target: target.update(hashes={"crc32": "00000000"}))


@attack()
def no_serial(workshop: Workshop) -> pathlib.Path:
    return _target(workshop, "no-serial", lambda target: target.pop("custom"))


@attack()
def serial_is_text(workshop: Workshop) -> pathlib.Path:
    return _target(workshop, "serial", lambda target: target["custom"].update(serial="9" * 40))


@attack()
def length_beyond_all_memory(workshop: Workshop) -> pathlib.Path:
    return _target(workshop, "huge-length", lambda target: target.update(length=1 << 60))


@attack()
def truncated_bundle(workshop: Workshop) -> pathlib.Path:
    """Copied halfway."""
    stick = workshop.copy("truncated")
    os.truncate(target_of(stick), workshop.bundle.bytes // 2)
    return stick


@attack()
def empty_bundle(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("empty")
    os.truncate(target_of(stick), 0)
    return stick


@attack()
def missing_bundle(workshop: Workshop) -> pathlib.Path:
    stick = workshop.copy("missing")
    target_of(stick).unlink()
    return stick


@attack()
def endless_bundle(workshop: Workshop) -> pathlib.Path:
    """The bundle goes on for 8 GB after its end (a hole)."""
    stick = workshop.copy("endless")
    os.truncate(target_of(stick), 8 << 30)
    return stick


def _signed_file(workshop: Workshop, name: str, content: bytes) -> pathlib.Path:
    """A stick whose bundle is ``content``, rightly signed."""
    path = workshop.folder / f"{name}.affectkit"
    path.write_bytes(content)
    bundle = Bundle(path, workshop.bundle.bundle.sha256, workshop.bundle.bundle.manifest)
    return workshop.write(name, [Checked(bundle, len(content), hashlib.sha256(content).hexdigest(), None)])


@attack()
def not_a_bundle(workshop: Workshop) -> pathlib.Path:
    """A shell script, rightly signed as a bundle."""
    return _signed_file(workshop, "script", b"#!/bin/sh\nrm -rf /\n")


@attack()
def zip_bomb(workshop: Workshop) -> pathlib.Path:
    """A bundle of 300 kB that unpacks to 300 MB, and tells the truth about it."""
    return _signed_file(workshop, "bomb", _bomb(300 << 20, said=300 << 20))


@attack()
def zip_bomb_that_lies(workshop: Workshop) -> pathlib.Path:
    """The same, and its directory says 1000 bytes."""
    return _signed_file(workshop, "liar", _bomb(300 << 20, said=1000))


@attack()
def flex_operator(workshop: Workshop) -> pathlib.Path:
    """A bundle with an operator of TensorFlow's own, rightly signed, golden vectors and all."""
    path = flex_bundle(workshop.folder / "flex.affectkit")
    bundle = load_bundle(path)
    content = path.read_bytes()
    return workshop.write("flex", [Checked(bundle, len(content), hashlib.sha256(content).hexdigest(), None)])


@attack()
def golden_vectors_differ(workshop: Workshop) -> pathlib.Path:
    """A whole bundle that computes other than where it was made: here its golden vectors were changed."""
    path = golden_bundle(workshop.folder / "golden.affectkit")
    content = path.read_bytes()
    return workshop.write("golden", [Checked(load_bundle(path), len(content), hashlib.sha256(content).hexdigest(), None)])


def _bomb(size: int, said: int) -> bytes:
    """A bundle whose only part is ``size`` zeros, packed without ever having them in memory."""
    block = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first * (size // block) + b"\x03\x00"
    crc = 0
    for _ in range(size // block):
        crc = zlib.crc32(bytes(block), crc)
    name = b"bundle.json"
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, crc, len(packed), said, len(name), 0)
    local = b"PK\x03\x04" + common + name + packed
    central = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    body = local + central + end
    return b"AFFECTKIT-BUNDLE 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def flex_bundle(path: pathlib.Path, code: bytes = b"FlexErf") -> pathlib.Path:
    """The embedded bundle with a custom operator in its first stage."""
    return _changed(path, lambda name, parts: parts.update({f"stages/{name}.tflite": custom(parts[f"stages/{name}.tflite"], code)}))


def golden_bundle(path: pathlib.Path) -> pathlib.Path:
    """The embedded bundle with other golden vectors in its first stage."""

    def edit(name: str, parts: dict[str, bytes]) -> None:
        arrays = load_bundle(embedded.BUNDLE).golden(name)
        output = next(key for key in arrays if key.startswith("output_"))
        parts[f"golden/{name}.npz"] = pack_golden({**arrays, output: arrays[output] // 2 - 20})

    return _changed(path, edit)


def _changed(path: pathlib.Path, edit: collections.abc.Callable[[str, dict[str, bytes]], object]) -> pathlib.Path:
    bundle = load_bundle(embedded.BUNDLE)
    parts = {name: bundle.part(name) for name in bundle.manifest.parts}
    edit(next(iter(bundle.manifest.stages)), parts)
    write_bundle(path, bundle.manifest, parts)
    return path


def custom(content: bytes, code: bytes) -> bytes:
    """A model whose first operator is a custom one."""
    flatbuffers = pytest.importorskip("flatbuffers", reason="comes with ai-edge-litert")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs ai-edge-litert to write a model")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[0].customCode = code
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
