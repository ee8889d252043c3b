"""A sound card behind a stand-in for PyAudio that behaves like PortAudio: call-backs at their time, under a clock of the test's own."""

from __future__ import annotations

import heapq
import itertools
import threading
import typing

import numpy as np

from edge.clock import ManualClock

SECOND_NS = 1_000_000_000
START_NS = 7_000 * SECOND_NS
STREAM_AHEAD_S = 1_234.5
"""The stream's clock is another one than the host's."""


class CaptureClock(ManualClock):
    """What is to happen happens while somebody waits, at its time."""

    def __init__(self) -> None:
        super().__init__(START_NS)
        self._events: list[tuple[int, int, typing.Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, t_ns: int, event: typing.Callable[[], None]) -> None:
        heapq.heappush(self._events, (t_ns, next(self._order), event))

    @property
    def now_s(self) -> float:
        return (self.now_ns() - START_NS) / SECOND_NS

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        while not wake.is_set() and self._events and self._events[0][0] <= until_ns:
            self.busy_until(self._events[0][0])
        return super().wait(wake, until_ns)

    def busy_until(self, t_ns: int) -> None:
        """Time passes while nobody reads."""
        while self._events and self._events[0][0] <= t_ns:
            at_ns, _, event = heapq.heappop(self._events)
            self.advance_to(at_ns)
            event()
        self.advance_to(t_ns)


Sound = typing.Callable[[np.ndarray], np.ndarray]
"""Numbers of samples since the device began, int64 (n,) -> int16 (n,)."""


def numbers(count: np.ndarray) -> np.ndarray:
    """Every sample says which one it is, modulo 60000."""
    return (count % 60_000 - 30_000).astype(np.int16)


class SoundCard:
    """One or more devices; ``open`` gives a stream of the first sound, as PyAudio does.

    Args:
        clock: of host and test.
        rate_hz: what the device says it has.
        sound: what it hears.
        drift_ppm: how much faster its crystal is.
        late_ms: of call-back ``i``, how late it comes.
        transport_ms: how long sound takes to the driver.
        adc: what its capture times are: true, zero, far off, or half a second off and less and less, as PulseAudio's.
        lost: (from, to) numbers of samples that never arrive, and whether PortAudio says so.
        ends_s: no call-back after this time; ``vanishes``: and the stream is no longer active.
    """

    def __init__(
        self,
        clock: CaptureClock,
        *,
        rate_hz: int = 16_000,
        sound: Sound = numbers,
        drift_ppm: float = 0.0,
        late_ms: typing.Callable[[int], float] = lambda i: 0.0,
        transport_ms: float = 0.0,
        adc: typing.Literal["true", "zero", "far", "sliding"] = "true",
        lost: typing.Sequence[tuple[int, int, bool]] = (),
        ends_s: float | None = None,
        vanishes: bool = False,
        names: typing.Sequence[tuple[str, int]] = (("HDMI", 0), ("USB PnP Sound Device: Audio (hw:1,0)", 2)),
    ):
        self.true_hz = rate_hz * (1 + drift_ppm * 1e-6)
        self.began_ns = self.lost_samples = 0
        self.opened: dict[str, typing.Any] = {}
        self.terminated = self.closed = False
        self._clock, self._rate_hz, self._sound, self._late_ms, self._adc = clock, rate_hz, sound, late_ms, adc
        self._transport_ns = transport_ms * 1e6
        self._lost, self._ends_s, self._vanishes, self._names = list(lost), ends_s, vanishes, names
        self._active = True

    def __call__(self) -> SoundCard:
        return self

    # --- PyAudio ----------------------------------------------------------------------------------------------------------

    def get_device_count(self) -> int:
        return len(self._names)

    def get_device_info_by_index(self, index: int) -> dict[str, typing.Any]:
        name, channels = self._names[index]
        return {"index": index, "name": name, "maxInputChannels": channels, "defaultSampleRate": float(self._rate_hz)}

    def get_default_input_device_info(self) -> dict[str, typing.Any]:
        for index, (_, channels) in enumerate(self._names):
            if channels:
                return self.get_device_info_by_index(index)
        raise OSError("No Default Input Device Available")

    def open(self, **settings: typing.Any) -> SoundCard:
        if settings["rate"] % 50:
            raise OSError(-9997, "Invalid sample rate")
        self.opened = settings
        self.began_ns = self._clock.now_ns() + 3_000_000
        self._schedule(0, 0, 0)
        return self

    def get_input_latency(self) -> float:
        return 0.04

    def is_active(self) -> bool:
        return self._active

    def close(self) -> None:
        self.closed = True
        self._active = False

    def terminate(self) -> None:
        self.terminated = True

    # --- the device -------------------------------------------------------------------------------------------------------

    def time_of(self, number: float) -> float:
        """When a sample was truly taken, in nanoseconds."""
        return self.began_ns + number * 1e9 / self.true_hz

    def _schedule(self, i: int, number: int, after_ns: int) -> None:
        frames, overflow = self.opened["frames_per_buffer"], False
        if self._lost and number >= self._lost[0][0]:
            _, behind, overflow = self._lost.pop(0)
            self.lost_samples += behind - number
            number = behind
        complete_ns = round(self.time_of(number + frames) + self._transport_ns)
        at_ns = max(after_ns, complete_ns + round(self._late_ms(i) * 1e6))
        if self._ends_s is not None and at_ns > START_NS + self._ends_s * 1e9:
            if self._vanishes:
                self._clock.at(at_ns, self.close)
            return
        self._clock.at(at_ns, lambda: self._call_back(i, number, frames, at_ns, overflow))

    def _call_back(self, i: int, number: int, frames: int, at_ns: int, overflow: bool) -> None:
        if not self._active:
            return
        heard = self._sound(np.arange(number, number + frames))
        channels = self.opened["channels"]
        data = np.zeros((frames, channels), "<i2")
        data[:, -1] = heard
        now_s = at_ns / 1e9 + STREAM_AHEAD_S
        captured_s = {
            "true": self.time_of(number) / 1e9 + STREAM_AHEAD_S,
            "zero": 0.0,
            "far": now_s - 86_400.0,
            "sliding": now_s - max(0.0, min(0.6, 1.0 - i / 50)),
        }[self._adc]
        times = {"input_buffer_adc_time": captured_s, "current_time": now_s, "output_buffer_dac_time": 0.0}
        _, answer = self.opened["stream_callback"](data.tobytes(), frames, times, 2 if overflow else 0)
        if answer == 0:
            self._schedule(i + 1, number + frames, at_ns)
        else:
            self._active = False
