"""What the checks share: cards, folders, and a table that outlives a run, so that a part of it can be made again."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
import typing

from base import Base
from facts import Facts


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table."""

    part: str
    """The check that it is of."""
    check: str
    passed: bool
    words: str


@dataclasses.dataclass
class Rig:
    """What the checks share."""

    base: Base
    payload: pathlib.Path
    folder: pathlib.Path
    """Cards and sticks."""
    log: pathlib.Path
    limit_s: float
    """For one boot to the first decision."""
    workshop: pathlib.Path
    """Keys and sticks; the card trusts them."""
    log_writes: pathlib.Path | None = None
    """Folder for all block writes of the first boot and of the update, each with the card as it was before."""
    cuts: int = 2
    """Power cuts during the first boot."""
    lines: list[Line] = dataclasses.field(default_factory=list)
    facts: list[Facts] = dataclasses.field(default_factory=list)
    part: str = ""
    began_s: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def made(self) -> pathlib.Path:
        """The card as the tool made it."""
        return self.folder / "made.img"

    @property
    def installed(self) -> pathlib.Path:
        """The card after its first boot, switched off tidily."""
        return self.folder / "installed.img"

    @property
    def work(self) -> pathlib.Path:
        """The card in the reader."""
        return self.folder / "work.img"

    def logged(self, name: str) -> dict[str, typing.Any]:
        """Options of a ``Machine`` whose block writes are kept, if they are wanted."""
        return {"disk": "virtio", "log_writes": self.log_writes / f"{name}.log"} if self.log_writes else {}

    def begin(self, part: str) -> None:
        """What was found of ``part`` before counts no longer."""
        self.part = part
        self.lines = [line for line in self.lines if line.part != part]
        self.facts = [facts for facts in self.facts if facts.part != part]

    def say(self, check: str, passed: bool, words: str) -> None:
        self.lines.append(Line(self.part, check, passed, " ".join(words.split())))
        print(f"{time.monotonic() - self.began_s:6.0f} s  {'pass' if passed else 'FAIL'}  {check}: {self.lines[-1].words}", flush=True)
        self.keep()

    @property
    def _results(self) -> pathlib.Path:
        return self.log / "results.json"

    def keep(self) -> None:
        """Writes the table down."""
        said = {"lines": [dataclasses.asdict(line) for line in self.lines], "facts": [dataclasses.asdict(facts) for facts in self.facts]}
        self._results.write_text(json.dumps(said, indent=1))

    def go_on(self) -> None:
        """Takes up the table of an earlier run."""
        if self._results.exists():
            said = json.loads(self._results.read_text())
            self.lines = [Line(**line) for line in said["lines"]]
            self.facts = [Facts(**facts) for facts in said["facts"]]
