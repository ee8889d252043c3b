"""A live view in the terminal; where there is no terminal, one line at the start and nothing that a log could choke on."""

from __future__ import annotations

import collections.abc
import time
import typing

from edge.outputs import Opening, Timing
from edge.types import MODALITIES, Decision, Event

if typing.TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

BAR_CELLS = 24
PARTS = " ▏▎▍▌▋▊▉█"
"""Eighths of a cell."""
REFRESH_S = 0.2
"""Shortest time between two drawings: at real pace every decision is drawn, at fast pace some are."""


def bar(share: float, cells: int = BAR_CELLS, *, ascii_only: bool = False) -> str:
    """``share`` in [0, 1] as a bar of ``cells`` characters, in eighths of a cell."""
    eighths = round(min(max(share, 0.0), 1.0) * cells * 8)
    full, part = divmod(eighths, 8)
    if ascii_only:
        return ("#" * full).ljust(cells, ".")
    return ("█" * full + (PARTS[part] if part else "")).ljust(cells)


def lines_of(
    opening: Opening, decision: Decision, timing: Timing, misses: int, *, event: str = "", ascii_only: bool = False
) -> collections.abc.Iterator[tuple[str, str]]:
    """The view as (text, style) pairs, a line each."""
    if opening.recording:
        yield f"  RECORDING pictures and sound of everybody in reach, to {opening.recording}", "bold white on red"
    elapsed_s = (decision.t_ns - opening.start_ns) / 1e9
    left = ""
    if opening.duration_ns is not None:
        duration_s = opening.duration_ns / 1e9
        left = f" of {duration_s:.0f} s, {max(0.0, duration_s - elapsed_s):.0f} s left"
    yield f"{opening.bundle}  |  {', '.join(opening.sources)}  |  {elapsed_s:.0f} s{left}", "dim"
    yield "", ""
    said = decision.label or decision.state
    style = {"decided": "bold green", "unsure": "yellow", "no decision": "red"}[decision.state]
    confidence = f"{bar(decision.confidence, ascii_only=ascii_only)} {decision.confidence:4.2f}" if decision.state != "no decision" else ""
    yield f"  {said:<12}{confidence}", style
    yield "", ""
    for modality in MODALITIES:
        absence = decision.absent.get(modality)
        if absence is None:
            weight = decision.weights.get(modality, 0.0)
            age_ms = (decision.t_ns - decision.ends_ns.get(modality, decision.t_ns)) / 1e6
            yield f"  {modality:<12}{bar(weight, ascii_only=ascii_only)} {weight:4.2f}   {age_ms:5.0f} ms old", "cyan"
        else:
            yield f"  {modality:<12}{absence.reason}: {absence.detail}", "dim red"
    yield "", ""
    latency = "   -" if timing.latency_ns is None else f"{timing.latency_ns / 1e6:4.0f}"
    yield f"  latency {latency} ms   response {timing.response_ns / 1e6:4.0f} of {opening.budget_ms} ms   misses {misses}", "dim"
    if event:
        yield f"  {event}", "yellow"


class Console:
    """Draws every decision on a terminal, at most once in ``REFRESH_S``; elsewhere says only how the run begins.

    Args:
        stream: where to draw; a terminal or not.
        now_s: paces the drawing by the clock on the wall; it decides nothing.
    """

    def __init__(self, stream: typing.TextIO, *, now_s: typing.Callable[[], float] = time.monotonic):
        self._stream = stream
        self._now_s = now_s
        self._drawn_s = float("-inf")
        self._misses = 0
        self._event = ""
        self._opening: Opening | None = None
        self._live: Live | None = None
        self._ascii_only = False

    def open(self, opening: Opening) -> None:
        self._opening = opening
        self._ascii_only = "utf" not in (getattr(self._stream, "encoding", None) or "").lower()
        if not self._stream.isatty():
            pace = "fast" if opening.fast else "real time"
            print(f"affectkit: {opening.bundle} on {', '.join(opening.sources)}, {pace}", file=self._stream, flush=True)
            return
        from rich.console import Console as Terminal
        from rich.live import Live

        terminal = Terminal(file=self._stream, highlight=False)
        self._live = Live(console=terminal, auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def give(self, decision: Decision, timing: Timing) -> None:
        self._misses += timing.skipped + timing.missed
        if self._live is None or self._opening is None:
            return
        now_s = self._now_s()
        if now_s - self._drawn_s >= REFRESH_S:
            self._drawn_s = now_s
            self._live.update(self._view(self._opening, decision, timing), refresh=True)

    def note(self, event: Event) -> None:
        if event.kind == "plan" and self._live is None:
            print(f"affectkit: plan: {event.detail}", file=self._stream, flush=True)
        else:
            self._event = f"{event.kind}: {event.detail}"

    def _view(self, opening: Opening, decision: Decision, timing: Timing) -> Text:
        from rich.text import Text

        lines = lines_of(opening, decision, timing, self._misses, event=self._event, ascii_only=self._ascii_only)
        return Text("\n", no_wrap=True, overflow="ellipsis", end="").join(Text(line, style) for line, style in lines)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
