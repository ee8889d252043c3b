"""Sticks and kits for tests: a repository signed with keys made here, and a kit whose service does as it is told."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import pathlib
import shutil
import typing

from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

import firmware_configs
from edge import embedded
from edge.bundle import load_bundle, write_bundle
from firmware_configs.update.clock import KitClock
from firmware_configs.update.probe import Probed
from firmware_configs.update.service import Led, State
from firmware_configs.update.store import Store
from firmware_configs.update.take import Kit
from firmware_configs.update.trial import before_start

ROOT = pathlib.Path(firmware_configs.__file__).resolve().parent.parent
NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
ROLES = {"root": Root, "timestamp": Timestamp, "snapshot": Snapshot, "targets": Targets}


@functools.cache
def signer(name: str) -> typing.Any:
    """A key of that name, the same within a test run."""
    from securesystemslib.signer import CryptoSigner

    return CryptoSigner.generate_ed25519()


def bundle(path: pathlib.Path, version: str, **changes: typing.Any) -> pathlib.Path:
    """The embedded bundle under another version."""
    source = load_bundle(embedded.BUNDLE)
    parts = {name: source.part(name) for name in source.manifest.parts}
    write_bundle(path, dataclasses.replace(source.manifest, version=version, **changes), parts, overwrite=True)
    return path


class Repository:
    """What the workstation has, in little: every role with its key, and a stick written from it."""

    def __init__(self, *, expires: datetime.datetime = NOW + datetime.timedelta(days=400), keys: str = "school"):
        self.keys, self.expires = keys, expires
        self.signed_at = NOW
        self.version, self.root_version = 0, 1
        self.targets: dict[str, TargetFile] = {}
        self.files: dict[str, pathlib.Path] = {}
        self.roots: dict[int, bytes] = {}
        self.write_root()

    def write_root(self, keys: str | None = None) -> bytes:
        """The root of this version, signed by the keys of now and of before."""
        before, self.keys = self.keys, keys or self.keys
        root = Root(version=self.root_version, expires=self.expires + datetime.timedelta(days=3000), consistent_snapshot=True)
        for role in ROLES:
            root.add_key(signer(f"{self.keys}-{role}").public_key, role)
        metadata = Metadata(root)
        metadata.sign(signer(f"{self.keys}-root"))
        if before != self.keys:
            metadata.sign(signer(f"{before}-root"), append=True)
        self.roots[self.root_version] = metadata.to_bytes()
        return self.roots[self.root_version]

    def rotate(self, keys: str) -> None:
        """Other keys for all roles."""
        self.root_version += 1
        self.write_root(keys)

    def add(self, path: pathlib.Path, serial: int, name: str | None = None) -> None:
        """A bundle, which takes the place of those before."""
        content = path.read_bytes()
        name = name or path.name
        target = TargetFile(len(content), {"sha256": hashlib.sha256(content).hexdigest()}, name, {"custom": {"serial": serial}})
        self.targets, self.files = {name: target}, {name: path}

    def signed(self, role: typing.Any) -> bytes:
        metadata = Metadata(role)
        metadata.sign(signer(f"{self.keys}-{role.type}"))
        return metadata.to_bytes()

    def write(self, stick: pathlib.Path) -> pathlib.Path:
        """A stick in the folder ``stick``, of the next version."""
        self.version += 1
        folder = stick / "affectkit-update"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        targets = Targets(version=self.version, expires=self.expires, targets=self.targets)
        snapshot = Snapshot(version=self.version, expires=self.expires)
        snapshot.meta["targets.json"].version = self.version
        timestamp = Timestamp(version=self.version, expires=self.expires)
        timestamp.snapshot_meta.version = self.version
        timestamp.unrecognized_fields["signed_at"] = self.signed_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        for number, content in self.roots.items():
            (folder / f"metadata/{number}.root.json").write_bytes(content)
        (folder / "metadata/timestamp.json").write_bytes(self.signed(timestamp))
        (folder / f"metadata/{self.version}.snapshot.json").write_bytes(self.signed(snapshot))
        (folder / f"metadata/{self.version}.targets.json").write_bytes(self.signed(targets))
        for name, path in self.files.items():
            shutil.copyfile(path, folder / f"targets/{self.targets[name].hashes['sha256']}.{name}")
        return stick


class FakePause:
    """Time that passes only while somebody waits, and tells its service of it."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self.told: list[typing.Callable[[], None]] = []

    def now_s(self) -> float:
        return self.time_s

    def wait(self, seconds: float) -> None:
        self.time_s += seconds
        for tell in self.told:
            tell()


class FakeService:
    """``affectkit.service`` under systemd, as far as an update sees it: what it does depends on the bundle that current points to.

    Each start runs what ExecStartPre= runs, so a bundle on trial is counted as on a kit. ``dies`` holds the names of bundles with which it
    crashes before the first decision; with those in ``refuses`` it ends with status 2; with those in ``hangs`` it decides for 20 s, and is
    then ended by the watchdog and started anew.
    """

    def __init__(self, store: Store, pause: FakePause):
        self.store, self.pause = store, pause
        self.dies: set[str] = set()
        self.refuses: set[str] = set()
        self.hangs: set[str] = set()
        self.active, self.result, self.status, self.since_s = "inactive", "success", 0, 0.0
        self.starts: list[str] = []
        self.asked: list[tuple[str, ...]] = []
        pause.told.append(self.pass_time)

    def start(self) -> bool:
        """One start: ExecStartPre=, then the program."""
        before_start(self.store, lambda command, _: (self.asked.append(tuple(command)) or 0, ""))
        name = self.store.target("current.affectkit") or ""
        self.starts.append(name)
        self.status, self.result = 0, "success"
        if name in self.refuses:
            self.active, self.result, self.status = "failed", "exit-code", 2
        elif name in self.dies:
            self.active, self.result = "activating", "signal"
        else:
            self.active, self.since_s = "active", self.pause.now_s()
        return self.active == "active"

    restart = start

    def pass_time(self) -> None:
        """Restart=always, and the watchdog."""
        hung = self.active == "active" and self.starts[-1] in self.hangs and self.pause.now_s() - self.since_s > 50
        if self.active == "activating" or hung:
            self.start()

    def state(self) -> State:
        decided_s = self.pause.now_s() - self.since_s
        if self.active == "active" and self.starts[-1] in self.hangs:
            decided_s = min(decided_s, 20.0)
        entered = round(self.since_s * 1e6)
        watchdog = entered + round(decided_s * 1e6) if self.active == "active" else 0
        return State(self.active, self.result, self.status, entered, watchdog, 0)


def passes(path: pathlib.Path, config: pathlib.Path | None = None) -> Probed:
    """A probe that asks nothing but what the bundle is called: for tests of what comes before and after."""
    made = load_bundle(path)
    return Probed(made.manifest.name, made.manifest.version, made.sha256, "none", {}, {}, 0.1, 1.0, 200, 250, (), (), 20, 60.0)


def clock(folder: pathlib.Path, now: datetime.datetime = NOW, *, synchronized: bool = True, built: datetime.date | None = None) -> KitClock:
    """A kit's clock that stands still."""
    day = built or datetime.date(2026, 1, 1)
    return KitClock(folder / "clock.json", built_in=(), now=lambda: now, synchronized=lambda: synchronized, built_on=lambda: day)


def kit(folder: pathlib.Path, root: bytes, *, probe: typing.Any = passes, at: KitClock | None = None) -> Kit:
    """A kit that runs the embedded bundle, in ``folder``."""
    store = Store(folder / "srv")
    store.recover()
    (folder / "run").mkdir()
    (folder / "root.json").write_bytes(root)
    pause = FakePause()
    service = FakeService(store, pause)
    service.start()
    pause.wait(100)
    return Kit(store, at or clock(store.update), service, pause, Led(folder / "run"), folder / "root.json", folder / "kit.toml", probe)
