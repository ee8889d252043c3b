"""Doing less to keep the beat: which steps there are, what each leaves out, and when to take one down or up.

A step down is taken when the beat suffers, a step up when there would be room for it for long enough; a step up that has to be
taken back soon doubles the time until the next attempt.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses

from edge.inference.scheduler import MS
from edge.types import MODALITIES, Modality

SECOND_NS = 1_000 * MS
HIGH_LOAD, LOW_LOAD = 0.8, 0.5
"""Shares of the beat that work may take: above the one the beat is in danger, below the other there is room for more."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is done; the default is everything."""

    detect_stretch: int = 1
    """Factor on the frames from one face detection to the next."""
    face_gap_ms: int = 0
    """Least time from one frame looked at to the next."""
    variant: int = 0
    """Which encoder: 0 the best, higher numbers smaller ones."""
    dropped: tuple[Modality, ...] = ()
    """Modalities left out altogether."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One rung: from the effort above it to the one below."""

    effort: Effort
    says: str
    """What is done less, in words."""


def steps(modalities: collections.abc.Sequence[Modality], variants: int) -> tuple[Step, ...]:
    """The ladder of a bundle, the mildest step first; the modality that is left out at each of the last steps is named when it is taken.

    Args:
        modalities: those of the bundle that have a source.
        variants: encoders to choose from.
    """
    effort, ladder = Effort(), []
    if "face" in modalities:
        for stretch in (2, 4):
            effort = dataclasses.replace(effort, detect_stretch=stretch)
            ladder.append(Step(effort, f"faces are looked for {stretch} times less often"))
        for gap_ms in (140, 280):
            effort = dataclasses.replace(effort, face_gap_ms=gap_ms)
            ladder.append(Step(effort, f"a frame is looked at every {gap_ms} ms at most"))
    for variant in range(1, variants):
        effort = dataclasses.replace(effort, variant=variant)
        ladder.append(Step(effort, "a smaller encoder is used"))
    for _ in modalities[1:]:
        ladder.append(Step(effort, "a modality is left out"))
    return tuple(ladder)


def least_informative(weights: collections.abc.Mapping[Modality, float], among: collections.abc.Collection[Modality]) -> Modality:
    """The modality with the least fusion weight; of equals the last of ``MODALITIES``, an unknown weight counts as 0."""
    return min(reversed([m for m in MODALITIES if m in among]), key=lambda m: weights.get(m, 0.0))


class Hysteresis:
    """When to do less and when to do more; knows nothing of what.

    Args:
        high, low: see ``HIGH_LOAD``.
        suffer_beats: beats in danger, of the last eight, after which less is done.
        calm_ns: time with room after which more is tried.
        settle_ns: time after a step in which nothing is judged: its effect is not yet seen.
    """

    def __init__(
        self,
        *,
        high: float = HIGH_LOAD,
        low: float = LOW_LOAD,
        suffer_beats: int = 3,
        calm_ns: int = 10 * SECOND_NS,
        settle_ns: int = SECOND_NS,
    ):
        self._high, self._low, self._suffer_beats, self._settle_ns = high, low, suffer_beats, settle_ns
        self._calm_ns = self._patience_ns = calm_ns
        self._recent: collections.deque[bool] = collections.deque(maxlen=8)
        self._roomy_since_ns: int | None = None
        self._stepped_ns: int | None = None
        self._eased_ns: int | None = None

    def judge(self, t_ns: int, load: float, missed: bool) -> int:
        """What one beat calls for: 1 do less, -1 do more, 0 stay.

        Args:
            t_ns: the beat.
            load: work done in it over its length.
            missed: its decision was late, or ticks were skipped, or a stage was left out for want of time.
        """
        if self._stepped_ns is not None and t_ns - self._stepped_ns < self._settle_ns:
            return 0
        self._recent.append(missed or load > self._high)
        if load >= self._low or missed:
            self._roomy_since_ns = None
        elif self._roomy_since_ns is None:
            self._roomy_since_ns = t_ns
        if sum(self._recent) >= self._suffer_beats:
            if self._eased_ns is not None and t_ns - self._eased_ns < 3 * self._calm_ns:
                self._patience_ns = min(2 * self._patience_ns, 16 * self._calm_ns)
            else:
                self._patience_ns = self._calm_ns
            self._eased_ns = None
            return self._stepped(t_ns, 1)
        if self._roomy_since_ns is not None and t_ns - self._roomy_since_ns >= self._patience_ns:
            self._eased_ns = t_ns
            return self._stepped(t_ns, -1)
        return 0

    def _stepped(self, t_ns: int, direction: int) -> int:
        self._stepped_ns, self._roomy_since_ns = t_ns, None
        self._recent.clear()
        return direction


class Ladder:
    """Where on the ladder we are: told of every beat, it says the effort to go on with when that changes.

    Args:
        ladder: from ``steps``.
        modalities: those that may be left out, but for the last.
        rung: where to begin.
        dropped: what is left out there.
        hysteresis: when to step.
    """

    def __init__(
        self,
        ladder: collections.abc.Sequence[Step],
        modalities: collections.abc.Sequence[Modality],
        *,
        rung: int = 0,
        dropped: collections.abc.Sequence[Modality] = (),
        hysteresis: Hysteresis | None = None,
    ):
        self.rung = rung
        self.dropped: list[Modality] = list(dropped)
        self._ladder, self._modalities = tuple(ladder), tuple(modalities)
        self._hysteresis = hysteresis or Hysteresis()

    @property
    def effort(self) -> Effort:
        """What is done now."""
        base = self._ladder[self.rung - 1].effort if self.rung else Effort()
        return dataclasses.replace(base, dropped=tuple(self.dropped))

    def see(self, t_ns: int, load: float, missed: bool, weights: collections.abc.Mapping[Modality, float]) -> str | None:
        """Take one beat into account, as ``Hysteresis.judge`` does; what changed, in words, or None.

        Args:
            t_ns, load, missed: of the beat.
            weights: current fusion weight of each modality, by which the least informative is left out.
        """
        direction = self._hysteresis.judge(t_ns, load, missed)
        if direction > 0 and self.rung < len(self._ladder):
            return self._down(weights)
        if direction < 0 and self.rung:
            return self._up()
        return None

    def _down(self, weights: collections.abc.Mapping[Modality, float]) -> str:
        step = self._ladder[self.rung]
        self.rung += 1
        if not self._drops(self.rung):
            return step.says
        left = [m for m in self._modalities if m not in self.dropped]
        self.dropped.append(least_informative(weights, left))
        return f"{self.dropped[-1]} is left out: it has the least weight in the fusion"

    def _up(self) -> str:
        drops = self._drops(self.rung)
        step = self._ladder[self.rung - 1]
        self.rung -= 1
        return f"{self.dropped.pop()} is taken in again" if drops else f"no longer: {step.says}"

    def _drops(self, rung: int) -> bool:
        """Whether the step to ``rung`` leaves a modality out: all from the first whose effort is that of the one before it."""
        return rung > len(self._ladder) - max(len(self._modalities) - 1, 0)
