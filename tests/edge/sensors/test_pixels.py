"""Every format of a camera, against Pillow's and OpenCV's idea of the same colours."""

import io

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from edge.errors import SensorError
from edge.preprocess.image import crop_area
from edge.sensors.pixels import PIXEL_FORMATS, Converter, Layout

RAW = sorted(set(PIXEL_FORMATS) - {"MJPG"})


def packed(pixel_format: str, y: np.ndarray, cb: np.ndarray, cr: np.ndarray, stride: int) -> np.ndarray:
    """Lay planes out as a camera does; rows of ``stride`` bytes, filled up with 0xAA. Chroma is (h/2, w/2), or (h, w/2) for 4:2:2."""

    def padded(rows: np.ndarray, length: int) -> np.ndarray:
        out = np.full((len(rows), length), 0xAA, np.uint8)
        out[:, : rows.shape[1]] = rows
        return out.ravel()

    if pixel_format == "GREY":
        return padded(y, stride)
    if pixel_format in ("NV12", "NV21"):
        pair = (cb, cr) if pixel_format == "NV12" else (cr, cb)
        return np.concatenate([padded(y, stride), padded(np.stack(pair, axis=2).reshape(len(cb), -1), stride)])
    if pixel_format in ("YU12", "YV12"):
        pair = (cb, cr) if pixel_format == "YU12" else (cr, cb)
        return np.concatenate([padded(y, stride), *(padded(plane, stride // 2) for plane in pair)])
    places = {"Y": [y[:, 0::2], y[:, 1::2]], "U": [cb], "V": [cr]}
    order = [places[letter].pop(0) for letter in pixel_format]
    return padded(np.stack(order, axis=2).reshape(len(y), -1), stride)


def random_planes(pixel_format: str, width: int, height: int, seed: int, low: int = 0, high: int = 256) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    rows = height if PIXEL_FORMATS[pixel_format] == 2.0 else height // 2
    shapes = [(height, width), (rows, width // 2), (rows, width // 2)]
    return [random.integers(low, high, shape, dtype=np.uint8) for shape in shapes]


def row_bytes(pixel_format: str, width: int) -> int:
    return width * (2 if PIXEL_FORMATS[pixel_format] == 2.0 else 1)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """RGB (240, 320, 3): smooth, in many colours, with an edge."""
    y, x = np.mgrid[0:240, 0:320].astype(np.float64)
    waves = [np.sin(x / 40 + k) * np.cos(y / 30 - k) for k in range(3)]
    rgb = np.stack(waves, axis=2) * 110 + 128
    rgb[60:120, 100:200] = (200, 90, 40)
    return rgb.astype(np.uint8)


def pillow_ycbcr(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luma (h, w) and chroma (2, h/2, w/2), float."""
    pixels = np.asarray(Image.fromarray(rgb).convert("YCbCr")).astype(np.float64)
    height, width = rgb.shape[:2]
    chroma = pixels[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3))
    return pixels[..., 0], chroma.transpose(2, 0, 1)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.sampled_from(RAW),
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(0, 17),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_at_the_cameras_own_size_the_planes_come_out_as_they_went_in_whatever_the_stride(name, w, h, padding, upside_down, short, seed):
    width, height = 2 * w, 2 * h
    planes = random_planes(name, width, height, seed)
    stride = row_bytes(name, width) + 2 * padding
    buffer = packed(name, *planes, stride)
    if short:  # the padding behind the last row need not be there
        buffer = buffer[: len(buffer) - (padding if name in ("YU12", "YV12") else 2 * padding)]
    before = buffer.copy()
    luma, chroma = Converter(Layout(name, width, height, stride), width, height, upside_down=upside_down)(buffer)
    turn = (slice(None, None, -1),) * 2 if upside_down else (slice(None),) * 2
    np.testing.assert_array_equal(luma, planes[0][turn])
    assert luma.dtype == np.uint8 and luma.flags.c_contiguous and not np.shares_memory(luma, buffer)
    np.testing.assert_array_equal(buffer, before)
    if name == "GREY":
        assert chroma is None
        return
    expected = np.stack([plane[turn] for plane in planes[1:]]).astype(float)
    if PIXEL_FORMATS[name] == 2.0:
        expected = expected.reshape(2, height // 2, 2, width // 2).mean(axis=2)
    assert chroma is not None and chroma.shape == (2, height // 2, width // 2) and chroma.dtype == np.uint8
    assert np.abs(chroma - expected).max() <= 0.5
    assert not np.shares_memory(chroma, buffer)


@pytest.mark.parametrize("name", RAW)
def test_without_colour_there_is_luma_alone(name):
    planes = random_planes(name, 32, 16, 1)
    layout = Layout(name, 32, 16)
    luma, chroma = Converter(layout, 32, 16, colour=False)(packed(name, *planes, row_bytes(name, 32)))
    assert chroma is None
    np.testing.assert_array_equal(luma, planes[0])


@pytest.mark.parametrize("name", RAW)
def test_the_limited_range_is_brought_to_the_full_one(name):
    full = random_planes(name, 64, 48, 2)
    limited = [np.rint(full[0] / 255 * 219 + 16), *(np.rint((plane / 255 - 128 / 255) * 224 + 128) for plane in full[1:])]
    buffer = packed(name, *(plane.astype(np.uint8) for plane in limited), row_bytes(name, 64))
    luma, chroma = Converter(Layout(name, 64, 48, limited=True), 64, 48)(buffer)
    assert np.abs(luma.astype(int) - full[0]).max() <= 1
    if chroma is not None:
        expected = np.stack(full[1:]).astype(float)
        expected = expected.reshape(2, 24, -1, 32).mean(axis=2)
        assert np.abs(chroma - expected).max() <= 1.5


def test_what_a_limited_range_leaves_out_is_cut_off():
    buffer = packed("GREY", np.array([[0, 15, 16, 126, 235, 255]] * 2, np.uint8), *[np.zeros((1, 3), np.uint8)] * 2, 6)
    luma, _ = Converter(Layout("GREY", 6, 2, limited=True), 6, 2)(buffer)
    assert luma[0].tolist() == [0, 0, 0, 128, 255, 255]


def test_limited_yuv420_of_a_picture_is_what_opencv_and_pillow_say(picture):
    # OpenCV's I420 is BT.601 in the limited range; Pillow's YCbCr the full one
    buffer = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).ravel()
    luma, chroma = Converter(Layout("YU12", 320, 240, limited=True), 320, 240)(buffer)
    expected_luma, expected_chroma = pillow_ycbcr(picture)
    assert np.abs(luma - expected_luma).max() <= 2 and np.abs(luma - expected_luma).mean() < 1
    away_from_edges = np.abs(np.diff(expected_chroma, axis=1, prepend=0)) < 4
    assert np.abs(chroma - expected_chroma)[away_from_edges].max() <= 4
    assert np.abs(chroma - expected_chroma).mean() < 1


def test_bt709_is_turned_into_bt601_of_the_same_colours(picture):
    rgb = picture.astype(np.float64)
    luma_709 = rgb @ [0.2126, 0.7152, 0.0722]
    cb, cr = (rgb[..., 2] - luma_709) / 1.8556 + 128, (rgb[..., 0] - luma_709) / 1.5748 + 128
    halved = [plane.reshape(120, 2, 160, 2).mean(axis=(1, 3)) for plane in (cb, cr)]
    buffer = np.concatenate([np.rint(plane).astype(np.uint8).ravel() for plane in (luma_709, *halved)])
    luma, chroma = Converter(Layout("YU12", 320, 240, bt709=True), 320, 240)(buffer)
    expected_luma, expected_chroma = pillow_ycbcr(picture)
    smooth = np.ones((240, 320), bool)
    smooth[56:124, 96:204] = False  # around the edge, halved chroma is no longer that of each pixel
    assert np.abs(luma - expected_luma)[smooth].max() <= 2.5
    assert np.abs(chroma - expected_chroma).max() <= 2.5
    alone, none = Converter(Layout("YU12", 320, 240, bt709=True), 320, 240, colour=False)(buffer)
    assert none is None
    np.testing.assert_array_equal(alone, luma)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(*[st.integers(2, 30)] * 4, st.integers(0, 2**32 - 1))
def test_another_size_is_the_middle_of_the_wanted_shape_area_averaged(w, h, to_w, to_h, seed):
    width, height, to_width, to_height = 2 * w, 2 * h, 2 * to_w, 2 * to_h
    planes = random_planes("YU12", width, height, seed)
    buffer = packed("YU12", *planes, width)
    luma, chroma = Converter(Layout("YU12", width, height), to_width, to_height)(buffer)
    scale = min(width / to_width, height / to_height)
    box = [(width - to_width * scale) / 2, (height - to_height * scale) / 2]
    box = [*box, box[0] + to_width * scale, box[1] + to_height * scale]
    assert np.abs(luma - crop_area(planes[0], tuple(box), to_height, to_width)).max() <= 0.51
    half = tuple(edge / 2 for edge in box)
    expected = np.stack([crop_area(plane, half, to_h, to_w) for plane in planes[1:]])
    assert np.abs(chroma - expected).max() <= 0.51


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720), (640, 360), (352, 288), (160, 120), (240, 320)])
def test_nothing_is_stretched_a_circle_stays_one(width, height):
    y, x = np.mgrid[0:height, 0:width]
    radius = 0.3 * min(width, height)
    circle = (np.hypot(x - width / 2 + 0.5, y - height / 2 + 0.5) < radius).astype(np.uint8) * 255
    luma, _ = Converter(Layout("GREY", width, height), 320, 240)(circle.ravel())
    rows, columns = (luma.max(axis=1) > 127).sum(), (luma.max(axis=0) > 127).sum()
    assert abs(int(rows) - int(columns)) <= 2
    ys, xs = np.nonzero(luma > 127)
    assert abs(ys.mean() - 119.5) < 0.6 and abs(xs.mean() - 159.5) < 0.6


def jpeg(rgb: np.ndarray, mode: str = "RGB", **options) -> np.ndarray:
    data = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(data, "JPEG", **({"quality": 95} | options))
    return np.frombuffer(data.getvalue(), np.uint8)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_gives_the_colours_of_its_picture(picture, subsampling):
    luma, chroma = Converter(Layout("MJPG", 320, 240), 320, 240)(jpeg(picture, subsampling=subsampling))
    expected_luma, expected_chroma = pillow_ycbcr(picture)
    assert np.abs(luma - expected_luma).mean() < 1.5
    assert np.abs(chroma - expected_chroma).mean() < 1.5


@pytest.mark.parametrize("times", [2, 3, 4])
def test_a_larger_jpeg_is_averaged_down(picture, times):
    large = picture.repeat(times, axis=0).repeat(times, axis=1)
    layout = Layout("MJPG", 320 * times, 240 * times)
    luma, chroma = Converter(layout, 320, 240)(jpeg(large))
    expected_luma, expected_chroma = pillow_ycbcr(picture)
    assert luma.shape == (240, 320) and chroma.shape == (2, 120, 160)
    assert np.abs(luma - expected_luma).mean() < 2
    assert np.abs(chroma - expected_chroma).mean() < 2


def test_a_jpeg_without_colour_wanted_or_had_gives_luma_alone(picture):
    expected, _ = pillow_ycbcr(picture)
    for data, colour in ((jpeg(picture), False), (jpeg(picture, "L"), True)):
        luma, chroma = Converter(Layout("MJPG", 320, 240), 320, 240, colour=colour)(data)
        assert chroma is None
        assert np.abs(luma - expected).mean() < 1.5


def test_motion_jpeg_without_huffman_tables_is_understood(picture):
    # UVC cameras leave the standard tables out
    whole = jpeg(picture, optimize=False)
    data, kept, at = whole.tobytes(), whole.tobytes()[:2], 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big") + 2
        kept += b"" if data[at + 1] == 0xC4 else data[at : at + length]
        at += length
    bare = np.frombuffer(kept + data[at:], np.uint8)
    assert len(bare) < len(whole) - 400
    layout = Layout("MJPG", 320, 240)
    np.testing.assert_array_equal(Converter(layout, 320, 240)(bare)[0], Converter(layout, 320, 240)(whole)[0])


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.floats(0.0, 0.95))
def test_a_jpeg_that_was_cut_off_is_damaged(share):
    data = jpeg(np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="JPEG"):
        Converter(Layout("MJPG", 64, 64), 64, 64)(data[: int(len(data) * share)])


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.binary(max_size=400))
def test_noise_behind_the_mark_of_a_jpeg_is_damaged(noise):
    with pytest.raises(ValueError, match="JPEG"):
        Converter(Layout("MJPG", 64, 64), 64, 64)(np.frombuffer(b"\xff\xd8" + noise, np.uint8))


def test_a_jpeg_of_another_size_than_agreed_is_damaged(picture):
    with pytest.raises(ValueError, match="320x240: 640x480 was agreed"):
        Converter(Layout("MJPG", 640, 480), 320, 240)(jpeg(picture))


@pytest.mark.parametrize("name", RAW)
def test_a_raw_frame_that_is_too_short_is_damaged(name):
    buffer = packed(name, *random_planes(name, 32, 16, 4), row_bytes(name, 32))
    with pytest.raises(ValueError, match="are needed"):
        Converter(Layout(name, 32, 16), 32, 16)(buffer[:-1])


def test_a_format_that_is_not_understood_and_an_odd_size_are_refused():
    with pytest.raises(SensorError, match="'BA81': not understood; known: GREY"):
        Layout("BA81", 640, 480)
    with pytest.raises(SensorError, match="321x240 YUYV: both must be even"):
        Layout("YUYV", 321, 240)
