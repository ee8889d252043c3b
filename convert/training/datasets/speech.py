"""EmoDB and RAVDESS: acted speech with the speaker's name, as 16 kHz samples."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import re

import numpy as np

from convert.training.datasets import Found, files_in, listing, read_table, require, set_folder
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
RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Its eight classes, in the order of the codes 01 to 08 in the file names."""
EMODB_EMOTIONS = ("angry", "boredom", "disgust", "fearful", "happy", "neutral", "sad")
"""Its seven classes."""
BASIC_OF = {
    "angry": "angry", "disgust": "disgust", "fearful": "fear", "happy": "happy", "sad": "sad", "surprised": "surprise",
    "neutral": "neutral", "calm": "neutral",
}  # fmt: skip
"""Emotion -> one of FER2013's seven classes, for faces and speech together; boredom has none."""
RAVDESS_FOLDERS = ("ravdess", "Audio_Speech_Actors_01-24")
EMODB_FOLDERS = ("emodb", "emo-db", "emo_db")
_EMODB_LETTERS = {"W": "angry", "L": "boredom", "E": "disgust", "A": "fearful", "F": "happy", "N": "neutral", "T": "sad"}
"""Of the German words: Wut, Langeweile, Ekel, Angst, Freude, neutral, Trauer."""
_SOUNDS = (".wav", ".flac")
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

    def classed(
        self, classes: collections.abc.Sequence[str], names: collections.abc.Mapping[str, str] | None = None
    ) -> tuple[Clips, np.ndarray]:
        """The clips whose emotion is one of ``classes``, and their labels int64 (n,) into ``classes``.

        ``classed(RAVDESS_EMOTIONS)`` is the task of eight classes; ``classed(FER_CLASSES, BASIC_OF)`` renames first, and leaves
        out what has no name there.
        """
        found = [emotion if names is None else names.get(emotion, "") for emotion in self.emotions]
        rows = np.array([i for i, emotion in enumerate(found) if emotion in classes], np.int64)
        return self.rows(rows), np.array([classes.index(found[i]) for i in rows], np.int64)

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A recording that is there, not read yet: ``emotion`` is of ``EMOTIONS``, ``person`` as in ``Clips``."""

    path: pathlib.Path
    emotion: str
    person: str


def read_clips(utterances: collections.abc.Sequence[Utterance]) -> Clips:
    """All of them, read; each emotion must lie in a quadrant."""
    return Clips(
        tuple(read_audio(one.path) for one in utterances),
        np.array([LABELS.index(QUADRANT_OF[one.emotion]) for one in utterances], np.int64),
        np.array([one.person for one in utterances], str),
        np.array([one.emotion for one in utterances], str),
    )


def read_audio(path: pathlib.Path, rate_hz: int = SPEECH_RATE_HZ) -> np.ndarray:
    """Mono float32 (n,) at ``rate_hz``; polyphase resampling (``scipy.signal.resample_poly``) where the file has another rate."""
    import math

    import soundfile

    try:
        samples, found_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        if is_pointer(path):
            raise InputError(f"{path}: a pointer of Git LFS, no sound; run git lfs pull in the set") from None
        raise InputError(f"{path}: cannot be read as audio ({error}); fetch the set again") from None
    mono = samples.mean(axis=1)
    if not len(mono):
        raise InputError(f"{path}: holds no samples; fetch the set again")
    if not np.isfinite(mono).all():
        raise InputError(f"{path}: holds samples that are no numbers; fetch the set again")
    if found_hz == rate_hz:
        return mono
    import scipy.signal

    common = math.gcd(rate_hz, found_hz)
    return scipy.signal.resample_poly(mono, rate_hz // common, found_hz // common).astype(np.float32)


def is_pointer(path: pathlib.Path) -> bool:
    """Whether Git LFS left a note here in place of the file."""
    with path.open("rb") as file:
        return file.read(24) == b"version https://git-lfs."


def _labelled(folder: pathlib.Path, files: str, corpus: str, person: str) -> list[Utterance]:
    """What ``labels.csv`` lists."""
    table = folder / "labels.csv"
    rows = read_table(table, {"path", "emotion", person})
    emotions = [_EMODB_WORDS.get(row["emotion"], row["emotion"]) for row in rows]
    unknown = sorted(set(emotions) - QUADRANT_OF.keys())
    if unknown:
        raise InputError(f"{table}: unknown emotion {unknown[0]!r}; known are {', '.join(sorted(QUADRANT_OF))}")
    nameless = [row["path"] for row in rows if not row[person].isdigit()]
    if nameless:
        raise InputError(f"{table}: {listing(nameless)}: the {person} is no number; fetch the set again")
    return [
        Utterance(require(folder / files / row["path"], "a recording"), emotion, f"{corpus}-{int(row[person]):02d}")
        for row, emotion in zip(rows, emotions, strict=True)
    ]


def list_emodb(data: pathlib.Path) -> list[Utterance]:
    """The recordings that ``emodb`` reads."""
    folder = require(set_folder(data, EMODB_FOLDERS), "the EmoDB set")
    if (folder / "labels.csv").exists():
        return _labelled(folder, "speech", "emodb", "speaker")
    utterances = []
    for path in files_in(folder / "wav", "*", _SOUNDS):
        code = re.fullmatch(r"(\d\d)[ab]\d\d([WLEAFNT])[a-z]?", path.stem)
        if not code:
            raise InputError(f"{path}: not named speaker, text, emotion, take, as 03a01Fa.wav; move it out of wav/")
        utterances.append(Utterance(path, _EMODB_LETTERS[code[2]], f"emodb-{code[1]}"))
    if not utterances:
        raise InputError(f"{folder}: neither labels.csv nor recordings such as wav/03a01Fa.wav; fetch the set again")
    return utterances


def list_ravdess(data: pathlib.Path) -> list[Utterance]:
    """The recordings that ``ravdess`` reads."""
    folder = require(set_folder(data, RAVDESS_FOLDERS), "the RAVDESS set")
    if (folder / "labels.csv").exists():
        return _labelled(folder, ".", "ravdess", "actor")
    # One published copy holds everything twice, also in the inner folder: that one is taken only if there is nothing beside it.
    for place in (folder, set_folder(folder, RAVDESS_FOLDERS[1:])):
        utterances = [one for path in files_in(place, "Actor_*/*", _SOUNDS) if (one := _ravdess_code(path)) is not None]
        if utterances:
            return utterances
    raise InputError(f"{folder}: neither labels.csv nor recordings such as Actor_12/03-01-06-01-02-01-12.wav; fetch the set again")


def _ravdess_code(path: pathlib.Path) -> Utterance | None:
    """What a file name says: modality, channel, emotion, intensity, statement, repetition, actor; None if it is sung."""
    code = re.fullmatch(r"(\d\d)-(0[12])-(0[1-8])-0[12]-0[12]-0[12]-(\d\d)", path.stem)
    if not code:
        raise InputError(f"{path}: not named in seven codes, as 03-01-06-01-02-01-12.wav; move it out of the set")
    if path.parent.name != f"Actor_{code[4]}":
        raise InputError(f"{path}: a recording of actor {code[4]} in the folder of another; put it back")
    return None if code[2] == "02" else Utterance(path, RAVDESS_EMOTIONS[int(code[3]) - 1], f"ravdess-{code[4]}")


def emodb(data: pathlib.Path) -> Clips:
    """EmoDB (Burkhardt et al., 2005), German, seven emotions; ``data`` is the folder that holds ``emodb/``.

    Either ``labels.csv`` (path, emotion, speaker) with ``speech/``, or as published: ``wav/03a01Fa.wav``, which names speaker 03,
    text a01, emotion F (Freude) and take a.
    """
    return read_clips(list_emodb(data))


def ravdess(data: pathlib.Path) -> Clips:
    """RAVDESS speech (Livingstone & Russo, 2018), English, eight emotions; ``data`` is the folder that holds ``ravdess/``.

    Either ``labels.csv`` (path, emotion, actor), or as published: ``Actor_12/03-01-06-01-02-01-12.wav``, in the folder or in
    ``Audio_Speech_Actors_01-24/`` inside or instead of it. Song (second code 02) is left out.
    """
    return read_clips(list_ravdess(data))


def survey_speech(utterances: collections.abc.Sequence[Utterance], people: int, clips: int) -> Found:
    """What of a set of ``people`` and ``clips`` is here; says where Git LFS has left notes in place of sound."""
    pointers = [one.path.name for one in utterances if one.path.stat().st_size < 1000 and is_pointer(one.path)]
    if pointers:
        raise InputError(f"{utterances[0].path.parent}: {listing(pointers)}: pointers of Git LFS, no sound; run git lfs pull in the set")
    found = len({one.person for one in utterances})
    parts = [f"{found} of {people} people"] if found < people else []
    parts += [f"{len(utterances)} of {clips} clips"] if len(utterances) < clips else []
    return Found(len(utterances), "clips", len({one.emotion for one in utterances}), found, "; ".join(parts) or "complete")


def join(*sets: Clips) -> Clips:
    """Several sets as one, in order."""
    return Clips(
        tuple(x for clips in sets for x in clips.samples),
        np.concatenate([clips.labels for clips in sets]),
        np.concatenate([clips.people for clips in sets]),
        np.concatenate([clips.emotions for clips in sets]),
    )
