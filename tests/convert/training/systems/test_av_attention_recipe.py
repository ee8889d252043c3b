"""The recipe of av_attention: its labels, its joint stage, and a fusion that learns to do without either modality."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.training.datasets.speech import EMOTIONS, Clips  # noqa: E402
from convert.training.systems import av_attention, fused  # noqa: E402
from convert.training.systems.companions import Takes, draw  # noqa: E402


def pools(seed: int) -> dict[str, Takes]:
    """Embeddings (64,) of seven classes, a few versions each; face says more than speech."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, clear in (("face", 4.0), ("speech", 3.0)):
        labels = np.tile(np.repeat(np.arange(7), 3), 20)
        vectors = np.maximum(rng.normal(0.0, 0.5, (len(labels), 64)) + clear * np.eye(7, 64)[labels], 0.0)
        people = np.full(len(labels), f"{name}-{seed}")
        made[name] = Takes(vectors.astype(np.float32), labels, people, np.arange(len(labels)) // 3)
    return made


def test_emotions_of_the_speech_sets_are_fer2013s_words_and_boredom_is_none_of_them():
    clips = Clips((), np.zeros(len(EMOTIONS), int), np.array([]), np.array(EMOTIONS))
    named = {
        emotion: av_attention.LABELS[label] if label >= 0 else None
        for emotion, label in zip(EMOTIONS, av_attention.labels_of(clips), strict=True)
    }
    assert named["calm"] == named["neutral"] == "neutral"
    assert (named["surprised"], named["fearful"], named["angry"], named["boredom"]) == ("surprise", "fear", "angry", None)
    assert set(named.values()) == {*av_attention.LABELS, None}


def test_a_face_that_is_gone_takes_its_past_with_it_as_on_the_device():
    drawn = draw(pools(0), 200, 10, np.random.default_rng(0), classes=7, rate=0.6, pattern="even")
    given = av_attention.fusion_inputs(drawn)
    assert (given["face"].shape, given["speech"].shape, given["mask"].shape) == ((200, 10, 64), (200, 64), (200, 2))
    np.testing.assert_array_equal(given["mask"], drawn.mask[:, -1])
    np.testing.assert_array_equal(given["mask"][:, 0], given["face"].any(axis=(1, 2)))
    np.testing.assert_array_equal(given["mask"][:, 1], given["speech"].any(axis=1))
    assert (given["face"][given["mask"][:, 0] == 1] == 0).all(axis=2).any()  # steps within the window may be missing


@pytest.mark.long
def test_the_fusion_learns_to_use_both_and_to_do_without_either(tmp_path, monkeypatch):
    monkeypatch.setattr(av_attention, "FUSION_DRAWS", 3072)
    stage = av_attention.train_fusion(pools(0), tmp_path, seed=0, scale=0.5)
    runners = fused.float_runners({"fusion": stage})
    judged = {}
    for only in (("face", "speech"), ("face",), ("speech",)):
        drawn = draw(pools(1), 400, 10, np.random.default_rng(1), classes=7, only=only)
        judged[only] = fused.figures("", av_attention.answer(runners)(drawn)).accuracy
        weights = runners["fusion"](av_attention.fusion_inputs(drawn))["weights"]
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-4)
        if len(only) == 1:
            assert weights[:, 1 - ["face", "speech"].index(only[0])].max() < 1e-3
    assert min(judged.values()) > 0.6, judged
