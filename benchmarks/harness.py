"""What every scenario shares: what was asked for, distributions, metrics, and a child process that is watched from outside."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing

from edge.errors import EdgeError

Record = dict[str, typing.Any]
PERCENTILES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)
_STEPS = 20
"""Buckets of a histogram from a value to its tenfold."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What to measure, for how long."""

    bundle: str
    session: str
    spool: str = ""
    """Folder with the decoded session (``recording.spool``)."""
    cycle_s: float = 60.0
    """Live pace."""
    overload_s: float = 40.0
    """Each factor: three eighths of it slowed down, the rest to recover."""
    factors: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)
    """Of slowness, the first the slow board itself."""
    hours: float = 0.25
    """Session that the soak replays."""
    stage_s: float = 0.6
    """Each stage with each number of threads."""
    starts: int = 3
    """Fresh processes for everything that is measured from a start."""
    idle_s: float = 10.0
    """The system that does nothing."""
    expected: str = ""
    """A result with the decisions to be expected; none if empty."""


def percentile(ordered: collections.abc.Sequence[float], percent: float) -> float:
    """The least of rising values that ``percent`` of them do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def distribution(values: collections.abc.Iterable[float], unit: str = "ms") -> Record:
    """Percentiles, mean and a histogram: ``buckets`` are [lower edge, count], ``per_decade`` of them to a tenfold, below 1e-6 in the first.

    An empty one has a count of 0 and no percentiles.
    """
    ordered = sorted(values)
    if not ordered:
        return {"unit": unit, "count": 0, "percentiles": {}, "mean": None, "per_decade": _STEPS, "buckets": []}
    counts: dict[int, int] = {}
    for value in ordered:
        place = math.floor(math.log10(max(value, 1e-6)) * _STEPS + 1e-9)
        counts[place] = counts.get(place, 0) + 1
    return {
        "unit": unit,
        "count": len(ordered),
        "percentiles": {f"{p:g}": round(percentile(ordered, p), 6) for p in PERCENTILES},
        "mean": round(statistics.fmean(ordered), 6),
        "per_decade": _STEPS,
        "buckets": [[float(f"{10 ** (place / _STEPS):.6g}"), count] for place, count in sorted(counts.items())],
    }


def metric(value: float | None, unit: str, repeats: collections.abc.Sequence[float] = (), *, counted: bool = False) -> Record:
    """One number that two results are compared by; less is better.

    Args:
        value: over the whole run; None where it could not be measured.
        unit: such as "ms".
        repeats: the same over parts of the run, or of several runs: their spread is the noise.
        counted: events, whose noise is that of counting.
    """
    kept = [round(one, 6) for one in repeats]
    return {"value": None if value is None else round(value, 6), "unit": unit, "repeats": kept, "counted": counted}


Value = typing.TypeVar("Value")


def blocks(values: collections.abc.Sequence[Value], count: int, least: int = 20) -> list[collections.abc.Sequence[Value]]:
    """Consecutive parts of a series, up to ``count``, none with fewer than ``least`` values unless there is but one."""
    parts = max(1, min(count, len(values) // least))
    return [values[len(values) * i // parts : len(values) * (i + 1) // parts] for i in range(parts)] if values else []


@dataclasses.dataclass(frozen=True)
class Vitals:
    """A process at one moment."""

    t_s: float
    """Since the process was started."""
    rss_mib: float
    descriptors: int
    threads: int


def vitals(pid: int | str, t_s: float) -> Vitals | None:
    """Of a process, from /proc; None if it has gone, or has given its memory back and is about to."""
    place = pathlib.Path("/proc") / str(pid)
    try:
        pages = int((place / "statm").read_text().split()[1])
        descriptors, threads = len(os.listdir(place / "fd")), len(os.listdir(place / "task"))
    except (OSError, IndexError):  # it ended in between
        return None
    if not pages:
        return None
    return Vitals(round(t_s, 3), round(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), 3), descriptors, threads)


@dataclasses.dataclass(frozen=True)
class ChildRun:
    """What a child said, and how it was seen from outside."""

    said: Record
    vitals: tuple[Vitals, ...]
    """Once a second."""
    exec_ns: int
    """``time.monotonic_ns()`` just before it was started."""


def process_began_ns(otherwise_ns: int) -> int:
    """When the first line of this child ran, in monotonic ns; ``otherwise_ns`` in what is no child."""
    began_ns = getattr(sys.modules["__main__"], "BEGAN_NS", None)
    return began_ns if isinstance(began_ns, int) else otherwise_ns


class ChildError(EdgeError, RuntimeError):
    """A scenario's process failed."""


def in_child(target: str, order: Order, *, every_s: float = 1.0, **more: typing.Any) -> ChildRun:
    """Call ``target``, such as "benchmarks.cycle:child", with ``order`` and ``more`` in a fresh process.

    Raises:
        ChildError: it failed; with its last line.
    """
    with tempfile.TemporaryDirectory(prefix="affectkit-bench-") as folder:
        job, answer = pathlib.Path(folder, "job.json"), pathlib.Path(folder, "answer.json")
        job.write_text(json.dumps({"target": target, "order": dataclasses.asdict(order), "more": more, "answer": str(answer)}))
        root = str(pathlib.Path(__file__).resolve().parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
        exec_ns = time.monotonic_ns()
        with tempfile.TemporaryFile() as words:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child", str(job)], stdout=words, stderr=words, env=environment, cwd=root
            )
            watch = _Watch(process.pid, every_s)
            try:
                status = process.wait()
            except BaseException:
                process.kill()
                process.wait()
                raise
            finally:
                watch.stop()
            words.seek(0)
            said = words.read().decode("utf-8", "replace").strip().splitlines()
        if status or not answer.exists():
            raise ChildError(f"{target}: its process ended with status {status}: {said[-1] if said else 'it said nothing'}")
        return ChildRun(json.loads(answer.read_text()), tuple(watch.seen), exec_ns)


class _Watch:
    def __init__(self, pid: int, every_s: float):
        self.seen: list[Vitals] = []
        self._pid, self._every_s = pid, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._over.wait(self._every_s):
            now = vitals(self._pid, time.monotonic() - began_s)
            if now is not None:
                self.seen.append(now)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
