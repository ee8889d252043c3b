"""Is there a voice? A gate over a noise floor that adapts, frame by frame, the same however the stream is cut."""

from __future__ import annotations

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
    """Is there a voice, since when, and how far over the noise?"""

    def __init__(self, parameters: SpeechParameters):
        self.parameters = parameters
        self.reset()

    def reset(self) -> None:
        """As if nothing had been heard."""
        p = self.parameters
        memory = p.hops(p.floor_memory_ms)
        self._power, self._level, self._floor = History(p.level_frames - 1), History(memory), History(memory)
        self._voice = History(max(memory, p.onset_of))
        self.heard = 0
        """Frames so far."""
        self.start = -1
        """Frame at which the voice that is being heard began, run-up included; -1 while the gate is closed."""
        self._without_voice = self._without_sound = 0

    def push(self, power: np.ndarray) -> np.ndarray:
        """Take the voice-band power (k,) of the next frames; return ``start`` as it was after each of them, int64 (k,)."""
        p = self.parameters
        starts = np.full(len(power), -1, np.int64)
        if not len(power):
            return starts
        level, floor, voice = self._measure(power)
        recent = np.concatenate([np.zeros(p.onset_of, np.float32), self._voice.last(p.onset_of - 1), voice])
        total = np.cumsum(recent)
        crowd = total[-len(voice) :] - total[-len(voice) - p.onset_of : -p.onset_of]
        for history, rows in ((self._level, level), (self._floor, floor), (self._voice, voice)):
            history.extend(rows)
        for k, (has_voice, many, quiet) in enumerate(zip(voice > 0, crowd >= p.onset_frames, level < p.silent_db, strict=True)):
            self._without_voice = 0 if has_voice else self._without_voice + 1
            self._without_sound = self._without_sound + 1 if quiet else 0
            if self.start >= 0 and self._without_voice >= p.hops(p.hangover_ms):
                self.start = -1
            elif self.start < 0 and has_voice and many:
                self.start = max(0, self.heard + 1 - p.onset_frames - p.hops(p.preroll_ms))
            self.heard += 1
            starts[k] = self.start
        return starts

    def _measure(self, power: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Level and noise floor in dBFS and 1 where there is voice, each (k,), from this power and the history alone."""
        p = self.parameters
        before = self._power.last(p.level_frames - 1)
        total = np.concatenate([before, power]).astype(np.float64)
        if len(before) == p.level_frames - 1:
            mean = np.lib.stride_tricks.sliding_window_view(total, p.level_frames).mean(axis=1)
        else:
            mean = np.array([np.mean(total[max(0, i + 1 - p.level_frames) : i + 1]) for i in range(len(before), len(total))])
        self._power.extend(power)
        level = (10.0 * np.log10(mean)).astype(np.float32)
        memory, steady = p.hops(p.floor_memory_ms), p.hops(p.steady_ms)
        past = self._level.last(memory - 1)
        known = np.concatenate([past, level])
        unknown = np.full(memory - 1 - len(past), np.nan, np.float32)
        view = np.lib.stride_tricks.sliding_window_view(np.concatenate([unknown, known]), memory)
        floor, peak = running(np.minimum, known, len(level), memory), running(np.maximum, known, len(level), memory)
        latest = view[:, -steady:]  # NaN until there is enough: then not steady
        middle = latest.mean(axis=1)
        apart = latest - middle[:, None]
        spread = np.sqrt(np.einsum("ij,ij->i", apart, apart) / steady)
        floor = np.where(spread < p.steady_db, np.maximum(floor, middle), floor)
        threshold = np.maximum(np.maximum(floor + p.margin_db, peak - p.peak_range_db), p.quietest_db)
        return level, floor, (level > threshold).astype(np.float32)

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
        floor = self._floor.last(min(since, p.hops(p.hangover_ms)))
        return float(np.mean(self._level.last(since)[voice]) - np.median(floor))


def running(pick: np.ufunc, known: np.ndarray, count: int, memory: int) -> np.ndarray:
    """``pick`` (minimum or maximum) of the last ``memory`` values up to each of the newest ``count``: (count,), exact.

    Every window is made of a piece before those that all share, the shared piece, and a piece after it: each is passed once.
    """
    first = len(known) - count
    shared = known[max(0, len(known) - memory) : first + 1]
    if not len(shared):  # more new values than the memory holds
        return np.array([pick.reduce(known[max(0, i + 1 - memory) : i + 1]) for i in range(first, len(known))])
    after = pick.accumulate(known[first:])
    result = pick(after, pick.reduce(shared))
    if len(known) > memory and count > 1:
        begin = max(0, first + 1 - memory)
        before = pick.accumulate(known[begin : len(known) - memory][::-1])[::-1]  # of the k-th window: from first + 1 - memory + k on
        whole = count - 1 - len(before)  # windows that begin before everything known
        result[:whole] = pick(result[:whole], before[0])
        result[whole : count - 1] = pick(result[whole : count - 1], before)
    return result
