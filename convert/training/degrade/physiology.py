"""Bad contact and moving wrists: electrodes that lift, slip or dry, bursts over the pulse wave; raw signals, and steps of a front.

Raw signals are float (n,) at ``rate_hz``; windows of steps are float32 (n, steps, channels) as ``edge.preprocess.physiology``
makes them. Nothing is changed in place.
"""

from __future__ import annotations

import collections.abc

import numpy as np

from edge.preprocess.physiology import PULSE_CHANNELS, PULSE_VALID, SKIN_CHANNELS, SKIN_VALID

Spells = collections.abc.Sequence[tuple[float, float]]
"""(start, end) in seconds."""
MOTION_HZ = (0.5, 4.0)
"""Band of arm movements, which is that of the pulse."""


def spells(seconds: float, per_minute: float, length_s: tuple[float, float], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Spells that begin at random (Poisson), ``per_minute`` of them on average, each of a length drawn evenly from ``length_s``."""
    starts = np.sort(rng.uniform(0.0, seconds, rng.poisson(per_minute * seconds / 60.0)))
    return [(float(start), float(start + rng.uniform(*length_s))) for start in starts]


def _rows(spell: tuple[float, float], rate_hz: float, samples: int) -> slice:
    return slice(min(round(spell[0] * rate_hz), samples), min(round(spell[1] * rate_hz), samples))


def lift(eda: np.ndarray, rate_hz: float, when: Spells) -> np.ndarray:
    """Electrodes off the skin: an open circuit reads 0 microsiemens."""
    spoilt = eda.copy()
    for spell in when:
        spoilt[_rows(spell, rate_hz, len(eda))] = 0.0
    return spoilt


def drop(eda: np.ndarray, rate_hz: float, when: Spells, share: float) -> np.ndarray:
    """Electrodes that touch with less of their area: only ``share`` (0 to 1) of the conductance is left."""
    spoilt = eda.copy()
    for spell in when:
        spoilt[_rows(spell, rate_hz, len(eda))] *= share
    return spoilt


def jump(eda: np.ndarray, rate_hz: float, at_s: collections.abc.Sequence[float], factor: float, rng: np.random.Generator) -> np.ndarray:
    """Electrodes that slip: from each of ``at_s`` on the conductance is ``factor`` times as high, or as low, as before.

    Args:
        eda: microsiemens.
        rate_hz: of ``eda``.
        at_s: seconds after the first sample.
        factor: over 1.
        rng: draws up or down, each time.
    """
    gain = np.ones(len(eda))
    for t_s in at_s:
        gain[round(t_s * rate_hz) :] *= factor ** rng.choice((-1.0, 1.0))
    return (eda * gain).astype(eda.dtype)


def move(ppg: np.ndarray, rate_hz: float, when: Spells, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A wrist that moves: eight tones in the band of the pulse.

    Args:
        ppg: any unit.
        rate_hz: of ``ppg``.
        when: spells of movement.
        strength: standard deviation of the disturbance over that of the whole wave.
        rng: draws frequencies and phases.
    """
    spoilt = ppg.copy()
    deviation = strength * float(np.std(ppg))
    for spell in when:
        rows = _rows(spell, rate_hz, len(ppg))
        t_s = np.arange(rows.stop - rows.start) / rate_hz
        tones = np.sin(2.0 * np.pi * (np.outer(rng.uniform(*MOTION_HZ, 8), t_s) + rng.random((8, 1))))
        spoilt[rows] += (deviation * tones.sum(axis=0) / 2.0).astype(ppg.dtype)  # eight sines have a deviation of 2
    return spoilt


def hold(windows: np.ndarray, rng: np.random.Generator, chance: float, longest: int = 25) -> np.ndarray:
    """What a front makes of gaps: pulse, skin or both keep their last values for a while, marked as not valid.

    No window ends without skin contact, for the front gives none then.

    Args:
        windows: float32 (n, steps, channels).
        rng: draws which windows, and where.
        chance: of a gap in a window, 0 to 1, for pulse and skin each.
        longest: steps.
    """
    spoilt = windows.copy()
    steps = windows.shape[1]
    for channels, valid in ((PULSE_CHANNELS, PULSE_VALID), (SKIN_CHANNELS, SKIN_VALID)):
        for row in np.flatnonzero(rng.random(len(windows)) < chance):
            first = int(rng.integers(0, steps - 1))
            last = min(first + int(rng.integers(1, longest)), steps - (valid == SKIN_VALID))
            spoilt[row, first:last, channels] = spoilt[row, first - 1, channels] if first else 0.0
            spoilt[row, first:last, valid] = 0.0
    return spoilt
