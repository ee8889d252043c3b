from __future__ import annotations

import threading

import pytest
from tiny import Recording

from edge.clock import ManualClock
from edge.errors import ConfigError, SensorError, SessionError
from edge.inference.scheduler import MS
from edge.sensors import open_sensor
from edge.sensors.replay import Replay


def recording(duration_s: float = 1.0) -> Recording:
    return Recording(duration_s, ppg=lambda t: t, audio=lambda t: t, video=lambda t: t)


def chunks_of(sensor: Replay) -> list:
    sensor.open()
    return list(iter(sensor.read, None))


def test_chunks_come_when_their_last_sample_would_have_been_captured():
    ends = [(chunk.end_ns, chunk.track) for chunk in chunks_of(Replay(recording(), ManualClock()))]
    assert ends == sorted(ends, key=lambda end: end[0])
    assert len(ends) == 4 + 10 + 4
    assert ends[0][1] == "video", "a frame is there at once, 100 ms of sound after 100 ms"


def test_it_keeps_pace_with_the_clock_and_counts_from_its_opening():
    clock = ManualClock(5000 * MS)
    sensor = Replay(recording(), clock)
    sensor.open()
    while (chunk := sensor.read()) is not None:
        assert clock.now_ns() == chunk.end_ns >= 5000 * MS
    assert clock.now_ns() == 6000 * MS, "silence up to the end is part of the session"


def test_the_same_recording_replays_to_the_same_chunks():
    one, other = (chunks_of(Replay(recording(), ManualClock())) for _ in range(2))
    assert [(c.t_ns, c.track, c.samples.tobytes()) for c in one] == [(c.t_ns, c.track, c.samples.tobytes()) for c in other]


def test_closing_cuts_a_wait_short():
    class Waiting:
        """A clock whose waits last until somebody wakes them."""

        def __init__(self):
            self.entered = threading.Event()

        def now_ns(self):
            return 0

        def wait(self, wake, until_ns):
            self.entered.set()
            return wake.wait(10)

    clock = Waiting()
    sensor, got = Replay(recording(), clock), []
    sensor.open()
    reader = threading.Thread(target=lambda: got.append(sensor.read()))
    reader.start()
    assert clock.entered.wait(10)
    sensor.close()
    reader.join(10)
    assert got == [None]


def test_reading_before_opening_is_an_error():
    with pytest.raises(SensorError, match="call open"):
        Replay(recording(), ManualClock()).read()


@pytest.mark.parametrize("source", ["webcam:0", "session.zip", "", ":"])
def test_an_unknown_kind_of_source_names_the_known_ones(source):
    with pytest.raises(ConfigError, match=r"known: ads1115:\.\.\., .*replay:\.\.\., "):
        open_sensor(source, ManualClock())


def test_a_source_needs_something_after_the_colon():
    with pytest.raises(ConfigError, match="replay:PATH"):
        open_sensor("replay:", ManualClock())


def test_a_recording_that_is_not_there_is_a_session_error(tmp_path):
    with pytest.raises(SessionError, match=r"nothing\.zip"):
        open_sensor(f"replay:{tmp_path}/nothing.zip", ManualClock())
