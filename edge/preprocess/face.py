"""From frames to the face encoder's input: find or follow one face, crop it, judge it.

The crop rule is part of the model ("same weights, other crop, other answer"): the square that a FER2013 tile would show, brows to
chin, area-averaged to 48x48. Detectors give their boxes in that convention, so the crop is the same whichever found the face.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import math

import numpy as np

from edge.preprocess.detection import overlap
from edge.preprocess.image import crop_area
from edge.preprocess.rppg import FacePulse, skin_colour
from edge.types import Absence, Chunk, Modality, Reason, Track, Window

Detect = collections.abc.Callable[[np.ndarray], np.ndarray]
"""uint8 frame (h, w) -> float32 (n, 5): x0, y0, x1, y1, score in frame pixels, squares as FER2013 cuts them."""

_TEMPLATE_PX = 16
_SEARCH_PX = 26
"""The template slides 5 px each way over the search window: a third of the face between two frames."""
_COLOURED = 8
"""Frames whose colour waits for the next look: a third of a second at 25 a second."""
_PLACES = _SEARCH_PX - _TEMPLATE_PX + 1


@dataclasses.dataclass(frozen=True)
class FaceParameters:
    """What counts as a face worth reading, and how it is followed; stored in the bundle."""

    size_px: int = 48
    margin: float = 1.0
    """Side of the crop over the side of the detector's square."""
    detect_every: int = 2
    """Frames from one detection to the next while following is sure; 1 detects on each."""
    follow_at_least: float = 0.8
    """Normalised correlation below which a followed face is looked for anew."""
    gap_ms: float = 400.0
    """Silence between frames after which nothing is followed across."""
    lost_after_ms: float = 500.0
    confirm_detections: int = 2
    """Detections of one face in a row before a face that was lost, or never seen, counts."""
    steady_bonus: float = 1.5
    """How much better another face must be before it takes over."""
    smoothing: float = 0.5
    """Share of a small step that the box takes at once; large steps are taken whole."""
    smallest_px: float = 24.0
    """Side of the square in frame pixels; under it there is too little to read."""
    full_px: float = 48.0
    """Side from which size takes nothing off the quality."""
    least_in_view: float = 0.65
    """Share of the square inside the frame."""
    darkest: float = 22.0
    """Mean luma of the crop, 0..255."""
    brightest: float = 236.0
    least_contrast: float = 9.0
    """Standard deviation of luma in the crop."""
    least_sharpness: float = 0.04
    """``sharpness``; FER2013 has 0.41 at its first percentile, and 0.04 after a Gaussian blur of 3 to 4 px."""
    full_sharpness: float = 0.25


def sharpness(face: np.ndarray) -> float:
    """Standard deviation of the 4-neighbour Laplacian over that of the picture: contrast cancels, blur shows.

    Args:
        face: (h, w), any scale.

    Returns:
        0 (featureless) to about 1.5 (noise); a FER2013 tile has 0.76 (median).
    """
    inner = 4 * face[1:-1, 1:-1]
    for neighbour in (face[:-2, 1:-1], face[2:, 1:-1], face[1:-1, :-2], face[1:-1, 2:]):
        inner -= neighbour
    spread = deviation(face)[1]
    return deviation(inner)[1] / spread if spread > 1e-6 else 0.0


def deviation(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of ``values``, any shape; a third of the time of numpy's two."""
    flat = values.ravel()
    mean = float(np.add.reduce(flat, dtype=np.float64)) / flat.size
    centred = flat - np.float32(mean)
    return mean, float(np.sqrt(centred.dot(centred) / flat.size))


def square(box: np.ndarray, margin: float) -> tuple[float, float, float, float]:
    """The crop of a box: same middle, side = margin times the root of the box's area, as x0, y0, x1, y1."""
    x0, y0, x1, y1 = (float(v) for v in box[:4])
    half = margin * float(np.sqrt(max((x1 - x0) * (y1 - y0), 1.0))) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return x - half, y - half, x + half, y + half


def crop_face(frame: np.ndarray, box: np.ndarray, parameters: FaceParameters | None = None) -> np.ndarray:
    """The face encoder's input: float32 (size, size, 1) in [-1, 1] of a uint8 frame (h, w) and a box in its pixels."""
    parameters = parameters or FaceParameters()
    return (crop_area(frame, square(box, parameters.margin), parameters.size_px, parameters.size_px) / 127.5 - 1.0)[..., None]


def judge(frame: np.ndarray, box: np.ndarray, face: np.ndarray, parameters: FaceParameters) -> tuple[float, str]:
    """How good a crop is.

    Args:
        frame: uint8 (h, w).
        box: of the face, in its pixels.
        face: the crop, float32 (size, size, 1) in [-1, 1].
        parameters: the limits.

    Returns:
        quality 0 to 1 and, where it is 0, why in words. Quality is the product of linear ramps over size, share in view,
        contrast and sharpness.
    """
    p = parameters
    x0, y0, x1, y1 = square(box, 1.0)
    side = x1 - x0
    in_view = max(0.0, min(x1, frame.shape[1]) - max(x0, 0.0)) * max(0.0, min(y1, frame.shape[0]) - max(y0, 0.0)) / side**2
    # in units of the crop: an offset of 1, a step of 127.5
    mean, contrast = deviation(face)
    mean, contrast, sharp = (mean + 1.0) * 127.5, contrast * 127.5, sharpness(face[..., 0])
    checks = (
        (side < p.smallest_px, f"face too small: {side:.0f} px"),
        (in_view < p.least_in_view, f"face only {100 * in_view:.0f} % in view"),
        (mean < p.darkest, "face too dark"),
        (mean > p.brightest, "face too bright"),
        (contrast < p.least_contrast, "face without contrast"),
        (sharp < p.least_sharpness, "face blurred"),
    )
    for bad, why in checks:
        if bad:
            return 0.0, why
    ramps = (
        0.5 + 0.5 * side / p.full_px,
        in_view,
        0.3 + 0.7 * contrast / (3 * p.least_contrast),
        0.2 + 0.8 * sharp / p.full_sharpness,
    )
    return math.prod(min(max(ramp, 0.0), 1.0) for ramp in ramps), ""


class _Follower:
    """Follows a face between detections by normalised correlation of a 16x16 picture of it (Lewis, 1995)."""

    def __init__(self, frame: np.ndarray, box: np.ndarray):
        template = crop_area(frame, square(box, 1.0), _TEMPLATE_PX, _TEMPLATE_PX)
        template = template - template.mean()
        self.template = template / max(float(np.sqrt((template**2).sum())), 1e-3)

    def find(self, frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, float]:
        """Where the face went, within a third of its side: the moved box (4,) and the correlation, -1 to 1."""
        window = crop_area(frame, square(box, _SEARCH_PX / _TEMPLATE_PX), _SEARCH_PX, _SEARCH_PX)
        window -= np.add.reduce(window, axis=None) / window.size  # keeps the sums of squares small
        # Every row of the window against every row of the template first, then the sums along the template's rows.
        down, across = window.strides
        spans = np.lib.stride_tricks.as_strided(window, (_SEARCH_PX, _PLACES, _TEMPLATE_PX), (down, across, across))
        rows = spans.reshape(-1, _TEMPLATE_PX) @ self.template.T
        down, across, along = rows.reshape(_SEARCH_PX, _PLACES, _TEMPLATE_PX).strides
        product = np.lib.stride_tricks.as_strided(rows, (_PLACES, _PLACES, _TEMPLATE_PX), (down, across, down + along)).sum(axis=2)
        # The template sums to 0, so the mean of a patch takes no part in the product; its variance comes from running sums.
        sums, squares = _box_sums(window)
        energy = squares - sums * sums / _TEMPLATE_PX**2
        match = product / np.maximum(np.sqrt(np.maximum(energy, 0.0)), 1e-3)
        row, column = np.unravel_index(int(np.argmax(match)), match.shape)
        reach = (_SEARCH_PX - _TEMPLATE_PX) // 2
        x0, y0, x1, y1 = square(box, 1.0)
        pixel = (x1 - x0) / _TEMPLATE_PX
        dx = (column - reach + _peak(match[row], int(column))) * pixel
        dy = (row - reach + _peak(match[:, column], int(row))) * pixel
        return np.array([x0 + dx, y0 + dy, x1 + dx, y1 + dy], np.float32), float(match[row, column])


def _box_sums(window: np.ndarray) -> np.ndarray:
    """Sums of values and of their squares over every square of ``_TEMPLATE_PX`` in a (26, 26) window: (2, 11, 11), float64."""
    total = np.zeros((2, _SEARCH_PX + 1, _SEARCH_PX + 1))
    inside = total[:, 1:, 1:]
    inside[0] = window
    np.multiply(window, window, out=inside[1])
    np.cumsum(inside, axis=1, out=inside)
    np.cumsum(inside, axis=2, out=inside)
    rows = total[:, _TEMPLATE_PX:] - total[:, :_PLACES]
    return rows[:, :, _TEMPLATE_PX:] - rows[:, :, :_PLACES]


def _peak(line: np.ndarray, at: int) -> float:
    """Vertex of the parabola through a maximum and its neighbours, -1/2 to 1/2; 0 at an end."""
    if not 0 < at < len(line) - 1:
        return 0.0
    left, middle, right = (float(v) for v in line[at - 1 : at + 2])
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


class FaceFront:
    """Frames in, face windows out: keeps the newest frame only, looks at each frame at most once.

    A window holds one face: the largest and most central, and then the same one until another is clearly better. Where frames have
    colour, the pulse in that face is read from every one of them, also from those that there was no time to look at.
    """

    modality: Modality = "face"
    tracks: tuple[Track, ...] = ("video",)

    def __init__(self, parameters: FaceParameters, detect: Detect):
        self.parameters, self._detect = parameters, detect
        self.detect_stretch = 1
        """Factor on ``detect_every``, to do less."""
        self._box: np.ndarray | None = None
        """Where the face was last; of a face not yet confirmed too."""
        self._frame: np.ndarray | None = None
        self._frame_ns = 0
        self._looked_ns: int | None = None
        self._seen_ns: int | None = None
        """Frame in which a detector last confirmed the face."""
        self._follower: _Follower | None = None
        self._confirmed = 0
        self._since_detection = 0
        self._said: tuple[Reason, str] | None = None
        self._coloured: collections.deque[tuple[int, np.ndarray, np.ndarray]] = collections.deque(maxlen=_COLOURED)
        self.pulse: FacePulse | None = None
        """Of the face; None until a frame has colour."""

    @property
    def derived(self) -> collections.deque[Chunk] | None:
        """Track ``rppg``, to be taken out; None without colour."""
        return None if self.pulse is None else self.pulse.chunks

    @property
    def box(self) -> np.ndarray | None:
        """Where the confirmed face was last: x0, y0, x1, y1 in frame pixels, float32; None while there is none."""
        return self._box if self._confirmed >= self.parameters.confirm_detections else None

    def push(self, chunk: Chunk) -> None:
        """Keep the newest frame of a video chunk, uint8 (n, height, width)."""
        if len(chunk.samples) and (self._frame is None or chunk.end_ns > self._frame_ns):
            self._frame, self._frame_ns = chunk.samples[-1], chunk.end_ns
            if chunk.chroma is not None:
                self._coloured.append((chunk.end_ns, chunk.samples[-1], chunk.chroma[-1]))

    def poll(self, now_ns: int) -> Window | Absence | None:
        """A window for a frame not yet looked at; an ``Absence`` when what is absent, or why, has changed; else None."""
        lost_ns = self.parameters.lost_after_ms * 1e6
        if self._frame is None:
            return self._absent("lost", "no picture from the camera")
        if now_ns - self._frame_ns > max(lost_ns, self.parameters.gap_ms * 1e6):
            self._forget()
            return self._absent("lost", "no picture from the camera")
        if self._looked_ns is not None and self._frame_ns <= self._looked_ns:
            return None
        found = self._look(self._frame)
        self._looked_ns = self._frame_ns
        if self._coloured:
            self._read_pulse(found)
        if found is None:
            if self._seen_ns is not None and self._frame_ns - self._seen_ns > lost_ns:
                self._forget()
            return self._absent("lost", "no face in view") if self._seen_ns is None else None
        face = crop_face(self._frame, found, self.parameters)
        quality, why = judge(self._frame, found, face, self.parameters)
        if why:
            return self._absent("noisy", why)
        self._said = None
        return Window("face", self._frame_ns, face, quality)

    def _read_pulse(self, box: np.ndarray | None) -> None:
        """Hand the colour of the face in every frame since the last look to its pulse."""
        self.pulse = self.pulse or FacePulse()
        for t_ns, luma, chroma in self._coloured:
            colour = None if box is None else skin_colour(luma, chroma, box)
            if colour is not None:  # a frame or two without are bridged; a longer hole ends the wave there
                self.pulse.push(t_ns, colour)
        self._coloured.clear()

    def _absent(self, reason: Reason, detail: str) -> Absence | None:
        # numbers inside a detail change with every frame and are no news
        news: tuple[Reason, str] = (reason, "".join(c for c in detail if not c.isdigit()))
        if news == self._said:
            return None
        self._said = news
        return Absence("face", reason, detail)

    def _forget(self) -> None:
        self._box = self._follower = self._seen_ns = None
        self._confirmed = 0
        if self.pulse is not None:
            self.pulse.lose()

    def _look(self, frame: np.ndarray) -> np.ndarray | None:
        """Find or follow the face in a frame: the box of a confirmed face, or None."""
        p = self.parameters
        if self._looked_ns is not None and self._frame_ns - self._looked_ns > p.gap_ms * 1e6:
            self._follower = None
        followed = self._follow(frame) if self.box is not None else None
        self._since_detection += 1
        if followed is not None and self._since_detection < p.detect_every * self.detect_stretch:
            self._box = followed
            return followed
        faces = self._detect(frame)
        self._since_detection = 0  # after it: a detection that failed is not done, and the next look tries again
        if not len(faces):
            if followed is not None and self._seen_ns is not None and self._frame_ns - self._seen_ns <= p.lost_after_ms * 1e6:
                self._box = followed  # a blink of the detector: the picture of the face is still there
                return followed
            self._follower = None
            if self.box is None:
                self._box, self._confirmed = None, 0
            return None
        expected = self._box if followed is None else followed
        best = np.array(square(self._choose(faces, frame.shape, expected), 1.0), np.float32)
        same = expected is not None and float(overlap(best[None], expected[None])[0, 0]) > 0.25
        self._confirmed = min(self._confirmed + 1, p.confirm_detections) if same else 1
        self._box = self._smooth(expected, best) if same and expected is not None else best
        self._follower = _Follower(frame, self._box)
        if self.box is not None:
            self._seen_ns = self._frame_ns
        return self.box

    def _follow(self, frame: np.ndarray) -> np.ndarray | None:
        if self._follower is None or self._box is None:
            return None
        moved, match = self._follower.find(frame, self._box)
        return moved if match >= self.parameters.follow_at_least else None

    def _choose(self, faces: np.ndarray, shape: tuple[int, ...], expected: np.ndarray | None) -> np.ndarray:
        """The face with the largest side times closeness to the frame's middle, the one followed given its bonus."""
        height, width = shape[:2]
        middle = (faces[:, :2] + faces[:, 2:4]) / 2
        away = np.hypot((middle[:, 0] - width / 2) / width, (middle[:, 1] - height / 2) / height)
        sides = np.sqrt(np.prod(np.maximum(faces[:, 2:4] - faces[:, :2], 0.0), axis=1))
        merit = sides * (1.0 - 0.5 * np.minimum(away, 1.0)) * (0.5 + 0.5 * faces[:, 4])
        if expected is not None:
            merit = np.where(overlap(faces, expected[None])[:, 0] > 0.25, merit * self.parameters.steady_bonus, merit)
        return faces[int(merit.argmax())]

    def _smooth(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """A step of ``smoothing`` for jitter, growing to the whole step for one of a fifth of the side."""
        step = float(np.abs(new - old).max()) / max(float(new[2] - new[0]), 1.0)
        share = min(1.0, self.parameters.smoothing + (1.0 - self.parameters.smoothing) * step / 0.2)
        return (old + share * (new - old)).astype(np.float32)
