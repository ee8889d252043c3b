"""What is on a disk after the power went: everything before the last completed flush, and no one knows how much of the rest.

The model of a card. Writes go to a volatile cache and are done at once. A flush that is done has put all of them on the medium, and a
write with FUA is there when it is done. Of all others any may be there, whole, in some of its sectors of 512 bytes, or not at all, in
any order; of two writes to one sector the later one wins if it is there. What was under way when the power went may be there in part,
with FUA or without. A sector is old or new, never a mixture, and what is not written to does not change.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import random
import shutil
import subprocess

from tests.power.writes import DISCARD, FLUSH, FUA, MARK, Entry, Log

TEAR = 512
"""Bytes that a card writes wholly or not at all."""
SMALL = 1 << 20
"""Up to here a disk is copied as any file."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """When the power goes, and the seed of what is lost."""

    done: int
    """So many entries of the log were done; the one behind them was under way."""
    seed: int


def last_flush(entries: collections.abc.Sequence[Entry], done: int) -> int:
    """How many of the first ``done`` entries are certainly on the medium: all before the last flush, and it."""
    return next((at + 1 for at in range(done - 1, -1, -1) if entries[at].flags & FLUSH), 0)


def survivors(entries: collections.abc.Sequence[Entry], cut: Cut) -> collections.abc.Iterator[tuple[Entry, list[tuple[int, int]]]]:
    """Of each entry behind the last flush: which of its bytes, as (from, to), are on the medium; the same for the same cut."""
    random_ = random.Random(cut.seed)
    # From a card that has nearly everything to one that has nearly nothing.
    whole, torn = random_.choice([(1.0, 0.0), (0.0, 0.0), (0.9, 0.05), (0.5, 0.25), (0.1, 0.2), (0.0, 1.0)])
    for at in range(last_flush(entries, cut.done), min(cut.done + 1, len(entries))):
        entry, under_way = entries[at], at == cut.done
        if entry.flags & MARK or entry.length == 0:
            continue
        chance = random_.random()
        if under_way or (whole <= chance < whole + torn and not entry.flags & FUA):
            yield entry, _torn(entry.length, random_)
        elif entry.flags & FUA or chance < whole:
            yield entry, [(0, entry.length)]


def _torn(length: int, random_: random.Random) -> list[tuple[int, int]]:
    pieces = [(at, min(at + TEAR, length)) for at in range(0, length, TEAR)]
    how = random_.randrange(3)
    if how == 2:
        return [piece for piece in pieces if random_.random() < 0.5]
    at = random_.randint(0, len(pieces))
    return pieces[:at] if how == 0 else pieces[at:]


class Replay:
    """Makes disks as cuts leave them, of the disk as it was and the log; cuts must come in order, the earliest first.

    Args:
        log: what the disk was told.
        start: the disk before the first entry.
        work: a folder for the disk as it is at the last flush.
    """

    def __init__(self, log: Log, start: pathlib.Path, work: pathlib.Path):
        self.log = log
        self._disk = work / "flushed.img"
        copy_sparsely(start, self._disk)
        self._applied = 0

    def cut(self, cut: Cut, out: pathlib.Path) -> pathlib.Path:
        """Write the disk as it is after ``cut``."""
        entries, flushed = self.log.entries, last_flush(self.log.entries, cut.done)
        if flushed < self._applied:
            raise ValueError(f"a cut after {cut.done} entries comes after one whose flush was entry {self._applied}; sort them")
        self._apply(self._disk, ((entry, [(0, entry.length)]) for entry in entries[self._applied : flushed]))
        self._applied = flushed
        copy_sparsely(self._disk, out)
        self._apply(out, survivors(entries, cut))
        return out

    def _apply(self, disk: pathlib.Path, changes: collections.abc.Iterable[tuple[Entry, list[tuple[int, int]]]]) -> None:
        with disk.open("r+b") as stream:
            for entry, pieces in changes:
                if entry.flags & MARK or entry.length == 0:
                    continue
                data = bytes(entry.length) if entry.flags & DISCARD else self.log.data(entry)
                for first, behind in pieces:
                    stream.seek(entry.offset + first)
                    stream.write(data[first:behind])


def marks(log: Log) -> list[str]:
    """For each number of entries done, from 0 on, the last mark among them."""
    last, found = "", [""]
    for entry in log.entries:
        last = entry.mark if entry.flags & MARK else last
        found.append(last)
    return found


def random_cuts(phases: collections.abc.Sequence[str], number: int, seed: int, span: range) -> list[Cut]:
    """``number`` cuts in order: half anywhere in ``span``, half with every phase as likely as another, however short.

    Time is counted in what the disk was told: moments at which nothing is written are all the same.

    Args:
        phases: for each number of entries done, what was going on.
        number, seed: of the cuts; the same give the same.
        span: numbers of entries done, of which to choose.
    """
    random_ = random.Random(seed)
    by_phase: dict[str, list[int]] = {}
    for done in span:
        by_phase.setdefault(phases[done], []).append(done)
    chosen = [random_.choice(span) for _ in range(number - number // 2)]
    chosen += [random_.choice(by_phase[random_.choice(list(by_phase))]) for _ in range(number // 2)]
    return [Cut(done, random_.getrandbits(32)) for done in sorted(chosen)]


def copy_sparsely(here: pathlib.Path, there: pathlib.Path) -> None:
    """A copy that shares its blocks where the file system can, with holes where it cannot."""
    if here.stat().st_size > SMALL and shutil.which("cp"):
        done = subprocess.run(["cp", "--reflink=auto", "--sparse=always", str(here), str(there)], capture_output=True, check=False)
        if done.returncode == 0:
            return
    shutil.copyfile(here, there)
