"""What converters made, side by side: rows, who is first in which column, and the Markdown of both."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

from benchmarks.peer_converters import OURS

FLOAT = "float32"
"""The row of the network before quantization, in the device's interpreter; not compared."""
GOOD = 0.9
"""A file that agrees with float less often is in the table, but being small or fast does not count for it."""
EQUAL = {"size": 0.01, "mean error": 0.05, "latency": 0.05, "float operators": 0.0}
"""Relative difference within which two are equal; the project's own noise of a latency is 5 %."""
EQUAL_AGREEMENT = 0.002
"""Absolute: two of a thousand samples."""
EQUAL_ERROR = 1e-4
"""Absolute, of probabilities: below what an int8 output can show (1/256) by far."""
COLUMNS = ("size", "agreement", "mean error", "latency", "float operators")


@dataclasses.dataclass(frozen=True)
class Row:
    """One network by one converter."""

    network: str
    converter: str
    status: typing.Literal["runs", "does not run", "not converted"]
    why: str = ""
    """In one line, where it does not run."""
    seconds: float = 0.0
    """Of the conversion, starting included."""
    tool: str = ""
    route: str = ""
    note: str = ""
    """What the converter says of its choice."""
    bytes: int | None = None
    agreement: float | None = None
    mean_error: float | None = None
    """Of probabilities; of other outputs in units of the range that float takes."""
    max_error: float | None = None
    accuracy: float | None = None
    float_accuracy: float | None = None
    median_ms: float | None = None
    p90_ms: float | None = None
    operators: dict[str, int] = dataclasses.field(default_factory=dict)
    float_operators: dict[str, int] = dataclasses.field(default_factory=dict)
    runtimes: dict[str, str] = dataclasses.field(default_factory=dict)
    """Interpreter -> "runs", "differs" or "fails", and why."""

    @property
    def floats(self) -> int:
        """Operators left in floating point."""
        return sum(self.float_operators.values())

    def value(self, column: str) -> float | None:
        """The number in a column, smaller is better; None where it does not count."""
        if self.status != "runs":
            return None
        if column == "agreement":
            return None if self.agreement is None else -self.agreement
        if column == "mean error":
            return self.mean_error
        if self.agreement is not None and self.agreement < GOOD:
            return None
        return {"size": self.bytes, "latency": self.median_ms, "float operators": self.floats}[column]


@dataclasses.dataclass(frozen=True)
class Lead:
    """A column of a network in which no conversion of affectkit is first or equal."""

    network: str
    column: str
    ours: Row | None
    """The better of them; None if neither has a number."""
    best: Row


def equal(column: str, ours: float, best: float) -> bool:
    """Whether ``ours`` is as good as ``best``, smaller being better."""
    if column == "agreement":
        return ours <= best + EQUAL_AGREEMENT
    return ours <= best * (1 + EQUAL[column]) + (EQUAL_ERROR if column == "mean error" else 0)


def firsts(rows: collections.abc.Sequence[Row], column: str) -> list[str]:
    """Converters of one network that are first or equal in a column."""
    numbers = {row.converter: number for row in rows if row.converter != FLOAT and (number := row.value(column)) is not None}
    best = min(numbers.values(), default=0.0)
    return [converter for converter, number in numbers.items() if equal(column, number, best)]


def leads(rows: collections.abc.Sequence[Row], *, integer: bool = False) -> list[Lead]:
    """Where a peer is ahead of the better of affectkit's two conversions, network by network.

    Args:
        rows: all.
        integer: compare only files of integers throughout.
    """
    found = []
    for network, some in _by_network([row for row in rows if not integer or not row.floats]).items():
        for column in COLUMNS:
            ahead = firsts(some, column)
            if not ahead or any(converter in OURS for converter in ahead):
                continue
            named = {row.converter: row for row in some}
            best = min((named[converter] for converter in ahead), key=lambda row: row.value(column) or 0.0)
            ours = [row for row in some if row.converter in OURS and row.value(column) is not None]
            found.append(Lead(network, column, min(ours, key=lambda row: row.value(column) or 0.0, default=None), best))
    return found


def _by_network(rows: collections.abc.Sequence[Row]) -> dict[str, list[Row]]:
    networks: dict[str, list[Row]] = {}
    for row in rows:
        networks.setdefault(row.network, []).append(row)
    return networks


def summary(rows: collections.abc.Sequence[Row]) -> str:
    """For each converter, in how many networks it runs and is first or equal."""
    networks = _by_network(rows)
    lines = ["| converter | runs | " + " | ".join(COLUMNS) + " | first or equal |", "| --- |" + " ---: |" * (len(COLUMNS) + 2)]
    for converter in dict.fromkeys(row.converter for row in rows if row.converter != FLOAT):
        own = [row for row in rows if row.converter == converter]
        wins = [sum(converter in firsts(some, column) for some in networks.values()) for column in COLUMNS]
        running = sum(row.status == "runs" for row in own)
        chances = len(COLUMNS) * len(networks) - sum(not firsts(some, column) for some in networks.values() for column in COLUMNS)
        lines.append(f"| {converter} | {running} of {len(own)} | " + " | ".join(map(str, wins)) + f" | {sum(wins)} of {chances} |")
    return "\n".join(lines)


def table(rows: collections.abc.Sequence[Row]) -> str:
    """One Markdown table a network; the first or equal in a column is bold."""
    parts = []
    for network, some in _by_network(rows).items():
        bold = {column: firsts(some, column) for column in COLUMNS}
        lines = [
            f"### {network}",
            "",
            "| converter | bytes | agreement | mean error | accuracy | ms | float operators | runs in | s |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
        ]
        lines += [_line(row, bold) for row in some]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(row: Row, bold: dict[str, list[str]]) -> str:
    if row.status != "runs":
        size = "" if row.bytes is None else str(row.bytes)
        return f"| {row.converter} | {size} | | | | | | {row.status}: {_plain(row.why)} | {row.seconds:.0f} |"

    def cell(column: str, text: str) -> str:
        return f"**{text}**" if row.converter in bold[column] else text

    accuracy = "" if row.accuracy is None or row.float_accuracy is None else f"{100 * (row.accuracy - row.float_accuracy):+.1f}"
    cells = [
        row.converter,
        cell("size", str(row.bytes)),
        "" if row.agreement is None else cell("agreement", f"{row.agreement:.1%}"),
        "" if row.mean_error is None else cell("mean error", f"{row.mean_error:.5f}"),
        f"{row.accuracy:.1%}" if row.converter == FLOAT and row.accuracy is not None else accuracy,
        "" if row.median_ms is None else cell("latency", f"{row.median_ms:.3f}"),
        cell("float operators", str(row.floats)) + f" of {sum(row.operators.values())}",
        ", ".join(_where(name, told) for name, told in row.runtimes.items() if not told.startswith("not tried")),
        f"{row.seconds:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _where(runtime: str, told: str) -> str:
    """The reason is in the JSON: it is as long as the rest of the row."""
    return runtime if told == "runs" else f"{runtime}: {told.split(',')[0]}"


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def lead_lines(rows: collections.abc.Sequence[Row], *, integer: bool = False) -> str:
    """``leads`` as a list."""
    lines = []
    for lead in leads(rows, integer=integer):
        ours = "no number" if lead.ours is None else f"{_told(lead.ours, lead.column)} ({lead.ours.converter}: {lead.ours.route})"
        best = f"{_told(lead.best, lead.column)} ({lead.best.converter}: {_plain(lead.best.route)})"
        lines.append(f"- {lead.network}, {lead.column}: {ours}; {best}")
    return "\n".join(lines) or "- nowhere"


def _told(row: Row, column: str) -> str:
    number = row.value(column)
    assert number is not None
    formats = {"size": "{:.0f} bytes", "agreement": "{:.1%}", "mean error": "{:.5f}", "latency": "{:.3f} ms", "float operators": "{:.0f}"}
    return formats[column].format(-number if column == "agreement" else number)
