"""Sound from a microphone, over PyAudio: 16 kHz mono with true times; what was lost is a gap in time, and counted."""

from __future__ import annotations

import collections
import collections.abc
import logging
import threading
import typing

import numpy as np

from edge.clock import Clock
from edge.errors import SensorError
from edge.sensors import PlannedAbsence
from edge.sensors.portaudio import (
    INT16,
    Audio,
    Buffer,
    Intake,
    MicrophoneInfo,
    find_input,
    inputs,
    microphones,
    pyaudio,
    quiet_turn,
    turn,
)
from edge.sensors.resampler import STEPS, Resampler, in_16_bits
from edge.sensors.settings import MicrophoneSettings
from edge.sensors.stream_clock import SECOND_NS, StreamClock
from edge.types import Chunk, Track

__all__ = ["Microphone", "microphones"]

log = logging.getLogger("affectkit")

MS = 1_000_000
RATE_HZ = 16_000
CHUNK_SAMPLES = 1_600
"""100 ms, the same as of a recorded session's chunks."""
BUFFERS_PER_S = 50
QUEUE_S = 2
"""What may wait to be read; the oldest is dropped, and counted, when more comes."""
SILENT_NS, SILENT_AT_START_NS = 2_000 * MS, 5_000 * MS
"""Without a call-back for this long it counts as gone; a sound server may take two seconds to start a source."""
LOOK_EVERY_NS = 250 * MS
SETTLE_NS = 250 * MS
"""What is held back at the start and after a loss: the least late of these call-backs says where in time the samples belong."""
SUSPECT_NS, CONVICT_NS = 100 * MS, 500 * MS
"""A call-back that much late has either waited for its turn, and those behind it catch up, or samples were lost without a word: that is
believed if none catches up for so long. Drivers name what they lose; a sound server may not, and may also come to deliver later by tens
of milliseconds without losing anything, so less than this is not called a loss and followed slowly."""
TRANSPORT_SLACK_NS = 100 * MS
"""Beyond the latency that PortAudio states of a stream, no capture time is believed: PulseAudio's are off by half a second at first
and catch up without a sample coming faster."""
CLOSE_WITHIN_S = 1.4


class Microphone:
    """Track ``audio``: float32 chunks of 100 ms in [-1, 1), in steps of 1/32768, at 16 kHz; a chunk before a gap may be shorter.

    Chunks follow each other to within a sample unless samples were lost; then the next begins where time really is.

    Args:
        device: "default", an index, or a part of the device's name.
        clock: stamps the samples.
        settings: the defaults if None.
        audio: starts PortAudio; PyAudio if not given.
    """

    tracks: tuple[Track, ...] = ("audio",)
    live = True
    silent_after_ms = 8_000
    """It notices silence itself, much sooner; this is for a driver that hangs where it should not."""
    duration_ns: int | None = None
    planned: collections.abc.Sequence[PlannedAbsence] = ()

    def __init__(
        self,
        device: str,
        clock: Clock,
        settings: MicrophoneSettings | None = None,
        *,
        audio: typing.Callable[[], Audio] = pyaudio,
    ):
        self.overflows = 0
        """Times that samples were lost: by PortAudio's word, by a reader that came too late, or without a word."""
        self.lost_ms = 0.0
        """How long what was lost lasted, in all."""
        self.info: MicrophoneInfo | None = None
        """The device, once open."""
        self.native_rate_hz = 0
        self._device, self._clock, self._settings = device, clock, settings or MicrophoneSettings()
        self._start = audio
        self._audio: Audio = None
        self._stream: typing.Any = None
        self._closed = threading.Event()
        self._turn = threading.Lock()  # held while the stream is asked or taken away
        self._ready: collections.deque[Chunk] = collections.deque()
        self._held: list[Buffer] = []  # not yet placed in time
        self._anchored = False
        self._transport_ns: int | None = None  # from the device to the call-back, beyond the length of a buffer
        self._next = 0  # number of the native sample expected next
        self._run = 0  # number of the native sample at which this run began
        self._given = 0  # output samples of this run given out
        self._made = np.zeros(0, np.float32)  # those not yet given out
        self._end_ns: int | None = None  # when the sample behind the last one given out would be due

    def open(self) -> None:
        """Raises SensorError: PyAudio or soxr is missing, no such device, or it cannot capture as asked."""
        with quiet_turn():
            self._audio = self._start()
            try:
                self.info = find_input(self._device, inputs(self._audio))
                self._open_stream(self.info)
            except SensorError:
                self._audio.terminate()
                self._audio = None
                raise
        with self._turn:
            closed_meanwhile = self._closed.is_set()
        if closed_meanwhile:
            self._give_back()

    def _open_stream(self, info: MicrophoneInfo) -> None:
        settings = self._settings
        if settings.channel >= info.channels:
            raise SensorError(f"microphone {info}: no channel {settings.channel}; it has {info.channels}, set microphone.channel")
        self.native_rate_hz = rate_hz = settings.native_rate_hz or info.rate_hz
        self._resampler = Resampler(rate_hz, RATE_HZ)
        self._times = StreamClock(rate_hz)
        self._intake = Intake(self._clock, rate_hz, QUEUE_S * BUFFERS_PER_S)
        try:
            stream = self._audio.open(
                rate=rate_hz,
                channels=settings.channel + 1,
                format=INT16,
                input=True,
                input_device_index=info.index,
                frames_per_buffer=rate_hz // BUFFERS_PER_S,
                stream_callback=self._intake,
            )
        except (OSError, ValueError) as error:
            raise SensorError(
                f"microphone {info}: cannot capture at {rate_hz} Hz: {error}; is another program using it? "
                "or set microphone.native_rate_hz to a rate that it has, such as 48000 or 44100"
            ) from error
        self._stream, self._stream_latency_s = stream, stream.get_input_latency()
        self._intake.heard_ns = self._clock.now_ns()

    def read(self) -> Chunk | None:
        if self.info is None:
            raise SensorError("microphone: read before it was opened; call open() first")
        while not self._ready:
            if self._closed.is_set():
                return None
            buffers = self._intake.take()
            for buffer in buffers:
                self._take(buffer)
            if not buffers:
                self._look()
        return None if self._closed.is_set() else self._ready.popleft()

    def close(self) -> None:
        if self._closed.is_set():
            return
        with self._turn:
            self._closed.set()
        if self._stream is None:
            return
        self._intake.ended = True
        self._intake.wake.set()
        # A driver whose device is gone may hang in this: then it is left behind.
        closing = threading.Thread(target=self._give_back, name="close microphone", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)
        if closing.is_alive():
            log.warning("microphone %s: its driver did not let go within %.1f s and is left behind", self.info, CLOSE_WITHIN_S)

    def _give_back(self) -> None:
        with self._turn:
            audio, stream = self._audio, self._stream
            self._audio = self._stream = None
        if audio is None:
            return
        with turn():
            try:
                if stream is not None:
                    stream.close()
            except OSError as error:  # what a device that is gone says when it is closed
                log.debug("microphone %s: %s", self.info, error)
            audio.terminate()

    def _look(self) -> None:
        """Wait for a call-back; SensorError if none has come for long, or the stream has ended."""
        patience_ns = SILENT_NS if self._anchored or self._held else SILENT_AT_START_NS
        now_ns, silent_ns = self._clock.now_ns(), self._intake.heard_ns + patience_ns
        if now_ns >= silent_ns:
            raise SensorError(f"microphone {self.info}: no sound for {patience_ns / SECOND_NS:g} s; is it unplugged?")
        with self._turn:
            if self._stream is None:
                return
            try:
                active = self._stream.is_active()
            except OSError:
                active = False
        if not active and not self._closed.is_set() and not self._intake.wake.is_set():
            raise SensorError(f"microphone {self.info}: the stream has ended; is it unplugged?")
        self._clock.wait(self._intake.wake, min(silent_ns, now_ns + LOOK_EVERY_NS))

    def _take(self, buffer: Buffer) -> None:
        """Place a buffer in time, or hold it back until that can be done."""
        if buffer.overflow and (self._anchored or self._held):  # what was lost before the first buffer is nobody's
            for held in self._held if self._anchored else ():
                self._feed(held)  # suspected, and now there is a word for it
            if not self._anchored and self._held:
                self._anchor()
            self._held, self._anchored = [], False
            self.overflows += 1
        late_ns = self._times.late_ns(buffer.first, self._latest_ns(buffer)) if self._anchored else 0
        if self._anchored and not self._held and late_ns <= SUSPECT_NS:
            self._times.observe(buffer.first, self._latest_ns(buffer))
            self._feed(buffer)
            return
        self._held.append(buffer)
        if self._anchored and late_ns <= SUSPECT_NS:
            # They catch up: it was the host that was late, not the sound.
            for held in self._held:
                self._feed(held)
            self._held = []
            return
        begin = self._held[0]
        streamed_ns = (buffer.first + buffer.frames - begin.first) * SECOND_NS / self.native_rate_hz
        if min(streamed_ns, buffer.arrived_ns - begin.arrived_ns) >= (CONVICT_NS if self._anchored else SETTLE_NS):
            self.overflows += self._anchored
            self._anchor()

    def _anchor(self) -> None:
        """Say where in time the buffers held back belong, and begin a new run with them."""
        held, self._held = self._held, []
        self._cut()
        if self._transport_ns is None:
            self._transport_ns = self._transport(held)
        first, period_ns = held[0].first, SECOND_NS / self._times.rate_hz
        t_ns = min(self._latest_ns(buffer) - round((buffer.first - first) * period_ns) for buffer in held)
        if self._end_ns is not None:
            t_ns = max(t_ns, self._end_ns)
            self.lost_ms += (t_ns - self._end_ns) / MS
        self._times.anchor(first, t_ns)
        self._anchored = True
        self._next = self._run = first
        for buffer in held:
            self._times.observe(buffer.first, self._latest_ns(buffer))
            self._feed(buffer)

    def _transport(self, held: collections.abc.Sequence[Buffer]) -> int:
        """How long sound takes from the device to the call-back, by the stream's capture times; 0 if they cannot be believed.

        Only this once: who trusted them buffer by buffer would take an error that goes away for sound that was lost.
        """
        most_ns = round(self._stream_latency_s * SECOND_NS) + TRANSPORT_SLACK_NS
        beyond = [(buffer.age_ns or 0) - self._length_ns(buffer) for buffer in held]
        return max(0, min(beyond)) if max(beyond) <= most_ns and all(buffer.age_ns is not None for buffer in held) else 0

    def _latest_ns(self, buffer: Buffer) -> int:
        """When the first sample of a buffer was taken, or earlier by as much as its call-back came late."""
        return buffer.arrived_ns - self._length_ns(buffer) - (self._transport_ns or 0)

    def _length_ns(self, buffer: Buffer) -> int:
        return round(buffer.frames * SECOND_NS / self.native_rate_hz)

    def _feed(self, buffer: Buffer) -> None:
        """Resample what is placed in time."""
        if buffer.first != self._next:
            # Dropped from the queue: how much is known to the sample, and the device's clock went on.
            self._cut()
            self.overflows += 1
            self.lost_ms += (buffer.first - self._next) * 1000 / self._times.rate_hz
            self._run = buffer.first
        self._next = buffer.first + buffer.frames
        channels = self._settings.channel + 1
        heard = np.frombuffer(buffer.data, "<i2").reshape(-1, channels)[:, self._settings.channel]
        self._make(self._resampler.push(heard / np.float32(STEPS)))

    def _make(self, samples: np.ndarray) -> None:
        self._made = np.concatenate([self._made, in_16_bits(samples)])
        while len(self._made) >= CHUNK_SAMPLES:
            self._give(CHUNK_SAMPLES)

    def _give(self, count: int) -> None:
        """A chunk of the next ``count`` samples."""
        t_ns = self._times.time_of(self._place(self._given))
        samples, self._made = self._made[:count].copy(), self._made[count:]
        self._given += count
        self._ready.append(Chunk("audio", t_ns, float(RATE_HZ), samples))
        self._times.steer(self._place(self._given))
        self._end_ns = self._times.time_of(self._place(self._given))

    def _place(self, given: int) -> float:
        """Number of the native sample at which output sample ``given`` of this run lies."""
        return self._run + given * self.native_rate_hz / RATE_HZ

    def _cut(self) -> None:
        """End the run: all that is left of it goes out."""
        self._make(self._resampler.flush())
        if len(self._made):
            self._give(len(self._made))
        self._given = 0
