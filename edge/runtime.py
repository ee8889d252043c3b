"""The composition root: bundle, sensors, cycle and sinks become one run. The only file that knows all parts.

At real pace a thread a sensor fills bounded queues and one thread does the rest. Fast, everything happens in one thread in the
order of the recording, time is virtual and the decisions are the same to the byte every time.
"""

from __future__ import annotations

import collections.abc
import contextlib
import heapq
import logging
import pathlib
import time
import typing

import numpy as np

from edge.bundle import Bundle
from edge.clock import Clock, ManualClock, SystemClock
from edge.config import Settings
from edge.errors import BundleError, ConfigError, EdgeError, InferenceError
from edge.inference.branch import Branch, Patience
from edge.inference.cycle import Cycle
from edge.inference.fusion import Fusion
from edge.inference.scheduler import MS, NEVER, Budget, Ticks
from edge.inference.smoothing import Smoother
from edge.outputs import Opening, Sink, Timing
from edge.outputs.summary import Summary, peak_rss_mib
from edge.purpose import check_purpose
from edge.sensors import Sensor, open_sensor
from edge.sensors.pump import Inbox, Pump, lost_tracks
from edge.types import MODALITIES, Chunk, Decision, Modality

if typing.TYPE_CHECKING:
    from edge.inference.model import Model
    from edge.preprocess.face import Detect
    from edge.preprocess.window import Front

log = logging.getLogger("affectkit")

DEFAULT_MAX_AGE_MS = 1500


class Runtime:
    """One run of a bundle on its sources: iterate over it for decisions, or ``run`` it into sinks. It can be used once.

    Args:
        bundle: from ``load_bundle``.
        sources: strings such as "replay:lesson.session.zip", or sensors.
        settings: from ``load_settings``; the purpose in it decides whether live sources may run.
        fast: replay in virtual time, as fast as the machine goes; live sources refuse it.
        duration_s: end after this much session; None goes on to the end of the sources, or until ``stop``.
        clock: real time; tests put in their own.
        compose: makes the cycle; tests put in their own.
        began_s: ``time.perf_counter()`` at the start of the program, from which the first decision is counted.

    Raises:
        ConfigError: an unknown kind of source, or live sources and ``fast``.
        SessionError: a recorded session is damaged.
        PurposeError: live sources without a declared, lawful purpose.
        BundleError: a stage or a parameter is not what this version knows.
        InferenceError: no interpreter works here.
    """

    def __init__(
        self,
        bundle: Bundle,
        sources: collections.abc.Sequence[str | Sensor],
        *,
        settings: Settings | None = None,
        fast: bool = False,
        duration_s: float | None = None,
        clock: Clock | None = None,
        compose: typing.Callable[[Bundle, Settings, Clock], Cycle] | None = None,
        began_s: float | None = None,
    ):
        settings = settings or Settings()
        manifest = bundle.manifest
        self._began_s = time.perf_counter() if began_s is None else began_s
        self._clock: Clock = ManualClock() if fast else clock or SystemClock()
        self._sensors = [open_sensor(source, self._clock, settings) if isinstance(source, str) else source for source in sources]
        if not self._sensors:
            raise ConfigError("run: no source; name one, such as replay:session.zip")
        live = any(sensor.live for sensor in self._sensors)
        check_purpose(settings.purpose, live=live)
        if fast and live:
            raise ConfigError("run: live sources have their own pace; leave out --fast")
        self._budget = Budget(settings.budget.cadence_ms or manifest.cadence_ms, settings.budget.budget_ms or manifest.budget_ms)
        # Fast, nothing is ever late: the cycle's clock stands still, and no deadline comes.
        self._cycle = (compose or compose_cycle)(bundle, settings, ManualClock() if fast else self._clock)
        self._fast = fast
        self._limit_ns = None if duration_s is None else round(duration_s * 1e9)
        self._inbox = Inbox(settings.sources.queue_chunks)
        self._lost: dict[str, str] = {}
        self._stopped = False
        self._busy_ns = 0
        self._start_ns = self._clock.now_ns()
        self._titles = (f"{manifest.name} {manifest.version}", tuple(map(_title, sources)))
        self._labels = manifest.labels

    def stop(self) -> None:
        """End at the next tick, tidily; safe in a signal handler and from any thread (it takes no lock)."""
        self._stopped = True

    def __iter__(self) -> collections.abc.Iterator[Decision]:
        return (decision for decision, _ in self.timed())

    def timed(self) -> collections.abc.Iterator[tuple[Decision, Timing]]:
        """Decisions as they are made, and how long each took; at real pace a consumer that is too slow makes ticks be skipped."""
        return self._run_fast() if self._fast else self._run_paced()

    def run(self, sinks: collections.abc.Sequence[Sink] = ()) -> dict[str, typing.Any]:
        """Give every decision to every sink, to the end; returns the summary, as ``Summary.report`` makes it.

        A sink whose place fails (disk full, pipe closed) is closed with one line of warning, and the others go on.
        """
        self._start_ns = self._clock.now_ns()
        summary = Summary([planned for sensor in self._sensors for planned in sensor.planned])
        opening = Opening(
            bundle=self._titles[0],
            sources=self._titles[1],
            labels=self._labels,
            start_ns=self._start_ns,
            cadence_ms=self._budget.cadence_ms,
            budget_ms=self._budget.budget_ms,
            duration_ns=self._known_end_ns(),
            fast=self._fast,
        )
        failed: list[str] = []
        first_s: float | None = None
        wall_s, cpu_s, last_ns = time.perf_counter(), time.process_time(), self._start_ns
        with contextlib.ExitStack() as stack:
            working: list[Sink] = []
            for sink in (summary, *sinks):
                sink.open(opening)
                stack.callback(_closed, sink, failed)
                working.append(sink)
            for decision, timing in self.timed():
                if first_s is None and decision.state != "no decision":
                    first_s = time.perf_counter() - self._began_s
                last_ns = decision.t_ns
                for sink in tuple(working):
                    try:
                        sink.give(decision, timing)
                    except BrokenPipeError:
                        working.remove(sink)
                        self.stop()  # whoever read the decisions has gone
                    except OSError as error:
                        working.remove(sink)
                        failed.append(type(sink).__name__)
                        log.warning("%s: %s; nothing more goes there, the run goes on", type(sink).__name__, error.strerror or error)
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
            faults=self._cycle.faults(),
            lost_sources=dict(self._lost),
            failed_sinks=failed,
        )

    def _known_end_ns(self) -> int | None:
        """How long the run goes on, if that is known."""
        ends = [sensor.duration_ns for sensor in self._sensors]
        known = None if None in ends else max(end for end in ends if end is not None)
        return min((end for end in (known, self._limit_ns) if end is not None), default=None)

    def _run_fast(self) -> collections.abc.Iterator[tuple[Decision, Timing]]:
        ticks = Ticks(self._start_ns, self._budget.cadence_ns)
        self._cycle.begin(self._start_ns)
        known_ns = self._known_end_ns()
        end_ns = self._start_ns if known_ns is None else self._start_ns + known_ns
        with contextlib.ExitStack() as stack:
            for sensor in self._sensors:
                sensor.open()
                stack.callback(sensor.close)
            for chunk in heapq.merge(*map(self._chunks_of, self._sensors), key=lambda chunk: chunk.end_ns):
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

    def _chunks_of(self, sensor: Sensor) -> collections.abc.Iterator[Chunk]:
        try:
            while (chunk := sensor.read()) is not None:
                yield chunk
        except EdgeError as error:
            log.warning("%s lost: %s", " and ".join(sensor.tracks), error)
            for track in sensor.tracks:
                self._lost[track] = str(error)
                self._cycle.source_lost(track, str(error))

    def _decide_virtually(self, tick_ns: int) -> tuple[Decision, Timing]:
        began_ns = time.perf_counter_ns()
        decision = self._cycle.decide(tick_ns, NEVER)
        compute_ns, self._busy_ns = self._busy_ns + time.perf_counter_ns() - began_ns, 0
        latency_ns = None if decision.newest_ns is None else tick_ns - decision.newest_ns
        return decision, Timing(latency_ns, 0, compute_ns, 0, False)

    def _run_paced(self) -> collections.abc.Iterator[tuple[Decision, Timing]]:
        clock, cycle, inbox = self._clock, self._cycle, self._inbox
        pumps: list[Pump] = []
        with contextlib.ExitStack() as stack:
            for sensor in self._sensors:
                sensor.open()
                pumps.append(Pump(sensor, inbox))
                stack.callback(pumps[-1].stop)
            ticks = Ticks(self._start_ns, self._budget.cadence_ns)
            ticks.begin_after(clock.now_ns())
            cycle.begin(clock.now_ns())
            for pump in pumps:
                pump.start()
            known_ns = self._known_end_ns()
            end_ns = None if known_ns is None else self._start_ns + known_ns
            while not self._stopped and (end_ns is None or ticks.next_ns <= end_ns):
                inbox.wait(clock, ticks.next_ns)
                # Asked before the inbox is emptied, or a last chunk could slip between the two.
                over = all(pump.ended and not (pump.lost and pump.sensor.live) for pump in pumps)
                chunks, now_ns = inbox.take(), clock.now_ns()
                began_ns = time.perf_counter_ns()
                for track, detail in lost_tracks(pumps).items():
                    if track not in self._lost:
                        self._lost[track] = detail
                        cycle.source_lost(track, detail)
                cycle.take(chunks, now_ns, self._budget.deadline(ticks.coming_ns(now_ns)))
                self._busy_ns += time.perf_counter_ns() - began_ns
                if clock.now_ns() >= ticks.next_ns:
                    yield self._decide_now(ticks, end_ns)
                if over and end_ns is None:
                    end_ns = clock.now_ns()

    def _decide_now(self, ticks: Ticks, end_ns: int | None) -> tuple[Decision, Timing]:
        now_ns = self._clock.now_ns()
        tick_ns, skipped = ticks.take_latest(now_ns if end_ns is None else min(now_ns, end_ns))
        began_ns = time.perf_counter_ns()
        decision = self._cycle.decide(tick_ns, self._budget.deadline(tick_ns))
        compute_ns, self._busy_ns = self._busy_ns + time.perf_counter_ns() - began_ns, 0
        out_ns = self._clock.now_ns()
        latency_ns = None if decision.newest_ns is None else out_ns - decision.newest_ns
        response_ns = max(out_ns - tick_ns, self._cycle.take_lag_ns())
        return decision, Timing(latency_ns, response_ns, compute_ns, skipped, response_ns > self._budget.budget_ns)


def _closed(sink: Sink, failed: list[str]) -> None:
    """Close a sink; if that fails, say so and let the others close."""
    try:
        sink.close()
    except (OSError, EdgeError) as error:
        if type(sink).__name__ not in failed and not isinstance(error, BrokenPipeError):
            failed.append(type(sink).__name__)
            log.warning("%s: %s", type(sink).__name__, error)


def _title(source: str | Sensor) -> str:
    """How reports call a source: without the folders, which are nobody's business."""
    if not isinstance(source, str):
        return type(source).__name__
    scheme, _, rest = source.partition(":")
    return f"{scheme}:{pathlib.PurePath(rest).name}"


def compose_cycle(bundle: Bundle, settings: Settings, clock: Clock) -> Cycle:
    """The cycle of a bundle: its models, and the fronts that its manifest parametrises. Raises BundleError, InferenceError."""
    from edge.inference.model import Model

    manifest = bundle.manifest
    if "fusion" not in manifest.stages:
        raise BundleError(f"{bundle.path}: no stage fusion; it has {', '.join(manifest.stages)}")

    def model(stage: str) -> Model:
        spec = manifest.stages[stage]
        return Model(bundle.stage(stage), name=stage, inputs=spec.inputs, outputs=spec.outputs, threads=settings.inference.threads)

    branches = []
    for modality in MODALITIES:
        if modality not in manifest.stages:
            continue
        spec = manifest.stages[modality]
        patience = Patience(settings.sources.lost_after_ms * MS, manifest.max_age_ms.get(modality, DEFAULT_MAX_AGE_MS) * MS)
        branches.append(
            Branch(
                _front(modality, bundle, model),
                model(modality),
                next(iter(spec.inputs)),
                patience=patience,
                clock=clock,
                expected_ms=spec.budget_ms,
            )
        )
    stage = model("fusion")
    takes = stage.details().inputs
    if unknown := set(MODALITIES) - set(takes):
        raise BundleError(f"{bundle.path}: stage fusion takes {', '.join(takes)}, not {', '.join(sorted(unknown))}; convert it again")
    fusion = Fusion(
        stage,
        widths={modality: takes[modality].shape[0] for modality in MODALITIES},
        labels=len(manifest.labels),
        temperature=manifest.temperature,
    )
    smoother = Smoother(manifest.labels, abstain_below=manifest.abstain_below, switch_margin=manifest.switch_margin)
    return Cycle(branches, fusion, smoother, clock=clock)


def _front(modality: Modality, bundle: Bundle, model: typing.Callable[[str], Model]) -> Front:
    """The front of ``modality`` with the parameters of the manifest; a parameter that it does not know is a BundleError."""
    parameters = bundle.manifest.preprocess
    try:
        if modality == "speech":
            from edge.preprocess.speech import SpeechFront, SpeechParameters

            return SpeechFront(SpeechParameters(**parameters["speech"]))
        if modality == "physiology":
            from edge.preprocess.physiology import PhysiologyFront, PhysiologyParameters

            return PhysiologyFront(PhysiologyParameters(**parameters["physiology"]))
        from edge.preprocess.face import FaceFront, FaceParameters

        return FaceFront(FaceParameters(**parameters["face"]), _detector(bundle, model))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{bundle.path}: parameters of {modality}: {error}; made by another version of affectkit?") from error


def _detector(bundle: Bundle, model: typing.Callable[[str], Model]) -> Detect:
    """The bundle's own detector, or OpenCV's cascade for a bundle without one."""
    if "detector" not in bundle.manifest.stages:
        from edge.inference.cascade import Cascade

        return Cascade()
    from edge.preprocess.detection import Detector, DetectorParameters

    stage = model("detector")
    input_name = next(iter(bundle.manifest.stages["detector"].inputs))
    parameters = DetectorParameters(**bundle.manifest.preprocess["detector"])
    return Detector(parameters, finite(lambda image: stage.run(**{input_name: image})))


def finite(
    run: typing.Callable[[np.ndarray], collections.abc.Mapping[str, np.ndarray]],
) -> typing.Callable[[np.ndarray], collections.abc.Mapping[str, np.ndarray]]:
    """``run``, with an InferenceError where it gives NaN: a comparison with NaN is False, which would read as no face in view."""

    def checked(image: np.ndarray) -> collections.abc.Mapping[str, np.ndarray]:
        outputs = run(image)
        if not all(np.isfinite(grid).all() for grid in outputs.values()):
            raise InferenceError("its detector gave NaN")
        return outputs

    return checked
