from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from edge.preprocess.image import area_weights, crop_area, letterbox, resize_area

frames = npst.arrays(np.uint8, st.tuples(st.integers(2, 40), st.integers(2, 40)))


def integrate(image: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> float:
    """Mean of a picture whose pixels are flat squares, edges going on, by summing every pixel's share: the equation, slowly."""
    total = 0.0
    for row in range(int(np.floor(y0)), int(np.ceil(y1))):
        for column in range(int(np.floor(x0)), int(np.ceil(x1))):
            share = max(0.0, min(y1, row + 1) - max(y0, row)) * max(0.0, min(x1, column + 1) - max(x0, column))
            total += share * float(image[np.clip(row, 0, image.shape[0] - 1), np.clip(column, 0, image.shape[1] - 1)])
    return total / ((x1 - x0) * (y1 - y0))


@given(st.integers(1, 60), st.integers(1, 60), st.floats(-20, 60), st.floats(0.1, 80))
def test_weights_are_a_mean(size_in, size_out, start, length):
    weights = area_weights(size_in, size_out, start, start + length)
    assert weights.shape == (size_out, size_in)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)


@given(frames, st.integers(1, 6), st.integers(1, 6))
def test_reducing_by_whole_numbers_is_pillows_box_and_keeps_the_mean(frame, down, across):
    frame = np.repeat(np.repeat(frame, down, axis=0), across, axis=1)[:, ::-1].copy()
    frame[::3] //= 2
    height, width = frame.shape[0] // down, frame.shape[1] // across
    small = resize_area(frame, height, width)
    expected = Image.fromarray(frame.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    np.testing.assert_allclose(small, np.asarray(expected), atol=1e-2)
    np.testing.assert_allclose(small.mean(), frame.mean(), atol=1e-2)


@given(frames, st.integers(1, 24), st.integers(1, 24))
def test_slices_and_matrices_agree(frame, height, width):
    rows, columns = frame.shape
    small = area_weights(rows, height, 0, rows) @ frame.astype(np.float32) @ area_weights(columns, width, 0, columns).T
    np.testing.assert_allclose(resize_area(frame, height, width), small, atol=1e-2)


@given(frames, st.floats(-10, 40), st.floats(-10, 40), st.floats(4, 30), st.floats(4, 30))
def test_each_pixel_of_a_crop_is_the_mean_of_what_it_covers(frame, x0, y0, width, height):
    crop = crop_area(frame, (x0, y0, x0 + width, y0 + height), 3, 4)
    for row in range(3):
        for column in range(4):
            part = (x0 + width * column / 4, y0 + height * row / 3, x0 + width * (column + 1) / 4, y0 + height * (row + 1) / 3)
            assert crop[row, column] == pytest.approx(integrate(frame, *part), abs=0.05)


def test_enlarging_is_linear_interpolation_between_pixel_middles():
    ramp = np.tile(np.arange(8, dtype=np.float32) * 10, (8, 1))
    large = crop_area(ramp, (2, 2, 6, 6), 16, 16)
    np.testing.assert_allclose(large[5], 10 * (2 + (np.arange(16) + 0.5) / 4 - 0.5), atol=1e-4)


def test_reduction_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    np.testing.assert_allclose(resize_area(stripes, 16, 16), 127.5)


@given(st.floats(-200, 200), st.floats(-200, 200))
def test_outside_the_image_its_edge_goes_on(x, y):
    image = np.full((9, 7), 93, np.uint8)
    np.testing.assert_allclose(crop_area(image, (x, y, x + 11.5, y + 4.5), 6, 6), 93, rtol=1e-5)


@given(st.integers(8, 500), st.integers(8, 500), npst.arrays(np.float32, (3, 4), elements=st.floats(0, 100, width=32)))
def test_letterbox_keeps_proportions_and_maps_back(rows, columns, boxes):
    image, place = letterbox(np.zeros((rows, columns), np.uint8), 120, 160, fill=9.0)
    inside = image == 0
    height, width = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    assert image.shape == (120, 160) and (image[~inside] == 9).all()
    assert abs(height - rows * place.scale) <= 1 and abs(width - columns * place.scale) <= 1
    assert height == 120 or width == 160
    there = boxes * place.scale + [place.left, place.top, place.left, place.top]
    np.testing.assert_allclose(place.to_frame(there.astype(np.float32)), boxes, atol=1e-2)


@pytest.mark.parametrize(("size_in", "size_out", "start", "stop"), [(0, 4, 0, 1), (4, 0, 0, 4), (4, 4, 2, 2)])
def test_empty_sizes_are_refused(size_in, size_out, start, stop):
    with pytest.raises(ValueError, match="must be positive"):
        area_weights(size_in, size_out, start, stop)


@given(frames, st.floats(-30, 40), st.floats(-30, 40), st.floats(0.5, 60), st.floats(0.5, 60), st.integers(1, 30), st.integers(1, 30))
def test_a_crop_is_the_product_with_its_weights(frame, x0, y0, width, height, rows, columns):
    down = area_weights(frame.shape[0], rows, y0, y0 + height).astype(np.float64)
    across = area_weights(frame.shape[1], columns, x0, x0 + width).astype(np.float64)
    crop = crop_area(frame, (x0, y0, x0 + width, y0 + height), rows, columns)
    np.testing.assert_allclose(crop, down @ frame @ across.T, atol=2e-3)
