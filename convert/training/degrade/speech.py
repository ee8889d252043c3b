"""Bad recordings of a voice: noise, rooms, clipping, narrow lines. float32 (n,) at 16 kHz in [-1, 1] in and out, one clip at a time."""

from __future__ import annotations

import numpy as np

RATE_HZ = 16000
_BLOCK = 320
"""20 ms: over which a level is taken."""


def speech_power(sound: np.ndarray) -> float:
    """Mean square of the 20 ms blocks that are less than 30 dB under the loudest: pauses do not count (as in ITU-T P.56, simplified)."""
    whole = sound[: len(sound) // _BLOCK * _BLOCK].astype(np.float64).reshape(-1, _BLOCK)
    if not len(whole):
        return float(np.mean(sound.astype(np.float64) ** 2)) if len(sound) else 0.0
    power = np.mean(whole**2, axis=1)
    return float(np.mean(power[power >= power.max() * 1e-3]))


def coloured_noise(samples: int, slope_db: float, rng: np.random.Generator) -> np.ndarray:
    """Stationary Gaussian noise of mean square 1, float32 (samples,), whose spectrum falls by ``slope_db`` an octave.

    0 is white, 3 pink (a fan, a street from afar), 6 brown; flat below 50 Hz.
    """
    length = 1 << max(0, samples - 1).bit_length()  # a length that the transform is fast for
    hz = np.maximum(np.fft.rfftfreq(length, 1.0 / RATE_HZ), 50.0)
    shape = (hz / 50.0) ** (-slope_db / (20.0 * np.log10(2.0)))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * shape, length)[:samples]
    return (noise / max(1e-12, np.sqrt(np.mean(noise**2)) if samples else 1.0)).astype(np.float32)


def add_noise(sound: np.ndarray, snr_db: float, rng: np.random.Generator, *, slope_db: float | None = None) -> np.ndarray:
    """Stationary noise so far under the voice.

    Args:
        sound: float32 (n,); not changed. Silence stays silence: there is no level to go by.
        snr_db: level of the voice (``speech_power``) over that of the noise, in dB.
        rng: draws the noise.
        slope_db: fall of the noise's spectrum an octave in dB; drawn from 0 (white) to 6 (brown) if None.
    """
    slope = float(rng.uniform(0.0, 6.0)) if slope_db is None else slope_db
    noise = coloured_noise(len(sound), slope, rng)
    return (sound + noise * np.float32(np.sqrt(speech_power(sound)) * 10.0 ** (-snr_db / 20.0))).astype(np.float32)


def room(rt60_s: float, rng: np.random.Generator, *, direct_db: float = 0.0) -> np.ndarray:
    """Impulse response float32 (n,) of a made-up room: the direct sound, then noise that decays by 60 dB in ``rt60_s`` (Polack, 1988).

    Args:
        rt60_s: reverberation time in seconds, over 0; a classroom has 0.4 to 1.
        rng: draws the tail.
        direct_db: energy of the direct sound over that of the tail, in dB.
    """
    t = np.arange(max(2, round(RATE_HZ * rt60_s))) / RATE_HZ
    tail = rng.standard_normal(len(t)) * 10.0 ** (-3.0 * t / rt60_s)
    tail[0] = 0.0
    tail *= 10.0 ** (-direct_db / 20.0) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return tail.astype(np.float32)


def reverberate(sound: np.ndarray, rt60_s: float, rng: np.random.Generator, *, direct_db: float = 0.0) -> np.ndarray:
    """``sound`` heard in a ``room``: as long and as strong (mean square) as it was; 0 s changes nothing."""
    import scipy.signal

    if rt60_s <= 0.0 or not len(sound):
        return sound
    heard = scipy.signal.fftconvolve(sound, room(rt60_s, rng, direct_db=direct_db))[: len(sound)]
    energy = float(np.sum(heard**2))
    return (heard * np.sqrt(float(np.sum(sound.astype(np.float64) ** 2)) / energy) if energy > 0.0 else heard).astype(np.float32)


def clip(sound: np.ndarray, share: float) -> np.ndarray:
    """A microphone turned up too far: the loudest ``share`` (0 to 1) of the samples is cut off at one level."""
    if share <= 0.0 or not len(sound):
        return sound
    ceiling = np.quantile(np.abs(sound), 1.0 - min(1.0, share))
    return np.clip(sound, -ceiling, ceiling).astype(np.float32)


def band_limit(sound: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """A telephone, a cheap microphone: fourth-order Butterworth from ``low_hz`` to ``high_hz`` (300 and 3400 is a telephone); causal."""
    import scipy.signal

    sections = scipy.signal.butter(4, [low_hz, high_hz], btype="bandpass", fs=RATE_HZ, output="sos")
    return scipy.signal.sosfilt(sections, sound).astype(np.float32)
