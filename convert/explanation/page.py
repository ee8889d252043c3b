"""An explanation as one HTML page, which opens offline: no script, and nothing is loaded."""

from __future__ import annotations

import collections.abc
import itertools
import shlex
import typing

import numpy as np

from convert.explanation import drawing, modality_sections
from convert.explanation.modality_sections import signed
from convert.pages import formats
from convert.pages.markup import Html, Number, Prose, Section, code, document, folded, join, paragraph, table, tag
from edge.types import MODALITIES

Record = collections.abc.Mapping[str, typing.Any]
_SHOWN_SPELLS = 12


def render(record: Record, face: np.ndarray | None = None) -> str:
    """The page: the same explanation gives the same bytes.

    Args:
        record: from ``explain``, or the same read from its JSON.
        face: the crop that was read, to be drawn under the face map; None draws no picture of anybody.
    """
    sections = [_over_time(record), _modalities(record), *modality_sections.all_of(record, face), _how(record, face)]
    at = f"{record['decision']['t_s']:g} s"
    head = tag("header", paragraph("Explanation of a decision", class_="kicker"), tag("h1", f"{record['session']['title']}, at {at}"))
    links = tag("nav", tag("ul", *(tag("li", tag("a", one.title, href=f"#{one.identifier}")) for one in sections)), aria_label="Sections")
    bodies = [
        tag("section", tag("h2", one.title, id=f"{one.identifier}-title"), one.body, id=one.identifier,
            aria_labelledby=f"{one.identifier}-title")
        for one in sections
    ]  # fmt: skip
    bundle = record["bundle"]
    foot = tag("footer", paragraph(f"Bundle {bundle['name']} {bundle['version']}, SHA-256 ", code(bundle["sha256"]), "."))
    body = join(head, tag("main", _verdict(record, face), links, *bodies), foot, between="\n")
    return document(f"Why, at {at} of {record['session']['file']}", body, description="What a decision of a recorded session was made of")


def _verdict(record: Record, face: np.ndarray | None) -> Html:
    decision = record["decision"]
    told = [tag("span", _decided(decision), class_="badge"), f", at {decision['t_s']:g} s: {decision['why']}."]
    if decision["settle_ms"]:
        told.append(f" Decisions average over about {decision['settle_ms'] / 1000:g} s; taken apart is the newest estimate alone.")
    words = [paragraph(*told), _in_short(record)]
    words += [
        paragraph(
            "This says what the model reacted to. It is no evidence of what anybody felt, and none about the person. "
            + (
                "This page shows a face: it falls under the consent that the recording was made with."
                if face is not None
                else "No picture, sound or body signal of the recording is in this page, only what removing parts of them changed."
            ),
            class_="soft",
        )
    ]
    return tag("div", *words, _tiles(record), class_="verdict")


def _decided(decision: Record) -> str:
    if decision["label"] is not None:
        return f"Decided: {decision['label']}, {formats.share(decision['probability'])}"
    if "explained" in decision:
        return f"Unsure: {decision['explained']} leads with {formats.share(decision['probability'])}"
    return "No decision: " + ("nothing was present" if not decision["weights"] else "the fusion gave no answer")


def _in_short(record: Record) -> Html:
    if "modalities" not in record:
        gone = "; ".join(f"{modality} ({one['reason']}: {one['detail']})" for modality, one in record["absent"].items())
        return paragraph(f"Nothing was present to decide from, so there is nothing to take apart. Absent: {gone}.")
    told, label = record["modalities"], record["decision"]["explained"]
    ordered = sorted(told["players"], key=lambda one: -abs(one["value"]))
    parts = ", ".join(f"{one['player']} {signed(one['value'])}" for one in ordered)
    gone = "".join(f" {_gone(record, modality)}" for modality in MODALITIES if modality in record["absent"])
    start = f"From equal chances ({formats.share(told['none'])}) to {formats.share(told['all'])} for {label}: {parts}."
    return paragraph(start + gone)


def _gone(record: Record, modality: str) -> str:
    said = record["absent"][modality]
    return f"{modality.capitalize()} was absent ({said['reason']}: {said['detail']}) and has no part in it."


def _tiles(record: Record) -> Html | None:
    if "modalities" not in record:
        return None
    tiles = []
    for one in record["modalities"]["players"]:
        weight = "no weight" if one["weight"] is None else f"weight {formats.share(one['weight'], 0)}"
        value = formats.scaled(one["value"], 100, "+.1f", "")
        tiles.append(tag("div", tag("dt", one["player"]), tag("dd", value, class_="large"), tag("dd", f"points; {weight}")))
    return tag("dl", *tiles, class_="tiles")


def _over_time(record: Record) -> Section:
    told = record["over_time"]
    states = told["state"]
    counts = ", ".join(f"{states.count(state)} {words}" for state, words in (("decided", "decided"), ("unsure", "unsure"),
                                                                              ("no decision", "without anything present")))  # fmt: skip
    changes = _changes(told["label"])
    lead = paragraph(
        f"{len(states)} decisions in {formats.plain(record['session']['duration_s'], 'g', 's')}: {counts}; "
        f"the label changed {changes} {'time' if changes == 1 else 'times'}."
    )
    rows = [
        (one["modality"], formats.plain(one["from_s"], "g"), formats.plain(one["to_s"], "g"), one["reason"], one["detail"])
        for one in told["absences"]
    ]
    columns = ("absent", Number("from, s"), Number("to, s"), "reason", Prose("in words"))
    shown: Html | None = table("What was absent, and why", columns, rows) if rows else paragraph("Nothing was ever absent.")
    if len(rows) > _SHOWN_SPELLS and shown is not None:
        shown = folded(f"{len(rows)} spells of absence", shown)
    return Section("over-time", "Over the session", join(lead, drawing.over_time(record), shown))


def _changes(labels: collections.abc.Sequence[str | None]) -> int:
    given = [label for label in labels if label is not None]
    return sum(a != b for a, b in itertools.pairwise(given))


def _modalities(record: Record) -> Section:
    title = "What each modality was worth"
    if "modalities" not in record:
        return Section("modalities", title, paragraph("Nothing was present, so no modality was worth anything."))
    told, label = record["modalities"], record["decision"]["explained"]
    rows = [
        (
            one["player"],
            signed(one["value"]),
            formats.DASH if one["weight"] is None else formats.share(one["weight"]),
            formats.share(one["without"]),
            formats.share(one["alone"]),
        )
        for one in told["players"]
    ]
    rows.append(("all together", signed(told["all"] - told["none"]), formats.DASH, formats.share(told["none"]), formats.share(told["all"])))
    columns = ("", Number("Shapley value"), Number("weight"), Number("without it"), Number("it alone"))
    labels = record["bundle"]["labels"]
    each = [(one["player"], *(signed(one["values"][name]) for name in labels)) for one in told["players"]]
    memory = (
        " Memory is the previous answer, which goes into the fusion again; taken away, it is equal chances, as at a start. Alone, it is "
        "what was given out the tick before."
        if told["memory"]
        else ""
    )
    count = len(told["players"])
    body = join(
        paragraph(
            f"Exact Shapley values of all 2{_raised(count)} = {2**count} combinations of what was there, in points of probability for "
            f"{label}: what each adds in the mean over all orders in which it could have come in. They sum to the difference from equal "
            f"chances, which is what nothing at all gives.{memory}"
        ),
        table(f"Parts of the probability of {label}", columns, rows, marked=(len(rows) - 1,)),
        paragraph(_against_weights(told)),
        folded("For every label", table("Shapley values, points of probability", ("", *map(Number, labels)), each)),
        *(paragraph(_gone(record, modality)) for modality in MODALITIES if modality in record["absent"]),
    )
    return Section("modalities", title, body)


def _raised(count: int) -> str:
    return "".join("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[int(digit)] for digit in str(count))


def _against_weights(told: Record) -> str:
    weighed = [one for one in told["players"] if one["weight"] is not None]
    said = (
        "A weight says how much of an embedding goes into the sum, not what the embedding says, nor for which label: attention weights "
        "can be changed without changing an answer, and need not agree with what an input is worth (Jain & Wallace 2019)."
    )
    if len(weighed) < 2:
        return said
    heaviest, most = max(weighed, key=lambda one: one["weight"]), max(weighed, key=lambda one: abs(one["value"]))
    tied = [one["player"] for one in weighed if one["weight"] == heaviest["weight"]]
    against = [one["player"] for one in weighed if one["value"] < 0 and one["weight"] >= 0.1]
    here = f" Here most weight is on {' and '.join(tied)}, and {most['player']} moved the answer most."
    if against:
        here += f" The weight of {' and '.join(against)} spoke against the label."
    return said + here


def _how(record: Record, face: np.ndarray | None) -> Section:
    decision, session = record["decision"], record["session"]
    told = ["affectkit", "explain", session["file"], "--bundle", record["bundle"]["file"]]
    told += ["--at", f"{decision['t_s']:g}", "--seed", str(record["seed"]), "-o", "page.html"]
    if face is not None:
        told.insert(-2, "--with-face")
    step = decision.get("step") or 0.0
    points = [
        "The session was decided again in virtual time, in the device's interpreter on the int8 stages; the same session, bundle and "
        "version give this page to the byte.",
        "A part is removed by what it could have been without a message: a patch as grey as the face is in the mean, silence, the "
        "person's usual value. Still, such inputs were rare in training, and some of a drop is surprise.",
        "Everything else is held: what the other modalities say, and what was said and answered before.",
        f"One step of the int8 answer is about {formats.points(step)} here; differences below it say nothing." if step else None,
        "Deletion check: the fifth of the blocks that the map ranks highest is removed at once (the lowest, where the map's largest cell "
        "speaks against the label), and, for comparison, as many blocks drawn by chance, 100 times (after Samek et al. 2017).",
        "Shuffled map: the fusion gets the embedding's numbers in another order, so whatever it learnt about them is gone (after Adebayo "
        "et al. 2018); a map that stays the same does not show what was learnt.",
        f"Consent of the recording: {session['consent']}" if session["consent"] else "The recording names no consent.",
    ]
    body = join(
        tag("ul", *(tag("li", one) for one in points if one is not None), class_="plain"),
        tag("pre", tag("code", shlex.join(told)), tabindex=0),
        paragraph("Sources: Zeiler & Fergus 2014 (occlusion); Shapley 1953, Lundberg & Lee 2017; Jain & Wallace 2019; Adebayo et al. 2018; "
                  "Samek et al. 2017.", class_="soft"),
    )  # fmt: skip
    return Section("how", "How it was made, and what it cannot say", body)
