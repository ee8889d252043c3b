"""The driver of a CSI camera, on a camera that behaves like picamera2's at its call-back surface, in time that the test moves."""

import atexit
import contextlib
import inspect
import os
import threading
import time

import numpy as np
import pytest
from sensors.csi_camera import IMX219, MS, PIPELINE_NS, SECOND_NS, World, picture, space

from edge.clock import ManualClock, SystemClock
from edge.errors import ConfigError, SensorError
from edge.sensors.picamera import PiCamera, best_sensor_mode, csi_cameras, parse_number
from edge.sensors.settings import CameraSettings


@pytest.fixture
def world():
    world = World()
    yield world
    world.blocking.set()
    world.opening.set()
    for reading, writing in world.pipes:  # of cameras that a test left open
        if not reading.closed:
            reading.close()
            os.close(writing)


def test_frames_are_what_the_camera_saw_stamped_when_it_saw_them(world):
    sensor = world.camera(CameraSettings(width=96, height=64, rate_hz=20))
    sensor.open()
    begun_ns = world.clock.now_ns()
    chunks = [sensor.read() for _ in range(10)]
    for number, chunk in enumerate(chunks):
        luma, chroma = picture(number, 96, 64)
        np.testing.assert_array_equal(chunk.samples, luma[None])
        np.testing.assert_array_equal(chunk.chroma, chroma[None])
        assert (chunk.track, chunk.rate_hz) == ("video", 20.0)
        assert chunk.t_ns == begun_ns + 300 * MS + number * 50 * MS - PIPELINE_NS
    assert (sensor.dropped, sensor.damaged, sensor.live, sensor.tracks) == (0, 0, True, ("video",))
    sensor.close()
    assert world.made[0].closed and sensor.read() is None


def test_the_camera_is_set_as_wanted_and_sees_all_it_can(world):
    sensor = world.camera(CameraSettings(width=320, height=240, rate_hz=25, exposure_us=20_000, gain_percent=250))
    sensor.open()
    config = world.made[0].config
    assert config["controls"] == {"FrameDurationLimits": (40_000, 40_000), "ExposureTime": 20_000, "AnalogueGain": 2.5}
    assert (config["main"]["size"], config["main"]["format"]) == ((320, 240), "YUV420")
    assert config["lores"] is None and config["raw"] is None
    assert config["sensor"] == {"output_size": (1640, 1232), "bit_depth": 10}
    assert not config["queue"] and config["display"] is None and config["encode"] is None
    sensor.close()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (CameraSettings(), ((1640, 1232), 10)),
        (CameraSettings(rate_hz=60), ((1640, 1232), 8)),
        (CameraSettings(rate_hz=120), ((640, 480), 10)),
        (CameraSettings(width=1920, height=1080), ((3280, 2464), 10)),
    ],
)
def test_the_sensor_runs_fast_enough_then_with_the_whole_view(settings, expected):
    mode = best_sensor_mode(IMX219, settings)
    assert (mode["output_size"], mode["bit_depth"]) == expected


def test_a_camera_without_sensor_modes_is_left_to_itself():
    assert best_sensor_mode([{"format": "MJPEG"}, {"format": "YUYV"}], CameraSettings()) is None


def test_the_nearest_rate_that_the_sensor_has_is_taken_and_said(world, caplog):
    world.controls["FrameDurationLimits"] = (50_000, 1_000_000, 50_000)
    sensor = world.camera(CameraSettings(width=96, height=64, rate_hz=30))
    sensor.open()
    first, second = sensor.read(), sensor.read()
    assert second.t_ns - first.t_ns == 50 * MS and second.rate_hz == sensor.rate_hz == 20.0
    assert [record.message for record in caplog.records] == ["camera picamera2:0: delivers 20.0 frames a second, not 30"]
    sensor.close()


@pytest.mark.parametrize(
    ("absent", "remedy"),
    [
        ("FrameDurationLimits", "it is not on the Pi's own connector: read it through usb:0"),
        ("AnalogueGain", "leave camera.exposure_us and camera.gain_percent at 0"),
    ],
)
def test_a_control_that_the_camera_does_not_have_is_said_and_the_camera_given_back(world, absent, remedy):
    del world.controls[absent]
    sensor = world.camera(CameraSettings(width=96, height=64, exposure_us=5_000, gain_percent=200))
    with pytest.raises(SensorError, match=f"camera picamera2:0: {absent} cannot be set on this camera; {remedy}"):
        sensor.open()
    assert world.made[0].closed and not world.taken


def test_upside_down_and_without_colour(world):
    sensor = world.camera(CameraSettings(width=96, height=64, upside_down=True, colour=False))
    sensor.open()
    chunk = sensor.read()
    assert chunk.chroma is None
    np.testing.assert_array_equal(chunk.samples[0], picture(0, 96, 64)[0][::-1, ::-1])
    sensor.close()


def test_a_limited_range_is_widened(world):
    world.space = space("Limited", "Rec601")
    sensor = world.camera()
    sensor.open()
    luma = picture(0, 96, 64)[0].astype(float)
    expected = np.clip((luma - 16) * 255 / 219, 0, 255)
    assert np.abs(sensor.read().samples[0] - expected).max() <= 0.51
    sensor.close()


@pytest.mark.parametrize("stamp", [None, 5])
def test_without_a_usable_stamp_the_arrival_counts(world, stamp):
    world.stamp_of = lambda t_ns: stamp
    sensor = world.camera()
    sensor.open()
    assert sensor.read().t_ns == world.clock.now_ns()
    sensor.close()


def test_when_frames_stop_the_reader_hears_of_it_two_seconds_after_the_last(world):
    sensor = world.camera()
    sensor.open()
    world.frames_left = 3
    for _ in range(3):
        sensor.read()
    last_ns = world.clock.now_ns()
    with pytest.raises(SensorError, match="camera picamera2:0: no frame for 2 s; check its cable"):
        sensor.read()
    assert world.clock.now_ns() - last_ns == 2 * SECOND_NS
    sensor.close()


def test_the_first_frame_may_take_four_seconds(world):
    sensor = world.camera()
    sensor.open()
    begun_ns, world.due_ns = world.clock.now_ns(), world.clock.now_ns() + 3_900 * MS
    assert sensor.read().samples.shape == (1, 64, 96)
    sensor.close()
    world.frames_left = 0
    other = world.camera()
    other.open()
    begun_ns = world.clock.now_ns()
    with pytest.raises(SensorError, match="no frame for 4 s"):
        other.read()
    assert world.clock.now_ns() - begun_ns == 4 * SECOND_NS
    other.close()


def test_frames_that_nobody_fetches_in_time_are_dropped_and_counted(world):
    sensor = world.camera()
    sensor.open()
    for _ in range(7):
        world.clock.advance_to(world.clock.now_ns() + 66 * MS)
        world.film()
    world.frames_left = 0
    newest = [sensor.read().samples[0] for _ in range(2)]
    np.testing.assert_array_equal(newest, [picture(number, 96, 64)[0] for number in (5, 6)])
    assert sensor.dropped == 5
    sensor.close()


def test_a_frame_that_is_no_younger_than_the_last_is_left_out(world):
    sensor = world.camera()
    sensor.open()
    world.film()
    world.film()  # at the same time
    sensor.read()
    assert sensor.damaged == 1
    sensor.close()


def test_closing_ends_although_picamera2_hangs_and_says_so_once(world, caplog):
    sensor = world.camera(close_within_s=0.05)
    sensor.open()
    sensor.read()
    world.blocking.clear()
    begun_s = time.monotonic()
    sensor.close()
    sensor.close()
    assert time.monotonic() - begun_s < 1
    warnings = [record.message for record in caplog.records]
    assert warnings == ["camera picamera2:0: its driver did not close within 0.05 s and is left behind"]
    assert sensor.read() is None
    # What hangs has the camera still; another one cannot be opened until it lets go.
    with pytest.raises(SensorError, match="camera picamera2:0: Failed to acquire camera: Device or resource busy; check its cable"):
        world.camera().open()
    world.blocking.set()
    assert world.released.wait(5)
    other = world.camera()
    other.open()
    assert other.read().samples.shape == (1, 64, 96)
    other.close()


def test_opening_ends_although_picamera2_hangs_and_what_opens_late_is_closed(world):
    world.opening.clear()
    sensor = world.camera(open_within_s=0.05)
    with pytest.raises(SensorError, match=r"not open after 0\.05 s"):
        sensor.open()
    sensor.close()
    world.opening.set()
    assert world.released.wait(5)
    assert world.made[0].closed and not world.taken
    assert sensor.read() is None


def test_closing_while_it_opens_leaves_the_closing_to_the_opener(world):
    world.opening.clear()
    sensor = world.camera()
    opener = threading.Thread(target=sensor.open)
    opener.start()
    sensor.close()
    world.opening.set()
    opener.join(5)
    assert not opener.is_alive() and world.made[0].closed and not world.taken
    assert sensor.read() is None


def test_the_program_can_end_while_the_camera_hangs(world, monkeypatch):
    registered = []
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setattr(atexit, "unregister", registered.remove)
    world.camera().open()
    assert registered == []  # the real one closes at exit otherwise, which hangs


def test_a_fault_in_the_call_back_is_told_to_the_reader_and_spares_picamera2s_thread(world):
    def broken(request, stream, **options):
        raise RuntimeError("failed to find buffer")

    world.module.MappedArray = broken
    sensor = world.camera()
    sensor.open()
    with pytest.raises(SensorError, match="camera picamera2:0: RuntimeError: failed to find buffer"):
        sensor.read()
    sensor.close()


def test_a_camera_that_cannot_be_set_is_given_back(world):
    def refuse(self, config):
        raise RuntimeError("Invalid camera configuration: {}")

    world.module.Picamera2.configure = refuse
    with pytest.raises(SensorError, match="camera picamera2:0: Invalid camera configuration"):
        world.camera().open()
    assert world.made[0].closed and not world.taken


def test_a_camera_that_is_not_there(world):
    sensor = PiCamera(1, world.clock, CameraSettings(), picamera2=world.module)
    with pytest.raises(SensorError, match="camera picamera2:1: No camera number 1 found"):
        sensor.open()
    ((reading, writing),) = world.pipes
    assert reading.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)


def test_reading_before_opening_is_an_error(world):
    with pytest.raises(SensorError, match="read before it was opened"):
        world.camera().read()


def test_closing_from_another_thread_ends_a_waiting_read(world):
    sensor = PiCamera(0, SystemClock(), CameraSettings(width=96, height=64), picamera2=world.module)
    sensor.open()
    got = []
    reader = threading.Thread(target=lambda: got.append(sensor.read()))
    reader.start()
    sensor.close()
    reader.join(2)
    assert not reader.is_alive() and got == [None]


def test_the_package_that_is_missing_is_named():
    with contextlib.suppress(ImportError):
        import picamera2  # noqa: F401

        pytest.skip("picamera2 is installed here")
    with pytest.raises(SensorError, match="sudo apt install python3-picamera2"):
        PiCamera(0, ManualClock(), CameraSettings()).open()


def test_numbers_and_models(world):
    assert [parse_number(text) for text in ("", "0", " 1 ")] == [0, 0, 1]
    with pytest.raises(ConfigError, match="'front' is no camera's number; write picamera2:0"):
        parse_number("front")
    assert csi_cameras(world.module) == [(0, "imx219")]


def test_the_real_package_has_what_the_driver_calls():
    try:
        import picamera2
    except ImportError as error:
        pytest.skip(f"picamera2 and libcamera are not installed: {error}")
    wanted = {"main", "raw", "sensor", "controls", "buffer_count", "display", "encode", "queue"}
    assert wanted <= set(inspect.signature(picamera2.Picamera2.create_preview_configuration).parameters)
    assert {"reshape", "write"} <= set(inspect.signature(picamera2.MappedArray.__init__).parameters)
    found = csi_cameras()
    if not found:
        with pytest.raises(SensorError, match="camera picamera2:0"):
            PiCamera(0, SystemClock(), CameraSettings()).open()
        return
    sensor = PiCamera(0, SystemClock(), CameraSettings())
    sensor.open()
    try:
        chunks = [sensor.read() for _ in range(10)]
    finally:
        sensor.close()
    assert all(chunk.samples.shape == (1, 240, 320) and chunk.chroma.shape == (1, 2, 120, 160) for chunk in chunks)
    assert (np.diff([chunk.t_ns for chunk in chunks]) > 0).all()
