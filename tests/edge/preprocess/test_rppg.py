from __future__ import annotations

import collections.abc
import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.preprocess.ppg import PulseTracker
from edge.preprocess.rppg import RATE_HZ, SPAN, WINDOW, FacePulse, FacePulseParameters, pos_window, quality_of, skin_colour

SIDE = 64
HEIGHT, WIDTH = 84, 96
PULSE_RGB = np.array([0.33, 0.77, 0.53])
"""Relative strength of the pulse in red, green and blue under white light: Wang et al. (2017), section II."""
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
"""JFIF 1.02."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A head before a wall, as a cheap camera sees it."""

    seconds: float = 25.0
    heart_rate_bpm: float | None = 72.0
    """None for a photograph."""
    depth: float = 0.0075
    """Pulse from trough to peak in green, as a share of it."""
    noise: float = 2.0
    """Standard deviation of a pixel's noise in each colour, of 255."""
    fps: tuple[float, float] = (20.0, 30.0)
    """Each frame's time to the next is drawn from this range."""
    sway_px: float = 0.0
    drift: float = 0.0
    """Illumination rises and falls by this share within 20 s."""
    flicker: float = 0.0
    flicker_hz: float = 100.0
    flicker_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    seed: int = 0


@functools.lru_cache(maxsize=1)
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Colours float (h, w, 3) of wall, skin, eyes, brows, mouth and hair, and how much each pixel is skin (h, w)."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0 : HEIGHT + 40, 0 : WIDTH + 40].astype(np.float64)
    middle_x, middle_y = (WIDTH + 40) / 2, (HEIGHT + 40) / 2
    u, v = (x - middle_x) / (SIDE / 2), (y - middle_y) / (SIDE / 2)
    wall = np.array([120.0, 125.0, 130.0]) * (1.0 + 0.15 * np.sin(x / 9) * np.sin(y / 7))[..., None]
    shade = 1.0 - 0.25 * (u**2 + 0.5 * v**2) + 0.05 * rng.normal(size=u.shape)
    skin = np.array([182.0, 135.0, 112.0]) * shade[..., None]
    inside = np.clip((1.0 - (u / 0.95) ** 2 - (v / 1.25) ** 2) * 12, 0.0, 1.0)
    for at_u, at_v, wide, high in ((-0.4, -0.35, 0.2, 0.1), (0.4, -0.35, 0.2, 0.1), (0.0, 0.6, 0.35, 0.1)):
        spot = np.clip(2.0 - 2.0 * (((u - at_u) / wide) ** 2 + ((v - at_v) / high) ** 2), 0.0, 1.0)
        colour = np.array([150.0, 70.0, 70.0]) if at_v > 0 else np.array([60.0, 45.0, 40.0])
        skin = skin * (1.0 - spot[..., None]) + colour * spot[..., None]
        inside = inside * (1.0 - spot)
    hair = np.clip((-v - 1.0) * 8, 0.0, 1.0)[..., None]
    head = np.clip((1.0 - (u / 0.95) ** 2 - (v / 1.25) ** 2) * 12, 0.0, 1.0)[..., None]
    picture = wall * (1 - head) + (skin * (1 - hair) + np.array([40.0, 30.0, 25.0]) * hair) * head
    return picture.astype(np.float32), (inside * (1 - hair[..., 0])).astype(np.float32)


def film(clip: Clip) -> collections.abc.Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """(time in ns, luma, chroma, box) of each frame: 8 bit, 4:2:0, and a box that a detector shakes by half a pixel."""
    rng = np.random.default_rng(clip.seed)
    colours, skin = scene()
    t_s = 100.0
    while t_s < 100.0 + clip.seconds:
        dx = clip.sway_px * math.sin(2 * math.pi * 0.23 * t_s) + 0.3 * clip.sway_px * math.sin(2 * math.pi * 0.71 * t_s)
        dy = 0.5 * clip.sway_px * math.sin(2 * math.pi * 0.31 * t_s)
        left, top = 20 + math.floor(dx), 20 + math.floor(dy)
        fx, fy = dx - math.floor(dx), dy - math.floor(dy)
        take = lambda plane: _shifted(plane, top, left, fy, fx)  # noqa: E731, B023
        picture = take(colours)
        if clip.heart_rate_bpm is not None:
            phase = 2 * math.pi * clip.heart_rate_bpm / 60 * t_s
            blood = 0.5 * (math.sin(phase) + 0.3 * math.sin(2 * phase + 1.0))
            picture = picture * (1.0 - clip.depth * blood * take(skin)[..., None] * (PULSE_RGB / PULSE_RGB[1]).astype(np.float32))
        light = 1.0 + clip.drift * math.sin(2 * math.pi * 0.05 * t_s)
        flicker = clip.flicker * math.sin(2 * math.pi * clip.flicker_hz * t_s)
        picture = picture * (light + flicker * np.array(clip.flicker_rgb)).astype(np.float32)
        if clip.noise:
            picture = picture + clip.noise * rng.standard_normal(picture.shape, np.float32)
        ycc = picture @ TO_YCC.T.astype(np.float32)
        chroma = ycc[..., 1:].reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 2).mean(axis=(1, 3)).transpose(2, 0, 1) + 128.0
        x, y = WIDTH / 2 - dx + rng.normal(0.0, 0.5), HEIGHT / 2 - dy + rng.normal(0.0, 0.5)
        box = np.array([x - SIDE / 2, y - SIDE / 2, x + SIDE / 2, y + SIDE / 2], np.float32)
        yield round(t_s * 1e9), _bytes(ycc[..., 0]), _bytes(chroma), box
        t_s += 1.0 / rng.uniform(*clip.fps)


def _shifted(plane: np.ndarray, top: int, left: int, fy: float, fx: float) -> np.ndarray:
    part = plane[top : top + HEIGHT + 1, left : left + WIDTH + 1]
    rows = (1 - fy) * part[:-1] + fy * part[1:]
    return (1 - fx) * rows[:, :-1] + fx * rows[:, 1:]


def _bytes(plane: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def watch(clip: Clip) -> tuple[FacePulse, list[float]]:
    """What is made of a clip, and all heart rates that were said."""
    face, said = FacePulse(), []
    for t_ns, luma, chroma, box in film(clip):
        colour = skin_colour(luma, chroma, box)
        assert colour is not None
        face.push(t_ns, colour)
        if face.heart_rate_bpm is not None:
            said.append(face.heart_rate_bpm)
    return face, said


@pytest.mark.parametrize(
    "clip",
    [
        Clip(heart_rate_bpm=50.0, depth=0.01),
        Clip(heart_rate_bpm=88.0, depth=0.0075, sway_px=4.0, seed=2),
        Clip(heart_rate_bpm=120.0, depth=0.005, seed=3),
        Clip(heart_rate_bpm=75.0, depth=0.01, sway_px=3.0, drift=0.1, flicker=0.01, seed=4),
    ],
    ids=str,
)
def test_the_heart_rate_of_a_filmed_face_is_found_within_two_beats(clip: Clip):
    face, said = watch(clip)
    assert said, face.quality
    assert np.abs(np.array(said) - clip.heart_rate_bpm).max() < 2.0


@pytest.mark.parametrize(
    "clip",
    [
        Clip(heart_rate_bpm=None),
        Clip(heart_rate_bpm=None, noise=0.0),
        Clip(heart_rate_bpm=None, flicker=0.02, fps=(24.6, 24.6)),  # 100 Hz of the mains seen as 1.6 Hz
        Clip(heart_rate_bpm=None, noise=0.5, flicker=0.03, flicker_hz=1.3, flicker_rgb=(0.8, 1.0, 1.2)),
        Clip(heart_rate_bpm=None, sway_px=4.0, drift=0.1),
    ],
    ids=str,
)
def test_a_photograph_has_no_heart_rate(clip: Clip):
    face, said = watch(clip)
    assert face.quality is not None
    assert not said
    assert not face.chunks


def trace(seconds: float, rng: np.random.Generator, *, heart_rate_bpm: float = 0.0, fps: tuple[float, float] = (20.0, 30.0)):
    """(times in ns, colours (n, 3)) of a face with a pulse of 0.75 %, and a sensor's noise."""
    t_s = 50.0 + np.cumsum(1.0 / rng.uniform(*fps, int(seconds * fps[1])))
    t_s = t_s[t_s < 50.0 + seconds]
    blood = 0.5 * np.sin(2 * np.pi * heart_rate_bpm / 60 * t_s) if heart_rate_bpm else np.zeros(len(t_s))
    colours = np.array([150.0, 110.0, 90.0]) * (1.0 - 0.0075 * blood[:, None] * PULSE_RGB / PULSE_RGB[1])
    return np.rint(t_s * 1e9).astype(np.int64).tolist(), colours + rng.normal(0.0, 0.05, colours.shape)


def push_all(face: FacePulse, times_ns: list[int], colours: np.ndarray) -> list[float | None]:
    said = []
    for t_ns, colour in zip(times_ns, colours, strict=True):
        face.push(t_ns, colour)
        said.append(face.heart_rate_bpm)
    return said


def test_four_minutes_of_noise_and_of_drifting_colours_have_no_heart_rate():
    rng = np.random.default_rng(11)
    times_ns, colours = trace(120.0, rng)
    drifting = colours + np.cumsum(rng.normal(0.0, 0.05, colours.shape), axis=0)
    for kind in (colours, drifting):
        assert set(push_all(FacePulse(), times_ns, kind)) == {None}


@settings(max_examples=6)
@given(st.floats(50.0, 120.0), st.integers(0, 10**6).map(lambda s: s * 10**9))
def test_the_wave_that_is_handed_on_has_the_beats_of_the_face_and_its_time(heart_rate_bpm: float, start_ns: int):
    face, heard = FacePulse(), PulseTracker()
    times_ns, colours = trace(40.0, np.random.default_rng(0), heart_rate_bpm=heart_rate_bpm)
    push_all(face, [start_ns + t_ns for t_ns in times_ns], colours)
    chunks = list(face.chunks)
    assert all(chunk.track == "rppg" and chunk.rate_hz == RATE_HZ and chunk.samples.dtype == np.float32 for chunk in chunks)
    assert len(chunks[0].samples) == SPAN  # what there was when it was found to be a pulse
    for one, other in itertools.pairwise(chunks):
        assert other.t_ns - one.end_ns == pytest.approx(1e9 / RATE_HZ, abs=2)
    late_s = (start_ns + times_ns[-1] - chunks[-1].end_ns) / 1e9
    assert WINDOW / RATE_HZ - 0.1 < late_s < WINDOW / RATE_HZ + 0.4
    for chunk in chunks:
        heard.push(chunk.t_ns, chunk.rate_hz, chunk.samples)
    assert heard.seconds[-1].heart_rate_bpm == pytest.approx(heart_rate_bpm, abs=1.5)
    assert heard.seconds[-1].quality > 0.6
    t_s = np.concatenate([(chunk.t_ns - start_ns) / 1e9 + np.arange(len(chunk.samples)) / RATE_HZ for chunk in chunks])
    blood = np.sin(2 * np.pi * heart_rate_bpm / 60 * t_s)
    assert np.corrcoef(np.concatenate([chunk.samples for chunk in chunks]), blood)[0, 1] > 0.9  # rises with blood, and is not late


def test_a_lost_face_breaks_the_wave_off_and_the_heart_rate_is_unknown_until_found_again():
    rng = np.random.default_rng(5)
    face = FacePulse()
    times_ns, colours = trace(30.0, rng, heart_rate_bpm=70.0)
    assert push_all(face, times_ns, colours)[-1] is not None
    face.chunks.clear()
    face.lose()
    assert face.heart_rate_bpm is None and face.quality is None
    again_ns = [t_ns + 33_000_000_000 for t_ns in times_ns]
    said = push_all(face, again_ns, colours)
    assert said[-1] is not None
    first_s = next(t_ns for t_ns, rate in zip(again_ns, said, strict=True) if rate is not None) / 1e9 - again_ns[0] / 1e9
    assert 20.0 < first_s < 25.0
    assert face.chunks[0].t_ns >= again_ns[0]


@pytest.mark.parametrize("hole_s", [0.5, 5.0])
def test_a_hole_in_the_frames_loses_the_face(hole_s: float):
    face = FacePulse()
    times_ns, colours = trace(30.0, np.random.default_rng(5), heart_rate_bpm=70.0)
    push_all(face, times_ns, colours)
    face.push(times_ns[-1] + round(hole_s * 1e9), colours[-1])
    assert face.heart_rate_bpm is None


def test_too_few_frames_carry_no_pulse_and_few_enough_do():
    for fps, known in (((8.0, 11.0), False), ((13.5, 16.0), True)):
        times_ns, colours = trace(40.0, np.random.default_rng(6), heart_rate_bpm=66.0, fps=fps)
        said = push_all(FacePulse(), times_ns, colours)
        assert (said[-1] is not None) == known


def test_no_face_no_heart_rate():
    face = FacePulse()
    assert face.heart_rate_bpm is None and not face.chunks


def test_colours_that_cannot_be_and_frames_from_the_past_are_left_out():
    times_ns, colours = trace(30.0, np.random.default_rng(8), heart_rate_bpm=80.0)
    plain, other = FacePulse(), FacePulse()
    push_all(plain, times_ns, colours)
    for t_ns, colour in zip(times_ns, colours, strict=True):
        other.push(t_ns, colour)
        other.push(t_ns - 1, colour * 0.5)
    assert other.heart_rate_bpm == plain.heart_rate_bpm is not None
    other.push(times_ns[-1] + 30_000_000, np.array([math.nan, 1.0, 1.0]))
    assert other.heart_rate_bpm is None


@given(st.floats(0.001, 0.02), st.floats(0.2, 3.0))
def test_pos_takes_brightness_out_and_leaves_blood(depth: float, light: float):
    t_s = np.arange(WINDOW) / RATE_HZ
    blood, bright = np.sin(2 * np.pi * 1.25 * t_s), 1.0 + 0.05 * np.sin(2 * np.pi * 2.2 * t_s)
    skin = light * np.array([150.0, 110.0, 90.0])
    assert np.abs(pos_window(skin * bright[:, None])).max() < 1e-9
    wave = pos_window(skin * (1.0 - depth * blood[:, None] * PULSE_RGB) * bright[:, None])
    assert abs(np.corrcoef(wave, blood)[0, 1]) > 0.95


@given(st.floats(0.75, 2.95), st.floats(0.0, 6.2))
def test_a_line_is_found_between_the_bins(pulse_hz: float, phase: float):
    wave = np.sin(2 * np.pi * pulse_hz * np.arange(SPAN) / RATE_HZ + phase)
    found = quality_of(wave, np.ones(SPAN))
    assert found.heart_rate_bpm == pytest.approx(60.0 * pulse_hz, abs=0.5)
    assert found.share > 0.98
    assert found.amplitude == pytest.approx(1.0 / math.sqrt(2.0), rel=0.05)
    assert found.chroma == math.inf


def test_skin_is_the_commonest_colour_of_the_box():
    colours, _ = scene()
    picture = colours[20 : 20 + HEIGHT, 20 : 20 + WIDTH]
    ycc = picture @ TO_YCC.T
    chroma = ycc[..., 1:].reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 2).mean(axis=(1, 3)).transpose(2, 0, 1) + 128.0
    box = np.array([WIDTH / 2 - SIDE / 2, HEIGHT / 2 - SIDE / 2, WIDTH / 2 + SIDE / 2, HEIGHT / 2 + SIDE / 2])
    got = skin_colour(_bytes(ycc[..., 0]), _bytes(chroma), box)
    assert got is not None
    skin = np.array([182.0, 135.0, 112.0])
    assert np.allclose(got / got.sum(), skin / skin.sum(), atol=0.01)


def test_a_face_out_of_view_dark_or_clipped_has_no_colour():
    luma, chroma = np.full((96, 128), 120, np.uint8), np.full((2, 48, 64), 128, np.uint8)
    box = np.array([30.0, 20.0, 90.0, 80.0])
    assert skin_colour(luma, chroma, box) == pytest.approx([120.0, 120.0, 120.0])
    assert skin_colour(luma, chroma, box + 200.0) is None
    assert skin_colour(np.full_like(luma, 10), chroma, box) is None
    assert skin_colour(np.full_like(luma, 255), chroma, box) is None
    assert FacePulseParameters().lowest_fps == 12.0
