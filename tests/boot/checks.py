"""The checks, in the order of a kit's life: each takes the rig, and adds lines to its table."""

from __future__ import annotations

import time

from disk import boot_file, copied, ext4_file, used_bytes, written
from facts import Facts, gather
from judge import INSTALLED, Running, judge, run_to_decision
from kit import make_card
from machine import Machine
from rig import Rig
from sticks import sticks

MOST_FOOTPRINT_MB = 250
SOONEST_S = 20.0
"""Between the power and the first moment at which it is cut: nothing of ours runs sooner."""
FUSED_S = 240.0
"""From the first decision, which may find nothing to decide on yet, to one of two modalities or more."""
FAR_AHEAD = "2038-01-01T00:00:00"
MODALITIES = {"face", "speech", "physiology"}


def card(rig: Rig) -> None:
    """The tool makes the card, and finds it to be what it should be."""
    image, took_s = make_card(rig.base.image, rig.payload, rig.folder, "--os", "trixie")
    written(image, rig.made)
    size = image.stat().st_size
    words = (boot_file(rig.made, "cmdline.txt") or "").split()
    told = f"made in {took_s:.0f} s and verified, {size / 1e6:.0f} MB; cmdline.txt: {' '.join(words[2:])}"
    rig.say("card", "resize" not in words, told)
    image.unlink()


def first_boot(rig: Rig) -> None:
    """Installs itself with no network, and decides."""
    before = used_bytes(rig.made)
    copied(rig.made, rig.work)
    if rig.log_writes:
        copied(rig.made, rig.log_writes / "first-boot-before.img")
    with run_to_decision(rig, rig.work, limit_s=rig.limit_s, **rig.logged("first-boot")) as running:
        running.fused(limit_s=FUSED_S)
        facts = gather("first-boot", rig.part, running, rig.log)
        rig.facts.append(facts)
        words = f"{running.decides_s:.0f} s from power, {running.boots} boot(s), no network; installation {sum(facts.steps.values()):.0f} s"
        rig.say("first boot is READY, goes on", running.goes_on(), words)
        found = _patient(running)
        rig.say("fused of three", found >= MODALITIES, f"{', '.join(sorted(found))}: face and voice of the session, chips on the bus")
        failed = running.ask("systemctl --failed --no-legend --plain")
        rig.say("no failed units", not failed, failed.replace("\n", "; ") or "none")
        running.machine.power_off()
    copied(rig.work, rig.installed)
    grown = (used_bytes(rig.installed) - before) / 1e6
    rig.say(
        "disk footprint",
        0 < grown <= MOST_FOOTPRINT_MB,
        f"{grown:.0f} MB on the root partition beyond the system, at most {MOST_FOOTPRINT_MB}",
    )


def _patient(running: Running) -> set[str]:
    """Modalities of this run; physiology needs a while."""
    until_s = time.monotonic() + 90
    while "physiology" not in (found := running.modalities()) and time.monotonic() < until_s:
        time.sleep(5)
    return found


def second_boot(rig: Rig) -> None:
    """No installation again; decides; sticks; the power goes while it decides, and it decides again, with a clock years ahead."""
    copied(rig.installed, rig.work)
    if rig.log_writes:
        copied(rig.work, rig.log_writes / "update-before.img")
    before = ext4_file(rig.installed, INSTALLED) or ""
    with run_to_decision(rig, rig.work, limit_s=rig.limit_s, **rig.logged("update")) as running:
        fused = running.fused(limit_s=FUSED_S)
        facts = gather("second-boot", rig.part, running, rig.log)
        rig.facts.append(facts)
        words = f"{running.decides_s:.0f} s from power; READY {facts.ready_s:.0f} s after the kernel's start"
        rig.say("second boot is READY, goes on", running.goes_on(), f"{words}; {running.told()}")
        rig.say("second boot: fused decision", fused, f"of {', '.join(facts.modalities) or 'nothing'}, {_when(facts)} into the run")
        same = running.ask(f"cat {INSTALLED}") == before.strip()
        rig.say("second boot installs nothing", same, "installed.json is the same" if same else "installed.json has changed")
        third = "/srv/affectkit " in facts.mounts
        read_only = facts.root_is_read_only
        rig.say("root is read-only", read_only or not third, _mount(facts, "/") if third else "no data partition: it is not")
        failed = running.ask("systemctl --failed --no-legend --plain")
        rig.say("second boot: no failed units", not failed, failed.replace("\n", "; ") or "none")
        sticks(rig, running)
        bundle = running.bundle()
        running.machine.cut()
    # With a clock that is years ahead; all other boots have none at all.
    verdict = judge(rig, rig.work, limit_s=rig.limit_s, clock=FAR_AHEAD)
    words = f"{verdict.words} with {verdict.bundle or 'no bundle'} {verdict.took_s:.0f} s after the power is back, the clock at {FAR_AHEAD}"
    rig.say("power cut while deciding", verdict.decides and verdict.bundle == bundle, words)


def _when(facts: Facts) -> str:
    return "never" if facts.first_fused_ms is None else f"{facts.first_fused_ms / 1000:.0f} s"


def _mount(facts: Facts, target: str) -> str:
    return next((line for line in facts.mounts.splitlines() if line.startswith(f"{target} ")), "not mounted")


def cuts(rig: Rig) -> None:
    """The power goes at some moments of the first boot; the next boot ends installed and deciding."""
    whole_s = next((facts.power_to_decision_s for facts in rig.facts if facts.name == "first-boot"), rig.limit_s / 3)
    for number in range(rig.cuts):
        at_s = SOONEST_S + (whole_s - SOONEST_S) * (number + 1) / (rig.cuts + 1)
        copied(rig.made, rig.work)
        with Machine(rig.base, rig.work, rig.log) as machine:
            while machine.up_s < at_s and not machine.ended:
                time.sleep(min(1.0, max(0.0, at_s - machine.up_s)))
            machine.cut()
        step = (boot_file(rig.work, "affectkit/first-boot.log") or "nothing").strip().splitlines()[-1]
        verdict = judge(rig, rig.work, limit_s=rig.limit_s)
        words = f"last said {step[:70]!r}; then {verdict.words} {verdict.took_s:.0f} s after the power is back"
        rig.say(f"power cut {at_s:.0f} s into the first boot", verdict.decides, words)
