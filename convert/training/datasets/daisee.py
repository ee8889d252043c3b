"""DAiSEE: students before a webcam, ten seconds a clip, four states in four levels each."""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import pathlib

import numpy as np

from convert.training.datasets import Found, files_in, listing, read_table, require, set_folder
from edge.errors import InputError

DAISEE_STATES = ("boredom", "engagement", "confusion", "frustration")
DAISEE_SPLITS = ("Train", "Validation", "Test")
DAISEE_FOLDERS = ("daisee",)
LEVELS = 4
"""Very low, low, high, very high."""
_COLUMNS = ("Boredom", "Engagement", "Confusion", "Frustration")
_PUBLISHED_PEOPLE = 112
LEAST_READ = 0.9


@dataclasses.dataclass(frozen=True)
class Video:
    """A labelled clip that is there; ``frames(path, rate_hz)`` reads it."""

    path: pathlib.Path
    person: str
    """As "daisee-110001"."""
    levels: tuple[int, int, int, int]
    """0 to 3 of each of ``DAISEE_STATES``."""
    split: str


def _folder(data: pathlib.Path) -> pathlib.Path:
    folder = require(set_folder(data, DAISEE_FOLDERS), "the DAiSEE set")
    inner = set_folder(folder, DAISEE_FOLDERS)
    return inner if not (folder / "DataSet").exists() and (inner / "DataSet").exists() else folder


def _clips(folder: pathlib.Path, split: str) -> dict[str, pathlib.Path]:
    found: dict[str, pathlib.Path] = {}
    for path in files_in(require(folder / "DataSet" / split, f"the clips of {split}"), "*/*/*", (".avi", ".mp4")):
        if path.stem in found and found[path.stem].parent != path.parent:
            raise InputError(f"{path}: the clip is at {found[path.stem]} too; remove one")
        found[path.stem] = path
    return found


def _require_apart(folder: pathlib.Path) -> None:
    users = {
        split: {path.name for path in (folder / "DataSet" / split).iterdir() if path.is_dir()}
        for split in DAISEE_SPLITS
        if (folder / "DataSet" / split).is_dir()
    }
    for one, other in (("Train", "Validation"), ("Train", "Test"), ("Validation", "Test")):
        both = sorted(users.get(one, set()) & users.get(other, set()))
        if both:
            raise InputError(f"{folder}/DataSet: {listing(both)} in {one} and in {other}; a person may be in one split only")


def daisee(data: pathlib.Path, split: str, *, partial: bool = False) -> tuple[Video, ...]:
    """The labelled clips of a split (Gupta et al., 2016, arXiv:1609.01885).

    As published: ``DataSet/Train/USER/CLIP/CLIP.avi`` with ``Labels/TrainLabels.csv``. Clips without labels are left out.

    Args:
        data: folder that holds ``daisee/``.
        split: ``Train``, ``Validation`` or ``Test``.
        partial: leave out labels whose clip is missing, too.

    Raises:
        InputError: a part is missing, a level is not 0 to 3, or a person is in two splits.
    """
    if split not in DAISEE_SPLITS:
        raise InputError(f"daisee: no split {split!r}; there are {', '.join(DAISEE_SPLITS)}")
    folder = _folder(data)
    table = folder / "Labels" / f"{split}Labels.csv"
    rows = read_table(table, {"ClipID", *_COLUMNS})
    clips = _clips(folder, split)
    _require_apart(folder)
    names = [pathlib.PurePath(row["ClipID"]).stem for row in rows]
    missing = [name for name in names if name not in clips]
    if missing and not partial:
        raise InputError(f"{folder / 'DataSet' / split}: no clip for {len(missing)} of {len(rows)} labels ({listing(missing)})")
    videos = []
    for i, (row, name) in enumerate(zip(rows, names, strict=True), 2):
        levels = [row[column] for column in _COLUMNS]
        if any(level not in {"0", "1", "2", "3"} for level in levels):
            raise InputError(f"{table}: line {i} has the levels {', '.join(levels)}; needs 0 to {LEVELS - 1}")
        if name in clips:
            boredom, engagement, confusion, frustration = map(int, levels)
            user = clips[name].parent.parent.name
            videos.append(Video(clips[name], f"daisee-{user}", (boredom, engagement, confusion, frustration), split))
    if not videos:
        raise InputError(f"{folder / 'DataSet' / split}: no clip has a label; fetch the set again")
    return tuple(videos)


def frames(path: pathlib.Path, rate_hz: float) -> collections.abc.Iterator[tuple[float, np.ndarray]]:
    """(seconds from the start, luma uint8 (height, width)) of a video, whole frames as they are; finding the face is the caller's.

    Every frame is given at most once: the first at or after each multiple of 1 / ``rate_hz``.

    Raises:
        InputError: not a video, no frames, no rate, or it ends before 90 % of the frames that it promises.
    """
    import cv2

    if not 0 < rate_hz < math.inf:
        raise InputError(f"{path}: {rate_hz} frames a second were asked for; ask for more than 0")
    film = cv2.VideoCapture(str(require(path, "a clip")))
    try:
        own_hz, promised = film.get(cv2.CAP_PROP_FPS), film.get(cv2.CAP_PROP_FRAME_COUNT)
        if not film.isOpened() or not 0 < own_hz < math.inf:
            raise InputError(f"{path}: cannot be read as a video; fetch it again")
        index, next_s = 0, 0.0
        while film.grab():
            at_s = index / own_hz
            if at_s >= next_s - 0.5e-6:
                given, picture = film.retrieve()
                if not given:
                    break
                yield at_s, picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
                next_s = (math.floor(at_s * rate_hz + 1e-6) + 1) / rate_hz
            index += 1
        if not index or index < LEAST_READ * promised:
            raise InputError(f"{path}: ends after {index} of {promised:.0f} frames; fetch it again")
    finally:
        film.release()


def survey_daisee(data: pathlib.Path) -> Found:
    """What of DAiSEE is here; the clips are not read."""
    videos = [video for split in DAISEE_SPLITS for video in daisee(data, split)]
    people = len({video.person for video in videos})
    note = f"{people} of {_PUBLISHED_PEOPLE} people" if people < _PUBLISHED_PEOPLE else "complete"
    return Found(len(videos), "videos", len(DAISEE_STATES), people, f"{note}; four states in {LEVELS} levels")
