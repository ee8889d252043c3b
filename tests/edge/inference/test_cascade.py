from __future__ import annotations

import pathlib

import numpy as np
import pytest
from PIL import Image

from edge.errors import InferenceError
from edge.inference.cascade import Cascade, CascadeParameters
from edge.preprocess.detection import overlap

cv2 = pytest.importorskip("cv2", reason="needs the opencv extra")
ASTRONAUT_FACE = np.array([[174, 68, 274, 168]], np.float32)
"""Brows to chin, read off the picture by eye."""


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    skimage = pytest.importorskip("skimage", reason="needs scikit-image's sample picture")
    with Image.open(pathlib.Path(skimage.__file__).parent / "data" / "astronaut.png") as picture:
        return np.asarray(picture.convert("L"))


@pytest.mark.parametrize("enlarge", [1, 2])
def test_a_real_face_is_found_in_frame_pixels_at_any_frame_size(cascade, astronaut, enlarge):
    frame = np.repeat(np.repeat(astronaut, enlarge, axis=0), enlarge, axis=1)
    boxes = cascade(frame)
    assert boxes.dtype == np.float32 and boxes.shape[1] == 5
    assert overlap(boxes[:1], ASTRONAUT_FACE * enlarge)[0, 0] > 0.5
    assert 0.3 < boxes[0, 4] < 1


def test_an_empty_room_has_no_faces(cascade):
    ramp = np.tile(np.linspace(40, 200, 320).astype(np.uint8), (240, 1))
    assert cascade(ramp).shape == (0, 5)


def test_a_missing_cascade_is_one_clear_line():
    with pytest.raises(InferenceError, match=r"no usable gone\.xml in OpenCV .*pip install"):
        Cascade(CascadeParameters(name="gone.xml"))
