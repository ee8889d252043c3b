"""Plots of an evaluation: lines over steps that are named below, as inline SVG."""

from __future__ import annotations

import collections.abc
import dataclasses

from convert.pages import formats
from convert.pages.markup import Html, join, tag
from convert.pages.plots import Frame, Scale, legend, line, picture, titled

WIDTH, HEIGHT = 400.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 388.0, 12.0, 196.0
MARKS = ("first", "second", "third")
"""Classes of the style sheet, which differ in colour and in dashes."""


@dataclasses.dataclass(frozen=True)
class Series:
    """One line: a value for each step, None where there is none; 0 to 1."""

    name: str
    values: collections.abc.Sequence[float | None]


def lines(
    label: str, steps: collections.abc.Sequence[object], unit: str, series: collections.abc.Sequence[Series], *, high: float = 1.0
) -> Html:
    """Lines over named steps, evenly spaced, with a mark and its number at each; shares from 0 to ``high``.

    Args:
        label: what it shows, for those who cannot see it.
        steps: what stands below each place.
        unit: of the steps.
        series: up to as many as there are ``MARKS``; each has a value for each step.
        high: where the vertical axis ends.
    """
    last = max(len(steps) - 1, 1)
    frame = Frame(WIDTH, HEIGHT, Scale(0.0, float(last), _LEFT + 12, _RIGHT - 12), Scale(0.0, high, _BOTTOM, _TOP))
    quarter = [high * i / 4 for i in range(5)]
    every = max(1, -(-len(steps) // 8))
    below = {float(i): str(step) for i, step in enumerate(steps) if i % every == 0 or (i == len(steps) - 1 and i % every > every // 2)}
    parts = [frame.rows({value: formats.share(value, 0 if high >= 0.2 else 1) for value in quarter}), frame.columns(below, unit)]
    for one, mark in zip(series, MARKS, strict=False):
        places = [
            (frame.x(float(i)), frame.y.clamped(v), v, step)
            for i, (v, step) in enumerate(zip(one.values, steps, strict=True))
            if v is not None
        ]
        parts.append(line([(x, y) for x, y, _, _ in places], mark))
        for x, y, value, step in places:
            parts.append(titled(f"{one.name}, {step}: {formats.share(value)}", tag("circle", cx=x, cy=y, r=3, class_=mark)))
    return picture(WIDTH, HEIGHT, label, *parts)


def with_legend(drawn: Html, series: collections.abc.Sequence[Series]) -> Html:
    """The plot under the names of its lines."""
    return join(legend(*((mark, one.name) for one, mark in zip(series, MARKS, strict=False))), drawn)
