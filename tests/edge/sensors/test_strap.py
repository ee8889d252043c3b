from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import sys
import threading
import types
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import ManualClock
from edge.errors import SensorError
from edge.preprocess.beats import IntervalTracker
from edge.sensors.strap import (
    MEASUREMENT_UUID,
    SERVICE_UUID,
    HeartMeasurement,
    HeartStrap,
    IntervalTimes,
    parse_measurement,
)
from edge.types import Chunk

SECOND_NS = 1_000_000_000
TICK_S = 1 / 1024


class FakeDevice(typing.NamedTuple):
    address: str
    name: str | None


class FakeAdvertisement(typing.NamedTuple):
    local_name: str | None
    service_uuids: list[str]


class FakeBleak:
    """A strap in reach, with the calls of bleak that the sensor makes; its notifications come in the thread of its loop."""

    def __init__(self, address: str = "AA:BB:CC:DD:EE:FF", name: str | None = "Belt 7", *, refuses: Exception | None = None):
        self.around = [
            (FakeDevice("11:22:33:44:55:66", "Headphones"), FakeAdvertisement("Headphones", [])),
            (FakeDevice(address, name), FakeAdvertisement(name, [SERVICE_UUID])),
        ]
        self.refuses = refuses
        self.clients: list[FakeClient] = []
        self.scans_s: list[float] = []
        package = self

        class BleakScanner:
            @classmethod
            async def find_device_by_filter(cls, filterfunc: typing.Callable[..., bool], timeout: float = 10.0, **kwargs: typing.Any):
                package.scans_s.append(timeout)
                return next((device for device, advertisement in package.around if filterfunc(device, advertisement)), None)

        class BleakClient(FakeClient):
            def __init__(self, address_or_ble_device, disconnected_callback=None, services=None, *, timeout: float = 30, **kwargs):
                super().__init__(address_or_ble_device, disconnected_callback, package.refuses)
                package.clients.append(self)

        self.BleakScanner, self.BleakClient = BleakScanner, BleakClient


class FakeClient:
    def __init__(self, device: FakeDevice, disconnected_callback: typing.Any, refuses: Exception | None):
        self.device, self.disconnected_callback, self.refuses = device, disconnected_callback, refuses
        self.is_connected = False
        self.callbacks: dict[str, typing.Any] = {}
        self.loop: asyncio.AbstractEventLoop | None = None

    async def connect(self, **kwargs: typing.Any) -> None:
        if self.refuses:
            raise self.refuses
        self.loop, self.is_connected = asyncio.get_running_loop(), True

    async def start_notify(self, char_specifier: str, callback: typing.Any, **kwargs: typing.Any) -> None:
        assert self.is_connected
        self.callbacks[char_specifier] = callback

    async def disconnect(self) -> None:
        self.is_connected = False
        self.disconnected_callback(self)

    def say(self, data: bytes) -> None:
        """Notify, and wait until the sensor has taken it in."""
        self._in_loop(lambda: self.callbacks[MEASUREMENT_UUID](object(), bytearray(data)))

    def vanish(self) -> None:
        self.is_connected = False
        self._in_loop(lambda: self.disconnected_callback(self))

    def _in_loop(self, call: typing.Callable[[], None]) -> None:
        done = threading.Event()
        assert self.loop is not None
        self.loop.call_soon_threadsafe(lambda: (call(), done.set()))
        assert done.wait(5.0)


class Rig:
    """An open strap under a clock that only the test moves."""

    def __init__(self, name: str = "Belt 7", **fake: typing.Any):
        self.clock, self.bleak = ManualClock(100 * SECOND_NS), FakeBleak(**fake)
        self.strap = HeartStrap(name, self.clock, bleak=self.bleak, live=False)
        self.strap.open()
        self.client = self.bleak.clients[-1]

    def say(self, at_s: float, data: bytes) -> list[Chunk]:
        """Notify ``at_s`` after the start; the chunks that came of it."""
        self.clock.advance_to(round((100 + at_s) * SECOND_NS))
        self.client.say(data)
        chunks = []
        while self.strap._ready:
            chunk = self.strap.read()
            assert chunk is not None
            chunks.append(chunk)
        return chunks


@pytest.fixture
def rigs() -> typing.Iterator[typing.Callable[..., Rig]]:
    made: list[Rig] = []

    def make(*args: typing.Any, **kwargs: typing.Any) -> Rig:
        made.append(Rig(*args, **kwargs))
        return made[-1]

    yield make
    for rig in made:
        rig.strap.close()


def encode(
    heart_rate_bpm: int, intervals_s: typing.Sequence[float] = (), *, contact: bool | None = None, energy_kj: int | None = None, wide=False
) -> bytes:
    """As a strap encodes it."""
    flags = (1 if wide else 0) | (0 if contact is None else 4 | 2 * contact) | (energy_kj is not None) << 3 | bool(intervals_s) << 4
    data = bytes([flags]) + heart_rate_bpm.to_bytes(2 if wide else 1, "little")
    if energy_kj is not None:
        data += energy_kj.to_bytes(2, "little")
    return data + b"".join(round(interval_s / TICK_S).to_bytes(2, "little") for interval_s in intervals_s)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0048", HeartMeasurement(72, None, None, ())),
        ("012c01", HeartMeasurement(300, None, None, ())),
        ("0448", HeartMeasurement(72, False, None, ())),
        ("0648", HeartMeasurement(72, True, None, ())),
        ("0248", HeartMeasurement(72, None, None, ())),  # contact bit without support for it says nothing
        ("08480201", HeartMeasurement(72, None, 258, ())),
        ("10480004", HeartMeasurement(72, None, None, (1.0,))),
        ("1648 4003 8003", HeartMeasurement(72, True, None, (0.8125, 0.875))),
        ("1f 4800 0a00 0002 0004 0003", HeartMeasurement(72, True, 10, (0.5, 1.0, 0.75))),
        ("f048 0004", HeartMeasurement(72, None, None, (1.0,))),  # reserved bits are not looked at
        ("1048", HeartMeasurement(72, None, None, ())),
    ],
)
def test_notifications_mean_what_the_specification_says(text: str, expected: HeartMeasurement):
    assert parse_measurement(bytes.fromhex(text)) == expected


@pytest.mark.parametrize("text", ["", "00", "01 48", "08 48 01", "10 48 00", "10 48 0004 00", "19 4800 0100 000401"])
def test_cut_notifications_are_refused(text: str):
    with pytest.raises(SensorError, match=r"no Heart Rate Measurement$"):
        parse_measurement(bytes.fromhex(text))


@given(
    st.integers(0, 65535),
    st.lists(st.integers(1, 65535), max_size=9),
    st.sampled_from([None, False, True]),
    st.none() | st.integers(0, 65535),
)
def test_what_is_encoded_is_parsed(rate: int, ticks: list[int], contact: bool | None, energy_kj: int | None):
    intervals_s = tuple(tick * TICK_S for tick in ticks)
    data = encode(rate, intervals_s, contact=contact, energy_kj=energy_kj, wide=rate > 255)
    assert parse_measurement(bytearray(data)) == HeartMeasurement(rate, contact, energy_kj, intervals_s)


@given(st.binary(max_size=24))
def test_any_bytes_are_parsed_or_refused(data: bytes):
    try:
        measurement = parse_measurement(data)
    except SensorError:
        return
    assert 0 <= measurement.heart_rate_bpm <= 65535
    assert all(0.0 <= interval_s < 64.0 for interval_s in measurement.intervals_s)


def test_garbage_is_skipped_and_counted(rigs, caplog: pytest.LogCaptureFixture):
    rig = rigs()
    with caplog.at_level(logging.WARNING, "affectkit"):
        for second in range(4):
            assert rig.say(second, b"\x10") == []
    assert rig.strap.garbled == 4
    assert len(caplog.records) == 1
    assert len(rig.say(4.5, encode(60, [1.0]))) == 1


def test_each_interval_is_a_chunk_at_its_end_and_those_of_a_notification_lie_end_to_end(rigs):
    rig = rigs()
    chunks = rig.say(2.0, encode(75, [0.75, 0.875]))
    assert [chunk.track for chunk in chunks] == ["ibi", "ibi"]
    assert [chunk.samples.tolist() for chunk in chunks] == [[0.75], [0.875]]
    assert chunks[0].samples.dtype == np.float32
    assert [chunk.t_ns - 100 * SECOND_NS for chunk in chunks] == [1_125_000_000, 2_000_000_000]
    assert rig.strap.tracks == ("ibi",)
    assert rig.say(3.0, encode(75)) == []  # no beat ended


def notifications(beats_s: np.ndarray, rng: np.random.Generator, *, lost: float = 0.0) -> list[tuple[float, list[float]]]:
    """(arrival, intervals in whole ticks) of a strap that speaks once a second over a radio that delays by up to 0.3 s."""
    ticks = np.diff(np.rint(beats_s * 1024)) / 1024
    said, first = [], 0
    for t_s in np.arange(np.ceil(beats_s[0]), beats_s[-1], 1.0):
        last = int(np.searchsorted(beats_s[1:], t_s))
        if last > first and rng.random() >= lost:
            said.append((float(t_s + rng.exponential(0.05) + (0.25 if rng.random() < 0.1 else 0.0)), ticks[first:last].tolist()))
        first = last
    return said


@given(st.integers(0, 50), st.floats(0.45, 1.3))
def test_the_sum_of_intervals_is_kept_while_arrivals_jitter(seed: int, length_s: float):
    rng = np.random.default_rng(seed)
    beats_s = 10.0 + np.cumsum(rng.uniform(0.9, 1.1, 200) * length_s)
    times, ends_ns, lengths_s, arrivals = IntervalTimes(), [], [], []
    for arrival_s, intervals_s in notifications(beats_s, rng):
        ends_ns += times.place(round(arrival_s * 1e9), intervals_s)
        arrivals += [arrival_s] * len(intervals_s)
        lengths_s += intervals_s
    assert (np.diff(ends_ns) > 0).all()
    assert (np.array(ends_ns) / 1e9 <= np.array(arrivals) + 1e-9).all()
    # The chain is set back when a notification comes sooner after its beat than any before: ever more seldom.
    broken = np.abs(np.diff(ends_ns) / 1e9 - lengths_s[1:]) > 1e-6
    assert broken.sum() <= 2 * times.jumps
    assert times.jumps <= 20
    late_s = np.array(ends_ns) / 1e9 - beats_s[1:][: len(ends_ns)]
    assert late_s.min() > -0.01 and late_s.max() < length_s * 1.1 + 0.8
    assert late_s[-1] < 0.5 + length_s / 2


def test_lost_notifications_make_a_gap_and_not_another_pace():
    rng = np.random.default_rng(4)
    beats_s = 10.0 + np.cumsum(np.full(400, 0.75))
    times, tracker = IntervalTimes(), IntervalTracker()
    for arrival_s, intervals_s in notifications(beats_s, rng, lost=0.08):
        for end_ns, interval_s in zip(times.place(round(arrival_s * 1e9), intervals_s), intervals_s, strict=True):
            tracker.push(end_ns, 1.0, np.array([interval_s]))
    assert times.jumps > 2
    rates = [second.heart_rate_bpm for second in tracker.seconds][5:]
    assert max(rates) - min(rates) < 0.2
    assert abs(tracker.passed_s - beats_s[-1]) < 3.0


def test_a_burst_after_a_delay_never_goes_back_nor_into_the_future():
    times = IntervalTimes()
    ends_ns = times.place(10 * SECOND_NS, [0.8])
    for _ in range(3):
        ends_ns += times.place(10 * SECOND_NS + 1000, [0.8, 0.8])
    assert all(one < other <= 10 * SECOND_NS + 2000 for one, other in itertools.pairwise(ends_ns))


def test_without_contact_there_are_no_chunks_and_later_ones_do_not_follow_from_those_before(rigs):
    rig = rigs()
    rig.say(1.0, encode(60, [1.0], contact=True))
    assert rig.strap.contact is True
    for at_s in (2.0, 3.0, 4.0, 5.0, 6.0, 7.0):
        assert rig.say(at_s, encode(60, [1.0], contact=False)) == []
    assert rig.strap.contact is False
    assert rig.strap.trouble == "heart rate strap Belt 7: it feels no skin; wet its electrodes"
    (chunk,) = rig.say(8.0, encode(60, [1.0], contact=True))
    assert chunk.t_ns == 108 * SECOND_NS
    assert rig.strap.trouble is None


def test_a_strap_without_rr_gives_its_rate_at_each_notification_and_says_so(rigs, caplog: pytest.LogCaptureFixture):
    rig = rigs()
    with caplog.at_level(logging.WARNING, "affectkit"):
        chunks = [rig.say(at_s, encode(80)) for at_s in range(1, 7)]
    assert [len(piece) for piece in chunks] == [0, 0, 1, 1, 1, 1]
    assert [(piece[0].t_ns - 100 * SECOND_NS, piece[0].samples.tolist()) for piece in chunks[2:]] == [
        (at_s * SECOND_NS, [0.75]) for at_s in range(3, 7)
    ]
    assert rig.strap.averaged
    assert [record.getMessage() for record in caplog.records if "no RR intervals" in record.getMessage()]
    assert rig.say(7.0, encode(0)) == []


def test_five_silent_seconds_are_an_error(rigs):
    rig = rigs()
    rig.say(1.0, encode(60, [1.0]))
    with pytest.raises(SensorError, match=r"^heart rate strap Belt 7: nothing from it for 5 s"):
        rig.strap.read()
    assert rig.clock.now_ns() == 106 * SECOND_NS


def test_a_strap_that_goes_is_an_error_after_what_it_sent_was_read(rigs):
    rig = rigs()
    rig.client.say(encode(60, [1.0]))
    rig.client.vanish()
    assert rig.strap.read() is not None
    with pytest.raises(SensorError, match="disconnected"):
        rig.strap.read()


def test_close_disconnects_ends_the_thread_and_cuts_a_read_short(rigs):
    rig = rigs()
    assert rig.client.is_connected
    rig.strap.close()
    assert not rig.client.is_connected
    assert rig.strap.read() is None
    assert not [thread for thread in threading.enumerate() if thread.name == "bluetooth Belt 7"]
    rig.strap.close()


@pytest.mark.parametrize("wanted", ["belt 7", "aa:bb:cc:dd:ee:ff", "any", " Belt 7 "])
def test_a_strap_is_found_by_name_address_or_service(rigs, wanted: str):
    rig = rigs(wanted)
    assert rig.client.device.address == "AA:BB:CC:DD:EE:FF"
    assert rig.bleak.scans_s == [15.0]


def test_a_strap_out_of_reach_is_an_error_and_leaves_no_thread():
    strap = HeartStrap("Other", ManualClock(), bleak=FakeBleak())
    with pytest.raises(SensorError, match=r"^heart rate strap Other: not found within 15 s"):
        strap.open()
    assert not [thread for thread in threading.enumerate() if thread.name == "bluetooth Other"]


@pytest.mark.parametrize("error", [OSError("no adapter"), RuntimeError("org.bluez.Error.NotReady")])
def test_what_bluetooth_refuses_is_an_error_that_says_what_to_do(error: Exception):
    strap = HeartStrap("Belt 7", ManualClock(), bleak=FakeBleak(refuses=error))
    with pytest.raises(SensorError, match=r"bluetoothctl power on$"):
        strap.open()


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "bleak", None)
    with pytest.raises(SensorError, match=r"pip install 'affectkit\[sensors\]'"):
        HeartStrap("Belt 7", ManualClock()).open()


def test_the_fake_takes_the_calls_that_bleak_takes():
    bleak = pytest.importorskip("bleak", reason="bleak is not installed: pip install bleak")
    fake = FakeBleak()
    assert isinstance(bleak, types.ModuleType)
    for real, made in (
        (bleak.BleakScanner.find_device_by_filter, fake.BleakScanner.find_device_by_filter),
        (bleak.BleakClient.__init__, fake.BleakClient.__init__),
        (bleak.BleakClient.connect, fake.BleakClient.connect),
        (bleak.BleakClient.start_notify, fake.BleakClient.start_notify),
        (bleak.BleakClient.disconnect, fake.BleakClient.disconnect),
    ):
        theirs, ours = inspect.signature(real).parameters, inspect.signature(made).parameters
        for name, parameter in ours.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                assert theirs[name].kind == parameter.kind, (real, name)
        assert inspect.iscoroutinefunction(made) == inspect.iscoroutinefunction(inspect.unwrap(real))
    fields = set(bleak.backends.scanner.AdvertisementData._fields)
    assert {"local_name", "service_uuids"} <= fields
    assert {"address", "name"} <= set(bleak.BleakScanner.find_device_by_filter.__globals__["BLEDevice"].__slots__)
