"""Stress-Predict: wrist pulse wave and skin conductance of people at rest and in three stress tasks (MIT licence)."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import pathlib

import numpy as np

from convert.training.datasets import require
from edge.errors import InputError

LABELLED_PEOPLE = tuple(range(2, 31))
"""S01 has signals, yet no labels."""
LEAST_OVERLAP = 0.9


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


def signal(path: pathlib.Path) -> tuple[float, float, np.ndarray]:
    """(start in Unix seconds, rate in Hz, samples float32 (n,)) of a one-column file of the wristband."""
    with gzip.open(require(path, "a signal of Stress-Predict"), "rt") as lines:
        try:
            column = np.loadtxt(lines, ndmin=1)
        except ValueError as error:
            raise InputError(f"{path}: not a column of numbers ({error}); fetch the set again") from error
    if len(column) < 3 or column[1] <= 0:
        raise InputError(f"{path}: {len(column)} lines, no start, rate and samples; fetch the set again")
    return float(column[0]), float(column[1]), column[2:].astype(np.float32)


def _labels(path: pathlib.Path) -> dict[int, dict[int, int]]:
    people: dict[int, dict[int, int]] = {}
    with gzip.open(require(path, "the labels of Stress-Predict"), "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            try:
                people.setdefault(int(row["Participant"]), {})[int(row["Time(sec)"])] = int(row["Label"])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}: row {row} has no Participant, Time(sec) and Label; fetch the set again") from error
    return people


def stress_predict(data: pathlib.Path, people: tuple[int, ...] | None = None) -> list[Recording]:
    """The recordings of ``people`` (Iqbal et al., 2022, Sensors 22(21), 8135), labels aligned by Unix second.

    Args:
        data: folder that holds ``stress_predict/``.
        people: numbers as in the folder names; None takes all who have both a folder and labels.

    Raises:
        InputError: a file or a person's labels are missing, the signals start apart, or fewer than 90 % of a person's
            labels lie inside both signals.
    """
    folder = require(data / "stress_predict", "the Stress-Predict set")
    labelled = _labels(folder / "labels_hr_resp_1hz.csv.gz")
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
        recordings.append(Recording(person, start_s, ppg_rate_hz, ppg, eda_rate_hz, eda, labels))
    return recordings
