"""What a kit leaves on a stick: how the machine does and what came of the update, in words and as JSON. Nothing about people.

What goes in is listed here by name; nothing is copied whole. In particular no decision, no label, no track, no session and no text that
somebody has typed into ``kit.toml``: of findings about sources, settings and outputs only the state is told, for their words may name a
file after a learner.

``affectkit-reports/HOSTNAME/result.txt`` and ``report.json`` are the newest; ``result.1.txt``, ``report.1.json`` those before, up to 20.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import typing

from edge.archive import dump_json, parse_json
from edge.errors import InputError
from firmware_configs.stick import REPORTS
from firmware_configs.update.service import Run, State, run_command
from firmware_configs.update.store import CURRENT, GOOD, Store

if typing.TYPE_CHECKING:
    from firmware_configs.update.probe import Probed
    from firmware_configs.update.take import Result

FORMAT = 1
MOST_BYTES = 64 << 10
MOST_KEPT = 20
HEALTH = pathlib.Path("/var/lib/affectkit/health/doctor.json")
TOLD = frozenset(
    ("interpreter", "bundle", "board", "governor", "temperature", "throttling", "memory", "space", "clock", "i2c", "permissions")
)
"""Findings of doctor whose words are of the machine alone."""
BOARD = ("model", "machine", "cpu", "cores", "governor", "frequency_mhz", "most_frequency_mhz", "temperature_c", "throttling", "memory_mib")
BOARD_TOO = ("available_mib", "os", "kernel", "python", "packages")
_MIB = 1 << 20


def health(path: pathlib.Path = HEALTH) -> dict[str, typing.Any] | None:
    """The health report of this boot, or None: doctor.json belongs to the kit's user, and is read with suspicion."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        fields = parse_json(os.read(file, 256 << 10), where=str(path), kind=InputError)
        findings = [one for one in fields.items("findings", []) if isinstance(one, dict)]
        board = fields.take("board", None)
    except (OSError, InputError):
        return None
    finally:
        os.close(file)
    return {"findings": [_finding(one) for one in findings[:64]], "board": _board(board)}


def _finding(said: dict[str, typing.Any]) -> dict[str, str]:
    name, state = _text(said.get("name")), _text(said.get("state"))
    told = {key: _text(said.get(key)) for key in ("what", "remedy")} if name in TOLD else {}
    return {"name": name, "state": state, **told}


def _board(said: object) -> dict[str, typing.Any]:
    if not isinstance(said, dict):
        return {}
    kept = {key: said[key] for key in (*BOARD, *BOARD_TOO) if key in said}
    return {key: _text(value) if isinstance(value, str) else value for key, value in kept.items() if len(json.dumps(value)) < 1000}


def _text(value: object) -> str:
    return "".join(one if one.isprintable() else "?" for one in str(value))[:300] if isinstance(value, str) else ""


def compose(
    store: Store, state: State, result: Result | None, measured: Probed | None, *, hostname: str | None = None, found: typing.Any = None
) -> dict[str, typing.Any]:
    """``report.json``.

    Args:
        store: of the kit.
        state: of its service.
        result: what came of the stick.
        measured: what the bundle that runs takes on this board; None if that could not be measured.
        hostname: of the kit; asked of the system if None.
        found: from ``health``.
    """
    import edge

    return {
        "format": FORMAT,
        "hostname": safe_name(hostname or socket.gethostname()),
        "affectkit": edge.__version__,
        "at": result.at if result else "",
        "clock_trusted": bool(result and result.clock_trusted),
        "result": {"outcome": result.outcome, "line": _text(result.line)} if result else None,
        "service": {"state": state.word, "restarts": state.restarts},
        "bundle": running(store),
        "latency": None if measured is None else _latency(measured),
        "health": found,
        "boots": boots(store),
        "uptime_s": uptime_s(),
        "free_mib": {"system": free_mib(pathlib.Path("/")), "kit": free_mib(store.folder)},
        "system_read_only": read_only(pathlib.Path("/")),
    }


def _latency(measured: Probed) -> dict[str, typing.Any]:
    """Stage times of ``edge.inference.plan.measure`` on this board, in ms: median and tail (90th percentile) of up to 40 runs."""
    return {
        "of": f"{measured.name} {measured.version}",
        "runtime": measured.runtime,
        "stages_ms": {name: dict(times) for name, times in measured.stages_ms.items()},
        "golden_steps_off": dict(measured.steps_off),
        "utilisation": measured.utilisation,
        "longest_ms": measured.longest_ms,
        "budget_ms": measured.budget_ms,
        "cadence_ms": measured.cadence_ms,
        "plan": list(measured.why),
        "peak_mib": measured.peak_mib,
    }


def running(store: Store) -> dict[str, typing.Any] | None:
    """The bundle that current points to, as its manifest says it; None if there is none that can be read."""
    from edge.bundle import load_bundle

    name = store.target(CURRENT)
    if name is None:
        return None
    try:
        bundle = load_bundle(store.bundles / name)
    except InputError:
        return None
    told = {"name": bundle.manifest.name, "version": bundle.manifest.version, "created": bundle.manifest.created, "sha256": bundle.sha256}
    return {**told, "on_trial": store.trial() is not None, "good": store.target(GOOD) == name}


def in_words(report: dict[str, typing.Any]) -> str:
    """``result.txt``: for whoever opens the stick on any computer."""
    result, bundle, latency = report["result"] or {}, report["bundle"] or {}, report["latency"]
    when = f"{report['at']}" + ("" if report["clock_trusted"] else " by the kit's clock, which nobody has set")
    lines = [
        f"Kit {report['hostname']}, {when}",
        "",
        f"{_HEADLINES.get(result.get('outcome', ''), 'Report')}: {result.get('line', '')}",
        "",
        f"Runs:      {bundle.get('name', 'nothing')} {bundle.get('version', '')}, state: {report['service']['state']}",
        f"affectkit: {report['affectkit']}",
    ]
    found = report["health"]
    if found is None:
        lines.append("Health:    no report of this boot yet")
    else:
        board = found["board"]
        lines.append(f"Board:     {board.get('model') or 'unknown'}, {board.get('os', '')}")
        if board.get("temperature_c") is not None:
            throttled = ", ".join(map(str, board.get("throttling") or [])) or "no throttling"
            lines.append(f"           {board['temperature_c']:.0f} degrees Celsius, {throttled}")
        bad = [one for one in found["findings"] if one["state"] in ("fail", "warn")]
        lines.append(f"Health:    {'all is well' if not bad else f'{len(bad)} to look at'}")
        for one in bad:
            lines.append(f"           {one['state']}: {one['name']} {one.get('what', '')}; {one.get('remedy', 'see `affectkit doctor`')}")
    if latency is not None:
        lines.append(
            f"Latency:   {latency['longest_ms']} ms when all falls due, of {latency['budget_ms']} ms (stages, median / 90 % / first, ms)"
        )
        for name, times in latency["stages_ms"].items():
            lines.append(f"           {name:<12} {times['median']:>9.3f} {times['p90']:>9.3f} {times['first']:>9.3f}")
    free = report["free_mib"]
    lines.append(f"Free:      {free['kit']} MiB for the kit, {free['system']} MiB of the system")
    lines.append(f"Started:   {report['boots'] or 'unknown how many'} times; now up for {report['uptime_s'] // 60} min")
    lines += ["", "This report tells of the machine alone. Nothing about learners leaves the kit.", ""]
    return "\r\n".join(lines)


_HEADLINES = {
    "updated": "UPDATED",
    "nothing newer": "NOTHING TO DO",
    "refused": "NOT TAKEN, the kit goes on as before",
    "fell back": "TAKEN BACK, the kit goes on as before",
    "no update": "REPORT ONLY",
}


# --- onto the stick -------------------------------------------------------------------------------------------------------


def leave(stick: pathlib.Path, report: dict[str, typing.Any], *, remount: bool = False, run: Run = run_command) -> str:
    """Write the report onto the stick.

    Args:
        stick: where it is mounted.
        report: from ``compose``.
        remount: mount it writable for this, and read-only again.

    Returns:
        What came of it, in words: a stick that is full or write-protected fails nothing.
    """
    if remount and run(("mount", "-o", "remount,rw", str(stick)), 60.0)[0] != 0:
        return "the stick is write-protected: no report was left on it"
    try:
        content = dump_json(report)
        if len(content) > MOST_BYTES:
            content = dump_json({**report, "health": None})
        folder = _folder(stick, report["hostname"])
        _rotate(folder)
        for name, data in (("report.json", content), ("result.txt", in_words(report).encode("utf-8", "replace")[:MOST_BYTES])):
            _write(folder / name, data)
        return "a report was left on the stick"
    except (OSError, InputError, ValueError, TypeError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        return f"no report was left on the stick ({why}); is it full?"
    finally:
        with contextlib.suppress(OSError):
            file = os.open(stick, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        if remount:
            run(("mount", "-o", "remount,ro", str(stick)), 120.0)


def _folder(stick: pathlib.Path, hostname: str) -> pathlib.Path:
    """The kit's folder: made if it is missing; nothing in the way of it is followed."""
    folder = stick
    for name in (REPORTS, hostname):
        folder = folder / name
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise InputError(f"{name} is not a folder")
    return folder


def _rotate(folder: pathlib.Path) -> None:
    """Move the report before out of the way, and those before it; the oldest goes."""
    for stem, suffix in (("report", "json"), ("result", "txt")):
        names = [f"{stem}.{suffix}", *(f"{stem}.{number}.{suffix}" for number in range(1, MOST_KEPT))]
        free = next((at for at, name in enumerate(names) if not os.path.lexists(folder / name)), len(names) - 1)
        for at in range(free, 0, -1):
            os.replace(folder / names[at - 1], folder / names[at])


def _write(path: pathlib.Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    except OSError:
        beside.unlink()
        raise
    finally:
        os.close(file)
    os.replace(beside, path)


# --- what the machine says ------------------------------------------------------------------------------------------------


def safe_name(hostname: str) -> str:
    """A folder's name on any stick, whatever the host is called."""
    return re.sub(r"[^a-z0-9-]", "-", hostname.partition(".")[0].lower())[:63].strip("-") or "kit"


def boots(store: Store) -> int | None:
    """How often the board was started, as usr/lib/affectkit/choose-bundle counts it; None if nobody counts."""
    try:
        first = (store.update / "boots").read_text(encoding="ascii").split(" ")[0]
    except (OSError, ValueError):
        return None
    return int(first) if first.isdigit() else None


def uptime_s() -> int:
    """Since the board was started."""
    try:
        return int(float(pathlib.Path("/proc/uptime").read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return 0


def free_mib(folder: pathlib.Path) -> int | None:
    """MiB that may still be written there."""
    try:
        return shutil.disk_usage(folder).free // _MIB
    except OSError:
        return None


def read_only(folder: pathlib.Path) -> bool | None:
    """Whether the file system of a mount point can be written to by nobody; None if that cannot be told.

    By the options of the file system, not of the mount: a service's own name space makes those read-only (proc_pid_mountinfo(5)).
    """
    mounted = _mounted(folder)
    return "ro" in mounted[2].split(",") if mounted else None


def in_memory(folder: pathlib.Path) -> bool:
    """Whether ``folder`` is covered by one in memory, as usr/lib/affectkit/state does with a full or damaged card."""
    mounted = _mounted(folder)
    return mounted is not None and mounted[0] == "tmpfs"


def _mounted(folder: pathlib.Path, mounts: pathlib.Path = pathlib.Path("/proc/self/mountinfo")) -> list[str] | None:
    """Type, source and options of the file system last mounted on ``folder``; None if there is none, or it cannot be told."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    found = [fields[fields.index("-") + 1 :] for fields in lines if fields[4] == str(folder) and "-" in fields[6:]]
    return found[-1][:3] if found else None
