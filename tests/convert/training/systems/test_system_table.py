"""The table of the published systems: written from what bundles say, timed on their golden inputs."""

from __future__ import annotations

import json

import pytest

from convert.training.systems import table
from edge.bundle import load_bundle
from edge.errors import InputError

pytestmark = pytest.mark.convert


def test_a_row_has_the_papers_figure_ours_and_what_was_timed_here(packed, tmp_path):
    written = table.write([packed], tmp_path / "systems")
    text, told = written.read_text(encoding="utf-8"), json.loads((tmp_path / "systems.json").read_text(encoding="utf-8"))
    (one,) = told["systems"]
    bundle = load_bundle(packed)
    assert "a still face for 10 steps" in one["task"]
    assert one["int8"]["accuracy"] == bundle.quality["results"][one["task"]]["int8"]["accuracy"]
    assert one["sha256"] == bundle.sha256
    assert set(one["stage_median_ms"]) == {"face", "fusion"}
    assert all(0 < ms < 1000 for ms in one["stage_median_ms"].values())
    assert one["median_ms"] == pytest.approx(sum(one["stage_median_ms"].values()))
    (line,) = [line for line in text.splitlines() if line.startswith("| cnn_lstm (trial, 0.5 of the epochs)")]
    for expected in ("not known here", "25.0 % / 20.0 %", f"{one['median_ms']:.1f} ms", "not measured", "not named"):
        assert expected in line
    assert "| cnn_lstm | three of them | 120 | 3 | 30.0 % | 31.0 % ± 2.0 % |" in text


def test_nothing_is_overwritten_unasked(packed, tmp_path):
    (tmp_path / "systems.json").write_text("{}")
    with pytest.raises(InputError, match=r"systems\.json: exists"):
        table.write([packed], tmp_path / "systems")
    assert not (tmp_path / "systems.md").exists()


def test_what_is_wrong_is_one_line_and_a_status(tmp_path, capsys):
    assert table.main([str(tmp_path / "none.affectkit"), "-o", str(tmp_path / "systems")]) == 2
    assert "none.affectkit" in capsys.readouterr().err
