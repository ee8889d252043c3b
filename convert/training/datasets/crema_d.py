"""CREMA-D: acted English speech of 91 people, six emotions."""

from __future__ import annotations

import pathlib
import re

from convert.training.datasets import Found, files_in, require, set_folder
from convert.training.datasets.speech import Clips, Utterance, read_clips, survey_speech
from edge.errors import InputError

CREMA_D_EMOTIONS = ("angry", "disgust", "fearful", "happy", "neutral", "sad")
CREMA_D_FOLDERS = ("crema-d", "crema_d", "cremad", "crema", "CREMA-D-master")
CREMA_D_UNUSABLE = ("1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD")
"""Recordings without sound, and a minute of every emotion at once, as the set's readme warns: left out."""
_CODES = dict(zip(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), CREMA_D_EMOTIONS, strict=True))


def list_crema_d(data: pathlib.Path) -> list[Utterance]:
    """The recordings that ``crema_d`` reads."""
    folder = require(set_folder(data, CREMA_D_FOLDERS), "the CREMA-D set")
    sound = require(set_folder(folder, ("AudioWAV",)), "the folder AudioWAV of CREMA-D")
    utterances = []
    for path in files_in(sound, "*", (".wav",)):
        code = re.fullmatch(r"(1\d{3})_[A-Z]{3}_([A-Z]{3})_(?:LO|MD|HI|XX?)", path.stem)
        if not code or code[2] not in _CODES:
            raise InputError(f"{path}: not named actor, sentence, emotion, level, as 1001_DFA_ANG_XX.wav; move it out of AudioWAV")
        if path.stem not in CREMA_D_UNUSABLE:
            utterances.append(Utterance(path, _CODES[code[2]], f"cremad-{code[1]}"))
    if not utterances:
        raise InputError(f"{sound}: no recordings such as 1001_DFA_ANG_XX.wav; fetch the set again")
    return utterances


def crema_d(data: pathlib.Path) -> Clips:
    """CREMA-D (Cao et al., 2014, IEEE TAC 5(4)), what the actors were asked to show; ``data`` holds ``crema-d/``.

    As published: ``AudioWAV/1001_DFA_ANG_XX.wav`` (actor, sentence, emotion, level). People are "cremad-1001" and so on.

    Raises:
        InputError: the folder or its recordings are missing, a name is not of this form, or Git LFS has not fetched the sound.
    """
    return read_clips(list_crema_d(data))


def survey_crema_d(data: pathlib.Path) -> Found:
    """What of CREMA-D is here."""
    return survey_speech(list_crema_d(data), 91, 7442 - len(CREMA_D_UNUSABLE))
