"""What cuts left, one by one and counted."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses

from tests.power.cuts import Cut

NEITHER = "neither"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one cut left."""

    cut: Cut
    phase: str
    """What was going on."""
    found: str
    """What the next start finds: of an update "old" or "new", of an installation "goes on" or "installed"; or ``NEITHER``."""
    again: str
    """What comes of doing it again: "new", "decides", or what went wrong; empty if it was not tried."""
    file_system: str
    """What e2fsck did besides replaying the journal; empty if nothing."""
    words: str = ""
    """Why neither."""

    @property
    def good(self) -> bool:
        return self.found != NEITHER and self.again in ("new", "decides")

    def line(self) -> str:
        """For whoever watches, and to do it again."""
        told = [f"cut after {self.cut.done} entries, seed {self.cut.seed}", self.phase, self.found]
        told += [words for words in (f"again: {self.again}" if self.again else "", self.words, self.file_system) if words]
        return "; ".join(told)


def table(verdicts: collections.abc.Sequence[Verdict], outcomes: collections.abc.Sequence[str]) -> list[str]:
    """Markdown: a line for each phase, in the order in which they come, with how many cuts ended how."""
    names = [*outcomes, NEITHER]
    counts: dict[str, collections.Counter[str]] = {}
    for one in verdicts:
        counts.setdefault(one.phase, collections.Counter())[one.found] += 1
    lines = [f"| the power goes while it | cuts | {' | '.join(names)} |", f"|---{'|---:' * (len(names) + 1)}|"]
    for phase, counted in counts.items():
        lines.append(f"| {phase} | {counted.total()} | {' | '.join(str(counted[name] or '') for name in names)} |")
    total = sum(counts.values(), collections.Counter())
    lines.append(f"| **all** | **{total.total()}** | {' | '.join(f'**{total[name]}**' for name in names)} |")
    return lines
