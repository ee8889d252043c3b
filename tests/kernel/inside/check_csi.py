"""``edge.sensors.picamera`` on the real picamera2 and the real libcamera, whose virtual camera needs buffers of the kernel's."""

from __future__ import annotations

import gc
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import virtual_camera
from listen import Listener

from edge.clock import SystemClock
from edge.errors import SensorError
from edge.sensors.picamera import PiCamera, csi_cameras
from edge.sensors.settings import CameraSettings

pytest.importorskip("libcamera", reason="libcamera has a virtual camera in Debian 13 and newer: tests/kernel/trixie.py")
if "AFFECTKIT_VIRTUAL_CAMERA" not in os.environ:
    pytest.skip("it changes /usr and /dev: tests/kernel/trixie.py runs it on a machine that forgets", allow_module_level=True)

# picamera2 says so to each thread it makes.
pytestmark = pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning")

SETTINGS = CameraSettings(width=virtual_camera.WIDTH, height=virtual_camera.HEIGHT, rate_hz=5)
REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
IMX219_MODES = [
    {"format": "SRGGB10_CSI2P", "bit_depth": 10, "size": (640, 480), "fps": 206.65, "crop_limits": (1000, 752, 1280, 960)},
    {"format": "SRGGB10_CSI2P", "bit_depth": 10, "size": (1640, 1232), "fps": 41.85, "crop_limits": (0, 0, 3280, 2464)},
    {"format": "SRGGB10_CSI2P", "bit_depth": 10, "size": (3280, 2464), "fps": 21.19, "crop_limits": (0, 0, 3280, 2464)},
]
"""As picamera2 lists some of a camera module 2's (its issue 899)."""


@pytest.fixture(scope="module")
def set_up():
    return virtual_camera.set_up()


@pytest.fixture
def exposure(set_up):
    yield set_up
    set_up.dark = False
    set_up.stuck.set()


def ycc(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """Full range, BT.601."""
    red, green, blue = rgb
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402


def bar_of(chunk) -> int:
    """Place of the bar; fails if the picture is not as drawn, luma and chroma."""
    luma, chroma = chunk.samples[0].astype(float), chunk.chroma[0].astype(float)
    step = virtual_camera.WIDTH // virtual_camera.IMAGES
    middle = luma[:, step // 2 :: step].mean(0)
    place = int(middle.argmax())
    expected = np.full((virtual_camera.IMAGES, 3), ycc(virtual_camera.BACKGROUND))
    expected[place] = ycc(virtual_camera.BAR)
    seen = [middle, *chroma[:, :, step // 4 :: step // 2].mean(1)]
    np.testing.assert_allclose(np.transpose(seen), expected, atol=4)
    return place


def test_the_camera_is_found_by_its_number(exposure):
    assert csi_cameras() == [(0, "virtual")]
    with pytest.raises(SensorError, match="camera picamera2:1: No camera number 1 found"):
        PiCamera(1, SystemClock(), SETTINGS).open()


def test_frames_come_through_the_call_back_as_drawn_in_order_stamped_and_at_the_rate_set(exposure):
    clock = SystemClock()
    before_ns = clock.now_ns()
    wanted = virtual_camera.IMAGES * virtual_camera.REPEATS
    with Listener(PiCamera(0, clock, SETTINGS)) as listener:
        assert exposure.frame_us == 200_000
        listener.wait(lambda it: len(it.chunks) >= wanted, 30.0)
        arrived_ns = clock.now_ns()
        assert (listener.error, listener.sensor.damaged) == (None, 0)
    chunks = listener.chunks[:wanted]
    assert chunks[0].samples.shape == (1, SETTINGS.height, SETTINGS.width) and chunks[0].samples.dtype == np.uint8
    assert chunks[0].chroma.shape == (1, 2, SETTINGS.height // 2, SETTINGS.width // 2)
    places = [bar_of(chunk) for chunk in chunks]
    assert set(places) == set(range(virtual_camera.IMAGES)) and set(np.diff(places) % virtual_camera.IMAGES) == {0, 1}
    stamps = [chunk.t_ns for chunk in chunks]
    assert before_ns < stamps[0] and 0 < arrived_ns - stamps[-1] < 1_000_000_000
    assert (np.diff(stamps) > 0).all() and np.median(np.diff(stamps)) == pytest.approx(2e8, rel=0.4)


def test_another_size_and_no_colour_is_made_of_what_the_camera_has(exposure):
    with Listener(PiCamera(0, SystemClock(), CameraSettings(width=120, height=120, rate_hz=5, colour=False))) as listener:
        listener.wait(lambda it: it.chunks, 10.0)
    chunk = listener.chunks[0]
    assert chunk.samples.shape == (1, 120, 120) and chunk.chroma is None
    # The bar is at the left edge, outside the square in the middle.
    np.testing.assert_allclose(chunk.samples, ycc(virtual_camera.BACKGROUND)[0], atol=4)


def test_what_the_driver_asks_of_a_camera_with_a_raw_stream_is_understood(exposure, monkeypatch):
    """With the modes of a camera module 2, down to libcamera's own configuration of the sensor."""
    import libcamera
    from picamera2 import Picamera2

    camera = Picamera2(0)
    try:
        monkeypatch.setattr(Picamera2, "sensor_modes", IMX219_MODES)
        known = dict.fromkeys(("FrameDurationLimits", "ExposureTime", "AnalogueGain"), (0, 1, None))
        monkeypatch.setattr(Picamera2, "camera_controls", known)
        monkeypatch.setattr(camera, "_is_rpi_camera", lambda: True)
        camera._raw_modes = IMX219_MODES
        settings = CameraSettings(width=320, height=240, rate_hz=20, exposure_us=20_000, gain_percent=250)
        asked = PiCamera(0, SystemClock(), settings)._configuration(camera)
        assert asked["raw"] is None and asked["sensor"] == {"output_size": (1640, 1232), "bit_depth": 10}
        assert asked["controls"] == {"FrameDurationLimits": (50_000, 50_000), "ExposureTime": 20_000, "AnalogueGain": 2.5}
        camera.check_camera_config(asked)
        made = camera._make_libcamera_config(asked)
        assert (made.sensor_config.output_size.width, made.sensor_config.bit_depth) == (1640, 10)
        assert (str(made.at(0).pixel_format), made.at(0).size.width, made.at(0).buffer_count) == ("YUV420", 320, 4)
        assert made.at(0).color_space == libcamera.ColorSpace.Sycc()
    finally:
        camera.close()


def test_the_nearest_rate_that_the_camera_has_is_set(exposure, caplog):
    settings = CameraSettings(width=virtual_camera.WIDTH, height=virtual_camera.HEIGHT, rate_hz=1)
    with Listener(PiCamera(0, SystemClock(), settings)) as listener:
        assert (exposure.frame_us, listener.sensor.rate_hz) == (500_000, 2.0)  # down to libcamera's start
    assert "camera picamera2:0: delivers 2.0 frames a second, not 1" in caplog.messages


def test_a_control_that_the_camera_does_not_have_is_said(exposure):
    settings = CameraSettings(width=320, height=240, rate_hz=5, exposure_us=20_000)
    with pytest.raises(SensorError, match="camera picamera2:0: ExposureTime cannot be set on this camera"):
        PiCamera(0, SystemClock(), settings).open()
    with Listener(PiCamera(0, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.chunks, 10.0)


def test_a_camera_in_use_is_not_opened_twice_and_goes_on(exposure):
    with Listener(PiCamera(0, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.chunks, 10.0)
        with pytest.raises(SensorError, match=r"camera picamera2:0: .*[Bb]usy"):
            PiCamera(0, SystemClock(), SETTINGS).open()
        seen = len(listener.chunks)
        listener.wait(lambda it: len(it.chunks) > seen + 2, 10.0)


def test_when_frames_stop_the_reader_hears_of_it_closing_is_quick_and_it_can_be_opened_again(exposure):
    with Listener(PiCamera(0, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.chunks, 10.0)
        exposure.dark = True
        assert 1.5 < listener.wait(lambda it: it.error, 10.0) < 5.0
        assert "camera picamera2:0: no frame for 2 s; check its cable" in str(listener.error)
        begun_s = time.monotonic()
        listener.sensor.close()
        assert time.monotonic() - begun_s < 2.0
    exposure.dark = False
    with Listener(PiCamera(0, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.chunks, 10.0)


def test_a_camera_without_a_first_frame_is_given_up_after_four_seconds(exposure):
    exposure.dark = True
    with Listener(PiCamera(0, SystemClock(), SETTINGS)) as listener:
        assert 3.5 < listener.wait(lambda it: it.error, 10.0) < 7.0
        assert "no frame for 4 s" in str(listener.error)


def test_nothing_stays_open_of_a_camera_that_is_closed_or_cannot_be_opened(exposure):
    def opened() -> list[str]:
        gc.collect()
        return sorted(os.readlink(path) for path in pathlib.Path("/proc/self/fd").iterdir() if path.is_symlink())

    def once() -> None:
        with Listener(PiCamera(0, SystemClock(), SETTINGS)) as listener:
            listener.wait(lambda it: it.chunks, 10.0)
            for number in (0, 1):  # in use, and not there
                with pytest.raises(SensorError):
                    PiCamera(number, SystemClock(), SETTINGS).open()

    once()
    before = len(opened())
    for _ in range(3):
        once()
    assert len(opened()) == before, opened()


PROGRAM = """
import sys, threading, time
sys.path[:0] = [{repository!r}, {inside!r}]
import virtual_camera
exposure = virtual_camera.set_up()
from edge.clock import SystemClock
from edge.sensors.picamera import PiCamera
from edge.sensors.settings import CameraSettings
sensor = PiCamera(0, SystemClock(), CameraSettings(width=320, height=240, rate_hz=5))
sensor.open()
sensor.read()
status = 0
{ending}
print(time.monotonic(), flush=True)
raise SystemExit(status)
"""
ENDINGS = {
    "without closing": "",
    "by an error": "status = 3",
    "although stopping hangs": """
exposure.stuck.clear()
begun_s = time.monotonic()
sensor.close()
assert time.monotonic() - begun_s < 2.0
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_program_ends(ending):
    inside = str(pathlib.Path(__file__).resolve().parent)
    program = PROGRAM.format(repository=str(REPOSITORY), inside=inside, ending=ENDINGS[ending])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == (3 if ending == "by an error" else 0), done.stderr
    assert 0 < time.monotonic() - float(done.stdout) < 10.0
