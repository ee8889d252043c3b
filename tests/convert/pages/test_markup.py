"""Markup is escaped by default, and the style keeps its contrast."""

from __future__ import annotations

import importlib.resources
import re

import pytest

from convert.pages.markup import Html, Number, document, escaped, join, table, tag


def test_text_is_escaped_and_markup_is_not_escaped_again():
    assert tag("p", "<b>", tag("i", "&")) == "<p>&lt;b&gt;<i>&amp;</i></p>"
    assert tag("p", title='"><x>') == '<p title="&quot;&gt;&lt;x&gt;"></p>'
    assert escaped(Html("<b>")) == "<b>"


def test_what_is_none_is_left_out():
    assert tag("p", None, "a", class_=None, id="x") == '<p id="x">a</p>'
    assert join("a", None, "b", between="<") == "a&lt;b"


def test_attributes_are_named_as_in_html_and_numbers_are_short():
    assert tag("rect", x=1.23456, y=2.0, stroke_width=3, class_="k") == '<rect x="1.23" y="2" stroke-width="3" class="k"/>'


def test_a_row_that_does_not_fit_the_columns_is_an_error():
    with pytest.raises(ValueError):
        table("t", ("a", Number("b")), [("only one",)])


def test_a_document_forbids_all_loading():
    text = document("a & b", tag("main"))
    assert "<title>a &amp; b</title>" in text
    assert "default-src &#x27;none&#x27;" in text
    assert text.startswith("<!doctype html>")


def luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2.2, section 8."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_stands_out_from_what_is_behind_it(scheme):
    style = (importlib.resources.files("convert.pages") / "style.css").read_text()
    found = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)]
    assert len(found) == 3
    colours = found[scheme]
    for behind in ("page", "card", "marked"):
        for name in ("ink", "soft", "blue", "orange", "red", "green"):
            low, high = sorted((luminance(colours[name]), luminance(colours[behind])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{name} on {behind}"
