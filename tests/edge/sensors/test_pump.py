from __future__ import annotations

import logging
import queue
import threading

import numpy as np
import pytest

from edge.clock import ManualClock, SystemClock
from edge.errors import SensorError
from edge.sensors.pump import Inbox, Pump
from edge.types import Chunk


def chunk(track: str, t_ns: int) -> Chunk:
    return Chunk(track, t_ns, 4.0, np.zeros(1, np.float32))


class Wire:
    """A sensor that delivers what is put on its wire; an exception on it is raised, None ends it."""

    live = True
    duration_ns = None
    planned = ()

    def __init__(self, *tracks: str):
        self.tracks, self.wire, self.closed = tracks, queue.Queue(), threading.Event()

    def open(self) -> None: ...

    def read(self) -> Chunk | None:
        item = self.wire.get(timeout=10)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed.set()
        self.wire.put(None)


def ended(pump: Pump) -> None:
    pump._thread.join(10)
    assert pump.ended


def test_a_full_queue_loses_the_oldest_of_that_track_and_counts_it():
    inbox = Inbox(3)
    inbox.put(chunk("ppg", 0))
    for t_ns in range(1, 8):
        inbox.put(chunk("video", t_ns))
    assert [(c.track, c.t_ns) for c in inbox.take()] == [("ppg", 0), ("video", 5), ("video", 6), ("video", 7)]
    assert inbox.dropped == {"video": 4, "audio": 0, "ppg": 0, "ibi": 0, "eda": 0}
    assert inbox.take() == []


def test_a_wait_ends_when_something_came_or_at_its_time():
    inbox, clock = Inbox(3), ManualClock()
    inbox.wait(clock, 100)
    assert clock.now_ns() == 100
    inbox.put(chunk("ppg", 0))
    inbox.wait(clock, 200)
    assert clock.now_ns() == 100
    inbox.take()
    inbox.wait(clock, 200)
    assert clock.now_ns() == 200


@pytest.mark.parametrize("error", [SensorError("camera: unplugged"), ZeroDivisionError("a driver's bug")])
def test_a_sensor_that_fails_is_lost_and_the_others_go_on(error, caplog):
    inbox, bad, good = Inbox(8), Wire("video"), Wire("ppg", "eda")
    pumps = [Pump(bad, inbox), Pump(good, inbox)]
    for pump in pumps:
        pump.start()
    with caplog.at_level(logging.WARNING, "affectkit"):
        bad.wire.put(error)
        ended(pumps[0])
    good.wire.put(chunk("ppg", 1))
    good.wire.put(None)
    ended(pumps[1])
    assert [c.track for c in inbox.take()] == ["ppg"]
    assert str(error) in str(pumps[0].lost) and pumps[1].lost is None
    assert len(caplog.records) == 1


def test_stopping_closes_the_sensor_and_is_no_loss():
    inbox, sensor = Inbox(8), Wire("audio")
    pump = Pump(sensor, inbox)
    pump.start()
    pump.stop()
    assert sensor.closed.is_set() and pump.ended and pump.lost is None


def test_a_pump_wakes_the_consumer_when_its_sensor_ends():
    inbox, sensor = Inbox(8), Wire("audio")
    pump = Pump(sensor, inbox)
    sensor.wire.put(None)
    pump.start()
    clock = SystemClock()
    began_ns = clock.now_ns()
    inbox.wait(clock, began_ns + 10_000_000_000)
    assert clock.now_ns() - began_ns < 9_000_000_000
