"""Limits that a conversion is held to."""

from __future__ import annotations

import dataclasses

from convert.report import Gate, Report

MIN_AGREEMENT = 0.98
MAX_DROP = 0.01
"""What ``auto`` holds its candidates to where nothing else is asked."""


@dataclasses.dataclass(frozen=True)
class Gates:
    """None: no such limit."""

    min_agreement: float | None = None
    """Share of samples on which converted and float answer the same, of the worst output, 0 to 1."""
    max_drop: float | None = None
    """Accuracy that may be lost, 0 to 1; needs labels."""
    max_bytes: int | None = None
    max_macs: int | None = None

    def measured(self, report: Report) -> tuple[Gate, ...]:
        """Every limit that is set and can be told from the report."""
        checked = report.verification
        drop = checked.task.drop if checked is not None and checked.task is not None else None
        agreement = checked.agreement if checked is not None else None
        gates = []
        for name, limit, got, least in (
            ("min-agreement", self.min_agreement, agreement, True),
            ("max-drop", self.max_drop, drop, False),
            ("max-bytes", self.max_bytes, report.bytes, False),
            ("max-macs", self.max_macs, report.macs, False),
        ):
            if limit is not None and got is not None:
                gates.append(Gate(name, float(limit), float(got), got >= limit if least else got <= limit))
        return tuple(gates)


def missed(gates: tuple[Gate, ...]) -> str:
    """The gates that were missed, in words; empty if none was."""
    words = []
    for gate in gates:
        if not gate.passed:
            small = gate.limit <= 1 and gate.name in ("min-agreement", "max-drop")
            got, limit = (f"{gate.got:.2%}", f"{gate.limit:.2%}") if small else (f"{gate.got:,.0f}", f"{gate.limit:,.0f}")
            words.append(f"{gate.name} is {limit}, and it has {got}")
    return "; ".join(words)
