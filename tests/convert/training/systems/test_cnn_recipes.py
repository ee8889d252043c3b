"""Recipes of cnn_lstm and cnn_rnn: splits, stages, and that a short run over tiny data gives all that a bundle needs."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.training import face  # noqa: E402
from convert.training.datasets.speech import EMODB_EMOTIONS, Clips  # noqa: E402
from convert.training.fit import Schedule  # noqa: E402
from convert.training.speech_forms import Heard  # noqa: E402
from convert.training.systems import cnn_lstm, cnn_rnn, cnn_rnn_speech  # noqa: E402
from convert.training.systems.system import keras_runner  # noqa: E402
from edge.errors import InputError  # noqa: E402


def clips(speakers: int, each: int = 14) -> Clips:
    count = speakers * each
    emotions = np.array([EMODB_EMOTIONS[i % 7] for i in range(count)])
    people = np.array([f"emodb-{i // each:02d}" for i in range(count)])
    return Clips((np.zeros(10, np.float32),) * count, np.zeros(count, int), people, emotions)


@pytest.mark.parametrize("seed", range(4))
def test_a_split_by_speaker_shares_nobody_and_one_by_clip_shares_everybody(seed):
    some = clips(8)
    split = cnn_rnn_speech.by_speaker(some, seed)
    parts = [set(some.people[rows]) for rows in (split.learn, split.temper, split.score)]
    assert [len(part) for part in parts] == [5, 1, 2]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    random = cnn_rnn_speech.by_clip(some, split, seed)
    assert [len(rows) for rows in (random.learn, random.temper, random.score)] == [70, 14, 28]
    assert len(set(np.concatenate([random.learn, random.temper, random.score]))) == len(some)
    assert set(some.people[random.score]) & set(some.people[random.learn])


def test_too_few_speakers_are_said():
    with pytest.raises(InputError, match="2 speakers, and a split by speaker needs at least 3"):
        cnn_rnn_speech.by_speaker(clips(2), 0)


def test_the_speech_stages_compute_together_what_the_network_does():
    keras.utils.set_random_seed(0)
    model = cnn_rnn_speech.network()
    stages = cnn_rnn_speech.staged(model)
    windows = np.random.default_rng(0).random((3, 300, 40)).astype(np.float32)
    embedding = keras_runner(stages["speech"])({"log_mel": windows})["embedding"]
    logits = keras_runner(stages["fusion"])({"speech": embedding})["logits"]
    np.testing.assert_allclose(logits, keras_runner(model)({"log_mel": windows})["logits"], atol=1e-5)
    assert sum(stage.count_params() for stage in stages.values()) == model.count_params()


def test_the_rnn_alone_learns_two_tones_by_heart(tmp_path):
    some = clips(1, each=14).rows(np.array([0, 1] * 20))
    forms = []
    for emotion in some.emotions:
        log_mel = np.full((200, 40), -60.0, np.float32)
        log_mel[:, 5 if emotion == EMODB_EMOTIONS[0] else 30] = -20.0
        forms.append([Heard(log_mel, np.zeros(200, int))])
    schedule = Schedule(epochs=3, batch=8, learning_rate=0.01)
    model = cnn_rnn_speech.train("rnn", some, forms, np.arange(40), schedule=schedule, work=tmp_path, seed=0)
    from edge.preprocess.speech import SpeechParameters, window_samples

    windows = np.stack([window_samples(form[0].log_mel, SpeechParameters()) for form in forms[:2]])
    np.testing.assert_array_equal(keras_runner(model)({"log_mel": windows})["logits"].argmax(axis=1), [0, 1])


def test_settling_measures_the_statistics_anew():
    norm = keras.layers.BatchNormalization()
    x = keras.Input((3,))
    model = keras.Model(x, norm(x))
    batches = np.random.default_rng(0).normal((5.0, -2.0, 0.0), (1.0, 3.0, 0.1), (16, 64, 3)).astype(np.float32)
    cnn_rnn_speech.settle(model, iter(batches))
    np.testing.assert_allclose(norm.moving_mean, batches.mean(axis=(0, 1)), atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, batches.var(axis=1).mean(axis=0), rtol=1e-3)


def test_the_backbone_for_faces_is_small_and_gives_what_the_head_takes():
    encoder = cnn_rnn.frame_encoder()
    assert encoder.output_shape == (None, cnn_rnn.LAST)
    assert encoder.count_params() < 150_000


@pytest.mark.long
def test_a_short_run_of_cnn_lstm_gives_all_that_a_bundle_needs(fer, tmp_path, monkeypatch):
    monkeypatch.setattr(face, "HELD_OUT_FACES", 30)
    said: list[str] = []
    trained = cnn_lstm.recipe(fer, tmp_path, seed=0, say=said.append, epochs_scale=0.05)
    assert "frame encoder, 1 epochs" in said
    assert (trained.epochs_scale, trained.labels) == (0.05, cnn_lstm.FER_CLASSES)
    assert trained.networks["fusion"].count_params() + trained.networks["face"].count_params() > 1_300_000
    runners = {name: keras_runner(network) for name, network in trained.networks.items()}
    judged = trained.score(runners)
    assert [len(one.labels) for one in judged.values()] == [40, 40]
    assert trained.temper(runners).logits.shape == (30, 7)
    for stage in trained.networks:
        for given in (trained.calibration[stage], trained.verification[stage]):
            samples = given(runners) if callable(given) else given
            assert samples["face"].dtype == np.float32
    np.testing.assert_array_equal(trained.score(runners)[next(iter(judged))].logits, next(iter(judged.values())).logits)
