from __future__ import annotations

import json

import pytest

from benchmarks.accuracy import equal_share, expected_in, hash_of

DECISIONS = [["decided calm", 3], ["unsure", 1]]


@pytest.mark.parametrize(
    ("made", "share"),
    [(DECISIONS, 1.0), ([["decided calm", 2], ["unsure", 2]], 0.75), ([["decided calm", 3]], 0.75), ([], 0.0)],
)
def test_the_share_counts_ticks_and_not_runs(made, share):
    assert equal_share(made, DECISIONS) == share


def kept(tmp_path, **changes):
    one = {"bundle": "b", "session": "s", "decisions": DECISIONS, "sha256": hash_of(DECISIONS)}
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"scenarios": {"accuracy": {**one, **changes}}}))
    return str(path)


def test_expected_decisions_are_those_of_the_same_bundle_and_session(tmp_path):
    assert expected_in(kept(tmp_path), "b", "s") == DECISIONS
    assert expected_in(kept(tmp_path), "other", "s") is None and expected_in(kept(tmp_path), "b", "other") is None
    assert expected_in(kept(tmp_path, sha256="0" * 64), "b", "s") is None


def test_with_nothing_kept_nothing_is_expected(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    assert expected_in("", "b", "s") is None and expected_in(str(tmp_path / "none.json"), "b", "s") is None
    assert expected_in(str(tmp_path / "broken.json"), "b", "s") is None
