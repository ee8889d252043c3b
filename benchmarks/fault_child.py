"""``python -m benchmarks.fault_child CASE [--wall FILE] -- run ...``: the true ``affectkit`` command, on sources with a fault in them.

Sources are named ``fault:camera`` and so on; the words after ``--`` are those of the command. The fault is one of
``benchmarks.fault_cases``, or "none", or "hang SECONDS" for a stage that hangs from second 8.
"""

from __future__ import annotations

import argparse
import collections.abc
import pathlib
import sys
import threading
import time

from benchmarks.fault_cases import CASES
from benchmarks.fault_sources import Spell, World, faulty_stages, sensor
from edge.clock import SystemClock


def spells_of(name: str) -> tuple[Spell, ...]:
    """What goes wrong in the fault called ``name``."""
    if name == "none":
        return ()
    if name.startswith("hang "):
        return (Spell("fusion", "hang", 8.0, 8.0 + float(name.removeprefix("hang "))),)
    return next(case.spells for case in CASES if case.name == name)


def main(arguments: collections.abc.Sequence[str]) -> int:
    """The status of the command."""
    at = arguments.index("--")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fault_child")
    parser.add_argument("case")
    parser.add_argument("--wall", type=pathlib.Path, help="write wall and monotonic time to this file, ten times a second")
    args = parser.parse_args(arguments[:at])
    import edge.cli
    import edge.runtime
    import edge.sensors

    world = World(SystemClock(), spells_of(args.case))
    edge.sensors._SCHEMES["fault"] = (lambda rest, clock, settings: sensor(world, rest, settings), "NAME")  # type: ignore[arg-type]
    edge.cli.commands = lambda: edge.cli.CHECKOUT_COMMANDS  # this checkout's, whatever is installed
    edge.runtime.measured_stages = faulty_stages(world)  # type: ignore[assignment,attr-defined]
    for track in ("video", "audio", "ppg", "eda"):
        world.samples(track)  # unpacked before the run, so that memory tells of the kit
    if args.wall is not None:
        threading.Thread(target=_tell_time, args=(args.wall,), daemon=True).start()
    with world.wired():
        return edge.cli.main(list(arguments[at + 1 :]))


def _tell_time(path: pathlib.Path) -> None:
    with path.open("w", buffering=1) as file:
        while True:
            file.write(f"{time.time()} {time.monotonic()}\n")
            threading.Event().wait(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
