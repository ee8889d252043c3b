"""Is there a voice? A gate over a noise floor that adapts, frame by frame, the same however the stream is cut."""

from __future__ import annotations

import collections
import math
import typing

import numpy as np

if typing.TYPE_CHECKING:
    from edge.preprocess.speech import SpeechParameters


class History:
    """The last ``size`` rows of a stream, as one contiguous view; rows are copied once in ``size`` pushes."""

    def __init__(self, size: int, shape: tuple[int, ...] = ()):
        self._size, self._end = size, 0
        self._rows = np.zeros((2 * size, *shape), np.float32)

    def extend(self, rows: np.ndarray) -> None:
        rows = rows[-self._size :]
        if self._end + len(rows) > len(self._rows):
            kept = self.last(self._size - len(rows)).copy()
            self._rows[: len(kept)] = kept
            self._end = len(kept)
        self._rows[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def last(self, count: int) -> np.ndarray:
        return self._rows[max(0, self._end - count) : self._end] if count > 0 else self._rows[:0]


class VoiceGate:
    """Is there a voice, since when, and how far over the noise?

    Ten frames at a time are too few for numpy to pay: frame by frame with plain numbers it takes half as long.
    """

    def __init__(self, parameters: SpeechParameters):
        self.parameters = parameters
        self.reset()

    def reset(self) -> None:
        """As if nothing had been heard."""
        p = self.parameters
        memory = p.hops(p.floor_memory_ms)
        self._level, self._floor, self._voice = History(memory), History(memory), History(memory)
        self._powers: collections.deque[float] = collections.deque(maxlen=p.level_frames)
        self._least, self._most = Extreme(memory), Extreme(memory)
        self._steady = Spread(p.hops(p.steady_ms))
        self._crowd: collections.deque[bool] = collections.deque(maxlen=p.onset_of)
        self._many = 0
        self.heard = 0
        """Frames so far."""
        self.start = -1
        """Frame at which the voice that is being heard began, run-up included; -1 while the gate is closed."""
        self._without_voice = self._without_sound = 0

    def push(self, power: np.ndarray) -> np.ndarray:
        """Take the voice-band power (k,) of the next frames; return ``start`` as it was after each of them, int64 (k,)."""
        p = self.parameters
        hangover, run_up = p.hops(p.hangover_ms), p.onset_frames + p.hops(p.preroll_ms)
        levels, floors, voices, starts = [], [], [], []
        for one in power.tolist():
            level, floor, threshold = self._measure(one)
            voice = level > threshold
            levels.append(level)
            floors.append(floor)
            voices.append(voice)
            if len(self._crowd) == p.onset_of:
                self._many -= self._crowd[0]
            self._crowd.append(voice)
            self._many += voice
            self._without_voice = 0 if voice else self._without_voice + 1
            self._without_sound = self._without_sound + 1 if level < p.silent_db else 0
            if self.start >= 0 and self._without_voice >= hangover:
                self.start = -1
            elif self.start < 0 and voice and self._many >= p.onset_frames:
                self.start = max(0, self.heard + 1 - run_up)
            self.heard += 1
            starts.append(self.start)
        for history, values in ((self._level, levels), (self._floor, floors), (self._voice, voices)):
            history.extend(np.array(values, np.float32))
        return np.array(starts, np.int64)

    def _measure(self, power: float) -> tuple[float, float, float]:
        """Level, noise floor and threshold of the next frame, in dBFS."""
        p = self.parameters
        self._powers.append(power)
        level = 10.0 * math.log10(sum(self._powers) / len(self._powers))
        floor, peak = self._least.push(level), -self._most.push(-level)
        middle, spread = self._steady.push(level)
        if spread < p.steady_db and middle > floor:
            floor = middle
        return level, floor, max(floor + p.margin_db, peak - p.peak_range_db, p.quietest_db)

    @property
    def active(self) -> bool:
        """Whether a voice is being heard, natural pauses included."""
        return self.start >= 0

    @property
    def silent(self) -> bool:
        """Whether nothing at all has come from the microphone for as long as a pause may last."""
        return self._without_sound >= min(self.heard, self.parameters.hops(self.parameters.hangover_ms))

    @property
    def _since(self) -> int:
        """Frames since the voice began, within ``floor_memory_ms``."""
        return min(self.heard - self.start, self.parameters.hops(self.parameters.floor_memory_ms)) if self.active else 0

    @property
    def voice_frames(self) -> int:
        """Frames with voice in them since the voice began, within ``floor_memory_ms``."""
        return int(np.count_nonzero(self._voice.last(self._since)))

    @property
    def snr_db(self) -> float:
        """Mean level of the frames with voice over the middle noise floor, in ``floor_memory_ms``; -inf without voice.

        The median, because a vowel held steadily passes for noise while it lasts.
        """
        p, since = self.parameters, self._since
        voice = self._voice.last(since) > 0
        if not voice.any():
            return float("-inf")
        level = self._level.last(since)[voice]
        floor = sorted(self._floor.last(min(since, p.hops(p.hangover_ms))).tolist())
        median = (floor[(len(floor) - 1) // 2] + floor[len(floor) // 2]) / 2
        return float(np.add.reduce(level)) / len(level) - median


class Extreme:
    """The least of the newest ``memory`` numbers, in constant time: only those that can still become it are kept."""

    def __init__(self, memory: int):
        self._memory, self._count = memory, 0
        self._candidates: collections.deque[tuple[int, float]] = collections.deque()

    def push(self, x: float) -> float:
        """Take one more number; the least of the newest."""
        candidates = self._candidates
        while candidates and candidates[-1][1] >= x:
            candidates.pop()
        candidates.append((self._count, x))
        self._count += 1
        if candidates[0][0] < self._count - self._memory:
            candidates.popleft()
        return candidates[0][1]


class Spread:
    """Mean and standard deviation of the newest ``size`` numbers, by running sums that are made anew now and then."""

    def __init__(self, size: int):
        self._values: collections.deque[float] = collections.deque(maxlen=size)
        self._size, self._until_exact = size, 0
        self._sum = self._squares = 0.0

    def push(self, x: float) -> tuple[float, float]:
        """Take one more number; not-a-number for both until there are ``size``."""
        values = self._values
        if len(values) == self._size:
            gone = values[0]
            self._sum -= gone
            self._squares -= gone * gone
        values.append(x)
        self._sum += x
        self._squares += x * x
        self._until_exact -= 1
        if self._until_exact <= 0:
            self._until_exact = 256
            self._sum, self._squares = math.fsum(values), math.fsum(value * value for value in values)
        if len(values) < self._size:
            return math.nan, math.nan
        mean = self._sum / self._size
        return mean, math.sqrt(max(0.0, self._squares / self._size - mean * mean))
