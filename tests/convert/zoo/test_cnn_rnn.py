"""CNN and RNN: backbones as published, every head, stages that chain to the whole, and int8."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.zoo import inputs  # noqa: E402
from convert.zoo.blocks import stages  # noqa: E402
from convert.zoo.cnn_rnn import Row, cnn_rnn, cnn_rnn_speech, frame_encoder, sequence_head  # noqa: E402

STEPS, IMAGE, FRAMES, MELS = 3, (24, 24, 1), 32, 16
TABLE = (Row(1, 16, 1, 1), Row(6, 24, 2, 2), Row(6, 32, 1, 2, kernel=5))
FACES = inputs.draw(frames=inputs.clips(STEPS, *IMAGE))
VOICES = inputs.draw(log_mel=inputs.log_mel(FRAMES, MELS))


def small(**options):
    keras.utils.set_random_seed(0)
    return cnn_rnn(image=IMAGE, steps=STEPS, table=TABLE, last=16, units=8, classes=4, **options)


def small_speech(**options):
    keras.utils.set_random_seed(0)
    return cnn_rnn_speech(frames=FRAMES, mels=MELS, table=TABLE, last=16, units=8, classes=4, **options)


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_the_backbones_at_full_width_have_the_published_numbers_of_weights():
    imagenet = {"image": (224, 224, 3), "width": 1.0, "last": 1280, "stride": 2}
    classifier = 1280 * 1000 + 1000
    assert trainable(frame_encoder(backbone="mobilenet_v2", **imagenet)) + classifier == 3_504_872  # 3.5 M; 3.4 M in the paper
    assert trainable(frame_encoder(backbone="efficientnet_lite", **imagenet)) + classifier == 4_652_008  # 4.7 M


def test_narrow_backbones_keep_to_multiples_of_8():
    narrow = frame_encoder(width=0.35)
    filters = {layer.filters for layer in narrow.layers if isinstance(layer, keras.layers.Conv2D)}
    assert all(count % 8 == 0 for count in filters)
    assert narrow.count_params() < 300_000


def test_activations_are_those_that_int8_likes():
    encoder = frame_encoder(image=IMAGE, backbone="efficientnet_lite", table=TABLE)
    clipped = [layer.max_value for layer in encoder.layers if isinstance(layer, keras.layers.ReLU)]
    # The stem, the last convolution, two a block but one where nothing is widened: none where a block narrows.
    assert clipped == [6.0] * (1 + 1 + 2 * 4 - 1)
    assert not any(isinstance(layer, (keras.layers.Activation, keras.layers.Dense)) for layer in encoder.layers)


@pytest.mark.parametrize(("recurrent", "attention"), [("gru", True), ("lstm", False), ("bilstm", True), ("none", False)])
def test_stages_of_a_loaded_model_chained_give_what_the_whole_gives(recurrent, attention, reloaded, run):
    whole, x = small(recurrent=recurrent, attention=attention), FACES(np.random.default_rng(0), 4)
    parts = stages(reloaded(whole))
    frames = [run(parts["frame_encoder"], face=x["frames"][:, t])["embedding"] for t in range(STEPS)]
    chained = run(parts["sequence_head"], embeddings=np.stack(frames, axis=1))
    for name, values in run(whole, **x).items():
        np.testing.assert_allclose(chained[name], values, atol=1e-5)


def test_stages_for_speech_chained_give_what_the_whole_gives(reloaded, run):
    whole, x = small_speech(recurrent="bilstm"), VOICES(np.random.default_rng(0), 4)
    parts = stages(reloaded(whole))
    embeddings = run(parts["speech_encoder"], **x)["embeddings"]
    assert embeddings.shape == (4, 4, 32)  # 32 frames and 16 bands, each an eighth, 16 filters
    chained = run(parts["sequence_head"], embeddings=embeddings)
    np.testing.assert_allclose(chained["probabilities"], run(whole, **x)["probabilities"], atol=1e-5)


def test_only_an_rnn_knows_the_order_of_frames(run):
    x = FACES(np.random.default_rng(0), 4)["frames"]
    for recurrent, knows in (("none", False), ("gru", True)):
        whole = small(recurrent=recurrent, attention=False)
        forward, backward = (run(whole, frames=frames)["logits"] for frames in (x, x[:, ::-1]))
        assert (np.abs(forward - backward).max() > 1e-4 * np.abs(forward).max()) == knows, recurrent


def test_attention_weighs_the_steps_of_each_sample(run):
    keras.utils.set_random_seed(0)
    head = sequence_head(steps=5, features=6, units=8, recurrent="none")
    x = inputs.embedding_windows(5, 6)(np.random.default_rng(0), 20)
    weights = keras.Model(head.input, head.get_layer("attention").output)(x).numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert weights.std(axis=0).max() > 0.01


def test_the_rnn_alone_sees_the_picture_averaged(run):
    encoder = frame_encoder(image=(48, 36, 1), backbone="pixels")
    face = inputs.images(48, 36, 1)(np.random.default_rng(0), 2)
    assert encoder.count_params() == 0
    expected = face.reshape(2, 12, 4, 12, 3).mean(axis=(2, 4)).reshape(2, 144)
    np.testing.assert_allclose(run(encoder, face=face)["embedding"], expected, atol=1e-6)


MODELS = {
    "mobilenet, gru, attention": (lambda: small(), FACES),
    "rnn alone": (lambda: small(backbone="pixels", recurrent="lstm", attention=False), FACES),
    "speech, efficientnet, bilstm": (lambda: small_speech(backbone="efficientnet_lite", recurrent="bilstm"), VOICES),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_converts_to_int8(name, converted):
    make, draw = MODELS[name]
    # A deep random backbone averages its features nearly level, and every layer adds the noise of its int8 steps.
    result = converted(make(), draw, mean_error=0.02 if name == "rnn alone" else 0.04)
    assert result.report.operators.get("DEPTHWISE_CONV_2D", 0) == (0 if name == "rnn alone" else 4)
