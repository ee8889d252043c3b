"""PortAudio by way of PyAudio: its devices, opened quietly, and call-backs turned into buffers with times.

PortAudio is not thread-safe (its FAQ), so one thread at a time opens or closes.
"""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import dataclasses
import threading
import typing

from edge.clock import Clock
from edge.errors import SensorError
from edge.stderr import without_lines

SECOND_NS = 1_000_000_000
INT16, CONTINUE, COMPLETE, INPUT_OVERFLOW = 8, 0, 1, 2
"""paInt16, paContinue, paComplete and paInputOverflow of portaudio.h, which PyAudio passes on."""
OLDEST_ADC_S = 1.0
"""A capture time further back, or in the future, is none: some ALSA and Pulse back-ends give 0 or another clock's time."""
_TURN = threading.Lock()
_TURN_S = 5.0
_CHATTER = tuple(
    b"ALSA |Cannot connect to server|connect(2) call to|jack server|Jack|JACK|attempt to connect to server|Expression '|Unable to connect"
    b"|bt_audio|aserver".split(b"|")
)
"""How the lines begin that ALSA, JACK and PortAudio write while they look for devices that nobody asked for."""


@dataclasses.dataclass(frozen=True)
class MicrophoneInfo:
    """One device that can capture."""

    index: int
    name: str
    channels: int
    rate_hz: int
    """Its default rate."""
    default: bool
    """Whether "default" means it."""

    def __str__(self) -> str:
        return f"{self.index} {self.name!r}"


class Buffer(typing.NamedTuple):
    """What one call-back brought."""

    first: int
    """Number of its first sample since the stream was opened, dropped ones counted."""
    arrived_ns: int
    age_ns: int | None
    """How long before that, by the stream's own times, the first sample was taken; None where they make no sense."""
    frames: int
    data: bytes
    """int16, channels interleaved."""
    overflow: bool
    """PortAudio lost samples before it, nobody knows how many."""


Audio = typing.Any
"""``pyaudio.PyAudio``, or what looks like one."""


def pyaudio() -> Audio:
    """A ``PyAudio``; SensorError if the package is missing or PortAudio does not start."""
    try:
        import pyaudio as package
    except ImportError:
        raise SensorError(
            "microphone: the package pyaudio is missing; install it: sudo apt install portaudio19-dev; pip install 'affectkit[microphone]'"
        ) from None
    try:
        return package.PyAudio()
    except OSError as error:
        raise SensorError(f"microphone: PortAudio does not start: {error}; is a sound system installed?") from error


@contextlib.contextmanager
def quiet_turn() -> collections.abc.Iterator[None]:
    """This thread's turn with PortAudio, without the chatter. SensorError if another one has hung in it for seconds."""
    if not _TURN.acquire(timeout=_TURN_S):
        raise SensorError("microphone: its driver hangs in another thread; unplug it and plug it in again, or start affectkit anew")
    try:
        with without_lines(lambda line: not line.strip() or line.startswith(_CHATTER)):
            yield
    finally:
        _TURN.release()


@contextlib.contextmanager
def turn() -> collections.abc.Iterator[None]:
    """This thread's turn with PortAudio, however long another one takes."""
    with _TURN:
        yield


def inputs(audio: Audio) -> list[MicrophoneInfo]:
    """All devices that can capture, by index."""
    try:
        default = int(audio.get_default_input_device_info()["index"])
    except OSError:  # there is none
        default = -1
    found = []
    for index in range(audio.get_device_count()):
        info = audio.get_device_info_by_index(index)
        if info["maxInputChannels"] > 0:
            name = " ".join(str(info["name"]).split())
            found.append(MicrophoneInfo(index, name, int(info["maxInputChannels"]), round(info["defaultSampleRate"]), index == default))
    return found


def find_input(device: str, known: collections.abc.Sequence[MicrophoneInfo]) -> MicrophoneInfo:
    """The device that ``device`` means: "default", an index, or a name or a part of it, upper or lower case; the first that fits.

    Raises:
        SensorError: there is none; names those that there are.
    """
    if not known:
        raise SensorError(f"microphone {device!r}: this machine has no device that captures; plug one in, and see: arecord -l")
    wanted = device.strip().casefold()
    fits: tuple[typing.Callable[[MicrophoneInfo], bool], ...] = (
        lambda info: info.name.casefold() == wanted,
        lambda info: wanted in info.name.casefold(),
    )
    if wanted == "default":
        fits = (lambda info: info.default, *fits)
    elif wanted.isdecimal():
        fits = (lambda info: info.index == int(wanted),)
    for fit in fits:
        if found := next((info for info in known if fit(info)), None):
            return found
    raise SensorError(
        f"microphone {device!r}: no device is called that, known: {', '.join(map(str, known))}; name one of them, or plug it in"
    )


def microphones(start: typing.Callable[[], Audio] = pyaudio) -> list[MicrophoneInfo]:
    """Every device that can capture. SensorError if PyAudio is missing."""
    with quiet_turn():
        audio = start()
        try:
            return inputs(audio)
        finally:
            audio.terminate()


class Intake:
    """The call-back of a stream: it copies, notes the times and returns; a bounded queue, the oldest buffer goes first.

    Args:
        clock: whose time base the buffers' times are in.
        rate_hz: of the device.
        limit: buffers kept.
    """

    def __init__(self, clock: Clock, rate_hz: int, limit: int):
        self.wake = threading.Event()
        """Set when a buffer came."""
        self.heard_ns = clock.now_ns()
        """When the newest call-back came."""
        self.ended = False
        """Set it, and the next call-back ends the stream."""
        self._clock, self._rate_hz = clock, rate_hz
        self._buffers: collections.deque[Buffer] = collections.deque(maxlen=limit)
        self._frames = 0

    def __call__(self, data: bytes | None, frames: int, time_info: collections.abc.Mapping[str, float], status: int) -> tuple[None, int]:
        """As PyAudio calls it."""
        now_ns = self._clock.now_ns()
        length_ns = round(frames * SECOND_NS / self._rate_hz)
        first, self._frames = self._frames, self._frames + frames
        self.heard_ns = now_ns
        self._buffers.append(Buffer(first, now_ns, adc_age_ns(time_info, length_ns), frames, data or b"", bool(status & INPUT_OVERFLOW)))
        self.wake.set()
        return None, COMPLETE if self.ended else CONTINUE

    def take(self) -> list[Buffer]:
        """All buffers that wait."""
        self.wake.clear()
        taken = []
        while self._buffers:
            # The call-back may drop the last one here in between, but only to put another in its place.
            taken.append(self._buffers.popleft())
        return taken


def adc_age_ns(time_info: collections.abc.Mapping[str, float], length_ns: int) -> int | None:
    """How long ago the first sample of a buffer was captured, by the stream's clock; None where its times make no sense.

    Args:
        time_info: ``input_buffer_adc_time`` and ``current_time``, seconds of the stream's clock.
        length_ns: of the buffer, all of which was captured by now.
    """
    captured_s, now_s = time_info.get("input_buffer_adc_time", 0.0), time_info.get("current_time", 0.0)
    if captured_s <= 0.0 or now_s <= 0.0:
        return None
    age_ns = round((now_s - captured_s) * SECOND_NS)
    # A thousandth of a buffer for rounding.
    return age_ns if 0.999 * length_ns <= age_ns <= OLDEST_ADC_S * SECOND_NS + length_ns else None
