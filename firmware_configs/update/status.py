"""``affectkit kit status``: how the kit does, in words that need no manual, and what to do if something is to be done.

Anybody may ask: what only root or the kit's own user may read is said to be so.
"""

from __future__ import annotations

import json
import os
import pathlib
import typing

from edge.archive import parse_json
from edge.errors import InputError
from firmware_configs.update import report
from firmware_configs.update.service import Led, Service, State
from firmware_configs.update.store import GOOD, Store

_DOING = {
    "deciding": "it decides",
    "starting": "it is starting: the first decision takes up to some minutes",
    "refused": "it waits for a person: its settings are refused",
    "failed": "it has failed, and tries again by itself",
    "stopped": "it is stopped",
}
_REMEDY = {
    "starting": "wait some minutes, then ask again",
    "refused": "affectkit doctor --config /etc/affectkit/kit.toml says what to correct; then: sudo systemctl restart affectkit",
    "failed": "affectkit doctor --config /etc/affectkit/kit.toml; what it said: sudo journalctl -u affectkit",
    "stopped": "sudo systemctl start affectkit",
}
_WORST = {"fail": 0, "warn": 1}
_DECISIONS = pathlib.Path("/var/lib/affectkit")


def look(store: Store, service: Service, led: Led, health: pathlib.Path = report.HEALTH) -> dict[str, typing.Any]:
    """Everything that status tells, as JSON takes it; None where it cannot be read."""
    import edge

    state = service.state()
    return {
        "affectkit": edge.__version__,
        "state": state.word if state.active else None,
        "led": led.word() or None,
        "since_s": _since_s(state),
        "restarts": state.restarts,
        "bundle": report.running(store),
        "good": store.target(GOOD),
        "last_stick": _last(store),
        "health": _health(health),
        "free_mib": report.free_mib(store.folder),
        "system_read_only": report.read_only(pathlib.Path("/")),
        "decisions_in_memory": report.in_memory(_DECISIONS),
        "boots": report.boots(store),
    }


def _since_s(state: State) -> int | None:
    """For how long it has decided; the boot's clock and ``uptime`` count alike."""
    return max(0, report.uptime_s() - state.entered_us // 1_000_000) if state.word == "deciding" and state.entered_us else None


def _last(store: Store) -> dict[str, typing.Any] | None:
    try:
        fields = parse_json((store.update / "last.json").read_bytes()[: 1 << 20], where="last.json", kind=InputError)
        return {
            "outcome": fields.text("outcome"),
            "line": fields.text("line"),
            "at": fields.text("at"),
            "clock_trusted": fields.take("clock_trusted", False) is True,
        }
    except (OSError, InputError):
        return None


def _health(path: pathlib.Path) -> dict[str, typing.Any] | None:
    """The worst finding of the last health report, or that it may not be read."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return {"state": "none", "line": ""}
    except OSError:
        return {"state": "hidden", "line": ""}
    if not os.access(path, os.R_OK):
        return {"state": "hidden", "line": ""}
    found = report.health(path)
    if found is None:
        return {"state": "none", "line": ""}
    bad = sorted((one for one in found["findings"] if one["state"] in _WORST), key=lambda one: _WORST[one["state"]])
    if not bad:
        return {"state": "pass", "line": "all is well"}
    worst = bad[0]
    said = f"{worst['name']}: {worst.get('what') or 'see affectkit doctor'}" + (f"; {worst['remedy']}" if worst.get("remedy") else "")
    return {"state": worst["state"], "line": said + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")}


def as_lines(seen: dict[str, typing.Any]) -> list[str]:
    """For people."""
    state, bundle = seen["state"], seen["bundle"]
    lines = [f"kit        {_DOING.get(state, 'systemd cannot be asked here: is this a kit?')}{_for(seen['since_s'])}"]
    if bundle is None:
        lines.append("bundle     none that can be read")
    else:
        kept = "on trial" if bundle["on_trial"] else "known to be good" if bundle["good"] else "not yet known to be good"
        lines.append(f"bundle     {bundle['name']} {bundle['version']}, made {bundle['created']}, {kept}")
    last = seen["last_stick"]
    if last is None:
        lines.append("stick      none was put in so far, or its result may not be read")
    else:
        clock = "" if last["clock_trusted"] else " by the kit's clock, which nobody has set"
        lines.append(f"stick      {last['outcome']} at {last['at']}{clock}: {last['line']}")
    health = seen["health"]
    told = {"hidden": "only root may read it: sudo affectkit kit status", "none": "no report of this boot yet"}
    lines.append(f"health     {told.get(health['state'], health['line'])}")
    free = "unknown" if seen["free_mib"] is None else f"{seen['free_mib']} MiB for bundles and decisions"
    system = {True: "read-only", False: "writable", None: "unknown"}[seen["system_read_only"]]
    lines.append(f"card       free: {free}; system: {system}")
    if seen["decisions_in_memory"]:
        lines.append("decisions  IN MEMORY, lost with the power: the card is full, damaged or read-only; write it anew")
    lines.append(f"affectkit  {seen['affectkit']}, restarted by itself {seen['restarts']} times since it was started")
    if seen["led"] in ("updating", "updated", "update-refused"):
        lines.append(f"update     {_LED[seen['led']]}")
    if state in _REMEDY:
        lines.append(f"to do      {_REMEDY[state]}")
    return ["".join(one if one.isprintable() else "?" for one in line) for line in lines]


_LED = {
    "updating": "going on: leave the stick in",
    "updated": "done: take the stick out",
    "update-refused": "not taken: take the stick out",
}


def _for(seconds: int | None) -> str:
    if seconds is None:
        return ""
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f", for {hours} h {minutes} min" if hours else f", for {minutes} min"


def show(seen: dict[str, typing.Any], *, as_json: bool) -> int:
    """Print it; status 0 if the kit decides, 1 if not."""
    print(json.dumps(seen, indent=1) if as_json else "\n".join(as_lines(seen)))
    return 0 if seen["state"] == "deciding" else 1
