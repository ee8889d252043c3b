"""``affectkit doctor``: what of the kit is there and works on this machine, and what to do about the rest."""

from __future__ import annotations

import argparse
import collections
import collections.abc
import contextlib
import ctypes
import dataclasses
import datetime
import importlib.util
import json
import pathlib
import sys
import threading
import typing

from edge import embedded
from edge.board import BoardFacts, board_facts
from edge.clock import Clock, SystemClock
from edge.config import Settings, load_settings
from edge.doctor_checks import (
    Finding,
    State,
    asked,
    check_board,
    check_bundle,
    check_clock,
    check_interpreter,
    check_settings,
    check_space,
    split,
)
from edge.doctor_sensors import check_bluetooth, check_cameras, check_i2c, check_microphones, check_permissions
from edge.errors import ConfigError, EdgeError

CUT_OFF_S = 5.0
"""A check that takes longer hangs, as on a bus whose line is held low."""
ORDER: tuple[State, ...] = ("fail", "warn", "pass", "absent")
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized


@dataclasses.dataclass(frozen=True)
class Check:
    """One part of the report."""

    look: typing.Callable[[], list[Finding]]
    wanted: bool
    """Whether the settings ask for what it looks at: only then does it fail if it hangs."""


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add ``doctor`` to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="find out what of the kit works on this machine",
        description="Looks for sensors, the interpreter, the bundle and the board's health, and says what to do about what is wrong. "
        "Reads only: a kit that runs is not disturbed. Status 1 if anything that the settings ask for fails.",
    )
    parser.add_argument("--config", metavar="FILE", help="settings, such as kit.toml: what they ask for must be there")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    settings, findings = Settings(), []
    if args.config:
        try:
            settings = load_settings(args.config)
            findings.append(Finding("settings", "pass", str(args.config)))
        except ConfigError as error:
            findings.append(Finding("settings", "fail", *split(error, "correct it; without it the defaults are looked at below")))
    else:
        findings.append(Finding("settings", "absent", "the defaults", "name yours: --config kit.toml"))
    facts: list[BoardFacts] = []
    checks = machine_checks(settings, args.config or "defaults", SystemClock(), facts.append)
    findings += examine(checks)
    failed = any(finding.state == "fail" for finding in findings)
    if args.json:
        record = {
            "ok": not failed,
            "findings": [dataclasses.asdict(finding) for finding in findings],
            "board": facts[0].as_record() if facts else None,
        }
        print(json.dumps(record, indent=1))
    else:
        print("\n".join(as_lines(findings)))
    sys.stdout.flush()
    return 1 if failed else 0


def machine_checks(settings: Settings, where: str, clock: Clock, keep: typing.Callable[[BoardFacts], object]) -> dict[str, Check]:
    """The checks of this very machine by name; ``keep`` gets the board's facts."""
    from edge.sensors.bus import open_smbus
    from edge.sensors.microphone import microphones
    from edge.sensors.picamera import csi_cameras
    from edge.sensors.v4l2 import cameras

    root = pathlib.Path("/")

    def board() -> list[Finding]:
        facts = board_facts(root)
        keep(facts)
        return check_board(facts)

    def wants(*schemes: str) -> bool:
        return any(asked(settings, scheme) for scheme in schemes)

    has_bleak = importlib.util.find_spec("bleak") is not None
    return {
        "settings": Check(lambda: check_settings(settings, where, clock), True),
        "bundle": Check(lambda: check_bundle(settings), True),
        "interpreter": Check(check_interpreter, True),
        "i2c": Check(lambda: check_i2c(root, open_smbus, clock, settings), wants("max30102", "ads1115")),
        "camera": Check(lambda: check_cameras(csi_cameras, cameras, settings), wants("picamera2", "usb")),
        "microphone": Check(lambda: check_microphones(microphones, settings), wants("microphone")),
        "bluetooth": Check(lambda: check_bluetooth(root, settings, has_bleak=has_bleak), wants("strap")),
        "permissions": Check(lambda: check_permissions(root, settings), False),
        "board": Check(board, False),
        "space": Check(lambda: check_space(pathlib.Path.cwd()), False),
        "clock": Check(lambda: check_clock(datetime.datetime.now(datetime.UTC), built_on(), synchronized()), False),
    }


def examine(checks: collections.abc.Mapping[str, Check], cut_off_s: float = CUT_OFF_S) -> list[Finding]:
    """Run the checks one after another, each in a thread that is left behind if it hangs; none can end the others."""
    findings = []
    for name, check in checks.items():
        findings += _cut_off(name, check, cut_off_s)
    return findings


def _cut_off(name: str, check: Check, cut_off_s: float) -> list[Finding]:
    answers: collections.deque[list[Finding]] = collections.deque()
    failed: State = "fail" if check.wanted else "warn"

    def answer() -> None:
        try:
            answers.append(check.look())
        except (EdgeError, OSError) as error:
            answers.append([Finding(name, failed, *split(error))])
        except Exception as error:  # a check's bug is a line of the report, not its end
            answers.append([Finding(name, failed, f"{type(error).__name__}: {error}", "report this to whoever maintains affectkit")])

    thread = threading.Thread(target=answer, name=f"doctor {name}", daemon=True)
    thread.start()
    thread.join(cut_off_s)
    if answers:
        return answers.popleft()
    return [Finding(name, failed, f"hangs: no answer within {cut_off_s:g} s", "take the power off what is connected, and look again")]


def as_lines(findings: collections.abc.Iterable[Finding]) -> list[str]:
    """A line each, in plain text without control characters, and one that counts them."""
    rows = list(findings)
    width = max(len(finding.name) for finding in rows)
    lines = []
    for finding in rows:
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        line = f"{finding.state:<6}  {finding.name:<{width}}  {finding.what}{remedy}"
        lines.append("".join(character if character.isprintable() else "?" for character in line))
    counts = collections.Counter(finding.state for finding in rows)
    return [*lines, "", ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])]


def built_on() -> datetime.date:
    """A day before which no true clock can be: that on which the embedded bundle was made."""
    from edge.bundle import load_bundle

    return datetime.date.fromisoformat(load_bundle(embedded.BUNDLE).manifest.created)


def synchronized() -> bool | None:
    """Whether the kernel holds wall time for synchronized, as NTP daemons tell it: adjtimex(2). None where it cannot be asked."""
    with contextlib.suppress(OSError, AttributeError):
        unasked = ctypes.create_string_buffer(512)  # struct timex, modes 0: read only; it has at most 208 bytes
        state = ctypes.CDLL(None, use_errno=True).adjtimex(unasked)
        return None if state < 0 else state != _TIME_ERROR
    return None
