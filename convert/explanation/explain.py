"""One decision explained, as plain numbers: what the page and the JSON are made of."""

from __future__ import annotations

import collections.abc
import typing

import numpy as np

from convert.explanation.decider import MEMORY, Decider
from convert.explanation.maps import Asked, Map, occlusion, parts, sliding, strips, without
from convert.explanation.moment import Told, decide_again
from convert.explanation.shapley import MOST_PLAYERS, shapley_values
from edge.bundle import Bundle
from edge.preprocess.physiology import PhysiologyParameters
from edge.preprocess.speech import hz_to_mel, mel_to_hz
from edge.session import Session
from edge.types import MODALITIES, Decision, Modality

SPEECH_BANDS, SPEECH_BLOCKS = 10, 15
PHYSIOLOGY_BLOCKS = 12
Record = dict[str, typing.Any]


def explain(bundle: Bundle, session: Session, *, at_s: float | None = None, seed: int = 0) -> tuple[Record, np.ndarray | None]:
    """Decide a session again and explain one decision of it; the same input gives the same numbers.

    Args:
        bundle: from ``load_bundle``; needs a stage fusion.
        session: from ``open_session``.
        at_s: explain the decision nearest to this time; None chooses, and says how.
        seed: of the draws that the maps are checked with.

    Returns:
        What there is to say, of numbers and texts that JSON takes, and the picture of the face, float32 (height, width, 1) in
        [-1, 1], None if there was none. The picture is no part of the rest, nor is any sound, or value of the body.

    Raises:
        BundleError, InputError, SessionError, InferenceError: as ``decide_again``.
    """
    told = decide_again(bundle, session, at_s=at_s)
    manifest, moment = bundle.manifest, told.moment
    record: Record = {
        "bundle": {
            "file": bundle.path.name,
            "name": manifest.name,
            "version": manifest.version,
            "sha256": bundle.sha256,
            "labels": list(manifest.labels),
        },
        "session": {"file": session.path.name, "title": session.title, "duration_s": session.duration_ns / 1e9, "consent": session.consent},
        "seed": seed,
        "over_time": over_time(told, manifest.labels, manifest.cadence_ms),
        "decision": _said(moment.decision, moment.t_ns, told.why) | {"settle_ms": manifest.settle_ms},
        "absent": {m: {"reason": gone.reason, "detail": gone.detail} for m, gone in sorted(moment.decision.absent.items())},
    }
    if not moment.inputs:
        return record, None
    decider = Decider(moment, manifest.labels, manifest.temperature)
    record["decision"] |= {"explained": decider.label, "probability": _round(decider.whole[decider.at]), "step": _round(decider.step)}
    record["modalities"] = of_modalities(decider)
    random = np.random.default_rng(seed)
    describe = {"face": of_face, "speech": of_speech, "physiology": of_physiology}
    for modality in MODALITIES:
        if modality in moment.encoded and modality in decider.modalities:
            record[modality] = describe[modality](Asked(decider, modality), manifest.preprocess.get(modality, {}), random)
    return record, moment.encoded["face"].window if "face" in record else None


def _said(decision: Decision, t_ns: int, why: str) -> Record:
    return {
        "t_s": t_ns / 1e9,
        "why": why,
        "state": decision.state,
        "label": decision.label,
        "probabilities": {label: _round(p) for label, p in decision.probabilities.items()},
        "weights": {modality: _round(weight) for modality, weight in decision.weights.items()},
    }


def over_time(told: Told, labels: collections.abc.Sequence[str], cadence_ms: int) -> Record:
    """Columns over all decisions, and spells of absence: from the first decision without a modality to the last, both in s."""
    decisions = told.decisions
    spells: list[Record] = []
    for modality in MODALITIES:
        before: Record | None = None
        for t_ns, decision in zip(told.times_ns, decisions, strict=True):
            gone = decision.absent.get(modality)
            if gone is None:
                before = None
            elif before is not None and (before["reason"], before["detail"]) == (gone.reason, gone.detail):
                before["to_s"] = t_ns / 1e9
            else:
                before = {"modality": modality, "reason": gone.reason, "detail": gone.detail, "from_s": t_ns / 1e9, "to_s": t_ns / 1e9}
                spells.append(before)
    return {
        "cadence_ms": cadence_ms,
        "t_s": [t_ns / 1e9 for t_ns in told.times_ns],
        "state": [decision.state for decision in decisions],
        "label": [decision.label for decision in decisions],
        "probabilities": {label: [_round(one.probabilities.get(label)) for one in decisions] for label in labels},
        "weights": {modality: [_round(one.weights.get(modality)) for one in decisions] for modality in MODALITIES},
        "absences": spells,
    }


def of_modalities(decider: Decider) -> Record:
    """Exact Shapley values over what was present and the memory, for every label; weights beside them."""
    players = decider.players
    values = shapley_values(lambda those: decider.of_only([players[one] for one in those]), len(players))
    none, weights = decider.of_only(()), decider.moment.decision.weights
    told = []
    for place, player in enumerate(players):
        others = [one for one in players if one != player]
        told.append(
            {
                "player": player,
                "weight": _round(weights.get(typing.cast(Modality, player))),
                "value": _round(values[place][decider.at]),
                "without": _round(decider.of_only(others)[decider.at]),
                "alone": _round(decider.of_only([player])[decider.at]),
                "values": {label: _round(value) for label, value in zip(decider.labels, values[place], strict=True)},
            }
        )
    return {"none": _round(none[decider.at]), "all": _round(decider.whole[decider.at]), "players": told, "memory": MEMORY in players}


def of_face(asked: Asked, parameters: collections.abc.Mapping[str, typing.Any], random: np.random.Generator) -> Record:
    """A grey patch, as bright as the face is in the mean, slides over the crop."""
    window = asked.window
    return {"size_px": window.shape[0]} | _as_record(occlusion(asked, sliding(window.shape[0]), float(window.mean()), random))


def of_speech(asked: Asked, parameters: collections.abc.Mapping[str, typing.Any], random: np.random.Generator) -> Record:
    """Stretches of mel bands are silenced: 0, which is what lies ``range_db`` below the voice, and what comes before it."""
    window = asked.window
    frames, mels = window.shape[:2]
    blocks, bands = min(SPEECH_BLOCKS, frames), min(SPEECH_BANDS, mels)
    found = occlusion(asked, parts(frames, mels, blocks, bands), 0.0, random)
    whole = asked(window)

    def silenced(rows: int, columns: int) -> list[float | None]:
        regions = parts(frames, mels, rows, columns).regions
        return [_round(whole - asked(without(window, [region], 0.0))) for region in regions]

    hop_s = float(parameters.get("hop_ms", 10.0)) / 1e3
    return {
        "edges_s": [_round((n - frames) * hop_s) for n in _edges(frames, blocks)],
        "edges_hz": [_round(hz) for hz in _band_edges_hz(mels, bands, parameters)],
        "whole_bands": silenced(1, bands),
        "whole_blocks": silenced(blocks, 1),
    } | _as_record(found, turned=True)


def _band_edges_hz(mels: int, bands: int, parameters: collections.abc.Mapping[str, typing.Any]) -> list[float]:
    """Where groups of the filterbank's triangles begin and end: at the middle between the peaks of neighbours, in hertz."""
    low, high = float(parameters.get("fmin_hz", 60.0)), float(parameters.get("fmax_hz", 7600.0))
    from_mel, to_mel = (float(hz_to_mel(np.array(hz))) for hz in (low, high))
    step = (to_mel - from_mel) / (mels + 1)
    return [float(mel_to_hz(np.array(from_mel + (count + 0.5) * step))) for count in _edges(mels, bands)]


def _channel_names(channels: int, parameters: collections.abc.Mapping[str, typing.Any]) -> tuple[str, ...]:
    """What the front calls its channels; numbers where the bundle's parameters do not tell of as many."""
    names = PhysiologyParameters(**parameters).names
    return names if len(names) == channels else tuple(f"channel {number}" for number in range(1, channels + 1))


def of_physiology(asked: Asked, parameters: collections.abc.Mapping[str, typing.Any], random: np.random.Generator) -> Record:
    """Channels are set to 0, the person's usual value (of a flag: not measured): for a while, or, as a player, throughout."""
    window = asked.window
    steps, channels = window.shape
    names = _channel_names(channels, parameters)
    blocks = min(PHYSIOLOGY_BLOCKS, steps)
    found = occlusion(asked, parts(steps, channels, blocks, channels), 0.0, random)
    groups = [range(strip.start, strip.stop) for strip in strips(channels, min(channels, MOST_PLAYERS))]

    def worth(those: frozenset[int]) -> np.ndarray:
        kept = np.isin(np.arange(channels), [one for place in those for one in groups[place]])
        return np.array(asked(np.where(kept, window, np.float32(0))))

    values = shapley_values(worth, len(groups))
    return {
        "channels": list(names),
        "edges_s": [count - steps for count in _edges(steps, blocks)],
        "none": _round(float(worth(frozenset()))),
        "all": _round(asked(window)),
        "players": [
            {"channels": [names[one] for one in group], "value": _round(value)} for group, value in zip(groups, values, strict=True)
        ],
    } | _as_record(found, turned=True)


def _as_record(found: Map, *, turned: bool = False) -> Record:
    """A map whose columns are time, if ``turned``: windows have time first."""
    check = found.check
    worths, shuffled = (array.T if turned else array for array in (found.worths, check.shuffled))
    return {
        "map": _rows(worths),
        "shuffled_map": _rows(shuffled),
        "check": {
            "direction": check.direction,
            "drop_top": _round(check.drop_top),
            "drop_random": [_round(drop) for drop in check.drop_random],
            "costlier": check.costlier,
            "removed": check.removed,
            "of": check.of,
            "verdict": check.verdict,
            "likeness": _round(check.likeness),
        },
    }


def _edges(length: int, count: int) -> list[int]:
    """Where the parts of ``strips`` begin, and where the last one ends."""
    return [0, *(strip.stop for strip in strips(length, count))]


def _rows(array: np.ndarray) -> list[list[float | None]]:
    return [[_round(value) for value in row] for row in array]


def _round(value: float | None) -> float | None:
    """Six decimals: finer than any int8 stage resolves; + 0.0 turns -0.0 into 0.0."""
    return None if value is None else round(float(value), 6) + 0.0
