"""``affectkit inspect`` shows what a bundle holds, in plain text or JSON, and refuses what a run would refuse."""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np
import pytest

from edge.bundle import Manifest, StageSpec, load_bundle, pack_golden, write_bundle
from edge.errors import BundleError, InferenceError
from edge.inspect import add_commands, add_verify


def inspect(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(["inspect", *map(str, arguments)])
    return args.run(args)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "small.affectkit"
    manifest = Manifest(
        name="small",
        version="0.1.0",
        created="2025-03-01",
        labels=("positive", "calm"),
        stages={"face": StageSpec("face", "stages/face.tflite", {"face": "in:0"}, {"embedding": "out:0"}, 5.0, 139_000, 18_000_000)},
        preprocess={"face": {"size_px": 48}},
        max_age_ms={"face": 1500},
        temperature=1.25,
        abstain_below=0.4,
        switch_margin=0.05,
        data_terms=("FER2013: research only",),
    )
    golden = {"input_face": np.zeros((2, 48, 48, 1), np.int8), "output_embedding": np.zeros((2, 48), np.int8)}
    card = b"# Small\n\nLimits: \x1b[31mmany\x1b[0m.\n"
    write_bundle(
        path, manifest, {"card.md": card, "stages/face.tflite": b"\x1c\0\0\0TFL3" + bytes(92), "golden/face.npz": pack_golden(golden)}
    )
    return path


def test_plain_text_tells_all_of_it(path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    assert inspect(path) == 0
    shown = capsys.readouterr().out
    for word in (
        *("small 0.1.0", "positive, calm", "every 250 ms, within 200 ms", "face 1500 ms", "139,000", "18,000,000"),
        *("face 48x48x1", "embedding 48", "size_px = 48", "golden/face.npz", "FER2013: research only", "temperature 1.25"),
    ):
        assert word in shown
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert not any(line.endswith(" ") for line in shown.splitlines())


def test_json_is_one_object_with_hashes(path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    assert inspect(path, "--json", "--card") == 0
    table = json.loads(capsys.readouterr().out)
    assert len(table["sha256"]) == 64 and table["bytes"] == path.stat().st_size
    assert table["manifest"]["stages"]["face"]["weights"] == 139_000
    assert len(table["manifest"]["parts"]["card.md"]["sha256"]) == 64
    assert table["card"].startswith("# Small")


def test_card_is_shown_without_control_characters(path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    assert inspect(path, "--card") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# Small\n\nLimits:") and "\x1b" not in shown


def test_a_damaged_bundle_is_refused(path: pathlib.Path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="cut short"):
        inspect(path)


def test_verify_says_in_one_line_that_a_stage_cannot_run(path: pathlib.Path):
    with pytest.raises(InferenceError) as caught:
        inspect(path, "--verify")
    assert "face" in str(caught.value) and "\n" not in str(caught.value)


def test_the_embedded_bundle_answers_bit_by_bit(embedded_bundle: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    if not embedded_bundle.exists():
        pytest.skip("the embedded bundle is not built yet: affectkit train classroom --data DIR")
    assert inspect(embedded_bundle, "--verify", "--json") == 0
    verified = json.loads(capsys.readouterr().out)["verified"]
    assert verified["runtime"] and all(stage["exact"] and stage["samples"] > 0 for stage in verified["stages"].values())


def verify(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_verify(parser.add_subparsers())
    args = parser.parse_args(["verify", *map(str, arguments)])
    return args.run(args)


def test_the_embedded_bundle_computes_here_what_it_computed_where_it_was_made(capsys):
    assert verify() == 0
    said = capsys.readouterr().out
    assert said.count("bit by bit the same") == 5
    assert said.startswith("classroom ")


def test_a_stage_that_answers_otherwise_is_told_with_how_far_off_it_is(embedded_bundle, tmp_path, capsys):
    bundle = load_bundle(embedded_bundle)
    vectors = bundle.golden("face")
    vectors["output_embedding"] = np.clip(vectors["output_embedding"].astype(int) - 3, -128, 127).astype(np.int8)
    parts = {name: bundle.part(name) for name in bundle.manifest.parts}
    path = tmp_path / "off.affectkit"
    write_bundle(path, bundle.manifest, {**parts, "golden/face.npz": pack_golden(vectors)})
    assert verify(path) == 1
    assert "face: 8 samples, up to 3 steps off" in capsys.readouterr().out
    assert verify(path, "--within", 3) == 0
    capsys.readouterr()
    assert verify(path, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["stages"]["face"] == {"samples": 8, "largest_difference": 3.0, "exact": False}
    assert told["sha256"] == load_bundle(path).sha256
