"""The pictures of an explanation: a session over time, and maps of one window."""

from __future__ import annotations

import base64
import collections.abc
import io
import itertools
import math
import typing

import numpy as np

from convert.pages import formats
from convert.pages.markup import Html, figure, join, tag
from convert.pages.plots import Frame, Scale, legend, picture, text, ticks, titled
from edge.types import MODALITIES, Modality

Record = collections.abc.Mapping[str, typing.Any]
Table = collections.abc.Sequence[collections.abc.Sequence[float]]
_WIDTH, _LEFT, _RIGHT = 760.0, 92.0, 748.0
_LANE, _WEIGHTS = 30.0, 110.0
_MOST_DRAWN = 1200
"""Decisions in one picture; of more, each second, third, ... one is drawn."""
_MARKS: dict[Modality, str] = {"face": "more", "speech": "own", "physiology": "stored"}
_LEVELS, _DARKEST = 8, 0.92


def over_time(record: Record) -> Html:
    """Weights, stacked; a lane of probability for each label; what was given out; and what was absent."""
    told, labels = record["over_time"], record["bundle"]["labels"]
    every = -(-len(told["t_s"]) // _MOST_DRAWN)
    step_s = told["cadence_ms"] / 1e3
    times = told["t_s"][::every]
    spans = [(t_s - step_s, t_s + step_s * (every - 1)) for t_s in times]
    x = Scale(0.0, max(record["session"]["duration_s"], times[-1]), _LEFT, _RIGHT)
    parts: list[object] = [text(0, 14, "weights")]
    top = 6.0
    parts.append(_stacked(told["weights"], spans, x, every, Scale(0, 1, top + _WEIGHTS, top)))
    top += _WEIGHTS + 16
    for label in labels:
        parts.append(_lane(label, told, spans, x, every, top))
        top += _LANE + 6
    parts += [text(_LEFT - 6, top + 10, "not decided", anchor="end"), _undecided(told, spans, x, every, top)]
    top += 24
    for modality in MODALITIES:
        parts += [text(_LEFT - 6, top + 11, f"no {modality}", anchor="end"), _absences(told, modality, x, top, step_s)]
        top += 20
    at = x(record["decision"]["t_s"])
    words = "Weights of the modalities, probability of each label, what was given out and what was absent, over the session"
    parts.append(titled(f"the decision explained below, {record['decision']['t_s']:g} s",
                        tag("rect", x=at - 0.75, y=0, width=1.5, height=top, class_="clipped")))  # fmt: skip
    frame = Frame(_WIDTH, top + 36, x, Scale(0, 1, top, 0))
    parts.append(frame.columns({value: formats.plain(value, "g") for value in ticks(0, x.high, 8)}, "s from the start"))
    thinned = f" One decision in {every} is drawn." if every > 1 else ""
    caption = (
        "The red line is the decision explained below. A label's lane is its calibrated probability from 0 to 1, with a bar under it "
        f"while it was given out. Not decided: grey is unsure, red is nothing present.{thinned}"
    )
    key = legend(*((mark, f"weight of {modality}") for modality, mark in _MARKS.items()))
    return figure(picture(frame.width, frame.height, words, *parts), key, caption, wide=words)


def _stacked(weights: Record, spans: collections.abc.Sequence[tuple[float, float]], x: Scale, every: int, y: Scale) -> Html:
    """Weights one on the other: a path a modality, with a hole where it has none."""
    parts: list[object] = [tag("rect", x=x.start, y=y.end, width=x.end - x.start, height=y.start - y.end, class_="edge")]
    base = [0.0] * len(spans)
    for modality in MODALITIES:
        steps, values = [], weights[modality][::every]
        for place, (value, (begin, end)) in enumerate(zip(values, spans, strict=True)):
            if value:
                steps.append((x(begin), x(end), y(base[place] + value), y(base[place])))
                base[place] += value
        parts.append(titled(modality, _joined(steps, _MARKS[modality])))
    return join(*parts)


def _joined(steps: collections.abc.Iterable[tuple[float, float, float, float]], class_: str) -> Html:
    """Rectangles (left, right, top, bottom) as one path; neighbours of the same height become one."""
    merged: list[tuple[float, float, float, float]] = []
    for left, right, top, bottom in steps:
        if merged and abs(merged[-1][1] - left) < 0.05 and merged[-1][2:] == (top, bottom):
            merged[-1] = (merged[-1][0], right, top, bottom)
        else:
            merged.append((left, right, top, bottom))
    return tag("path", d="".join(f"M{a:.1f} {c:.1f}H{b:.1f}V{d:.1f}H{a:.1f}z" for a, b, c, d in merged), class_=class_)


def _lane(label: str, told: Record, spans: collections.abc.Sequence[tuple[float, float]], x: Scale, every: int, top: float) -> Html:
    values, given = told["probabilities"][label][::every], told["label"][::every]
    y = Scale(0, 1, top + _LANE - 5, top)
    steps = [(x(a), x(b), y(value), y(0)) for value, (a, b) in zip(values, spans, strict=True) if value]
    out = [(x(a), x(b), top + _LANE - 4, top + _LANE) for one, (a, b) in zip(given, spans, strict=True) if one == label]
    shown = formats.short(label, 12)
    return join(
        text(_LEFT - 6, top + _LANE / 2 + 4, shown, anchor="end"),
        tag("line", x1=x.start, x2=x.end, y1=y(0), y2=y(0), class_="grid"),
        titled(f"probability of {label}", tag("g", _joined(steps, "more"), opacity="0.55")),
        titled(f"{label} was given out", _joined(out, "own")),
    )


def _undecided(told: Record, spans: collections.abc.Sequence[tuple[float, float]], x: Scale, every: int, top: float) -> Html:
    states = told["state"][::every]
    parts: list[object] = [tag("line", x1=x.start, x2=x.end, y1=top + 14, y2=top + 14, class_="grid")]
    for state, class_ in (("unsure", "stored"), ("no decision", "clipped")):
        steps = [(x(a), x(b), top, top + 14) for one, (a, b) in zip(states, spans, strict=True) if one == state]
        if steps:
            parts.append(titled(state, _joined(steps, class_)))
    return join(*parts)


def _absences(told: Record, modality: Modality, x: Scale, top: float, step_s: float) -> Html:
    parts: list[object] = [tag("line", x1=x.start, x2=x.end, y1=top + 15, y2=top + 15, class_="grid")]
    for spell in told["absences"]:
        if spell["modality"] != modality:
            continue
        left, right = x(spell["from_s"] - step_s), x(spell["to_s"])
        said = spell["detail"] or spell["reason"]
        words = f"{spell['reason']}: {spell['detail']}, {spell['from_s']:g} to {spell['to_s']:g} s"
        inside = text(left + 4, top + 12, said) if 6.4 * len(said) + 8 < right - left else None
        parts.append(
            titled(
                words, tag("rect", x=left, y=top, width=right - left, height=15, class_="stored"), *(() if inside is None else (inside,))
            )
        )
    return join(*parts)


def cells(
    table: Table,
    label: str,
    *,
    width: float,
    height: float,
    rows: collections.abc.Sequence[str] = (),
    columns: collections.abc.Mapping[float, str] | None = None,
    title: str = "",
    under: Html | None = None,
    left: float = 6.0,
    least: float = 0.0,
) -> Html:
    """A table in two colours: cells above 0 in one, below in the other, each as full as it is large.

    Args:
        table: rows of numbers, the first on top.
        label: what it shows, for those who cannot see it.
        width: of all cells together, in px of the drawing.
        height: likewise.
        rows: names, one a row or none at all.
        columns: words below, by place from 0 (left) to 1.
        title: of the columns.
        under: a picture of the same place and size below the cells.
        left: room for the names.
        least: where no cell is larger than this, this is what a full one would be: noise must not look like a finding.
    """
    most = max(largest(table), least)
    high, wide, top = height / len(table), width / len(table[0]), 6.0
    parts: list[object] = [under]
    for level, class_ in itertools.product(range(1, _LEVELS + 1), ("more", "less")):
        steps = []
        for y, row in enumerate(table):
            for x, value in enumerate(row):
                full = math.ceil(abs(value) / most * _LEVELS - 1e-9) if most else 0
                if full == level and (value > 0) == (class_ == "more"):
                    steps.append((left + x * wide, left + (x + 1) * wide, top + y * high, top + (y + 1) * high))
        if steps:
            parts.append(tag("g", _joined(steps, class_), fill_opacity=f"{_DARKEST * level / _LEVELS:.3f}"))
    parts.append(tag("rect", x=left, y=top, width=width, height=height, class_="edge"))
    parts += [text(left - 6, top + (y + 0.5) * high + 4, name, anchor="end") for y, name in enumerate(rows)]
    frame = Frame(left + width + 14, top + height + (38 if title else 8), Scale(0, 1, left, left + width), Scale(0, 1, top + height, top))
    if columns is not None:
        parts.append(frame.columns(columns, title))
    return picture(frame.width, frame.height, label, *parts)


def largest(table: Table) -> float:
    """The largest size of a cell, 0 for a flat map."""
    return max((abs(value) for row in table for value in row), default=0.0)


def key(most: float) -> Html:
    """What the colours of ``cells`` mean: they go up to ``most``, above 0."""
    points = formats.points(most)
    return legend(("more", f"without it the label loses up to {points}"), ("less", f"without it the label gains up to {points}"))


def face_picture(face: np.ndarray, *, width: float, left: float = 6.0, top: float = 6.0) -> Html:
    """The crop itself, float32 (height, width, 1) in [-1, 1], as an image within the page."""
    from PIL import Image

    grey = np.rint(np.clip((face[..., 0] + 1) * 127.5, 0, 255)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "png", optimize=False)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return tag("image", href=f"data:image/png;base64,{data}", x=left, y=top, width=width, height=width, preserveAspectRatio="none")
