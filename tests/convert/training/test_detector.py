from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="needs the convert extra")
from convert.training import detector  # noqa: E402
from convert.training.detector import PARAMETERS, augment, cells, detection_loss, recall_and_false_alarms, targets  # noqa: E402

pytestmark = pytest.mark.convert


def one_face(x: float, y: float, side: float) -> np.ndarray:
    squares = np.zeros((1, 6, 3), np.float32)
    squares[0, 0] = x, y, side
    return squares


def perfect(target: np.ndarray, sure: float = 12.0) -> np.ndarray:
    """What a network should have said: (n, cells, 4) of logit and box outputs."""
    grid = cells()
    logit = np.where(target[..., 0] > 0, sure, -sure)
    reach = PARAMETERS.reach_cells * grid[:, 2]
    size = np.log2(target[..., 3] / grid[:, 3]) / PARAMETERS.reach_octaves
    return np.stack([logit, target[..., 1] / reach, target[..., 2] / reach, size], axis=-1).astype(np.float32)


def grids(outputs: np.ndarray) -> dict[str, np.ndarray]:
    result, first = {}, 0
    for stride in PARAMETERS.strides_px:
        rows, columns = PARAMETERS.cells(stride)
        part = outputs[:, first : first + rows * columns].reshape(-1, rows, columns, 4)
        result[f"scores_{stride}"], result[f"boxes_{stride}"] = 1 / (1 + np.exp(-part[..., :1])), np.clip(part[..., 1:], -1, 1)
        first += rows * columns
    return result


@pytest.mark.parametrize("side", [12.0, 20.0, 31.0, 38.0, 50.0, 80.0, 110.0])
@pytest.mark.parametrize(("x", "y"), [(80.0, 60.0), (83.3, 57.7), (60.0, 64.0)])
def test_perfect_outputs_decode_to_the_face_at_every_size(side, x, y):
    squares = one_face(x, y, side)
    target = targets(squares)
    assert (target[..., 0] > 0).any()
    outputs = grids(perfect(target))
    assert np.abs(perfect(target)[target[..., 0] > 0][:, 1:]).max() < 0.9  # tanh can say it
    assert recall_and_false_alarms(outputs, squares, PARAMETERS, overlap_at_least=0.95) == (1.0, 1.0, 0.0)


def test_an_empty_scene_has_only_empty_cells():
    assert (targets(np.zeros((2, 6, 3), np.float32))[..., 0] == 0).all()


def test_faces_too_small_or_half_outside_count_for_nothing():
    for squares in (one_face(80, 60, 7), one_face(-4, 60, 40)):
        label = targets(squares)[..., 0]
        assert (label <= 0).all() and (label == -1).any()


def test_the_loss_is_least_at_the_target():
    target = targets(one_face(80, 60, 40))
    best = perfect(target)
    least = float(detection_loss(target, tf.constant(best))[0])
    assert 0 <= least < 1e-2
    shifted, larger, unsure = best.copy(), best.copy(), best.copy()
    shifted[..., 1] += 0.2
    larger[..., 3] += 0.2
    unsure[..., 0] *= 0.05
    assert all(float(detection_loss(target, tf.constant(worse))[0]) > least + 0.05 for worse in (shifted, larger, unsure))


def test_cells_around_a_face_do_not_count():
    target = targets(one_face(80, 60, 40))
    outputs = perfect(target)
    changed = outputs.copy()
    changed[..., 0] = np.where(target[..., 0] < 0, 5.0, changed[..., 0])
    np.testing.assert_allclose(detection_loss(target, tf.constant(changed)), detection_loss(target, tf.constant(outputs)))


def test_augmentation_moves_squares_with_the_picture():
    images, squares = np.full((32, 120, 160), 20, np.uint8), np.zeros((32, 6, 3), np.float32)
    rng = np.random.default_rng(0)
    for image, square in zip(images, squares, strict=True):
        side, x, y = 30, int(rng.integers(40, 90)), int(rng.integers(30, 60))
        image[y : y + side, x : x + side] = 255
        square[0] = x + side / 2, y + side / 2, side
    moved_images, moved = augment(images, squares, rng)
    checked = 0
    for image, (x, y, side) in zip(np.asarray(moved_images)[..., 0], moved[:, 0], strict=True):
        if min(x, y, 160 - x, 120 - y) < side / 2 + 2:
            continue
        bright = image > (np.median(image) + 3 * image.max()) / 4
        rows, columns = np.nonzero(bright)
        assert np.median(columns) + 0.5 == pytest.approx(x, abs=1.5) and np.median(rows) + 0.5 == pytest.approx(y, abs=1.5)
        assert np.sqrt(bright.sum()) == pytest.approx(side, rel=0.1)
        checked += 1
    assert checked > 10


def test_recall_counts_each_face_once_and_each_wrong_box():
    squares = one_face(80, 60, 40)
    squares[0, 1] = 30, 30, 20
    outputs = grids(perfect(targets(one_face(80, 60, 40))))
    assert recall_and_false_alarms(outputs, squares, PARAMETERS) == (0.5, 1.0, 0.0)
    nothing_there = np.zeros_like(squares)
    assert recall_and_false_alarms(outputs, nothing_there, PARAMETERS) == (0.0, 0.0, 1.0)


def test_the_training_head_says_what_the_grids_say():
    model = detector.face_detector()
    image = np.random.default_rng(0).uniform(-1, 1, (1, 120, 160, 1)).astype(np.float32)
    head, outputs = detector.training_head(model).predict(image, verbose=0), model.predict(image, verbose=0)
    for name, grid in grids(head).items():
        np.testing.assert_allclose(grid, outputs[name], atol=1e-5)


def test_real_tiles_are_vetted_and_squared(data, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime for the teacher")
    every = detector.fer2013(data, "PublicTest")
    monkeypatch.setattr(detector, "fer2013", lambda folder, split: type(every)(every.images[:240], every.labels[:240]))
    tiles = detector.vetted_tiles(data, "PublicTest", tmp_path)
    assert 100 < len(tiles.images) < 240
    np.testing.assert_allclose(np.median(tiles.squares, axis=0), [24, 24, 48], atol=2)
    again = detector.vetted_tiles(data, "PublicTest", tmp_path)
    np.testing.assert_array_equal(again.squares, tiles.squares)
