"""Faults that lie inside the kit's process: sensors, chips, stages, data. Each is a list of spells in a ``World``."""

from __future__ import annotations

import dataclasses

from benchmarks.fault_sources import Spell
from edge.types import Modality

READY_S = 5.0
"""Face and speech are there by then."""
WARM_S = 19.0
"""Physiology is: its front waits for 15 s of skin."""
AFTER_S = 6.0
"""How long a run goes on after a fault."""
PEOPLE = ("camera", "microphone", "band")
CHIPS = ("camera", "microphone", "max30102", "ads1115")


@dataclasses.dataclass(frozen=True)
class Case:
    """One fault."""

    name: str
    how: str
    """How it is injected, in words."""
    spells: tuple[Spell, ...]
    hits: tuple[Modality, ...]
    """Modalities that may be absent while it lasts; all others must stay."""
    must_notice: bool = True
    """Whether those must be absent at some time, with a reason; False where the kit may be able to do without."""
    stays: bool = False
    """The fault does not end within the run, or its end is not what recovery waits for: judged from its begin."""
    sources: tuple[str, ...] = PEOPLE
    stops_beat: bool = False
    """No tick can be decided while it lasts; they are skipped, counted, and the beat goes on."""
    decided_least: float = 1.0
    """Share of the ticks of the run that must have a decision of some modality, once the first are ready."""

    @property
    def from_s(self) -> float:
        return min(spell.from_s for spell in self.spells)

    @property
    def to_s(self) -> float:
        return self.from_s if self.stays else max(spell.to_s for spell in self.spells)

    @property
    def length_s(self) -> float:
        """Of the run."""
        return self.to_s + AFTER_S

    @property
    def settled_s(self) -> float:
        """From when on everything that the case looks at is there."""
        return WARM_S if self.from_s >= WARM_S else 3.0


def _case(
    name: str, how: str, part: str, kind: str, seconds: float, hits: tuple[Modality, ...], *, at_s: float = READY_S, **options: object
) -> Case:
    return Case(name, how, (Spell(part, kind, at_s, at_s + seconds),), hits, **options)  # type: ignore[arg-type]


def _chip(name: str, how: str, part: str, kind: str, seconds: float, **options: object) -> Case:
    return _case(name, how, part, kind, seconds, ("physiology",), at_s=WARM_S + 1.0, sources=CHIPS, **options)


FACE: tuple[Modality, ...] = ("face",)
SPEECH: tuple[Modality, ...] = ("speech",)
BODY: tuple[Modality, ...] = ("physiology",)
EVER_S = 1e6

CASES: tuple[Case, ...] = (
    Case("no fault", "for comparison", (Spell("nobody", "nothing", READY_S, READY_S + 4.0),), (), must_notice=False),
    _case(
        "camera hang",
        "its read never returns, and those of handles opened meanwhile not before 6 s have passed",
        "camera",
        "hang",
        6.0,
        FACE,
    ),
    _case("camera open fails at start", "open says EBUSY for the first 5 s", "camera", "refuses", 5.0, FACE, at_s=0.0),
    _case("camera unplugged and back", "read and open say ENODEV for 5 s", "camera", "gone", 5.0, FACE),
    _case("frame storm", "300 frames/s instead of 8, for 2 s", "camera", "storm", 2.0, FACE, must_notice=False),
    _case(
        "frames of another size",
        "155x117 instead of 320x240 from then on",
        "camera",
        "resized",
        EVER_S,
        FACE,
        must_notice=False,
        stays=True,
    ),
    _case("audio overflow", "the microphone loses 1.5 s of samples", "microphone", "gap", 1.5, SPEECH),
    _case(
        "microphone hang",
        "its read never returns, and those of handles opened meanwhile not before 4 s have passed",
        "microphone",
        "hang",
        4.0,
        SPEECH,
    ),
    _case("microphone unplugged and back", "read and open say ENODEV for 5 s", "microphone", "gone", 5.0, SPEECH),
    _chip("bus NACK", "nobody answers at the MAX30102's address for 5 s", "max30102", "nack", 5.0),
    _chip("stuck bus", "a line is held low for 5 s: every transfer blocks for 1 s, then ETIMEDOUT", "bus", "stuck", 5.0),
    _chip("pulse chip brown-out and reset", "MAX30102 without supply for 4 s, then its power-on state", "max30102", "brown-out", 4.0),
    _chip("skin chip brown-out and reset", "ADS1115 without supply for 4 s, then its power-on state", "ads1115", "brown-out", 4.0),
    _chip("FIFO overflow", "the MAX30102's thread is held up for 2 s: its FIFO holds 0.3 s", "max30102", "stall", 2.0, must_notice=False),
    _chip("I2C adapter unplugged and back", "ENODEV on open handles, ENOENT on new ones, for 5 s", "adapter", "gone", 5.0),
    _chip("finger off and on", "the light of the MAX30102 goes dark for 5 s", "max30102", "off", 5.0),
    _chip("electrodes off and on", "the skin's conductance is 0 for 5 s", "ads1115", "off", 5.0),
    _case("stage crash, InferenceError", "the face's encoder raises for 4 s", "face", "InferenceError", 4.0, FACE),
    _case("stage crash, RuntimeError", "the speech's encoder raises for 4 s", "speech", "RuntimeError", 4.0, SPEECH),
    _case("NaN from an encoder", "the speech's encoder gives NaN for 4 s", "speech", "nan", 4.0, SPEECH),
    _case("NaN from the detector", "the face detector gives NaN for 4 s", "detector", "nan", 4.0, FACE),
    _case("NaN from the fusion", "the fusion gives NaN for 4 s", "fusion", "nan", 4.0, (*FACE, *SPEECH, *BODY), decided_least=0.0),
    _case("fusion crash, RuntimeError", "it raises for 4 s", "fusion", "RuntimeError", 4.0, (*FACE, *SPEECH, *BODY), decided_least=0.0),
    _case(
        "stage hangs for 5 s, once",
        "the face's encoder returns after 5 s",
        "face",
        "hang",
        5.0,
        (*FACE, *SPEECH),
        stops_beat=True,
        must_notice=False,
    ),
    _case("NaN samples, audio", "the microphone gives NaN for 4 s", "microphone", "nan", 4.0, SPEECH),
    _case("NaN samples, pulse and skin", "the band gives NaN for 4 s", "band", "nan", 4.0, BODY, at_s=WARM_S + 1.0),
    _case("rate change, audio", "the microphone's chunks say 44.1 kHz for 4 s", "microphone", "44.1 kHz", 4.0, SPEECH),
    _case("rate change, pulse", "the band's chunks say 10 samples/s for 4 s", "band", "10 Hz", 4.0, BODY, at_s=WARM_S + 1.0),
    _case("time goes back, camera", "frames are stamped 5 s into the past for 4 s", "camera", "back", 4.0, FACE),
    _case("time goes back, microphone", "sound is stamped 5 s into the past for 4 s", "microphone", "back", 4.0, SPEECH),
    _case("time leaps ahead, camera", "frames are stamped 1 h into the future for 4 s", "camera", "ahead", 4.0, FACE),
    _case("time leaps ahead, microphone", "sound is stamped 1 h into the future for 4 s", "microphone", "ahead", 4.0, SPEECH),
    _case(
        "time leaps ahead, band", "pulse and skin are stamped 1 h into the future for 4 s", "band", "ahead", 4.0, BODY, at_s=WARM_S + 1.0
    ),
)
"""In the order of the table."""
