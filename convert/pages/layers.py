"""Which layer to blame: error along the network, and the ranges that values took against those that calibration gave."""

from __future__ import annotations

import collections.abc
import math
import statistics
import typing

from convert.pages import formats
from convert.pages.markup import Html, Number, Section, code, figure, folded, join, paragraph, table, tag
from convert.pages.plots import Frame, Scale, legend, line, picture, text, ticks, titled

Layer = collections.abc.Mapping[str, typing.Any]
Report = collections.abc.Mapping[str, typing.Any]

EXACT_DB = 120.0
"""What the report says where nothing differs."""
LOUD_DB = 20.0
"""Below this an operator adds errors of more than a tenth of its own signal."""
_LOWEST_DB = -20.0
_WORTH_NAMING = 1e-3
"""Share of values clipped that is named as a cause."""
_FLAGGED = 3
_LISTED = 10
_WIDTH, _LEFT, _RIGHT = 860.0, 62.0, 850.0
_BEYOND = 0.12
"""How much of the stored range is shown above and below it, for values that are clipped."""


def layers_of(report: Report) -> list[Layer]:
    """The layers, in the order in which they run."""
    return list(report.get("layers") or ())


def own_db(layer: Layer) -> float | None:
    """Error that the layer adds; all that has gathered where only that is known."""
    step = formats.finite(layer.get("step_sqnr_db"))
    return step if step is not None else formats.finite(layer.get("sqnr_db"))


def worst_first(layers: collections.abc.Sequence[Layer]) -> list[Layer]:
    """Those that add an error, the loudest first."""
    told = [(db, place) for place, layer in enumerate(layers) if (db := own_db(layer)) is not None and db < EXACT_DB]
    return [layers[place] for _, place in sorted(told)]


def named(layer: Layer) -> Html:
    """Its name in the float model: the first of those that were fused into it, cut if it is long."""
    whole = str(layer.get("name", ""))
    shown = formats.short(whole.split(";")[0], 60)
    steps = [part for step in shown.split("/") for part in ("/", tag("wbr"), step)][2:]
    return code(join(*steps), whole=whole if whole != shown else None)


def error_words(layer: Layer) -> str:
    """How large the error of a layer is, and whether it cuts values off."""
    db, clipped = own_db(layer) or 0.0, _clipped(layer)
    size = f"{formats.share(10 ** (-db / 20))} of its signal" if db > 0 else "as large as its signal or larger"
    cut = f", and it clips {formats.share(clipped, 2)} of its values" if clipped >= _WORTH_NAMING else ""
    return f"its error is {size}{cut}"


def missing(report: Report) -> str:
    """Why there are no layers to show."""
    if report.get("recipe") == "float32":
        return "the converted model is the float model, in which no layer is quantized"
    return "the layers of this model were not compared with their float selves"


def errors(report: Report) -> Section:
    """Signal to quantization noise along the network, and the worst ten."""
    title = "Error layer by layer"
    layers = layers_of(report)
    if not layers:
        return Section("layers", title, None, missing(report))
    worst = worst_first(layers)
    everything = folded(f"All {len(layers)} layers, in the order in which they run", _layer_table("All layers", layers))
    if not worst:
        told = paragraph(f"Nothing to show: where it is known, each of the {len(layers)} layers computes what it does in float.")
        return Section("layers", title, join(_noise_note(report), told, everything))
    words = [
        paragraph(
            "Signal-to-quantization-noise ratio: 20 dB is an error of a tenth of the signal, 40 dB of a hundredth. ",
            "Gathered error includes all layers before; own error is what a layer adds, told by running its float self on the very inputs "
            "that it had.",
            class_="soft",
        ),
        _noise_note(report),
        _error_figure(layers, worst[:_FLAGGED]),
        _layer_table(f"The {min(len(worst), _LISTED)} least exact of {len(layers)} layers, the worst first", worst[:_LISTED]),
        everything if len(layers) > len(worst[:_LISTED]) else None,
    ]
    return Section("layers", title, join(*words))


def _error_figure(layers: collections.abc.Sequence[Layer], flagged: collections.abc.Sequence[Layer]) -> Html:
    marks = (("total", "gathered error"), ("own", "own error"), ("blamed", "the least exact, by number"))
    names = (tag("li", named(layer), f", {_kind(layer)}, own {formats.decibels(own_db(layer))}") for layer in flagged)
    caption = legend(*marks), "Higher is better.", tag("ol", *names, class_="named")
    return figure(_error_plot(layers, flagged), *caption, wide="Error layer by layer")


def _noise_note(report: Report) -> Html | None:
    if report.get("verification") is not None:
        return None
    return paragraph("No samples were given to compare on: the inputs may have been random numbers, which real ones need not resemble.")


def _kind(layer: Layer) -> str:
    return f"{layer.get('operator', '')}, operator {layer.get('index', '?')}"


def _layer_table(caption: str, layers: collections.abc.Sequence[Layer]) -> Html:
    columns = (
        "layer", Number("own, dB"), Number("gathered, dB"), Number("error, steps"), Number("largest error"),
        Number("values in float"), Number("range stored"), Number("clipped"),
    )  # fmt: skip
    rows = []
    for layer in layers:
        own, total = (_db(layer.get(name)) for name in ("step_sqnr_db", "sqnr_db"))
        rows.append(
            (
                join(named(layer), tag("small", _kind(layer))), own, total,
                formats.plain(layer.get("error_steps"), ".2f"), formats.plain(layer.get("max_error"), ".3g"),
                formats.span(layer.get("float_range")), formats.span(layer.get("stored_range")),
                formats.share(layer.get("clipped_share"), 2) if layer.get("stored_range") is not None else formats.DASH,
            )
        )  # fmt: skip
    return table(caption, columns, rows)


def _db(value: object) -> str:
    known = formats.finite(value)
    return "exact" if known is not None and known >= EXACT_DB else formats.plain(value, ".1f")


def _along(layers: collections.abc.Sequence[Layer]) -> tuple[Scale, dict[float, str]]:
    """Place of each layer across the plot, and labels at round numbers of operators."""
    count = len(layers)
    marks = {}
    for place in ticks(0, max(count - 1, 1), 12):
        if place == int(place) and place < count:
            marks[place] = str(layers[int(place)].get("index", int(place)))
    return Scale(-0.7, count - 0.3, _LEFT, _RIGHT), marks


def _error_plot(layers: collections.abc.Sequence[Layer], flagged: collections.abc.Sequence[Layer]) -> Html:
    own, total = [own_db(layer) for layer in layers], [formats.finite(layer.get("sqnr_db")) for layer in layers]
    inexact = [db for db in (*own, *total) if db is not None and db < EXACT_DB]
    low = max(_LOWEST_DB, min(0.0, *(10 * math.floor(db / 10) for db in inexact))) if inexact else 0.0
    high = max([40.0, *(10.0 * math.ceil(db / 10) for db in inexact)])
    x, marks = _along(layers)
    frame = Frame(_WIDTH, 320, x, Scale(low, high, 276, 44))

    def place(db: float) -> float:
        return 20.0 if db >= EXACT_DB else frame.y.clamped(db)

    parts = [frame.rows({value: f"{formats.plain(value, '.0f')} dB" for value in ticks(low, high, 5)})]
    parts += [tag("line", x1=x.start, x2=x.end, y1=20, y2=20, class_="grid"), text(x.start - 6, 24, "exact", anchor="end")]
    parts.append(frame.columns(marks, "operators, in the order in which they run"))
    run: list[tuple[float, float]] = []
    for number, db in enumerate([*total, None]):
        if db is not None:
            run.append((x(number), place(db)))
        elif run:
            parts.append(line(run, "total"))
            run = []
    radius = 3.4 if len(layers) <= 80 else 2.4
    for number, layer in enumerate(layers):
        dots = [
            tag("circle", cx=x(number), cy=place(db), r=radius * part, class_=kind)
            for db, part, kind in ((total[number], 0.6, "total"), (own[number], 1.0, "own"))
            if db is not None
        ]
        if dots:
            told = (
                f"{layer.get('name', '')} ({_kind(layer)}): own {_db(layer.get('step_sqnr_db'))}, gathered {_db(layer.get('sqnr_db'))} dB"
            )
            parts.append(titled(formats.short(told, 160), *dots))
    return picture(frame.width, frame.height, _error_words(layers, flagged), *parts, *_flags(layers, flagged, x, place))


def _flags(
    layers: collections.abc.Sequence[Layer],
    flagged: collections.abc.Sequence[Layer],
    x: Scale,
    place: collections.abc.Callable[[float], float],
) -> list[Html]:
    """A ring and a number at each of the worst."""
    parts: list[Html] = []
    taken: list[tuple[float, float]] = []
    for rank, layer in enumerate(flagged, 1):
        number = next(i for i, one in enumerate(layers) if one is layer)
        across, down = x(number), place(own_db(layer) or 0.0)
        below = down + 19 < 276 and not any(abs(across - a) < 12 and abs(down + 19 - d) < 14 for a, d in taken)
        at = down + 19 if below else down - 10
        taken.append((across, at))
        parts += [tag("circle", cx=across, cy=down, r=5.5, class_="blamed"), text(across, at, rank, class_="flag", anchor="middle")]
    return parts


def _error_words(layers: collections.abc.Sequence[Layer], flagged: collections.abc.Sequence[Layer]) -> str:
    worst = "; ".join(f"{formats.short(one.get('name', ''), 60)} {formats.decibels(own_db(one))}" for one in flagged)
    return f"Error of {len(layers)} layers in decibels, own and gathered. Least exact: {worst}."


def _ends(layer: Layer) -> tuple[float, float, float, float] | None:
    """Lowest and highest float value, lowest and highest stored; None where the layer is not quantized."""
    pairs = (layer.get("float_range"), layer.get("stored_range"))
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return None
    low, high, least, most = (formats.finite(value) for pair in pairs for value in typing.cast("tuple[object, object]", pair))
    if low is None or high is None or least is None or most is None or most <= least or high < low:
        return None
    return low, high, least, most


def ranges(report: Report) -> Section:
    """What values each layer took in float, and what its tensor can hold."""
    title = "Activation ranges against calibration"
    layers = layers_of(report)
    if not layers:
        return Section("ranges", title, None, missing(report))
    known = [(layer, ends) for layer in layers if (ends := _ends(layer)) is not None]
    if not known:
        return Section("ranges", title, None, f"recipe {report.get('recipe')} keeps activations in float, so none has a stored range")
    used = [(min(high, most) - max(low, least)) / (most - least) for _, (low, high, least, most) in known]
    clipping = sorted((layer for layer, _ in known if _clipped(layer)), key=_clipped, reverse=True)
    told = join(
        f"Half of the {len(known)} quantized layers use {formats.share(max(0.0, statistics.median(used)), 0)} or more of what their tensor "
        "can hold. ",
        join(f"{len(clipping)} clip values, most of all ", named(clipping[0]), f": {formats.share(_clipped(clipping[0]), 2)}.")
        if clipping
        else "None clips a value.",
    )
    marks = [("stored", "what the tensor can hold, from calibration"), ("met", "values in float, on the samples compared")]
    marks += [("clipped", "clipped: cut off there")] if clipping else []
    units = "Every layer is drawn in units of its own stored range. A short bar leaves steps unused."
    shown = figure(_range_plot(layers, clipping[:_FLAGGED]), legend(*marks), units, wide=title)
    return Section("ranges", title, join(paragraph(told), _noise_note(report), shown))


def _clipped(layer: Layer) -> float:
    return formats.finite(layer.get("clipped_share")) or 0.0


def _range_plot(layers: collections.abc.Sequence[Layer], flagged: collections.abc.Sequence[Layer]) -> Html:
    x, marks = _along(layers)
    frame = Frame(_WIDTH, 280, x, Scale(-_BEYOND, 1 + _BEYOND, 236, 24))
    pitch = x(1) - x(0)
    wide, narrow = min(0.86 * pitch, 40.0), min(0.5 * pitch, 24.0)
    parts = [frame.rows({0.0: "lowest", 0.5: "middle", 1.0: "highest"}), frame.columns(marks, "operators, in the order in which they run")]

    def bar(number: int, width: float, low: float, high: float, kind: str) -> Html | None:
        bottom, top = frame.y.clamped(low), frame.y.clamped(high)
        if high < low or bottom - top < 0.05:
            return None
        return tag("rect", x=x(number) - width / 2, y=top, width=width, height=bottom - top, class_=kind)

    for number, layer in enumerate(layers):
        ends = _ends(layer)
        if ends is None:
            continue
        low, high, least, most = ends
        first, last = (low - least) / (most - least), (high - least) / (most - least)
        told = f"{layer.get('name', '')} ({_kind(layer)}): {formats.span((low, high))} in float, {formats.span((least, most))} stored"
        told = formats.short(told, 170) + (f", {formats.share(_clipped(layer), 2)} clipped" if _clipped(layer) else "")
        bars = [
            bar(number, wide, 0, 1, "stored"),
            bar(number, narrow, max(first, 0.0), min(last, 1.0), "met"),
            bar(number, narrow, first, min(last, 0.0), "clipped"),
            bar(number, narrow, max(first, 1.0), last, "clipped"),
        ]
        parts.append(titled(told, *bars))
    words = f"Range of float values of {len(layers)} layers against the range that their tensors hold. "
    words += (
        "; ".join(f"{formats.short(one.get('name', ''), 60)} clips {formats.share(_clipped(one), 2)}" for one in flagged) or "None clips."
    )
    return picture(frame.width, frame.height, words, *parts, *_shares_clipped(layers, flagged, x))


def _shares_clipped(layers: collections.abc.Sequence[Layer], flagged: collections.abc.Sequence[Layer], x: Scale) -> list[Html]:
    """How much is clipped, above the worst; not where the words of a worse one are."""
    parts: list[Html] = []
    taken: list[float] = []
    for layer in flagged:
        across = min(max(x(next(i for i, one in enumerate(layers) if one is layer)), _LEFT + 20), _RIGHT - 20)
        if all(abs(across - other) > 52 for other in taken):
            taken.append(across)
            parts.append(text(across, 14, formats.share(_clipped(layer), 2), class_="flag", anchor="middle"))
    return parts
