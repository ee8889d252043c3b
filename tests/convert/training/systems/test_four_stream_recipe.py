"""The recipe of four_stream: channels of the front's window, and two streams that compute what four with two absent do."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.lowering import predict  # noqa: E402
from convert.training.systems import four_stream  # noqa: E402
from convert.training.systems.companions import Takes, draw  # noqa: E402
from convert.zoo import four_stream as zoo  # noqa: E402
from edge.preprocess.physiology import CHANNELS  # noqa: E402


def test_the_body_stage_takes_the_fronts_window_and_hears_heart_rate_and_conductance_response_alone():
    keras.utils.set_random_seed(0)
    encoder = zoo.physiology_encoder(filters=(4, 8), units=6)
    stage = four_stream.body_stage(encoder, len(CHANNELS) + 1)
    windows = np.random.default_rng(0).normal(0.0, 1.0, (3, 60, len(CHANNELS) + 1)).astype(np.float32)
    told = np.asarray(stage(windows))
    chosen = windows[..., [CHANNELS.index("heart_rate"), CHANNELS.index("phasic")]]
    np.testing.assert_allclose(told, np.asarray(encoder(chosen)), atol=1e-6)
    for channel, name in enumerate((*CHANNELS, "one more")):
        changed = windows.copy()
        changed[..., channel] += 1.0
        differs = np.abs(np.asarray(stage(changed)) - told).max() > 1e-4
        assert differs == (name in four_stream.USED), name


@pytest.mark.parametrize("mask", [(1, 1), (1, 0), (0, 1)])
def test_the_bundles_fusion_computes_what_the_four_streams_do_with_two_absent(mask):
    keras.utils.set_random_seed(1)
    four = zoo.fusion(widths=(256, 128, 128, 128), classes=4)
    rng = np.random.default_rng(1)
    given = {"face": rng.random((20, 256)), "physiology": rng.random((20, 128)), "mask": np.tile(np.array(mask), (20, 1))}
    given = {name: values.astype(np.float32) for name, values in given.items()}
    nothing = np.zeros((20, 128), np.float32)
    whole = predict(four, given | {"behaviour": nothing, "interface": nothing, "mask": np.pad(given["mask"], ((0, 0), (0, 2)))})
    part = predict(four_stream.fusion_stage(four), given)
    assert set(part) == {"logits", "weights"}
    np.testing.assert_allclose(part["logits"], whole["logits"], atol=2e-3)
    np.testing.assert_allclose(part["weights"], whole["weights"][:, :2], atol=2e-3)
    assert part["logits"].std() > 0.01


def test_the_face_branch_is_the_compact_one_and_as_light_at_any_size():
    assert four_stream._face().get_layer("embedding").units == four_stream.FACE_WIDTH
    small = zoo.face_encoder(image=(four_stream.SIZE_PX, four_stream.SIZE_PX, 1), compact=True).count_params()
    assert small == zoo.face_encoder(compact=True).count_params() < 300_000


def test_the_fusion_learns_from_companions_whose_body_names_half_of_the_labels_at_best(tmp_path, monkeypatch):
    monkeypatch.setattr(four_stream, "FUSION_DRAWS", 4096)

    def pools(seed: int) -> dict[str, Takes]:
        rng = np.random.default_rng(seed)
        faces = np.arange(200) % 4
        bodies = np.arange(200) % 2
        clear = np.maximum(rng.normal(0.0, 0.3, (200, 256)) + 1.2 * np.eye(4, 256)[faces], 0.0).astype(np.float32)
        worn = (rng.normal(0.0, 0.2, (200, 128)) + np.eye(2, 128)[bodies]).astype(np.float32)
        people = np.full(200, str(seed))
        return {
            "face": Takes(clear, faces, people, np.arange(200)),
            "physiology": Takes(worn, bodies, people, np.arange(200), four_stream.fused.STRESS_CHANCES),
        }

    stage = four_stream.train_fusion(pools(0), tmp_path, seed=0, scale=0.5)
    answer = four_stream.answer(four_stream.fused.float_runners({"fusion": stage}))
    got = {}
    for only in (("face", "physiology"), ("physiology",)):
        drawn = draw(pools(1), 1000, 1, np.random.default_rng(2), classes=4, only=only)
        got[only] = four_stream.fused.figures("", answer(drawn)).accuracy
    assert got["face", "physiology"] > 0.6, got
    assert 0.4 < got["physiology",] < 0.56, got
