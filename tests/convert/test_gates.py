"""Limits count only where they are set and can be told."""

from __future__ import annotations

import pytest

from convert.gates import Gates, missed
from convert.report import Report
from convert.verify import OutputError, Task, Verification


def report(agreement: float = 0.97, drop: float | None = 0.02) -> Report:
    task = None
    if drop is not None:
        task = Task("p", ("a", "b"), 0.5, 0.9, 0.9 - drop, 0.9, 0.9 - drop, 0.1, 0.1, [[1, 0], [0, 1]], [[1, 0], [0, 1]])
    checked = Verification("m", "here", 100, {"p": OutputError("probabilities", agreement, 0.1, 0.01)}, task)
    return Report("m", {}, "static_wi8_ai8", None, {}, {}, 1000, 4000, 900, 5_000_000, {}, 0.0, checked)


def test_nothing_asked_is_nothing_missed():
    assert Gates().measured(report()) == ()
    assert missed(()) == ""


def test_every_missed_gate_is_said_with_both_numbers():
    gates = Gates(min_agreement=0.98, max_drop=0.01, max_bytes=999, max_macs=5_000_000).measured(report())
    assert [gate.passed for gate in gates] == [False, False, False, True]
    said = missed(gates)
    assert "min-agreement is 98.00%, and it has 97.00%" in said
    assert "max-drop is 1.00%, and it has 2.00%" in said
    assert "max-bytes is 999, and it has 1,000" in said
    assert "max-macs" not in said


@pytest.mark.parametrize(("agreement", "passed"), [(0.98, True), (0.9799, False)])
def test_the_limit_itself_passes(agreement, passed):
    assert [gate.passed for gate in Gates(min_agreement=0.98).measured(report(agreement))] == [passed]


def test_a_drop_without_labels_cannot_be_told():
    assert Gates(max_drop=0.01).measured(report(drop=None)) == ()
