from __future__ import annotations

import json

import pytest

from benchmarks import boards
from edge import embedded
from edge.bundle import load_bundle
from edge.errors import InputError
from tests.benchmarks.made import BOARD, result


def test_a_board_without_a_result_is_not_measured_and_has_its_estimate():
    made = boards.rows([], {"5": "tiny, estimate: models 2 to 10 ms"})
    assert [row[0] for row in made] == ["Raspberry Pi Zero 2 W", "Raspberry Pi 3B+", "Raspberry Pi 4", "Raspberry Pi 5"]
    assert all(row[2] == "not measured" for row in made) and "estimate" in made[3][1]


def test_a_measured_board_takes_the_place_of_its_empty_row():
    made = boards.rows([result(), result(board={**BOARD, "model": "", "cpu": "AMD EPYC", "cores": 2})], {})
    names = [row[0] for row in made]
    assert "Raspberry Pi 4" not in names and "Raspberry Pi 4 Model B Rev 1.4" in names and "AMD EPYC, 2 cores" in names
    row = made[names.index("Raspberry Pi 4 Model B Rev 1.4")]
    assert "0 of 240" in row and "99.4 %" in row and row[-1] == "yes"
    assert all(len(row) == len(boards.HEAD) for row in made)


def test_the_table_and_the_page_tell_how_in_two_commands():
    made = boards.rows([result()], {})
    for text in (boards.as_markdown(made), boards.as_page(made).replace("&amp;", "&")):
        assert all(command in text for command in boards.HOW) and "not measured" in text
    assert "<script" not in boards.as_page(made)


def test_results_are_read_from_the_folder_and_what_is_none_is_refused(tmp_path):
    assert boards.known(tmp_path) == []
    (tmp_path / "boards").mkdir()
    (tmp_path / "bench.json").write_text(json.dumps(result()))
    (tmp_path / "boards/pi.json").write_text(json.dumps(result()))
    assert len(boards.known(tmp_path)) == 2
    (tmp_path / "boards/other.json").write_text("{}")
    with pytest.raises(InputError, match="no result of affectkit bench"):
        boards.known(tmp_path)


def test_the_table_is_rendered_beside_the_results_of_a_checkout(tmp_path):
    bundle = load_bundle(embedded.BUNDLE)
    here_ms = {stage: 0.1 for stage in bundle.manifest.stages}
    (tmp_path / "bench.json").write_text(json.dumps(result()))
    assert [path.name for path in boards.update(bundle, here_ms, tmp_path)] == ["boards.md", "boards.html"]
    assert "estimate: models" in (tmp_path / "boards.md").read_text()
    with pytest.raises(InputError, match="checkout"):
        boards.update(bundle, here_ms, tmp_path / "none")
