"""The fallback detector: OpenCV's Viola-Jones cascade, for kits whose bundle has no detector stage, and to compare with.

Its squares need no correction to be FER2013's: that set was cut with such a cascade (47 px on a 48 px tile, median).
"""

from __future__ import annotations

import dataclasses
import pathlib
import types

import numpy as np

from edge.errors import InferenceError
from edge.preprocess.image import resize_area

_REMEDY = "pip install 'opencv-python-headless>=4.8,<5'"


@dataclasses.dataclass(frozen=True)
class CascadeParameters:
    """How the cascade looks; meanings are those of ``cv2.CascadeClassifier.detectMultiScale``."""

    name: str = "haarcascade_frontalface_default.xml"
    width_px: int = 320
    """Frames wider than this are reduced to it first."""
    scale_step: float = 1.15
    neighbours: int = 5
    smallest_share: float = 0.1
    """Side of the smallest face over the frame's height."""
    half_score: float = 3.0
    """Stage weight that makes a score of 1/2."""


class Cascade:
    """uint8 frame (h, w) -> float32 (n, 5) x0, y0, x1, y1, score in frame pixels, strongest first: the same call as ``Detector``.

    Raises:
        InferenceError: OpenCV is missing or of a version without cascades, or the cascade file is not there.
    """

    def __init__(self, parameters: CascadeParameters | None = None):
        self.parameters = parameters or CascadeParameters()
        cv2 = _opencv()
        path = pathlib.Path(cv2.data.haarcascades) / self.parameters.name
        self._classifier = cv2.CascadeClassifier()
        if not path.exists() or not self._classifier.load(str(path)):
            raise InferenceError(f"cascade: no usable {self.parameters.name} in OpenCV {cv2.__version__}; {_REMEDY}")

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        p = self.parameters
        scale = min(1.0, p.width_px / frame.shape[1])
        height, width = round(frame.shape[0] * scale), round(frame.shape[1] * scale)
        small = np.rint(resize_area(frame, height, width)).astype(np.uint8) if scale < 1 else np.ascontiguousarray(frame)
        least = max(20, round(height * p.smallest_share))
        boxes, _, weights = self._classifier.detectMultiScale3(
            small, scaleFactor=p.scale_step, minNeighbors=p.neighbours, minSize=(least, least), outputRejectLevels=True
        )
        if not len(boxes):
            return np.zeros((0, 5), np.float32)
        boxes = np.asarray(boxes, np.float32)
        weights = np.maximum(np.asarray(weights, np.float32).ravel(), 0.0)
        x0, y0, w, h = boxes.T
        across, down = frame.shape[1] / width, frame.shape[0] / height
        result = np.stack([x0 * across, y0 * down, (x0 + w) * across, (y0 + h) * down, weights / (weights + p.half_score)], axis=1)
        return result[np.argsort(-result[:, 4], kind="stable")].astype(np.float32)


def _opencv() -> types.ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise InferenceError(f"cascade: OpenCV is not installed; {_REMEDY}") from error
    if not hasattr(cv2, "CascadeClassifier") or not hasattr(cv2, "data"):
        raise InferenceError(f"cascade: OpenCV {cv2.__version__} has no CascadeClassifier; {_REMEDY}")
    cv2.setNumThreads(1)
    return cv2
