"""Scenario *soak*: hours of session, replayed fast."""

from __future__ import annotations

import collections.abc
import ctypes
import functools
import gc
import math
import pathlib
import statistics
import sys
import time
import typing

import numpy as np

from benchmarks.harness import Order, Record, Vitals, distribution, in_child, metric, vitals
from benchmarks.recording import Looped, Spooled
from edge.bundle import load_bundle
from edge.clock import ManualClock
from edge.runtime import Runtime
from edge.sensors.replay import Recording, Replay

WARM_SHARE = 0.1
"""Of a run, left out of the slope; at least one round of the session."""
SAMPLES = 400
"""Of memory, over a run."""
AGAIN_SHARE = 0.25
"""Of the hours, replayed a second time as many short runs."""


def measure(order: Order) -> Record:
    """Hours of session, replayed as fast as the machine goes, in one process.

    *long*: one run over a source that gives the session again and again, its times rising. *again*: a quarter of the hours as many
    runs, each of the session once, each with a ``Runtime`` of its own. Memory is what is resident, read at 400 moments, and after
    each run of *again*; the slope is the least-squares line through what was read after a tenth of the run and at least one round,
    growth is the median of the last fifth over that of the first fifth of the same. Beside it stands what is allocated, C's heap and
    Python's blocks: resident memory also grows when allocations leave gaps, a leak is what these do not give back. Descriptors and
    threads are counted at the same moments. Drift is the median work for a decision in the last tenth of the rounds against that of
    the first tenth after warm-up, whole rounds, so that both saw the same session. Nothing has a deadline here, so nothing is a miss.
    """
    long = in_child("benchmarks.soak:long", order).said
    again = in_child("benchmarks.soak:again", order).said
    metrics = {
        "growth over the long run": metric(max(0.0, long["growth_mib"]), "MiB", long.pop("noise")),
        "heap growth over the long run": metric(heap_growth(long), "MiB"),
        "work for a decision": metric(long["compute_ms"]["percentiles"].get("50"), "ms", long["round_medians_ms"]),
        "growth over short runs": metric(max(0.0, again["growth_mib"]), "MiB", again.pop("noise")),
    }
    return {"long": long, "again": again, "metrics": metrics}


def heap_growth(said: Record) -> float | None:
    """Of the long run, MiB; None where the C library does not say."""
    heap = said["in_use"]["heap_mib"]
    return None if heap is None else max(0.0, heap[1] - heap[0])


def long(order: Order) -> Record:
    """One long run."""
    recording = Spooled(pathlib.Path(order.spool))
    hours_ns = round(order.hours * 3600e9)
    bundle = load_bundle(order.bundle)
    runtime = Runtime(bundle, [_source(Looped(recording, hours_ns))], fast=True)
    return followed(runtime, bundle.manifest.cadence_ms * 1_000_000, recording.duration_ns, hours_ns)


def followed(
    runtime: Runtime, cadence_ns: int, round_ns: int, whole_ns: int, *, now_s: collections.abc.Callable[[], float] = time.perf_counter
) -> Record:
    """Run ``runtime`` in virtual time to its end, with a look at the process 400 times; ``round_ns`` of it are one session."""
    # All memory for what is kept is taken beforehand, and written to: what grows later is not ours.
    looks = np.full((SAMPLES + 2, 6), 1.0)
    allocated()
    work_ms = np.full(math.ceil(whole_ns / cadence_ns) + 2, -1.0, np.float32)
    began_s = now_s()
    decisions, kept, every_ns, due_ns = 0, 0, whole_ns / SAMPLES, 0.0
    for decision, timing in runtime.timed():
        work_ms[decisions] = timing.compute_ns / 1e6
        decisions += 1
        if decision.t_ns >= due_ns and kept < len(looks):
            due_ns = decision.t_ns + every_ns
            now = vitals("self", now_s() - began_s)
            if now is not None:
                looks[kept] = (decision.t_ns / 3600e9, now.rss_mib, now.descriptors, now.threads, *allocated())
                kept += 1
    wall_s = now_s() - began_s
    seen = [(float(hour), Vitals(0.0, float(mib), int(files), int(threads))) for hour, mib, files, threads, _, _ in looks[:kept]]
    per_round = max(1, round_ns // cadence_ns)
    rounds = [work_ms[at : at + per_round] for at in range(0, decisions, per_round) if at + per_round <= decisions] or [work_ms[:decisions]]
    medians = [float(np.median(one)) for one in rounds]
    tenth = max(1, len(medians) // 10)
    after = medians[1:] or medians
    warm_h = max(WARM_SHARE * whole_ns, round_ns) / 3600e9
    return {
        "session_h": round(whole_ns / 3600e9, 4),
        "wall_s": round(wall_s, 2),
        "times_real_time": round(whole_ns / 1e9 / wall_s, 1) if wall_s > 0 else None,
        "decisions": decisions,
        "rounds": len(rounds),
        **line_through([hours for hours, _ in seen], [one for _, one in seen], warm_h),
        "in_use": in_use(looks[:kept], warm_h),
        "compute_ms": distribution(map(float, work_ms[:decisions])),
        "round_medians_ms": [round(ms, 5) for ms in _thinned(medians, 60)],
        "drift": {
            "first_ms": statistics.fmean(after[:tenth]),
            "last_ms": statistics.fmean(after[-tenth:]),
            "ratio": round(statistics.fmean(after[-tenth:]) / statistics.fmean(after[:tenth]), 4),
        },
    }


def allocated() -> tuple[float, float]:
    """MiB that the C library has given out and not got back (glibc's mallinfo2; NaN elsewhere), and Python's blocks of memory."""
    blocks = float(getattr(sys, "getallocatedblocks", lambda: math.nan)())
    call = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if call is None:
        return math.nan, blocks
    call.restype = _MallInfo
    info = call()
    return (info.uordblks + info.hblkhd) / (1 << 20), blocks


class _MallInfo(ctypes.Structure):
    """As in malloc.h of glibc 2.33 and later."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def in_use(looks: np.ndarray, warm_h: float) -> Record:
    """What is allocated, first fifth to last fifth after ``warm_h``: without the gaps between it, which resident memory has too.

    Args:
        looks: rows of hours, resident MiB, descriptors, threads, MiB of C, blocks of Python.
    """
    kept = looks[looks[:, 0] >= warm_h]
    if len(kept) < 3:
        kept = looks
    fifth = max(1, len(kept) // 5)
    first, last = np.median(kept[:fifth, 4:], axis=0), np.median(kept[-fifth:, 4:], axis=0)
    heap, blocks = [round(float(one[0]), 4) for one in (first, last)], [round(float(one[1])) for one in (first, last)]
    return {"heap_mib": None if math.isnan(heap[0]) else heap, "python_blocks": blocks}


def again(order: Order) -> Record:
    """Many short runs."""
    recording, bundle = Spooled(pathlib.Path(order.spool)), load_bundle(order.bundle)
    session_h = recording.duration_ns / 3600e9
    count = max(4, math.ceil(order.hours * AGAIN_SHARE / session_h))
    seen: list[Vitals] = []
    began_s = time.perf_counter()
    for _ in range(count):
        for _decision in Runtime(bundle, [_source(recording)], fast=True):
            pass
        gc.collect()
        now = vitals("self", time.perf_counter() - began_s)
        if now is not None:
            seen.append(now)
    hours = [session_h * (number + 1) for number in range(len(seen))]
    return {"runs": count, "session_h": round(session_h * count, 4), **line_through(hours, seen, session_h * 2.5)}


def line_through(hours: collections.abc.Sequence[float], seen: collections.abc.Sequence[Vitals], warm_h: float) -> Record:
    """What memory, descriptors and threads do after ``warm_h``.

    Args:
        hours: of session, at each look.
        seen: the process at each look.

    Returns:
        ``slope_mib_per_h`` by least squares, ``growth_mib`` from the first to the last fifth, ``noise`` of that in MiB, counts at the
        begin and at the end, and ``series`` of [hours, MiB].
    """
    kept = [(hour, one) for hour, one in zip(hours, seen, strict=True) if hour >= warm_h]
    if len(kept) < 3:
        kept = list(zip(hours, seen, strict=True))
    slope = slope_of([hour for hour, _ in kept], [one.rss_mib for _, one in kept])
    fifth = max(1, len(kept) // 5)
    first, last = kept[:fifth], kept[-fifth:]
    medians = [statistics.median(one.rss_mib for _, one in part) for part in (first, last)]
    noise = [one.rss_mib - (medians[1] + slope * (hour - last[len(last) // 2][0])) for hour, one in last]
    return {
        "slope_mib_per_h": round(slope, 4),
        "growth_mib": round(medians[1] - medians[0], 4),
        "rss_mib": [round(medians[0], 3), round(medians[1], 3)],
        "noise": _thinned(noise, 20),
        "descriptors": [kept[0][1].descriptors, kept[-1][1].descriptors],
        "threads": [kept[0][1].threads, kept[-1][1].threads],
        "warm_h": round(warm_h, 5),
        "series": [[round(hour, 5), one.rss_mib] for hour, one in zip(hours, seen, strict=True)],
    }


def slope_of(x: collections.abc.Sequence[float], y: collections.abc.Sequence[float]) -> float:
    """Of the least-squares line through points; 0 where all x are the same."""
    if len(x) < 2 or min(x) == max(x):
        return 0.0
    return statistics.linear_regression(x, y).slope


def _thinned(values: collections.abc.Sequence[float], most: int) -> list[float]:
    step = max(1, math.ceil(len(values) / most))
    return list(values[::step])


def _source(recording: Recording) -> typing.Callable[[], Replay]:
    return functools.partial(Replay, recording, ManualClock())
