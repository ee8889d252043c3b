"""V4L2 cameras: which format is chosen, what becomes of their buffers, and, where there is one, a real device of the kernel."""

import errno
import io
import itertools
import os
import threading

import numpy as np
import pytest
from PIL import Image
from sensors.video_device import real_device, smallest, stamp_at_the_start
from sensors.webcam import C270, SMALL, EmptyDevice, FakeDevice, PatientClock, yuyv

from edge.clock import ManualClock, SystemClock
from edge.errors import ConfigError, SensorError
from edge.sensors import v4l2
from edge.sensors.settings import CameraSettings
from edge.sensors.stamps import KernelStamps
from edge.sensors.v4l2 import UsbCamera, cameras, find_camera, is_camera, parse_camera, ranked
from edge.sensors.videodev import Capability, Mode, VideoDevice
from edge.sensors.videodev2 import (
    AUTOGAIN,
    CAP_IO_MC,
    CAP_STREAMING,
    CAP_VIDEO_CAPTURE,
    EXPOSURE_ABSOLUTE,
    EXPOSURE_AUTO,
    EXPOSURE_AUTO_PRIORITY,
    GAIN,
)

MS = 1_000_000
SECOND_NS = 1_000_000_000
KERNEL_NS = 77 * SECOND_NS
"""CLOCK_MONOTONIC less the injected clock."""


def first(modes: list[Mode], **settings) -> tuple[str, int, int]:
    best = ranked(modes, CameraSettings(**settings))[0]
    return best.pixel_format, best.width, best.height


def test_raw_at_the_wanted_size_comes_before_mjpeg():
    assert first(C270, width=320, height=240) == ("YUYV", 320, 240)
    assert first(C270, width=480, height=360) == ("YUYV", 640, 480)


def test_mjpeg_is_taken_where_raw_is_too_slow_for_the_rate():
    assert first(C270, width=1280, height=720, rate_hz=30) == ("MJPG", 1280, 720)
    assert first(C270, width=1280, height=720, rate_hz=7) == ("YUYV", 1280, 720)
    assert first(C270, width=800, height=600, rate_hz=30) == ("MJPG", 800, 600)


def test_of_raw_formats_the_one_with_the_fewest_bytes():
    several = [Mode(name, 640, 480, 30.0) for name in ("YUYV", "NV12", "MJPG", "GREY")]
    assert first(several) == ("NV12", 640, 480)
    assert first(several, colour=False) == ("GREY", 640, 480)
    assert first(several[3:]) == ("GREY", 640, 480)


def test_rate_comes_before_size_and_the_nearest_is_taken_where_nothing_fits():
    assert first([Mode("YUYV", 1920, 1080, 5.0), Mode("YUYV", 640, 480, 30.0)], width=1280, height=720) == ("YUYV", 640, 480)
    assert first([Mode("YUYV", 320, 240, 60.0), Mode("YUYV", 640, 480, 30.0)], rate_hz=120) == ("YUYV", 320, 240)
    assert first([Mode("YUYV", 320, 240, 30.0), Mode("YUYV", 640, 480, 30.0)], width=1280, height=720) == ("YUYV", 640, 480)
    assert first([Mode("YUYV", 640, 480, 0.0), Mode("MJPG", 640, 480, 0.0)]) == ("YUYV", 640, 480)


KNOWN = [("/dev/video0", "HD Pro Webcam C920"), ("/dev/video2", "Integrated Camera"), ("/dev/video4", "HD Pro Webcam C920")]


def test_cameras_are_found_by_number_path_and_name():
    assert parse_camera("0") == 0 and parse_camera(" /dev/video2 ") == "/dev/video2" and parse_camera("C920") == "C920"
    assert find_camera(1, KNOWN) == "/dev/video2"
    assert find_camera("/dev/v4l/by-id/usb-x", []) == "/dev/v4l/by-id/usb-x"
    assert find_camera("integrated", KNOWN) == "/dev/video2"


def test_cameras_that_are_not_there_are_errors_that_list_those_that_are():
    listing = r"found: 0 = /dev/video0 \(HD Pro Webcam C920\), 1 = /dev/video2 \(Integrated Camera\), 2"
    with pytest.raises(SensorError, match=f"camera usb:3: there is no camera 3; {listing}"):
        find_camera(3, KNOWN)
    with pytest.raises(SensorError, match=f"2 cameras are called so; {listing}"):
        find_camera("C920", KNOWN)
    with pytest.raises(SensorError, match="no camera is called so; found: none"):
        find_camera("C920", [])
    with pytest.raises(ConfigError, match="write usb:0, usb:/dev/video2 or usb:NAME"):
        parse_camera("  ")


@pytest.mark.parametrize(
    ("driver", "flags", "expected"),
    [
        ("uvcvideo", CAP_VIDEO_CAPTURE | CAP_STREAMING, True),
        ("uvcvideo", 0x00800000 | CAP_STREAMING, False),  # metadata
        ("uvcvideo", CAP_VIDEO_CAPTURE, False),
        ("rp1-cfe", CAP_VIDEO_CAPTURE | CAP_STREAMING | CAP_IO_MC, False),
        ("bcm2835-isp", CAP_VIDEO_CAPTURE | CAP_STREAMING, False),
        ("bcm2835-codec", 0x00004000 | CAP_STREAMING, False),  # memory to memory
    ],
)
def test_only_nodes_that_deliver_pictures_are_cameras(driver, flags, expected):
    assert is_camera(Capability(driver, "card", "usb-1", flags)) is expected


def rig(device: FakeDevice, clock: ManualClock | None = None, **settings) -> tuple[UsbCamera, ManualClock]:
    clock = clock or PatientClock(10 * SECOND_NS)
    settings = {"width": 64, "height": 64, "rate_hz": 30} | settings
    stamps = KernelStamps(clock, 1, kernel_now_ns=lambda clock_id: clock.now_ns() + KERNEL_NS)
    camera = UsbCamera("/dev/video0", clock, CameraSettings(**settings), open_device=lambda path: device, stamps=stamps)
    camera.open()
    return camera, clock


def test_frames_come_in_order_stamped_by_the_kernel():
    device = FakeDevice(SMALL)
    camera, clock = rig(device)
    for number in range(12):
        clock.advance_to(clock.now_ns() + 33 * MS)
        device.fill(yuyv(number), clock.now_ns() - 20 * MS + KERNEL_NS, number)
        chunk = camera.read()
        assert chunk.t_ns == clock.now_ns() - 20 * MS
        np.testing.assert_array_equal(chunk.samples[0].ravel(), yuyv(number)[0::2])
        assert chunk.samples.shape == (1, 64, 64) and chunk.chroma.shape == (1, 2, 32, 32)
    camera.close()
    assert device.closed.is_set() and camera.read() is None
    assert (camera.dropped, camera.damaged, camera.rate_hz) == (0, 0, 30.0)


def test_frames_stay_as_they_were_when_their_buffer_is_used_again():
    device = FakeDevice(SMALL)
    camera, clock = rig(device)
    chunks = []
    for number in range(6):
        clock.advance_to(clock.now_ns() + 33 * MS)
        device.fill(yuyv(number), None, number)
        chunks.append(camera.read())
    for number, chunk in enumerate(chunks):
        np.testing.assert_array_equal(chunk.samples[0].ravel(), yuyv(number)[0::2])
    camera.close()


def test_error_buffers_and_short_frames_are_left_out_and_counted():
    device = FakeDevice(SMALL)
    camera, clock = rig(device)
    frames = [(yuyv(0), False), (yuyv(1), True), (yuyv(2)[:-1], False), (b"", True), (yuyv(4), False)]
    for number, (data, damaged) in enumerate(frames):
        clock.advance_to(clock.now_ns() + 33 * MS)
        device.fill(data, None, number, damaged)
        device.drained()
    got = [camera.read().samples[0].ravel() for _ in range(2)]
    np.testing.assert_array_equal(got, [yuyv(0)[0::2], yuyv(4)[0::2]])
    assert (camera.damaged, camera.dropped) == (3, 0)
    camera.close()


def test_damaged_mjpeg_is_left_out_and_counted():
    random = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(random).save(data, "JPEG")
    whole = data.getvalue()
    device = FakeDevice([Mode("MJPG", 64, 64, 30.0)])
    camera, clock = rig(device)
    for number, frame in enumerate([whole[:900], whole[10:], whole]):
        clock.advance_to(clock.now_ns() + 33 * MS)
        device.fill(frame, None, number)
    chunk = camera.read()
    expected = np.asarray(Image.open(io.BytesIO(whole)).convert("L")).astype(int)
    assert np.abs(chunk.samples[0] - expected).mean() < 3
    assert camera.damaged == 2
    camera.close()


def test_a_camera_that_delivers_only_damaged_frames_is_as_good_as_silent():
    device = FakeDevice(SMALL)
    camera, _ = rig(device, ManualClock(10 * SECOND_NS))
    device.fill(b"", None, 0)
    device.drained()
    with pytest.raises(SensorError, match=r"no frame for 4 s \(1 were damaged\)"):
        camera.read()
    camera.close()


def test_silence_is_an_error_two_seconds_after_the_last_frame():
    device = FakeDevice(SMALL)
    camera, clock = rig(device, ManualClock(10 * SECOND_NS))
    device.fill(yuyv(0), None, 0)
    device.drained()
    assert camera.read() is not None
    begun_ns = clock.now_ns()
    with pytest.raises(SensorError, match="camera usb:/dev/video0: no frame for 2 s; check its cable"):
        camera.read()
    assert clock.now_ns() - begun_ns == 2 * SECOND_NS
    camera.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (errno.ENODEV, r"camera usb:/dev/video0: unplugged \[ENODEV\]; plug it in again"),
        (errno.EIO, r"transfer broke off \[EIO\]"),
        (errno.EOVERFLOW, r"Value too large for defined data type \[EOVERFLOW\]"),
    ],
)
def test_a_camera_that_fails_is_named_after_the_frames_that_it_still_gave(fault, message):
    device = FakeDevice(SMALL)
    camera, _ = rig(device)
    device.fill(yuyv(0), None, 0)
    device.drained()
    device.unplug(fault)
    assert device.closed.wait(5)
    assert camera.read() is not None
    for _ in range(2):
        with pytest.raises(SensorError, match=message):
            camera.read()
    camera.close()


def test_a_camera_that_is_faster_than_wanted_is_thinned_out_evenly_whatever_it_loses():
    device = FakeDevice(SMALL)
    device.slowest_hz = 30.0
    camera, clock = rig(device, rate_hz=10)
    assert camera.rate_hz == 10.0
    begun_ns = clock.now_ns()
    times_ms = []
    for number in itertools.chain(range(2**32 - 4, 2**32 + 5), range(2**32 + 7, 2**32 + 20)):
        clock.advance_to(begun_ns + (number - 2**32 + 5) * 33 * MS)
        device.fill(yuyv(0), clock.now_ns() + KERNEL_NS, number)
        device.drained()
        if camera._frames:
            times_ms.append((camera.read().t_ns - begun_ns) // MS)
    assert np.diff(times_ms).min() == 99 and np.diff(times_ms).max() <= 165
    assert len(times_ms) == 8
    camera.close()


def test_a_bus_without_room_gets_the_next_best_format():
    device = FakeDevice(C270, bus_bytes=500_000)
    camera, _ = rig(device, width=480, height=360)
    assert (device.mode.pixel_format, device.mode.width, device.starts) == ("MJPG", 640, 2)
    camera.close()
    with pytest.raises(SensorError, match=r"not enough USB bandwidth \[ENOSPC\]; use another USB port"):
        rig(FakeDevice(C270, bus_bytes=0))


def test_exposure_and_gain_are_set_as_far_as_the_camera_has_them():
    controls = {EXPOSURE_AUTO: (0, 3), EXPOSURE_ABSOLUTE: (1, 10_000), EXPOSURE_AUTO_PRIORITY: (0, 1), GAIN: (0, 255), AUTOGAIN: (0, 1)}
    device = FakeDevice(SMALL, controls=controls)
    rig(device, exposure_us=10_000, gain_percent=850)[0].close()
    assert device.set == {EXPOSURE_AUTO_PRIORITY: 0, EXPOSURE_AUTO: 1, EXPOSURE_ABSOLUTE: 100, AUTOGAIN: 0, GAIN: 128}
    device = FakeDevice(SMALL, controls=controls)
    rig(device)[0].close()
    assert device.set == {EXPOSURE_AUTO_PRIORITY: 0, EXPOSURE_AUTO: 3, AUTOGAIN: 1}


def test_what_cannot_be_set_is_said(caplog):
    rig(FakeDevice([Mode("GREY", 64, 64, 12.0)]), exposure_us=10_000, gain_percent=200)[0].close()
    said = [record.message.removeprefix("camera usb:/dev/video0: ") for record in caplog.records]
    assert said == [
        "its exposure time cannot be set",
        "its gain cannot be set",
        "has no colour; the pulse cannot be read from the face",
        "delivers 12.0 frames a second, not 30",
    ]


def test_a_device_without_pictures_or_that_cannot_be_opened_is_an_error_in_words(tmp_path):
    with pytest.raises(SensorError, match=r"/dev/video0 offers no picture format that is understood \(GREY"):
        rig(EmptyDevice(SMALL))
    with pytest.raises(SensorError, match=r"no such device \[ENOENT\]; list the cameras with: affectkit doctor"):
        UsbCamera(str(tmp_path / "video9"), ManualClock(), CameraSettings()).open()
    (tmp_path / "video0").touch()
    with pytest.raises(SensorError, match="offers no picture format"):
        UsbCamera(str(tmp_path / "video0"), ManualClock(), CameraSettings()).open()


def test_closing_from_another_thread_ends_a_waiting_read():
    device = FakeDevice(SMALL)
    camera, _ = rig(device, PatientClock(0))
    got = []
    reader = threading.Thread(target=lambda: got.append(camera.read()))
    reader.start()
    camera.close()
    reader.join(2)
    assert not reader.is_alive() and got == [None] and device.closed.is_set()


real = pytest.mark.skipif(real_device() is None, reason="no V4L2 camera to test on: load vivid, or name one in AFFECTKIT_TEST_VIDEO")


@real
class TestRealDevice:
    """On a device of this kernel, in real time."""

    @pytest.fixture(autouse=True)
    def stamped_at_the_start_of_a_frame(self):
        """By default vivid stamps a frame with its end, yet delivers it at its beginning: no camera can see the future."""
        stamp_at_the_start()

    def read(self, count: int, device: type[VideoDevice] = VideoDevice, **settings) -> tuple[UsbCamera, list, list[int]]:
        clock = SystemClock()
        camera = UsbCamera(real_device(), clock, CameraSettings(**settings), open_device=device)
        camera.open()
        try:
            chunks, arrivals = [], []
            for _ in range(count):
                chunks.append(camera.read())
                arrivals.append(clock.now_ns())
        finally:
            camera.close()
        return camera, chunks, arrivals

    def test_it_is_listed_with_its_name_and_found_by_it(self):
        path = os.path.realpath(real_device())
        number, name = next((number, name) for number, (known, name) in enumerate(cameras()) if known == path)
        assert find_camera(number, cameras()) == path
        if sum(name == other for _, other in cameras()) == 1:
            assert find_camera(name, cameras()) == path

    def test_frames_have_the_size_wanted_and_rising_stamps_of_this_clock_at_the_rate_asked_for(self):
        kernel_ns = []

        class Recording(VideoDevice):
            def take(self):
                taken = super().take()
                kernel_ns.append(taken.stamp_ns)
                return taken

        width, height = smallest()
        camera, chunks, arrivals = self.read(21, Recording, rate_hz=10, width=width, height=height)
        for chunk in chunks:
            assert chunk.samples.shape == (1, height, width) and chunk.samples.dtype == np.uint8
            assert chunk.chroma.shape == (1, 2, height // 2, width // 2)
            assert chunk.samples.std() > 5, "a picture"
        stamps = np.array([chunk.t_ns for chunk in chunks])
        ages_ms = (np.array(arrivals) - stamps) / MS
        steps_ms = np.diff(stamps) / MS
        assert (steps_ms > 0).all()
        assert (ages_ms >= 0).all()
        # the system's clock is the kernel's monotonic one
        assert np.abs(stamps[:, None] - np.array(kernel_ns)).min(axis=1).max() < 5 * MS
        assert camera._stamps.unusable == 0
        assert abs(np.median(steps_ms) * camera.rate_hz / 1000 - 1) < 0.1

    @pytest.mark.parametrize("name", ["GREY", "NV12", "YUYV", "YU12", "UYVY"])
    def test_every_raw_format_shows_its_picture_in_full_range(self, name):
        device = VideoDevice(real_device())
        offered = [mode for mode in device.modes(320, 240) if mode.pixel_format == name]
        device.close()
        if not offered:
            pytest.skip(f"it does not offer {name}")

        class Only(VideoDevice):
            def modes(self, width, height):
                return [mode for mode in super().modes(width, height) if mode.pixel_format == name]

        width, height = smallest()
        _, (chunk,), _ = self.read(1, Only, rate_hz=10, width=width, height=height)
        luma = chunk.samples[0].astype(int)
        assert luma.shape == (height, width)
        if "vivid" in dict(cameras()).get(os.path.realpath(real_device()), ""):
            # its test picture is bars of 75 % white, yellow, cyan, green, magenta, red, blue and black, with text over the top
            bars = np.median(luma[-20:], axis=0)
            assert abs(bars.max() - 0.75 * 255) <= 3 and bars.min() <= 2
            if name != "GREY":
                saturated = [0.5 - 0.75 / 2, 0.5 + 0.75 / 2]
                found = np.median(chunk.chroma[0, :, -10:], axis=1)
                assert np.abs(np.stack([found.min(axis=1), found.max(axis=1)], axis=1) - 255 * np.array(saturated)).max() <= 4
            assert np.ptp(bars) > 180

    def test_another_size_is_made_of_what_it_offers(self):
        _, chunks, _ = self.read(1, width=160, height=160, rate_hz=5, upside_down=True)
        assert chunks[0].samples.shape == (1, 160, 160) and chunks[0].chroma.shape == (1, 2, 80, 80)

    def test_it_can_be_opened_again_and_not_twice(self):
        for _ in range(2):
            _, chunks, _ = self.read(2)
            assert len(chunks) == 2
        one = UsbCamera(real_device(), SystemClock(), CameraSettings())
        one.open()
        with pytest.raises(SensorError, match=r"in use by another program \[EBUSY\]"):
            UsbCamera(real_device(), SystemClock(), CameraSettings()).open()
        assert one.read() is not None
        one.close()

    def test_closing_from_another_thread_ends_a_waiting_read(self):
        camera = UsbCamera(real_device(), SystemClock(), CameraSettings(rate_hz=1))
        camera.open()
        got = []
        reader = threading.Thread(target=lambda: got.extend(iter(camera.read, None)))
        reader.start()
        camera.close()
        reader.join(3)
        assert not reader.is_alive()


def test_listing_cameras_where_there_are_none_is_an_empty_list(monkeypatch):
    monkeypatch.setattr(v4l2, "_nodes", lambda: ["/dev/null", "/dev/video-not-there"])
    assert cameras() == []
