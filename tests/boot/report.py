"""``benchmarks/results/boot.md``: from power to the first decision, stage by stage, and what that suggests for a board."""

from __future__ import annotations

import datetime
import os
import pathlib
import platform
import re
import typing

from facts import Facts

if typing.TYPE_CHECKING:
    from rig import Rig

PI_4 = (3.0, 6.0)
"""How many times slower than this computer's processor a Raspberry Pi 4 runs Python; assumed, not measured."""
TEXT = """\
# From power to the first decision, emulated

Made by `make test-boot ARGS="--report benchmarks/results/boot.md"` on {date}; {host}, {cores} cores, shared with other work.
The board is QEMU's `virt` with a Cortex-A72: two cores, 1 GiB, no KVM, no network, no clock chip, the card in an SDHCI reader. The card was
made by `affectkit kit card` from an image with Raspberry Pi OS Lite's layout on Debian 13 (arm64). Beside the card, the rig gives the
system longer to wait for devices and for the first decision (`tests/boot/guest`), as this processor is far slower than a board's.

| check | | |
|---|---|---|
{checks}

## Stages

Seconds of this emulator; between the kernel's start and what is named, unless it says otherwise.

| | {names} |
|---|{rules}|
{stages}

Installation, seconds of each step: {steps}.

## What that suggests for a Raspberry Pi 4: an estimate, nothing was measured on one

The same loop in Python takes {slower} times longer in the emulator than outside it, beside the same other work, so a stage that is the
processor's alone would take that much less on this computer; a Raspberry Pi 4 is assumed to be {low:g} to {high:g} times slower than it.
Cards, firmware and the loading of the kernel are not in it: the card here is a file in memory. Emulation does not slow everything alike
(processes that start cost more than loops), so this is an order of magnitude.

| | emulated | Raspberry Pi 4, estimate |
|---|---|---|
{estimate}

{details}
"""


def write_report(rig: Rig, path: pathlib.Path) -> None:
    """Raises nothing that a full disk does not."""
    checks = "\n".join(f"| {line.check} | {'pass' if line.passed else '**fail**'} | {_cell(line.words)} |" for line in rig.lines)
    stages: dict[str, list[str]] = {
        "systemd-analyze": [_cell(facts.time.splitlines()[0] if facts.time else "-") for facts in rig.facts],
        "affectkit.service begins": [f"{facts.service_start_s:.1f}" for facts in rig.facts],
        "its program begins": [f"{facts.program_start_s:.1f}" for facts in rig.facts],
        "READY: the first decision": [f"{facts.ready_s:.1f}" for facts in rig.facts],
        "power to READY seen, by the host's clock": [f"{facts.power_to_decision_s:.0f}" for facts in rig.facts],
        "first fused decision, in the run's own time": [_ms(facts.first_fused_ms) for facts in rig.facts],
        "most modalities in one decision": [", ".join(facts.modalities) for facts in rig.facts],
        "systemd-analyze security": [_cell(facts.security) for facts in rig.facts],
    }
    steps = next((facts.steps for facts in rig.facts if facts.steps), {})
    text = TEXT.format(
        date=datetime.date.today().isoformat(),
        host=f"{_processor()}, {platform.system()}",
        cores=os.cpu_count(),
        checks=checks,
        names=" | ".join(facts.name for facts in rig.facts) or "-",
        rules="|".join("---" for _ in rig.facts) or "---",
        stages="\n".join(f"| {name} | {' | '.join(cells)} |" for name, cells in stages.items()),
        steps=", ".join(f"{name} {seconds:g}" for name, seconds in steps.items()) or "none",
        slower=" and ".join(f"{facts.slower:.0f}" for facts in rig.facts) or "?",
        low=PI_4[0],
        high=PI_4[1],
        estimate="\n".join(_estimates(rig.facts)),
        details="\n".join(_details(facts) for facts in rig.facts),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub("\x1b\\[[0-9;:]*m", "", text), encoding="utf-8")


def _estimates(every: list[Facts]) -> typing.Iterator[str]:
    rows: dict[str, tuple[float, float]] = {}
    for facts in every:
        rows[f"{facts.name}: kernel's start to affectkit.service"] = (facts.service_start_s, facts.slower)
        rows[f"{facts.name}: program to the first decision"] = (facts.ready_s - facts.program_start_s, facts.slower)
        if facts.steps:
            rows["installation, once"] = (sum(facts.steps.values()), facts.slower)
    for name, (seconds, slower) in rows.items():
        if seconds > 0 and slower > 0:
            low, high = (seconds / slower * factor for factor in PI_4)
            yield f"| {name} | {seconds:.0f} s | {low:.0f} to {high:.0f} s |"


def _details(facts: Facts) -> str:
    parts = {"systemd-analyze critical-chain": facts.chain, "systemd-analyze blame": facts.blame, "Warnings and errors": facts.warnings}
    return f"## {facts.name}\n" + "".join(f"\n{name}:\n\n```\n{text or 'none'}\n```\n" for name, text in parts.items())


def _processor() -> str:
    try:
        found = re.search(r"(?m)^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value / 1000:.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", "; ")
