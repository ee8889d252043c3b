"""Keeps a source going, judged by its output alone: one that fails or falls silent is closed and opened anew, with back-off."""

from __future__ import annotations

import collections.abc
import dataclasses
import logging

from edge.clock import Clock
from edge.errors import SensorError
from edge.sensors import Sensor
from edge.sensors.pump import Inbox, Pump
from edge.types import Track

log = logging.getLogger("affectkit")

MS = 1_000_000
FIRST_WAIT_NS, LONGEST_WAIT_NS = 200 * MS, 600 * MS
"""Until a lost source is opened anew: doubled each time, yet never so long that it is missed for two seconds once it is back,
the second of sound included that a voice is known by."""
PROVEN_NS = 10_000 * MS
"""A source that delivered for this long begins with the first wait again."""


@dataclasses.dataclass(frozen=True)
class News:
    """What became of a source."""

    tracks: tuple[Track, ...]
    lost: str | None
    """Why it gives nothing, or None: it is back."""


class Supervised:
    """One source with its pump; ``tend`` is called by the consumer between decisions, and never blocks.

    Args:
        sensor: not yet open.
        again: makes another one of it; None if it cannot be opened anew.
        inbox: takes its chunks.
        clock: times the silence and the waits.
    """

    def __init__(self, sensor: Sensor, again: collections.abc.Callable[[], Sensor] | None, inbox: Inbox, clock: Clock):
        self.sensor = sensor
        self.lost: str | None = None
        """Why it gives nothing now; None if it does, or ended as it should."""
        self.reopened = 0
        """Times that it was opened anew."""
        self.over = False
        """There will be no more chunks, ever."""
        self._again = again if sensor.live else None
        self._inbox, self._clock = inbox, clock
        self._pump: Pump | None = None
        self._wait_ns = FIRST_WAIT_NS
        self._due_ns = 0
        self._began_ns = self._heard_ns = 0
        self._delivered = 0

    def open(self) -> None:
        """Open it, to be started by ``start``; SensorError if that fails: it is then tried again, if it can be."""
        try:
            self.sensor.open()
        except SensorError as error:
            self._give_up(str(error))
            raise
        self._pump = Pump(self.sensor, self._inbox, clock=self._clock)

    def start(self) -> None:
        """From now on it delivers."""
        self._began_ns = self._heard_ns = self._clock.now_ns()
        if self._pump is not None:
            self._pump.start()

    def tend(self, now_ns: int) -> News | None:
        """Look after it; what changed, if anything did."""
        pump = self._pump
        if pump is None:
            if not self.over and now_ns >= self._due_ns:
                return self._open_anew(now_ns)
            return None
        if pump.delivered != self._delivered:
            self._delivered, self._heard_ns = pump.delivered, now_ns
            if self.lost is not None and getattr(self.sensor, "trouble", None) is None:
                self.lost = None
                return News(self.sensor.tracks, None)
        if pump.ended:
            if pump.lost is None:
                self.over = True
                return None
            return self._fail(pump.lost, now_ns)
        silent_after_ms: int | None = getattr(self.sensor, "silent_after_ms", None)
        if silent_after_ms is not None and now_ns - self._heard_ns > silent_after_ms * MS:
            pump.abandon()
            return self._fail(f"{' and '.join(self.sensor.tracks)}: nothing for {silent_after_ms / 1000:g} s; opening it anew", now_ns)
        trouble: str | None = getattr(self.sensor, "trouble", None)
        if trouble is not None and self.lost is None:  # it mends itself; until then the decisions say why
            self.lost = trouble
            return News(self.sensor.tracks, trouble)
        return None

    def stop(self) -> None:
        """Close it for good."""
        self.over = True
        if self._pump is not None:
            self._pump.stop()

    def _open_anew(self, now_ns: int) -> News | None:
        if self._again is None:
            self.over = True
            return None
        self._delivered = 0
        self._began_ns = self._heard_ns = now_ns
        try:
            self.sensor = self._again()
            self.reopened += 1
            pump = Pump(self.sensor, self._inbox, opened=False, loud=False, clock=self._clock)
            pump.start()
        except Exception as error:  # no memory for one more thread, or no more descriptors: later there may be
            return self._fail(f"{' and '.join(self.sensor.tracks)}: cannot be opened anew: {error}", now_ns)
        self._pump = pump
        return None

    def _fail(self, why: str, now_ns: int) -> News | None:
        pump, self._pump = self._pump, None
        if pump is not None and pump.ended:
            pump.abandon()
        if self._delivered and now_ns - self._began_ns > PROVEN_NS:
            self._wait_ns = FIRST_WAIT_NS
        known = self.lost == why
        self._give_up(why)
        return None if known else News(self.sensor.tracks, why)

    def _give_up(self, why: str) -> None:
        self.lost = why
        self.over = self._again is None
        self._due_ns = self._clock.now_ns() + self._wait_ns
        self._wait_ns = min(2 * self._wait_ns, LONGEST_WAIT_NS)


class Sources:
    """All sources of a run."""

    def __init__(self, sources: collections.abc.Sequence[Supervised]):
        self.all = tuple(sources)

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """As they are now."""
        return tuple(source.sensor for source in self.all)

    @property
    def tracks(self) -> set[Track]:
        """What they deliver."""
        return {track for sensor in self.sensors for track in sensor.tracks}

    @property
    def over(self) -> bool:
        """Whether all have ended as they should."""
        return all(source.over and source.lost is None for source in self.all)

    @property
    def duration_ns(self) -> int | None:
        """Until the last one ends; None if one has no end."""
        ends = [sensor.duration_ns for sensor in self.sensors]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None

    def open(self) -> list[News]:
        """Open all; a live one that fails is tried again while the others run.

        Returns:
            Those that failed.

        Raises:
            SensorError: a recorded one cannot be opened, or none can.
        """
        errors: list[SensorError] = []
        for source in self.all:
            try:
                source.open()
            except SensorError as error:
                errors.append(error)
                if not source.sensor.live:
                    raise
        if errors and len(errors) == len(self.all):
            raise errors[0]
        for failed in errors:
            log.warning("%s; trying again until it answers", failed)
        return [News(source.sensor.tracks, source.lost) for source in self.all if source.lost is not None]

    def start(self) -> None:
        """From now on they deliver."""
        for source in self.all:
            source.start()

    def tend(self, now_ns: int) -> list[News]:
        """Look after all; what changed."""
        return [news for source in self.all if (news := source.tend(now_ns)) is not None]

    def stop(self) -> None:
        """Close all for good."""
        for source in self.all:
            source.stop()

    def reopened(self) -> dict[str, int]:
        """Times that sources were opened anew, by their tracks."""
        return {"+".join(source.sensor.tracks): source.reopened for source in self.all if source.reopened}
