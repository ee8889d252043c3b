"""All scenarios by name, in the order in which they run; what each measures is said by its ``measure``."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import inspect
import pathlib
import tempfile
import typing

from benchmarks import accuracy, cycle, overload, soak, stage
from benchmarks.fitness import Monitor
from benchmarks.harness import Order, Record
from benchmarks.recording import spool

SCHEMA = 1
NOTHING = "nothing"
SCENARIOS: dict[str, collections.abc.Callable[[Order], Record]] = {
    "stage": stage.measure,
    "cycle": cycle.measure,
    "overload": overload.measure,
    "soak": soak.measure,
    "accuracy": accuracy.measure,
}
TIMELESS = ("accuracy",)
"""What a busy or throttled machine does not change."""


def prose(name: str) -> str:
    """What a scenario measures, as its docstring says."""
    return inspect.getdoc(cycle.measure_nothing if name == NOTHING else SCENARIOS[name]) or ""


def run(
    order: Order,
    names: collections.abc.Sequence[str],
    *,
    tell: collections.abc.Callable[[str], None] = lambda line: None,
    monitor: collections.abc.Callable[[], Monitor] = Monitor,
) -> Record:
    """Run scenarios one after the other; the result as JSON takes it.

    Args:
        order: what to measure; its ``spool`` is made here.
        names: of ``SCENARIOS``.
        tell: is told of each scenario in one line.
        monitor: watches the machine.

    Raises:
        InputError: the bundle or the session is damaged.
        InferenceError: no interpreter works here.
        ChildError: a scenario failed.
    """
    from edge import __version__
    from edge.bundle import load_bundle
    from edge.inference.model import probe
    from edge.session import open_session

    bundle, session = load_bundle(order.bundle), open_session(order.session)
    scenarios: dict[str, Record] = {}
    with tempfile.TemporaryDirectory(prefix="affectkit-session-") as folder:
        tell("decoding the session")
        spool(session, pathlib.Path(folder))
        order = dataclasses.replace(order, spool=folder)
        for name in (NOTHING, *(name for name in SCENARIOS if name in names)):
            tell(f"{name}: {prose(name).splitlines()[0]}")
            with monitor() as watched:
                said = cycle.measure_nothing(order) if name == NOTHING else SCENARIOS[name](order)
            fitness = watched.record()
            if name in TIMELESS:
                fitness["unfit"] = []
            scenarios[name] = {**said, "prose": prose(name), "fitness": fitness}
            for reason in fitness["unfit"]:
                tell(f"{name} is unfit: {reason}")
    nothing = scenarios.pop(NOTHING)
    unfit = [f"{name}: {reason}" for name, one in scenarios.items() for reason in one["fitness"]["unfit"]]
    board = next(iter(scenarios.values()), nothing)["fitness"]["before"]
    return {
        "schema": SCHEMA,
        "affectkit": __version__,
        "made": datetime.date.today().isoformat(),
        "bundle": {
            "name": bundle.manifest.name,
            "version": bundle.manifest.version,
            "sha256": bundle.sha256,
            "bytes": bundle.path.stat().st_size,
            "cadence_ms": bundle.manifest.cadence_ms,
            "budget_ms": bundle.manifest.budget_ms,
        },
        "session": {"title": session.title, "duration_s": session.duration_ns / 1e9},
        "board": board,
        "interpreter": str(probe()),
        "order": {key: value for key, value in _asked(order).items() if key not in ("bundle", "session", "spool", "expected")},
        "unfit": unfit,
        "nothing": nothing,
        "scenarios": scenarios,
    }


def _asked(order: Order) -> dict[str, typing.Any]:
    return dataclasses.asdict(order)
