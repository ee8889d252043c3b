"""Whether a measurement can be trusted: what the board said before, during and after it, and what else the machine was doing."""

from __future__ import annotations

import collections.abc
import hashlib
import os
import pathlib
import resource
import statistics
import threading
import time
import types
import typing

from benchmarks.harness import Record, percentile
from edge.board import board_facts

EVERY_S = 1.0
OTHERS = 0.10
"""Share of the machine that others may use."""
SPREAD = 0.10
"""Of the calibration loop: between its quartiles, and between before and after."""
DROOP = 0.10
"""Loss of frequency at full load."""
NOW_BITS = 0b1111
"""Of ``get_throttled``: what is so at this moment; those from 16 on are since boot."""
FACTS = ("frequency_mhz", "temperature_c", "throttled")
_LOOPS, _REPEATS = 40, 25
_BLOCK = bytes(1 << 15)


def calibrate(now_ns: collections.abc.Callable[[], int] = time.perf_counter_ns) -> list[float]:
    """A fixed piece of work, 25 times, ms each: hashing and counting, on one core."""
    taken = []
    for _ in range(_REPEATS):
        began_ns = now_ns()
        for number in range(_LOOPS):
            hashlib.sha256(_BLOCK).digest()
            sum(range(number * 10))
        taken.append((now_ns() - began_ns) / 1e6)
    return taken


class Monitor:
    """Around one scenario: ``with Monitor() as monitor: ...``, then ``monitor.record()``.

    Args:
        root: where ``proc`` and ``sys`` lie.
        facts: reads the board.
        work: the calibration loop.
        every_s: from one look at the board to the next.
    """

    def __init__(
        self,
        root: pathlib.Path = pathlib.Path("/"),
        *,
        facts: typing.Callable[[], Record] | None = None,
        work: typing.Callable[[], list[float]] = calibrate,
        every_s: float = EVERY_S,
    ):
        self._root, self._work, self._every_s = root, work, every_s
        self._facts = facts or (lambda: board_facts(root).as_record())
        self._during: list[Record] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="board", daemon=True)

    def __enter__(self) -> typing.Self:
        self._before_work = self._work()
        self._before = self._facts()
        self._busy_s, self._own_s, self._began_s = busy_s(self._root), own_s(), time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._wall_s = time.monotonic() - self._began_s
        busy, own = busy_s(self._root), own_s()
        self._others = None
        if busy is not None and self._busy_s is not None and self._wall_s > 0:
            cores = max(1, int(self._before.get("cores") or os.cpu_count() or 1))
            self._others = max(0.0, (busy - self._busy_s - (own - self._own_s)) / self._wall_s / cores)
        if kind is None:
            self._after_work = self._work()
            self._after = self._facts()

    def _look(self) -> None:
        while not self._over.wait(self._every_s):
            facts = self._facts()
            self._during.append({name: facts.get(name) for name in FACTS})

    def record(self) -> Record:
        """Facts, the calibration loop, the load of others, and ``unfit``: the reasons not to trust it, none if it may be."""
        record = {
            "before": self._before,
            "during": during(self._during),
            "after": {name: self._after.get(name) for name in FACTS},
            "others_share": None if self._others is None else round(self._others, 4),
            "load_average": self._load(),
            "calibration_ms": {"before": _quartiles(self._before_work), "after": _quartiles(self._after_work)},
            "wall_s": round(self._wall_s, 2),
        }
        return {**record, "unfit": reasons(record)}

    def _load(self) -> float | None:
        try:
            return float((self._root / "proc/loadavg").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None


def during(looks: collections.abc.Sequence[Record]) -> Record:
    """Least, most and bits seen, over looks once a second."""
    said: Record = {"looks": len(looks)}
    for name in ("frequency_mhz", "temperature_c"):
        known = [look[name] for look in looks if look.get(name) is not None]
        said[name] = [min(known), max(known)] if known else None
    bits = [look["throttled"] for look in looks if look.get("throttled") is not None]
    said["throttled"] = None
    if bits:
        said["throttled"] = 0
        for one in bits:
            said["throttled"] |= one
    return said


def reasons(record: collections.abc.Mapping[str, typing.Any]) -> list[str]:
    """Why a measurement is not fit to be compared; empty if it is.

    Args:
        record: as ``Monitor.record`` makes it.
    """
    found = []
    bits = 0
    for part in ("before", "during", "after"):
        bits |= record[part].get("throttled") or 0
    if bits & NOW_BITS:
        found.append(f"throttled while it ran (get_throttled {bits:#x}): give it a better supply or a cooler")
    before, after = (record[part].get("frequency_mhz") for part in ("before", "after"))
    if before and after and after < (1 - DROOP) * before:
        found.append(f"the processor fell from {before:.0f} to {after:.0f} MHz under load")
    if record["others_share"] is not None and record["others_share"] > OTHERS:
        found.append(f"other programs used {100 * record['others_share']:.0f} % of the machine")
    calibration = record["calibration_ms"]
    for part in ("before", "after"):
        low, middle, high = calibration[part]
        if high - low > SPREAD * middle:
            found.append(f"the same work took {low:.2f} to {high:.2f} ms {part} it")
    first, last = calibration["before"][1], calibration["after"][1]
    if abs(last - first) > SPREAD * first:
        found.append(f"the same work took {first:.2f} ms before and {last:.2f} ms after it")
    return found


def busy_s(root: pathlib.Path) -> float | None:
    """Time that all cores have been busy since boot, stolen time included, s; None where /proc/stat does not say."""
    try:
        words = (root / "proc/stat").read_text().split("\n", 1)[0].split()
        user, nice, system, _idle, _wait, interrupt, soft, stolen = map(int, words[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + interrupt + soft + stolen) / os.sysconf("SC_CLK_TCK")


def own_s() -> float:
    """CPU time of this process and of its children that have ended, s."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _quartiles(taken: collections.abc.Sequence[float]) -> list[float]:
    ordered = sorted(taken)
    return [round(percentile(ordered, 25), 4), round(statistics.median(ordered), 4), round(percentile(ordered, 75), 4)]
