"""One modality from chunk to embedding: front, encoder, and the book-keeping of why it is absent when it is."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import logging

import numpy as np

from edge.clock import Clock
from edge.errors import EdgeError
from edge.inference.fusion import Stage
from edge.inference.scheduler import MS, Cost, Deadline
from edge.journal import LeftOut
from edge.preprocess.window import Front
from edge.types import Absence, Chunk, Embedding, Modality, Track, Window

log = logging.getLogger("affectkit")


def in_words(error: Exception) -> str:
    """In one line; what was not raised on purpose is named too."""
    text = " ".join(str(error).split())
    return text if isinstance(error, EdgeError) else f"{type(error).__name__}: {text}"


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long a modality is believed without news."""

    lost_after_ns: int = 1_000 * MS
    """No chunk of any of its tracks for this long: lost."""
    max_age_ns: int = 1_500 * MS
    """Newest embedding older than this: stale."""


class Branch:
    """Chunks are pushed as they arrive; ``update`` encodes what is new, once; ``at`` says what there is at a tick.

    ``update`` is called after pushes and before each tick: a front also learns from it that time has passed without chunks.

    Args:
        front: makes windows or absences of the chunks.
        encoder: the stage that makes ``embedding`` (width,) of a window.
        smaller: cheaper encoders of the same windows into the same space, the dearest first; ``variant`` 1 is the first of them.
        input_name: what the encoder calls its input.
        clock: measures costs, in the time base of the deadlines.
        expected_ms: prior of what encoding takes, before anything is measured.
    """

    def __init__(
        self,
        front: Front,
        encoder: Stage,
        input_name: str,
        *,
        patience: Patience,
        clock: Clock,
        expected_ms: float = 0.0,
        smaller: collections.abc.Sequence[Stage] = (),
    ):
        self.modality: Modality = front.modality
        self.tracks: tuple[Track, ...] = front.tracks
        self.encoded = 0
        """Windows encoded."""
        self.late = 0
        """Windows, or looks at the front, left out for want of time."""
        self.faults = 0
        """Failures of its stages, and answers that were NaN."""
        self.dropped = False
        """Left out altogether, to keep the beat for the others."""
        self.least_gap_ns = 0
        """Time from one look at the front to the next."""
        self.variant = 0
        """Which encoder is used; the last one for a number beyond them."""
        self.front = front
        self._encoders = (encoder, *smaller)
        self._input_name = input_name
        self._patience = patience
        self._clock = clock
        self._heard_ns = self._arrived_ns = 0
        self._lag_ns = 0
        self._embedding: Embedding | None = None
        self._absence: Absence | None = None
        """What the front said last; None after a window."""
        self._fault: Absence | None = None
        """Stands until the front has something new."""
        self._overtaken = False
        self._gone: dict[Track, str] = {}
        self._delivered = self.tracks
        self._looked_ns: int | None = None
        self._expected_ns = expected_ms * MS
        self.forget_costs()

    @property
    def variants(self) -> int:
        """How many encoders there are to choose from."""
        return len(self._encoders)

    def begin(self, start_ns: int, delivered: collections.abc.Collection[Track] | None = None) -> None:
        """The run starts now: silence counts from here. ``delivered``: the tracks that have a source, all if None."""
        self._heard_ns = start_ns
        if delivered is not None:
            self._delivered = tuple(track for track in self.tracks if track in delivered)

    def push(self, chunk: Chunk, arrived_ns: int | None = None) -> None:
        """Hand a chunk of one of ``tracks`` to the front; it came at ``arrived_ns``, or with its last sample."""
        self._heard_ns = max(self._heard_ns, chunk.end_ns)
        self._arrived_ns = chunk.end_ns if arrived_ns is None else arrived_ns
        try:
            self.front.push(chunk)
        except Exception as error:  # what one source gives must not take the other modalities with it
            self._gone[chunk.track] = in_words(error)
            self._count_fault(in_words(error))
            return
        self._gone.pop(chunk.track, None)

    def source_lost(self, track: Track, detail: str) -> None:
        """The source of ``track`` stopped; with all its tracks gone the modality is lost at once, and says why."""
        self._gone[track] = detail

    def update(self, now_ns: int, deadline: Deadline, left_out: LeftOut | None = None) -> LeftOut:
        """Look at the front, and encode the window it gives, if there is time for that before ``deadline``.

        Args:
            now_ns: the time up to which chunks were pushed.
            deadline: by when it must be done.
            left_out: do not judge by ``deadline`` but leave out what was left out in a run that is being repeated.

        Returns:
            What was left out for want of time.
        """
        if self.dropped or (self._looked_ns is not None and now_ns - self._looked_ns < self.least_gap_ns):
            return ""
        began_ns = self._clock.now_ns()
        if left_out == "look" or (left_out is None and not deadline.fits(self.expected_ns(began_ns), began_ns)):
            self._late()
            return "look"
        # What waited for its turn on purpose is not late for it.
        due_ns = 0 if self._looked_ns is None else self._looked_ns + self.least_gap_ns
        self._looked_ns = now_ns
        try:
            news = self.front.poll(now_ns)
        except Exception as error:  # a front's bug must not take the other modalities with it
            self._fail(in_words(error))
            news = None
        looked_ns = self._clock.now_ns()
        self._look.add(looked_ns - began_ns, looked_ns)
        if news is None:
            return ""
        self._fault = None
        if isinstance(news, Absence):
            self._absence = news
            self._overtaken = False
            return ""
        self._absence = None
        if left_out == "encode" or (left_out is None and not deadline.fits(self._encode.expected_ns(looked_ns), looked_ns)):
            self._late()
            return "encode"
        self._encode_window(news)
        done_ns = self._clock.now_ns()
        self._encode.add(done_ns - looked_ns, done_ns)
        self._lag_ns = max(self._lag_ns, done_ns - max(self._arrived_ns, due_ns))
        return ""

    def forget_costs(self) -> None:
        """Go back to what was expected before anything was measured: what it took when it was left out says nothing of now."""
        self._look = Cost()
        self._encode = Cost(self._expected_ns)

    def expected_ns(self, now_ns: int) -> float:
        """What ``update`` will take if there is something new."""
        return 0.0 if self.dropped else self._look.expected_ns(now_ns) + self._encode.expected_ns(now_ns)

    def take_derived(self) -> list[Chunk]:
        """Chunks that the front made of its own, for other modalities: the pulse in a face."""
        derived: collections.deque[Chunk] | None = getattr(self.front, "derived", None)
        if not derived:
            return []
        chunks = list(derived)
        derived.clear()
        return chunks

    def take_lag_ns(self) -> int:
        """Longest time from the arrival of a chunk to the embedding made of it, since this was last asked; 0 if none was made."""
        lag_ns, self._lag_ns = self._lag_ns, 0
        return lag_ns

    def _late(self) -> None:
        """What was not looked at or encoded overtakes the embedding, which ages from here on."""
        self.late += 1
        self._overtaken = True

    def _encode_window(self, window: Window) -> None:
        try:
            encoder = self._encoders[min(self.variant, len(self._encoders) - 1)]
            vector = encoder.run(**{self._input_name: window.samples})["embedding"]
        except Exception as error:  # which types an interpreter raises differs
            self._fail(in_words(error))
            return
        if not np.isfinite(vector).all():
            self._fail("its encoder gave NaN")
            return
        self.encoded += 1
        self._overtaken = False
        self._embedding = Embedding(self.modality, window.end_ns, vector, window.quality)

    def _fail(self, detail: str) -> None:
        self._fault = Absence(self.modality, "noisy", detail)
        self._count_fault(detail)

    def _count_fault(self, detail: str) -> None:
        self.faults += 1
        if self.faults == 1:
            log.warning("%s: %s; absent until it answers again (later faults are only counted)", self.modality, detail)

    def at(self, tick_ns: int) -> Embedding | Absence:
        """What the modality contributes at ``tick_ns``: its newest embedding, or why there is none."""
        if self.dropped:
            return Absence(self.modality, "late", "left out to keep the beat")
        if not self._delivered:
            return Absence(self.modality, "lost", "no source")
        if all(track in self._gone for track in self._delivered):
            return Absence(self.modality, "lost", self._gone[self._delivered[0]])
        if tick_ns - self._heard_ns > self._patience.lost_after_ns:
            return Absence(self.modality, "lost", self._why(f"nothing from {' or '.join(self._delivered)}"))
        if self._absence is not None:
            return dataclasses.replace(self._absence, detail=self._why(self._absence.detail)) if self._gone else self._absence
        if self._fault is not None:
            return self._fault
        if self._embedding is None:
            return self._absent_for_time() or Absence(self.modality, "lost", "nothing yet")
        if tick_ns - self._embedding.end_ns > self._patience.max_age_ns:
            return self._absent_for_time() or Absence(self.modality, "stale", "nothing new for too long")
        return self._embedding

    def _why(self, detail: str) -> str:
        """``detail``, with what is known of sources that are gone."""
        return f"{detail} ({'; '.join(self._gone.values())})" if self._gone else detail

    def _absent_for_time(self) -> Absence | None:
        return Absence(self.modality, "late", "no time to encode it") if self._overtaken else None
