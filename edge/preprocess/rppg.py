"""Remote photoplethysmography: the pulse wave in the colour of a face, by POS; causal, frame by frame, gated by its own quality.

POS, "plane orthogonal to skin": W. Wang, A. C. den Brinker, S. Stuijk and G. de Haan (2017), Algorithmic principles of remote PPG,
IEEE Trans. Biomedical Engineering 64(7), 1479-1491, algorithm 1. A photograph, noise and flicker give no pulse: the wave is handed
on only while its spectrum is that of one, after the signal-to-noise ratio of G. de Haan and V. Jeanne (2013), Robust pulse rate from
chrominance-based rPPG, IEEE Trans. Biomedical Engineering 60(10), 2878-2886.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import numpy as np

from edge.types import Chunk

RATE_HZ = 30.0
"""Of the even grid that frames are put on, and of the pulse wave."""
WINDOW = 48
"""Samples in a POS window: 1.6 s, the shortest that holds a beat of 40 a minute."""
SPAN = 300
"""Samples in the window that quality and heart rate are of: 10 s."""
RUN = 8
"""Samples between two looks at the quality, and in a chunk: a quarter of a second."""
BAND_HZ = (0.7, 3.0)
"""Where the heart may beat: 42 to 180 a minute."""
_TOP_HZ = 4.5
"""Noise is measured up to here."""
_HALF_WIDTH_HZ = 0.2
"""Half the main lobe of a Hann window of 10 s: what lies so close to a line belongs to it."""
_BINS = 2048
_FREQUENCY_HZ = np.fft.rfftfreq(_BINS, 1.0 / RATE_HZ)
_HANN = np.hanning(SPAN + 2)[1:-1]
_FROM, _TO = np.searchsorted(_FREQUENCY_HZ, BAND_HZ)
_LOW, _TOP = np.searchsorted(_FREQUENCY_HZ, (BAND_HZ[0] - _HALF_WIDTH_HZ, _TOP_HZ))
_BY_PLANES = np.array([[0.0, 1.0, -1.0], [-2.0, 1.0, 1.0]])
"""Projection of algorithm 1, line 6."""


@dataclasses.dataclass(frozen=True)
class FacePulseParameters:
    """When a face carries a pulse."""

    lowest_fps: float = 12.0
    """Mean frame rate of the last second below which the trace is broken off."""
    least_share: float = 0.55
    """Share of the power that lies at one frequency of 0.7 to 3 Hz and its first harmonic (``quality_of``): noise has 0.6 now and
    then, the pulse of a still face 0.6 to 0.9."""
    keep_share: float = 0.45
    """The same for a pulse that was found."""
    least_amplitude: float = 2e-4
    """Root mean square of the wave, of the mean colour: what a sensor's noise leaves after the mean over a face is less."""
    least_chroma: float = 0.4
    """Amplitude of the wave over that of the brightness at the same frequency: 0.7 to 1.5 for blood, up to 0.25 for lamps."""
    steady_s: float = 10.0
    """Every look of this time must be good: the 10 s before the first have nothing in common with those before the last."""
    steady_bpm: float = 12.0
    """Most that the heart rate may move in that time."""


@dataclasses.dataclass(frozen=True)
class FaceQuality:
    """What the last 10 s of a face hold; see ``FacePulseParameters`` for the terms."""

    heart_rate_bpm: float
    share: float
    amplitude: float
    chroma: float


def skin_colour(luma: np.ndarray, chroma: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Mean colour of the skin in a face.

    Skin is what has the face's commonest colour: hair, eyes, mouth and background weigh less the further their chroma lies from the
    median. The mean is taken in YCbCr, for conversion is linear.

    Args:
        luma: uint8 (height, width).
        chroma: uint8 (2, height / 2, width / 2), Cb and Cr of full-range BT.601, 128 for grey.
        box: x0, y0, x1, y1 of the face in pixels, brows to chin as FER2013 cuts it.

    Returns:
        float64 (3,), red, green and blue, 0 to 255 (JFIF 1.02); None if too little of the face is in view, dark or clipped.
    """
    x0, y0, x1, y1 = (float(v) / 2.0 for v in box[:4])
    side = x1 - x0
    # The outer tenth shows hair and background when the box shakes.
    left, right = max(round(x0 + 0.1 * side), 0), min(round(x1 - 0.1 * side), chroma.shape[2])
    top, bottom = max(round(y0), 0), min(round(y1 - 0.1 * side), chroma.shape[1])
    if right - left < 6 or bottom - top < 6:
        return None
    part = luma[2 * top : 2 * bottom, 2 * left : 2 * right].astype(np.float32)
    y = 0.25 * (part[::2, ::2] + part[1::2, ::2] + part[::2, 1::2] + part[1::2, 1::2])
    cb, cr = chroma[:, top:bottom, left:right].astype(np.float32)
    away = np.abs(cb - np.median(cb)) + np.abs(cr - np.median(cr))
    # Weights without a step: no pixel comes and goes with the noise.
    weight = np.clip(2.0 - away / 8.0, 0.0, 1.0) * np.clip((y - 20.0) / 20.0, 0.0, 1.0) * np.clip((250.0 - y) / 10.0, 0.0, 1.0)
    total = float(weight.sum(dtype=np.float64))
    if total < 0.2 * weight.size:
        return None
    luma_mean, blue, red = (float((weight * plane).sum(dtype=np.float64)) / total for plane in (y, cb - 128.0, cr - 128.0))
    return np.array([luma_mean + 1.402 * red, luma_mean - 0.344136 * blue - 0.714136 * red, luma_mean + 1.772 * blue])


def pos_window(colours: np.ndarray) -> np.ndarray:
    """Lines 5 to 8 of algorithm 1 for one window.

    Args:
        colours: float (n, 3), red, green and blue, above 0.

    Returns:
        float (n,), the pulse without its mean, as a share of the mean colour.
    """
    planes = (colours / colours.mean(axis=0)) @ _BY_PLANES.T
    spread = planes.std(axis=0)
    pulse = planes[:, 0] + (spread[0] / spread[1] if spread[1] > 1e-12 else 0.0) * planes[:, 1]
    return pulse - pulse.mean()


def quality_of(wave: np.ndarray, brightness: np.ndarray) -> FaceQuality:
    """Quality of 10 s of a pulse wave.

    Power is weighted by frequency: drifting colours have a falling spectrum, with a hump where POS cuts it off.

    Args:
        wave: float (300,), as ``pos_window`` scales it.
        brightness: float (300,), mean over the three colours of each over its mean.
    """
    power = np.abs(np.fft.rfft(wave * _HANN, _BINS)) ** 2
    peak = int(_FROM) + int(np.argmax(power[_FROM:_TO]))
    before, at, after = (float(p) for p in power[peak - 1 : peak + 2])
    bend = before - 2.0 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0.0 else 0.0
    pulse_hz = (peak + min(max(shift, -0.5), 0.5)) * RATE_HZ / _BINS
    mine = (np.abs(_FREQUENCY_HZ - pulse_hz) <= _HALF_WIDTH_HZ) | (np.abs(_FREQUENCY_HZ - 2.0 * pulse_hz) <= _HALF_WIDTH_HZ)
    weighted = (power * _FREQUENCY_HZ)[_LOW:_TOP]
    total = float(weighted.sum())
    light = np.abs(np.fft.rfft((brightness - brightness.mean()) * _HANN, _BINS)) ** 2
    own = np.abs(_FREQUENCY_HZ - pulse_hz) <= _HALF_WIDTH_HZ
    lit = float(light[own].sum())
    return FaceQuality(
        heart_rate_bpm=60.0 * pulse_hz,
        share=float(weighted[mine[_LOW:_TOP]].sum()) / total if total > 0.0 else 0.0,
        amplitude=float(np.sqrt(np.mean(wave**2))),
        chroma=math.sqrt(float(power[own].sum()) / lit) if lit > 0.0 else math.inf,
    )


class FacePulse:
    """Colour of a face, frame by frame -> track ``rppg`` and a heart rate, while there is a pulse in it.

    Frames may come at any uneven 12 to 120 a second. The wave is 1.6 s late, for windows overlap; when its quality becomes good the
    last 10 s are handed on at once.
    """

    def __init__(self, parameters: FacePulseParameters = FacePulseParameters()):
        self.parameters = parameters
        self.chunks: collections.deque[Chunk] = collections.deque(maxlen=64)
        """Pulse wave, float32 (n,) at 30 Hz, as a share of the mean colour; the reader takes them out."""
        self.quality: FaceQuality | None = None
        """Of the newest 10 s; None while there are not so many."""
        self._frames_ns: collections.deque[int] = collections.deque()
        self._last: tuple[int, np.ndarray] | None = None
        self._heart_rates: collections.deque[float] = collections.deque(maxlen=max(1, round(parameters.steady_s * RATE_HZ / RUN)))
        self._restart()

    @property
    def heart_rate_bpm(self) -> float | None:
        """Mean of the last 10 s; None while it is unknown."""
        return self._heart_rate_bpm

    def push(self, t_ns: int, rgb_mean: np.ndarray) -> None:
        """Take the mean colour of a face, float (3,), in the frame captured at ``t_ns``; frames that do not come later are left out.

        A face that is not seen is not pushed.
        """
        colour = np.asarray(rgb_mean, np.float64)
        if self._last is not None and t_ns <= self._last[0]:
            return
        if not np.isfinite(colour).all() or colour.min() < 1.0:
            self.lose()
            return
        self._frames_ns.append(t_ns)
        while t_ns - self._frames_ns[0] > 1_000_000_000:
            self._frames_ns.popleft()
        last, self._last = self._last, (t_ns, colour)
        if last is None:
            self._origin_ns = t_ns
            self._take(colour)
            return
        if self._too_slow(t_ns - last[0], t_ns):
            self.lose()
            self.push(t_ns, colour)
            return
        while (due_ns := self._origin_ns + round(self._count * 1e9 / RATE_HZ)) <= t_ns:
            share = (due_ns - last[0]) / (t_ns - last[0])
            self._take(last[1] + share * (colour - last[1]))

    def lose(self) -> None:
        """The face is gone: what comes later is another trace."""
        self._last = None
        self._frames_ns.clear()
        self._restart()

    def _too_slow(self, step_ns: int, t_ns: int) -> bool:
        """Whether a hole in the frames, or too few in the last second, carry no pulse."""
        slowest_ns = 1e9 / self.parameters.lowest_fps
        if step_ns > 3 * slowest_ns:
            return True
        frames = len(self._frames_ns) - 1
        return t_ns - self._frames_ns[0] > 0.8e9 and (t_ns - self._frames_ns[0]) > frames * slowest_ns

    def _restart(self) -> None:
        self._origin_ns = 0
        self._count = 0
        self._colours = np.ones((WINDOW, 3))
        self._wave = np.zeros(SPAN + WINDOW)
        """Newest last; the last ``WINDOW - 1`` still grow."""
        self._brightness = np.ones((SPAN + WINDOW, 3))
        self._given = 0
        """Samples before this number were handed on, or never will be."""
        self._heart_rate_bpm: float | None = None
        self._heart_rates.clear()
        self.quality = None

    def _take(self, colour: np.ndarray) -> None:
        self._count += 1
        for ring, value in ((self._colours, colour), (self._wave, 0.0), (self._brightness, colour)):
            ring[:-1] = ring[1:]
            ring[-1] = value
        if self._count >= WINDOW:
            # Blood takes light: with the sign turned the wave rises with each beat, as that of a pulse sensor.
            self._wave[-WINDOW:] -= pos_window(self._colours) / WINDOW
        # The first WINDOW - 1 samples lie in fewer windows than the others.
        done = self._count - 2 * (WINDOW - 1)
        if done >= SPAN and (done - SPAN) % RUN == 0:
            self._look()

    def _look(self) -> None:
        p = self.parameters
        wave, colours = self._wave[1 : SPAN + 1], self._brightness[1 : SPAN + 1]
        self.quality = q = quality_of(wave, (colours / colours.mean(axis=0)).mean(axis=1))
        least_share = p.least_share if self._heart_rate_bpm is None else p.keep_share
        if q.share < least_share or q.amplitude < p.least_amplitude or q.chroma < p.least_chroma:
            self._heart_rates.clear()
        else:
            self._heart_rates.append(q.heart_rate_bpm)
        rates = self._heart_rates
        good = len(rates) == rates.maxlen and max(rates) - min(rates) <= p.steady_bpm
        self._heart_rate_bpm = q.heart_rate_bpm if good else None
        if good:
            end = self._count - (WINDOW - 1)
            fresh = min(end - self._given, SPAN)
            self._given = end
            t_ns = self._origin_ns + round((end - fresh) * 1e9 / RATE_HZ)
            self.chunks.append(Chunk("rppg", t_ns, RATE_HZ, wave[SPAN - fresh :].astype(np.float32)))
