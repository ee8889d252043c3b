"""What kits left on a stick: how they are, what came of the update, how fast they are; read with suspicion, as sticks pass many hands.

``affectkit-reports/HOSTNAME/report.json`` is the newest of a kit; what it says is written in ``firmware_configs/update/report.py``. It says
nothing of learners. Everything may be missing here, for kits live longer than the computers that read their reports.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import stat
import typing

from edge.archive import parse_json
from edge.errors import InputError
from firmware_configs.stick import REPORTS

REPORT = "report.json"
MOST_KITS = 1000
MOST_BYTES = 1 << 20
_MOST_TEXT = 400
_MOST_LINES = 64
_MOST_NUMBER = 1e15
_BAD_OUTCOMES = ("refused", "fell back")
_BAD_STATES = ("refused", "failed", "stopped")
_FACTS = ("boots", "uptime_s", "free_mib", "system_read_only")
Record = dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class Line:
    """One finding of doctor."""

    name: str
    state: str
    """pass, warn, absent, fail."""
    what: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What one kit left; "" where it did not say."""

    hostname: str
    outcome: str = ""
    """updated, nothing newer, refused, fell back, no update."""
    line: str = ""
    """The same in words."""
    at: str = ""
    """By the kit's clock."""
    clock_trusted: bool = False
    state: str = ""
    """Of the kit: deciding, starting, refused, failed, stopped."""
    affectkit: str = ""
    bundle: str = ""
    """Name and version."""
    board: str = ""
    longest_ms: float | None = None
    """When all falls due at once."""
    budget_ms: float | None = None
    findings: tuple[Line, ...] = ()
    numbers: tuple[tuple[str, str], ...] = ()
    """What was measured, units in the names."""
    trouble: str = ""
    """Why the report could not be read."""

    @property
    def failed(self) -> tuple[Line, ...]:
        return tuple(one for one in self.findings if one.state == "fail")

    @property
    def warned(self) -> tuple[Line, ...]:
        return tuple(one for one in self.findings if one.state == "warn")

    @property
    def needs_attention(self) -> bool:
        return bool(self.failed or self.trouble) or self.outcome in _BAD_OUTCOMES or self.state in _BAD_STATES

    @property
    def latency(self) -> str:
        """``61 of 200 ms``; "" if it was not measured."""
        return f"{self.longest_ms:.0f} of {self.budget_ms:.0f} ms" if self.longest_ms is not None and self.budget_ms is not None else ""

    @property
    def health(self) -> str:
        """In a few words."""
        if self.trouble:
            return "not readable"
        if not self.findings:
            return "not told"
        told = [f"{len(found)} {word}" for found, word in ((self.failed, "failed"), (self.warned, "to look at")) if found]
        return ", ".join(told) or "well"


def read_reports(folder: pathlib.Path) -> tuple[Report, ...]:
    """Reports on a stick, those that need attention first.

    Args:
        folder: where the stick is mounted, or a folder ``affectkit-reports`` copied from it.

    Raises:
        InputError: there are none.
    """
    where = folder if folder.name == REPORTS else folder / REPORTS
    try:
        if not stat.S_ISDIR(where.lstat().st_mode):
            raise InputError(f"{where}: is a link or no folder, which no kit has left; look at the stick by hand")
        with os.scandir(where) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no kit has left a report there ({REPORTS} is missing); put the stick into a kit first") from error
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from error
    if len(names) > MOST_KITS:
        raise InputError(f"{where}: has {len(names)} folders, at most {MOST_KITS} are read; delete what no kit has left")
    if not names:
        raise InputError(f"{where}: is empty: no kit has left a report yet; put the stick into a kit first")
    return tuple(sorted((_read(where / name) for name in names), key=lambda report: (not report.needs_attention, report.hostname)))


def _read(folder: pathlib.Path) -> Report:
    name = _text(folder.name)
    try:
        fields = parse_json(_content(folder / REPORT), where=REPORT, kind=InputError)
    except InputError as error:
        return Report(name, trouble=_text(str(error)))
    said = {key: fields.take(key, None) for key in ("result", "health", "service", "bundle", "latency", *_FACTS, "affectkit", "at")}
    result, health, bundle, latency = (_table(said[key]) for key in ("result", "health", "bundle", "latency"))
    board = _table(health.get("board"))
    return Report(
        hostname=name,
        outcome=_text(result.get("outcome")),
        line=_text(result.get("line")),
        at=_text(said["at"]),
        clock_trusted=fields.take("clock_trusted", None) is True,
        state=_text(_table(said["service"]).get("state")),
        affectkit=_text(said["affectkit"]),
        bundle=f"{_text(bundle.get('name'))} {_text(bundle.get('version'))}".strip(),
        board=_text(board.get("model")),
        longest_ms=_number(latency.get("longest_ms")),
        budget_ms=_number(latency.get("budget_ms")),
        findings=tuple(_lines(health.get("findings"))),
        numbers=tuple(_numbers({**latency, **{key: said[key] for key in _FACTS}, "service": said["service"], "board": board})),
    )


def _content(path: pathlib.Path) -> bytes:
    """A small plain file; never through a link, and no pipe is waited for."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InputError(f"{path.name}: is a link or no plain file, which no kit has left")
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name}: cannot be read ({error.strerror or error})") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{path.name}: more than {MOST_BYTES >> 20} MiB, which no kit has left")
    return content


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_MOST_NUMBER < value < _MOST_NUMBER:
        return None
    return float(value)


def _table(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """One line without control characters."""
    if not isinstance(value, str):
        return ""
    text = "".join(one if one.isprintable() else " " for one in value[: 4 * _MOST_TEXT])
    text = " ".join(text.split())
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "\u2026"


def _lines(findings: object) -> typing.Iterator[Line]:
    for one in (findings if isinstance(findings, list) else [])[:_MOST_LINES]:
        found = _table(one)
        if found:
            yield Line(*(_text(found.get(key)) for key in ("name", "state", "what", "remedy")))


def _numbers(told: Record) -> typing.Iterator[tuple[str, str]]:
    """Numbers and words; what is nested is named with its path."""
    left = list(told.items())
    count = 0
    while left and count < _MOST_LINES:
        name, value = left.pop(0)
        if isinstance(value, dict):
            left = [(f"{name} {inner}", one) for inner, one in value.items()] + left
        elif isinstance(value, str | bool) or _number(value) is not None:
            count += 1
            word = _text(value) if isinstance(value, str) else ("no", "yes")[value] if isinstance(value, bool) else f"{value:.6g}"
            yield _text(name).replace("_", " "), word


def as_lines(reports: tuple[Report, ...]) -> list[str]:
    """A table for the terminal, and below it what needs attention."""
    head = ("kit", "update", "runs", "state", "slowest", "health", "by the kit's clock")
    rows = [head, *((one.hostname, one.outcome, one.bundle, one.state, one.latency, one.health, _when(one)) for one in reports)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join((cell or "-").ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for one in reports:
        told = [one.trouble] if one.trouble else [one.line] if one.outcome in _BAD_OUTCOMES else []
        told += [f"the kit is in state {one.state}"] if one.state in _BAD_STATES else []
        told += [
            found.name + (f": {found.what}" if found.what else "") + (f"; {found.remedy}" if found.remedy else "") for found in one.failed
        ]
        if told:
            lines += ["", one.hostname, *(f"  {text}" for text in told)]
    return lines


def _when(report: Report) -> str:
    return report.at + ("" if report.clock_trusted or not report.at else ", not set")
