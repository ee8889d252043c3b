"""A sink with a thread of its own: a terminal that is stopped, a full pipe or a slow disk must not hold up the decisions."""

from __future__ import annotations

import collections
import collections.abc
import logging
import threading

from edge.errors import EdgeError
from edge.outputs import Opening, Sink, Timing
from edge.types import Decision, Event

log = logging.getLogger("affectkit")

LIMIT = 2_000
"""Decisions that may wait: eight minutes at four a second."""
DRAIN_S = 5.0


class Outlet:
    """Hands decisions to a sink in the order in which they came; the oldest is dropped, and counted, when too many wait.

    An error of the sink is raised by the next ``give``, as if it had been called directly.

    Args:
        sink: opened at once, then used by the thread alone.
        limit: decisions and events that may wait.
    """

    def __init__(self, sink: Sink, *, limit: int = LIMIT):
        self.sink = sink
        self.dropped = 0
        """Decisions and events that the sink was too slow for."""
        self._limit = limit
        self._waiting: collections.deque[tuple[Decision, Timing] | Event] = collections.deque()
        self._something = threading.Condition()
        self._ending = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink {type(sink).__name__}", daemon=True)

    def open(self, opening: Opening) -> None:
        self.sink.open(opening)
        self._thread.start()

    def give(self, decision: Decision, timing: Timing) -> None:
        self._put((decision, timing))

    def note(self, event: Event) -> None:
        self._put(event)

    def _put(self, item: tuple[Decision, Timing] | Event) -> None:
        if self._failure is not None:
            raise self._failure
        with self._something:
            if len(self._waiting) >= self._limit:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(item)
            self._something.notify()

    def close(self) -> None:
        """Let the sink take what still waits, for a few seconds at most; raises what its closing raises."""
        if not self._thread.is_alive() and not self._ending and self._failure is None:
            return  # never opened
        with self._something:
            self._ending = True
            self._something.notify()
        self._thread.join(DRAIN_S)
        if self._thread.is_alive():
            log.warning("%s: blocked; %d decisions did not go out", type(self.sink).__name__, len(self._waiting))
        elif isinstance(self._failure, OSError | EdgeError):
            raise self._failure

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                if isinstance(item, Event):
                    noted(self.sink, item)
                else:
                    self.sink.give(*item)
        except BaseException as error:  # handed to the thread that decides, which knows what to do with it
            self._failure = error
        try:
            self.sink.close()
        except BaseException as error:
            self._failure = self._failure or error

    def _next(self) -> tuple[Decision, Timing] | Event | None:
        with self._something:
            while not self._waiting and not self._ending:
                self._something.wait()
            return self._waiting.popleft() if self._waiting else None


def noted(sink: Sink, event: Event) -> None:
    """Tell ``sink`` of an event, if it takes events."""
    note = getattr(sink, "note", None)
    if note is not None:
        note(event)


class Outlets:
    """All sinks of a run: one whose place fails (disk full, pipe closed) is closed with a line of warning, and the others go on.

    Args:
        sinks: in the order in which they are told.
        direct: without threads, for virtual time, where nothing is held up by waiting.
        stop: called when whoever read the decisions has gone.
    """

    def __init__(self, sinks: collections.abc.Sequence[Sink], *, direct: bool, stop: collections.abc.Callable[[], None]):
        self.failed: list[str] = []
        """Kinds of sinks that failed."""
        self._all: list[Sink] = [sink if direct else Outlet(sink) for sink in sinks]
        self._working: list[Sink] = []
        self._opened: list[Sink] = []
        self._stop = stop

    def open(self, opening: Opening) -> None:
        """Raises InputError if one of them cannot begin; those that have begun are closed by ``close``."""
        for sink in self._all:
            sink.open(opening)
            self._opened.append(sink)
            self._working.append(sink)

    def give(self, decision: Decision, timing: Timing, news: collections.abc.Iterable[Event]) -> None:
        """Tell all of the events, then of the decision."""
        for sink in tuple(self._working):
            try:
                for event in news:
                    noted(sink, event)
                sink.give(decision, timing)
            except BrokenPipeError:
                self._working.remove(sink)
                self._stop()
            except OSError as error:
                self._working.remove(sink)
                self.failed.append(_name(sink))
                log.warning("%s: %s; nothing more goes there, the run goes on", _name(sink), error.strerror or error)

    def close(self) -> None:
        """Close all that were opened, the last first."""
        for sink in reversed(self._opened):
            try:
                sink.close()
            except (OSError, EdgeError) as error:
                if _name(sink) not in self.failed and not isinstance(error, BrokenPipeError):
                    self.failed.append(_name(sink))
                    log.warning("%s: %s", _name(sink), getattr(error, "strerror", None) or error)

    def dropped(self) -> dict[str, int]:
        """Decisions that a sink was too slow for, by its kind."""
        return {_name(sink): sink.dropped for sink in self._all if isinstance(sink, Outlet) and sink.dropped}


def _name(sink: Sink) -> str:
    return type(sink.sink if isinstance(sink, Outlet) else sink).__name__
