"""Bad pictures of faces: covered, far away, blurred, compressed, dim. uint8 (size, size) in and out, one face at a time."""

from __future__ import annotations

import cv2
import numpy as np


def cover(face: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A hand, a scarf, a neighbour: one rectangle over ``share`` of the area, anywhere wholly inside, of one shade or of noise.

    Args:
        face: uint8 (height, width); not changed.
        share: 0 to 1 of the area; the rectangle's area is right to half a row of pixels.
        rng: draws place, proportions (1:2 to 2:1 where they fit) and shade.
    """
    if share <= 0.0:
        return face
    height, width = face.shape
    most = np.log(min(2.0, 1.0 / share))
    tall = np.exp(rng.uniform(-most, most) / 2) * np.sqrt(share)
    rows = int(np.clip(round(height * tall), 1, height))
    columns = int(np.clip(round(share * height * width / rows), 1, width))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    covered = face.copy()
    if rng.random() < 0.3:
        covered[top : top + rows, left : left + columns] = rng.integers(0, 256, (rows, columns))
    else:
        covered[top : top + rows, left : left + columns] = rng.integers(0, 256)
    return covered


def shrink(face: np.ndarray, size_px: int) -> np.ndarray:
    """A face that was only ``size_px`` wide in the frame: averaged down, then drawn large again (bilinear) as a crop would be."""
    height, width = face.shape
    if size_px >= width:
        return face
    small = cv2.resize(face, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def blur(face: np.ndarray, sigma_px: float) -> np.ndarray:
    """A lens out of focus: Gaussian of ``sigma_px``; 0 changes nothing."""
    return face if sigma_px <= 0.0 else cv2.GaussianBlur(face, (0, 0), sigma_px)


def compress(face: np.ndarray, quality: int) -> np.ndarray:
    """A stream short of bandwidth: JPEG of ``quality`` 1 to 100."""
    _, data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(np.asarray(data), cv2.IMREAD_GRAYSCALE), np.uint8)


def dim(face: np.ndarray, light: float, rng: np.random.Generator, *, full_well: float = 400.0) -> np.ndarray:
    """A dark room: ``light`` (0 to 1) of the brightness, with the shot noise of so few photons.

    Args:
        face: uint8 (height, width).
        light: share of the light that is left; 1 changes nothing.
        rng: of the noise.
        full_well: electrons at white in full light; 400 is a cheap sensor at high gain.
    """
    if light >= 1.0:
        return face
    electrons = rng.poisson(face.astype(np.float32) * (light * full_well / 255.0))
    return np.clip(electrons * (255.0 / full_well), 0, 255).astype(np.uint8)


def move(face: np.ndarray, *, turn_deg: float, scale: float, right_px: float, down_px: float, mirror: bool) -> np.ndarray:
    """A box that sits askew: turned and scaled around the middle, moved, mirrored; edges are reflected."""
    height, width = face.shape
    rows = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn_deg, scale)
    rows[:, 2] += np.array([right_px, down_px])
    moved = cv2.warpAffine(face, rows, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return moved[:, ::-1] if mirror else moved
