"""The composition root: bundle, sensors, cycle and sinks become one run. The only file that knows all parts.

At real pace a thread a sensor fills bounded queues, a thread a sink gives decisions out, and one thread does the rest. Fast,
everything happens in one thread in the order of the recording, time is virtual and the decisions are the same to the byte every time.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import heapq
import logging
import pathlib
import time
import typing

from edge.bundle import Bundle
from edge.clock import Clock, ManualClock, SystemClock
from edge.compose import Stages, compose_cycle, load_stages, measured_stages, rates, unused
from edge.config import Settings
from edge.errors import ConfigError, EdgeError
from edge.inference.cycle import Cycle
from edge.inference.ladder import LOW_LOAD, Effort, Hysteresis, Ladder, steps
from edge.inference.plan import Plan, plan
from edge.inference.scheduler import NEVER, Budget, Ticks
from edge.journal import Begun, Changed, Decided, Entry, Journal, Lost, Took
from edge.outputs import Opening, Sink, Timing
from edge.outputs.outlet import Outlets
from edge.outputs.summary import Summary, peak_rss_mib
from edge.purpose import check_purpose
from edge.sensors import Sensor, open_sensor
from edge.sensors.pump import Inbox
from edge.sensors.supervisor import News, Sources, Supervised
from edge.types import TRACKS, Chunk, Decision, Event, Modality

log = logging.getLogger("affectkit")


@typing.runtime_checkable
class Opened(Journal, typing.Protocol):
    """A journal that must be told of the begin and the end of the run, as ``Recorder`` must."""

    def open(self, start_ns: int, bundle: str) -> None: ...
    def close(self) -> None: ...


Compose = collections.abc.Callable[[Bundle, Settings, Clock], Cycle]


class Runtime:
    """One run of a bundle on its sources: iterate over it for decisions, or ``run`` it into sinks. It can be used once.

    Args:
        bundle: from ``load_bundle``.
        sources: strings such as "replay:lesson.session.zip", sensors, or functions that make one, each time it must be opened.
        settings: from ``load_settings``; the purpose in it decides whether live sources may run.
        fast: replay in virtual time, as fast as the machine goes; live sources refuse it. A session with a journal is decided exactly
            as it was live.
        duration_s: end after this much session; None goes on to the end of the sources, or until ``stop``.
        clock: real time; tests put in their own.
        compose: makes the cycle; tests put in their own.
        stages: loads and measures the models; a benchmark puts in slower ones.
        journal: is told of every entry, such as a ``Recorder``.
        began_s: ``time.perf_counter()`` at the start of the program, from which the first decision is counted.

    Raises:
        ConfigError: an unknown kind of source, or live sources and ``fast``.
        SessionError: a recorded session is damaged.
        PurposeError: live sources without a declared, lawful purpose.
        BundleError: a stage or a parameter is not what this version knows.
        InferenceError: no interpreter works here, or the budget cannot be kept.
    """

    def __init__(
        self,
        bundle: Bundle,
        sources: collections.abc.Sequence[str | Sensor | collections.abc.Callable[[], Sensor]],
        *,
        settings: Settings | None = None,
        fast: bool = False,
        duration_s: float | None = None,
        clock: Clock | None = None,
        compose: Compose | None = None,
        stages: collections.abc.Callable[[Bundle, Settings], Stages] | None = None,
        journal: Journal | None = None,
        began_s: float | None = None,
    ):
        settings = settings or Settings()
        manifest = bundle.manifest
        self._began_s = time.perf_counter() if began_s is None else began_s
        self._clock: Clock = ManualClock() if fast else clock or SystemClock()
        self._inbox = Inbox(settings.sources.queue_chunks, self._clock)
        if not sources:
            raise ConfigError("run: no source; name one, such as replay:session.zip")
        self._sources = Sources([self._source(source, settings) for source in sources])
        sensors = self._sources.sensors
        live = any(sensor.live for sensor in sensors)
        check_purpose(settings.purpose, live=live)
        if fast and live:
            raise ConfigError("run: live sources have their own pace; leave out --fast")
        self._budget = Budget(settings.budget.cadence_ms or manifest.cadence_ms, settings.budget.budget_ms or manifest.budget_ms)
        self._delivered = self._sources.tracks
        self._again = _entries(sensors) if fast else None
        if self._again is not None and isinstance(self._clock, ManualClock):
            self._clock.advance_to(self._again[0])  # where the whole seconds fall is part of what was decided
        self.plan: Plan | None = None
        """What was measured and decided before a run at real pace."""
        self._ladder: Ladder | None = None
        # Fast, nothing is ever late: the cycle's clock stands still, and no deadline comes.
        cycle_clock: Clock = ManualClock() if fast else self._clock
        if compose is not None:
            self._cycle = compose(bundle, settings, cycle_clock)
        else:
            made = (stages or (load_stages if fast else measured_stages))(bundle, settings)
            self._cycle = compose_cycle(bundle, settings, cycle_clock, made)
            if not fast and made.costs:
                self._make_plan(bundle, settings, made)
        if idle := unused(self._cycle, sensors):
            log.warning("%s: no stage of %s takes it", " and ".join(idle), manifest.name)
        self._bundle_sha256 = bundle.sha256
        self._journal = journal
        self._fast = fast
        self._limit_ns = None if duration_s is None else round(duration_s * 1e9)
        self._lost: dict[str, str] = {}
        self._news: list[Event] = []
        self._stopped = False
        self._busy_ns = 0
        self._start_ns = self._clock.now_ns()
        self._titles = (f"{manifest.name} {manifest.version}", tuple(map(_title, sources)))
        self._labels = manifest.labels

    def _source(self, source: str | Sensor | collections.abc.Callable[[], Sensor], settings: Settings) -> Supervised:
        again: collections.abc.Callable[[], Sensor] | None = None
        if isinstance(source, str):
            again = functools.partial(open_sensor, source, self._clock, settings)
            sensor = again()
        elif callable(source):
            again, sensor = source, source()
        else:
            sensor = source
        return Supervised(sensor, again, self._inbox, self._clock)

    def _make_plan(self, bundle: Bundle, settings: Settings, stages: Stages) -> None:
        """Decide with how much effort to begin; without a plan, as in tests with a cycle of their own, nothing is ever left out."""
        fed = [branch.modality for branch in self._cycle.branches if any(track in self._delivered for track in branch.tracks)]
        ladder = steps(fed, max((branch.variants for branch in self._cycle.branches), default=1))
        refuse = settings.budget.if_too_slow == "refuse"
        self.plan = plan(stages.costs, ladder, fed, rates(bundle, settings), self._budget, refuse=refuse)
        # Who refuses to do less from the start does not do less later either.
        self._ladder = None if refuse else Ladder(ladder, fed, rung=self.plan.rung, dropped=self.plan.dropped, hysteresis=Hysteresis())
        if self._ladder is not None:
            self._cycle.set_effort(self._ladder.effort)

    def stop(self) -> None:
        """End at the next tick, tidily; safe in a signal handler and from any thread (it takes no lock)."""
        self._stopped = True

    def __iter__(self) -> collections.abc.Iterator[Decision]:
        return (decision for decision, _ in self.timed())

    def timed(self) -> collections.abc.Iterator[tuple[Decision, Timing]]:
        """Decisions as they are made, and how long each took; at real pace a consumer that is too slow makes ticks be skipped."""
        if self._again is not None:
            return self._run_again(*self._again)
        return self._run_fast() if self._fast else self._run_paced()

    def run(self, sinks: collections.abc.Sequence[Sink] = ()) -> dict[str, typing.Any]:
        """Give every decision to every sink, to the end; returns the summary, as ``Summary.report`` makes it.

        A sink whose place fails (disk full, pipe closed) is closed with one line of warning, and the others go on.
        """
        self._start_ns = self._clock.now_ns()
        summary = Summary([planned for sensor in self._sources.sensors for planned in sensor.planned])
        opening = Opening(
            bundle=self._titles[0],
            sources=self._titles[1],
            labels=self._labels,
            start_ns=self._start_ns,
            cadence_ms=self._budget.cadence_ms,
            budget_ms=self._budget.budget_ms,
            duration_ns=self._known_end_ns(),
            fast=self._fast,
            recording=getattr(self._journal, "path", ""),
        )
        outlets = Outlets(sinks, direct=self._fast, stop=self.stop)
        first_s: float | None = None
        wall_s, cpu_s, last_ns = time.perf_counter(), time.process_time(), self._start_ns
        with contextlib.ExitStack() as stack:
            if isinstance(self._journal, Opened):
                stack.callback(self._journal.close)
                self._journal.open(self._start_ns, self._bundle_sha256)
            stack.callback(outlets.close)
            summary.open(opening)
            outlets.open(opening)
            if self.plan is not None:
                self._news += [Event(self._start_ns, "plan", line) for line in self.plan.why]
            for decision, timing in self.timed():
                if first_s is None and decision.state != "no decision":
                    first_s = time.perf_counter() - self._began_s
                last_ns = decision.t_ns
                news, self._news = self._news, []
                for event in news:
                    summary.note(event)
                summary.give(decision, timing)
                outlets.give(decision, timing, news)
        wall_s, session_s = time.perf_counter() - wall_s, (last_ns - self._start_ns) / 1e9
        return summary.report(
            stopped_early=self._stopped,
            session_s=round(session_s, 3),
            wall_s=round(wall_s, 3),
            realtime_factor=round(session_s / wall_s, 2) if wall_s > 0 else None,
            cpu_s=round(time.process_time() - cpu_s, 3),
            start_to_first_decision_s=None if first_s is None else round(first_s, 3),
            peak_rss_mib=peak_rss_mib(),
            encoded={branch.modality: branch.encoded for branch in self._cycle.branches},
            late_encodings={branch.modality: branch.late for branch in self._cycle.branches},
            dropped_chunks=dict(self._inbox.dropped),
            dropped_outputs=outlets.dropped(),
            reopened=self._sources.reopened(),
            plan=None if self.plan is None else self.plan.as_record(),
            faults=self._cycle.faults(),
            lost_sources=dict(self._lost),
            failed_sinks=outlets.failed,
        )

    def _known_end_ns(self) -> int | None:
        """How long the run goes on, if that is known."""
        return min((end for end in (self._sources.duration_ns, self._limit_ns) if end is not None), default=None)

    def _write(self, entry: Entry) -> None:
        if self._journal is not None:
            self._journal.write(entry)

    # --- in virtual time ------------------------------------------------------------------------------------------------

    def _run_fast(self) -> collections.abc.Iterator[tuple[Decision, Timing]]:
        ticks = Ticks(self._start_ns, self._budget.cadence_ns)
        self._cycle.begin(self._start_ns, self._delivered)
        known_ns = self._known_end_ns()
        end_ns = self._start_ns if known_ns is None else self._start_ns + known_ns
        sensors = self._sources.sensors
        with contextlib.ExitStack() as stack:
            for sensor in sensors:
                sensor.open()
                stack.callback(sensor.close)
            for chunk in heapq.merge(*map(self._chunks_of, sensors), key=lambda chunk: chunk.end_ns):
                while ticks.next_ns < chunk.end_ns and (known_ns is None or ticks.next_ns <= end_ns):
                    yield self._decide_virtually(ticks.take())
                if self._stopped or (known_ns is not None and chunk.end_ns > end_ns):
                    break
                began_ns = time.perf_counter_ns()
                self._cycle.take((chunk,), chunk.end_ns, NEVER)
                self._busy_ns += time.perf_counter_ns() - began_ns
                end_ns = max(end_ns, chunk.end_ns)
            while ticks.next_ns <= end_ns and not self._stopped:
                yield self._decide_virtually(ticks.take())

    def _run_again(self, start_ns: int, entries: collections.abc.Iterator[Entry]) -> collections.abc.Iterator[tuple[Decision, Timing]]:
        """Do what a journal says, in its order and at its times."""
        self._cycle.begin(start_ns, self._delivered)
        for entry in entries:
            if self._stopped:
                return
            if isinstance(entry, Took):
                began_ns = time.perf_counter_ns()
                chunks = [dataclasses.replace(chunk, t_ns=chunk.t_ns + start_ns) for chunk in entry.chunks]
                self._cycle.take(chunks, start_ns + entry.now_ns, NEVER, entry.omit)
                self._busy_ns += time.perf_counter_ns() - began_ns
            elif isinstance(entry, Decided):
                if self._limit_ns is not None and entry.tick_ns > self._limit_ns:
                    return
                yield self._decide_virtually(start_ns + entry.tick_ns, entry.omit)
            elif isinstance(entry, Lost):
                self._cycle.source_lost(entry.track, entry.detail)
            elif isinstance(entry, Begun):
                self._cycle.begin(start_ns, entry.tracks)
            else:
                self._cycle.set_effort(Effort(**entry.effort))

    def _chunks_of(self, sensor: Sensor) -> collections.abc.Iterator[Chunk]:
        try:
            while (chunk := sensor.read()) is not None:
                yield chunk
        except EdgeError as error:
            log.warning("%s lost: %s", " and ".join(sensor.tracks), error)
            for track in sensor.tracks:
                self._lost[track] = str(error)
                self._cycle.source_lost(track, str(error))

    def _decide_virtually(self, tick_ns: int, omit: collections.abc.Mapping[Modality, typing.Any] | None = None) -> tuple[Decision, Timing]:
        began_ns = time.perf_counter_ns()
        decision = self._cycle.decide(tick_ns, NEVER, omit)
        compute_ns, self._busy_ns = self._busy_ns + time.perf_counter_ns() - began_ns, 0
        latency_ns = None if decision.newest_ns is None else tick_ns - decision.newest_ns
        return decision, Timing(latency_ns, 0, compute_ns, 0, False)

    # --- at real pace ---------------------------------------------------------------------------------------------------

    def _run_paced(self) -> collections.abc.Iterator[tuple[Decision, Timing]]:
        clock, cycle, inbox = self._clock, self._cycle, self._inbox
        with contextlib.ExitStack() as stack:
            stack.callback(self._sources.stop)
            for news in self._sources.open():
                self._hear(news)
            ticks = Ticks(self._start_ns, self._budget.cadence_ns)
            ticks.begin_after(clock.now_ns())
            cycle.begin(self._start_ns, self._delivered)
            self._write(Begun(tuple(track for track in TRACKS if track in self._delivered)))
            if self._ladder is not None:
                self._write(Changed(dataclasses.asdict(self._ladder.effort)))
            self._sources.start()
            known_ns = self._known_end_ns()
            end_ns = None if known_ns is None else self._start_ns + known_ns
            while not self._stopped and (end_ns is None or ticks.next_ns <= end_ns):
                inbox.wait(clock, ticks.next_ns)
                # Asked before the inbox is emptied, or a last chunk could slip between the two.
                over = self._sources.over
                chunks, now_ns = inbox.take(), clock.now_ns()
                began_ns = time.perf_counter_ns()
                for news in self._sources.tend(now_ns):
                    self._hear(news)
                self._take(chunks, now_ns, ticks.coming_ns(now_ns))
                self._busy_ns += time.perf_counter_ns() - began_ns
                if clock.now_ns() >= ticks.next_ns:
                    yield self._decide_now(ticks, end_ns)
                if over and end_ns is None:
                    end_ns = clock.now_ns()

    def _hear(self, news: News) -> None:
        """A source was lost, or is back."""
        tracks, t_ns = " and ".join(news.tracks), self._clock.now_ns()
        if news.lost is None:
            for track in news.tracks:
                self._lost.pop(track, None)
            log.warning("%s is back", tracks)
            self._news.append(Event(t_ns, "source back", tracks))
            return
        self._news.append(Event(t_ns, "source lost", f"{tracks}: {news.lost}"))
        for track in news.tracks:
            self._lost[track] = news.lost
            self._cycle.source_lost(track, news.lost)
            self._write(Lost(track, news.lost))

    def _take(self, chunks: list[Chunk], now_ns: int, tick_ns: int) -> None:
        if any(chunk.t_ns < self._start_ns for chunk in chunks):  # captured before the run began
            chunks = [chunk for chunk in chunks if chunk.t_ns >= self._start_ns]
        if chunks:
            self._cycle.take(chunks, now_ns, self._budget.deadline(tick_ns), arrived_ns=self._inbox.arrived_ns)
            self._write(Took(now_ns, tuple(chunks), self._cycle.left_out))

    def _decide_now(self, ticks: Ticks, end_ns: int | None) -> tuple[Decision, Timing]:
        now_ns = self._clock.now_ns()
        tick_ns, skipped = ticks.take_latest(now_ns if end_ns is None else min(now_ns, end_ns))
        began_ns = time.perf_counter_ns()
        left_out = bool(self._cycle.left_out)
        decision = self._cycle.decide(tick_ns, self._budget.deadline(tick_ns))
        left_out = left_out or bool(self._cycle.left_out)
        self._write(Decided(tick_ns, self._cycle.left_out))
        compute_ns, self._busy_ns = self._busy_ns + time.perf_counter_ns() - began_ns, 0
        out_ns = self._clock.now_ns()
        latency_ns = None if decision.newest_ns is None else out_ns - decision.newest_ns
        response_ns = max(out_ns - tick_ns, self._cycle.take_lag_ns())
        missed = response_ns > self._budget.budget_ns
        if self._ladder is not None:
            load = compute_ns / self._budget.cadence_ns
            # What is left out while there is room would not fit anyway: leaving out others does not help it.
            self._climb(self._ladder, tick_ns, load, missed or skipped > 0 or (left_out and load > LOW_LOAD))
        return decision, Timing(latency_ns, response_ns, compute_ns, skipped, missed)

    def _climb(self, ladder: Ladder, tick_ns: int, load: float, suffers: bool) -> None:
        before = ladder.rung
        said = ladder.see(tick_ns, load, suffers, self._cycle.weights)
        if said is None:
            return
        self._cycle.set_effort(ladder.effort)
        self._write(Changed(dataclasses.asdict(ladder.effort)))
        down = ladder.rung > before
        reason = "the beat was in danger" if down else "there is time again"
        log.warning("%s: %s", reason, said)
        self._news.append(Event(tick_ns, "degraded" if down else "restored", f"{said} ({reason}: {100 * load:.0f} % of it used)"))


def _entries(sensors: collections.abc.Sequence[Sensor]) -> tuple[int, collections.abc.Iterator[Entry]] | None:
    """Start of the clock and entries of the journal, if the only source is a session with one."""
    session = getattr(sensors[0], "recording", None) if len(sensors) == 1 else None
    journal = getattr(session, "journal", None)
    return None if session is None or journal is None else (journal.start_ns, session.entries())


def _title(source: str | Sensor | collections.abc.Callable[[], Sensor]) -> str:
    """How reports call a source: without the folders, which are nobody's business."""
    if not isinstance(source, str):
        return getattr(source, "__name__", type(source).__name__)
    scheme, _, rest = source.partition(":")
    return f"{scheme}:{pathlib.PurePath(rest).name}"
