"""A set of one's own: faces, sound and wrist signals, as folders and as tables."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import soundfile
from PIL import Image

from convert.training.datasets.fer2013 import FER_CLASSES
from convert.training.datasets.own import own_clips, own_faces, own_recordings
from convert.training.datasets.speech import LABELS
from edge.errors import InputError


def picture(path: pathlib.Path, value: int = 100, size: tuple[int, int] = (48, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def sound(path: pathlib.Path, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(round(16000 * seconds))), 16000)


# --- faces


def test_faces_in_folders_have_people_and_labels(tmp_path: pathlib.Path):
    picture(tmp_path / "anna" / "happy" / "1.png", 10)
    picture(tmp_path / "anna" / "Sadness" / "2.png", 20, (96, 96))
    picture(tmp_path / "ben" / "neutral" / "1.jpg", 30, (100, 70))
    found = own_faces(tmp_path)
    assert found.people is not None
    assert found.people.tolist() == ["own-anna", "own-anna", "own-ben"]
    assert [FER_CLASSES[label] for label in found.labels] == ["sad", "happy", "neutral"]
    assert found.images.shape == (3, 48, 48)
    assert found.images.dtype == np.uint8
    assert found.images.mean(axis=(1, 2)).round().tolist() == [20, 10, 30]


def test_faces_in_a_table_may_have_classes_of_their_own(tmp_path: pathlib.Path):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "pictures" / name)
    table = tmp_path / "faces.csv"
    table.write_text("path, label, person\npictures/a.png,Bored,7\npictures/b.png,Interested,8\n")
    found = own_faces(table, classes=None)
    assert found.classes == ("bored", "interested")
    assert found.labels.tolist() == [0, 1]
    assert found.people is not None
    assert found.people.tolist() == ["own-7", "own-8"]
    assert own_faces(table, classes=("interested", "confused", "bored")).labels.tolist() == [2, 0]
    with pytest.raises(InputError, match="unknown label 'bored', 'interested'; known are angry, disgust"):
        own_faces(table)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a.png,happy,", "line 2 has no person; every sample needs path, label and person"),
        ("a.png,,x", "line 2 has no label"),
        ("gone.png,happy,x", r"gone\.png: the file of line 2 is missing"),
        ("a.png,happy,x\n./a.png,happy,y", r"line 3 lists \./a\.png again; a file is one person's, once"),
        ("a.png,happy", "line 2 has 2 of 3 values"),
        ("b.png,happy,x", r"b\.png: cannot be read as a picture"),
    ],
)
def test_faults_of_a_table_are_named_with_their_line(tmp_path: pathlib.Path, rows: str, said: str):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"none")
    (tmp_path / "labels.csv").write_text(f"path,label,person\n{rows}\n")
    with pytest.raises(InputError, match=said) as error:
        own_faces(tmp_path)
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_said(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="your faces is missing"):
        own_faces(tmp_path / "none")
    with pytest.raises(InputError, match=r"no files such as PERSON/LABEL/\*\.png, and no labels\.csv"):
        own_faces(tmp_path)
    (tmp_path / "labels.csv").write_text("path,label\na.png,happy\n")
    with pytest.raises(InputError, match=r"labels\.csv: needs rows with the columns label, path, person"):
        own_faces(tmp_path)
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"labels\.csv: not a table of text"):
        own_faces(tmp_path)
    with pytest.raises(InputError, match=r"no files such as PERSON\.csv with t_s, ppg, eda_us, label"):
        own_recordings(tmp_path)


# --- sound


def test_sound_takes_emotions_and_quadrants(tmp_path: pathlib.Path):
    sound(tmp_path / "anna" / "angry" / "1.wav")
    sound(tmp_path / "anna" / "low" / "2.flac", 0.2)
    sound(tmp_path / "ben" / "calm" / "1.wav")
    found = own_clips(tmp_path)
    assert found.people.tolist() == ["own-anna", "own-anna", "own-ben"]
    assert found.emotions.tolist() == ["angry", "low", "calm"]
    assert [LABELS[label] for label in found.labels] == ["tense", "low", "calm"]
    assert [len(samples) for samples in found.samples] == [1600, 3200, 1600]
    sound(tmp_path / "ben" / "smug" / "1.wav")
    with pytest.raises(InputError, match="unknown label 'smug'; known are angry"):
        own_clips(tmp_path)


def test_sound_in_a_table_is_read_from_its_folder(tmp_path: pathlib.Path):
    sound(tmp_path / "day" / "1.wav")
    (tmp_path / "mine.csv").write_text("person,label,path\nanna,happy,day/1.wav\n")
    assert own_clips(tmp_path / "mine.csv").people.tolist() == ["own-anna"]


# --- wrist signals


def write_signals(path: pathlib.Path, seconds: int = 20, ppg_hz: int = 50, eda_hz: int = 5, start_s: float = 100.3) -> list[str]:
    """Lines in order of time; rest for half the time, then stress."""
    lines = ["t_s,ppg,eda_us,label"]
    for i in range(seconds * ppg_hz):
        eda = f"{1 + i / 1000:.4f}" if i % (ppg_hz // eda_hz) == 0 else ""
        label = "rest" if i < seconds * ppg_hz // 2 else "1"
        lines.append(f"{start_s + i / ppg_hz:.4f},{i},{eda},{label if i % 3 == 0 else ''}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return lines


def test_a_recording_starts_at_a_whole_second_that_both_signals_have(tmp_path: pathlib.Path):
    write_signals(tmp_path / "anna.csv")
    write_signals(tmp_path / "ben.csv", ppg_hz=64, eda_hz=4, start_s=0.0)
    anna, ben = own_recordings(tmp_path)
    assert (anna.person, anna.name, anna.start_s) == (1, "own-anna", 101)
    assert (anna.ppg_rate_hz, anna.eda_rate_hz) == (pytest.approx(50), pytest.approx(5))
    assert anna.ppg[0] == 35  # 100.3 s + 35 / 50 s
    assert anna.eda[0] == pytest.approx(1.04)  # the first line with skin conductance after 101 s is at 101.1 s
    assert len(anna.labels) == 19
    assert anna.labels.tolist() == [0] * 9 + [-1] + [1] * 9  # both were said in the second from 110 s to 111 s
    assert (ben.person, ben.start_s, len(ben.ppg), len(ben.eda)) == (2, 0, 20 * 64, 20 * 4)
    assert ben.labels.tolist() == [0] * 10 + [1] * 10
    assert anna.ppg.dtype == anna.eda.dtype == np.float32
    assert anna.labels.dtype == np.int8


def test_seconds_without_a_label_are_not_labelled(tmp_path: pathlib.Path):
    lines = write_signals(tmp_path / "a.csv", ppg_hz=64, eda_hz=4, start_s=0.0)
    emptied = [lines[0]] + [line if i // 64 % 2 else line.rsplit(",", 1)[0] + "," for i, line in enumerate(lines[1:])]
    (tmp_path / "a.csv").write_text("\n".join(emptied) + "\n")
    assert own_recordings(tmp_path)[0].labels.tolist() == [-1, 0] * 5 + [-1, 1] * 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [lines[0].replace("eda_us", "eda"), *lines[1:]], "needs rows with the columns eda_us, label, ppg, t_s"),
        (lambda lines: [*lines[:5], "later,1,,", *lines[6:]], "line 6: t_s is 'later'; needs a number"),
        (lambda lines: [*lines[:5], ",1,,", *lines[6:]], "line 6: t_s is empty or no later than the line before"),
        (lambda lines: [lines[0], ",1,,", *lines[2:]], "line 2: t_s is empty"),
        (lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]], "line 7: t_s is empty or no later than the line before"),
        (lambda lines: [*lines[:5], lines[5].replace(",4,", ",nan,"), *lines[6:]], "line 6: ppg is 'nan'"),
        (lambda lines: [*lines[:5], lines[5].replace(",4,", ",1e300,"), *lines[6:]], "line 6: ppg is '1e300'; needs a number"),
        (lambda lines: [*lines[:400], *lines[600:]], r"ppg steps by 4\.020 s at t_s 108\.260, else by 0\.020 s; split it there"),
        (lambda lines: [line.replace("rest", "calm") for line in lines], "unknown label 'calm'; known are 0, 1, rest, stress"),
        (lambda lines: lines[:300], r"ppg and eda_us have 5 s in common; needs 10 s at least"),
        (lambda lines: [lines[0], *lines[1::4]], r"ppg has 12\.50 values a second; needs 25 to 1000"),
        (lambda lines: [",".join([*line.split(",")[:2], "", ""]) for line in lines], "needs rows with the columns"),
        (lambda lines: [lines[0], *(",".join([*line.split(",")[:2], "", ""]) for line in lines[1:])], "0 values of eda_us; needs a signal"),
    ],
)
def test_faults_of_a_recording_are_named_in_one_line(tmp_path: pathlib.Path, change, said: str):
    lines = write_signals(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(InputError, match=rf"a\.csv: .*{said}") as error:
        own_recordings(tmp_path)
    assert "\n" not in str(error.value)
