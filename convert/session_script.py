"""What happens in the embedded session, and when: nothing here computes."""

from __future__ import annotations

import dataclasses
import typing

from edge.session import Planned, Source
from edge.types import Modality

Effect = typing.Literal["dim", "blur", "hand", "leaves", "microphone off", "noise", "electrodes off"]


@dataclasses.dataclass(frozen=True)
class Spell:
    """Something goes wrong with a modality from ``from_s`` to ``to_s``."""

    modality: Modality
    effect: Effect
    reason: str
    from_s: float
    to_s: float
    what: str

    @property
    def planned(self) -> Planned:
        return Planned(self.modality, self.reason, round(self.from_s * 1000), round(self.to_s * 1000), self.what)


@dataclasses.dataclass(frozen=True)
class Pose:
    """Where the face is: its centre and its size in pixels of the frame, and how far the head is tilted."""

    at_s: float
    x_px: float
    y_px: float
    face_px: float
    tilt_deg: float


@dataclasses.dataclass(frozen=True)
class Script:
    """Everything that the builder needs besides the data."""

    title: str
    duration_s: float
    seed: int
    width_px: int
    height_px: int
    frame_rate_hz: float
    webp_quality: int
    poses: tuple[Pose, ...]
    spells: tuple[Spell, ...]
    speaker: str
    """Of EmoDB; one face, one voice."""
    moods: tuple[tuple[float, str], ...]
    """From this second on the speaker is in this mood (a label of EmoDB)."""
    person: str
    """Of Stress-Predict."""
    person_from_s: int
    """Unix time at which the excerpt begins."""
    consent: str
    sources: tuple[Source, ...]


SCRIPT = Script(
    title="Ninety seconds before a camera, a microphone and a wrist band (composed)",
    duration_s=90.0,
    seed=20240607,
    width_px=320,
    height_px=240,
    frame_rate_hz=8.0,
    webp_quality=35,
    poses=(
        Pose(0.0, 160, 108, 68, 0),
        Pose(5.0, 172, 104, 74, 3),
        Pose(9.0, 150, 110, 70, -3),
        Pose(15.0, 160, 106, 62, 2),
        Pose(20.0, 182, 104, 72, 5),
        Pose(23.0, 178, 106, 70, 0),
        Pose(24.8, 520, 112, 70, 4),  # out to the right; the face is out of view from 24.0 s
        Pose(29.0, 520, 112, 66, 4),
        Pose(30.6, 168, 106, 66, 0),
        Pose(36.0, 150, 104, 78, -4),
        Pose(43.0, 166, 100, 86, 2),
        Pose(48.0, 172, 108, 60, 4),
        Pose(54.0, 158, 104, 72, 0),
        Pose(59.0, 148, 106, 70, -3),
        Pose(61.0, 150, 106, 70, 0),
        Pose(62.8, -220, 112, 70, -4),  # out to the left; out of view from 62.0 s
        Pose(66.0, -220, 112, 70, -4),
        Pose(67.6, 160, 104, 70, 0),
        Pose(71.0, 166, 104, 78, 2),
        Pose(78.0, 158, 102, 80, -2),
        Pose(84.0, 176, 106, 58, 4),
        Pose(90.0, 160, 106, 68, 0),
    ),
    spells=(
        Spell("face", "dim", "degraded", 9.5, 14.0, "the light is dimmed"),
        Spell("speech", "noise", "degraded", 17.0, 22.0, "a fan runs beside the microphone"),
        Spell("face", "leaves", "lost", 24.0, 30.0, "the face leaves the view"),
        Spell("physiology", "electrodes off", "lost", 36.5, 42.5, "the wrist band comes off"),
        Spell("speech", "microphone off", "lost", 47.0, 53.0, "the microphone falls silent"),
        Spell("face", "blur", "degraded", 54.0, 58.0, "the picture is out of focus"),
        Spell("face", "leaves", "lost", 62.0, 67.0, "everything is absent: no face"),
        Spell("speech", "microphone off", "lost", 62.0, 66.5, "everything is absent: no sound"),
        Spell("physiology", "electrodes off", "lost", 61.75, 66.75, "everything is absent: no wrist band"),
        Spell("face", "hand", "degraded", 72.0, 77.0, "a hand covers half of the face"),
    ),
    speaker="08",
    moods=((0.0, "neutral"), (8.0, "happiness"), (31.0, "boredom"), (43.0, "neutral"), (54.0, "anger"), (70.0, "fear"), (78.0, "anger")),
    person="S09",
    # The tasks begin 60 s later. What moving the arm did to the pulse wave at 37-41 s and 63-66 s lies where the band is off.
    person_from_s=1644844387,
    consent="Published research data and a public-domain portrait; nobody was recorded for this session.",
    sources=(
        Source("Speech: EmoDB (Burkhardt et al., 2005), speaker 08, cut, levelled and joined", "CC0 1.0"),
        Source(
            "Pulse wave and skin conductance: Stress-Predict (Iqbal et al., 2022), person S09, 90 s", "MIT, Copyright (c) 2022 Talha Iqbal"
        ),
        Source("Portrait of Eileen Collins (NASA), as scikit-image carries it, cut out and moved", "public domain"),
        Source("Room, noise and hand: drawn by convert/session_picture.py", "as this project"),
    ),
)
