"""A page taken apart, and what holds for every page."""

from __future__ import annotations

import collections
import html.parser
import re
import xml.etree.ElementTree

VOID = {"meta", "link", "wbr"}


class Parsed(html.parser.HTMLParser):
    """Elements of a page, checked for nesting while they are read."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.words).replace("\u00a0", " ")

    def row(self, start: str) -> list[str]:
        """The first row of any table whose first cell begins so."""
        return [cell.replace("\u00a0", " ") for cell in next(row for row in self.rows if row[0].startswith(start))]


def figures(text: str) -> list[xml.etree.ElementTree.Element]:
    """All pictures; parsing fails where one is not well-formed."""
    return [xml.etree.ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def check(text: str) -> Parsed:
    """What holds for every page."""
    text.encode()
    parsed = Parsed(text)
    ids = collections.Counter(attributes["id"] for _, attributes in parsed.elements if "id" in attributes)
    assert all(count == 1 for count in ids.values())
    for name, attributes in parsed.elements:
        assert name not in {"script", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
        assert not any(key.startswith("on") or key in {"src", "srcset", "data", "action", "xlink:href"} for key in attributes)
        target = attributes.get("href")
        if target is not None:
            assert target == "data:," or target.removeprefix("#") in ids
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    for picture in figures(text):
        assert picture.get("aria-hidden") == "true" or (picture.get("role") == "img" and picture.get("aria-label"))
        for part in picture.iter():
            places = [
                value
                for key, value in part.attrib.items()
                if key in {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "points", "d"}
            ]
            assert not any(bad in value for value in places for bad in ("nan", "inf"))
            assert all(float(part.get(key, "0")) >= 0 for key in ("width", "height", "r"))
    for body in re.findall(r"<table>.*?</table>", text, re.DOTALL):
        inside = Parsed(body)
        assert inside.elements[1][0] == "caption"
        assert {attributes.get("scope") for name, attributes in inside.elements if name == "th"} >= {"col", "row"}
        assert len({len(row) for row in inside.rows}) == 1
    return parsed
