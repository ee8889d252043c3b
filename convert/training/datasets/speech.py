"""EmoDB and RAVDESS: acted speech with the speaker's name, as 16 kHz samples."""

from __future__ import annotations

import csv
import dataclasses
import pathlib

import numpy as np

from convert.training.datasets import require
from edge.errors import InputError

SPEECH_RATE_HZ = 16000
LABELS = ("positive", "calm", "low", "tense")
"""Quadrants of the valence-arousal circumplex (Russell, 1980), from pleasant and aroused round to unpleasant and aroused."""

QUADRANT_OF = {
    "happy": "positive", "surprised": "positive",
    "neutral": "calm", "calm": "calm",
    "sad": "low", "boredom": "low",
    "angry": "tense", "fearful": "tense", "disgust": "tense",
}  # fmt: skip
EMOTIONS = tuple(QUADRANT_OF)
"""What the two sets show, in RAVDESS's words."""
_EMODB_WORDS = {"happiness": "happy", "sadness": "sad", "anger": "angry", "fear": "fearful"}


@dataclasses.dataclass(frozen=True)
class Clips:
    """Utterances: ``samples[i]`` float32 (n_i,) in [-1, 1] at 16 kHz, ``labels`` int64 (clips,) into ``LABELS``.

    ``people`` (clips,) names speakers as "emodb-03" or "ravdess-12"; ``emotions`` (clips,) is of ``EMOTIONS``.
    """

    samples: tuple[np.ndarray, ...]
    labels: np.ndarray
    people: np.ndarray
    emotions: np.ndarray

    def of(self, people: tuple[str, ...] | list[str]) -> Clips:
        """The clips of these speakers alone."""
        return self.rows(np.flatnonzero(np.isin(self.people, np.asarray(people, dtype=str))))

    def rows(self, rows: np.ndarray) -> Clips:
        """These clips alone."""
        return Clips(tuple(self.samples[i] for i in rows), self.labels[rows], self.people[rows], self.emotions[rows])

    def __len__(self) -> int:
        return len(self.labels)


def read_audio(path: pathlib.Path, rate_hz: int = SPEECH_RATE_HZ) -> np.ndarray:
    """Mono float32 (n,) at ``rate_hz``; polyphase resampling (``scipy.signal.resample_poly``) where the file has another rate."""
    import math

    import scipy.signal
    import soundfile

    try:
        samples, found_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error}); fetch the set again") from None
    mono = samples.mean(axis=1)
    if not len(mono):
        raise InputError(f"{path}: holds no samples; fetch the set again")
    if found_hz == rate_hz:
        return mono
    common = math.gcd(rate_hz, found_hz)
    return scipy.signal.resample_poly(mono, rate_hz // common, found_hz // common).astype(np.float32)


def _clips(folder: pathlib.Path, files: str, corpus: str, person: str) -> Clips:
    table = require(folder / "labels.csv", "the label file")
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    wanted = {"path", "emotion", person}
    if not rows or not wanted <= rows[0].keys():
        raise InputError(f"{table}: needs rows with the columns {', '.join(sorted(wanted))}; fetch the set again")
    emotions = [_EMODB_WORDS.get(row["emotion"], row["emotion"]) for row in rows]
    unknown = sorted(set(emotions) - QUADRANT_OF.keys())
    if unknown:
        raise InputError(f"{table}: unknown emotion {unknown[0]!r}; known are {', '.join(sorted(QUADRANT_OF))}")
    return Clips(
        tuple(read_audio(require(folder / files / row["path"], "a recording")) for row in rows),
        np.array([LABELS.index(QUADRANT_OF[emotion]) for emotion in emotions], np.int64),
        np.array([f"{corpus}-{int(row[person]):02d}" for row in rows]),
        np.array(emotions),
    )


def emodb(data: pathlib.Path) -> Clips:
    """EmoDB (Burkhardt et al., 2005), German, seven emotions; ``data`` is the folder that holds ``emodb/``."""
    return _clips(require(data / "emodb", "the EmoDB set"), "speech", "emodb", "speaker")


def ravdess(data: pathlib.Path) -> Clips:
    """RAVDESS speech (Livingstone & Russo, 2018), English, eight emotions; ``data`` is the folder that holds ``ravdess/``."""
    return _clips(require(data / "ravdess", "the RAVDESS set"), ".", "ravdess", "actor")


def join(*sets: Clips) -> Clips:
    """Several sets as one, in order."""
    return Clips(
        tuple(x for clips in sets for x in clips.samples),
        np.concatenate([clips.labels for clips in sets]),
        np.concatenate([clips.people for clips in sets]),
        np.concatenate([clips.emotions for clips in sets]),
    )
