"""The bundles of a kit: which runs, which is known to be good, and how the one becomes the other without a moment of neither.

A rename is atomic (rename(2)); it lasts once its folder is synced (fsync(2), notes). The order of the steps of a trial::

    bundle into bundles/    trial.json    current -> new    ... a minute of decisions ...    good -> new    no trial.json
                                                            ... or none ...    current -> good               no trial.json

A trial.json that names another bundle than current was cut off before or after, and counts for nothing.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
import shutil
import typing

from edge import embedded
from edge.archive import dump_json, parse_json
from edge.errors import BundleError, InputError

CURRENT, GOOD, TRIAL = "current.affectkit", "good.affectkit", "trial.json"
MOST_STARTS = 3
"""Starts of the kit with a bundle on trial; the next one is with the good bundle."""
_NAME = re.compile(r"[0-9a-f]{32}\.affectkit")
_LITTLE = 4096


@dataclasses.dataclass(frozen=True)
class Trial:
    """What trial.json says."""

    bundle: str
    """Name of its file."""
    starts: int
    """Of the kit, since it is on trial."""


class Store:
    """The folder of bundles. Every method that changes it holds a lock, so a start of the kit and an update cannot cross.

    Args:
        folder: ``/srv/affectkit``, or another one in a test.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.bundles = folder / "bundles"
        self.update = folder / "update"
        self.partial = self.update / "partial"

    # --- what there is --------------------------------------------------------------------------------------------------

    def target(self, link: str) -> str | None:
        """Name of the bundle that ``CURRENT`` or ``GOOD`` points to; None if the link is missing or points elsewhere."""
        try:
            name = os.readlink(self.bundles / link)
        except OSError:
            return None
        return name if _NAME.fullmatch(name) else None

    def trial(self) -> Trial | None:
        """What is on trial: None also where trial.json was left behind by a power cut, or cannot be read."""
        try:
            content = (self.bundles / TRIAL).read_bytes()[:_LITTLE]
        except OSError:
            return None
        try:
            fields = parse_json(content, where=TRIAL, kind=InputError)
            trial = Trial(fields.text("bundle"), fields.whole("starts"))
        except InputError:
            return None
        current = self.target(CURRENT)
        return trial if trial.bundle == current and current != self.target(GOOD) else None

    def sound(self, name: str | None) -> bool:
        """Whether the bundle ``name`` is there, whole, and what its name says."""
        from edge.bundle import load_bundle

        if name is None:
            return False
        path = self.bundles / name
        try:
            return not path.is_symlink() and file_name(load_bundle(path).sha256) == name
        except BundleError:
            return False

    # --- changes --------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the folders that are missing."""
        for folder in (self.bundles, self.update, self.partial):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                sync_folder(folder.parent)

    @contextlib.contextmanager
    def locked(self) -> collections.abc.Iterator[None]:
        """Alone with the bundles: for moments, never while waiting for anything."""
        self.prepare()
        handle = os.open(self.bundles, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def begin_trial(self, arrived: pathlib.Path, sha256: str) -> str:
        """Put a checked bundle in place of the current one, on trial.

        Args:
            arrived: the file, on the same file system; it is moved.
            sha256: of the bundle, as ``Bundle.sha256``.

        Returns:
            Its name.
        """
        name = file_name(sha256)
        with self.locked():
            arrived.chmod(0o644)
            sync_file(arrived)
            os.replace(arrived, self.bundles / name)
            sync_folder(self.bundles)
            sync_folder(arrived.parent)
            self._write_trial(Trial(name, 0))
            self._point(CURRENT, name)
        return name

    def count_start(self) -> Trial | None:
        """Count a start of the kit with the bundle on trial; None if none is."""
        with self.locked():
            trial = self.trial()
            if trial is not None:
                trial = Trial(trial.bundle, trial.starts + 1)
                self._write_trial(trial)
            return trial

    def confirm(self) -> bool:
        """The bundle on trial gave decisions: it is the good one from now on, and only the one before it is kept besides.

        Returns:
            False if nothing was on trial: somebody else has settled it.
        """
        with self.locked():
            trial, before = self.trial(), self.target(GOOD)
            if trial is None:
                return False
            self._point(GOOD, trial.bundle)
            self._end_trial()
            self._prune({trial.bundle, before})
            return True

    def fall_back(self) -> str:
        """The good bundle runs again in place of the one on trial, or another whole one; its name."""
        with self.locked():
            trial = self.trial()
            return self._recover() if trial is None else self._replace(trial.bundle)

    def recover(self) -> str:
        """Whatever a power cut or a worn card left: afterwards current is a whole bundle; its name.

        The current one if it is whole; else the good one; else any that is whole; else the one that affectkit brings.
        """
        with self.locked():
            return self._recover()

    def _recover(self) -> str:
        current, good = self.target(CURRENT), self.target(GOOD)
        if self.sound(current):
            assert current is not None
            if self.trial() is None:
                if good is None or not self.sound(good):
                    self._point(GOOD, current)
                self._end_trial()
            return current
        return self._replace(current)

    def _replace(self, unwanted: str | None) -> str:
        """Point current and good to a whole bundle that is not ``unwanted``; its name."""
        good = self.target(GOOD)
        others = sorted((path for path in self.bundles.iterdir() if _NAME.fullmatch(path.name)), key=_age, reverse=True)
        candidates = (each for each in (good, *(path.name for path in others)) if each not in (None, unwanted))
        name = next((each for each in candidates if self.sound(each)), None) or self._embedded()
        self._point(CURRENT, name)
        if name != good:
            self._point(GOOD, name)
        self._end_trial()
        if unwanted is not None and unwanted != name and not self.sound(unwanted):
            (self.bundles / unwanted).unlink(missing_ok=True)
            sync_folder(self.bundles)
        return name

    def _embedded(self) -> str:
        """Copy in the bundle that affectkit brings; its name."""
        from edge.bundle import load_bundle

        name = file_name(load_bundle(embedded.BUNDLE).sha256)
        with open(embedded.BUNDLE, "rb") as source, replacing(self.bundles / name) as stream:
            shutil.copyfileobj(source, stream)
        return name

    def _point(self, link: str, name: str) -> None:
        beside_it = self.bundles / f".{link}.new"
        beside_it.unlink(missing_ok=True)
        os.symlink(name, beside_it)
        os.replace(beside_it, self.bundles / link)
        sync_folder(self.bundles)

    def _write_trial(self, trial: Trial) -> None:
        write_file(self.bundles / TRIAL, dump_json(dataclasses.asdict(trial)))

    def _end_trial(self) -> None:
        if (self.bundles / TRIAL).exists():
            (self.bundles / TRIAL).unlink()
            sync_folder(self.bundles)

    def _prune(self, keep: collections.abc.Container[str | None]) -> None:
        """Remove bundles but those in ``keep`` and those that run or are good, and what was left half written."""
        kept = {self.target(CURRENT), self.target(GOOD)}
        clear_torn(self.bundles)
        for path in list(self.bundles.iterdir()):
            if _NAME.fullmatch(path.name) and path.name not in kept and path.name not in keep:
                path.unlink()
        sync_folder(self.bundles)


def file_name(sha256: str) -> str:
    """What a bundle is called in the store."""
    return f"{sha256[:32]}.affectkit"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> collections.abc.Iterator[typing.BinaryIO]:
    """A file to write that takes the place of ``path`` once it is on the card: a power cut leaves the old or the new one.

    Unlike ``edge.archive.beside`` it writes over what a process of its own number left half written: after a power cut numbers come again,
    in much the same order.
    """
    writing = path.with_name(f".{path.name}.writing-{os.getpid()}")
    writing.unlink(missing_ok=True)
    try:
        with open(os.open(writing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(writing, path)
    except OSError:
        with contextlib.suppress(OSError):
            writing.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_file(path: pathlib.Path, content: bytes) -> None:
    """Replace a small file. Raises OSError."""
    with replacing(path) as stream:
        stream.write(content)


def clear_torn(folder: pathlib.Path) -> None:
    """Remove what ``replacing`` had not finished when the power went, or the process was killed."""
    for path in list(folder.iterdir()):
        if path.name.startswith(".") and ".writing-" in path.name:
            path.unlink(missing_ok=True)


def sync_file(path: pathlib.Path) -> None:
    """Its content is on the card."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: pathlib.Path) -> None:
    """Its names are on the card."""
    sync_file(folder)


def _age(path: pathlib.Path) -> tuple[float, str]:
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name
