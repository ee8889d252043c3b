"""Sound from one rate to another, in a stream or at once: one filter for the microphone, for training and for recorded sessions.

The filter is that of libsoxr (R. Sykes, the SoX Resampler library) at quality "HQ", 20 bits: flat up to 0.91 of the lower Nyquist
frequency, aliases and images below -120 dB from the Nyquist frequency on, linear phase.
"""

from __future__ import annotations

import typing

import numpy as np

from edge.errors import InputError, SensorError

QUALITY = "HQ"
STEPS = 32768.0
"""Of a 16-bit sample in [0, 1]."""


class Resampler:
    """Streaming, mono. Output sample ``k`` of a run lies at input sample ``k * from_hz / to_hz``: the filter's delay is taken out,
    so what comes out lags by up to 0.11 s of samples not yet given, and is not late in time.

    The same output to the bit, however the input is cut. Equal rates pass through untouched.

    Args:
        from_hz: samples in a second of the input.
        to_hz: of the output.

    Raises:
        InputError: a rate is not above 0.
        SensorError: the package soxr is missing.
    """

    def __init__(self, from_hz: int, to_hz: int):
        if from_hz <= 0 or to_hz <= 0:
            raise InputError(f"resampler: got {from_hz} and {to_hz} Hz; rates are above 0")
        self.from_hz, self.to_hz = from_hz, to_hz
        self._stream = _soxr().ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=QUALITY) if from_hz != to_hz else None
        self._taken = False

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take float32 (n,); return what is complete, float32 (m,)."""
        samples = np.ascontiguousarray(samples, np.float32)
        if self._stream is None or not len(samples):
            return samples
        self._taken = True
        return self._stream.resample_chunk(samples)

    def flush(self) -> np.ndarray:
        """The rest of this run, float32 (m,), as if silence followed: then ``n * to_hz / from_hz`` came out of ``n``, rounded.

        The next ``push`` begins a new run.
        """
        if self._stream is None or not self._taken:
            return np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self._stream.clear()
        self._taken = False
        return rest


def resampled(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """A whole recording, float (n,), at ``to_hz``: float32 (n * to_hz / from_hz, rounded), the same as in a stream.

    Raises:
        InputError: a rate is not above 0.
        SensorError: the package soxr is missing.
    """
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([resampler.push(samples), resampler.flush()])


def in_16_bits(samples: np.ndarray) -> np.ndarray:
    """``samples`` at the nearest multiples of 1/32768 in [-1, 1), float32: what a 16-bit file keeps to the bit."""
    return (np.clip(np.rint(samples * np.float32(STEPS)), -STEPS, STEPS - 1.0) / np.float32(STEPS)).astype(np.float32)


def _soxr() -> typing.Any:
    try:
        import soxr
    except ImportError:
        raise SensorError("resampler: the package soxr is missing; install it: pip install 'affectkit[sensors]'") from None
    return soxr
