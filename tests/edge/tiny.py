"""A whole kit in miniature: fronts that take means, stages of one line, recordings in memory, clocks that need no waiting."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
import time

import numpy as np

from edge.bundle import Bundle, Manifest, StageSpec
from edge.clock import ManualClock
from edge.inference.branch import Branch, Patience
from edge.inference.cycle import Cycle
from edge.inference.form import Form
from edge.inference.fusion import Fusion
from edge.inference.scheduler import MS
from edge.inference.smoothing import Smoother
from edge.outputs import Opening, Timing
from edge.types import MODALITIES, Absence, Chunk, Decision, Window

LABELS = ("positive", "calm", "low", "tense")
TRACK = {"face": "video", "speech": "audio", "physiology": "ppg"}
WIDTH = 4
OPENING = Opening("tiny 1", LABELS, ("replay:tiny",), 0, 250, 200, 10_000 * MS, True)


class MeanFront:
    """A window for every chunk: its mean, four times. A chunk of zeros is a source that gives nothing."""

    def __init__(self, modality: str):
        self.modality = modality
        self.tracks = (TRACK[modality],)
        self.polls = 0
        self._newest: Chunk | None = None

    def push(self, chunk: Chunk) -> None:
        self._newest = chunk

    def poll(self, now_ns: int) -> Window | Absence | None:
        self.polls += 1
        chunk, self._newest = self._newest, None
        if chunk is None:
            return None
        if not chunk.samples.any():
            return Absence(self.modality, "lost", "nothing but zeros")
        return Window(self.modality, chunk.end_ns, np.full(WIDTH, chunk.samples.mean(), np.float32), 1.0)


class Encoder:
    """The embedding is the window; may take time on a ManualClock, and may be told to answer with something else."""

    def __init__(self, clock: ManualClock | None = None, takes_ms: float = 0.0):
        self.clock, self.takes_ms, self.runs, self.answer = clock, takes_ms, 0, None

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        self.runs += 1
        if self.clock is not None:
            self.clock.advance_to(self.clock.now_ns() + round(self.takes_ms * MS))
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"embedding": arrays["window"] if self.answer is None else np.full(WIDTH, self.answer, np.float32)}


class Votes:
    """Every modality votes for its own label with its embedding's value; remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[dict[str, np.ndarray]] = []
        self.poisoned = False

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        self.given.append(arrays)
        logits = np.zeros(4, np.float32)
        for i, modality in enumerate(MODALITIES):
            logits[i] = 4 * arrays[modality][0]
        weights = np.float32([0.5, 0.3, 0.2])
        return {"logits": logits * np.nan if self.poisoned else logits, "weights": weights}


def fusion(stage: Votes | None = None, temperature: float = 1.0) -> Fusion:
    return Fusion(stage or Votes(), Form(dict.fromkeys(MODALITIES, WIDTH)), labels=4, temperature=temperature)


def branch(modality: str = "face", encoder: Encoder | None = None, clock: ManualClock | None = None, **options) -> Branch:
    patience = Patience(lost_after_ns=1000 * MS, max_age_ns=600 * MS)
    return Branch(MeanFront(modality), encoder or Encoder(), "window", patience=patience, clock=clock or ManualClock(), **options)


def cycle(clock: ManualClock | None = None, votes: Votes | None = None) -> Cycle:
    clock = clock or ManualClock()
    smoother = Smoother(LABELS, abstain_below=0.4, switch_margin=0.1)
    return Cycle([branch(m, clock=clock) for m in MODALITIES], fusion(votes), smoother, clock=clock)


def compose(_bundle: Bundle, _settings: object, clock: ManualClock) -> Cycle:
    return cycle(clock)


def bundle(**changes: object) -> Bundle:
    stages = {m: StageSpec(m, f"stages/{m}.tflite", {"window": "x"}, {"embedding": "y"}, 1.0, 1, 1) for m in MODALITIES}
    manifest = Manifest("tiny", "1", "2025-01-01", LABELS, stages, {}, {}, 1.0, 0.4, 0.1, ())
    return Bundle(pathlib.Path("tiny.affectkit"), "0" * 64, dataclasses.replace(manifest, **changes))


@dataclasses.dataclass(frozen=True)
class Spell:
    modality: str
    reason: str
    from_ms: float
    to_ms: float
    what: str = ""


class Recording:
    """``values``: track -> f(t_s) -> value; video at 4 Hz, audio in chunks of 100 ms, ppg of 250 ms; None leaves the chunk out."""

    def __init__(self, duration_s: float, planned: tuple[Spell, ...] = (), **values):
        self.duration_ns, self.planned, self._values = round(duration_s * 1e9), planned, values
        self.tracks = tuple(values)

    def chunks(self, track: str):
        rate_hz, count = {"video": (4.0, 1), "audio": (160.0, 16), "ppg": (64.0, 16)}[track]
        t_ns = 0
        while t_ns < self.duration_ns:
            value = self._values[track](t_ns / 1e9)
            if value is not None:
                samples = (
                    np.full((count, 4, 4), 255 * value, np.uint8) / np.float32(255)
                    if track == "video"
                    else np.full(count, value, np.float32)
                )
                yield Chunk(track, t_ns, rate_hz, samples)
            t_ns += round(count * 1e9 / rate_hz)


class ScaledClock:
    """Real time, ``speed`` times as fast: threads really run, tests do not really wait."""

    def __init__(self, speed: float = 40.0):
        self._speed, self._began_ns = speed, time.monotonic_ns()

    def now_ns(self) -> int:
        return round((time.monotonic_ns() - self._began_ns) * self._speed)

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        return wake.wait(max(0, until_ns - self.now_ns()) / 1e9 / self._speed)


def decision(t_ms: float, label: str | None = "calm", absent: dict[str, str] | None = None, **changes) -> Decision:
    absences = {m: Absence(m, reason, "because") for m, reason in (absent or {}).items()}
    present = [m for m in MODALITIES if m not in absences]
    made = Decision(
        t_ns=round(t_ms * MS),
        label=label,
        state="decided" if label else "unsure",
        confidence=0.7,
        probabilities={"positive": 0.1, "calm": 0.7, "low": 0.1, "tense": 0.1},
        weights={m: 1 / len(present) for m in present},
        absent=absences,
        ends_ns={m: round((t_ms - 20 - 5 * i) * MS) for i, m in enumerate(present)},
    )
    return dataclasses.replace(made, **changes)


def timing(response_ms: float = 1.0, **changes) -> Timing:
    return dataclasses.replace(Timing(round(50 * MS), round(response_ms * MS), round(response_ms * MS), 0, response_ms > 200), **changes)


class Collect:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[tuple[Decision, Timing]] = []
        self.closed = 0

    def open(self, opening: Opening) -> None:
        self.opening = opening

    def give(self, made: Decision, taken: Timing) -> None:
        self.given.append((made, taken))

    def close(self) -> None:
        self.closed += 1
