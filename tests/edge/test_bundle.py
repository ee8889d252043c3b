"""A bundle is read back as it was written, and whatever is wrong with it is said in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import tracemalloc
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bundle import Bundle, Manifest, StageSpec, load_bundle, pack_golden, write_bundle
from edge.errors import BundleError, InputError

HEADER_BYTES = len(b"AFFECTKIT-BUNDLE 1 ") + 64 + 1


def stage(name: str) -> StageSpec:
    return StageSpec(name, f"stages/{name}.tflite", {"x": "serving_x:0"}, {"y": "call:0"}, budget_ms=5.0, weights=1200, macs=34_000)


def manifest(**changes: Any) -> Manifest:
    return dataclasses.replace(
        Manifest(
            name="small",
            version="0.1.0",
            created="2025-03-01",
            labels=("positive", "calm", "low", "tense"),
            stages={name: stage(name) for name in ("face", "fusion")},
            preprocess={"face": {"size_px": 48, "margins": [0.1, 0.2]}},
            max_age_ms={"face": 1500, "speech": 2000},
            temperature=1.3,
            abstain_below=0.4,
            switch_margin=0.05,
            data_terms=("FER2013: research only",),
        ),
        **changes,
    )


def parts() -> dict[str, bytes]:
    rng = np.random.default_rng(5)
    table = {"card.md": "# A card\n\nWhat it is — and is not.\n".encode()}
    for name in ("face", "fusion"):
        table[f"stages/{name}.tflite"] = b"\x1c\0\0\0TFL3" + rng.bytes(700)
        arrays = {"input_x": rng.integers(-128, 128, (3, 4, 2)), "output_y": rng.integers(-128, 128, (3, 5))}
        table[f"golden/{name}.npz"] = pack_golden({key: array.astype(np.int8) for key, array in arrays.items()})
    return table


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("bundle") / "small.affectkit"
    write_bundle(path, manifest(), parts())
    return path


def refused(path: pathlib.Path, *words: str) -> str:
    """The one line with which ``path`` is refused."""
    with pytest.raises(BundleError) as caught:
        load_bundle(path)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(str(path)) and caught.value.exit_status == 2 and isinstance(caught.value, InputError)
    for word in words:
        assert word in line
    return line


def signed(body: bytes, format_number: int = 1) -> bytes:
    return f"AFFECTKIT-BUNDLE {format_number} {hashlib.sha256(body).hexdigest()}\n".encode() + body


def repacked(path: pathlib.Path, change) -> bytes:
    """The bundle's bytes with its parts as ``change(list of (name, content))`` left them, rightly signed."""
    with zipfile.ZipFile(path) as archive:
        entries = [(part.filename, archive.read(part)) for part in archive.infolist()]
    entries = change(entries)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zipfile, about doubled names
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries:
                archive.writestr(name, content)
    return signed(buffer.getvalue())


def with_manifest(path: pathlib.Path, change) -> bytes:
    def edit(entries):
        table = dict(entries)
        said = json.loads(table["bundle.json"])
        change(said)
        return [(name, json.dumps(said).encode() if name == "bundle.json" else content) for name, content in entries]

    return repacked(path, edit)


def test_is_read_back_as_written(path: pathlib.Path):
    bundle = load_bundle(path)
    content = parts()
    assert dataclasses.replace(bundle.manifest, parts={}) == manifest()
    assert bundle.card == content["card.md"].decode()
    assert bundle.stage("face") == content["stages/face.tflite"]
    golden = bundle.golden("fusion")
    assert golden["input_x"].shape == (3, 4, 2) and golden["output_y"].shape == (3, 5) and golden["output_y"].dtype == np.int8
    assert set(bundle.manifest.parts) == set(content)
    assert bundle.manifest.parts["card.md"].sha256 == hashlib.sha256(content["card.md"]).hexdigest()
    assert bundle.sha256 == hashlib.sha256(path.read_bytes()[HEADER_BYTES:]).hexdigest()


def test_same_input_gives_the_same_bytes(path: pathlib.Path, tmp_path: pathlib.Path):
    again = tmp_path / "again.affectkit"
    sha256 = write_bundle(str(again), manifest(), dict(reversed(parts().items())))
    assert again.read_bytes() == path.read_bytes()
    assert load_bundle(str(again)).sha256 == sha256


def test_an_existing_path_is_kept_unless_asked(tmp_path: pathlib.Path):
    path = tmp_path / "a.affectkit"
    write_bundle(path, manifest(), parts())
    before = path.read_bytes()
    with pytest.raises(BundleError, match="exists"):
        write_bundle(path, manifest(version="0.2.0"), parts())
    assert path.read_bytes() == before
    write_bundle(path, manifest(version="0.2.0"), parts(), overwrite=True)
    assert load_bundle(path).manifest.version == "0.2.0"
    assert os.listdir(tmp_path) == ["a.affectkit"]


@pytest.mark.parametrize(
    ("said", "content"),
    [
        (manifest(temperature=float("nan")), parts()),
        (manifest(temperature=0.0), parts()),
        (manifest(labels=("calm", "calm")), parts()),
        (manifest(created="yesterday"), parts()),
        (manifest(name="Two words"), parts()),
        (manifest(preprocess={"face": {"size_px": np.int64(4)}}), parts()),
        (manifest(max_age_ms={"smell": 3}), parts()),
        (manifest(data_terms=("two\nlines",)), parts()),
        (manifest(), {name: content for name, content in parts().items() if name != "golden/face.npz"}),
        (manifest(), {**parts(), "notes.txt": b"?"}),
        (manifest(), {**parts(), "card.md": b"\xff"}),
        (manifest(), {**parts(), "stages/face.tflite": b"not a model"}),
        (manifest(), {**parts(), "golden/face.npz": pack_golden({"input_x": np.zeros((1, 2), np.int8)})}),
        (manifest(), {**parts(), "golden/face.npz": pack_golden({"input_x": np.zeros((1, 2)), "output_y": np.zeros((1, 2))})}),
    ],
)
def test_nothing_is_written_that_could_not_be_read(tmp_path: pathlib.Path, said: Manifest, content: dict[str, bytes]):
    with pytest.raises(BundleError) as caught:
        write_bundle(tmp_path / "a.affectkit", said, content)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: pathlib.Path):
    with pytest.raises(BundleError, match="nowhere"):
        write_bundle(tmp_path / "nowhere" / "a.affectkit", manifest(), parts())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_byte_is_refused(path: pathlib.Path, tmp_path: pathlib.Path, data: st.DataObject):
    content = bytearray(path.read_bytes())
    at = data.draw(st.one_of(st.integers(0, HEADER_BYTES), st.integers(0, len(content) - 1)))
    content[at] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.affectkit"
    damaged.write_bytes(content)
    refused(damaged)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shorter_file_is_refused(path: pathlib.Path, tmp_path: pathlib.Path, data: st.DataObject):
    content = path.read_bytes()
    cut = tmp_path / "cut.affectkit"
    cut.write_bytes(content[: data.draw(st.one_of(st.integers(0, HEADER_BYTES), st.integers(0, len(content) - 1)))])
    refused(cut)


def test_anything_behind_the_end_is_refused(path: pathlib.Path, tmp_path: pathlib.Path):
    longer = tmp_path / "longer.affectkit"
    longer.write_bytes(path.read_bytes() + b"\0")
    refused(longer, "changed")


def test_a_newer_format_says_update(path: pathlib.Path, tmp_path: pathlib.Path):
    newer = tmp_path / "newer.affectkit"
    newer.write_bytes(signed(path.read_bytes()[HEADER_BYTES:], 2))
    refused(newer, "format 2", "update")
    newer.write_bytes(with_manifest(path, lambda said: said.update(format=7)))
    refused(newer, "format 7", "update")


def test_what_is_no_bundle_is_refused(tmp_path: pathlib.Path):
    other = tmp_path / "other.affectkit"
    for content in (b"", b"\n", b"hello\n", b"PK\x03\x04" + bytes(90), bytes(300), signed(b""), signed(b"no zip at all")):
        other.write_bytes(content)
        refused(other)
    refused(tmp_path / "missing.affectkit", "no such file")
    refused(tmp_path, "directory")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_refused(path: pathlib.Path, tmp_path: pathlib.Path):
    locked = tmp_path / "locked.affectkit"
    locked.write_bytes(path.read_bytes())
    locked.chmod(0)
    refused(locked, "permission")


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("golden/face.npz is missing", lambda e: [x for x in e if x[0] != "golden/face.npz"]),
        ("bundle.json is missing", lambda e: [x for x in e if x[0] != "bundle.json"]),
        ("extra.txt is not known", lambda e: [*e, ("extra.txt", b"?")]),
        ("twice", lambda e: [*e, ("card.md", b"# Another")]),
        ("twice", lambda e: [*e, ("Card.md", b"# Another")]),
        ("unsafe", lambda e: [*e, ("../../etc/passwd", b"?")]),
        ("unsafe", lambda e: [*e, ("/etc/passwd", b"?")]),
        ("unsafe", lambda e: [*e, ("C:/x", b"?")]),
        ("unsafe", lambda e: [*e, ("a\\b", b"?")]),
        ("unsafe", lambda e: [*e, ("folder/", b"")]),
        ("unsafe", lambda e: [*e, ("a\x1b[2Jb", b"")]),
        ("card.md is not what the manifest says", lambda e: [(n, b"# Other" if n == "card.md" else c) for n, c in e]),
        ("parts", lambda e: [*e, *((f"p{i}", b"") for i in range(100))]),
        ("JSON", lambda e: [(n, b"{" if n == "bundle.json" else c) for n, c in e]),
        ("JSON", lambda e: [(n, b"[" * 100_000 if n == "bundle.json" else c) for n, c in e]),
        ("object", lambda e: [(n, b"[]" if n == "bundle.json" else c) for n, c in e]),
        ("twice", lambda e: [(n, c.replace(b'"format"', b'"format": 1, "format"') if n == "bundle.json" else c) for n, c in e]),
    ],
)
def test_tampered_but_rightly_signed_is_refused(path: pathlib.Path, tmp_path: pathlib.Path, word: str, change):
    tampered = tmp_path / "tampered.affectkit"
    tampered.write_bytes(repacked(path, change))
    refused(tampered, word)


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("unknown key 'color'", lambda said: said.update(color="red")),
        ("unknown key 'color'", lambda said: said["stages"]["face"].update(color="red")),
        ("labels is missing", lambda said: said.pop("labels")),
        ("format", lambda said: said.update(format=True)),
        ("cadence_ms", lambda said: said.update(cadence_ms=0)),
        ("temperature", lambda said: said.update(temperature="1")),
        ("abstain_below", lambda said: said.update(abstain_below=1.5)),
        ("labels", lambda said: said.update(labels=["\x1b[31m", "b"])),
        ("JSON", lambda said: said.update({"\x1b[31m": 1})),
        ("stages is empty", lambda said: said.update(stages={})),
        ("stages/face.tflite", lambda said: said["stages"]["face"].update(file="stages/fusion.tflite")),
        ("golden", lambda said: said["stages"]["face"]["inputs"].update(z="z:0")),
        ("card.md is not known", lambda said: said["parts"].pop("card.md")),
        ("is not what the manifest says", lambda said: said["parts"]["card.md"].update(bytes=3)),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(path: pathlib.Path, tmp_path: pathlib.Path, word: str, change):
    tampered = tmp_path / "tampered.affectkit"
    tampered.write_bytes(with_manifest(path, change))
    refused(tampered, word)


def test_a_bomb_is_refused_before_it_is_unpacked(path: pathlib.Path, tmp_path: pathlib.Path):
    tampered = tmp_path / "bomb.affectkit"
    body = bytearray(repacked(path, lambda e: [*e, ("zeros", bytes(1000))])[HEADER_BYTES:])
    at = body.rindex(b"PK\x01\x02", 0, body.rindex(b"zeros"))
    body[at + 24 : at + 28] = (1 << 30).to_bytes(4, "little")  # the size that the directory declares
    tampered.write_bytes(signed(bytes(body)))
    refused(tampered, "unpacks to")


def test_no_more_is_unpacked_than_the_directory_declares(path: pathlib.Path, tmp_path: pathlib.Path):
    tampered = tmp_path / "liar.affectkit"
    plain = tmp_path / "liar.zip"
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", bytes(64 << 20))
    body = bytearray(plain.read_bytes())
    at = body.rindex(b"PK\x01\x02")
    body[at + 24 : at + 28] = (1000).to_bytes(4, "little")  # the size that the directory declares, of 64 MiB
    tampered.write_bytes(signed(bytes(body)))
    tracemalloc.start()
    try:
        refused(tampered, "damaged")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_file_changed_after_the_check_is_noticed(tmp_path: pathlib.Path):
    path = tmp_path / "a.affectkit"
    write_bundle(path, manifest(), parts())
    bundle = load_bundle(path)
    write_bundle(path, manifest(), {**parts(), "card.md": b"# Another card\n"}, overwrite=True)
    with pytest.raises(BundleError, match="not what the manifest says"):
        _ = bundle.card
    path.unlink()
    with pytest.raises(BundleError, match="no such file"):
        bundle.stage("face")


def test_what_is_not_in_it_is_named(path: pathlib.Path):
    bundle: Bundle = load_bundle(path)
    with pytest.raises(BundleError, match="no stage smell; it has face, fusion"):
        bundle.stage("smell")
    with pytest.raises(BundleError, match="no part x"):
        bundle.part("x")
