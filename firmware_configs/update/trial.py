"""A bundle on trial: a minute of decisions makes it the good one; none, and the good one runs again.

A minute of decisions is told by systemd's own record of the watchdog: it is answered with decisions and with nothing else
(``edge.outputs.watchdog``), so the time from READY, the first decision, to the newest answer is time in which the kit decided.
"""

from __future__ import annotations

import collections.abc
import contextlib
import fcntl
import os
import pathlib
import typing

from edge.archive import dump_json, parse_json
from edge.errors import InputError
from firmware_configs.update import SETTLE
from firmware_configs.update.service import Pause, Run, Service, run_command
from firmware_configs.update.store import MOST_STARTS, Store, write_file

Outcome = typing.Literal["confirmed", "fell back", "no trial"]

MINUTE_S = 60.0
EVERY_S = 2.0
LONGEST_S = 1800.0
"""Three starts with the longest waits between them end long before."""
_MOST_FAILED = 32


def settle(store: Store, service: Service, pause: Pause) -> tuple[Outcome, str]:
    """Wait for what becomes of the bundle on trial.

    Returns:
        The outcome, and why in words.
    """
    began_s = pause.now_s()
    trial = store.trial()
    if trial is None:
        store.recover()
        return "no trial", "nothing is on trial"
    down = 0
    while (now := store.trial()) is not None and now.bundle == trial.bundle:
        state = service.state()
        # Looked at twice: a service that is started anew is down for a moment.
        down = down + 1 if state.active in ("failed", "inactive") else 0
        if state.deciding_s >= MINUTE_S and store.confirm():
            return "confirmed", f"it gave decisions for {MINUTE_S:.0f} s"
        if down >= 2:
            why = "its settings or the bundle were refused" if state.word == "refused" else f"it ended ({state.result or state.active})"
            return _fall_back(store, service, why)
        if pause.now_s() - began_s > LONGEST_S:
            return _fall_back(store, service, f"no minute of decisions within {LONGEST_S / 60:.0f} min")
        pause.wait(EVERY_S)
    # Whoever started the kit a fourth time has settled it.
    if store.target("good.affectkit") == trial.bundle:
        return "confirmed", "it gave decisions"
    return "fell back", f"it was started {MOST_STARTS} times without a minute of decisions"


def _fall_back(store: Store, service: Service, why: str) -> tuple[Outcome, str]:
    remember_failed(store, why)
    store.fall_back()
    service.restart()
    return "fell back", why


def before_start(store: Store, run: Run = run_command) -> str:
    """Before each start of the kit: choose what it runs; the name of the bundle.

    A bundle on trial is counted, and somebody is asked to watch it, so that the trial goes on after a power cut or a pulled stick.
    """
    trial = store.trial()
    if trial is None or not store.sound(trial.bundle):
        return store.recover()
    if trial.starts >= MOST_STARTS:
        remember_failed(store, f"it was started {MOST_STARTS} times without a minute of decisions")
        return store.fall_back()
    run(("systemctl", "start", "--no-block", SETTLE), 30.0)
    try:
        store.count_start()
    except OSError:
        # A full card: a trial that cannot be counted could go on for ever.
        return store.fall_back()
    return trial.bundle


# --- bundles that failed --------------------------------------------------------------------------------------------------


def failed(store: Store) -> dict[str, str]:
    """Bundles that were tried on this kit and gave no decisions: name -> why."""
    return _texts(store.update / "failed.json")


def remember_failed(store: Store, why: str) -> None:
    """Note that the bundle on trial gave no decisions here, so that a stick left in does not start it at each boot."""
    trial = store.trial()
    if trial is None:
        return
    known = [*((name, said) for name, said in failed(store).items() if name != trial.bundle), (trial.bundle, why)]
    write_file(store.update / "failed.json", dump_json(dict(known[-_MOST_FAILED:])))


def _texts(path: pathlib.Path) -> dict[str, str]:
    """A JSON object of texts; empty if it is not there or damaged."""
    try:
        fields = parse_json(path.read_bytes()[: 1 << 20], where=str(path), kind=InputError)
        return {name: fields.text(name) for name in fields.names()}
    except (OSError, InputError):
        return {}


@contextlib.contextmanager
def alone(store: Store, *, wait: bool = True) -> collections.abc.Iterator[bool]:
    """Only one process takes or settles at a time: whether it is this one; ``wait`` for it as long as it takes."""
    store.prepare()
    handle = os.open(store.update, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)
