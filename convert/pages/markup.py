"""HTML and SVG as nested calls: what is not ``Html`` already is escaped, so no name out of a model can become markup."""

from __future__ import annotations

import collections.abc
import dataclasses
import html
import importlib.resources
import re

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Not allowed in XML, not encodable, or able to turn the direction of the text around it."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing is loaded and no script runs, whatever a name in the report says."""


class Html(str):
    """Markup, with all text in it escaped."""

    __slots__ = ()


class Number(str):
    """Title of a column of numbers, which are set flush right."""

    __slots__ = ()


class Prose(str):
    """Title of a column of sentences, which are not squeezed on a narrow screen."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of a page, or why it is not there."""

    identifier: str
    title: str
    body: Html | None
    missing: str = ""
    """Why there is no body, in one line."""


def escaped(value: object) -> Html:
    """Any value as text that is safe between tags and in attributes; Html as it is."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(_UNFIT.sub("\ufffd", str(value))))


def join(*parts: object, between: str = "") -> Html:
    """Parts one after the other; None is left out."""
    return Html(escaped(between).join(escaped(part) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element; None among the children or as an attribute is left out.

    Args:
        name: of the element.
        children: Html, or values to escape.
        attributes: ``class_`` stands for ``class``, ``aria_label`` for ``aria-label``; floats are cut to two decimals.
    """
    told = "".join(f' {_attribute(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    if not children and name in _EMPTY:
        return Html(f"<{name}{told}/>")
    return Html(f"<{name}{told}>{join(*children)}</{name}>")


_EMPTY = {"meta", "link", "wbr", "rect", "line", "circle", "path", "polyline"}


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> Html:
    if isinstance(value, float):
        return Html(f"{value:.2f}".rstrip("0").rstrip("."))
    return escaped(value)


def scrolling(label: str, *children: object) -> Html:
    """Something wide, which scrolls by itself on a narrow screen, with the keyboard too."""
    return tag("div", *children, class_="scroll", role="region", tabindex=0, aria_label=label)


def table(
    caption: str,
    columns: collections.abc.Sequence[str],
    rows: collections.abc.Iterable[collections.abc.Sequence[object]],
    *,
    marked: collections.abc.Container[int] = (),
) -> Html:
    """A table whose first column names the rows.

    Args:
        caption: what it shows, in one line.
        columns: titles; ``Number`` for those of numbers, ``Prose`` for those of sentences.
        rows: as many cells as there are columns.
        marked: rows to stress, from 0.
    """
    kinds = ["n" if isinstance(column, Number) else "prose" if isinstance(column, Prose) else None for column in columns]
    head = tag("tr", *(tag("th", column, scope="col", class_=kind) for column, kind in zip(columns, kinds, strict=True)))
    body = []
    for place, row in enumerate(rows):
        named, *rest = row
        cells = [tag("td", cell, class_=kind) for cell, kind in zip(rest, kinds[1:], strict=True)]
        body.append(tag("tr", tag("th", named, scope="row", class_=kinds[0]), *cells, class_="marked" if place in marked else None))
    return scrolling(caption, tag("table", tag("caption", tag("span", caption)), tag("thead", head), tag("tbody", *body)))


def figure(picture: Html, *caption: object, wide: str | None = None) -> Html:
    """A picture with words below it; ``wide`` names a picture that scrolls on a narrow screen."""
    inside = picture if wide is None else scrolling(wide, picture)
    return tag("figure", inside, tag("figcaption", *caption), class_="plot" if wide is not None else "map")


def folded(summary: str, *children: object) -> Html:
    """What most readers can do without, behind one line."""
    return tag("details", tag("summary", summary), *children)


def paragraph(*children: object, class_: str | None = None) -> Html:
    """A paragraph."""
    return tag("p", *children, class_=class_)


def code(value: object, *, whole: object = None) -> Html:
    """A name out of a file; ``whole`` is its long form, shown on pointing at it."""
    return tag("code", value, title=whole)


def document(title: str, body: Html, *, description: str = "") -> str:
    """A whole page in one file: style inside, no script, no reference to anything outside."""
    style = (importlib.resources.files(__package__) / "style.css").read_text(encoding="utf-8")
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="description", content=description or None),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(style)),
        between="\n",
    )
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
