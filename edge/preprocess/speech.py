"""Speech front: log-mel frames, each made once, a voice-activity gate with a noise floor that adapts, windows for the encoder.

Levels are in dB relative to full scale (dBFS). Everything about one frame depends on that frame and those before it alone, so
results are the same however the samples are cut into chunks, and training uses this very code (``clip_windows``).
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from edge.errors import InputError
from edge.preprocess.voice import History, VoiceGate
from edge.types import Absence, Chunk, Modality, Reason, Track, Window


@dataclasses.dataclass(frozen=True)
class SpeechParameters:
    """Everything that training and device must agree on; plain JSON-able fields."""

    rate_hz: int = 16000
    window_ms: float = 25.0
    hop_ms: float = 10.0
    fft_size: int = 512
    mels: int = 40
    fmin_hz: float = 60.0
    fmax_hz: float = 7600.0
    log_floor_db: float = -120.0
    """Power below this is set to it: what digital silence measures."""
    frames: int = 300
    """Length of one window, in hops."""
    range_db: float = 60.0
    """A window spans this much below its reference level; everything lower is 0, which is also what pads it."""
    reference: float = 0.8
    """Quantile over a window's frames of their loudest band: the reference level."""
    headroom: float = 1.25
    """Largest value in a window; the reference level is 1."""
    encode_hop_ms: float = 500.0
    """A new window at most this often."""
    min_heard_ms: float = 900.0
    """A window needs this much since the voice began ..."""
    min_voice_ms: float = 400.0
    """... with voice in this much of it: a noise that begins takes ``steady_ms`` to be known as one."""
    preroll_ms: float = 300.0
    """How far before the frame that made the gate open the voice is taken to have begun."""
    voice_low_hz: float = 200.0
    voice_high_hz: float = 4000.0
    """Band whose level the gate looks at."""
    level_frames: int = 5
    """The gate's level is the mean power of this many frames."""
    floor_memory_ms: float = 1500.0
    """The noise floor is the least level in this time (minimum statistics, Martin 2001)."""
    steady_ms: float = 300.0
    steady_db: float = 1.0
    """A level that moves less than this (standard deviation) for ``steady_ms`` is noise, however loud."""
    margin_db: float = 5.0
    """A frame has voice in it when its level is this far over the noise floor."""
    peak_range_db: float = 35.0
    """... and no further than this under the loudest level in ``floor_memory_ms``: reverberation and breath are not voice."""
    quietest_db: float = -65.0
    """... and over this level."""
    silent_db: float = -90.0
    """A microphone whose level stays under this gives nothing: muted or unplugged."""
    onset_frames: int = 10
    onset_of: int = 30
    """The gate opens when so many of the last so many frames have voice in them ..."""
    hangover_ms: float = 650.0
    """... and closes when none had for this long: natural pauses are shorter."""
    noisy_db: float = 10.0
    """Below this signal-to-noise ratio the voice is too poor to use."""
    noisy_hysteresis_db: float = 2.0
    clean_db: float = 25.0
    """Signal-to-noise ratio at and above which quality is 1."""
    gap_ms: float = 50.0
    """Time stamps that jump by more mean lost samples: all that was heard is forgotten."""
    lost_ms: float = 700.0
    """No samples for this long mean a lost microphone."""

    @property
    def taper_samples(self) -> int:
        return round(self.rate_hz * self.window_ms / 1000)

    @property
    def hop_samples(self) -> int:
        return round(self.rate_hz * self.hop_ms / 1000)

    def hops(self, ms: float) -> int:
        """``ms`` in frames."""
        return round(ms / self.hop_ms)


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz (66.7 Hz a mel), then 27 mels for each factor of 6.4."""
    hz = np.asarray(hz, np.float64)
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + 27.0 * np.log(np.maximum(hz, 1000.0) / 1000.0) / np.log(6.4))


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Inverse of ``hz_to_mel``."""
    mel = np.asarray(mel, np.float64)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((np.maximum(mel, 15.0) - 15.0) / 27.0))


def mel_filterbank(*, rate_hz: int, fft_size: int, mels: int, fmin_hz: float, fmax_hz: float) -> np.ndarray:
    """Triangles with unit area per hertz, evenly spaced on Slaney's mel scale: float32 (fft_size // 2 + 1, mels).

    ``bank[k, m] = 2 / (c[m+2] - c[m]) * max(0, min((f[k]-c[m]) / (c[m+1]-c[m]), (c[m+2]-f[k]) / (c[m+2]-c[m+1])))`` with
    ``c`` the mels + 2 corners in hertz and ``f`` the bin centres; the same as ``librosa.filters.mel`` by default, transposed.
    """
    corner_hz = mel_to_hz(np.linspace(hz_to_mel(np.array(fmin_hz)), hz_to_mel(np.array(fmax_hz)), mels + 2))
    bin_hz = np.fft.rfftfreq(fft_size, 1.0 / rate_hz)[:, None]
    low, centre, high = corner_hz[:-2], corner_hz[1:-1], corner_hz[2:]
    rise, fall = (bin_hz - low) / (centre - low), (high - bin_hz) / (high - centre)
    return (np.maximum(0.0, np.minimum(rise, fall)) * 2.0 / (high - low)).astype(np.float32)


@functools.lru_cache(maxsize=4)
def _transform(p: SpeechParameters) -> tuple[np.ndarray, np.ndarray]:
    """Window function (taper_samples,) and one matrix (bins, mels + 1): the filterbank, and the power in the voice band.

    Scaled by Parseval to mean squares: a full-scale sine has -3 dB in the voice band; mel bands are in power per kilohertz.
    """
    taper = np.hanning(p.taper_samples + 1)[:-1]
    scale = 2.0 / (p.fft_size * np.sum(taper**2))
    bank = mel_filterbank(rate_hz=p.rate_hz, fft_size=p.fft_size, mels=p.mels, fmin_hz=p.fmin_hz, fmax_hz=p.fmax_hz)
    bin_hz = np.fft.rfftfreq(p.fft_size, 1.0 / p.rate_hz)
    band = (bin_hz >= p.voice_low_hz) & (bin_hz <= p.voice_high_hz)
    return taper.astype(np.float32), (np.column_stack([bank * 1000.0, band]) * scale).astype(np.float32)


class StreamingLogMel:
    """Samples in, frames out: frame k covers samples [k * hop, k * hop + window), left aligned, and is made once."""

    def __init__(self, parameters: SpeechParameters):
        self.parameters = parameters
        self._taper, self._matrix = _transform(parameters)
        self.reset()

    def reset(self) -> None:
        """Forget the samples that wait for their frame to be whole."""
        self._waiting = np.zeros(0, np.float32)

    @property
    def waiting(self) -> int:
        """Samples that lie after the last one of the newest frame."""
        return max(0, len(self._waiting) - (self.parameters.taper_samples - self.parameters.hop_samples))

    def push(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames that ``samples`` (n,), in [-1, 1], complete: log-mel float32 (k, mels) in dB, and voice-band power (k,).

        ``log_mel[k, m] = 10 log10(max(floor, sum_f bank[f, m] |rfft(taper * x[k hop : k hop + window])[f]|^2))``
        """
        p = self.parameters
        held = np.concatenate([self._waiting, samples.astype(np.float32, copy=False)])
        count = max(0, (len(held) - p.taper_samples) // p.hop_samples + 1)
        self._waiting = held[count * p.hop_samples :]
        if not count:
            return np.zeros((0, p.mels), np.float32), np.zeros(0, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(held, p.taper_samples)[: count * p.hop_samples : p.hop_samples]
        spectrum = np.fft.rfft(frames * self._taper, p.fft_size, axis=1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self._matrix
        power = np.maximum(power, np.float32(10.0 ** (p.log_floor_db / 10.0)))
        return 10.0 * np.log10(power[:, :-1]), power[:, -1]


def window_samples(log_mel: np.ndarray, parameters: SpeechParameters) -> np.ndarray:
    """Encoder input float32 (frames, mels) in [0, headroom] from the frames heard, (n, mels) in dB, n <= frames.

    ``y = clip((x - r + range_db) / range_db, 0, headroom)``, r the ``reference`` quantile of the frames' loudest bands, so the
    gain of the microphone cancels; before the first frame 0, as if it had been silent.
    """
    p = parameters
    window = np.zeros((p.frames, p.mels), np.float32)
    if len(log_mel):
        reference = _quantile(log_mel.max(axis=1), p.reference)
        window[p.frames - len(log_mel) :] = np.clip((log_mel - np.float32(reference - p.range_db)) / p.range_db, 0.0, p.headroom)
    return window


def _quantile(values: np.ndarray, share: float) -> float:
    """``numpy.quantile`` of float32 (n,), between neighbours by a line; a tenth of its time."""
    ordered = np.sort(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (high - low) * (place - below)


class SpeechFront:
    """The speech modality's front: chunks of audio in; windows of one voice's log-mel, or why there are none, out.

    Frames before the voice began are no part of a window, and neither is what was heard before a gap in time.
    """

    modality: Modality = "speech"
    tracks: tuple[Track, ...] = ("audio",)

    def __init__(self, parameters: SpeechParameters | None = None):
        self.parameters = parameters or SpeechParameters()
        self._mel = StreamingLogMel(self.parameters)
        self._gate = VoiceGate(self.parameters)
        self._frames = History(self.parameters.frames, (self.parameters.mels,))
        self._end_ns: int | None = None
        self._said: Absence | None = None
        self._reset()

    def _reset(self) -> None:
        self._mel.reset()
        self._gate.reset()
        self._given = self._polled = -1
        self._noisy = False

    def push(self, chunk: Chunk) -> None:
        """Take audio, float32 (n,) in [-1, 1]; InputError for another track or rate, samples that are not numbers count as silence."""
        p = self.parameters
        if chunk.track != "audio" or chunk.samples.ndim != 1:
            raise InputError(f"speech front: got {chunk.track} of shape {chunk.samples.shape}; it takes mono audio")
        if abs(chunk.rate_hz - p.rate_hz) > 0.005 * p.rate_hz:
            raise InputError(f"speech front: got audio at {chunk.rate_hz:g} Hz; set the microphone to {p.rate_hz} Hz")
        if not len(chunk.samples):
            return
        if self._end_ns is not None and abs(chunk.t_ns - self._end_ns - 1e9 / p.rate_hz) > p.gap_ms * 1e6:
            self._reset()
        self._end_ns = chunk.end_ns
        samples = chunk.samples
        if not np.isfinite(samples.dot(samples)):  # one product is the cheapest question
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        log_mel, power = self._mel.push(samples)
        self._frames.extend(log_mel)
        self._gate.push(power)

    def poll(self, now_ns: int) -> Window | Absence | None:
        """A new window, at most each ``encode_hop_ms``; an absence when it begins or its cause changes; else None."""
        p, gate = self.parameters, self._gate
        lost = self._end_ns is None or now_ns - self._end_ns > p.lost_ms * 1e6
        if gate.heard == self._polled and not lost:
            return None  # nothing new since the last look, so nothing new to say
        self._polled = -1 if lost else gate.heard
        if self._end_ns is None or now_ns - self._end_ns > p.lost_ms * 1e6:
            self._reset()
            return self._say("lost", "no sound from the microphone")
        if not gate.active:
            self._given, self._noisy = -1, False
            return self._say("lost", "silent microphone" if gate.silent else "no voice")
        snr_db = gate.snr_db
        self._noisy = snr_db < p.noisy_db + (p.noisy_hysteresis_db if self._noisy else 0.0)
        if self._noisy:
            return self._say("noisy", "voice buried in noise")
        heard, since_given = gate.heard - gate.start, gate.heard - max(self._given, gate.start - p.frames)
        if heard < p.hops(p.min_heard_ms) or gate.voice_frames < p.hops(p.min_voice_ms) or since_given < p.hops(p.encode_hop_ms):
            return None
        self._given, self._said = gate.heard, None
        end_ns = self._end_ns - round(self._mel.waiting * 1e9 / p.rate_hz)
        quality = (snr_db - p.noisy_db) / (p.clean_db - p.noisy_db)
        return Window("speech", end_ns, window_samples(self._frames.last(min(heard, p.frames)), p), float(np.clip(quality, 0.05, 1.0)))

    def _say(self, reason: Reason, detail: str) -> Absence | None:
        """Once, until something else is to be said."""
        absence = Absence("speech", reason, detail)
        if absence == self._said:
            return None
        self._said = absence
        return absence


def clip_windows(samples: np.ndarray, parameters: SpeechParameters, *, chunk_ms: float = 100.0) -> list[Window]:
    """Every window that a ``SpeechFront`` gives for a whole recording, float32 (n,), when fed and polled each ``chunk_ms``."""
    front, step = SpeechFront(parameters), round(parameters.rate_hz * chunk_ms / 1000)
    windows = []
    for first in range(0, len(samples), step):
        chunk = Chunk("audio", round(first * 1e9 / parameters.rate_hz), parameters.rate_hz, samples[first : first + step])
        front.push(chunk)
        found = front.poll(chunk.end_ns)
        if isinstance(found, Window):
            windows.append(found)
    return windows
