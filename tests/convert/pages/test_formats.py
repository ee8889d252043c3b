"""Numbers read as they are meant."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.pages import formats

SPACE = "\u00a0"


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (formats.plain(None), "\u2013"),
        (formats.plain("x"), "\u2013"),
        (formats.plain(True), "\u2013"),
        (formats.plain(math.nan), "not a number"),
        (formats.plain(-math.inf), "infinite"),
        (formats.plain(-0.001, ".2f"), "0.00"),
        (formats.plain(0.0, "+.2f"), "0.00"),
        (formats.plain(-1.5), "\u22121.5"),
        (formats.plain(4.8e-7, ".2g"), f"4.8{SPACE}\u00d7{SPACE}10\u207b\u2077"),
        (formats.count(5_484_052), "5,484,052"),
        (formats.many(9_999), "9,999"),
        (formats.many(58_168), f"58.2{SPACE}k"),
        (formats.many(5_484_052), f"5.48{SPACE}M"),
        (formats.size(999), f"999{SPACE}B"),
        (formats.size(77_640), f"77.6{SPACE}kB"),
        (formats.size(1_110_228), f"1.11{SPACE}MB"),
        (formats.size(None), "\u2013"),
        (formats.points(-0.0067), f"\u22120.67{SPACE}points"),
        (formats.milliseconds(0.1424), f"0.142{SPACE}ms"),
        (formats.milliseconds(142.4), f"142.4{SPACE}ms"),
        (formats.ratio(1, 0), "\u2013"),
        (formats.span([-1, math.nan]), "\u22121 to not a number"),
        (formats.span(None), "\u2013"),
        (formats.short("abcdefghij", 5), "ab\u2026ij"),
    ],
)
def test_formats(shown, wanted):
    assert shown == wanted


@given(st.floats(0, 1, exclude_max=True))
def test_less_than_all_is_never_shown_as_all(value):
    shown = formats.share(value)
    assert not shown.startswith("100") or value > 1 - 1e-8


@given(st.text(max_size=40), st.integers(3, 30))
def test_a_name_cut_short_keeps_both_ends(name, length):
    shown = formats.short(name, length)
    assert len(shown) <= length
    assert shown[:1] == name[:1] and shown[-1:] == name[-1:]
