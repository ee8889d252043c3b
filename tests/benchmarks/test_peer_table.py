"""Who is first in which column, and what is said of it."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import peer_table
from benchmarks.peer_converters import AUTO, DEFAULT
from benchmarks.peer_table import FLOAT, Row

OURS = Row(
    "net", DEFAULT, "runs", route="static_wi8_ai8", bytes=1000, agreement=0.990, mean_error=0.0040, accuracy=0.80, float_accuracy=0.81,
    median_ms=1.00, operators={"CONV_2D": 3}, runtimes={"litert": "runs", "old": "fails, no such version"},
)  # fmt: skip
PEER = dataclasses.replace(OURS, converter="peer", route="its way")
FAILED = Row("net", "failing", "not converted", "ValueError: a | b\nsecond line", 3.0)


def with_peer(**changes):
    return [OURS, dataclasses.replace(PEER, **changes)]


@pytest.mark.parametrize(
    ("column", "changes"),
    [
        ("size", {"bytes": 980}),
        ("agreement", {"agreement": 0.993}),
        ("mean error", {"mean_error": 0.0036}),
        ("latency", {"median_ms": 0.94}),
    ],
)
def test_a_peer_that_is_clearly_better_leads_its_column_alone(column, changes):
    rows = with_peer(**changes)
    assert peer_table.firsts(rows, column) == ["peer"]
    assert [(lead.column, lead.ours, lead.best.converter) for lead in peer_table.leads(rows)] == [(column, OURS, "peer")]


@pytest.mark.parametrize("changes", [{"bytes": 995}, {"agreement": 0.9915}, {"mean_error": 0.0039}, {"median_ms": 0.96}])
def test_a_difference_within_the_noise_is_none(changes):
    rows = with_peer(**changes)
    assert peer_table.leads(rows) == []


def test_the_better_of_both_conversions_counts():
    rows = [*with_peer(mean_error=0.0020), dataclasses.replace(OURS, converter=AUTO, mean_error=0.0010)]
    assert peer_table.leads(rows) == []


def test_a_file_that_answers_wrongly_is_not_first_for_being_small_or_fast():
    rows = with_peer(agreement=0.5, mean_error=0.2, bytes=10, median_ms=0.1)
    assert peer_table.leads(rows) == []
    assert peer_table.firsts(rows, "size") == [DEFAULT]


def test_floating_point_left_in_a_file_is_counted_and_can_be_kept_out():
    rows = with_peer(float_operators={"NEG": 6}, mean_error=0.001)
    assert peer_table.firsts(rows, "float operators") == [DEFAULT]
    assert [lead.column for lead in peer_table.leads(rows)] == ["mean error"]
    assert peer_table.leads(rows, integer=True) == []


def test_the_float_network_is_shown_and_not_compared():
    rows = [dataclasses.replace(OURS, converter=FLOAT, mean_error=0.0, agreement=1.0), OURS]
    assert peer_table.firsts(rows, "mean error") == [DEFAULT]
    assert "| float32 | 1000 | 100.0% | 0.00000 | 80.0% |" in peer_table.table(rows)


def test_every_row_of_the_table_has_as_many_cells_as_its_head():
    lines = [line for line in peer_table.table([OURS, PEER, FAILED]).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines[:-1]}) == 1
    assert "not converted: ValueError: a / b second line" in lines[-1]


def test_the_table_tells_points_of_accuracy_and_where_a_file_runs():
    line = next(line for line in peer_table.table([OURS]).splitlines() if DEFAULT in line)
    assert "| -1.0 |" in line
    assert "| litert, old: fails |" in line


def test_the_summary_counts_networks_and_columns():
    other = [dataclasses.replace(row, network="other") for row in with_peer(bytes=500)]
    lines = peer_table.summary([*with_peer(), FAILED, *other]).splitlines()
    assert f"| {DEFAULT} | 2 of 2 | 1 | 2 | 2 | 2 | 2 | 9 of 10 |" in lines
    assert "| peer | 2 of 2 | 2 | 2 | 2 | 2 | 2 | 10 of 10 |" in lines
    assert "| failing | 0 of 1 | 0 | 0 | 0 | 0 | 0 | 0 of 10 |" in lines


def test_where_affectkit_is_behind_is_told_with_both_numbers():
    assert peer_table.lead_lines(with_peer(median_ms=0.5)) == (
        "- net, latency: 1.000 ms (affectkit: static_wi8_ai8); 0.500 ms (peer: its way)"
    )
    assert peer_table.lead_lines([OURS]) == "- nowhere"
