"""Plots of a result: distributions, what ran in a tick, memory, and the ladder under overload."""

from __future__ import annotations

import collections.abc
import math
import typing

from convert.pages import formats
from convert.pages.markup import Html, figure, join, tag
from convert.pages.plots import Frame, Scale, line, picture, text, ticks, titled

Record = collections.abc.Mapping[str, typing.Any]
_WIDTH, _LEFT, _RIGHT = 760.0, 74.0, 744.0
_LANE = 17.0


def _decades(low: float, high: float) -> dict[float, str]:
    """Round places on a logarithmic axis, by their logarithm."""
    marks = {}
    for power in range(math.floor(low), math.ceil(high) + 1):
        for factor in range(1, 10) if high - low < 0.7 else (1, 2, 5) if high - low < 2.5 else (1,):
            if low - 1e-9 <= (place := power + math.log10(factor)) <= high + 1e-9:
                marks[place] = f"{factor * 10.0**power:g}"
    return marks


def histogram(said: Record, words: str, lines: collections.abc.Mapping[str, float]) -> Html | None:
    """Bars of a distribution of ``harness.distribution`` on a logarithmic axis.

    Args:
        said: the distribution.
        words: what it is of.
        lines: names of values to mark.
    """
    buckets = said.get("buckets") or []
    if not buckets:
        return None
    edges, step = [math.log10(edge) for edge, _ in buckets], 1 / said["per_decade"]
    low = min(edges)
    high = max([max(edges) + step, *(math.log10(value) for value in lines.values() if value > 0)]) + 0.05
    most = max(count for _, count in buckets)
    frame = Frame(_WIDTH, 230, Scale(low - 0.05, high, _LEFT, _RIGHT), Scale(0, most, 186, 34))
    parts: list[object] = [frame.rows({value: formats.count(value) for value in ticks(0, most, 4)})]
    for (edge, count), place in zip(buckets, edges, strict=True):
        x, wide, y = frame.x(place), frame.x(place + step) - frame.x(place), frame.y(count)
        said_of = f"{formats.plain(edge, '.3g')} to {formats.plain(edge * 10**step, '.3g', str(said['unit']))}: {formats.count(count)}"
        parts.append(titled(said_of, tag("rect", x=x, y=y, width=max(wide - 1, 1), height=186 - y, class_="bar")))
    for number, (name, value) in enumerate(sorted(lines.items(), key=lambda one: one[1])):
        if value > 0:
            x, top = frame.x(math.log10(value)), 12.0 + 12 * (number % 2)
            parts += [tag("line", x1=x, x2=x, y1=top + 2, y2=186, class_="edge"), text(x, top, name, anchor="middle", class_="axis")]
    parts.append(frame.columns(_decades(low, high), f"{said['unit']}, logarithmic"))
    return figure(picture(frame.width, frame.height, words, *parts), words, wide=words)


def tick(said: Record, cadence_ms: float, stages: collections.abc.Sequence[str]) -> Html:
    """What ran when in the beat of one tick: a lane a stage."""
    end = max(said["out_ms"], 1.0) * 1.05
    lanes = ["newest sample", *stages]
    bottom = 22 + _LANE * len(lanes)
    frame = Frame(_WIDTH, bottom + 38, Scale(-cadence_ms, end, _LEFT + 34, _RIGHT), Scale(0, 1, 22, bottom))
    parts: list[object] = []
    for number, name in enumerate(lanes):
        y = 22 + _LANE * number
        parts += [text(_LEFT + 26, y + 12, name, anchor="end"), tag("line", x1=frame.x.start, x2=frame.x.end, y1=y, y2=y, class_="grid")]
    for modality, at_ms in said["captured_ms"].items():
        x = frame.x.clamped(at_ms)
        parts.append(titled(f"{modality}: captured {at_ms:.1f} ms", tag("circle", cx=x, cy=22 + _LANE / 2, r=4, class_="own")))
    busy: dict[str, float] = {}
    for name, begin, stop in said["stages"]:
        y, x = 22 + _LANE * lanes.index(name), frame.x.clamped(begin)
        wide = max(frame.x.clamped(stop) - x, 2.0)
        busy[name] = busy.get(name, 0.0) + stop - begin
        parts.append(
            titled(
                f"{name}: {stop - begin:.3f} ms from {begin:.1f} ms", tag("rect", x=x, y=y + 3, width=wide, height=_LANE - 6, class_="bar")
            )
        )
    for at_ms, words in ((0.0, "tick"), (said["out_ms"], "out")):
        x = frame.x(at_ms)
        parts.append(tag("line", x1=x, x2=x, y1=16, y2=bottom, class_="edge"))
        if words == "tick" or frame.x(at_ms) - frame.x(0) > 30:
            parts.append(text(x, 12, words, anchor="middle", class_="axis"))
    parts.append(frame.columns({value: formats.plain(value, "g") for value in ticks(-cadence_ms, end, 8)}, "ms from the tick"))
    spent = ", ".join(f"{name} {formats.milliseconds(ms)}" for name, ms in busy.items()) or "no model ran"
    kind = "One of the slowest ticks" if said["kind"] == "worst" else "An ordinary tick"
    words = f"{kind}, {said['t_s']:.2f} s after the start: out after {formats.milliseconds(said['out_ms'])}"
    if said["response_ms"] > said["out_ms"] + 0.01:
        words += f", a chunk waited {formats.milliseconds(said['response_ms'])} for its embedding"
    words += f"; {spent}"
    return figure(picture(frame.width, frame.height, words, *parts), words, wide=words)


def memory(series: collections.abc.Sequence[collections.abc.Sequence[float]], title: str, words: str) -> Html | None:
    """Resident memory over time; ``series`` of (time, MiB), ``title`` is that of the time axis."""
    if len(series) < 2:
        return None
    low, high = min(mib for _, mib in series), max(mib for _, mib in series)
    middle, half = (low + high) / 2, max((high - low) * 0.6, 2.0)
    low, high = max(0.0, middle - half), middle + half
    frame = Frame(_WIDTH, 210, Scale(series[0][0], max(series[-1][0], series[0][0] + 1e-9), _LEFT, _RIGHT), Scale(low, high, 166, 12))
    parts = [
        frame.rows({value: formats.plain(value, "g") for value in ticks(low, high, 5)}),
        line([(frame.x(at), frame.y(mib)) for at, mib in series], "total"),
        frame.columns({value: formats.plain(value, "g") for value in ticks(frame.x.low, frame.x.high, 8)}, title),
        text(_LEFT - 60, 12, "MiB", class_="axis"),
    ]
    return figure(picture(frame.width, frame.height, words, *parts), words, wide=words)


def ladder(run: Record, budget_ms: float) -> Html:
    """Response of every tick, and how far down the ladder, over the time of one overloaded run."""
    series, slow_s = run["response_series_ms"], run["slow_s"]
    end_s = max(run["session_s"], slow_s)
    top_ms = max([budget_ms * 1.1, *(ms for _, ms in series)])
    x = Scale(0, end_s, _LEFT, _RIGHT)
    times = Frame(_WIDTH, 330, x, Scale(0, top_ms, 170, 26))
    steps: list[tuple[float, int]] = [(0.0, run.get("begins_at_rung", 0))]
    for event in run["events"]:
        now = steps[-1][1] + (1 if event["event"] == "degraded" else -1)
        steps += [(event["t_s"], steps[-1][1]), (event["t_s"], now)]
    steps.append((end_s, steps[-1][1]))
    deepest = max(1, *(rung for _, rung in steps))
    rungs = Frame(_WIDTH, 330, x, Scale(0, deepest, 286, 206))
    edge, slower = x(slow_s), "as slow as planned" if run["factor"] == 1 else f"{run['factor']:g} times slower"
    parts: list[object] = [
        tag("rect", x=x.start, y=26, width=edge - x.start, height=260, class_="stored"),
        text(x.start + 6, 20, slower, class_="axis"),
        text(edge + 6, 20, "as planned", class_="axis"),
        times.rows({value: formats.plain(value, "g") for value in ticks(0, top_ms, 4)}),
        rungs.rows({float(value): str(value) for value in range(0, deepest + 1, max(1, math.ceil(deepest / 4)))}),
    ]
    for at_s, ms in series:
        late = ms > budget_ms
        parts.append(tag("circle", cx=x(at_s), cy=times.y(ms), r=2.2, class_="clipped" if late else "met"))
    parts.append(line([(x(at_s), rungs.y(rung)) for at_s, rung in steps], "total"))
    parts += [
        text(_LEFT - 60, 20, "ms", class_="axis"),
        text(_LEFT - 60, 200, "steps", class_="axis"),
        rungs.columns({value: formats.plain(value, "g") for value in ticks(0, end_s, 8)}, "s from the start"),
    ]
    served = formats.share(run["served"]["share"])
    words = f"{slower[0].upper()}{slower[1:]} for {slow_s:g} s: response of each tick (red: over the budget of {budget_ms:g} ms), "
    words += f"and steps down the ladder; {served} of the ticks served"
    return figure(picture(times.width, times.height, words, *parts), words, wide=words)


def joined(*figures: Html | None) -> Html | None:
    """Figures one below the other; None if there is none."""
    shown = [one for one in figures if one is not None]
    return join(*shown) if shown else None
