"""The folder that goes onto every card: gathered beside its name, and renamed when it is whole.

::

    payload.json        what is in it, with the hash of every file; what the proof saw
    install.sh, .py     what puts it onto the device
    requirements.txt    wheels, pinned by hash
    wheels/             for the device's Python; affectkit's own, and pip's to install them with
    debs/               Debian packages and their index, if there are any
    bundle.affectkit, kit.toml, board.conf, root.json
    system/etc, usr     as they land on the device
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import tempfile
import typing

from edge import __version__, embedded
from edge.errors import InputError
from firmware_configs import boards
from firmware_configs.payload import own, wheels
from firmware_configs.payload.cache import sha256_of
from firmware_configs.payload.pip import Device
from firmware_configs.progress import Progress, silent
from firmware_configs.unpack import told_if_full

MANIFEST = "payload.json"
MOST_BYTES = 250_000_000
"""What a kit may take on the device beyond the system."""
CHANGED_LATER = ("kit.toml", "install.log", "first-boot.log")
"""Not in the list of files: replaced on a card, or written there."""
_HOME = pathlib.Path(__file__).resolve().parent.parent
SETTINGS = _HOME / "etc" / "affectkit" / "kit.toml"
_INSTALLER = _HOME / "boot" / "firmware" / "affectkit"
_MOST_ROOT_BYTES = 512 << 10


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a payload is to be made of."""

    board: str
    os: boards.OsName
    bundle: pathlib.Path = embedded.BUNDLE
    settings: pathlib.Path = SETTINGS
    root: pathlib.Path | None = None
    """TUF's root metadata, for update sticks."""
    wheel: pathlib.Path | None = None
    """affectkit's own, if it is not to be built."""
    like: pathlib.Path | None = None
    """An earlier payload: the same versions of all that it has."""

    @property
    def facts(self) -> boards.OsFacts:
        board = boards.named(self.board)
        if self.os not in board.os:
            raise InputError(f"board {self.board}: has no {self.os}; it has {', '.join(board.os)}")
        return board.os[self.os]


@dataclasses.dataclass(frozen=True)
class Made:
    """A payload, before or after it has its name."""

    folder: pathlib.Path
    by_package: collections.abc.Mapping[str, int]
    """Bytes on the device of each package, the largest first, as they are unpacked."""
    proved: collections.abc.Mapping[str, typing.Any] | None = None
    """What the proof saw."""

    @property
    def footprint_bytes(self) -> int:
        return sum(self.by_package.values())

    @property
    def bytes(self) -> int:
        """On the card's boot partition."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


Tell = collections.abc.Callable[[str], Progress]
"""Called with what begins; gives the progress of it."""
Debian = collections.abc.Callable[[pathlib.Path], "tuple[tuple[str, ...], collections.abc.Mapping[str, int]]"]
"""Fills a folder with Debian packages; the names to install, and the bytes of each package once unpacked."""
Prove = collections.abc.Callable[[pathlib.Path], "dict[str, typing.Any] | None"]
"""Installs the payload in a folder somewhere; what was seen, None if that cannot be done here."""


def make(
    wanted: Wanted,
    out: pathlib.Path,
    debian: Debian | None = None,
    prove: Prove | None = None,
    tell: Tell = lambda what: silent,
    now: collections.abc.Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> Made:
    """Makes the payload in the new folder ``out``; nothing is left there if that fails.

    Raises:
        InputError: ``out`` exists, something that was given is wrong, something cannot be fetched, it would take more than
            ``MOST_BYTES`` of the device, or the disk is full.
    """
    _refuse(out)
    check(wanted)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        with told_if_full(out):
            partial.chmod(0o755)
            made = _gather(wanted, partial, debian, tell, now)
            if prove is not None:
                made = dataclasses.replace(made, proved=prove(partial))
                _write_manifest(partial, _manifest(partial) | {"proved": made.proved})
            _sync(partial)
            _refuse(out)
            partial.rename(out)
        return dataclasses.replace(made, folder=out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check(wanted: Wanted) -> None:
    """InputError if something that was given cannot be in a payload: looked at before anything is fetched."""
    from edge.bundle import load_bundle
    from edge.config import load_settings

    _ = wanted.facts
    load_bundle(wanted.bundle)
    load_settings(wanted.settings)
    if wanted.root is not None:
        refuse_no_root(wanted.root)
    if wanted.like is not None:
        wheels.versions_of(wanted.like)


def refuse_no_root(path: pathlib.Path) -> None:
    """InputError unless ``path`` is TUF's root metadata (TUF specification 1.0.33, section 4.3)."""
    try:
        if path.stat().st_size > _MOST_ROOT_BYTES:
            raise ValueError("too large")
        signed = json.loads(path.read_text(encoding="utf-8"))["signed"]
        roles = set(signed["roles"])
        if signed["_type"] != "root" or not {"root", "timestamp", "snapshot", "targets"} <= roles:
            raise ValueError("another kind of metadata")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no root metadata of update sticks ({error}); give the root.json of `affectkit kit stick`") from error


def _gather(
    wanted: Wanted,
    folder: pathlib.Path,
    debian: Debian | None,
    tell: Tell,
    now: collections.abc.Callable[[], datetime.datetime],
) -> Made:
    from edge.bundle import load_bundle

    by_package = dict(_wheels(wanted, folder, tell))
    names: tuple[str, ...] = ()
    if debian is not None:
        (debs := folder / "debs").mkdir()
        names, found = debian(debs)
        if not names:
            shutil.rmtree(debs)
        by_package |= {f"{name} (Debian)": size for name, size in found.items()}
    shutil.copyfile(wanted.bundle, folder / "bundle.affectkit")
    shutil.copyfile(wanted.settings, folder / "kit.toml")
    (folder / "board.conf").write_text(boards.named(wanted.board).drop_in(), encoding="utf-8")
    if wanted.root is not None:
        shutil.copyfile(wanted.root, folder / "root.json")
    _copy_installer(folder)
    by_package["system files, bundle"] = sum(
        path.stat().st_size for part in ("system", "bundle.affectkit") for path in _files(folder / part)
    )
    made = Made(folder, dict(sorted(by_package.items(), key=lambda item: -item[1])))
    if made.footprint_bytes > MOST_BYTES:
        most = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in list(made.by_package.items())[:3])
        raise InputError(
            f"the kit would take {made.footprint_bytes / 1e6:.0f} MB of the device, {MOST_BYTES / 1e6:.0f} are allowed; most are {most}"
        )
    manifest: dict[str, typing.Any] = {
        "format": 1,
        "affectkit": __version__,
        "built": now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "os": wanted.os,
        "board": wanted.board,
        "model": boards.named(wanted.board).model,
        "machine": "aarch64",
        "python": wanted.facts.python,
        "debian": list(names),
        "bundle_sha256": load_bundle(folder / "bundle.affectkit").sha256,
        "footprint_bytes": made.footprint_bytes,
        "proved": None,
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in sorted(_files(folder))
            if path.relative_to(folder).as_posix() not in (MANIFEST, *CHANGED_LATER)
        },
    }
    _write_manifest(folder, manifest)
    return made


def _wheels(wanted: Wanted, folder: pathlib.Path, tell: Tell) -> collections.abc.Iterator[tuple[str, int]]:
    """Fills ``wheels`` and writes ``requirements.txt``; the bytes of each package."""
    device = Device(wanted.os, wanted.facts)
    (into := folder / "wheels").mkdir()
    progress = tell("building affectkit's wheel")
    mine = own.own_wheel(into, wanted.wheel)
    progress(1.0)
    progress = tell(f"choosing wheels for {wanted.os}")
    needed = wheels.resolve(mine, device, wheels.versions_of(wanted.like) if wanted.like else ())
    progress(1.0)
    found = [wheels.of_file(mine), *wheels.fetch(needed, device, into, tell("fetching wheels"))]
    # pip installs the others and is not installed itself.
    lines = [wheel.line for wheel in found if wheel.name != "pip"]
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")
    for wheel in found:
        if wheel.name != "pip":
            yield wheel.name, wheels.unpacked_bytes(into / wheel.file)


def _copy_installer(folder: pathlib.Path) -> None:
    for path in sorted(_INSTALLER.glob("*")):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for part in ("etc", "usr"):
        shutil.copytree(_HOME / part, folder / "system" / part, ignore=ignored, copy_function=shutil.copyfile)
    # Settings are the kit's own, and never overwritten there.
    (folder / "system" / "etc" / "affectkit" / "kit.toml").unlink()


def _files(where: pathlib.Path) -> list[pathlib.Path]:
    return [where] if where.is_file() else [path for path in where.rglob("*") if path.is_file()]


def _manifest(folder: pathlib.Path) -> dict[str, typing.Any]:
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))


def _write_manifest(folder: pathlib.Path, manifest: dict[str, typing.Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _sync(folder: pathlib.Path) -> None:
    for path in _files(folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refuse(out: pathlib.Path) -> None:
    if out.exists() or out.is_symlink():
        raise InputError(f"{out}: exists and is not overwritten; delete it or write elsewhere (what was fetched for it is in the cache)")
