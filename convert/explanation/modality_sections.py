"""The sections of a page that look into one window each: face, speech, physiology."""

from __future__ import annotations

import collections.abc
import functools
import itertools
import typing

import numpy as np

from convert.explanation import drawing
from convert.pages import formats
from convert.pages.markup import Html, Number, Section, figure, folded, join, paragraph, table, tag

Record = collections.abc.Mapping[str, typing.Any]
Draw = collections.abc.Callable[..., Html]
_SIDE, _NAMES = 300.0, 122.0
_TITLES = {"face": "Where in the face", "speech": "Where in the voice", "physiology": "What in the body signals"}


def signed(value: float) -> str:
    """A difference of probability in points, with its sign."""
    return formats.scaled(value, 100, "+.1f", "points")


def _cost(value: float) -> str:
    return formats.scaled(value, 100, ".1f", "points")


def all_of(record: Record, face: np.ndarray | None) -> list[Section]:
    """A section for each modality, present or not; ``face`` as ``render`` has it."""
    shown: dict[str, Html] = {}
    if "face" in record:
        shown["face"] = _face(record, face)
    if "speech" in record:
        shown["speech"] = _speech(record)
    if "physiology" in record:
        shown["physiology"] = _physiology(record)
    return [Section(name, title, shown.get(name) or paragraph(_missing(record, name))) for name, title in _TITLES.items()]


def _missing(record: Record, name: str) -> str:
    gone = record["absent"].get(name)
    if gone is None:
        return f"There is no {name} in what this bundle decides from."
    if gone["detail"] == "not in this bundle":
        return f"This bundle does not use {name}."
    return f"Absent at this moment ({gone['reason']}: {gone['detail']}), so there is nothing to look into: it has no part in the decision."


def _face(record: Record, face: np.ndarray | None) -> Html:
    told, size = record["face"], record["face"]["size_px"]
    columns = {place / 4: str(round(size * place / 4)) for place in range(5)}
    under = None if face is None else drawing.face_picture(face, width=_SIDE)
    words = "Drop of the label's probability with a grey patch at each place of the face"
    draw = functools.partial(drawing.cells, width=_SIDE, height=_SIDE, columns=columns, title="px of the crop")
    seen = "It is drawn over the face that was read." if face is not None else "The face is not drawn: eyes are above, the mouth below."
    return join(
        paragraph(
            f"A grey patch of a quarter of the face's width slides over the crop of {size} \u00d7 {size} px; a cell of the map is where "
            f"the middle of the patch is. {seen}"
        ),
        _maps(record, told, functools.partial(draw, under=under), draw, words),
    )


def _speech(record: Record) -> Html:
    told = record["speech"]
    bands, edges = _names(told["edges_hz"], "Hz")[::-1], told["edges_s"]
    words = "Drop of the label's probability with each band of the voice silenced, for a stretch of time"
    draw = functools.partial(
        drawing.cells, width=_SIDE, height=220, rows=bands, columns=_times(edges), title="s before the newest", left=_NAMES
    )
    whole = [(name, signed(value)) for name, value in zip(bands, told["whole_bands"][::-1], strict=True)]
    spans = [(name, signed(value)) for name, value in zip(_names(edges, "s"), told["whole_blocks"], strict=True)]
    low_below = {**told, "map": told["map"][::-1], "shuffled_map": told["shuffled_map"][::-1]}
    return join(
        paragraph("Groups of mel bands are silenced for a stretch of time; before the voice began there is silence already."),
        _maps(record, low_below, draw, draw, words),
        folded(
            "A whole band, or a whole stretch, at once",
            table("The band silenced throughout: the label loses", ("band", Number("lost")), whole),
            table("All bands silenced for this stretch: the label loses", ("stretch", Number("lost")), spans),
        ),
    )


def _physiology(record: Record) -> Html:
    told = record["physiology"]
    names = [name.replace("_", " ") for name in told["channels"]]
    words = "Drop of the label's probability with each channel at the person's usual value, for a stretch of time"
    columns = _times(told["edges_s"])
    draw = functools.partial(
        drawing.cells, width=_SIDE, height=24.0 * len(names), rows=names, columns=columns, title="s before the newest", left=_NAMES
    )
    rows = [(" and ".join(one["channels"]).replace("_", " "), signed(one["value"])) for one in told["players"]]
    rows.append(("all together", signed(told["all"] - told["none"])))
    label = record["decision"]["explained"]
    return join(
        paragraph(
            "Every channel is relative to what this person has shown so far, so 0 is usual; the flags at the end say whether something "
            "was measured, and 0 is no. A channel is set to 0 for a stretch of time."
        ),
        _maps(record, told, draw, draw, words),
        table(
            f"Exact Shapley values of the channels over the whole window, from {formats.share(told['none'])} with all of them at 0 to "
            f"{formats.share(told['all'])} for {label}",
            ("channel", Number("Shapley value")),
            rows,
            marked=(len(rows) - 1,),
        ),
    )


def _names(edges: collections.abc.Sequence[float], unit: str) -> list[str]:
    form = ".0f" if unit == "Hz" else ".1f"
    return [f"{formats.plain(a, form)} to {formats.plain(b, form, unit)}" for a, b in itertools.pairwise(edges)]


def _times(edges: collections.abc.Sequence[float]) -> dict[float, str]:
    """Four words below a map whose columns lie between ``edges``."""
    last = len(edges) - 1
    places = sorted({0, round(last / 3), round(2 * last / 3), last})
    return {place / last: formats.plain(edges[place], "g") for place in places}


def _maps(record: Record, told: Record, draw: Draw, draw_shuffled: Draw, words: str) -> Html:
    """The map, beside it that of the same model with its embedding shuffled, and whether the map can be believed."""
    step, likeness = record["decision"]["step"], told["check"]["likeness"]
    alike = (
        "one of the two is flat, so they cannot be compared"
        if likeness is None
        else f"likeness to the map: {formats.plain(likeness, '.2f')} (rank correlation without its sign, mean of three shuffles)"
    )
    most = drawing.largest(told["map"])
    return join(
        tag(
            "div",
            figure(draw(told["map"], words, least=step), f"Map: {words[0].lower()}{words[1:]}."),
            figure(
                draw_shuffled(
                    told["shuffled_map"], "The same map where the fusion got the embedding's numbers in another order", least=step
                ),
                f"Shuffled: what there would be to see had the fusion learnt nothing about this embedding; {alike}.",
            ),
            class_="maps large",
        ),
        drawing.key(most) if most else None,
        _checked(told),
    )


_VERDICTS = {
    "points": ("passed", "Better than chance", "the map points at what the model uses"),
    "weak": ("open", "Weak", "chance does nearly as well as this map"),
    "chance": ("failed", "Do not read this map", "it points no better than chance"),
    "flat": ("open", "Flat", "no part of this changes the answer by a step of int8"),
    "empty": ("open", "Nothing to remove", "the whole window is already what it would be filled with"),
}


def _checked(told: Record) -> Html:
    check = told["check"]
    class_, badge, words = _VERDICTS[check["verdict"]]
    said = join(tag("span", badge, class_=class_), f": {words}.")
    direction, alike = check["direction"], check["likeness"]
    draws = [direction * drop for drop in check["drop_random"]]
    if not draws:
        return paragraph(said)
    most, does, do = ("highest", "costs", "cost") if direction > 0 else ("lowest", "gains the label", "gain it")
    mean = sum(draws) / len(draws)
    costs = (
        f" Removing the {check['removed']} of {check['of']} blocks that the map ranks {most} {does} "
        f"{_cost(direction * check['drop_top'])}; as many drawn by chance {do} {_cost(mean)} in the mean, "
        f"{_cost(min(draws))} to {_cost(max(draws))}; "
        f"{check['costlier'] or 'none'} of {len(draws)} draws {'does' if check['costlier'] == 1 else 'do'} more."
    )
    rest = (
        " Much of it stays when the embedding is shuffled: read it as where the encoder looks, more than as what speaks for this label."
        if alike is not None and alike >= 0.5 and check["verdict"] in ("points", "weak")
        else None
    )
    return paragraph(said, costs, rest)
