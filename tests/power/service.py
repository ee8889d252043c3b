"""In place of systemd, which runs in neither machine: the kit's service, started as its unit starts it and really deciding.

A restart chooses the bundle as ``ExecStartPre`` does, then runs it on the embedded session until it has decided for two seconds. Two
things are left out, for an emulated processor is too slow for them: the minute of a trial, which systemd's answer says has passed; and
that the bundle is fast enough, which the probe finds out as always and nobody heeds.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import pathlib
import subprocess
import sys

from firmware_configs.update.clock import KitClock
from firmware_configs.update.probe import Probed, probe
from firmware_configs.update.service import Led, SystemdService, SystemPause
from firmware_configs.update.store import CURRENT, Store
from firmware_configs.update.take import Kit, Result, take
from firmware_configs.update.trial import before_start
from tests.firmware_configs.stick.workshop import NOW

ROOT = pathlib.Path(__file__).resolve().parents[2]
TWO_MINUTES_US = 120_000_000


class StandIn:
    """``systemctl`` as the update calls it, and the service behind it."""

    def __init__(self, store: pathlib.Path, runs: pathlib.Path):
        self.store = Store(store)
        self._runs = runs
        self._decides = True

    def run(self, command: collections.abc.Sequence[str], longest_s: float) -> tuple[int, str]:
        """As ``firmware_configs.update.service.run_command``."""
        if command[:2] == ("systemctl", "restart"):
            before_start(self.store, self.run)
            self._decides = decides(self.store.bundles / CURRENT, self._runs)
            return (0 if self._decides else 1), ""
        if command[:2] == ("systemctl", "show"):
            state = "active" if self._decides else "failed"
            said = f"ActiveState={state}\nSubState=\nResult=success\nExecMainStatus=0\nActiveEnterTimestampMonotonic=1\n"
            return 0, f"{said}WatchdogTimestampMonotonic={TWO_MINUTES_US}\nNRestarts=0\n"
        return 0, ""


def take_stick(service: StandIn, stick: pathlib.Path, root: pathlib.Path, config: pathlib.Path) -> Result:
    """``affectkit kit take``, as its command makes it but for systemd."""
    clock = KitClock(service.store.update / "clock.json", now=lambda: NOW, synchronized=lambda: True)
    led = Led(config.parent / "led")
    return take(Kit(service.store, clock, SystemdService(service.run), SystemPause(), led, root, config, _unhurried), stick)


def _unhurried(path: pathlib.Path, config: pathlib.Path | None) -> Probed:
    return dataclasses.replace(probe(path, config), dropped=())


def next_start(store: pathlib.Path, work: pathlib.Path) -> int:
    """What the unit does before the kit starts, by its own script; its status."""
    program = work / "affectkit"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m edge "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    # no store in memory: it would hide that there is none
    environment |= {"AFFECTKIT": str(program), "AFFECTKIT_STORE": str(store), "AFFECTKIT_MOUNT": "false"}
    script = ROOT / "firmware_configs/usr/lib/affectkit/choose-bundle"
    return subprocess.run(["sh", str(script)], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode


def decides(bundle: pathlib.Path, runs: pathlib.Path) -> bool:
    """Whether ``affectkit run`` decides with it: two seconds of the embedded session give seven decisions or more."""
    runs.mkdir(parents=True, exist_ok=True)
    lines = runs / "decisions.jsonl"
    lines.unlink(missing_ok=True)
    words = ["run", "--fast", "--duration", "2", "--bundle", str(bundle), "--jsonl", str(lines)]
    done = subprocess.run(
        [sys.executable, "-m", "edge", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=900,
    )
    return done.returncode == 0 and lines.exists() and lines.read_bytes().count(b"\n") >= 7
