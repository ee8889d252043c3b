"""``affectkit kit take``, ``kit settle`` and ``kit status``: what a kit does with sticks, and what it says of itself."""

from __future__ import annotations

import argparse
import pathlib
import sys

from firmware_configs.update import ETC, RUN, STORE


def add_take(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``kit take``, which affectkit-stick@.service calls."""
    parser = subparsers.add_parser(
        "take",
        help="on a kit: take an update from a mounted stick",
        description="Verifies the stick, copies its bundle, checks it on this board, runs it on trial for a minute and keeps it or goes "
        "back. Leaves a report on the stick. Status 0: updated or nothing newer; 1: taken back; 2: refused.",
    )
    parser.add_argument("stick", metavar="FOLDER", type=pathlib.Path, help="where the stick is mounted")
    _places(parser)
    parser.add_argument("--remount", action="store_true", help="mount the stick writable for its report, and read-only again")
    parser.set_defaults(run=_take)


def add_settle(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``kit settle``, which affectkit-settle.service and affectkit.service call."""
    parser = subparsers.add_parser(
        "settle",
        help="on a kit: confirm or take back a bundle on trial",
        description="Waits until the bundle on trial has given decisions for a minute, or goes back to the good one. Without a trial it "
        "sees to it that the bundle that runs is whole.",
    )
    _places(parser)
    parser.add_argument("--before", action="store_true", help="before a start of the kit: count it, and choose what it runs")
    parser.add_argument("--after", action="store_true", help="after the stick is gone: show the kit's own state again")
    parser.set_defaults(run=_settle)


def _places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", metavar="DIR", type=pathlib.Path, default=STORE, help=f"default: {STORE}")
    parser.add_argument("--config", metavar="FILE", type=pathlib.Path, default=ETC / "kit.toml", help=f"default: {ETC / 'kit.toml'}")
    parser.add_argument("--root", metavar="FILE", type=pathlib.Path, default=ETC / "root.json", help=f"default: {ETC / 'root.json'}")
    parser.add_argument("--run-folder", metavar="DIR", type=pathlib.Path, default=RUN, help=f"default: {RUN}")


def add_status(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``kit status``."""
    parser = subparsers.add_parser(
        "status",
        help="on a kit: how it does, and what to do",
        description="Says what the kit runs, how it does, what came of the last stick, and what to do. Status 0: it decides; 1: not.",
    )
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.add_argument("--store", metavar="DIR", type=pathlib.Path, default=STORE, help=f"default: {STORE}")
    parser.add_argument("--run-folder", metavar="DIR", type=pathlib.Path, default=RUN, help=f"default: {RUN}")
    parser.set_defaults(run=_status)


def _take(args: argparse.Namespace) -> int:
    from firmware_configs.update import report
    from firmware_configs.update.clock import KitClock
    from firmware_configs.update.service import Led, SystemdService, SystemPause
    from firmware_configs.update.store import Store
    from firmware_configs.update.take import Kit, Result, measured, take

    store = Store(args.store)
    clock = KitClock(store.update / "clock.json")
    kit = Kit(store, clock, SystemdService(), SystemPause(), Led(args.run_folder), args.root, args.config)
    said: list[str] = []

    def tell(result: Result) -> None:
        content = report.compose(store, kit.service.state(), result, measured(kit, result), found=report.health())
        said.append(report.leave(args.stick, content, remount=args.remount))

    result = take(kit, args.stick, tell)
    out = sys.stderr if result.exit_status else sys.stdout
    for line in (f"{result.outcome}: {result.line}", *said):
        print(line, file=out)
    return result.exit_status


def _settle(args: argparse.Namespace) -> int:
    from firmware_configs.update import trial
    from firmware_configs.update.clock import KitClock
    from firmware_configs.update.service import Led, SystemdService, SystemPause
    from firmware_configs.update.store import Store
    from firmware_configs.update.take import settled

    store, service = Store(args.store), SystemdService()
    if args.before:
        print(f"runs {trial.before_start(store)}")
        return 0
    if args.after:
        Led(args.run_folder).say(service.state().word)
        return 0
    with trial.alone(store):
        outcome, why = trial.settle(store, service, SystemPause())
        if outcome != "no trial":
            settled(store, KitClock(store.update / "clock.json"), outcome, why)
    print(f"{outcome}: {why}")
    return 1 if outcome == "fell back" else 0


def _status(args: argparse.Namespace) -> int:
    from firmware_configs.update import status
    from firmware_configs.update.service import Led, SystemdService
    from firmware_configs.update.store import Store

    return status.show(status.look(Store(args.store), SystemdService(), Led(args.run_folder)), as_json=args.json)
