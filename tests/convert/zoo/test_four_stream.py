"""Four streams: the face branch as printed, stages that chain to the whole, streams that may be absent, and int8."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert.zoo import inputs  # noqa: E402
from convert.zoo.blocks import stages  # noqa: E402
from convert.zoo.four_stream import STREAMS, face_encoder, four_stream, physiology_encoder  # noqa: E402

FACE, SCREEN, STEPS, VALUES = (32, 32, 1), (24, 24, 3), 16, 10
DRAW = inputs.draw(
    face=inputs.images(*FACE),
    physiology=inputs.signals(STEPS, 2),
    behaviour=inputs.counts(VALUES),
    interface=inputs.images(*SCREEN),
    mask=inputs.masks(4),
)


def small(**options):
    keras.utils.set_random_seed(0)
    return four_stream(
        face_image=FACE,
        face_filters=(4, 6, 8),
        face_dense=(16, 12),
        steps=STEPS,
        physiology_filters=(6, 8),
        units=8,
        values=VALUES,
        behaviour_dense=(16, 8),
        interface_image=SCREEN,
        interface_filters=(4, 8),
        interface_embedding=8,
        width=12,
        classes=3,
        **options,
    )


@pytest.mark.parametrize(("padding", "side", "weights"), [("valid", 30, 59_207_424), ("same", 32, 67_333_888)])
def test_the_face_branch_as_printed_is_nearly_all_one_dense_layer(padding, side, weights):
    model = face_encoder(padding=padding)
    assert model.count_params() == weights
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    assert first.kernel.shape == (side * side * 128, 512)


def test_the_compact_face_branch_has_the_same_layers_but_for_the_pooling():
    compact = face_encoder(compact=True)
    convolutions = (5 * 5 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128
    assert compact.count_params() == convolutions + (128 + 1) * 512 + (512 + 1) * 256 == 290_560


def test_the_physiology_branch_has_the_printed_layers():
    convolutions = (5 * 2 + 1) * 64 + (3 * 64 + 1) * 128
    assert physiology_encoder().count_params() == convolutions + 4 * 128 * (128 + 128 + 1)


def test_every_kernel_of_convolutions_and_dense_layers_in_the_encoders_is_penalized():
    whole = small(l2=1e-2)
    kernels = [
        layer.kernel
        for stage in stages(whole).values()
        for layer in stage.layers
        if isinstance(layer, (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D))
        and not layer.name.startswith(("score_", "logits"))
    ]
    penalty = sum(1e-2 * float(np.sum(np.square(kernel))) for kernel in kernels)
    assert float(sum(whole.losses)) == pytest.approx(penalty, rel=1e-4)


@pytest.mark.parametrize("compact", [False, True])
def test_stages_of_a_loaded_model_chained_give_what_the_whole_gives(compact, reloaded, run):
    whole, x = small(compact=compact), DRAW(np.random.default_rng(0), 5)
    parts = stages(reloaded(whole))
    embeddings = {name: run(parts[f"{name}_encoder"], **{name: x[name]})["embedding"] for name in STREAMS}
    chained = run(parts["fusion"], **embeddings, mask=x["mask"])
    for name, values in run(whole, **x).items():
        np.testing.assert_allclose(chained[name], values, atol=1e-5)


def test_every_subset_of_streams_is_weighed_among_itself(settled, run):
    x = DRAW(np.random.default_rng(1), 16)
    whole = settled(small(), x)
    x["mask"] = np.array(list(itertools.product((0, 1), repeat=4)), np.float32)
    answer = run(whole, **x)
    assert all(np.isfinite(values).all() for values in answer.values())
    np.testing.assert_allclose(answer["weights"].sum(axis=1), 1, atol=1e-5)
    somebody = x["mask"].any(axis=1)
    assert (answer["weights"] * (1 - x["mask"]))[somebody].max() < 2e-3


def test_it_converts_to_int8_and_answers_with_every_stream_absent(converted):
    stage = converted(small(compact=True), DRAW).model()
    x = {name: values[0] for name, values in DRAW(np.random.default_rng(4), 1).items()}
    nobody = stage.run(**(x | {"mask": np.zeros(4, np.float32)}))
    assert all(np.isfinite(values).all() for values in nobody.values())
    alone = stage.run(**(x | {"mask": np.array([0, 0, 1, 0], np.float32)}))["weights"]
    np.testing.assert_allclose(alone, [0, 0, 1, 0], atol=0.005)
