"""What a running kit tells of its boot: systemd's stages, the installation's steps, the way to the first decision."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import subprocess
import sys

from judge import DECISIONS, INSTALLED, SERVICE, Running
from machine import SilentError

_LOOP = "import time; t = time.perf_counter(); sum(i * i for i in range(300000)); print(time.perf_counter() - t)"
_STAMPS = ("InactiveExitTimestampMonotonic", "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")


@dataclasses.dataclass(frozen=True)
class Facts:
    """Of one boot, in the machine's own seconds since its kernel began."""

    name: str
    part: str
    """The check that it is of."""
    boots: int
    power_to_decision_s: float
    """By the host's clock, from the start of the emulator, in the last boot."""
    time: str
    """``systemd-analyze time``."""
    blame: str
    chain: str
    service_start_s: float
    """When systemd began with the service."""
    program_start_s: float
    """When its program was started."""
    ready_s: float
    """When it said READY: the first decision."""
    steps: dict[str, float]
    """Seconds of the installation's steps."""
    decisions: int
    modalities: list[str]
    first_fused_ms: float | None
    """Of the run's own time: when the first decision was made of two modalities or more."""
    mounts: str
    warnings: str
    """Lines of the journal, warning and worse."""
    security: str
    slower: float
    """How many times longer a loop in Python takes in the machine than outside, both beside whatever else goes on."""

    @property
    def root_is_read_only(self) -> bool:
        return bool(re.search(r"^/ \S+ \S+ ro\b", self.mounts, re.MULTILINE))


def gather(name: str, part: str, running: Running, log: pathlib.Path) -> Facts:
    """Asks the running kit; what it says at length goes to ``log``."""
    # Until all jobs of the boot are done, systemd-analyze tells nothing; some, such as doctor's report, come after the first decision.
    with contextlib.suppress(SilentError):
        running.machine.wait("systemctl is-system-running | grep -qE 'running|degraded'", limit_s=300)
    stamps = dict(line.partition("=")[::2] for line in running.ask(f"systemctl show {SERVICE} -p {' -p '.join(_STAMPS)}").splitlines())
    start, program, ready = (int(stamps.get(key) or 0) / 1e6 for key in _STAMPS)
    (log / f"{name}-journal.txt").write_text(running.ask("journalctl -b --no-pager -o short-monotonic", limit_s=240))
    (log / f"{name}-first-boot.log").write_text(
        running.ask("cat /boot/firmware/affectkit/first-boot.log /boot/firmware/affectkit/install.log")
    )
    first = first_fused(running.ask(f"cat {DECISIONS}"))
    found = Facts(
        name=name,
        part=part,
        boots=running.boots,
        power_to_decision_s=running.decides_s,
        time=running.ask("systemd-analyze time", limit_s=90),
        blame="\n".join(running.ask("systemd-analyze blame --no-pager", limit_s=120).splitlines()[:25]),
        chain=running.ask(f"systemd-analyze critical-chain {SERVICE} --no-pager", limit_s=120),
        service_start_s=start,
        program_start_s=program,
        ready_s=ready,
        steps=_steps(running.ask(f"cat {INSTALLED}")),
        decisions=running.decisions(),
        modalities=sorted(running.modalities()),
        first_fused_ms=first,
        mounts=running.ask("findmnt -rno TARGET,SOURCE,FSTYPE,OPTIONS -t ext4,vfat,tmpfs,overlay"),
        warnings=running.ask("journalctl -b -p warning --no-pager -o short-monotonic", limit_s=120),
        security=running.ask(f"systemd-analyze security --no-pager {SERVICE} | tail -n 1", limit_s=120),
        slower=_slower(running),
    )
    (log / f"{name}-facts.json").write_text(json.dumps(dataclasses.asdict(found), indent=1))
    return found


def _slower(running: Running) -> float:
    inside = float(running.ask(f"python3 -c '{_LOOP}'", limit_s=120) or 0)
    outside = min(float(subprocess.run([sys.executable, "-c", _LOOP], capture_output=True, text=True, check=True).stdout) for _ in range(3))
    return inside / outside


def first_fused(lines: str) -> float | None:
    """Of ``decisions.jsonl``: milliseconds of the first decision of two modalities or more."""
    for line in lines.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if len(record.get("weights", {})) >= 2:
            return float(record["t_ms"])
    return None


def _steps(text: str) -> dict[str, float]:
    try:
        return {name: float(seconds) for name, seconds in json.loads(text).get("steps", {}).items()}
    except (ValueError, TypeError, AttributeError):
        return {}
