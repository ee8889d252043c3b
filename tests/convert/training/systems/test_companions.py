"""Constructed companions: same label, different people, and modalities that come and go as told."""

from __future__ import annotations

import numpy as np
import pytest

from convert.training.systems.companions import MOST_LAG, PATTERNS, Takes, draw, presence, require_apart
from edge.errors import InputError


def takes(person: str, *, classes: int = 4, items: int = 3, rows: int = 5, chances: np.ndarray | None = None) -> Takes:
    """Vectors (label, item, row within the item): what a sequence showed can be read off."""
    made = [(label, label * items + item, row) for label in range(classes) for item in range(items) for row in range(rows)]
    table = np.array(made, np.float32)
    # Row 0 of item 0 must not look like absence.
    return Takes(table + 1, table[:, 0].astype(int), np.full(len(table), person), table[:, 1].astype(int), chances)


POOLS = {"face": takes("a"), "speech": takes("b")}


def test_every_modality_shows_the_label_of_its_step():
    drawn = draw(POOLS, 200, 6, np.random.default_rng(0), classes=4, switch_rate=1.0)
    for name in POOLS:
        np.testing.assert_array_equal(drawn.inputs[name][..., 0] - 1, drawn.labels)
    changes = np.abs(np.diff(drawn.labels, axis=1)).astype(bool).sum(axis=1)
    assert changes.max() == 1
    assert changes.mean() == pytest.approx(0.75, abs=0.1)  # a new label is the old one in one of four


def test_a_sequence_stays_with_one_item_while_its_label_stays_and_shows_more_than_one_row_of_it():
    drawn = draw(POOLS, 100, 8, np.random.default_rng(1), classes=4)
    items, rows = drawn.inputs["face"][..., 1], drawn.inputs["face"][..., 2]
    assert (items == items[:, :1]).all()
    assert (rows != rows[:, :1]).any(axis=1).mean() > 0.9
    assert len(np.unique(items)) == 12


def test_companions_are_chosen_by_chance_where_the_classes_are_others():
    chances = np.array([[0.5, 0.5], [1, 0], [1, 0], [0, 1]], float)
    body = takes("c", classes=2, chances=chances)
    drawn = draw({"face": POOLS["face"], "physiology": body}, 2000, 1, np.random.default_rng(2), classes=4)
    shown = drawn.inputs["physiology"][:, 0, 0] - 1
    for label, chance in enumerate(chances[:, 1]):
        assert shown[drawn.labels[:, 0] == label].mean() == pytest.approx(chance, abs=0.06)


def test_what_is_absent_is_zero_and_somebody_is_always_there():
    drawn = draw(POOLS, 300, 5, np.random.default_rng(3), classes=4, rate=None, pattern=None)
    for m, name in enumerate(POOLS):
        np.testing.assert_array_equal((drawn.inputs[name] != 0).all(axis=2), drawn.mask[..., m] == 1)
    assert drawn.mask.sum(axis=2).min() == 1


@pytest.mark.parametrize("pattern", ["even", "bursty"])
def test_absence_is_as_frequent_as_told_but_for_the_last_one_present(pattern):
    mask = presence(4000, 6, 3, np.random.default_rng(4), rate=0.5, pattern=pattern)
    # All three are absent with 1/8; one of them is then kept.
    assert 1 - mask.mean() == pytest.approx(0.5 - 1 / 24, abs=0.02)


def test_bursts_last_longer_than_chance():
    rng = np.random.default_rng(5)
    stays = {}
    for pattern in ("even", "bursty"):
        mask = presence(2000, 10, 3, rng, rate=0.5, pattern=pattern)
        stays[pattern] = (mask[:, 1:] == mask[:, :-1]).mean()
    assert stays["even"] == pytest.approx(0.5, abs=0.05)
    assert stays["bursty"] > 0.8


def test_single_lacks_exactly_one_and_not_the_same_one():
    mask = presence(500, 8, 3, np.random.default_rng(6), rate=1.0, pattern="single")
    np.testing.assert_array_equal(mask.sum(axis=2), 2)
    assert (mask.argmin(axis=2) != mask.argmin(axis=2)[:, :1]).any(axis=1).all()


def test_imbalanced_lacks_one_much_more_often_than_the_others():
    mask = presence(1000, 40, 3, np.random.default_rng(7), rate=0.3, pattern="imbalanced")
    absent = np.sort(1 - mask.mean(axis=1), axis=1).mean(axis=0)
    assert absent[2] > 4 * absent[1]
    assert absent.mean() == pytest.approx(0.3, abs=0.05)


def test_all_patterns_occur_where_none_is_told():
    mask = presence(3000, 20, 3, np.random.default_rng(8), rate=0.5)
    lacking = 3 - mask.sum(axis=2)
    assert set(PATTERNS) == {"even", "single", "bursty", "imbalanced"}
    assert (lacking.max(axis=1) <= 1).mean() == pytest.approx(0.25, abs=0.04)  # single


def test_a_late_modality_shows_what_was_a_few_steps_ago():
    drawn = draw(POOLS, 400, 10, np.random.default_rng(9), classes=4, switch_rate=1.0, stale_rate=1.0)
    told = drawn.inputs["face"][..., 0] - 1
    late = np.array([next((k for k in range(MOST_LAG + 1) if (told[i, k:] == drawn.labels[i, : 10 - k]).all()), -1) for i in range(400)])
    assert late.min() >= 0
    assert (told != drawn.labels).any(axis=1).mean() > 0.5


def test_a_young_session_has_no_past():
    drawn = draw(POOLS, 400, 6, np.random.default_rng(10), classes=4, young_rate=1.0, history=5)
    first = drawn.mask.any(axis=2).argmax(axis=1)
    assert set(first) == set(range(6))
    assert drawn.mask[:, -1].all()


def test_the_same_seed_draws_the_same_and_another_another():
    one, same, other = (draw(POOLS, 20, 4, np.random.default_rng(seed), classes=4, rate=None) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.inputs["face"], same.inputs["face"])
    np.testing.assert_array_equal(one.mask, same.mask)
    assert (one.labels != other.labels).any()


def test_only_the_modalities_asked_for_are_present():
    drawn = draw(POOLS, 50, 3, np.random.default_rng(11), classes=4, only=("speech",))
    assert not drawn.inputs["face"].any()
    np.testing.assert_array_equal(drawn.mask, np.tile([0.0, 1.0], (50, 3, 1)))


def test_a_class_that_nobody_shows_is_named():
    with pytest.raises(InputError, match="speech: nobody shows class 3"):
        draw({"face": takes("a"), "speech": takes("b", classes=3)}, 100, 2, np.random.default_rng(12), classes=4)


def test_people_on_both_sides_are_refused():
    with pytest.raises(InputError, match=r"speech: b .* both teach and judge"):
        require_apart(POOLS, {"face": takes("x"), "speech": takes("b")})
    require_apart(POOLS, {"face": takes("x"), "speech": takes("y")})
