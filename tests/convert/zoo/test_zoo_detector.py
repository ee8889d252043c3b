from __future__ import annotations

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the convert extra")
from convert.zoo.detector import face_detector  # noqa: E402
from edge.preprocess.detection import Detector, DetectorParameters  # noqa: E402

pytestmark = pytest.mark.convert


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return face_detector()


def test_grids_are_those_that_decoding_expects(model):
    parameters = DetectorParameters()
    assert model.input_shape == (None, parameters.height_px, parameters.width_px, 1)
    for stride in parameters.strides_px:
        rows, columns = parameters.cells(stride)
        assert model.output[f"scores_{stride}"].shape == (None, rows, columns, 1)
        assert model.output[f"boxes_{stride}"].shape == (None, rows, columns, 3)


def test_it_is_small_enough_for_the_smallest_board(model):
    macs = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            macs += math.prod(layer.output.shape[1:]) * math.prod(layer.kernel_size)
        elif isinstance(layer, keras.layers.Conv2D):
            macs += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
    assert model.count_params() < 100_000
    assert 8.2e6 < macs < 8.4e6


def test_outputs_are_bounded_whatever_comes_in(model):
    wild = np.random.default_rng(0).normal(0, 100, (2, 120, 160, 1)).astype(np.float32)
    for name, grid in model.predict(wild, verbose=0).items():
        assert np.abs(grid).max() <= 1.0
        assert not name.startswith("scores") or grid.min() >= 0.0


def test_before_training_it_sees_no_faces(model):
    frame = np.random.default_rng(0).integers(0, 256, (240, 320), np.uint8)
    detector = Detector(DetectorParameters(), lambda image: {k: v[0] for k, v in model.predict(image[None], verbose=0).items()})
    assert detector(frame).shape == (0, 5)
