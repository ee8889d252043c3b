"""Whether a card, in whatever state it is, ends with a kit that decides: the question after each power cut."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import time
import typing

from base import Base
from machine import EndedError, Machine, SilentError

SERVICE = "affectkit.service"
INSTALLED = "/etc/affectkit/installed.json"
DECISIONS = "/var/lib/affectkit/now/decisions.jsonl.partial"
CURRENT = "/srv/affectkit/bundles/current.affectkit"
FUSED = f'grep -Eqs \'"weights": ?[{{]"[a-z]+": ?[0-9.]+, ?"\' {DECISIONS}'
"""Succeeds when a decision was made of two modalities or more."""
DECIDES = f"""test -s {INSTALLED} && systemctl is-active --quiet {SERVICE} && grep -qs '"state"' {DECISIONS}"""
"""Succeeds when everything is installed, and the service has said READY, which it does with its first decision."""
MOST_BOOTS = 4
_DIAGNOSIS = f"""tail -n 40 /boot/firmware/affectkit/first-boot.log; systemctl list-jobs --no-pager; systemctl --failed --no-pager
systemctl status --no-pager -l {SERVICE}; cat /proc/mounts; df -k; ps aux --sort=-%cpu | head -n 20
journalctl -b --no-pager -o short-monotonic"""
Options = typing.Any


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a card ended."""

    decides: bool
    """Installed, READY, and lines go on; "no decision" is one of them, see ``words``."""
    bundle: str
    """Name of the bundle that decides; empty if none is known."""
    boots: int
    """Times that it was started; it may restart by itself."""
    took_s: float
    words: str
    """What there is to say, in a line."""


class Place(typing.Protocol):
    """What a boot needs beside the card: a ``rig.Rig`` has it, and so has a ``Bench``."""

    @property
    def base(self) -> Base: ...
    @property
    def log(self) -> pathlib.Path: ...


@dataclasses.dataclass(frozen=True)
class Bench:
    """The least that a boot needs."""

    base: Base
    log: pathlib.Path


def run_to_decision(place: Place, card: pathlib.Path, *, limit_s: float, **options: Options) -> Running:
    """Boots ``card`` until its kit decides, also over restarts of its own; the machine that then runs. Raises SilentError."""
    began_s = time.monotonic()
    for boots in range(1, MOST_BOOTS + 1):
        machine = Machine(place.base, card, place.log, **options)
        machine.__enter__()
        try:
            left_s = limit_s - (time.monotonic() - began_s)
            machine.wait_for_line(limit_s=left_s)
            decides_s = machine.wait(DECIDES, limit_s=limit_s - (time.monotonic() - began_s))
            return Running(machine, boots, decides_s)
        except EndedError:  # it restarts, as the last step of an installation may
            machine.__exit__(None, None, None)
        except BaseException as error:
            if isinstance(error, SilentError):
                _diagnose(machine)
            machine.__exit__(None, None, None)
            raise
    raise SilentError(f"restarted {MOST_BOOTS} times and does not decide")


def _diagnose(machine: Machine) -> None:
    """What a kit that does not decide says of itself, beside its console."""
    with contextlib.suppress(SilentError, EndedError):
        said = machine.ask(_DIAGNOSIS, limit_s=240).output
        machine.console.with_name(machine.console.stem + "-diagnosis.txt").write_text(said)


@dataclasses.dataclass
class Running:
    """A machine whose kit decides. Context manager: leaving it cuts the power."""

    machine: Machine
    boots: int
    decides_s: float
    """Seconds from power to the first decision, in the last boot."""

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.__exit__(None, None, None)

    def ask(self, command: str, *, limit_s: float = 60.0) -> str:
        return self.machine.ask(command, limit_s=limit_s).output.strip()

    def decisions(self) -> int:
        """Lines of decisions in this run."""
        return int(self.ask(f"grep -c '\"state\"' {DECISIONS}") or 0)

    def bundle(self) -> str:
        return self.ask(f"readlink {CURRENT}")

    def goes_on(self, *, limit_s: float = 60.0) -> bool:
        """Whether more decisions come."""
        before = self.decisions()
        try:
            self.machine.wait(f"test $(grep -c '\"state\"' {DECISIONS}) -gt {before + 2}", limit_s=limit_s)
        except SilentError:
            return False
        return True

    def fused(self, *, limit_s: float) -> bool:
        """Whether a decision of two modalities or more comes in time."""
        try:
            self.machine.wait(FUSED, limit_s=limit_s)
        except SilentError:
            return False
        return True

    def modalities(self) -> set[str]:
        """Of the decision of this run that was made of the most: what took part in one at the same time, not now and then."""
        found: set[str] = set()
        for line in self.ask(f"cat {DECISIONS}").splitlines():
            try:
                weights = set(json.loads(line).get("weights", {}))
            except ValueError:  # the last line may be half written
                continue
            found = max(found, weights, key=len)
        return found

    def told(self) -> str:
        """How many lines of this run are decisions, and whether they are on the card."""
        # In one look: a line may come at any time.
        lines, _, none = self.ask(
            f"""awk '/"state"/ {{ all++ }} /"no decision"/ {{ none++ }} END {{ print all + 0, none + 0 }}' {DECISIONS}"""
        ).partition(" ")
        where = self.ask("findmnt -nro FSTYPE -T /var/lib/affectkit")
        return f"{lines or 0} lines, {int(lines or 0) - int(none or 0)} of them on some modality, kept in {where}"


def judge(place: Place, card: pathlib.Path, *, limit_s: float = 1500.0, **options: Options) -> Verdict:
    """Boots ``card``, which is written to, and says whether it ends deciding.

    Args:
        limit_s: for everything, restarts and an installation that is done again included.
        options: of ``Machine``.
    """
    began_s = time.monotonic()
    try:
        running = run_to_decision(place, card, limit_s=limit_s, **options)
    except (SilentError, EndedError) as error:
        return Verdict(False, "", 0, time.monotonic() - began_s, str(error))
    with running:
        bundle = running.bundle()
        goes_on = running.goes_on(limit_s=90.0)
        words = f"READY and going on ({running.told()})" if goes_on else "one decision, and no other within 90 s"
        return Verdict(goes_on, bundle, running.boots, time.monotonic() - began_s, words)
