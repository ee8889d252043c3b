"""How much quality moves with the seed and with who is left out: what one number in a card cannot say."""

from __future__ import annotations

import collections.abc
import pathlib
import typing

import numpy as np

from convert.training import physiology, speech
from edge.preprocess.speech import SpeechParameters


def measure(data: pathlib.Path, work: pathlib.Path, *, seeds: collections.abc.Sequence[int]) -> dict[str, typing.Any]:
    """Stage -> {"runs", "uar_mean", "uar_std", "what"}, float networks; the face encoder is too slow to train again.

    speech: a network a seed, each with another split by speaker. physiology: five groups of people left out in turn, a seed.
    """
    parameters = SpeechParameters()
    clips = speech.corpora(data)
    heard, linear = [], []
    for seed in seeds:
        people = speech.split_people(clips.people, seed)
        judged = clips.of(people.validation)
        heard.append(speech.score_clips(speech.predictor(speech.train(data, work, seed=seed)), judged, parameters).uar())
        line = speech.linear_baseline(clips, people.learn, parameters)
        linear.append(speech.score_clips(line, judged, parameters).uar())
    folds = physiology.cross_validate(data, work, seeds=seeds)
    result = {"face": {"runs": 1}, "speech": _spread(heard, f"other speakers each time; linear baseline {np.mean(linear):.1%}")}
    for start, name in (("from the start", "physiology"), ("restarted", "physiology, restarted")):
        own = [fold for fold in folds if fold.start == start]
        line_mean = float(np.mean([fold.linear for fold in own]))
        result[name] = _spread([fold.encoder for fold in own], f"five groups left out in turn; linear baseline {line_mean:.1%}")
    return result


def _spread(values: collections.abc.Sequence[float], what: str) -> dict[str, typing.Any]:
    return {"runs": len(values), "uar_mean": float(np.mean(values)), "uar_std": float(np.std(values)), "what": what}
