"""Where the time outside model invocations goes, each library call booked to the affectkit module that asked for it.

Twice: by samples of a timer, which tell shares, and by cProfile, which tells functions and calls but slows small Python functions
more than large array operations. The seconds to share out come from unprofiled runs (``benchmarks.cycle_peers``).
"""

from __future__ import annotations

import collections
import collections.abc
import cProfile
import pathlib
import pstats
import signal
import types
import typing

Function = tuple[str, int, str]
Callers = collections.abc.Mapping[Function, tuple[int, int, float, float]]
Stats = collections.abc.Mapping[Function, tuple[int, int, float, float, Callers]]
"""As ``pstats.Stats(...).stats``: calls, primitive calls, own seconds, cumulative seconds, callers."""

INVOCATION = "model invocations"
OTHER = "other"
GROUPS = {
    "edge/sensors": "sensors", "edge/session": "sensors", "edge/clock": "sensors", "benchmarks/cycle_session": "sensors",
    "edge/preprocess/speech": "speech features", "edge/preprocess/voice": "speech features",
    "edge/preprocess/physiology": "physiology features", "edge/preprocess/ppg": "physiology features",
    "edge/preprocess/eda": "physiology features", "edge/preprocess/beats": "physiology features",
    "edge/preprocess/pulse_sources": "physiology features", "edge/preprocess/rppg": "physiology features",
    "edge/preprocess/face": "face features", "edge/preprocess/detection": "face features", "edge/preprocess/image": "face features",
    "edge/preprocess": "other features",
    "edge/inference/fusion": "fusion glue", "edge/inference/smoothing": "fusion glue",
    "edge/inference/model": "model glue", "edge/compose": "model glue",
    "edge/inference": "scheduling", "edge/runtime": "scheduling",
    "edge/outputs": "outputs",
    "edge/types": "messages",
}  # fmt: skip
"""Beginning of a module's path -> what it is booked as; the first that fits."""


def group(file: str) -> str | None:
    """What a file is booked as; None for one of no module of ours."""
    path = pathlib.PurePath(file).as_posix()
    for part, name in GROUPS.items():
        if f"/{part}" in path:
            return name
    return None


def is_invocation(function: Function) -> bool:
    """Whether it is the interpreter's own call into native code."""
    return "Invoke" in function[2] and function[0] == "~"


def booked(stats: Stats, rounds: int = 60) -> dict[str, float]:
    """Own seconds of every function, by group; those of a library go to its callers, as their calls of it took time, up to ours.

    Args:
        stats: of a profile.
        rounds: how many calls deep a library may be before what is left counts as other.
    """
    result: collections.defaultdict[str, float] = collections.defaultdict(float)
    waiting: dict[Function, float] = {function: row[2] for function, row in stats.items()}
    for _ in range(rounds):
        up: collections.defaultdict[Function, float] = collections.defaultdict(float)
        for function, seconds in waiting.items():
            name = INVOCATION if is_invocation(function) else group(function[0])
            if name is not None:
                result[name] += seconds
                continue
            callers = {caller: row[3] for caller, row in stats[function][4].items() if caller in stats}
            total = sum(callers.values())
            if not callers:
                result[OTHER] += seconds
            for caller, took in callers.items():
                up[caller] += seconds * (took / total if total else 1 / len(callers))
        waiting = {function: seconds for function, seconds in up.items() if seconds > 0}
        if not waiting:
            break
    result[OTHER] += sum(waiting.values())
    return {name: seconds for name, seconds in sorted(result.items(), key=lambda item: -item[1]) if seconds > 0}


def heaviest(stats: Stats, count: int = 15) -> list[tuple[str, int, float]]:
    """Our functions with the most time in themselves and the libraries they call: name, calls, seconds."""
    alone: collections.defaultdict[Function, float] = collections.defaultdict(float)
    waiting: dict[Function, float] = {function: row[2] for function, row in stats.items() if not is_invocation(function)}
    for _ in range(60):
        up: collections.defaultdict[Function, float] = collections.defaultdict(float)
        for function, seconds in waiting.items():
            if group(function[0]) is not None:
                alone[function] += seconds
                continue
            callers = {caller: row[3] for caller, row in stats[function][4].items() if caller in stats}
            total = sum(callers.values())
            for caller, took in callers.items():
                up[caller] += seconds * (took / total if total else 1 / len(callers))
        waiting = {function: seconds for function, seconds in up.items() if seconds > 0}
        if not waiting:
            break
    most = sorted(alone.items(), key=lambda item: -item[1])[:count]
    return [(f"{_module(f[0])}:{f[1]} {f[2]}", stats[f][0], seconds) for f, seconds in most]


def _module(file: str) -> str:
    parts = pathlib.PurePath(file).parts
    start = max((i for i, part in enumerate(parts) if part in ("edge", "benchmarks")), default=0)
    return "/".join(parts[start:])


def sampled(run: collections.abc.Callable[[], None], *, passes: int, every_s: float = 0.002) -> dict[str, int]:
    """Samples of CPU time by group, without the weight that cProfile puts on small functions: where a timer finds the program.

    Python handles the signal once native code returns, in the function that called it.
    """
    found: collections.Counter[str] = collections.Counter()

    def seen(number: int, frame: types.FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name == "invoke":
            found[INVOCATION] += 1
            return
        while frame is not None and (name := group(frame.f_code.co_filename)) is None:
            frame = frame.f_back
        found[OTHER if frame is None else name or OTHER] += 1

    before = signal.signal(signal.SIGPROF, seen)
    signal.setitimer(signal.ITIMER_PROF, every_s, every_s)
    try:
        for _ in range(passes):
            run()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
    return dict(found.most_common())


def profiled(run: collections.abc.Callable[[], None], *, passes: int = 5) -> dict[str, typing.Any]:
    """``samples`` group -> count over some passes; ``groups`` name -> seconds and ``functions`` [name, calls, seconds] of one pass."""
    samples = sampled(run, passes=passes)
    profile = cProfile.Profile()
    profile.enable()
    run()
    profile.disable()
    stats = typing.cast(Stats, pstats.Stats(profile).stats)  # type: ignore[attr-defined]
    return {"samples": samples, "groups": booked(stats), "functions": heaviest(stats)}
