"""CNN-LSTM: the published size, stages that chain to the whole, and int8."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.zoo import inputs  # noqa: E402
from convert.zoo.blocks import stages  # noqa: E402
from convert.zoo.cnn_lstm import cnn_lstm  # noqa: E402

STEPS, IMAGE = 3, (26, 24, 1)
DRAW = inputs.draw(frames=inputs.clips(STEPS, *IMAGE))


def small():
    keras.utils.set_random_seed(0)
    return cnn_lstm(image=IMAGE, steps=STEPS, filters=(4, 6, 8), units=8, classes=4)


def test_the_published_network_has_the_weights_that_its_table_gives():
    whole = cnn_lstm()
    assert whole.count_params() == 1_339_267
    assert stages(whole)["frame_encoder"].output_shape == (None, 2048)
    assert whole.output["probabilities"].shape == (None, 3)


def test_stages_of_a_loaded_model_chained_give_what_the_whole_gives(reloaded, run):
    whole, x = small(), DRAW(np.random.default_rng(0), 5)
    parts = stages(reloaded(whole))
    assert list(parts) == ["frame_encoder", "sequence_head"]
    frames = [run(parts["frame_encoder"], face=x["frames"][:, t])["embedding"] for t in range(STEPS)]
    chained = run(parts["sequence_head"], embeddings=np.stack(frames, axis=1))
    for name, values in run(whole, **x).items():
        np.testing.assert_allclose(chained[name], values, atol=1e-5)


def test_teaching_the_whole_teaches_its_stages(run):
    whole, x = small(), DRAW(np.random.default_rng(0), 8)
    encoder = stages(whole)["frame_encoder"]
    before = run(encoder, face=x["frames"][:, 0])["embedding"]
    whole.compile(loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}, optimizer="adam", run_eagerly=True)
    whole.fit(x["frames"], {"logits": np.arange(8) % 4}, epochs=1, verbose=0)
    assert np.abs(run(encoder, face=x["frames"][:, 0])["embedding"] - before).max() > 1e-5


def test_the_order_of_frames_matters(settled, run):
    x = DRAW(np.random.default_rng(0), 20)
    whole = settled(small(), x)
    forward, backward = run(whole, **x)["logits"], run(whole, frames=x["frames"][:, ::-1])["logits"]
    assert np.abs(forward - backward).max() > 0.1


def test_it_converts_to_int8(converted):
    result = converted(small(), DRAW)
    assert result.report.operators["CONV_2D"] == 3  # one copy of the convolutions, not one a frame
