from __future__ import annotations

import pytest

from benchmarks.compare import compare, spread
from edge.errors import InputError
from tests.benchmarks.made import BOARD, result


def verdict(lines: list[str], name: str) -> str:
    return next(line.split()[0] for line in lines if f": {name}:" in line)


def test_a_slower_run_is_a_regression():
    lines, status = compare(result(6.0), result(7.0))
    assert status == 1 and verdict(lines, "response p50") == "worse" and verdict(lines, "CPU") == "same"
    assert lines[0].startswith("worse") and "+16.7 %" in lines[0] and lines[-1].startswith("1 worse, 0 better, 2 same")


def test_a_faster_run_is_better_and_no_failure():
    lines, status = compare(result(7.0), result(6.0))
    assert status == 0 and verdict(lines, "response p50") == "better"


def test_what_differs_by_no_more_than_the_repeats_do_is_the_same():
    noisy = result(6.0)
    noisy["scenarios"]["cycle"]["metrics"]["response p50"]["repeats"] = [5.0, 5.6, 6.0, 6.4, 7.0]
    lines, status = compare(noisy, result(7.0))
    assert status == 0 and verdict(lines, "response p50") == "same"


def test_under_five_percent_is_the_same_however_quiet_the_repeats():
    first, second = result(6.0), result(6.2)
    for one in (first, second):
        one["scenarios"]["cycle"]["metrics"]["response p50"]["repeats"] = [6.0] * 6
    assert compare(first, second)[1] == 0


@pytest.mark.parametrize(("before", "after", "status"), [(0, 3, 0), (0, 20, 1), (20, 30, 0), (30, 2, 0)])
def test_misses_have_the_noise_of_counting(before, after, status):
    assert compare(result(misses=before), result(misses=after))[1] == status


def test_one_wild_repeat_does_not_widen_the_noise():
    assert spread([1.0, 1.01, 0.99, 1.0, 50.0]) == pytest.approx(1.4826 * 0.01)
    assert spread([3.0]) == 0.0


def test_other_boards_bundles_and_options_are_refused_unless_asked_for():
    others = [
        result(board={**BOARD, "model": "Raspberry Pi 5 Model B Rev 1.0"}),
        result(bundle={**result()["bundle"], "sha256": "b" * 64}),
        result(order={"cycle_s": 5.0}),
    ]
    for other, said in zip(others, ("Raspberry Pi 5", "bbbb", "options"), strict=True):
        with pytest.raises(InputError, match=said):
            compare(result(), other)
        assert compare(result(), other, anyway=True)[1] == 0


def test_an_unfit_result_is_not_used_unless_asked_for():
    unfit = result(unfit=["cycle: other programs used 60 % of the machine"])
    with pytest.raises(InputError, match="second result is unfit: cycle: other programs"):
        compare(result(), unfit)
    assert compare(result(), unfit, anyway=True)[1] == 0


def test_other_decisions_are_a_regression_without_any_noise():
    other = result()
    other["scenarios"]["accuracy"] |= {"sha256": "f" * 64, "decisions": [["decided calm", 3], ["unsure", 1]]}
    lines, status = compare(result(), other)
    assert status == 1 and lines[0] == "worse   accuracy: 25.00 % of the decisions on the session differ"
    other["scenarios"]["accuracy"]["exact"] = False
    assert "golden outputs" in compare(result(), other)[0][0]


def test_nothing_in_common_is_said():
    with pytest.raises(InputError, match="no number in common"):
        compare(result(), result(scenarios={}))
