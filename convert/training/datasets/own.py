"""A set of one's own: faces, sound or wrist signals, as folders or as a table; every sample names its person.

======================  =====================================================================================
faces                   ``PERSON/LABEL/*.png`` (or .jpg), or a CSV with the columns path, label, person
sound                   ``PERSON/LABEL/*.wav`` (or .flac), or the same CSV
wrist signals           ``PERSON.csv``, a file a person, with the columns t_s, ppg, eda_us, label
======================  =====================================================================================

Paths in a CSV start from its folder. A folder that holds ``labels.csv`` is read by that.
"""

from __future__ import annotations

import collections
import collections.abc
import math
import pathlib

import numpy as np

from convert.training.datasets import Found, files_in, listing, read_table, require
from convert.training.datasets.fer2013 import EXPRESSION_OF, FER_CLASSES, Faces, read_grey
from convert.training.datasets.speech import LABELS, QUADRANT_OF, Clips, Utterance, read_audio
from convert.training.datasets.stress_predict import LARGEST, Recording
from edge.errors import InputError

OWN_FOLDERS = {"faces": "own/faces", "speech": "own/speech", "physiology": "own/physiology"}
"""Where ``affectkit data`` looks for them."""
STRESS_WORDS = {"0": 0, "rest": 0, "1": 1, "stress": 1}
PPG_HZ, EDA_HZ = (25.0, 1000.0), (1.0, 1000.0)
"""Rates that can be meant: slower pulse waves do not show a beat."""
_PICTURES, _SOUNDS = (".png", ".jpg", ".jpeg", ".bmp"), (".wav", ".flac")


def _listed(path: pathlib.Path, suffixes: tuple[str, ...], what: str) -> list[tuple[pathlib.Path, str, str]]:
    """(file, label, person) of a table or a folder; each file is there, and is listed once."""
    require(path, f"your {what}")
    table = path if path.is_file() else path / "labels.csv"
    if not table.exists():
        found = [(file, file.parent.name, file.parent.parent.name) for file in files_in(path, "*/*/*", suffixes)]
        if not found:
            raise InputError(f"{path}: no files such as PERSON/LABEL/*{suffixes[0]}, and no labels.csv with path, label, person")
        return found
    found, seen = [], set()
    for line, row in enumerate(read_table(table, {"path", "label", "person"}), 2):
        empty = [name for name in ("path", "label", "person") if not row[name]]
        if empty:
            raise InputError(f"{table}: line {line} has no {empty[0]}; every sample needs path, label and person")
        file = require(table.parent / row["path"], f"the file of line {line}")
        if file.resolve() in seen:
            raise InputError(f"{table}: line {line} lists {row['path']} again; a file is one person's, once")
        seen.add(file.resolve())
        found.append((file, row["label"], row["person"]))
    return found


def _known(path: pathlib.Path, labels: collections.abc.Iterable[str], known: collections.abc.Iterable[str]) -> None:
    unknown = sorted(set(labels) - set(known))
    if unknown:
        raise InputError(f"{path}: unknown label {listing(map(repr, unknown))}; known are {', '.join(sorted(known))}")


def _face_words(path: pathlib.Path, labels: list[str], classes: tuple[str, ...] | None) -> tuple[list[str], tuple[str, ...]]:
    """The labels, renamed where they are expressions, and all classes."""
    words = [label.lower() for label in labels]
    if classes is None:
        return words, tuple(sorted(set(words)))
    words = [word if word in classes else EXPRESSION_OF.get(word, word) for word in words]
    _known(path, words, classes)
    return words, classes


def own_faces(path: pathlib.Path, classes: tuple[str, ...] | None = FER_CLASSES) -> Faces:
    """Pictures of single faces, cut as FER2013's: from the brow to the chin, square; people are "own-PERSON".

    Colour becomes grey, and another size than 48x48 is area-averaged as on the device.

    Args:
        path: folder or CSV.
        classes: what labels may be; None takes the words that are found, in alphabetical order.

    Raises:
        InputError: a file, a label or a person is missing, a label is unknown, or a file is no picture.
    """
    listed = _listed(path, _PICTURES, "faces")
    words, classes = _face_words(path, [label for _, label, _ in listed], classes)
    images = np.stack([read_grey(file, resize=True) for file, _, _ in listed])
    labels = np.array([classes.index(word) for word in words], np.int64)
    return Faces(images, labels, np.array([f"own-{person}" for _, _, person in listed]), classes)


def _utterances(path: pathlib.Path) -> list[Utterance]:
    listed = _listed(path, _SOUNDS, "recordings")
    words = [label.lower() for _, label, _ in listed]
    _known(path, words, {*QUADRANT_OF, *LABELS})
    return [Utterance(file, word, f"own-{person}") for (file, _, person), word in zip(listed, words, strict=True)]


def own_clips(path: pathlib.Path) -> Clips:
    """Utterances of one person each; people are "own-PERSON". A label is an emotion or, where no finer one is known, a quadrant.

    Args:
        path: folder or CSV.

    Raises:
        InputError: a file, a label or a person is missing, a label is unknown, or a file is no sound.
    """
    utterances = _utterances(path)
    return Clips(
        tuple(read_audio(one.path) for one in utterances),
        np.array([LABELS.index(QUADRANT_OF.get(one.emotion, one.emotion)) for one in utterances], np.int64),
        np.array([one.person for one in utterances], str),
        np.array([one.emotion for one in utterances], str),
    )


def own_recordings(folder: pathlib.Path) -> list[Recording]:
    """Wrist signals of one's own, a file a person, numbered from 1 in the order of the names; ``name`` is "own-PERSON".

    ``PERSON.csv`` has a line for every moment at which anything was sampled, in order of time:

    ``t_s``: seconds, from any zero. ``ppg``: pulse wave, any unit. ``eda_us``: skin conductance in microsiemens. ``label``: 0 or
    rest, 1 or stress. All but ``t_s`` may be empty: a slow signal has values on few lines. Each signal must be even, within half
    a sample; a recording with a gap is two files. A second has the label that its lines have; none or two is not labelled.

    Raises:
        InputError: a column is missing, a value is no number, time runs backwards, a signal has a gap, is too slow, or has less
            than ten seconds in common with the other.
    """
    files = [path for path in files_in(require(folder, "your recordings"), "*", (".csv",)) if path.name != "labels.csv"]
    if not files:
        raise InputError(f"{folder}: no files such as PERSON.csv with t_s, ppg, eda_us, label")
    return [_recording(path, number) for number, path in enumerate(files, 1)]


def _column(path: pathlib.Path, rows: list[dict[str, str]], name: str) -> np.ndarray:
    """float64 (lines,), NaN where it is empty."""
    values = np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        try:
            value = float(row[name]) if row[name] else math.nan
        except ValueError:
            value = math.inf
        if abs(value) > LARGEST or (row[name] and math.isnan(value)):
            raise InputError(f"{path}: line {i + 2}: {name} is {row[name]!r}; needs a number")
        values[i] = value
    return values


def _even(path: pathlib.Path, name: str, t_s: np.ndarray, allowed_hz: tuple[float, float]) -> float:
    """The rate of samples at ``t_s``, if they are even."""
    if len(t_s) < 3:
        raise InputError(f"{path}: {len(t_s)} values of {name}; needs a signal")
    step_s = float(np.median(np.diff(t_s)))
    rate_hz = (len(t_s) - 1) / float(t_s[-1] - t_s[0])
    apart = np.abs(np.diff(t_s) - step_s) > 0.5 * step_s
    if apart.any():
        at = int(np.argmax(apart))
        raise InputError(
            f"{path}: {name} steps by {t_s[at + 1] - t_s[at]:.3f} s at t_s {t_s[at]:.3f}, else by {step_s:.3f} s; split it there"
        )
    if not allowed_hz[0] <= rate_hz <= allowed_hz[1]:
        raise InputError(f"{path}: {name} has {rate_hz:.2f} values a second; needs {allowed_hz[0]:g} to {allowed_hz[1]:g}")
    return rate_hz


def _recording(path: pathlib.Path, number: int) -> Recording:
    rows = read_table(path, {"t_s", "ppg", "eda_us", "label"}, "a recording")
    t_s, ppg, eda = (_column(path, rows, name) for name in ("t_s", "ppg", "eda_us"))
    wrong = np.flatnonzero(np.isnan(t_s[1:]) | ~(np.diff(t_s) > 0))
    if np.isnan(t_s[0]) or len(wrong):
        line = 2 if np.isnan(t_s[0]) else int(wrong[0]) + 3
        raise InputError(f"{path}: line {line}: t_s is empty or no later than the line before; sort the lines by time")
    words = [row["label"].lower() for row in rows]
    _known(path, (word for word in words if word), STRESS_WORDS)
    has_ppg, has_eda = ~np.isnan(ppg), ~np.isnan(eda)
    ppg_hz = _even(path, "ppg", t_s[has_ppg], PPG_HZ)
    eda_hz = _even(path, "eda_us", t_s[has_eda], EDA_HZ)
    # Whole seconds that both signals have; sample 0 of each is the first at or after the start.
    start_s = math.ceil(max(t_s[has_ppg][0], t_s[has_eda][0]) - 1e-6)
    end_s = min(t_s[has_ppg][-1] + 1 / ppg_hz, t_s[has_eda][-1] + 1 / eda_hz)
    seconds = math.floor(end_s - start_s + 1e-3)
    if seconds < 10:
        raise InputError(f"{path}: ppg and eda_us have {max(seconds, 0)} s in common; needs 10 s at least")
    at_s = np.floor(t_s + 1e-6).astype(np.int64) - start_s
    said: dict[int, set[int]] = collections.defaultdict(set)
    for second, word in zip(at_s, words, strict=True):
        if word:
            said[int(second)].add(STRESS_WORDS[word])
    labels = np.array([said[i].copy().pop() if len(said[i]) == 1 else -1 for i in range(seconds)], np.int8)
    inside = at_s >= 0
    return Recording(
        number,
        start_s,
        ppg_hz,
        ppg[has_ppg & inside].astype(np.float32),
        eda_hz,
        eda[has_eda & inside].astype(np.float32),
        labels,
        f"own-{path.stem}",
    )


def survey_own_faces(data: pathlib.Path) -> Found:
    """One's own faces in ``own/faces``; the pictures are not read."""
    path = data / OWN_FOLDERS["faces"]
    listed = _listed(path, _PICTURES, "faces")
    _, classes = _face_words(path, [label for _, label, _ in listed], None)
    words = {EXPRESSION_OF.get(word, word) for word in classes}
    return Found(len(listed), "pictures", len(words), len({person for _, _, person in listed}), ", ".join(sorted(words)))


def survey_own_speech(data: pathlib.Path) -> Found:
    """One's own sound in ``own/speech``; the files are not read."""
    found = _utterances(data / OWN_FOLDERS["speech"])
    words = {one.emotion for one in found}
    return Found(len(found), "clips", len(words), len({one.person for one in found}), ", ".join(sorted(words)))


def survey_own_physiology(data: pathlib.Path) -> Found:
    """One's own wrist signals in ``own/physiology``, read and checked."""
    found = own_recordings(data / OWN_FOLDERS["physiology"])
    classes = {int(label) for one in found for label in np.unique(one.labels) if label >= 0}
    return Found(len(found), "recordings", len(classes), len(found), f"{sum(len(one.labels) for one in found)} s in all")
