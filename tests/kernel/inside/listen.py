"""A sensor read in a thread, so that a check can wait for what it says and for what is wrong with it."""

from __future__ import annotations

import threading
import time
import typing

from edge.errors import SensorError
from edge.sensors import Sensor
from edge.types import Chunk


class Listener:
    """``sensor`` is opened on entering, read until leaving, and closed then."""

    def __init__(self, sensor: Sensor):
        self.sensor: typing.Any = sensor
        self.chunks: list[Chunk] = []
        self.error: SensorError | None = None
        """What ended the reading."""
        self._thread = threading.Thread(target=self._read, name="listener", daemon=True)

    def __enter__(self) -> Listener:
        self.sensor.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sensor.close()
        self._thread.join(5.0)
        assert not self._thread.is_alive(), "close did not end the reading"

    def _read(self) -> None:
        try:
            while (chunk := self.sensor.read()) is not None:
                self.chunks.append(chunk)
        except SensorError as error:
            self.error = error

    @property
    def seconds(self) -> float:
        """How much was delivered."""
        return sum(len(chunk.samples) / chunk.rate_hz for chunk in self.chunks)

    def wait(self, until: typing.Callable[[Listener], object], most_s: float) -> float:
        """Until ``until(self)`` holds; how many seconds that took. It must be within ``most_s``."""
        begun_s = time.monotonic()
        while not until(self):
            state = f"delivered {self.seconds:.1f} s, error {self.error}, trouble {getattr(self.sensor, 'trouble', None)}"
            assert time.monotonic() < begun_s + most_s, f"did not come to pass within {most_s} s; {state}"
            time.sleep(0.05)
        return time.monotonic() - begun_s
