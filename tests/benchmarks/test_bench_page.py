from __future__ import annotations

import html.parser
import re

import pytest

from benchmarks.bench_page import render
from benchmarks.result import as_markdown, as_text, parts
from tests.benchmarks.made import BOARD, result


class Balanced(html.parser.HTMLParser):
    """Fails on a tag that is not closed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs): ...

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag


def test_the_page_is_one_file_without_scripts_or_anything_from_outside():
    page = render(result())
    checker = Balanced()
    checker.feed(page)
    assert checker.open == []
    assert "<script" not in page and not re.search(r'(src|href)="(?!#|data:)', page) and "http-equiv" in page


def test_it_shows_each_scenario_with_its_prose_and_plots():
    page = render(result())
    for words in (
        "The whole pipeline.",
        "In many words.",
        "Response, from the tick",
        "3 times slower for 15 s",
        "Resident memory",
        "One of the slowest",
    ):
        assert words in page, words
    assert page.count("<svg") == 5


def test_what_was_not_measured_is_said_and_names_become_no_markup():
    page = render(result(board={**BOARD, "model": "<b>Pi</b>"}))
    assert "Not measured: " in page and "hours of session" in page
    assert "<b>Pi" not in page and "&lt;b&gt;Pi" in page and "faces &lt;looked for&gt; less" in page


@pytest.mark.parametrize("unfit", [[], ["cycle: other programs used 60 % of the machine"]])
def test_an_unfit_result_says_so_and_why(unfit):
    made = result(unfit=unfit)
    assert ("Unfit to be compared" in render(made)) is bool(unfit)
    assert ("UNFIT cycle: other programs" in as_text(made)) is bool(unfit)


def test_the_same_result_gives_the_same_page():
    assert render(result()) == render(result())


def test_the_text_has_the_numbers_and_the_cost_of_doing_nothing():
    text = as_text(result(misses=2))
    for words in ("misses 2 of 240", "harness cost, a system that does nothing: CPU 0.0100 s/s", "99.4 %", "100.00 % as expected"):
        assert words in text, words
    assert all(ord(character) >= 32 or character == "\n" for character in text)


def test_markdown_rows_have_as_many_cells_as_their_heads():
    lines = as_markdown(result()).splitlines()
    assert len([line for line in lines if line.startswith("## ")]) == len(parts(result()))
    for block in re.findall(r"(?:^\|.*\n?)+", "\n".join(lines), re.MULTILINE):
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1
