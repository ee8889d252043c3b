"""Faults injected while the kit runs, on real threads, real drivers and the embedded bundle; ``benchmarks.faults`` does it at real pace."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import threading

import numpy as np
import pytest
import tiny
from tiny import OPENING

from benchmarks.fault_cases import CASES, Case
from benchmarks.fault_judge import Outcome, judge, whole_lines
from benchmarks.fault_process import PROCESS_CASES
from benchmarks.fault_sources import World, faulty_stages, sensor
from edge import embedded
from edge.bundle import load_bundle
from edge.clock import ManualClock
from edge.config import settings_from
from edge.errors import InputError
from edge.inference.cycle import Cycle
from edge.inference.scheduler import NEVER
from edge.inference.smoothing import Smoother
from edge.outputs.jsonlines import JsonLines
from edge.runtime import Runtime
from edge.types import MODALITIES, Chunk, Event

PURPOSE = {"jurisdiction": "US", "purpose": "research", "setting": "laboratory", "responsible": "A", "consent_reference": "B"}
SETTINGS = settings_from(
    # Nobody does less because the machine is busy with other things: what is tested here is what follows from the fault.
    {"purpose": PURPOSE, "ads1115": {"front_end": "divider"}, "budget": {"if_too_slow": "refuse"}},
    where="kit.toml",
)

ALIKE = {
    "microphone hang",
    "microphone unplugged and back",
    "skin chip brown-out and reset",
    "finger off and on",
    "rate change, pulse",
    "time goes back, microphone",
    "time leaps ahead, microphone",
}
"""Much like another one: only with the long ones."""


class SteppedClock:
    """Time that leaps to the next moment that anybody waits for, once all wait: real threads, and the load of the machine is no matter.

    Those that must wait are the thread that made the clock and the sensors' threads.
    """

    def __init__(self) -> None:
        self._now_ns = 5_000_000_000_000
        self._changed = threading.Condition()
        self._waiting: dict[threading.Thread, tuple[threading.Event, int]] = {}
        self._main = threading.current_thread()

    def now_ns(self) -> int:
        return self._now_ns

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        me = threading.current_thread()
        with self._changed:
            self._waiting[me] = (wake, until_ns)
            self._changed.notify_all()
            try:
                while not wake.is_set() and self._now_ns < until_ns:
                    if self._all_wait():
                        self._now_ns = max(self._now_ns, min(until for _, until in self._waiting.values()))
                        self._changed.notify_all()
                    else:
                        self._changed.wait(0.002)  # events are set without telling the clock
            finally:
                del self._waiting[me]
        return wake.is_set()

    def _all_wait(self) -> bool:
        taking_part = [t for t in threading.enumerate() if t is self._main or t.name.startswith("sensor ")]
        return all(thread in self._waiting for thread in taking_part) and not any(
            wake.is_set() or until <= self._now_ns for wake, until in self._waiting.values()
        )


def run(case: Case, path) -> tuple[list, dict]:
    clock = SteppedClock()
    world = World(clock, case.spells)
    with world.wired():
        sources = [functools.partial(sensor, world, name, SETTINGS) for name in case.sources]
        bundle = load_bundle(embedded.BUNDLE)
        runtime = Runtime(bundle, sources, settings=SETTINGS, clock=clock, duration_s=case.length_s, stages=faulty_stages(world))
        report = runtime.run([JsonLines(path)])
    records, whole = whole_lines(path)
    assert whole
    return records, report


def in_process() -> list:
    return [pytest.param(case, id=case.name, marks=[pytest.mark.long] if case.name in ALIKE else []) for case in CASES]


@pytest.mark.parametrize("case", in_process())
def test_a_fault_is_named_the_others_go_on_and_it_is_over_soon(case, tmp_path):
    records, report = run(case, tmp_path / "decisions.jsonl")
    assert judge(case, records, report).problems == []


@pytest.mark.long
@pytest.mark.parametrize("case", [case for case in PROCESS_CASES if not case.alone], ids=lambda case: case.name)
def test_what_hits_the_process_ends_it_tidily_or_leaves_it_deciding(case, tmp_path):
    if case.name == "clock step" and shutil.which("faketime") is None:
        pytest.skip("needs libfaketime: apt-get install faketime")
    outcome = Outcome(case.name, case.how)
    case.run(outcome, tmp_path)
    assert outcome.problems == []


def test_a_line_that_a_full_disk_cut_off_is_taken_away(tmp_path):
    """The limit on the size of files stands for the disk: a write up to it is cut short, as on a disk that is full."""
    sink = JsonLines(tmp_path / "decisions.jsonl")
    sink.open(OPENING)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, usual[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            for _ in range(100):
                sink.note(Event(0, "plan", "x" * 30_000))
        sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    records, whole = whole_lines(tmp_path / "decisions.jsonl.partial")
    assert whole and len(records) == 33 and not (tmp_path / "decisions.jsonl").exists()


def test_a_pipe_that_nobody_reads_is_refused_and_one_with_a_reader_is_not(tmp_path):
    fifo = tmp_path / "decisions.fifo"
    os.mkfifo(fifo)
    with pytest.raises(InputError, match="nobody reads from this pipe"):
        JsonLines(fifo).open(OPENING)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        sink = JsonLines(fifo)
        sink.open(OPENING)
        sink.note(Event(OPENING.start_ns, "plan", "here"))
        sink.close()
        assert os.read(reader, 1000) == b'{"t_ms": 0, "event": "plan", "detail": "here"}\n'
    finally:
        os.close(reader)


def test_without_memory_for_one_more_thread_modalities_are_encoded_one_after_the_other(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    clock = ManualClock()
    branches = [tiny.branch(modality, clock=clock, expected_ms=5.0) for modality in MODALITIES]
    smoother = Smoother(tiny.LABELS, abstain_below=0.4, switch_margin=0.1)
    cycle = Cycle(branches, tiny.fusion(), smoother, clock=clock, cores=2)
    cycle.begin(0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    cycle.take([Chunk(tiny.TRACK[m], 0, 4.0, np.ones((1, 2, 2), np.float32)) for m in MODALITIES], 0, NEVER)
    assert cycle.decide(250_000_000, NEVER).absent == {}
    assert [branch.encoded for branch in branches] == [1, 1, 1]
