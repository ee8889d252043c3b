from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cv2", reason="needs OpenCV")
from convert.training.degrade import face as degrade

SIZE = 48


def picture(seed: int = 0) -> np.ndarray:
    """A smooth pattern with edges, never 0 or 255."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    pattern = 110 + 40 * np.sin(rows / 3 + seed) + 30 * (columns > 24) + 10 * np.cos(columns)
    return pattern.astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0.05, 0.9), seed=st.integers(0, 10_000))
def test_a_cover_hides_the_share_it_was_asked_for(share: float, seed: int):
    flat = np.full((SIZE, SIZE), 100, np.uint8)
    rng = np.random.default_rng(seed)
    covered = degrade.cover(flat, share, rng)
    hidden = (covered != flat).mean()
    # A shade of 100, or noise that hits 100, hides without changing anything.
    assert hidden <= share + 1 / SIZE
    if hidden > 0 and len(np.unique(covered)) == 2:
        assert hidden == pytest.approx(share, abs=1.2 / SIZE)
    assert (flat == 100).all()


def test_covers_lie_everywhere_and_are_of_different_shapes():
    rng = np.random.default_rng(0)
    hits = np.zeros((SIZE, SIZE))
    shapes = set()
    for _ in range(300):
        hidden = degrade.cover(picture(), 0.3, rng) != picture()
        hits += hidden
        shapes.add((int(hidden.any(axis=1).sum()), int(hidden.any(axis=0).sum())))
    assert (hits > 0).mean() > 0.97  # a corner is covered by few of them
    assert hits[8:-8, 8:-8].min() > 20
    assert len(shapes) > 15


def test_nothing_covered_nothing_shrunk_no_blur_and_full_light_change_nothing():
    face, rng = picture(), np.random.default_rng(0)
    for same in (degrade.cover(face, 0.0, rng), degrade.shrink(face, SIZE), degrade.blur(face, 0.0), degrade.dim(face, 1.0, rng)):
        np.testing.assert_array_equal(same, face)


def detail(face: np.ndarray) -> float:
    return float(np.abs(np.diff(face.astype(float), axis=0)).mean() + np.abs(np.diff(face.astype(float), axis=1)).mean())


@pytest.mark.parametrize(
    "spoil, worse",
    [(degrade.shrink, (36, 24, 16, 12)), (degrade.blur, (0.5, 1.0, 2.0, 4.0))],
    ids=["shrink", "blur"],
)
def test_more_of_it_leaves_less_detail_and_the_same_brightness(spoil, worse):
    got = [spoil(picture(), value) for value in worse]
    details = [detail(face) for face in got]
    assert details == sorted(details, reverse=True)
    assert all(face.shape == (SIZE, SIZE) and face.dtype == np.uint8 for face in got)
    assert all(abs(face.mean() - picture().mean()) < 2 for face in got)


def test_worse_compression_is_further_from_the_picture():
    errors = [np.abs(degrade.compress(picture(), quality).astype(float) - picture()).mean() for quality in (90, 40, 10, 3)]
    assert errors == sorted(errors)
    assert errors[0] < 2


def test_a_dim_picture_is_darker_and_its_noise_that_of_counted_photons():
    flat = np.full((200, 200), 200, np.uint8)
    dark = degrade.dim(flat, 0.2, np.random.default_rng(0), full_well=400.0)
    assert dark.mean() == pytest.approx(40, abs=1)
    electrons = dark / 255 * 400
    assert electrons.var() == pytest.approx(electrons.mean(), rel=0.1)


def test_a_move_of_nothing_is_the_same_and_a_mirror_twice_too():
    face = picture()
    still = {"turn_deg": 0.0, "scale": 1.0, "right_px": 0.0, "down_px": 0.0}
    np.testing.assert_array_equal(degrade.move(face, **still, mirror=False), face)
    np.testing.assert_array_equal(degrade.move(face, **still, mirror=True), face[:, ::-1])
    shifted = degrade.move(face, **(still | {"right_px": 3.0}), mirror=False)
    np.testing.assert_array_equal(shifted[:, 3:], face[:, :-3])
