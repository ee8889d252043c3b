"""Pulse wave and skin conductance -> one step of channels a second -> windows of 60 steps for the physiology encoder.

People differ more from each other than rest does from stress, so every channel is relative to what this person has shown
so far. Nothing looks ahead and nothing counts the time since the start, for a kit is switched on at any moment.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import typing

import numpy as np

from edge.errors import InputError
from edge.preprocess.beats import SECOND_NS, PulseParameters, PulseSecond
from edge.preprocess.eda import SkinParameters, SkinSecond, SkinTracker
from edge.preprocess.pulse_sources import PulseSources
from edge.types import Absence, Chunk, Modality, Track, Window

CHANNELS = ("heart_rate", "variability", "conductance", "phasic", "activity", "pulse_valid", "skin_valid")
"""What a step holds, in this order; the last two are 1 where the others were measured and 0 where they are held."""
PULSE_CHANNELS, SKIN_CHANNELS = slice(0, 2), slice(2, 5)
PULSE_VALID, SKIN_VALID = 5, 6
MEASURED = ("heart_rate", "variability", "conductance", "phasic", "activity")
"""What ``memories_s`` averages: of each memory so many channels in this order, after the channels above."""
FLOORS = (4.0, 0.4, 0.15, 0.1, 0.3)
"""Of their scores: beats/min, ln(ms), ln(microsiemens), share of the tonic level, 40 times ln(microsiemens) a second."""


@dataclasses.dataclass(frozen=True)
class PhysiologyParameters:
    """How steps and windows are made; every field is a plain number or a class of such."""

    pulse: PulseParameters = dataclasses.field(default_factory=PulseParameters)
    skin: SkinParameters = dataclasses.field(default_factory=SkinParameters)
    window_s: int = 60
    warm_up_s: int = 15
    """Seconds of skin contact, and one of pulse, before the first window."""
    baseline_s: float = 900.0
    """Memory of the personal baseline; until then it is the mean of all seen so far."""
    activity_s: float = 30.0
    """Memory of the skin's activity, the mean slope of log conductance whatever its sign."""
    limit: float = 3.0
    """Channels are clipped to plus and minus this."""
    good_pulse: float = 0.5
    """Lowest pulse quality whose heart rate is used."""
    noisy_after_s: int = 45
    noisy_below: float = 0.4
    """A mean pulse quality below this for so long makes the modality absent as noisy: no more than noise has by chance."""
    late_s: float = 0.45
    """A chunk is missing when it is so much later than its own length."""
    forget_after_s: int = 300
    """Electrodes off for longer may be on another person next: the baseline starts anew."""
    leave_after_s: int = 5
    """A pulse source that was silent or bad for so long is left for a better one."""
    return_after_s: int = 10
    """A pulse source that comes before the present one is taken after it was good for so long."""
    memories_s: tuple[float, ...] = ()
    """Each adds five channels: what ``MEASURED`` was on average over about so long a past, less its baseline. None adds none."""

    @property
    def channels(self) -> int:
        """Channels of a step."""
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the channels of a step, in order."""
        return CHANNELS + tuple(f"{name}_{memory_s:g}_s" for memory_s in self.memories_s for name in MEASURED)

    def __post_init__(self) -> None:
        object.__setattr__(self, "memories_s", tuple(self.memories_s))
        if isinstance(self.pulse, dict):
            object.__setattr__(self, "pulse", PulseParameters(**self.pulse))
        if isinstance(self.skin, dict):
            object.__setattr__(self, "skin", SkinParameters(**self.skin))


class Baseline:
    """Running mean and variance, exponentially forgetting once older than ``memory_s`` (West, 1979, with a floor on the gain)."""

    def __init__(self, memory_s: float):
        self.memory_s = memory_s
        self.count = 0
        self.mean = self.variance = 0.0

    def learn(self, x: float) -> None:
        """Take the value of one more second."""
        self.count += 1
        gain = max(1.0 / self.count, 1.0 / self.memory_s)
        apart = x - self.mean
        self.mean += gain * apart
        self.variance = (1.0 - gain) * (self.variance + gain * apart * apart)

    def score(self, x: float, floor: float) -> float:
        """``(x - mean) / sqrt(variance + floor^2)``: the floor keeps a quiet or short past from blowing up small changes."""
        return (x - self.mean) / math.sqrt(self.variance + floor * floor)


class Memories:
    """Exponential averages of one value over several memories, as scores against its baseline: minutes of past in one step.

    While younger than its memory an average is the mean so far, as the baseline is: its score is 0.
    """

    def __init__(self, memories_s: tuple[float, ...], baseline_s: float, floor: float):
        self._baseline = Baseline(baseline_s)
        self._averages = [Baseline(memory_s) for memory_s in memories_s]
        self._floor = floor

    def learn(self, x: float) -> None:
        """Take the value of one more second."""
        self._baseline.learn(x)
        for average in self._averages:
            average.learn(x)

    def scores(self) -> list[float]:
        """One for each memory: ``(average - mean) / sqrt(variance + floor^2)``."""
        return [self._baseline.score(average.mean, self._floor) for average in self._averages]


class StepMaker:
    """One second of pulse and skin -> one step, float32 (channels,) in [-limit, limit]; knows the person so far."""

    def __init__(self, parameters: PhysiologyParameters):
        self.parameters = p = parameters
        self._held = np.zeros(p.channels, np.float32)
        self._memories = [Memories(p.memories_s, p.baseline_s, floor) for floor in FLOORS]
        self._rate, self._variability = Baseline(p.baseline_s), Baseline(p.baseline_s)
        self._level, self._power, self._activity_so_far = Baseline(p.baseline_s), Baseline(p.baseline_s), Baseline(p.baseline_s)
        self._activity = Baseline(p.activity_s)
        self._last_log: float | None = None

    def step(self, pulse: PulseSecond | None, skin: SkinSecond | None) -> np.ndarray:
        """The step of one second; None or a bad reading holds the channels at their last value and says so.

        heart_rate: z-score, floor 4 beats/min. variability: natural log of RMSSD less its baseline, in 0.4.
        conductance: z-score of ln(level + 0.05 microsiemens), floor 0.15. phasic: over its own root mean square, floor 0.005
        microsiemens. activity: log mean absolute slope of log conductance, less its baseline.

        With ``memories_s``: averages of heart rate, log RMSSD, log level, phasic over tonic part, and absolute slope of log level.
        """
        held = self._held
        pulse_ok = pulse is not None and pulse.quality >= self.parameters.good_pulse
        if pulse_ok and pulse is not None:
            self._rate.learn(pulse.heart_rate_bpm)
            held[0] = self._rate.score(pulse.heart_rate_bpm, 4.0)
            self._remember("heart_rate", pulse.heart_rate_bpm)
            if math.isfinite(pulse.rmssd_ms) and pulse.rmssd_ms > 0.0:
                log_rmssd = math.log(pulse.rmssd_ms)
                self._variability.learn(log_rmssd)
                held[1] = (log_rmssd - self._variability.mean) / 0.4
                self._remember("variability", log_rmssd)
        skin_ok = skin is not None and skin.on
        if skin_ok and skin is not None:
            level = math.log(max(skin.level_us, 0.0) + 0.05)
            self._level.learn(level)
            held[2] = self._level.score(level, 0.15)
            self._power.learn(skin.phasic_us**2)
            held[3] = skin.phasic_us / math.sqrt(self._power.mean + 0.005**2)
            self._remember("conductance", level)
            self._remember("phasic", skin.phasic_us / max(skin.tonic_us, 0.1))
            if self._last_log is not None:
                slope = 40.0 * abs(level - self._last_log)
                self._remember("activity", slope)
                self._activity.learn(slope)
                log_activity = math.log(self._activity.mean + 0.05)
                self._activity_so_far.learn(log_activity)
                held[4] = log_activity - self._activity_so_far.mean
            self._last_log = level
        else:
            self._last_log = None
        np.clip(held, -self.parameters.limit, self.parameters.limit, out=held)
        held[PULSE_VALID], held[SKIN_VALID] = float(pulse_ok), float(skin_ok)
        return held.copy()

    def _remember(self, name: str, x: float) -> None:
        if self.parameters.memories_s:
            number = MEASURED.index(name)
            self._memories[number].learn(x)
            self._held[len(CHANNELS) + number :: len(MEASURED)] = self._memories[number].scores()


def window_of(steps: typing.Sequence[np.ndarray] | np.ndarray, window_s: int) -> np.ndarray:
    """The last ``window_s`` steps as float32 (window_s, channels); before the first step all is 0, so not valid."""
    newest = list(steps)[-window_s:]
    window = np.zeros((window_s, len(newest[0]) if newest else len(CHANNELS)), np.float32)
    if newest:
        window[-len(newest) :] = newest
    return window


class Readiness:
    """Whether the steps so far are enough for a window, and if not, why; told of every second, whoever makes the steps."""

    def __init__(self, parameters: PhysiologyParameters):
        self.parameters = parameters
        self.no_skin_s = 0
        self._skin_seconds = self._pulse_seconds = 0
        self._qualities: collections.deque[float] = collections.deque(maxlen=parameters.noisy_after_s)

    def learn(self, step: np.ndarray, pulse: PulseSecond | None) -> None:
        """Take one more second: its step, and the pulse that it was made of."""
        skin_ok, pulse_ok = bool(step[SKIN_VALID]), bool(step[PULSE_VALID])
        self._skin_seconds += skin_ok
        self._pulse_seconds += pulse_ok
        self.no_skin_s = 0 if skin_ok else self.no_skin_s + 1
        if skin_ok:
            self._qualities.append(0.0 if pulse is None else pulse.quality)
        else:
            self._qualities.clear()  # nothing was on the skin: the pulse gets its time again

    def absence(self) -> Absence | None:
        p = self.parameters
        if len(self._qualities) == p.noisy_after_s and sum(self._qualities) < p.noisy_below * p.noisy_after_s:
            return Absence("physiology", "noisy", f"no steady pulse for {p.noisy_after_s} s")
        if self._skin_seconds < p.warm_up_s or not self._pulse_seconds:
            return Absence("physiology", "lost", "warming up")
        return None


def quality_of(window: np.ndarray) -> float:
    """Share of valid entries among both validity columns, 0 to 1."""
    return float(window[:, [PULSE_VALID, SKIN_VALID]].mean())


class PhysiologyFront:
    """Skin conductance and the best pulse there is -> one Window a second, or why there is none.

    Streaming, same result however chunks are cut. Which pulse that is, ``PulseSources`` says.
    """

    modality: Modality = "physiology"
    tracks: tuple[Track, ...] = ("ppg", "eda", "ibi", "rppg")

    def __init__(self, parameters: PhysiologyParameters = PhysiologyParameters()):
        self.parameters = parameters
        self.skin = SkinTracker(parameters.skin)
        self.pulse = PulseSources(
            parameters.pulse,
            good_pulse=parameters.good_pulse,
            late_s=parameters.late_s,
            leave_after_s=parameters.leave_after_s,
            return_after_s=parameters.return_after_s,
        )
        self._newest_skin: tuple[int, float] | None = None  # end_ns, chunk length in seconds
        self._skin_at: dict[int, SkinSecond] = {}
        self._next_s: int | None = None
        self._said: Absence | None = None
        self._forget()

    @property
    def pulse_source(self) -> Track | None:
        """The track that the pulse is taken from now; None before any has said something."""
        return self.pulse.source

    def _forget(self) -> None:
        self._maker = StepMaker(self.parameters)
        self._steps: collections.deque[np.ndarray] = collections.deque(maxlen=self.parameters.window_s)
        self._readiness = Readiness(self.parameters)

    def push(self, chunk: Chunk) -> None:
        """Take a chunk of one of ``tracks``.

        Raises:
            InputError: another track, or a rate that the trackers do not take.
        """
        if chunk.track not in self.tracks:
            raise InputError(f"physiology: got a chunk of {chunk.track}; takes {', '.join(self.tracks)}")
        if not len(chunk.samples):
            return
        if chunk.track == "eda":
            self.skin.push(chunk.t_ns, chunk.rate_hz, chunk.samples)
            self._newest_skin = (chunk.end_ns, len(chunk.samples) / chunk.rate_hz)
            while self.skin.seconds:
                skin = self.skin.seconds.popleft()
                self._skin_at[skin.t_s] = skin
        else:
            self.pulse.push(chunk)

    def poll(self, now_ns: int) -> Window | Absence | None:
        """What is new at ``now_ns``: a Window when a second was completed, an Absence when it begins or its reason changes."""
        fresh = self._advance(now_ns)
        absence = self._absence(now_ns)
        if absence is not None:
            changed = absence != self._said
            self._said = absence
            return absence if changed else None
        if not fresh or self._next_s is None:
            return None
        self._said = None
        samples = window_of(self._steps, self.parameters.window_s)
        return Window("physiology", (self._next_s - 1) * SECOND_NS, samples, quality_of(samples))

    def _advance(self, now_ns: int) -> bool:
        """Make the step of every second that skin and pulse have passed, or that waited too long for one of them."""
        if self._next_s is None:
            known = [*self.pulse.waiting(), *self._skin_at]
            if not known:
                return False
            self._next_s = min(known)
        p = self.parameters
        longest_s = max(self.pulse.longest_s, 0.0 if self._newest_skin is None else self._newest_skin[1])
        wait_ns = round((longest_s + p.late_s + 0.2) * 1e9)
        both_s = min(self.pulse.passed_s(now_ns), self.skin.passed_s)
        until_s = max(both_s, (now_ns - wait_ns) // SECOND_NS)
        if until_s - self._next_s > p.forget_after_s + p.window_s and not self._waiting(until_s - p.window_s):
            self._forget()  # nothing came for so long that walking through every second has no use
            self._next_s = until_s - p.window_s
        fresh = False
        while self._next_s <= until_s:
            self._step(self._next_s)
            self._next_s += 1
            fresh = True
        self.pulse.drop_before(self._next_s)  # seconds that came too late for their step
        for t_s in [t_s for t_s in self._skin_at if t_s < self._next_s]:
            del self._skin_at[t_s]
        return fresh

    def _waiting(self, before_s: int) -> bool:
        return any(t_s < before_s for t_s in (*self.pulse.waiting(), *self._skin_at))

    def _step(self, t_s: int) -> None:
        pulse = self.pulse.take(t_s)
        step = self._maker.step(pulse, self._skin_at.pop(t_s, None))
        self._readiness.learn(step, pulse)
        if self._readiness.no_skin_s > self.parameters.forget_after_s:
            self._forget()
        else:
            self._steps.append(step)

    def _absence(self, now_ns: int) -> Absence | None:
        end_ns, length_s = self._newest_skin or (None, 0.0)
        if end_ns is None or now_ns - end_ns > (length_s + self.parameters.late_s) * 1e9:
            return Absence("physiology", "lost", "electrodes off")
        if not self.pulse.delivering(now_ns):
            return Absence("physiology", "lost", "no pulse samples")
        if not self.skin.on:
            return Absence("physiology", "lost", "electrodes off")
        return self._readiness.absence()
