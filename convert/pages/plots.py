"""Plots as inline SVG, drawn in the colours of the page, light or dark: classes are in ``style.css``."""

from __future__ import annotations

import collections.abc
import dataclasses
import math

from convert.pages import formats
from convert.pages.markup import Html, join, tag

NUMBERED_CELLS = 12
"""Heat maps up to this wide have their numbers in them."""
_CELL = 36.0
_LEVELS = 6
"""Shades of a heat map that is too large for a rectangle and a number each."""
_DARKEST = 0.6
"""Opacity of the fullest cell: text on it keeps a contrast of 4.5 in light and in dark."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values to places in a picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place; beyond the ends for values beyond the limits."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clamped(self, value: float) -> float:
        """The place, or the end that it lies behind."""
        return self(min(max(value, self.low), self.high))


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from low to high, about so many: steps of 1, 2 or 5 times a power of ten.

    Args:
        low: smallest value wanted.
        high: largest; above ``low``.
        about: how many steps.
    """
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def picture(width: float, height: float, label: str, *parts: object) -> Html:
    """The SVG element; ``label`` is what it shows, for those who cannot see it."""
    return tag("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label)


def text(x: float, y: float, words: object, *, class_: str | None = None, anchor: str | None = None, turn: float | None = None) -> Html:
    """Words at a place; ``turn`` degrees clockwise about it."""
    turned = None if turn is None else f"rotate({turn:g} {x:.1f} {y:.1f})"
    return tag("text", words, x=x, y=y, class_=class_, text_anchor=anchor, transform=turned)


def line(points: collections.abc.Sequence[tuple[float, float]], class_: str) -> Html:
    """A line through points."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def titled(words: object, *marks: object) -> Html:
    """Marks that say what they are when pointed at."""
    return tag("g", tag("title", words), *marks)


@dataclasses.dataclass(frozen=True)
class Frame:
    """The inside of a plot and its axes."""

    width: float
    height: float
    x: Scale
    y: Scale

    def rows(self, marks: collections.abc.Mapping[float, str]) -> Html:
        """Horizontal lines with labels, by value."""
        parts = []
        for value, words in marks.items():
            y = self.y(value)
            parts += [tag("line", x1=self.x.start, x2=self.x.end, y1=y, y2=y, class_="grid")]
            parts += [text(self.x.start - 6, y + 4, words, anchor="end")]
        return join(*parts)

    def columns(self, marks: collections.abc.Mapping[float, str], title: str) -> Html:
        """Labels below, by value, and what they are."""
        below = max(self.y.start, self.y.end)
        labels = [text(self.x(value), below + 16, words, anchor="middle") for value, words in marks.items()]
        return join(*labels, text(self.x.end, below + 32, title, anchor="end", class_="axis"))


def bar(share: float | None) -> Html | None:
    """A bar of 0 to 1 of its cell's width, beside a number that says the same."""
    if share is None:
        return None
    width = 100.0 * min(max(share, 0.0), 1.0)
    mark = tag("rect", x=0, y=0, width=width, height=8, class_="bar")
    return tag("svg", mark, viewBox="0 0 100 8", preserveAspectRatio="none", class_="inline", aria_hidden="true")


def legend(*entries: tuple[str, str]) -> Html:
    """What the marks of a plot stand for: a class of ``style.css`` and words for each."""
    parts = []
    for mark, words in entries:
        swatch = tag("svg", tag("circle", cx=6, cy=6, r=4, class_=mark), viewBox="0 0 12 12", class_="key", aria_hidden="true")
        parts.append(tag("span", swatch, words, class_="key"))
    return tag("div", *parts)


Table = collections.abc.Sequence[collections.abc.Sequence[float]]


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Where the cells of a heat map lie."""

    names: collections.abc.Sequence[str]
    left: float
    top: float
    cell: float

    def headings(self) -> list[Html]:
        parts = []
        for place, name in enumerate(self.names):
            shown = name if len(name) <= 12 else f"{name[:11]}\u2026"
            centre = (place + 0.5) * self.cell
            parts.append(text(self.left - 6, self.top + centre + 4, shown, anchor="end"))
            parts.append(text(self.left + centre - 2, self.top - 6, shown, turn=-40))
        return parts

    def numbered(self, cells: Table, shades: Table) -> list[Html]:
        parts = []
        for row, (numbers, fills) in enumerate(zip(cells, shades, strict=True)):
            for column, (number, fill) in enumerate(zip(numbers, fills, strict=True)):
                x, y = self.left + column * self.cell, self.top + row * self.cell
                words = formats.plain(number)
                kind, opacity = _shade(fill)
                shaded = tag("rect", x=x, y=y, width=self.cell, height=self.cell, class_=kind, fill_opacity=opacity)
                written = text(x + self.cell / 2, y + self.cell / 2 + 4, words, anchor="middle", class_=None if number else "zero")
                parts.append(titled(f"{self.names[row]}, answered {self.names[column]}: {words}", shaded, written))
        return parts

    def shaded(self, shades: Table) -> list[Html]:
        """One path for each shade: a hundred classes would be ten thousand rectangles."""
        paths: dict[tuple[str, float], list[str]] = {}
        for row, fills in enumerate(shades):
            for column, fill in enumerate(fills):
                kind, opacity = _shade(math.copysign(math.ceil(abs(fill) * _LEVELS) / _LEVELS, fill))
                if opacity:
                    x, y = self.left + column * self.cell, self.top + row * self.cell
                    paths.setdefault((kind, opacity), []).append(f"M{x:.1f} {y:.1f}h{self.cell:.1f}v{self.cell:.1f}h-{self.cell:.1f}z")
        return [tag("path", d="".join(squares), class_=kind, fill_opacity=opacity) for (kind, opacity), squares in sorted(paths.items())]


def _shade(fill: float) -> tuple[str, float]:
    return "more" if fill > 0 else "less", _DARKEST * min(abs(fill), 1.0)


def heat_map(cells: Table, shades: Table, names: collections.abc.Sequence[str], label: str) -> Html:
    """A square table in colours, with its numbers and names if it is small.

    Args:
        cells: rows of numbers.
        shades: how full each cell is, -1 to 1; below 0 in the other colour.
        names: of rows and columns, in the same order.
        label: what it shows, for those who cannot see it.
    """
    size = len(cells)
    if size > NUMBERED_CELLS:
        grid = _Grid(names, 2.0, 2.0, NUMBERED_CELLS * _CELL / size)
        parts, right = grid.shaded(shades), 4.0
    else:
        left = 12.0 + 7.0 * max((min(len(name), 12) for name in names), default=0)
        grid = _Grid(names, left, 10.0 + 0.65 * left, _CELL)
        parts, right = [*grid.headings(), *grid.numbered(cells, shades)], 0.5 * left
    side = size * grid.cell
    parts.append(tag("rect", x=grid.left, y=grid.top, width=side, height=side, class_="edge"))
    return picture(round(grid.left + side + right, 1), round(grid.top + side + 4, 1), label, *parts)
