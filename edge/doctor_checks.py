"""What ``affectkit doctor`` looks at: small functions from a part of the machine to findings; nothing is changed by looking.

Only what the settings ask for can fail; what is not there and not asked for is absent.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import shutil
import typing

from edge.board import BoardFacts
from edge.clock import Clock
from edge.config import Settings
from edge.errors import BundleError, ConfigError, EdgeError, InferenceError, PurposeError, SensorError, SessionError

State = typing.Literal["pass", "warn", "absent", "fail"]

MIB = 1 << 20
HOT_C = 75.0
"""A Raspberry Pi throttles at 80 to 85 degrees Celsius (its documentation, "Frequency management and thermal control")."""
LEAST_MEMORY_MIB, LEAST_FREE_MIB = 200, 200
"""A run takes less than 100 MiB; a lesson's decisions and its report take a few."""
MOST_STEPS_OFF = 2.0
"""Of a stage's output: another processor's kernels may round another way, and no more."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    state: State
    what: str
    remedy: str = ""
    """What to do, in words; empty where there is nothing to do."""


def asked(settings: Settings, scheme: str) -> list[str]:
    """What follows the colon of each source of ``scheme``."""
    return [source.partition(":")[2] for source in settings.sources.use if source.partition(":")[0] == scheme]


def split(error: object, remedy: str = "") -> tuple[str, str]:
    """An error's line as (what, remedy): the house writes the remedy behind the last semicolon."""
    what, mark, rest = " ".join(str(error).split()).rpartition("; ")
    return (what, rest) if mark else (rest, remedy)


def missing(name: str, error: EdgeError, wanted: object) -> Finding:
    """What could not be looked at: a failure if it is wanted."""
    return Finding(name, "fail" if wanted else "absent", *split(error))


# --- the kit's settings ---------------------------------------------------------------------------------------------------


def check_settings(settings: Settings, where: str, clock: Clock) -> list[Finding]:
    """Whether each source makes sense, and whether their purpose is declared if any of them is live."""
    from edge.purpose import check_purpose
    from edge.sensors import open_sensor

    findings, live = [], False
    for source in settings.sources.use:
        try:
            sensor = open_sensor(source, clock, settings)
        except (ConfigError, SessionError, SensorError) as error:
            findings.append(Finding("source", "fail", *split(error, "correct it in [sources] use")))
            continue
        live = live or sensor.live
        if not sensor.live:
            findings.append(Finding("source", "pass", f"{source}: {', '.join(sensor.tracks)}"))
    if not settings.sources.use:
        findings.append(Finding("source", "pass", f"{where}: no sources named, so the embedded session is played"))
    try:
        check_purpose(settings.purpose, live=live)
        findings.append(
            Finding("purpose", "pass", f"{settings.purpose.purpose} in {settings.purpose.jurisdiction}, {settings.purpose.setting}")
            if live
            else Finding("purpose", "absent", "no live sources, so none needs to be declared")
        )
    except PurposeError as error:
        findings.append(Finding("purpose", "fail", *split(error, "declare it in [purpose], or use recorded sessions (replay:)")))
    return findings + [_output(name, path) for name, path in _outputs(settings)]


def _outputs(settings: Settings) -> list[tuple[str, str]]:
    return [(name, getattr(settings.outputs, name)) for name in ("jsonl", "report") if getattr(settings.outputs, name) not in ("", "-")]


def _output(name: str, path: str) -> Finding:
    folder = pathlib.Path(path).absolute().parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return Finding("output", "pass", f"{name}: {path}")
    why = "is not writable" if folder.is_dir() else "does not exist"
    return Finding("output", "fail", f"{name}: the folder {folder} {why}", "make it, or name another file in [outputs]")


def check_bundle(settings: Settings) -> list[Finding]:
    """Whether the bundle loads and computes here what it did where it was made."""
    from edge import embedded
    from edge.bundle import load_bundle
    from edge.inspect import verify

    try:
        bundle = load_bundle(settings.bundle.path or embedded.BUNDLE)
        verified = verify(bundle)
    except (BundleError, InferenceError) as error:
        return [Finding("bundle", "fail", *split(error, "copy the bundle again, or convert it anew"))]
    called = f"{bundle.manifest.name} {bundle.manifest.version}"
    worst, stage = max((found["largest_difference"], name) for name, found in verified["stages"].items())
    if worst == 0:
        return [Finding("bundle", "pass", f"{called}: golden vectors of {len(verified['stages'])} stages match bit by bit")]
    state: State = "warn" if worst <= MOST_STEPS_OFF else "fail"
    return [
        Finding(
            "bundle",
            state,
            f"{called}: stage {stage} is up to {worst:g} steps off its golden vectors",
            "use the interpreter it was made with; one step is what the softmax of x86-64 and of aarch64 may differ by",
        )
    ]


def check_interpreter() -> list[Finding]:
    """Whether one works, by running a model."""
    from edge.inference.model import probe

    try:
        return [Finding("interpreter", "pass", str(probe()))]
    except InferenceError as error:
        return [Finding("interpreter", "fail", *split(error))]


# --- the machine ----------------------------------------------------------------------------------------------------------


def check_board(facts: BoardFacts) -> list[Finding]:
    """Model, governor, temperature, throttling and memory."""
    what = f"{facts.model or 'unknown model'}, {facts.cores} cores of {facts.cpu or facts.machine}, {facts.os}, Python {facts.python}"
    return [Finding("board", "pass", what), _governor(facts), _temperature(facts), _throttling(facts), _memory(facts)]


def _governor(facts: BoardFacts) -> Finding:
    if not facts.governor:
        return Finding("governor", "absent", "the kernel sets no frequency here")
    now = "" if facts.frequency_mhz is None else f", now {facts.frequency_mhz:.0f}"
    most = "" if facts.most_frequency_mhz is None else f" of {facts.most_frequency_mhz:.0f} MHz"
    if facts.governor == "powersave":
        remedy = "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        return Finding("governor", "warn", f"powersave{now}{most}: decisions may come late", remedy)
    return Finding("governor", "pass", f"{facts.governor}{now}{most}")


def _temperature(facts: BoardFacts) -> Finding:
    if facts.temperature_c is None:
        return Finding("temperature", "absent", "no thermometer")
    if facts.temperature_c >= HOT_C:
        return Finding("temperature", "warn", f"{facts.temperature_c:.1f} degrees Celsius", "give it a heat sink, a fan or air")
    return Finding("temperature", "pass", f"{facts.temperature_c:.1f} degrees Celsius")


def _throttling(facts: BoardFacts) -> Finding:
    if facts.throttling is None:
        return Finding("throttling", "absent", "not a Raspberry Pi")
    if not facts.throttling:
        return Finding("throttling", "pass", "none since boot")
    power = any("voltage" in word for word in facts.throttling)
    remedy = "use the board's own power supply and a short cable" if power else "give it a heat sink, a fan or air"
    return Finding("throttling", "warn", ", ".join(facts.throttling), remedy)


def _memory(facts: BoardFacts) -> Finding:
    if facts.available_mib is None:
        return Finding("memory", "absent", "the kernel does not say")
    what = f"{facts.available_mib:.0f} of {facts.memory_mib or 0.0:.0f} MiB available"
    if facts.available_mib < LEAST_MEMORY_MIB:
        return Finding("memory", "warn", what, "end other programs, such as the desktop")
    return Finding("memory", "pass", what)


def check_space(folder: pathlib.Path) -> list[Finding]:
    """Free space where decisions and recordings go."""
    free_mib = shutil.disk_usage(folder).free / MIB
    state: State = "pass" if free_mib >= LEAST_FREE_MIB else "warn"
    return [Finding("space", state, f"{free_mib:.0f} MiB free", "" if state == "pass" else "delete what is not needed")]


def check_clock(now: datetime.datetime, built: datetime.date, synchronized: bool | None) -> list[Finding]:
    """Whether wall time can be true. Nothing depends on it: stamps are monotonic, and wall time is only written into reports."""
    said = {True: "synchronized", False: "not synchronized", None: "nobody says whether synchronized"}[synchronized]
    what = f"{now:%Y-%m-%d %H:%M} UTC, {said}; no decision depends on it"
    if now.date() < built:
        return [
            Finding("clock", "warn", f"{what}, but it is before {built}, when this was built", "let it meet a network, or: sudo date -s")
        ]
    return [Finding("clock", "pass", what)]
