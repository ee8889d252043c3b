"""Places and shades follow the numbers."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.pages.plots import NUMBERED_CELLS, Scale, bar, heat_map, ticks

numbers = st.floats(-1e6, 1e6)


def test_a_scale_maps_its_ends_and_keeps_what_is_beyond():
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert [scale(value) for value in (0, 5, 10, 20)] == [100, 50, 0, -100]
    assert [scale.clamped(value) for value in (-5, 5, 20)] == [100, 50, 0]


@given(numbers, st.floats(1e-3, 1e6))
def test_ticks_are_even_round_few_and_inside(low, width):
    found = ticks(low, low + width)
    step = found[1] - found[0]
    assert 2 <= len(found) <= 7
    assert all(low - 1e-6 * width <= value <= low + width * (1 + 1e-6) for value in found)
    assert all(math.isclose(b - a, step, rel_tol=1e-3) for a, b in itertools.pairwise(found))
    assert any(math.isclose(step / 10 ** math.floor(math.log10(step * 1.001)), factor, rel_tol=1e-3) for factor in (1, 2, 5))


@pytest.mark.parametrize(("share", "width"), [(0.25, "25"), (-1, "0"), (7, "100")])
def test_a_bar_is_as_long_as_its_share(share, width):
    drawn = bar(share)
    assert drawn is not None and f'width="{width}"' in drawn
    assert bar(None) is None


def test_a_small_heat_map_holds_its_numbers_and_names():
    drawn = xml.etree.ElementTree.fromstring(heat_map([[3, 1], [-2, 0]], [[0.75, 0.25], [-1.0, 0.0]], ["a", "b"], "label"))
    cells = [part for part in drawn.iter("rect") if part.get("class") != "edge"]
    assert [(cell.get("class"), cell.get("fill-opacity")) for cell in cells] == [
        ("more", "0.45"),
        ("more", "0.15"),
        ("less", "0.6"),
        ("less", "0"),
    ]
    assert [part.text for part in drawn.iter("title")] == [
        "a, answered a: 3",
        "a, answered b: 1",
        "b, answered a: \u22122",
        "b, answered b: 0",
    ]
    assert drawn.get("aria-label") == "label"


def test_a_large_heat_map_draws_every_cell_that_is_not_empty():
    size = NUMBERED_CELLS + 8
    shades = [[1.0 if i == j else -0.5 if i == 0 else 0.0 for j in range(size)] for i in range(size)]
    drawn = xml.etree.ElementTree.fromstring(heat_map(shades, shades, [""] * size, "label"))
    assert {path.get("class"): path.get("d", "").count("M") for path in drawn.iter("path")} == {"more": size, "less": size - 1}
