from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.preprocess.detection import Detector, DetectorParameters, decode, overlap, prepare, prepare_stored, suppress

PARAMETERS = DetectorParameters()


def empty_grids() -> dict[str, np.ndarray]:
    grids = {}
    for stride in PARAMETERS.strides_px:
        rows, columns = PARAMETERS.cells(stride)
        grids[f"scores_{stride}"] = np.zeros((rows, columns, 1), np.float32)
        grids[f"boxes_{stride}"] = np.zeros((rows, columns, 3), np.float32)
    return grids


@st.composite
def box_lists(draw):
    n = draw(st.integers(0, 25))
    numbers = st.floats(0, 100, width=32)
    rows = [[draw(numbers), draw(numbers), draw(st.floats(1, 60)), draw(st.floats(0.0, 1.0))] for _ in range(n)]
    boxes = np.array([[x, y, x + side, y + side, score] for x, y, side, score in rows], np.float32).reshape(-1, 5)
    return boxes[np.argsort(-boxes[:, 4], kind="stable")]


def test_grids_cover_the_input():
    assert PARAMETERS.cells(8) == (15, 20)
    assert PARAMETERS.cells(16) == (8, 10)


@given(st.sampled_from([0, 1]), st.integers(0, 7), st.integers(0, 9), st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_cell_decodes_by_the_equation(grid, row, column, outputs):
    grids, stride, base = empty_grids(), PARAMETERS.strides_px[grid], PARAMETERS.sides_px[grid]
    grids[f"scores_{stride}"][row, column] = 0.9
    grids[f"boxes_{stride}"][row, column] = outputs
    u, v, w = outputs
    x, y, side = stride * (column + 0.5 + 2 * u), stride * (row + 0.5 + 2 * v), base * 2 ** (1.5 * w)
    expected = [[x - side / 2, y - side / 2, x + side / 2, y + side / 2, 0.9]]
    np.testing.assert_allclose(decode(PARAMETERS, grids), expected, rtol=1e-4, atol=1e-3)


@given(st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_only_sure_cells_come_out_strongest_first(threshold, seed):
    grids = empty_grids()
    rng = np.random.default_rng(seed)
    for name, grid in grids.items():
        grid[:] = rng.random(grid.shape) if name.startswith("scores") else rng.uniform(-1, 1, grid.shape)
    boxes = decode(dataclasses.replace(PARAMETERS, score_at_least=threshold), grids)
    assert len(boxes) == sum(int((grid >= threshold).sum()) for name, grid in grids.items() if name.startswith("scores"))
    assert (boxes[:, 4] >= np.float32(threshold)).all() and (np.diff(boxes[:, 4]) <= 0).all()


def test_grids_of_another_size_are_refused():
    grids = empty_grids()
    grids["scores_8"] = grids["scores_8"][:-1]
    with pytest.raises(ValueError, match="model and parameters differ"):
        decode(PARAMETERS, grids)


@given(box_lists(), box_lists())
def test_overlap_is_symmetric_and_one_only_with_itself(boxes, others):
    both = overlap(boxes, others)
    assert both.shape == (len(boxes), len(others))
    assert (both >= 0).all() and (both <= 1 + 1e-5).all()
    np.testing.assert_allclose(both, overlap(others, boxes).T, atol=1e-6)
    np.testing.assert_allclose(np.diag(overlap(boxes, boxes)), 1.0, atol=1e-4)


@given(box_lists(), st.integers(1, 20))
def test_suppression_keeps_the_strongest_of_each_group(boxes, most):
    kept = suppress(boxes, overlap_at_most=0.3, most=most)
    assert kept.shape[1] == 5 and len(kept) <= min(most, len(boxes))
    assert (np.diff(kept[:, 4]) <= 0).all()
    assert len(boxes) == 0 or kept[0, 4] == boxes[0, 4]
    if len(boxes) and most >= len(boxes):  # nobody is dropped without a stronger neighbour
        for box in boxes:
            stronger = boxes[boxes[:, 4] >= box[4]]
            assert box[4] in kept[:, 4] or (overlap(box[None], stronger)[0] > 0.3).sum() > 1


@given(box_lists())
def test_far_apart_faces_all_stay_as_they_are(boxes):
    apart = boxes.copy()
    apart[:, [0, 2]] += 1000 * np.arange(len(boxes))[:, None]
    np.testing.assert_allclose(suppress(apart, overlap_at_most=0.3, most=100), apart, atol=1e-2)


def test_near_twins_are_blended_by_score():
    boxes = np.array([[0, 0, 10, 10, 0.9], [1, 0, 11, 10, 0.3]], np.float32)
    np.testing.assert_allclose(suppress(boxes, overlap_at_most=0.3, most=5), [[0.25, 0, 10.25, 10, 0.9]], atol=1e-5)


@pytest.mark.parametrize("shape", [(480, 640), (360, 640), (640, 360), (120, 160), (97, 211)])
def test_boxes_come_back_in_frame_pixels(shape):
    """A network that marks the brightest spot: the face lies where the spot is, in any frame."""

    def network(image):
        grids = empty_grids()
        row, column = np.unravel_index(image[..., 0].argmax(), image.shape[:2])
        at = row // 8, column // 8
        grids["scores_8"][at] = 1.0
        grids["boxes_8"][(*at, 0)] = ((column + 0.5) / 8 - at[1] - 0.5) / 2
        grids["boxes_8"][(*at, 1)] = ((row + 0.5) / 8 - at[0] - 0.5) / 2
        return grids

    frame = np.full(shape, 100, np.uint8)
    y, x, spot = shape[0] // 3, shape[1] // 2, max(2, max(shape) // 40)
    frame[y : y + spot, x : x + spot] = 255
    (box,) = Detector(PARAMETERS, network)(frame)
    middle = (box[:2] + box[2:4]) / 2
    scale = min(120 / shape[0], 160 / shape[1])
    np.testing.assert_allclose(middle, [x + spot / 2, y + spot / 2], atol=1.5 / scale)
    np.testing.assert_allclose(box[2] - box[0], 24 / scale, rtol=1e-4)


def test_dim_frames_are_raised_to_a_mean_and_bars_stay_grey():
    rng = np.random.default_rng(0)
    frame = rng.integers(20, 60, (360, 640), np.uint8)
    image, _ = prepare(PARAMETERS, frame)
    assert (image[:15] == 0).all() and (image[105:] == 0).all()
    assert (image[15:105].mean() + 1) * 127.5 == pytest.approx(PARAMETERS.dim_below, abs=0.5)
    black, _ = prepare(PARAMETERS, frame // 20)
    assert (black[15:105].mean() + 1) * 127.5 == pytest.approx(PARAMETERS.most_gain * (frame // 20).mean(), abs=0.5)


def test_frames_of_ordinary_light_are_left_alone():
    frame = np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8)
    image, _ = prepare(PARAMETERS, frame)
    np.testing.assert_allclose(image[..., 0], frame / 127.5 - 1, atol=1e-6)


def test_parameters_survive_a_manifest():
    stored = {name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(PARAMETERS).items()}
    assert DetectorParameters(**stored) == PARAMETERS
    with pytest.raises(ValueError, match="one side per grid"):
        DetectorParameters(strides_px=(8,))


@given(st.integers(1, 5), st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_a_frame_stored_by_the_table_is_the_one_stored_number_by_number(times, low, high, seed):
    parameters = DetectorParameters(height_px=6, width_px=8)
    low, high = min(low, high), max(low, high) + 1
    frame = np.random.default_rng(seed).integers(low, high, (6 * times, 8 * times)).astype(np.uint8)

    def store(real):
        return np.clip(np.rint(np.divide(real, np.float32(2 / 255), dtype=np.float32)), -128, 127).astype(np.int8)

    image, place = prepare(parameters, frame)
    stored, there = prepare_stored(parameters, frame, store)
    assert (there.top, there.left, there.scale) == (place.top, place.left, pytest.approx(place.scale))
    assert stored.shape == image.shape and np.abs(stored.astype(int) - store(image)).max() <= (0 if image.mean() > -0.3 else 1)


def test_a_frame_of_another_shape_is_not_stored_by_the_table():
    assert prepare_stored(DetectorParameters(height_px=6, width_px=8), np.zeros((12, 8), np.uint8), lambda real: real) is None
