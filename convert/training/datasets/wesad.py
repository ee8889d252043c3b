"""WESAD: wrist pulse wave and skin conductance of 15 people at rest, stressed, amused and meditating."""

from __future__ import annotations

import collections.abc
import pathlib
import re

import numpy as np

from convert.training.datasets import Found, listing, require, set_folder
from convert.training.datasets.array_pickle import load_arrays, unpack
from convert.training.datasets.stress_predict import Recording
from edge.errors import InputError

WESAD_FOLDERS = ("wesad",)
WESAD_CONDITIONS = {"baseline": 1, "stress": 2, "amusement": 3, "meditation": 4}
"""Codes of ``Recording.conditions``; 0 is not defined, 5 to 7 are to be ignored."""
PPG_RATE_HZ, EDA_RATE_HZ, LABEL_RATE_HZ = 64, 4, 700
LONGEST_SKEW_S = 2
_PEOPLE = 15


def _files(data: pathlib.Path) -> dict[int, pathlib.Path]:
    folder = require(set_folder(data, WESAD_FOLDERS), "the WESAD set")
    folders = {int(path.name[1:]): path for path in folder.iterdir() if re.fullmatch(r"S\d+", path.name) and path.is_dir()}
    if not folders:
        raise InputError(f"{folder}: no folders such as S2 with S2.pkl; fetch the set again")
    return {person: folders[person] / f"S{person}.pkl" for person in sorted(folders)}


def wesad(
    data: pathlib.Path,
    people: tuple[int, ...] | None = None,
    *,
    rest: collections.abc.Collection[str] = ("baseline", "amusement"),
) -> list[Recording]:
    """The wristband's part of WESAD (Schmidt et al., 2018, ICMI), one recording a person.

    As published: ``S2/S2.pkl``, a pickle of Python 2, read without running what is in it. A second in which the condition changes
    is not labelled. There is no clock: ``start_s`` is 0.

    Args:
        data: folder that holds ``wesad/``.
        people: numbers as in the folder names; None takes all.
        rest: conditions labelled 0; by default the paper's two-class task, where meditation has no label. Stress is 1.

    Raises:
        InputError: a person's file or a signal is missing or damaged, the signals differ in length by more than 2 s, or the pickle
            holds anything but arrays and plain values.
    """
    unknown = sorted(set(rest) - (WESAD_CONDITIONS.keys() - {"stress"}))
    if unknown:
        raise InputError(f"wesad: {unknown[0]!r} cannot be rest; rest is of baseline, amusement, meditation")
    files = _files(data)
    missing = [person for person in people or () if person not in files]
    if missing:
        raise InputError(f"{set_folder(data, WESAD_FOLDERS)}: no folder of {', '.join(f'S{person}' for person in missing)}; leave them out")
    return [_recording(files[person], person, rest) for person in (files if people is None else people)]


def _recording(path: pathlib.Path, person: int, rest: collections.abc.Collection[str]) -> Recording:
    content = load_arrays(require(path, "a person's file"))
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
        ppg, eda = (unpack(path, content, "signal", "wrist", name).astype(np.float32).ravel() for name in ("BVP", "EDA"))
    codes = unpack(path, content, "label").ravel()
    if content.get("subject", f"S{person}") != f"S{person}":
        raise InputError(f"{path}: is of {content['subject']!r}; put it into its folder")
    lengths_s = [len(codes) / LABEL_RATE_HZ, len(ppg) / PPG_RATE_HZ, len(eda) / EDA_RATE_HZ]
    if max(lengths_s) - min(lengths_s) > LONGEST_SKEW_S:
        told = ", ".join(f"{name} {length:.0f} s" for name, length in zip(("label", "BVP", "EDA"), lengths_s, strict=True))
        raise InputError(f"{path}: lengths differ ({told}), at most {LONGEST_SKEW_S} s are right; fetch it again")
    if not (np.isfinite(ppg).all() and np.isfinite(eda).all()):
        raise InputError(f"{path}: BVP or EDA hold values that are no numbers; fetch it again")
    if codes.min(initial=0) < 0 or codes.max(initial=0) > 7:
        raise InputError(f"{path}: conditions from {codes.min()} to {codes.max()}, needs 0 to 7; fetch it again")
    seconds = int(min(lengths_s))
    steps = codes[: seconds * LABEL_RATE_HZ].reshape(seconds, LABEL_RATE_HZ)
    conditions = np.where((steps == steps[:, :1]).all(axis=1), steps[:, 0], 0).astype(np.int8)
    labels = np.full(seconds, -1, np.int8)
    labels[np.isin(conditions, [WESAD_CONDITIONS[name] for name in rest])] = 0
    labels[conditions == WESAD_CONDITIONS["stress"]] = 1
    return Recording(person, 0, float(PPG_RATE_HZ), ppg, float(EDA_RATE_HZ), eda, labels, f"wesad-{person:02d}", conditions)


def survey_wesad(data: pathlib.Path) -> Found:
    """What of WESAD is here; the files, a gigabyte each, are not read, only looked at from both ends."""
    files = _files(data)
    for path in files.values():
        with require(path, "a person's file").open("rb") as file:
            head = file.read(1)
            file.seek(max(0, path.stat().st_size - 1))
            tail = file.read(1)
        if head != b"\x80" or tail != b".":
            raise InputError(f"{path}: not a whole pickle; fetch it again")
    note = f"{len(files)} of {_PEOPLE} people" if len(files) < _PEOPLE else "complete"
    return Found(len(files), "recordings", len(WESAD_CONDITIONS), len(files), f"{note}; {listing(f'S{person}' for person in files)}")
