"""Power cuts during an update from a stick: ``affectkit kit take`` on a real kernel and ext4, recorded once, cut a hundred times.

In the same recording are two updates as they should not be (``inside_update.py``): the rig must find the cuts that they do not outlive,
or it would prove nothing by finding none for the kit's own.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import pathlib
import re
import shutil
import sys

from edge.bundle import load_bundle
from edge.errors import EdgeError
from firmware_configs.update.store import CURRENT, Store
from tests.firmware_configs.stick.workshop import Workshop
from tests.power import tree
from tests.power.cuts import Cut, Replay, marks, random_cuts
from tests.power.machine import CannotError, Machine, disk_bytes, make_disk, record
from tests.power.service import StandIn, decides, next_start, take_stick
from tests.power.verdict import Verdict
from tests.power.writes import FLUSH, Log, read_log

MEGABYTES = 256
"""From 129 on a file system has a copy of its super block, as that of a kit (512) has."""
WAYS = ("in-place", "unsynced", "kit")
FAULTS = {
    "in-place": "the new bundle written over the old one, every 64 KiB synced",
    "unsynced": "a new file and a link switched to it, the old one removed, and nothing synced",
}
SUPER_BLOCK_ENDS = 2048
_PHASES = (
    (r"begin .* kit$", "before the first change"),
    (r"^run .*probe", "tries out what the bundle computes"),
    (r"^run .* edge run ", "starts the kit with the new bundle"),
    (r"update/metadata", "keeps what the stick's keys signed"),
    (r"clock\.json", "keeps the stick's time"),
    (r"rename \S*update/partial", "moves the bundle into place"),
    (r"update/partial", "copies the bundle"),
    (r"serials\.json", "notes the bundle's number"),
    (r"remove \S*/trial\.json", "ends the trial"),
    (r"trial\.json", "notes the trial"),
    (r"current", "switches to the new bundle"),
    (r"good", "confirms the new bundle"),
    (r"last\.json", "notes the result"),
    (r"end .*", "after the last change"),
)
"""A word in the log -> what the update is at."""


def phase(mark: str) -> str:
    """What the update is at, of the last word that it left."""
    return next((words for pattern, words in _PHASES if re.search(pattern, mark)), mark)


@dataclasses.dataclass(frozen=True)
class Material:
    """What the update is made of."""

    folder: pathlib.Path
    old: str
    """SHA-256 of the bundle that the kit has."""
    new: str
    """SHA-256 of that on the stick."""

    @classmethod
    def make(cls, folder: pathlib.Path) -> Material:
        """Bundles, keys, sticks and the disk's image in ``folder``."""
        shutil.rmtree(folder, ignore_errors=True)
        shop = Workshop.make(folder / "workshop")
        out = folder / "out"
        out.mkdir(parents=True)
        old, new = shop.bundles[0], shop.bundles[2]
        files = {"old.affectkit": old.bundle.path, "new.affectkit": new.bundle.path, "root.json": shop.root}
        for name, path in files.items():
            shutil.copyfile(path, out / name)
        (out / "kit.toml").write_text("")
        (out / "led").mkdir()
        shutil.copytree(shop.newer, out / "stick")
        shutil.copytree(shop.good, out / "older-stick")
        disk = folder / "disk"
        for way in ("in-place", "unsynced"):
            (disk / way).mkdir(parents=True)
            shutil.copyfile(out / "old.affectkit", disk / way / "old.affectkit")
            (disk / way / CURRENT).symlink_to("old.affectkit")
        store = Store(disk / "store")
        store.prepare()
        shutil.copyfile(out / "old.affectkit", store.bundles / f"{old.bundle.sha256[:32]}.affectkit")
        store.recover()
        make_disk(folder / "start.img", MEGABYTES, disk)
        return cls.load(folder)

    @classmethod
    def load(cls, folder: pathlib.Path) -> Material:
        """What ``make`` has left in ``folder``."""
        return cls(folder, *(load_bundle(folder / "out" / f"{name}.affectkit").sha256 for name in ("old", "new")))

    def record(self, machine: Machine, limit_s: float) -> Log:
        """Run all three updates in the machine. CannotError if that does not come to its end."""
        out = self.folder / "out"
        shutil.copyfile(self.folder / "start.img", self.folder / "disk.img")
        words = f"{sys.executable} -m tests.power.marked tests.power.inside_update {out}"
        # behind each faulty one so long that the kernel has written everything (vm.dirty_expire_centisecs: 30 s)
        script = f"{words} in-place && sleep 40 && {words} unsynced && sleep 40 && {words} kit"
        status = record(machine, self.folder / "disk.img", self.folder / "log.img", ["sh", "-c", script], out, limit_s)
        if status != 0:
            raise CannotError(f"the update in the machine {'took too long' if status is None else f'ended with {status}'}; see {out}")
        return self.log()

    def log(self) -> Log:
        return read_log(self.folder / "log.img").split(disk_bytes(self.folder / "start.img"))


def spans(log: Log) -> dict[str, range]:
    """Way -> numbers of entries done, from its beginning to that of the next."""
    begins = {way: next(at for at, mark in enumerate(marks(log)) if re.search(f"begin .* {way}$", mark)) for way in WAYS}
    ends = [*list(begins.values())[1:], len(log.entries) + 1]
    return {way: range(first, end) for (way, first), end in zip(begins.items(), ends, strict=True)}


def chosen(log: Log, way: str, number: int, seed: int) -> list[Cut]:
    """Where to cut ``way``."""
    return random_cuts([phase(mark) for mark in marks(log)], number, seed, spans(log)[way])


def super_block_cuts(log: Log, way: str, each: int) -> list[Cut]:
    """``each`` cuts at every moment at which a write of the super block is done and not yet flushed: it lies in no journal."""
    cuts, written = [], False
    for at, entry in enumerate(log.entries):
        written = (written or (entry.writes and entry.offset < SUPER_BLOCK_ENDS)) and not entry.flags & FLUSH
        if written and at + 1 in spans(log)[way]:
            cuts += [Cut(at + 1, seed) for seed in range(each)]
    return cuts


def not_whole(material: Material, log: Log, cuts: collections.abc.Iterable[Cut]) -> collections.abc.Iterator[Verdict]:
    """Of ``cuts`` those after which the data partition cannot be mounted."""
    work = material.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    replay = Replay(log, material.folder / "start.img", work)
    for cut in cuts:
        checked = tree.check(replay.cut(cut, work / "cut.img"))
        if not checked.whole:
            yield Verdict(cut, "super block", "neither", "", checked.words, "its file system needs a person")


def judged(material: Material, log: Log, way: str, cuts: collections.abc.Iterable[Cut]) -> collections.abc.Iterator[Verdict]:
    """Cut ``way``, see what starts, and put the stick in again."""
    work = material.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    phases = [phase(mark) for mark in marks(log)]
    replay = Replay(log, material.folder / "start.img", work)
    known: dict[str, tuple[str, str, str]] = {}
    for cut in cuts:
        image = replay.cut(cut, work / "cut.img")
        checked = tree.check(image)
        if not checked.whole:
            yield Verdict(cut, phases[cut.done], "neither", "", checked.words, "its file system needs a person")
            continue
        folder = tree.extract(image, "/store" if way == "kit" else f"/{way}", work / "tree")
        left = tree.digest(tree.contents(folder))  # what two cuts left alike is judged once
        if left not in known:
            known[left] = _kit(material, folder) if way == "kit" else _faulty(material, folder)
        bundle, again, said = known[left]
        yield Verdict(cut, phases[cut.done], bundle, again, checked.words, said)


def which(path: pathlib.Path, material: Material) -> tuple[str, str]:
    """Old, new or neither, and why."""
    try:
        sha256 = load_bundle(path).sha256
    except EdgeError as error:
        return "neither", str(error)
    return {material.old: "old", material.new: "new"}.get(sha256, "neither"), sha256


def _faulty(material: Material, folder: pathlib.Path) -> tuple[str, str, str]:
    bundle, said = which(folder / CURRENT, material)
    return bundle, "", said if bundle == "neither" else ""


def _kit(material: Material, store: pathlib.Path) -> tuple[str, str, str]:
    """The next start of the kit on the files that are left, then the stick once more: which, what then, why."""
    out = material.folder / "out"
    service = StandIn(store, material.folder / "work" / "runs")
    if status := next_start(store, material.folder / "work"):
        return "neither", "", f"choose-bundle ends with {status}"
    current = service.store.bundles / CURRENT
    bundle, said = which(current, material)
    if bundle == "neither" or not decides(current, material.folder / "work" / "runs"):
        return "neither", "", said if bundle == "neither" else f"the {bundle} bundle gives no decisions"
    if torn := [path.name for path in (store / "update").rglob("*.json") if not _parses(path)]:
        return bundle, f"torn: {', '.join(torn)}", ""
    result = take_stick(service, out / "stick", out / "root.json", out / "kit.toml")
    now, said = which(current, material)
    if result.exit_status or now != "new" or service.store.trial() is not None:
        return bundle, f"{result.outcome}: {result.line}", said
    older = take_stick(service, out / "older-stick", out / "root.json", out / "kit.toml")
    if older.outcome != "refused" or which(current, material)[0] != "new":
        return bundle, f"an older stick is taken: {older.line}", said
    return bundle, "new", ""


def _parses(path: pathlib.Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
