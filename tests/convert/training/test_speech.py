"""The speech recipe: data, split by speaker, and that training hears what the device hears."""

from __future__ import annotations

import pathlib
import typing

import numpy as np
import pytest
import soundfile

from convert.training.datasets.speech import EMOTIONS, LABELS, QUADRANT_OF, Clips, emodb, join, ravdess, read_audio
from edge.errors import InputError
from edge.preprocess.speech import SpeechParameters

P = SpeechParameters()
NAMES = [f"emodb-{i:02d}" for i in (3, 8, 9, 10, 11, 12, 13, 14)] + [f"ravdess-{i:02d}" for i in range(1, 21)]


def talk(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise in syllables, with a quiet room before and after."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * 16000)) / 16000
    loud = 10 ** (-1.5 * (0.5 + 0.5 * np.cos(2 * np.pi * 4 * t)) ** 2)
    sound = np.concatenate([np.zeros(4800), loud * rng.standard_normal(len(t)) * 0.05, np.zeros(4800)])
    return (sound + 1e-4 * rng.standard_normal(len(sound))).astype(np.float32)


def small_corpus(folder: pathlib.Path, *, rate_hz: int = 22050) -> pathlib.Path:
    """An ``emodb/`` of two clips."""
    (folder / "emodb" / "speech").mkdir(parents=True)
    (folder / "emodb" / "labels.csv").write_text(
        "path,emotion,speaker,text,seconds\n03a01Fa.flac,happiness,03,a01,1\n08a01Wa.flac,anger,08,a01,1\n", encoding="utf-8"
    )
    t = np.arange(rate_hz) / rate_hz
    for name in ("03a01Fa", "08a01Wa"):
        soundfile.write(folder / "emodb" / "speech" / f"{name}.flac", 0.5 * np.sin(2 * np.pi * 440 * t), rate_hz)
    return folder


# --- data


def test_every_emotion_lies_in_a_quadrant_and_every_quadrant_is_shown():
    assert set(QUADRANT_OF) == set(EMOTIONS)
    assert set(QUADRANT_OF.values()) == set(LABELS)


def test_a_corpus_is_read_at_16_khz_with_names_of_speakers(tmp_path: pathlib.Path):
    clips = emodb(small_corpus(tmp_path))
    assert list(clips.people) == ["emodb-03", "emodb-08"]
    assert list(clips.emotions) == ["happy", "angry"]
    assert [LABELS[label] for label in clips.labels] == ["positive", "tense"]
    assert [len(samples) for samples in clips.samples] == [16000, 16000]


def test_resampling_keeps_pitch_and_level(tmp_path: pathlib.Path):
    samples = emodb(small_corpus(tmp_path)).samples[0]
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=2e-3)


def test_missing_damaged_and_empty_recordings_are_named_in_one_line(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match=r"emodb: the EmoDB set is missing"):
        emodb(tmp_path)
    folder = small_corpus(tmp_path) / "emodb" / "speech"
    (folder / "03a01Fa.flac").unlink()
    with pytest.raises(InputError, match=r"03a01Fa\.flac: a recording is missing"):
        emodb(tmp_path)
    (folder / "03a01Fa.flac").write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"03a01Fa\.flac: cannot be read as audio") as damaged:
        emodb(tmp_path)
    assert "\n" not in str(damaged.value)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    with pytest.raises(InputError, match=r"empty\.wav: holds no samples"):
        read_audio(tmp_path / "empty.wav")


def test_an_unknown_emotion_or_table_is_refused(tmp_path: pathlib.Path):
    table = small_corpus(tmp_path) / "emodb" / "labels.csv"
    table.write_text("path,emotion,speaker\n03a01Fa.flac,smug,03\n", encoding="utf-8")
    with pytest.raises(InputError, match="unknown emotion 'smug'"):
        emodb(tmp_path)
    table.write_text("path,emotion\n03a01Fa.flac,anger\n", encoding="utf-8")
    with pytest.raises(InputError, match="columns emotion, path, speaker"):
        emodb(tmp_path)


def test_the_real_sets_have_the_published_shape(data: pathlib.Path):
    for path, person, people in (("emodb", "speaker", 8), ("ravdess", "actor", 20)):
        lines = (data / path / "labels.csv").read_text(encoding="utf-8").splitlines()
        column = lines[0].split(",").index(person)
        assert len({line.split(",")[column] for line in lines[1:]}) == people


@pytest.mark.slow
def test_the_real_sets_load(data: pathlib.Path):
    clips = join(emodb(data), ravdess(data))
    assert len(clips) == 1608
    assert np.bincount(clips.labels).tolist() == [374, 303, 267, 664]
    assert sorted(set(clips.people)) == NAMES


# --- split


@pytest.mark.convert
@pytest.mark.parametrize("seed", range(5))
def test_no_speaker_is_on_two_sides_and_both_corpora_are_on_each(seed: int):
    pytest.importorskip("tensorflow")
    from convert.training.speech import split_people

    split = split_people(NAMES * 3, seed)
    sides = [split.learn, split.fusion, split.validation]
    assert sorted(name for side in sides for name in side) == NAMES
    assert [len(side) for side in sides] == [20, 4, 4]
    for side in sides:
        assert {name.split("-")[0] for name in side} == {"emodb", "ravdess"}
    assert split == split_people(reversed(NAMES), seed)
    assert split != split_people(NAMES, seed + 1)


# --- what is learnt


@pytest.mark.convert
def test_augmentation_keeps_shape_and_range_and_follows_its_generator():
    pytest.importorskip("tensorflow")
    from convert.training.speech import colour, mask
    from convert.training.speech_forms import listen, vary, warp, window_at

    heard = listen(talk(3.0), P)
    for make in (
        lambda rng: vary(talk(1.0), rng),
        lambda rng: colour(heard.log_mel, rng),
        lambda rng: warp(heard.log_mel, rng.uniform(0.9, 1.1), P),
        lambda rng: mask(window_at(heard, int(heard.ends(P)[-1]), P), rng),
    ):
        first, again, other = (make(np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert first.dtype == np.float32 and np.isfinite(first).all()
        assert first.shape != other.shape or not np.array_equal(first, other)
    assert colour(heard.log_mel, np.random.default_rng(0)).shape == heard.log_mel.shape
    assert mask(np.ones((300, 40), np.float32), np.random.default_rng(3)).mean() > 0.5


@pytest.mark.convert
def test_batches_show_each_emotion_of_a_corpus_equally_often():
    pytest.importorskip("tensorflow")
    from convert.training.speech import batches
    from convert.training.speech_forms import listen

    words = np.array(["happy", "calm", "calm", "calm", "angry", "boredom"])
    people = np.array(["ravdess-01"] * 5 + ["emodb-03"])
    clips = Clips(tuple(talk(1.5, seed) for seed in range(6)), np.array([0, 1, 1, 1, 3, 2]), people, words)
    make: typing.Any = batches(clips, [[listen(x, P)] for x in clips.samples], P)
    windows, wanted = make(np.arange(400), np.random.default_rng(0))
    assert windows.shape == (400, 300, 40) and windows.dtype == np.float32
    assert windows.min() >= 0.0 and windows.max() <= P.headroom
    shown = wanted[:, :9].sum(axis=0)
    assert shown.sum() == pytest.approx(400, rel=1e-5)
    assert shown[[EMOTIONS.index(name) for name in ("happy", "calm", "angry")]] / 400 == pytest.approx(np.full(3, 0.23), abs=0.06)
    assert shown[EMOTIONS.index("boredom")] / 400 == pytest.approx(1 / (1 + 5**0.5), abs=0.07)
    np.testing.assert_array_equal(windows, make(np.arange(400), np.random.default_rng(0))[0])


@pytest.mark.convert
def test_the_loss_knows_no_emotion_that_the_corpus_lacks_and_weighs_rare_quadrants():
    pytest.importorskip("tensorflow")
    from convert.training.speech import loss, targets

    clips = Clips((talk(1.0),) * 2, np.array([2, 3]), np.array(["ravdess-01", "emodb-03"]), np.array(["sad", "angry"]))
    wanted = targets(clips, np.arange(2))
    logits = np.zeros((2, 13), np.float32)
    before = np.asarray(loss(wanted, logits, smoothing=0.0))
    # Eight even emotions and even quadrants: sad alone is "low" in RAVDESS (8 / (4 * 1)), three of seven are tense in EmoDB.
    assert before == pytest.approx([np.log(8) + 0.5 * 2 * np.log(4), np.log(7) + 0.5 * 7 / 12 * np.log(4)], rel=1e-5)
    logits[:, EMOTIONS.index("boredom")] = logits[:, EMOTIONS.index("surprised")] = 5.0
    after = np.asarray(loss(wanted, logits, smoothing=0.0))
    assert (after > before + 1).all()
    logits[0, EMOTIONS.index("boredom")] += 20.0  # RAVDESS has no boredom, EmoDB no surprise
    logits[1, EMOTIONS.index("surprised")] += 20.0
    assert np.asarray(loss(wanted, logits, smoothing=0.0)) == pytest.approx(after, abs=1e-3)


@pytest.mark.convert
def test_heads_of_the_corpora_answer_as_the_common_one_does():
    pytest.importorskip("tensorflow")
    import keras

    from convert.training.speech import SHOWN, Learnt
    from convert.zoo.speech import speech_encoder

    keras.utils.set_random_seed(0)
    encoder = speech_encoder(P.frames, P.mels)
    emotions = keras.layers.Dense(len(EMOTIONS))
    emotions(encoder.output["embedding"])
    window = np.random.default_rng(0).random((3, 300, 40)).astype(np.float32)
    answers = Learnt(encoder, emotions).whole()(window)
    logits = np.asarray(emotions(encoder(window)["embedding"]))
    for corpus, shown in SHOWN.items():
        expected = np.exp(logits[:, [EMOTIONS.index(name) for name in shown]])
        np.testing.assert_allclose(answers[corpus], expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(answers["quadrants"], encoder(window)["probabilities"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.convert
def test_training_learns_from_whom_it_is_told_and_what_is_finished_is_not_done_again(tmp_path: pathlib.Path):
    pytest.importorskip("tensorflow")
    from convert.training.fit import Schedule
    from convert.training.speech import train

    for corpus, person, names in (("emodb/speech", "speaker", ("anger", "boredom")), ("ravdess", "actor", ("happy", "sad"))):
        folder = tmp_path / corpus
        folder.mkdir(parents=True)
        rows = [f"{i}.flac,{names[i % 2]},{8 + i % 2}" for i in range(4)]
        (tmp_path / corpus.split("/")[0] / "labels.csv").write_text("\n".join([f"path,emotion,{person}", *rows]) + "\n", encoding="utf-8")
        for i in range(4):
            soundfile.write(folder / f"{i}.flac", talk(1.5, i), 16000)
    schedule, people = Schedule(epochs=2, batch=2), ["emodb-08", "ravdess-08"]
    made = train(tmp_path, tmp_path / "work", seed=0, people=people, schedule=schedule)
    again = train(tmp_path / "no-data", tmp_path / "work", seed=0, people=people, schedule=schedule)
    for one, other in zip(made.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="missing"):  # others were never learnt from
        train(tmp_path / "no-data", tmp_path / "work", seed=0, people=["emodb-09"], schedule=schedule)


# --- scores and baselines


@pytest.mark.convert
def test_uar_is_the_mean_recall_and_majority_scores_a_quarter():
    pytest.importorskip("tensorflow")
    from convert.training.speech import ClipScores, majority, score_clips

    labels = np.array([0, 0, 0, 1, 2, 3])
    guesses = np.eye(4)[[0, 0, 1, 1, 3, 3]]
    people = np.array(["a", "a", "b", "b", "b", "b"])
    scores = ClipScores(guesses, labels, people)
    assert scores.recalls() == pytest.approx([2 / 3, 1.0, 0.0, 1.0])
    assert scores.uar() == pytest.approx((2 / 3 + 1 + 0 + 1) / 4)
    assert scores.uar_by_person() == pytest.approx({"a": 1.0, "b": 0.5})
    clips = Clips(tuple(talk(1.2) for _ in labels), labels, people, np.array(["happy"] * 6))
    assert score_clips(majority(clips, ["a", "b"]), clips, P).uar() == 0.25


@pytest.mark.convert
def test_the_encoder_says_the_mean_of_what_its_voices_say():
    pytest.importorskip("tensorflow")
    from convert.zoo.speech import speech_encoder, voice

    voices = [voice(P.frames, P.mels) for _ in range(3)]
    window = np.random.default_rng(0).random((2, 300, 40)).astype(np.float32)
    logits = np.mean([np.log(one(window)["probabilities"]) for one in voices], axis=0)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(speech_encoder(P.frames, P.mels, voices=voices)(window)["probabilities"], expected, rtol=1e-4)


@pytest.mark.convert
def test_the_encoder_is_small_and_speaks_the_contract():
    pytest.importorskip("tensorflow")
    from convert.zoo.speech import speech_encoder

    model = speech_encoder(P.frames, P.mels)
    assert model.count_params() < 200_000
    found = model(np.zeros((2, 300, 40), np.float32))
    assert {name: tuple(value.shape) for name, value in found.items()} == {"embedding": (2, 96), "probabilities": (2, 4)}
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1.0, rtol=1e-5)
    assert np.min(found["embedding"]) >= 0
    assert [layer.name for layer in model.inputs] == ["log_mel"] or model.input.name == "log_mel"
