"""The ``affectkit`` command. Packages add their subcommands through the entry-point group ``affectkit.commands``.

An entry point is named as its command and points to ``add_commands(subparsers)``, which adds one or more parsers, each with
``set_defaults(run=callable(args) -> exit status)``. Only the package of the command asked for is imported.

Exit status: 0 done, also when ended by Ctrl-C or SIGTERM (that is how a live run ends, and all it wrote is complete);
1 something failed on the way; 2 what was given is bad; 130 interrupted before the run began.
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import importlib
import logging
import os
import pathlib
import signal
import sys
import time
import traceback
import typing

from edge import embedded
from edge.errors import EdgeError

if typing.TYPE_CHECKING:
    from edge.bundle import Bundle
    from edge.config import Settings
    from edge.sensors.recorder import Recorder

GROUP = "affectkit.commands"
CHECKOUT_COMMANDS = {
    "run": "edge.cli:add_commands",
    "record": "edge.record:add_commands",
    "doctor": "edge.doctor:add_commands",
    "inspect": "edge.inspect:add_commands",
    "verify": "edge.inspect:add_verify",
}
"""Known without installation, for ``python -m edge`` in a checkout."""
_EXTRAS = {"firmware_configs": "kit"}
"""Package -> the extra that it needs, where that has another name."""
_BEGAN_S = time.perf_counter()


def main(argv: collections.abc.Sequence[str] | None = None) -> int:
    """Run one command; the exit status. A failure is one line on stderr, with a traceback if AFFECTKIT_DEBUG is set."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = _parser(arguments)
        args = parser.parse_args(arguments)
        if not hasattr(args, "run"):
            parser.print_help(sys.stderr)
            return 2
        with _warnings_in_one_line():
            status = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it flushes at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except EdgeError as error:
        return _failed(str(error), error.exit_status)
    except ImportError as error:
        return _failed(_missing(error, _asked(arguments) or "affectkit"), 1)
    except OSError as error:
        return _failed(f"{error.filename or 'output'}: {error.strerror or error}", 1)


def _failed(message: str, status: int) -> int:
    if os.environ.get("AFFECTKIT_DEBUG"):
        traceback.print_exc()
    print(f"affectkit: {' '.join(message.split())}", file=sys.stderr)
    return status


def commands() -> dict[str, str]:
    """Command -> ``module:function`` that adds it, from what is installed."""
    import importlib.metadata

    found = {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}
    return found or CHECKOUT_COMMANDS


def _asked(arguments: collections.abc.Sequence[str]) -> str | None:
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def _parser(arguments: collections.abc.Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="affectkit",
        description="Estimates student affect from face, speech and physiology, on the device, within a latency budget.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    known = commands()
    asked = _asked(arguments)
    for target in dict.fromkeys([known[asked]] if asked in known else known.values()):
        module, _, function = target.partition(":")
        try:
            getattr(importlib.import_module(module), function)(subparsers)
        except ImportError as error:
            if asked in known:
                raise
            for name in (name for name, value in known.items() if value == target):
                subparsers.add_parser(name, help=f"({_missing(error, name)})")
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import edge

        parser.exit(message=f"affectkit {edge.__version__}\n")


def _missing(error: ImportError, command: str) -> str:
    """What to install for a command whose package could not be imported: the extra mostly has the name of the package."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return f"{command}: {error}; the installation is broken, install affectkit again"
    package = commands().get(command, "").partition(":")[0].partition(".")[0]
    extra = "affectkit" if package in ("", "edge") else f"affectkit[{_EXTRAS.get(package, package)}]"
    return f"{command}: needs {error.name}, which is not installed; pip install '{extra}'"


class _OneLine(logging.Handler):
    """Warnings as the errors look; ``sys.stderr`` is looked up each time, for the live view puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(f"affectkit: {' '.join(record.getMessage().split())}", file=sys.stderr)


@contextlib.contextmanager
def _warnings_in_one_line() -> collections.abc.Iterator[None]:
    logger, handler = logging.getLogger("affectkit"), _OneLine()
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``run``."""
    parser = subparsers.add_parser(
        "run",
        help="decide from live or recorded sources, with a live view",
        description="Runs a bundle on its sources: by default the embedded bundle on the embedded session, in real time. "
        "Ctrl-C ends it tidily, with the summary and exit status 0. Frames and audio are never written.",
    )
    add_run_options(parser)
    parser.add_argument("--fast", action="store_true", help="replay as fast as the machine goes, in virtual time")
    parser.set_defaults(run=lambda args: execute(args))


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs a bundle on sources."""
    parser.add_argument("--bundle", metavar="PATH", help="the .affectkit file to run; default: the embedded one")
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        action="append",
        default=[],
        help="such as replay:PATH, picamera2:0, usb:0, microphone:default, max30102:1, ads1115:1, strap:NAME; may be repeated; "
        "default: the embedded session",
    )
    parser.add_argument("--config", metavar="FILE", help="settings, such as kit.toml; options given here win")
    parser.add_argument("--jsonl", metavar="FILE", help="write one decision a line to FILE; - is standard output")
    parser.add_argument("--report", metavar="FILE", help="write the summary to FILE as JSON")
    parser.add_argument("--duration", metavar="S", type=_positive, help="end after S seconds of session")
    parser.add_argument("--overwrite", action="store_true", help="replace FILEs that exist")
    parser.add_argument("--threads", metavar="N", type=int, help="interpreter threads of a stage; default: what is fastest here")


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"got {text!r}; it is a number above 0")


def execute(args: argparse.Namespace, recorder: collections.abc.Callable[[Settings, Bundle], Recorder] | None = None) -> int:
    """Run what ``args`` say, written down by what ``recorder`` makes; the exit status."""
    # Before numpy is loaded: its matrices here are small, and waking a second thread for them costs ten times the work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from edge.bundle import load_bundle
    from edge.outputs import Sink
    from edge.outputs.console import Console
    from edge.outputs.jsonlines import JsonLines, refuse_existing
    from edge.outputs.summary import as_table, write_report
    from edge.outputs.watchdog import Watchdog
    from edge.runtime import Runtime

    settings = _settings(args)
    outputs = settings.outputs
    people = sys.stderr if outputs.jsonl == "-" else sys.stdout
    if outputs.report:
        refuse_existing((pathlib.Path(outputs.report),), overwrite=outputs.overwrite)
    bundle = load_bundle(settings.bundle.path or embedded.BUNDLE)
    runtime = Runtime(
        bundle,
        settings.sources.use or (f"replay:{embedded.SESSION}",),
        settings=settings,
        fast=getattr(args, "fast", False),
        duration_s=args.duration,
        journal=None if recorder is None else recorder(settings, bundle),
        began_s=_BEGAN_S,
    )
    sinks: list[Sink] = [Watchdog()] if Watchdog.wanted() else []
    if outputs.jsonl:
        sinks.append(JsonLines(outputs.jsonl, overwrite=outputs.overwrite))
    if outputs.console:
        sinks.append(Console(people))
    with _tidy_end(runtime.stop):
        report = runtime.run(sinks)
    if outputs.report:
        write_report(outputs.report, report, overwrite=outputs.overwrite)
    print(as_table(report), end="", file=people)
    return 1 if report["failed_sinks"] or report["lost_sources"] else 0


def _settings(args: argparse.Namespace) -> Settings:
    """Settings of the file, with the options over them."""
    import dataclasses

    from edge.config import Settings, load_settings

    settings = load_settings(args.config) if args.config else Settings()
    changes: dict[str, dict[str, object]] = {
        "bundle": {"path": args.bundle},
        "sources": {"use": tuple(args.source) or None},
        "inference": {"threads": args.threads},
        "outputs": {"jsonl": args.jsonl, "report": args.report, "overwrite": args.overwrite or None},
    }
    for part, values in changes.items():
        given = {key: value for key, value in values.items() if value is not None}
        settings = dataclasses.replace(settings, **{part: dataclasses.replace(getattr(settings, part), **given)})
    return settings


@contextlib.contextmanager
def _tidy_end(stop: typing.Callable[[], None]) -> collections.abc.Iterator[None]:
    """The first Ctrl-C or SIGTERM calls ``stop``, a second one has its usual effect."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def once(number: int, _frame: object) -> None:
        signal.signal(number, usual[signal.Signals(number)])
        stop()

    for number in usual:
        signal.signal(number, once)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
