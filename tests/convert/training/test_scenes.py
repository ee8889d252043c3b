from __future__ import annotations

import numpy as np
import pytest

from convert.training.scenes import MOST_FACES, SCENE_HEIGHT_PX, SCENE_WIDTH_PX, Tiles, compose_many, not_a_face, person, sample_pictures


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """Tiles that anyone can tell: white, with a black spot at their middle."""
    image = np.full((48, 48), 250, np.uint8)
    image[21:27, 21:27] = 0
    return Tiles(np.stack([image] * 3), np.tile(np.array([24.0, 24.0, 48.0], np.float32), (3, 1)))


@pytest.fixture(scope="module")
def scenes(tiles):
    return compose_many(tiles, 60, seed=1)


def test_scenes_have_the_stated_shapes(scenes):
    assert scenes.images.shape == (60, SCENE_HEIGHT_PX, SCENE_WIDTH_PX) and scenes.images.dtype == np.uint8
    assert scenes.squares.shape == (60, MOST_FACES, 3) and scenes.squares.dtype == np.float32


def test_there_are_scenes_without_with_one_and_with_several_faces(scenes):
    counts = set((scenes.squares[..., 2] > 0).sum(axis=1).tolist())
    assert {0, 1, 2} <= counts


def test_sizes_span_what_a_camera_gives(scenes):
    sides = scenes.squares[..., 2][scenes.squares[..., 2] > 0]
    assert sides.min() > 11 and sides.min() < 18 and sides.max() > 60 and sides.max() <= 115


def test_a_scene_depends_on_its_number_and_the_seed_alone(tiles, scenes):
    again = compose_many(tiles, 5, seed=1)
    np.testing.assert_array_equal(again.images, scenes.images[:5])
    np.testing.assert_array_equal(again.squares, scenes.squares[:5])
    assert not np.array_equal(compose_many(tiles, 5, seed=2).images, again.images)


def test_squares_lie_where_the_faces_are(scenes):
    """The black spot at the middle of a white tile is darker than the ring around it, in most faces: some are covered or dim."""
    darker = []
    for image, squares in zip(scenes.images, scenes.squares, strict=True):
        for x, y, side in squares[squares[:, 2] > 24]:
            yy, xx = np.mgrid[: image.shape[0], : image.shape[1]]
            away = np.maximum(np.abs(xx + 0.5 - x), np.abs(yy + 0.5 - y)) / side
            spot, ring = image[away < 0.05], image[(away > 0.12) & (away < 0.22)]
            if len(spot) and len(ring):
                darker.append(spot.mean() + 15 < ring.mean())
    assert len(darker) > 20 and np.mean(darker) > 0.8


def test_a_person_shows_the_tile_at_its_place():
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 256, (48, 48), np.uint8)
    luma, opacity = person(tile, rng)
    assert luma.size == opacity.size == (192, 192)
    np.testing.assert_array_equal(np.asarray(luma)[72 - 8 : 72 + 8, 96 - 8 : 96 + 8], tile[16:32, 16:32])
    assert (np.asarray(opacity)[72 - 8 : 72 + 8, 96 - 8 : 96 + 8] == 255).all()


def test_decoys_are_tiles_or_blank_heads(tiles):
    rng = np.random.default_rng(0)
    decoys = [not_a_face(tiles.images, rng) for _ in range(60)]
    assert any(d is None for d in decoys)
    assert all(d.shape == (48, 48) and d.dtype == np.uint8 for d in decoys if d is not None)


def test_sample_pictures_are_grey_and_leave_the_test_picture_out():
    pytest.importorskip("skimage", reason="needs scikit-image's sample pictures")
    pictures = sample_pictures()
    assert len(pictures) > 8 and all(p.ndim == 2 and p.dtype == np.uint8 for p in pictures)
