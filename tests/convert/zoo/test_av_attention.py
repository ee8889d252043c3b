"""Audio-visual attention: stages that chain to the whole, modalities that may be absent, and int8."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.zoo import inputs  # noqa: E402
from convert.zoo.av_attention import av_attention, speech_encoder  # noqa: E402
from convert.zoo.blocks import stages  # noqa: E402

STEPS, IMAGE, FRAMES, MELS = 3, (24, 24, 1), 24, 8
DRAW = inputs.draw(faces=inputs.clips(STEPS, *IMAGE), log_mel=inputs.log_mel(FRAMES, MELS), mask=inputs.masks(2))


def small():
    keras.utils.set_random_seed(0)
    return av_attention(image=IMAGE, steps=STEPS, filters=(4, 8), frames=FRAMES, mels=MELS, units=8, embedding=12, width=8, classes=3)


def test_the_default_is_small_enough_for_the_device():
    assert av_attention().count_params() < 200_000


def test_stages_of_a_loaded_model_chained_give_what_the_whole_gives(reloaded, run):
    whole, x = small(), DRAW(np.random.default_rng(0), 5)
    parts = stages(reloaded(whole))
    assert set(parts) == {"frame_encoder", "sequence_head", "speech_encoder", "fusion"}
    frames = [run(parts["frame_encoder"], face=x["faces"][:, t])["embedding"] for t in range(STEPS)]
    face = run(parts["sequence_head"], embeddings=np.stack(frames, axis=1))["embedding"]
    speech = run(parts["speech_encoder"], log_mel=x["log_mel"])["embedding"]
    chained = run(parts["fusion"], face=face, speech=speech, mask=x["mask"])
    for name, values in run(whole, **x).items():
        np.testing.assert_allclose(chained[name], values, atol=1e-5)


def test_weights_belong_to_the_sample_and_to_what_is_present(settled, run):
    x = DRAW(np.random.default_rng(1), 40)
    weights = run(settled(small(), x), **x)["weights"]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert weights[x["mask"] == 0].max() < 1e-3
    both = weights[x["mask"].sum(axis=1) == 2]
    assert both.std(axis=0).max() > 0.01


def test_what_lies_in_an_absent_input_changes_nothing(settled, run):
    x = DRAW(np.random.default_rng(2), 20)
    whole = settled(small(), x)
    x["mask"] = np.tile(np.array([[0, 1]], np.float32), (20, 1))
    told = run(whole, **x)["probabilities"]
    other = run(whole, **(x | {"faces": inputs.clips(STEPS, *IMAGE)(np.random.default_rng(3), 20)}))["probabilities"]
    np.testing.assert_allclose(told, other, atol=2e-3)
    heard = run(whole, **(x | {"log_mel": x["log_mel"][::-1]}))["probabilities"]
    assert np.abs(told - heard).max() > 0.01


def test_it_converts_to_int8_where_the_absent_have_no_weight_and_nothing_present_is_finite(converted):
    stage = converted(small(), DRAW).model()
    x = {name: values[0] for name, values in DRAW(np.random.default_rng(4), 1).items()}
    for mask, absent in (([1, 0], [1]), ([0, 1], [0])):
        assert stage.run(**(x | {"mask": np.array(mask, np.float32)}))["weights"][absent].max() == 0
    nobody = stage.run(**(x | {"mask": np.zeros(2, np.float32)}))
    assert all(np.isfinite(values).all() for values in nobody.values())
    assert nobody["probabilities"].sum() == pytest.approx(1, abs=0.03)


def test_stacking_keeps_every_log_mel_frame_in_order(run):
    keras.utils.set_random_seed(0)
    stage = speech_encoder(frames=8, mels=3, stack=4, units=2)
    x = np.arange(24, dtype=np.float32).reshape(1, 8, 3)
    stacked = keras.Model(stage.input, stage.get_layer("course").input)(x)
    np.testing.assert_array_equal(stacked, x.reshape(1, 2, 12))
