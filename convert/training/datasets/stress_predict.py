"""Stress-Predict: wrist pulse wave and skin conductance of people at rest and in three stress tasks (MIT licence)."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import pathlib
import typing
import zlib

import numpy as np

from convert.training.datasets import Found, require, set_folder
from edge.errors import InputError

LABELLED_PEOPLE = tuple(range(2, 31))
"""S01 has signals, yet no labels."""
LEAST_OVERLAP = 0.9
LARGEST = 1e30
"""A value beyond it is no measurement, and would not fit float32."""
STRESS_PREDICT_FOLDERS = ("stress_predict", "Stress-Predict-Dataset", "Stress-Predict-Dataset-main", "stress-predict")
_LABELS = ("labels_hr_resp_1hz.csv", "Processed_data/Improved_All_Combined_hr_rsp_binary.csv")
_DAMAGED = (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error)


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """One person's hour; sample 0 of both signals and entry 0 of ``labels`` lie at ``start_s``."""

    person: int
    start_s: int
    """Unix seconds."""
    ppg_rate_hz: float
    ppg: np.ndarray
    """float32 (n,), unit of the wristband."""
    eda_rate_hz: float
    eda: np.ndarray
    """float32 (n,), microsiemens."""
    labels: np.ndarray
    """int8 (seconds,): 1 stress task, 0 rest, -1 not labelled."""
    name: str = ""
    """Who, told from people of all other sets, as "wesad-02"; ``person`` is a number within its set."""
    conditions: np.ndarray | None = None
    """int8 (seconds,): the set's own codes, where it has more than rest and stress."""


def _plain(path: pathlib.Path) -> pathlib.Path:
    """The file with or without ``.gz``, whichever is there."""
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    return other if other.exists() and not path.exists() else path


def _open(path: pathlib.Path) -> typing.TextIO:
    if path.suffix == ".gz":
        return typing.cast(typing.TextIO, gzip.open(path, "rt", newline="", encoding="utf-8"))
    return path.open(newline="", encoding="utf-8")


def signal(path: pathlib.Path) -> tuple[float, float, np.ndarray]:
    """(start in Unix seconds, rate in Hz, samples float32 (n,)) of a one-column file of the wristband, ``.csv`` or ``.csv.gz``."""
    path = require(_plain(path), "a signal of Stress-Predict")
    with _open(path) as lines:
        try:
            column = np.loadtxt(lines, ndmin=1)
        except (ValueError, *_DAMAGED) as error:
            raise InputError(f"{path}: not a column of numbers ({error}); fetch the set again") from error
    if column.ndim != 1:
        raise InputError(f"{path}: {column.shape[1]} columns, needs one; fetch the set again")
    if len(column) < 3 or column[1] <= 0:
        raise InputError(f"{path}: {len(column)} lines, no start, rate and samples; fetch the set again")
    if np.abs(column).max() > LARGEST:
        raise InputError(f"{path}: holds {np.abs(column).max():g}, which no wristband gives; fetch the set again")
    return float(column[0]), float(column[1]), column[2:].astype(np.float32)


def _labels(path: pathlib.Path) -> dict[int, dict[int, int]]:
    people: dict[int, dict[int, int]] = {}
    with _open(path) as lines:
        try:
            for row in csv.DictReader(lines):
                try:
                    people.setdefault(int(row["Participant"]), {})[int(row["Time(sec)"])] = int(row["Label"])
                except (KeyError, TypeError, ValueError) as error:
                    raise InputError(f"{path}: row {row} has no Participant, Time(sec) and Label; fetch the set again") from error
        except (*_DAMAGED, csv.Error) as error:
            raise InputError(f"{path}: not a table of text ({error}); fetch the set again") from None
    return people


def _parts(data: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """(folder, label file) of either layout."""
    folder = require(set_folder(data, STRESS_PREDICT_FOLDERS), "the Stress-Predict set")
    found = [path for name in _LABELS if (path := _plain(folder / name)).exists()]
    return folder, found[0] if found else require(folder / f"{_LABELS[0]}.gz", "the labels of Stress-Predict")


def stress_predict(data: pathlib.Path, people: tuple[int, ...] | None = None) -> list[Recording]:
    """The recordings of ``people`` (Iqbal et al., 2022, Sensors 22(21), 8135), labels aligned by Unix second.

    As published: ``Raw_data/S02/BVP.csv`` and ``EDA.csv``, labels in ``Processed_data/Improved_All_Combined_hr_rsp_binary.csv``; or
    the same gzipped, labels in ``labels_hr_resp_1hz.csv.gz``.

    Args:
        data: folder that holds ``stress_predict/``.
        people: numbers as in the folder names; None takes all who have both a folder and labels.

    Raises:
        InputError: a file or a person's labels are missing, the signals start apart, or fewer than 90 % of a person's
            labels lie inside both signals.
    """
    folder, table = _parts(data)
    labelled = _labels(table)
    if people is None:
        people = tuple(sorted(person for person in labelled if (folder / "Raw_data" / f"S{person:02d}").is_dir()))
        if not people:
            raise InputError(f"{folder}: nobody has both a folder in Raw_data and labels; fetch the set again")
    missing = [person for person in people if person not in labelled]
    if missing:
        raise InputError(f"{folder}: no labels for {', '.join(f'S{person:02d}' for person in missing)}; leave them out")
    recordings = []
    for person in people:
        where = folder / "Raw_data" / f"S{person:02d}"
        ppg_start, ppg_rate_hz, ppg = signal(where / "BVP.csv.gz")
        eda_start, eda_rate_hz, eda = signal(where / "EDA.csv.gz")
        if ppg_start != eda_start:
            raise InputError(f"{where}: pulse starts at {ppg_start:.0f}, skin conductance at {eda_start:.0f}; expected one start")
        start_s = round(ppg_start)
        seconds = int(min(len(ppg) / ppg_rate_hz, len(eda) / eda_rate_hz))
        labels = np.full(seconds, -1, np.int8)
        for t_s, label in labelled[person].items():
            if 0 <= t_s - start_s < seconds:
                labels[t_s - start_s] = label
        overlap = float((labels >= 0).sum() / len(labelled[person]))
        if overlap < LEAST_OVERLAP:
            raise InputError(f"{where}: {overlap:.0%} of its labels are in the signals, needs {LEAST_OVERLAP:.0%}; check the start times")
        recordings.append(Recording(person, start_s, ppg_rate_hz, ppg, eda_rate_hz, eda, labels, f"stress-predict-{person:02d}"))
    return recordings


def survey_stress_predict(data: pathlib.Path) -> Found:
    """What of Stress-Predict is here: people with labels and both signals."""
    folder, table = _parts(data)
    labelled = _labels(table)
    people = [person for person in sorted(labelled) if (folder / "Raw_data" / f"S{person:02d}").is_dir()]
    if not people:
        raise InputError(f"{folder}: nobody has both a folder in Raw_data and labels; fetch the set again")
    for person in people:
        for name in ("BVP.csv.gz", "EDA.csv.gz"):
            require(_plain(folder / "Raw_data" / f"S{person:02d}" / name), "a signal of Stress-Predict")
    without = len(labelled) - len(people)
    note = table.name + (f"; {without} more have labels and no signals" if without else "")
    return Found(len(people), "recordings", len({label for seconds in labelled.values() for label in seconds.values()}), len(people), note)
