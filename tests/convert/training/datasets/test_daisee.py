"""DAiSEE: labels and clips belong together, people stay in one split, and frames come at the rate asked for."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from convert.training.datasets.daisee import daisee, frames, survey_daisee
from edge.errors import InputError

cv2 = pytest.importorskip("cv2")
HEADER = "ClipID,Boredom,Engagement,Confusion,Frustration "


def film(path: pathlib.Path, count: int = 30, rate_hz: float = 30.0) -> pathlib.Path:
    """Frame i is grey of value 8 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate_hz, (64, 48))
    for i in range(count):
        writer.write(np.full((48, 64, 3), 8 * i % 256, np.uint8))
    writer.release()
    return path


def put(folder: pathlib.Path, split: str, rows: dict[str, str], suffix: str = ".avi") -> None:
    """Clips (name -> levels), empty files, with their labels; the first six digits of a name are the user's."""
    for name in rows:
        path = folder / "DataSet" / split / name[:6] / name / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "Labels").mkdir(exist_ok=True)
    lines = [HEADER, *(f"{name}.avi,{levels}" for name, levels in rows.items())]
    (folder / "Labels" / f"{split}Labels.csv").write_text("\r\n".join(lines) + "\r\n")


def test_clips_come_with_levels_and_the_user_as_person(tmp_path: pathlib.Path):
    put(tmp_path / "DAiSEE", "Train", {"1100011002": "0,2,0,1", "1100012005": "3,0,1,0", "2000011001": "1,1,1,1"})
    found = daisee(tmp_path, "Train")
    assert [one.levels for one in found] == [(0, 2, 0, 1), (3, 0, 1, 0), (1, 1, 1, 1)]
    assert [one.person for one in found] == ["daisee-110001", "daisee-110001", "daisee-200001"]
    assert {one.split for one in found} == {"Train"}
    assert found[0].path.name == "1100011002.avi"


def test_clips_of_another_container_and_clips_without_labels_do_no_harm(tmp_path: pathlib.Path):
    folder = tmp_path / "daisee" / "DAiSEE"
    put(folder, "Test", {"5000011002": "0,3,0,0"}, ".mp4")
    unlabelled = folder / "DataSet" / "Test" / "500001" / "5000019999" / "5000019999.avi"
    unlabelled.parent.mkdir()
    unlabelled.touch()
    assert [one.path.name for one in daisee(tmp_path, "Test")] == ["5000011002.mp4"]


def test_a_person_in_two_splits_is_refused(tmp_path: pathlib.Path):
    folder = tmp_path / "daisee"
    put(folder, "Train", {"1100011002": "0,2,0,1"})
    put(folder, "Test", {"1100012003": "0,2,0,1"})
    with pytest.raises(InputError, match="110001 in Train and in Test; a person may be in one split only"):
        daisee(tmp_path, "Train")


def test_what_is_missing_is_said(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="daisee: the DAiSEE set is missing"):
        daisee(tmp_path, "Train")
    with pytest.raises(InputError, match="no split 'train'; there are Train, Validation, Test"):
        daisee(tmp_path, "train")
    folder = tmp_path / "daisee"
    put(folder, "Train", {"1100011002": "0,2,0,1", "1100011003": "0,2,0,1"})
    with pytest.raises(InputError, match=r"ValidationLabels\.csv: the label file is missing"):
        daisee(tmp_path, "Validation")
    (folder / "DataSet" / "Train" / "110001" / "1100011003" / "1100011003.avi").unlink()
    with pytest.raises(InputError, match=r"Train: no clip for 1 of 2 labels \(1100011003\)"):
        daisee(tmp_path, "Train")
    assert len(daisee(tmp_path, "Train", partial=True)) == 1
    table = folder / "Labels" / "TrainLabels.csv"
    table.write_text(table.read_text().replace("0,2,0,1", "0,4,0,1", 1))
    with pytest.raises(InputError, match="line 2 has the levels 0, 4, 0, 1; needs 0 to 3"):
        daisee(tmp_path, "Train", partial=True)


def test_a_clip_that_is_there_twice_is_refused(tmp_path: pathlib.Path):
    put(tmp_path / "daisee", "Train", {"1100011002": "0,2,0,1"})
    twin = tmp_path / "daisee" / "DataSet" / "Train" / "110002" / "1100011002" / "1100011002.avi"
    twin.parent.mkdir(parents=True)
    twin.touch()
    with pytest.raises(InputError, match=r"the clip is at .*110001.* too; remove one"):
        daisee(tmp_path, "Train")


def test_a_survey_wants_all_three_splits(tmp_path: pathlib.Path):
    for i, split in enumerate(("Train", "Validation")):
        put(tmp_path / "daisee", split, {f"{i}100011002": "0,2,0,1"})
    with pytest.raises(InputError, match=r"TestLabels\.csv: the label file is missing"):
        survey_daisee(tmp_path)
    put(tmp_path / "daisee", "Test", {"9100011002": "0,2,0,1", "9100011003": "0,2,0,1"})
    found = survey_daisee(tmp_path)
    assert (found.samples, found.people, found.classes) == (4, 3, 4)
    assert "3 of 112 people" in found.note


@pytest.mark.parametrize(
    ("rate_hz", "indices"),
    [(10.0, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]), (4.0, [0, 8, 15, 23]), (1.0, [0]), (30.0, list(range(30))), (100.0, list(range(30)))],
)
def test_frames_are_the_first_at_or_after_each_moment(tmp_path: pathlib.Path, rate_hz: float, indices: list[int]):
    found = list(frames(film(tmp_path / "a.avi"), rate_hz))
    assert [round(at_s * 30) for at_s, _ in found] == indices
    for i, (_, luma) in zip(indices, found, strict=True):
        assert luma.shape == (48, 64)
        assert luma.dtype == np.uint8
        assert abs(float(luma.mean()) - 8 * i) < 3


def test_what_is_no_video_is_refused(tmp_path: pathlib.Path):
    path = tmp_path / "a.avi"
    with pytest.raises(InputError, match=r"a\.avi: a clip is missing"):
        next(frames(path, 5))
    path.write_bytes(b"no video" * 100)
    with pytest.raises(InputError, match=r"a\.avi: cannot be read as a video"):
        next(frames(path, 5))
    for rate_hz in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="ask for more than 0"):
            next(frames(path, rate_hz))


def test_a_video_that_breaks_off_is_refused(tmp_path: pathlib.Path):
    path = film(tmp_path / "a.avi", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"a\.avi: (ends after \d+ of \d+ frames|cannot be read as a video)"):
        list(frames(path, 5))
