"""What a run of the rig saw, in words and as ``benchmarks/results/arm64.md``."""

from __future__ import annotations

import dataclasses
import typing

from compare import DecisionsGap, Gap, StageGap

Session = tuple[DecisionsGap, dict[str, StageGap]]

SOFTMAX_STEPS, FLOAT_OFF = 1.0, 1e-3
"""What may differ on aarch64: an int8 softmax, in steps; float outputs, absolute."""
WHY_SOFTMAX = (
    "An int8 softmax may be one step off: XNNPACK leaves it to TensorFlow Lite's own kernel, which for aarch64 is another implementation",
    "(tables of 16-bit numbers in place of float ones: `TFLITE_SOFTMAX_USE_UINT16_LUT`). All other operators of integer stages gave the",
    "same bytes for the same bytes.",
)
WHY_FLOAT = (
    "`dynamic_wi8_afp32` answers in float: sums are added up in the order of the processor's own kernels (from Cortex-A76 on with dot",
    "products), and an activation next to a rounding limit goes to the other step.",
)
WHY_FEATURES = (
    "Features are float32, and differ in their last digits between any two processors: the crop of the face and the following of it are",
    "matrix products, whose order of addition OpenBLAS chooses by the processor; the log-mel has logarithms and an FFT. A few of the int8",
    "inputs made of them are rounded to the neighbour. What is counted and compared in whole numbers (detector, pulse, skin) is the same.",
)


@dataclasses.dataclass(frozen=True)
class Verified:
    """One bundle on one processor."""

    bundle: str
    cpu: str
    table: dict[str, typing.Any]
    """What ``inside/verify_bundles.py`` printed, or {"failed": why}."""

    @property
    def stages(self) -> dict[str, dict[str, typing.Any]]:
        return self.table.get("stages", {})

    @property
    def exact(self) -> bool:
        return bool(self.stages) and all(stage["exact"] for stage in self.stages.values())

    @property
    def explained(self) -> bool:
        """Nothing is further off than ``WHY_SOFTMAX`` says."""
        within = [stage["largest_difference"] <= (FLOAT_OFF if stage.get("float") else SOFTMAX_STEPS) for stage in self.stages.values()]
        return bool(within) and all(within)

    def worst(self) -> str:
        """The largest difference of any stage, or why there is none."""
        if not self.stages:
            return str(self.table.get("failed", "failed"))
        return f"{max(stage['largest_difference'] for stage in self.stages.values()):.2g}"


@dataclasses.dataclass
class Facts:
    """Everything the report tells; what a run left out stays empty."""

    qemu: str
    verified: list[Verified] = dataclasses.field(default_factory=list)
    here: dict[str, str] = dataclasses.field(default_factory=dict)
    there: dict[str, str] = dataclasses.field(default_factory=dict)
    sessions: dict[str, Session] = dataclasses.field(default_factory=dict)
    tflite: str = ""
    suite: str = ""


def in_words(decisions: DecisionsGap, stages: dict[str, StageGap]) -> str:
    """One line about one replay."""
    count = decisions.decisions[1]
    if decisions.differing == 0:
        said = f"{count} decisions the same to the byte"
    else:
        said = f"{decisions.differing} of {count} decisions differ, {decisions.others} in their label, state or absences"
        said += f", a probability by up to {decisions.largest_probability:g}"
    calls = sum(stage.calls[1] for stage in stages.values())
    own, largest = sum(stage.own for stage in stages.values()), max((stage.own_largest for stage in stages.values()), default=0.0)
    return f"{said}; of {calls} inferences {own} answer other than x86-64's to the same bytes" + (f", by {largest:g} step" if own else "")


def as_markdown(facts: Facts) -> str:
    """The report."""
    lines = [
        "# The device's code and models on aarch64",
        "",
        f"The real aarch64 wheels in a Debian arm64 root, under QEMU {facts.qemu} user emulation, without a network and without rights;",
        "x86-64 is the workstation that ran it. Emulation is exact in what it computes and says nothing of speed: no time below is a Pi's.",
        'Made again by `make test-arm64 ARGS="--session-cpu cortex-a53 cortex-a72 cortex-a76 max --bundle FOLDER --report FILE"`.',
    ]
    if facts.here and facts.there:
        lines += ["", *_versions(facts.here, facts.there)]
    if facts.suite:
        lines += ["", "## Unit tests", "", f"`{facts.suite}`"]
    if facts.verified:
        lines += ["", "## Golden vectors", "", *_verified(facts.verified)]
    if facts.sessions:
        lines += ["", "## The embedded session, decision by decision", "", *_sessions(facts.sessions)]
    if facts.tflite:
        lines += ["", "## The older interpreter", "", *_tflite(facts.tflite)]
    return "\n".join(lines) + "\n"


def _versions(here: dict[str, str], there: dict[str, str]) -> list[str]:
    rows = [f"| {name} | {here[name]} | {there.get(name, '-')} |" for name in here]
    return ["| | workstation | emulated |", "|---|---|---|", *rows]


def _verified(verified: list[Verified]) -> list[str]:
    """A row a bundle, a column a processor."""
    cpus = list(dict.fromkeys(one.cpu for one in verified))
    lines = [
        "Largest difference of any output of any stage from the golden vectors, made on x86-64, in steps of the output (LSB; absolute for",
        "float outputs): 0 is bit by bit the same.",
        "",
        f"| bundle | stages | {' | '.join(cpus)} |",
        f"|---|--:|{'--:|' * len(cpus)}",
    ]
    for name in dict.fromkeys(one.bundle for one in verified):
        cells = {one.cpu: one for one in verified if one.bundle == name}
        stages = max(len(one.stages) for one in cells.values())
        lines.append(f"| {name} | {stages} | {' | '.join(cells[cpu].worst() if cpu in cells else '-' for cpu in cpus)} |")
    if any(stage.get("float") and not stage["exact"] for one in verified for stage in one.stages.values()):
        lines += ["", *WHY_FLOAT]
    return lines


def _sessions(sessions: dict[str, Session]) -> list[str]:
    lines = [
        "`affectkit run --fast` on the same recording. *Otherwise decided*: another label, state or set of absent modalities.",
        "",
        "| processor | decisions | lines that differ | first | otherwise decided | largest difference of a probability |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for cpu, (decisions, _) in sessions.items():
        first = "-" if decisions.first is None else str(decisions.first)
        cells = (decisions.decisions[1], decisions.differing, first, decisions.others, f"{decisions.largest_probability:g}")
        lines.append(f"| {cpu} | {' | '.join(map(str, cells))} |")
    for cpu, (_, stages) in sessions.items():
        lines += ["", *_stages(cpu, stages)]
    if any(decisions.differing for decisions, _ in sessions.values()):
        lines += ["", *WHY_FEATURES]
    if any(stage.own for _, stages in sessions.values() for stage in stages.values()):
        lines += ["", *WHY_SOFTMAX]
    return lines


def _stages(cpu: str, stages: dict[str, StageGap]) -> list[str]:
    lines = [
        f"{cpu}, what the stages got and gave: elements that differ, of all; in brackets the largest difference. *Own*: inferences that",
        "got the same bytes as on x86-64 and answered others.",
        "",
        "| stage | inferences | features, float32 | inputs, int8 | outputs, int8 | own |",
        "|---|--:|---|---|---|--:|",
    ]
    for name, stage in stages.items():
        calls = str(stage.calls[1]) if stage.calls[0] == stage.calls[1] else f"{stage.calls[1]} (x86-64: {stage.calls[0]})"
        real, stored, output = (_cell(one, f"{one.largest:.2g}") for one in (stage.real, stage.stored, stage.output))
        lines.append(f"| {name} | {calls} | {real} | {stored} | {output} | {_own(stage)} |")
    return lines


def _own(stage: StageGap) -> str:
    return f"{stage.own} ({stage.own_largest:g})" if stage.own else "0"


def _cell(one: Gap, largest: str) -> str:
    if one.differing == 0:
        return f"0 of {one.elements:,}"
    return f"{one.differing:,} of {one.elements:,} ({largest})"


def _tflite(said: str) -> list[str]:
    return [
        f"{said}.",
        "That is the older kernels' own rounding: on x86-64 this interpreter is up to 18 steps off the embedded ones. `probe` takes",
        "ai-edge-litert first, and a kit has the older one only if somebody installs the extra.",
    ]
