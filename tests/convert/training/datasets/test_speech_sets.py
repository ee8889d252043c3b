"""EmoDB and RAVDESS as published, CREMA-D, and classes of emotions."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import soundfile

from convert.training.datasets.crema_d import CREMA_D_EMOTIONS, CREMA_D_UNUSABLE, crema_d, survey_crema_d
from convert.training.datasets.fer2013 import FER_CLASSES
from convert.training.datasets.speech import (
    BASIC_OF,
    EMODB_EMOTIONS,
    LABELS,
    QUADRANT_OF,
    RAVDESS_EMOTIONS,
    Clips,
    emodb,
    list_emodb,
    list_ravdess,
    ravdess,
    read_audio,
    survey_speech,
)
from edge.errors import InputError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n"


def record(*paths: pathlib.Path, rate_hz: int = 16000) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(np.arange(rate_hz // 10)), rate_hz)


def clips(*emotions: str) -> Clips:
    return Clips(
        tuple(np.zeros(i + 1, np.float32) for i in range(len(emotions))),
        np.array([LABELS.index(QUADRANT_OF[emotion]) for emotion in emotions]),
        np.array([f"p{i}" for i in range(len(emotions))]),
        np.array(emotions),
    )


# --- classes


def test_clips_are_classed_by_emotion():
    found = clips("calm", "surprised", "neutral", "angry")
    kept, labels = found.classed(RAVDESS_EMOTIONS)
    assert labels.tolist() == [1, 7, 0, 4]
    assert kept.people.tolist() == found.people.tolist()


def test_clips_without_a_class_are_left_out_with_their_samples():
    kept, labels = clips("boredom", "sad", "calm", "fearful").classed(FER_CLASSES, BASIC_OF)
    assert [FER_CLASSES[label] for label in labels] == ["sad", "neutral", "fear"]
    assert kept.people.tolist() == ["p1", "p2", "p3"]
    assert [len(x) for x in kept.samples] == [2, 3, 4]
    nothing, none = clips("boredom").classed(FER_CLASSES)
    assert (len(nothing), len(none)) == (0, 0)


def test_the_classes_of_every_set_are_emotions_that_have_a_quadrant():
    assert (len(RAVDESS_EMOTIONS), len(EMODB_EMOTIONS), len(CREMA_D_EMOTIONS)) == (8, 7, 6)
    assert {*RAVDESS_EMOTIONS, *EMODB_EMOTIONS, *CREMA_D_EMOTIONS} == QUADRANT_OF.keys()
    assert set(BASIC_OF.values()) == set(FER_CLASSES)
    assert QUADRANT_OF.keys() - BASIC_OF.keys() == {"boredom"}


# --- EmoDB


def test_emodb_as_published_tells_speaker_and_emotion_by_name(tmp_path: pathlib.Path):
    names = ["03a01Fa", "03a01Nc", "08b02Wa", "09a04La", "10a05Ea", "16b10Ab", "15a07Td"]
    record(*(tmp_path / "EmoDB" / "wav" / f"{name}.wav" for name in names))
    (tmp_path / "EmoDB" / "wav" / "._03a01Fa.wav").write_bytes(b"junk")
    found = emodb(tmp_path)
    assert found.people.tolist() == [f"emodb-{name[:2]}" for name in sorted(names)]
    assert found.emotions.tolist() == ["happy", "neutral", "angry", "boredom", "disgust", "sad", "fearful"]
    assert [LABELS[label] for label in found.labels] == ["positive", "calm", "tense", "low", "tense", "low", "tense"]
    assert sorted(EMODB_EMOTIONS) == sorted(found.emotions)


def test_what_emodb_lacks_is_said(tmp_path: pathlib.Path):
    (tmp_path / "emodb").mkdir()
    with pytest.raises(InputError, match=r"neither labels\.csv nor recordings such as wav/03a01Fa\.wav"):
        emodb(tmp_path)
    record(tmp_path / "emodb" / "wav" / "03a01Xa.wav")
    with pytest.raises(InputError, match=r"03a01Xa\.wav: not named speaker, text, emotion, take"):
        emodb(tmp_path)


def test_a_label_file_with_a_speaker_that_is_no_number_is_refused(tmp_path: pathlib.Path):
    (tmp_path / "emodb").mkdir()
    (tmp_path / "emodb" / "labels.csv").write_text("path,emotion,speaker\na.wav,anger,Anna\n")
    with pytest.raises(InputError, match=r"labels\.csv: a\.wav: the speaker is no number"):
        emodb(tmp_path)


# --- RAVDESS


def test_ravdess_as_published_tells_actor_and_emotion_by_name(tmp_path: pathlib.Path):
    names = [f"Actor_12/03-01-0{code}-01-02-01-12.wav" for code in range(1, 9)] + ["Actor_01/03-01-05-02-02-02-01.wav"]
    record(*(tmp_path / "RAVDESS" / name for name in names), rate_hz=48000)
    record(tmp_path / "RAVDESS" / "Actor_12" / "03-02-03-01-01-01-12.wav")  # sung
    found = ravdess(tmp_path)
    assert found.people.tolist() == ["ravdess-01"] + ["ravdess-12"] * 8
    assert found.emotions.tolist() == ["angry", *RAVDESS_EMOTIONS]
    assert {len(samples) for samples in found.samples} == {1600}


@pytest.mark.parametrize("inner", ["Audio_Speech_Actors_01-24", "ravdess/Audio_Speech_Actors_01-24", "ravdess/audio_speech_actors_01-24"])
def test_ravdess_is_found_in_the_folder_that_its_archive_makes(tmp_path: pathlib.Path, inner: str):
    record(tmp_path / inner / "Actor_02" / "03-01-03-01-01-01-02.wav")
    assert ravdess(tmp_path).emotions.tolist() == ["happy"]


def test_a_copy_that_holds_everything_twice_is_read_once(tmp_path: pathlib.Path):
    name = "Actor_02/03-01-03-01-01-01-02.wav"
    record(tmp_path / "ravdess" / name, tmp_path / "ravdess" / "audio_speech_actors_01-24" / name)
    assert len(list_ravdess(tmp_path)) == 1


def test_what_ravdess_lacks_is_said(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="ravdess: the RAVDESS set is missing"):
        ravdess(tmp_path)
    (tmp_path / "ravdess").mkdir()
    with pytest.raises(InputError, match=r"neither labels\.csv nor recordings such as Actor_12/03-01-06"):
        ravdess(tmp_path)
    wrong = tmp_path / "ravdess" / "Actor_02" / "03-01-09-01-01-01-02.wav"
    record(wrong)
    with pytest.raises(InputError, match="not named in seven codes"):
        ravdess(tmp_path)
    wrong.rename(wrong.with_name("03-01-03-01-01-01-05.wav"))
    with pytest.raises(InputError, match="a recording of actor 05 in the folder of another"):
        ravdess(tmp_path)


# --- CREMA-D


def test_crema_d_tells_actor_and_emotion_by_name(tmp_path: pathlib.Path):
    folder = tmp_path / "CREMA-D" / "AudioWAV"
    names = [
        "1001_DFA_ANG_XX",
        "1001_IEO_DIS_HI",
        "1040_ITH_SAD_X",
        "1076_MTI_SAD_XX",
        "1091_WSI_FEA_XX",
        "1091_WSI_HAP_LO",
        "1091_WSI_NEU_XX",
    ]
    record(*(folder / f"{name}.wav" for name in names))
    found = crema_d(tmp_path)
    assert "1076_MTI_SAD_XX" in CREMA_D_UNUSABLE
    assert found.people.tolist() == ["cremad-1001", "cremad-1001", "cremad-1040", "cremad-1091", "cremad-1091", "cremad-1091"]
    assert found.emotions.tolist() == ["angry", "disgust", "sad", "fearful", "happy", "neutral"]
    assert found.classed(CREMA_D_EMOTIONS)[1].tolist() == [0, 1, 5, 2, 3, 4]
    survey = survey_crema_d(tmp_path)
    assert (survey.samples, survey.people, survey.classes) == (6, 3, 6)
    assert survey.note == "3 of 91 people; 6 of 7438 clips"


def test_what_crema_d_lacks_is_said(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="crema-d: the CREMA-D set is missing"):
        crema_d(tmp_path)
    folder = tmp_path / "crema-d"
    folder.mkdir()
    with pytest.raises(InputError, match="the folder AudioWAV of CREMA-D is missing"):
        crema_d(tmp_path)
    (folder / "AudioWAV").mkdir()
    with pytest.raises(InputError, match="no recordings such as 1001_DFA_ANG_XX"):
        crema_d(tmp_path)
    for name in ("1001_DFA_JOY_XX.wav", "03a01Fa.wav"):
        (folder / "AudioWAV" / name).write_bytes(b"")
        with pytest.raises(InputError, match=rf"{name}: not named actor, sentence, emotion, level"):
            crema_d(tmp_path)
        (folder / "AudioWAV" / name).unlink()


def test_a_clone_without_git_lfs_is_recognized(tmp_path: pathlib.Path):
    path = tmp_path / "crema-d" / "AudioWAV" / "1001_DFA_ANG_XX.wav"
    path.parent.mkdir(parents=True)
    path.write_text(POINTER)
    with pytest.raises(InputError, match="a pointer of Git LFS, no sound; run git lfs pull"):
        crema_d(tmp_path)
    with pytest.raises(InputError, match=r"1001_DFA_ANG_XX\.wav: pointers of Git LFS"):
        survey_crema_d(tmp_path)


def test_samples_that_are_no_numbers_are_refused(tmp_path: pathlib.Path):
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.0]), 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"nan\.wav: holds samples that are no numbers"):
        read_audio(tmp_path / "nan.wav")


# --- the real ones


def test_the_real_sets_are_listed_whole(data: pathlib.Path):
    if not (data / "emodb").is_dir() or not (data / "ravdess").is_dir():
        pytest.skip(f"no EmoDB and RAVDESS at {data}")
    emodb_found, ravdess_found = survey_speech(list_emodb(data), 10, 535), survey_speech(list_ravdess(data), 24, 1440)
    assert (emodb_found.samples, emodb_found.people, emodb_found.classes) == (408, 8, 7)
    assert (ravdess_found.samples, ravdess_found.people, ravdess_found.classes) == (1200, 20, 8)


def test_the_real_names_say_what_the_label_files_say(data: pathlib.Path, tmp_path: pathlib.Path):
    if not (data / "emodb").is_dir() or not (data / "ravdess").is_dir():
        pytest.skip(f"no EmoDB and RAVDESS at {data}")
    listed = {one.path.name: one for one in (*list_emodb(data), *list_ravdess(data))}
    (tmp_path / "emodb").mkdir()
    (tmp_path / "emodb" / "wav").symlink_to(data / "emodb" / "speech")
    (tmp_path / "ravdess").mkdir()
    for actor in (data / "ravdess").glob("Actor_*"):
        (tmp_path / "ravdess" / actor.name).symlink_to(actor)
    parsed = {one.path.name: one for one in (*list_emodb(tmp_path), *list_ravdess(tmp_path))}
    assert parsed.keys() == listed.keys()
    assert all((parsed[name].emotion, parsed[name].person) == (one.emotion, one.person) for name, one in listed.items())
