"""The messages that walk through the house, in the order in which they are made.

``Chunk`` -> ``Window`` or ``Absence`` -> ``Embedding`` -> ``Estimate`` -> ``Decision``. All are frozen; times are monotonic
nanoseconds, stamped once, at capture.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

Track = typing.Literal["video", "audio", "ppg", "ibi", "eda", "rppg"]
"""What a source delivers: frames, sound pressure, pulse wave, inter-beat intervals, skin conductance; and the pulse wave that is read
from the face (rppg), which no source delivers."""

Modality = typing.Literal["face", "speech", "physiology"]
"""What a decision is fused from."""

TRACKS: tuple[Track, ...] = ("video", "audio", "ppg", "ibi", "eda")
"""What sources deliver."""
MODALITIES: tuple[Modality, ...] = ("face", "speech", "physiology")

Reason = typing.Literal["lost", "stale", "noisy", "late"]
"""Why a modality is absent.

lost: the source gives nothing usable (unplugged, no face in view, silence, electrodes off); stale: the newest embedding is
too old; noisy: there is a signal, too poor to use; late: there was no time to encode it.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """What a sensor delivered at once.

    video: uint8 (n, height, width), luma; audio: float32 (n,) in [-1, 1]; ppg, rppg: float32 (n,), arbitrary units;
    ibi: float32 (1,), seconds, at the end of the interval; eda: float32 (n,), microsiemens.
    """

    track: Track
    t_ns: int
    """Capture time of the first sample."""
    rate_hz: float
    """Samples per second; nominal for video, whose chunks hold one frame each, and for ibi, one interval each."""
    samples: np.ndarray
    chroma: np.ndarray | None = None
    """Of video in colour: uint8 (n, 2, height / 2, width / 2), Cb and Cr of full-range BT.601 (JFIF), 128 for grey."""

    @property
    def end_ns(self) -> int:
        """Capture time of the last sample."""
        return self.t_ns + round((len(self.samples) - 1) * 1e9 / self.rate_hz)


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """Input of one encoder: float32 in the shape that the stage takes, without the batch axis."""

    modality: Modality
    end_ns: int
    """Capture time of the newest sample in it."""
    samples: np.ndarray
    quality: float
    """0 (unusable) to 1."""


@dataclasses.dataclass(frozen=True)
class Absence:
    """Why a modality has nothing to say."""

    modality: Modality
    reason: Reason
    detail: str = ""
    """In words, for people: "no face in view", "electrodes off"."""


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding:
    """What an encoder made of one window: float32 (width,)."""

    modality: Modality
    end_ns: int
    vector: np.ndarray
    quality: float


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    """What the fusion says at one tick; no modality at all gives no Estimate."""

    t_ns: int
    probabilities: np.ndarray
    """float32 (labels,), sums to 1, calibrated."""
    weights: collections.abc.Mapping[Modality, float]
    """Attention over the modalities present, sums to 1."""
    absent: collections.abc.Mapping[Modality, Absence]


@dataclasses.dataclass(frozen=True)
class Decision:
    """What is given out at one tick."""

    t_ns: int
    """The tick, in the time base of the run."""
    label: str | None
    """One of the bundle's labels; None when it abstains or nothing is present."""
    state: typing.Literal["decided", "unsure", "no decision"]
    confidence: float
    """Probability of the leading label; 0 with nothing present."""
    probabilities: collections.abc.Mapping[str, float]
    weights: collections.abc.Mapping[Modality, float]
    absent: collections.abc.Mapping[Modality, Absence]
    ends_ns: collections.abc.Mapping[Modality, int]
    """Capture time of the newest sample used of each modality present."""

    @property
    def newest_ns(self) -> int | None:
        """Capture time of the newest sample used; None with nothing present."""
        return max(self.ends_ns.values(), default=None)

    @property
    def skew_ns(self) -> int:
        """Between the newest samples of the modalities present: how far apart in time the fused ones lie; 0 for one or none."""
        return max(self.ends_ns.values(), default=0) - min(self.ends_ns.values(), default=0)


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that changed how decisions are made."""

    t_ns: int
    """When, in the time base of the run."""
    kind: typing.Literal["plan", "degraded", "restored", "source lost", "source back"]
    detail: str
    """What, and why, in words."""
