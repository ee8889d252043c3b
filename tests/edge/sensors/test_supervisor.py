from __future__ import annotations

import queue
import threading

import numpy as np
import pytest

from edge.clock import ManualClock
from edge.errors import SensorError
from edge.sensors.pump import Inbox
from edge.sensors.supervisor import LONGEST_WAIT_NS, PROVEN_NS, Sources, Supervised
from edge.types import Chunk

MS = 1_000_000


class Device:
    """Sensors of one device: each ``Sensor()`` made of it is a new handle; ``fails`` are what its next openings raise."""

    def __init__(self, track: str = "video", silent_after_ms: int | None = 2000):
        self.track, self.silent_after_ms = track, silent_after_ms
        self.fails: list[SensorError] = []
        self.handles: list[Handle] = []

    def __call__(self) -> Handle:
        self.handles.append(Handle(self))
        return self.handles[-1]


class Handle:
    live, duration_ns, planned = True, None, ()

    def __init__(self, device: Device):
        self.device, self.tracks, self.silent_after_ms = device, (device.track,), device.silent_after_ms
        self.wire: queue.Queue = queue.Queue()
        self.opened, self.closed = threading.Event(), threading.Event()
        self.trouble: str | None = None

    def open(self) -> None:
        if self.device.fails:
            raise self.device.fails.pop(0)
        self.opened.set()

    def read(self) -> Chunk | None:
        item = self.wire.get(timeout=10)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed.set()


def chunk(track: str = "video") -> Chunk:
    return Chunk(track, 0, 4.0, np.zeros((1, 2, 2), np.uint8))


class Bench:
    """One supervised device under a clock that only moves when told to; its thread is waited for, never slept for."""

    def __init__(self, device: Device):
        self.device, self.clock, self.inbox = device, ManualClock(), Inbox(8)
        self.source = Supervised(device(), device, self.inbox, self.clock)

    def begin(self) -> None:
        self.source.open()
        self.source.start()

    @property
    def handle(self) -> Handle:
        return self.device.handles[-1]

    def deliver(self):
        before = self.source._pump.delivered
        self.handle.wire.put(chunk())
        self.until(lambda: self.source._pump.delivered > before)
        return self.source.tend(self.clock.now_ns())

    def fail(self, why: str):
        pump = self.source._pump
        self.handle.wire.put(SensorError(why))
        pump._thread.join(10)
        return self.source.tend(self.clock.now_ns())

    def pass_ms(self, ms: float) -> None:
        self.clock.advance_to(self.clock.now_ns() + round(ms * MS))

    @staticmethod
    def until(condition) -> None:
        waited = threading.Event()
        for _ in range(2_000):
            if condition():
                return
            waited.wait(0.005)
        raise AssertionError("did not happen within ten seconds")


def test_a_source_that_fails_is_opened_anew_after_a_wait_and_says_when_it_is_back():
    bench = Bench(Device())
    bench.begin()
    assert bench.deliver() is None
    news = bench.fail("camera: unplugged")
    assert (news.tracks, news.lost) == (("video",), "camera: unplugged")
    assert bench.source.tend(bench.clock.now_ns()) is None and len(bench.device.handles) == 1, "not at once"
    bench.pass_ms(200)
    bench.source.tend(bench.clock.now_ns())
    assert len(bench.device.handles) == 2 and bench.source.lost == "camera: unplugged", "lost until something comes"
    back = bench.deliver()
    assert back.lost is None and bench.source.lost is None and bench.source.reopened == 1
    bench.source.stop()


def test_while_it_stays_away_the_waits_double_up_to_six_tenths_of_a_second_and_the_news_come_once():
    device = Device()
    bench = Bench(device)
    bench.begin()
    device.fails = [SensorError("camera: not there")] * 7
    bench.fail("camera: unplugged")
    opened_ms, told = [], []
    for _ in range(1_000):
        bench.pass_ms(10)
        handles = len(device.handles)
        news = bench.source.tend(bench.clock.now_ns())
        if len(device.handles) > handles:
            opened_ms.append(bench.clock.now_ns() // MS)
            bench.source._pump._thread.join(10) if device.fails else None
        if news is not None:
            told.append(news.lost)
    waits = [b - a for a, b in zip([0, *opened_ms], opened_ms, strict=False)]
    assert waits[:4] == pytest.approx([200, 400, 600, 600], abs=25) and max(waits[:8]) <= LONGEST_WAIT_NS / MS + 25
    assert told.count("camera: not there") == 1
    bench.source.stop()


def test_a_source_that_hangs_is_given_up_after_its_silence_and_its_late_chunks_do_not_count():
    bench = Bench(Device())
    bench.begin()
    bench.deliver()
    hung = bench.handle
    bench.inbox.take()
    bench.pass_ms(1_990)
    assert bench.source.tend(bench.clock.now_ns()) is None
    bench.pass_ms(20)
    news = bench.source.tend(bench.clock.now_ns())
    assert "video: nothing for 2 s" in news.lost and hung.closed.wait(10)
    bench.pass_ms(300)
    bench.source.tend(bench.clock.now_ns())
    assert bench.handle is not hung
    hung.wire.put(chunk())
    assert bench.deliver().lost is None
    assert len(bench.inbox.take()) == 1, "only the new handle's"
    bench.source.stop()


def test_a_sensor_that_may_be_silent_is_left_alone():
    bench = Bench(Device(silent_after_ms=None))
    bench.begin()
    bench.pass_ms(100_000)
    assert bench.source.tend(bench.clock.now_ns()) is None and len(bench.device.handles) == 1
    bench.source.stop()


def test_a_sensor_that_mends_itself_is_named_while_in_trouble_and_not_reopened():
    bench = Bench(Device(silent_after_ms=None))
    bench.begin()
    bench.handle.trouble = "max30102 on bus 1: no answer"
    assert bench.source.tend(0).lost == "max30102 on bus 1: no answer"
    assert bench.source.tend(0) is None, "once"
    bench.handle.trouble = None
    assert bench.deliver().lost is None and bench.source.reopened == 0
    bench.source.stop()


def test_after_it_has_proven_itself_the_first_wait_is_short_again():
    bench = Bench(Device())
    bench.begin()
    for _ in range(3):
        bench.fail("gone")
        bench.pass_ms(LONGEST_WAIT_NS / MS)
        bench.source.tend(bench.clock.now_ns())
    bench.deliver()
    bench.clock.advance_to(bench.clock.now_ns() + PROVEN_NS + MS)
    bench.deliver()
    bench.fail("gone")
    handles = len(bench.device.handles)
    bench.pass_ms(210)
    bench.source.tend(bench.clock.now_ns())
    assert len(bench.device.handles) == handles + 1
    bench.source.stop()


def test_one_that_cannot_be_opened_at_the_start_is_tried_again_while_others_run():
    bad, good = Device("video"), Device("audio")
    bad.fails = [SensorError("camera: busy")]
    clock, inbox = ManualClock(), Inbox(8)
    sources = Sources([Supervised(device(), device, inbox, clock) for device in (bad, good)])
    assert [news.lost for news in sources.open()] == ["camera: busy"]
    sources.start()
    clock.advance_to(300 * MS)
    sources.tend(clock.now_ns())
    assert bad.handles[-1].opened.wait(10) and sources.tracks == {"video", "audio"}
    sources.stop()


def test_with_none_that_opens_the_run_does_not_begin():
    device = Device()
    device.fails = [SensorError("camera: busy")]
    sources = Sources([Supervised(device(), device, Inbox(8), ManualClock())])
    with pytest.raises(SensorError, match="camera: busy"):
        sources.open()


def test_many_failures_leave_no_thread_behind():
    bench = Bench(Device())
    bench.begin()
    before = threading.active_count()
    for _ in range(20):
        bench.fail("gone")
        bench.pass_ms(LONGEST_WAIT_NS / MS)
        bench.source.tend(bench.clock.now_ns())
        bench.deliver()
    bench.until(lambda: threading.active_count() <= before)
    bench.source.stop()
