from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.preprocess.face import FaceFront, FaceParameters, crop_face, judge, sharpness, square
from edge.types import Absence, Chunk, Window

PARAMETERS = FaceParameters()
EVERY = dataclasses.replace(PARAMETERS, detect_every=1)
STEP_NS = 40_000_000
PICTURE = np.random.default_rng(3).normal(size=(7, 7))


def face_picture(side: int) -> np.ndarray:
    """Something with the statistics of a face: smooth, of full contrast; the same picture at any side."""
    from PIL import Image

    smooth = np.asarray(Image.fromarray(PICTURE.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
    return np.clip(128 + 50 * smooth, 0, 255).astype(np.uint8)


def frame_with(*faces: tuple[int, int, int], shape: tuple[int, int] = (240, 320)) -> np.ndarray:
    """A grey frame with ``(x, y, side)`` faces, x and y their middles."""
    frame = np.full(shape, 90, np.uint8)
    for x, y, side in faces:
        frame[y - side // 2 : y - side // 2 + side, x - side // 2 : x - side // 2 + side] = face_picture(side)
    return frame


class Eyes:
    """A detector that finds what the test says is there, and counts how often it is asked."""

    def __init__(self) -> None:
        self.faces: list[tuple[float, float, float]] = []
        self.asked = 0

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2, 0.9] for x, y, s in self.faces], np.float32).reshape(-1, 5)


class Film:
    """Plays frames into a front, 40 ms apart, and keeps what it says."""

    def __init__(self, parameters: FaceParameters = PARAMETERS):
        self.eyes, self.t_ns = Eyes(), 0
        self.front = FaceFront(parameters, self.eyes)

    def show(self, *faces: tuple[int, int, int], seen: bool = True, frame: np.ndarray | None = None, after_ns: int = STEP_NS):
        self.t_ns += after_ns
        self.eyes.faces = list(faces) if seen else []
        frame = frame_with(*faces) if frame is None else frame
        self.front.push(Chunk("video", self.t_ns, 25.0, frame[None]))
        return self.front.poll(self.t_ns)


FACE = (160, 120, 80)


def test_a_face_counts_from_its_second_detection():
    film = Film()
    first = film.show(FACE)
    assert isinstance(first, Absence) and (first.modality, first.reason, first.detail) == ("face", "lost", "no face in view")
    window = film.show(FACE)
    assert isinstance(window, Window)
    assert window.samples.shape == (48, 48, 1) and window.samples.dtype == np.float32
    assert window.end_ns == film.t_ns and 0 < window.quality <= 1
    assert -1 <= window.samples.min() < window.samples.max() <= 1


def test_two_false_alarms_in_different_places_are_no_face():
    film = Film()
    film.show((60, 60, 50))
    assert film.show((250, 180, 50)) is None  # "no face in view" still holds
    assert film.front.box is None
    assert isinstance(film.show((250, 180, 50)), Window)


def test_each_frame_is_looked_at_once():
    film = Film(EVERY)
    film.show(FACE), film.show(FACE)
    asked = film.eyes.asked
    assert film.front.poll(film.t_ns) is None
    assert film.front.poll(film.t_ns + 1) is None
    assert film.eyes.asked == asked


def test_only_the_newest_frame_of_a_backlog_is_looked_at():
    film = Film(EVERY)
    film.show(FACE), film.show(FACE)
    asked = film.eyes.asked
    for _ in range(5):
        film.t_ns += STEP_NS
        film.front.push(Chunk("video", film.t_ns, 25.0, frame_with(FACE)[None]))
    window = film.front.poll(film.t_ns)
    assert isinstance(window, Window) and window.end_ns == film.t_ns and film.eyes.asked == asked + 1


def test_a_frame_older_than_the_newest_is_ignored():
    film = Film(EVERY)
    film.show(FACE), film.show(FACE)
    film.front.push(Chunk("video", film.t_ns - STEP_NS, 25.0, frame_with()[None]))
    assert film.front.poll(film.t_ns) is None


def test_the_crop_is_the_square_of_the_detection():
    film = Film(EVERY)
    film.show(FACE)
    window = film.show(FACE)
    expected = crop_face(frame_with(FACE), np.array([120, 80, 200, 160]), PARAMETERS)
    np.testing.assert_allclose(window.samples, expected, atol=1e-5)


def test_a_face_that_leaves_is_lost_after_half_a_second_and_said_once():
    film = Film()
    for _ in range(4):
        film.show(FACE)
    gone = [film.show() for _ in range(20)]
    said = [(i, a) for i, a in enumerate(gone) if isinstance(a, Absence)]
    assert len(said) == 1
    frames, absence = said[0]
    assert (absence.reason, absence.detail) == ("lost", "no face in view")
    assert 500 < (frames + 2) * 40 <= 500 + 3 * 40
    assert not any(isinstance(w, Window) for w in gone)
    assert film.front.box is None


def test_a_lost_face_is_back_on_its_second_detection():
    film = Film()
    for faces in [[FACE]] * 4 + [[]] * 20:
        film.show(*faces)
    assert film.show(FACE) is None
    assert isinstance(film.show(FACE), Window)


def test_detection_runs_on_every_second_frame_while_following_is_sure():
    film = Film(PARAMETERS)
    windows = [film.show(FACE) for _ in range(12)]
    assert all(isinstance(w, Window) for w in windows[1:])
    assert film.eyes.asked == 2 + 5


@given(st.integers(-14, 14), st.integers(-14, 14))
def test_a_moving_face_is_followed_between_detections(dx, dy):
    film = Film(dataclasses.replace(PARAMETERS, detect_every=3))
    film.show(FACE), film.show(FACE)
    asked = film.eyes.asked
    film.eyes.faces = []
    window = film.show((160 + dx, 120 + dy, 80))
    assert isinstance(window, Window) and film.eyes.asked == asked
    x0, y0, x1, y1 = film.front.box
    np.testing.assert_allclose([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0], [160 + dx, 120 + dy, 80], atol=1.5)


def test_a_face_that_cannot_be_followed_is_detected_at_once():
    film = Film(dataclasses.replace(PARAMETERS, detect_every=100))
    film.show(FACE), film.show(FACE)
    asked = film.eyes.asked
    window = film.show((60, 60, 70))
    assert film.eyes.asked == asked + 1 and not isinstance(window, Window)
    assert isinstance(film.show((60, 60, 70)), Window)


def test_a_blink_of_the_detector_does_not_lose_a_face_that_is_still_there():
    film = Film(EVERY)
    film.show(FACE), film.show(FACE)
    blink = [film.show(FACE, seen=False) for _ in range(5)]
    assert all(isinstance(w, Window) for w in blink)
    for _ in range(15):
        last = film.show(FACE, seen=False)
    assert last is None and film.front.box is None


def test_nothing_is_followed_across_a_gap_in_the_frames():
    film = Film(dataclasses.replace(PARAMETERS, detect_every=100))
    film.show(FACE), film.show(FACE)
    asked = film.eyes.asked
    film.show(FACE, after_ns=450_000_000)
    assert film.eyes.asked == asked + 1


def test_a_camera_that_falls_silent_is_said_once():
    film = Film()
    assert film.front.poll(0) == Absence("face", "lost", "no picture from the camera")
    assert film.front.poll(10**9) is None
    film.show(FACE), film.show(FACE)
    assert film.front.poll(film.t_ns + 400_000_000) is None
    assert film.front.poll(film.t_ns + 600_000_000) == Absence("face", "lost", "no picture from the camera")
    assert film.front.poll(film.t_ns + 900_000_000) is None


def test_the_largest_and_most_central_face_is_taken():
    film = Film(EVERY)
    far, near = (60, 60, 50), (200, 130, 90)
    film.show(far, near), film.show(far, near)
    assert film.front.box[2] - film.front.box[0] == pytest.approx(90, abs=1)


def test_the_face_that_was_there_first_stays_until_another_is_clearly_better():
    film = Film(EVERY)
    for faces in ([(130, 120, 60)], [(130, 120, 60)], [(130, 120, 60), (230, 120, 70)], [(130, 120, 60), (230, 120, 70)]):
        film.show(*faces)
    assert film.front.box[0] == pytest.approx(100, abs=1)
    film.show((130, 120, 60), (240, 120, 120)), film.show((130, 120, 60), (240, 120, 120))
    assert film.front.box[0] == pytest.approx(180, abs=1)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda f: f // 10, "face too dark"),
        (lambda f: 255 - f // 16, "face too bright"),
        (lambda f: 120 + f // 50, "face without contrast"),
    ],
)
def test_what_cannot_be_read_is_noisy_and_says_why(change, detail):
    film = Film(EVERY)
    film.show(FACE), film.show(FACE)
    absence = film.show(FACE, frame=change(frame_with(FACE)).astype(np.uint8))
    assert absence == Absence("face", "noisy", detail)
    assert film.show(FACE, frame=change(frame_with(FACE)).astype(np.uint8)) is None
    assert isinstance(film.show(FACE), Window)


def test_a_blurred_face_is_noisy():
    yy, xx = np.mgrid[:240, :320]
    blurred = (128 + 60 * np.sin(xx / 25) * np.cos(yy / 25)).astype(np.uint8)
    film = Film(EVERY)
    film.show(FACE)
    assert film.show(FACE, frame=blurred) == Absence("face", "noisy", "face blurred")


def test_small_and_cut_off_faces_are_noisy():
    film = Film(EVERY)
    film.show((160, 120, 20))
    assert film.show((160, 120, 20)) == Absence("face", "noisy", "face too small: 20 px")
    film = Film(EVERY)
    frame = frame_with((40, 40, 80))[:, 35:]
    film.show((5, 40, 80), frame=frame)
    assert film.show((5, 40, 80), frame=frame) == Absence("face", "noisy", "face only 56 % in view")
    assert film.show((7, 40, 80), frame=frame) is None  # another share is no news


@given(st.floats(10, 120), st.floats(0, 200), st.floats(0, 200))
def test_quality_is_between_zero_and_one_and_zero_has_a_reason(side, x, y):
    frame = frame_with(FACE)
    box = np.array([x, y, x + side, y + side], np.float32)
    quality, why = judge(frame, box, crop_face(frame, box, PARAMETERS), PARAMETERS)
    assert 0 <= quality <= 1 and (quality > 0) == (why == "")


def test_quality_falls_with_size():
    def quality(side: int) -> float:
        frame, half = frame_with((160, 120, side)), side / 2
        box = np.array([160 - half, 120 - half, 160 + half, 120 + half])
        return judge(frame, box, crop_face(frame, box, PARAMETERS), PARAMETERS)[0]

    assert quality(96) > quality(40) > quality(28) > 0


@given(st.floats(0, 100), st.floats(0, 100), st.floats(5, 80), st.floats(5, 80), st.floats(0.5, 2))
def test_the_crop_is_a_square_about_the_middle_of_the_box(x, y, width, height, margin):
    x0, y0, x1, y1 = square(np.array([x, y, x + width, y + height]), margin)
    assert (x0 + x1) / 2 == pytest.approx(x + width / 2, abs=1e-4) and (y0 + y1) / 2 == pytest.approx(y + height / 2, abs=1e-4)
    assert x1 - x0 == pytest.approx(y1 - y0, abs=1e-4) and x1 - x0 == pytest.approx(margin * np.sqrt(width * height), rel=1e-4)


def test_a_tile_cropped_at_its_own_size_is_the_encoders_training_input():
    frame = frame_with((160, 120, 48))
    tile = frame[96:144, 136:184]
    crop = crop_face(frame, np.array([136, 96, 184, 144]), PARAMETERS)
    np.testing.assert_allclose(crop[..., 0], tile / 127.5 - 1.0, atol=1e-5)


@given(st.floats(0.2, 3.0), st.floats(-50, 50))
def test_sharpness_ignores_contrast_and_brightness(gain, offset):
    picture = face_picture(48).astype(np.float64)
    assert sharpness(gain * picture + offset) == pytest.approx(sharpness(picture), rel=1e-6)


def test_the_same_film_gives_the_same_windows():
    def play() -> list[bytes]:
        film = Film()
        said = [film.show((150 + 3 * i, 120 + i, 80 + i)) for i in range(12)]
        return [w.samples.tobytes() for w in said if isinstance(w, Window)]

    assert play() == play() and len(play()) == 11


def test_parameters_survive_a_manifest():
    assert FaceParameters(**dataclasses.asdict(PARAMETERS)) == PARAMETERS


def pulsing(seconds: float, heart_rate_bpm: float):
    """Frames in colour, 25 a second: a face whose skin reddens with each beat, in a camera's noise."""
    rng = np.random.default_rng(3)
    grey = frame_with((96, 72, 120)).astype(np.float64)
    for i in range(round(seconds * 25)):
        beat = np.sin(2 * np.pi * heart_rate_bpm / 60 * i / 25)
        skin = np.array([182.0, 135.0, 112.0]) * (1 + 0.004 * beat * np.array([0.33, 0.77, 0.53]))
        cb = 128 + skin @ [-0.168736, -0.331264, 0.5]
        cr = 128 + skin @ [0.5, -0.418688, -0.081312]
        luma = grey * (1 + 0.004 * 0.6 * beat) + rng.normal(0, 2, grey.shape)
        chroma = np.stack([np.full((120, 160), cb), np.full((120, 160), cr)]) + rng.normal(0, 2, (2, 120, 160))
        to_bytes = [np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in (luma, chroma)]
        yield Chunk("video", round(i * 4e7), 25.0, to_bytes[0][None], to_bytes[1][None])


def test_the_pulse_is_read_from_every_frame_of_a_followed_face_also_where_only_some_are_looked_at():
    class Sees:
        boxes = np.array([[96, 72, 216, 192, 0.9]], np.float32)

        def __call__(self, frame):
            return self.boxes

    detect = Sees()
    front = FaceFront(FaceParameters(), detect)
    assert front.derived is None
    for i, chunk in enumerate(pulsing(26.0, 72.0)):
        front.push(chunk)
        if i % 2:
            front.poll(chunk.t_ns)
    assert front.pulse.heart_rate_bpm == pytest.approx(72, abs=2)
    assert sum(len(chunk.samples) for chunk in front.derived) >= 250 and {chunk.track for chunk in front.derived} == {"rppg"}
    detect.boxes = np.zeros((0, 5), np.float32)
    gone = [dataclasses.replace(chunk, t_ns=chunk.t_ns + 26 * 10**9, samples=chunk.samples // 4) for chunk in pulsing(2.0, 72.0)]
    for chunk in gone:
        front.push(chunk)
        front.poll(chunk.t_ns)
    assert front.pulse.heart_rate_bpm is None, "no face, no heart rate"
