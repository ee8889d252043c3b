"""The repository in the folder of the keys: all roots, and the newest state that was signed; every stick is a copy of a newer one.

Versions only ever rise (The Update Framework, section 6.2 to 6.5): a kit refuses a stick whose numbers are below those that it has seen.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import hashlib
import pathlib
import re
import typing

from edge.archive import beside
from edge.errors import InputError
from firmware_configs.stick import FOLDER, METADATA, SPEC_VERSION, TARGETS
from firmware_configs.stick.bundles import Checked
from firmware_configs.stick.root import Signers, sign
from firmware_configs.stick.times import MOST_DAYS, as_date, as_text, from_text, refuse_wrong_clock, whole

if typing.TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Targets

FOLDER_NAME = "repository"
_VERSIONED = re.compile(r"([1-9][0-9]{0,9})\.(root|snapshot|targets)\.json")
_MOST_BYTES = 4 << 20
Content = bytes | pathlib.Path


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a stick."""

    content: Content
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Release:
    """What goes onto a stick: path -> file, the timestamp last, for without it nothing else counts."""

    version: int
    """Of the timestamp."""
    serials: collections.abc.Mapping[str, int]
    """Target -> its number."""
    expires: datetime.datetime
    files: collections.abc.Mapping[str, File]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())


@dataclasses.dataclass(frozen=True)
class State:
    """Numbers that the next release must be above."""

    versions: collections.abc.Mapping[str, int]
    """Of timestamp, snapshot and targets; 0 where there is none yet."""
    serial: int
    signed_at: datetime.datetime | None


class Repository:
    """``folder`` holds ``metadata/``.

    Raises:
        InputError: there is none, or it is damaged.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._metadata = folder / METADATA
        self.roots = self._roots()
        """Version -> content, from 1 without a gap."""
        self.root: Metadata[Root] = read_metadata(self.roots[max(self.roots)], "root", str(self._path("root", max(self.roots))))

    def state(self) -> State:
        """Of the newest release."""
        return read_state(self._metadata)

    def add_root(self, root: Metadata[Root]) -> bytes:
        """Keeps a new version of the root; its content."""
        content = root.to_bytes()
        write_file(self._path("root", root.signed.version), content)
        self.roots[root.signed.version], self.root = content, root
        return content

    def publish(
        self,
        bundles: collections.abc.Sequence[Checked],
        signers: Signers,
        now: datetime.datetime,
        *,
        days: int,
        above: State | None = None,
        sure: bool = False,
    ) -> Release:
        """A new release of exactly these bundles. It is kept here before anything is on a stick, so no number is given twice.

        Args:
            bundles: with a name each.
            signers: of targets, snapshot and timestamp.
            now: this computer's time; a kit's clock never goes behind it again.
            days: for which it counts.
            above: numbers to go above as well, such as those on the stick.
            sure: ``now`` is right although long after the last release.

        Raises:
            InputError: two bundles have one name, ``days`` makes no sense, the clock cannot be right, or the root has ended.
        """
        now = whole(now)
        refuse_twice(bundles)
        state = highest(self.state(), above)
        if not 1 <= days <= MOST_DAYS:
            raise InputError(f"--expires-days {days}: 1 to {MOST_DAYS} make sense")
        made = [datetime.datetime.fromisoformat(one.bundle.manifest.created).replace(tzinfo=datetime.UTC) for one in bundles]
        refuse_wrong_clock(now, state.signed_at, sure=sure)
        refuse_wrong_clock(now, max(made), sure=True)
        if self.root.signed.is_expired(now):
            raise InputError(f"the root ended on {as_date(self.root.signed.expires)}; run `affectkit kit stick rotate --only-renew` first")
        release = build(self.roots, bundles, signers, state, now, now + datetime.timedelta(days=days))
        self._keep(release)
        return release

    def _keep(self, release: Release) -> None:
        before = [path for path in self._metadata.iterdir() if _VERSIONED.fullmatch(path.name) and ".root." not in path.name]
        for place, file in release.files.items():
            name = place.rpartition("/")[2]
            if isinstance(file.content, bytes) and ".root." not in name:
                write_file(self._metadata / name, file.content)
        for path in before:
            if f"{FOLDER}/{METADATA}/{path.name}" not in release.files:
                path.unlink()

    def _roots(self) -> dict[int, bytes]:
        try:
            listed = [_VERSIONED.fullmatch(path.name) for path in self._metadata.iterdir()]
            versions = sorted(int(match[1]) for match in listed if match and match[2] == "root")
            roots = {version: self._path("root", version).read_bytes() for version in versions}
        except OSError as error:
            raise InputError(
                f"{self._metadata}: cannot be read ({error.strerror or error}); give the folder that `affectkit kit stick init` made"
            ) from error
        if versions != list(range(1, len(versions) + 1)) or not versions:
            raise InputError(f"{self._metadata}: roots are missing, it has {versions}; copy the folder back from where you keep a copy")
        return roots

    def _path(self, role: str, version: int) -> pathlib.Path:
        return self._metadata / f"{version}.{role}.json"


def create(folder: pathlib.Path, root: Metadata[Root]) -> None:
    """A new repository with its first root."""
    (folder / METADATA).mkdir(parents=True)
    write_file(folder / METADATA / f"{root.signed.version}.root.json", root.to_bytes())


def build(
    roots: collections.abc.Mapping[int, bytes],
    bundles: collections.abc.Sequence[Checked],
    signers: Signers,
    state: State,
    now: datetime.datetime,
    expires: datetime.datetime,
) -> Release:
    """Signs a release with the numbers after those of ``state``; no clock is read and nothing is written."""
    from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

    version = {role: number + 1 for role, number in state.versions.items()}
    files, targets, serials = {}, {}, {}
    for serial, one in enumerate(bundles, state.serial + 1):
        manifest = one.bundle.manifest
        custom = {
            "kind": "bundle",
            "name": manifest.name,
            "version": manifest.version,
            "created": manifest.created,
            "bundle_sha256": one.bundle.sha256,
            "cadence_ms": manifest.cadence_ms,
            "budget_ms": manifest.budget_ms,
            "serial": serial,
        }
        targets[one.target] = TargetFile(one.bytes, {"sha256": one.sha256}, one.target, {"custom": custom})
        serials[one.target] = serial
        files[f"{FOLDER}/{TARGETS}/{one.sha256}.{one.target}"] = File(one.bundle.path, one.bytes, one.sha256)
    lists = Metadata(Targets(version["targets"], SPEC_VERSION, expires, targets))
    sign(lists, signers["targets"])
    listed = lists.to_bytes()
    snapshot = Metadata(Snapshot(version["snapshot"], SPEC_VERSION, expires, {"targets.json": _meta(version["targets"], listed)}))
    sign(snapshot, signers["snapshot"])
    shot = snapshot.to_bytes()
    newest: MetaFile = _meta(version["snapshot"], shot)
    timestamp = Metadata(Timestamp(version["timestamp"], SPEC_VERSION, expires, newest, {"signed_at": as_text(now)}))
    sign(timestamp, signers["timestamp"])
    metadata = {f"{number}.root.json": content for number, content in sorted(roots.items())}
    metadata |= {f"{version['targets']}.targets.json": listed, f"{version['snapshot']}.snapshot.json": shot}
    metadata["timestamp.json"] = timestamp.to_bytes()
    for name, content in metadata.items():
        files[f"{FOLDER}/{METADATA}/{name}"] = File(content, len(content), hashlib.sha256(content).hexdigest())
    return Release(version["timestamp"], serials, expires, files)


def _meta(version: int, content: bytes) -> typing.Any:
    from tuf.api.metadata import MetaFile

    return MetaFile(version, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


def refuse_twice(bundles: collections.abc.Sequence[Checked]) -> None:
    """InputError if there is no bundle, or two have one name: a kit could not tell which it is to take."""
    seen: dict[str, Checked] = {}
    for one in bundles:
        other = seen.setdefault(one.target.casefold(), one)
        if other is not one:
            raise InputError(f"{other.bundle.path} and {one.bundle.path}: both are named {one.bundle.manifest.name}; give one of them")
    if not seen:
        raise InputError("no bundle was given")


def read_state(folder: pathlib.Path) -> State:
    """Numbers of the metadata in ``folder``, from what they hold and from how they are named; signatures are not looked at."""
    versions, serial, signed_at = {"timestamp": 0, "snapshot": 0, "targets": 0}, 0, None
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        match = _VERSIONED.fullmatch(path.name)
        role = match[2] if match else path.name.removesuffix(".json")
        if role not in versions:
            continue
        content = read_bytes(path)
        metadata = read_metadata(content, role, str(path))
        versions[role] = max(versions[role], metadata.signed.version, int(match[1]) if match else 0)
        if role == "targets":
            serial = max(serial, *serials_of(metadata).values(), 0)
        if role == "timestamp":
            try:
                signed_at = from_text(metadata.signed.unrecognized_fields.get("signed_at"))
            except ValueError as error:
                raise InputError(f"{path}: does not say when it was signed; copy the folder back from where you keep a copy") from error
    return State(versions, serial, signed_at)


def state_on(stick: pathlib.Path, root: Root) -> State | None:
    """Numbers of what is on a stick, if ``root`` has signed for it: where the folder of the keys is an old copy, the stick knows better.

    None if there is nothing, or nothing of ours: a stranger's numbers count for nothing.
    """
    from tuf.api.exceptions import RepositoryError

    folder = stick / FOLDER / METADATA
    try:
        for path in (*folder.glob("*.snapshot.json"), *folder.glob("*.targets.json"), folder / "timestamp.json"):
            if path.is_symlink() or not path.is_file():
                return None
            role = path.name.split(".")[-2]
            metadata = read_metadata(read_bytes(path), role, str(path))
            root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        return read_state(folder)
    except (RepositoryError, InputError, ValueError):
        return None


def highest(state: State, other: State | None) -> State:
    """The larger of each number."""
    if other is None:
        return state
    times = [one for one in (state.signed_at, other.signed_at) if one]
    versions = {role: max(number, other.versions[role]) for role, number in state.versions.items()}
    return State(versions, max(state.serial, other.serial), max(times, default=None))


def serials_of(targets: Metadata[Targets]) -> dict[str, int]:
    """Target -> serial, of those that have one."""
    found = {name: (target.custom or {}).get("serial") for name, target in targets.signed.targets.items()}
    return {name: serial for name, serial in found.items() if type(serial) is int}


def read_metadata(content: bytes, role: str, where: str) -> Metadata[typing.Any]:
    """Metadata of one role, its signatures not looked at. InputError if it is none."""
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    try:
        found: Metadata[typing.Any] = Metadata.from_bytes(content)
        if found.signed.type != role:
            raise ValueError(f"is {found.signed.type} metadata, not {role}")
        return found
    except (RepositoryError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: is damaged, or no {role} metadata; take your copy of it") from error


def read_bytes(path: pathlib.Path) -> bytes:
    """A small file; what is longer than any metadata is cut, and then is none."""
    try:
        with path.open("rb") as stream:
            return stream.read(_MOST_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_file(path: pathlib.Path, content: bytes) -> None:
    """Writes beside, syncs and renames."""
    with beside(path, overwrite=True, kind=InputError) as stream:
        stream.write(content)
