"""A school's keys and three good sticks, one newer than the other: what the tests of both sides of a stick start from."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import hashlib
import json
import pathlib
import shutil
import typing

from edge import embedded
from edge.bundle import load_bundle, write_bundle
from firmware_configs.stick import DAILY, FOLDER, METADATA, TARGETS
from firmware_configs.stick.bundles import Checked, checked
from firmware_configs.stick.keyring import Keyring, create_keys
from firmware_configs.stick.keys import Cost, Opener, new_signer
from firmware_configs.stick.media import write_stick
from firmware_configs.stick.repository import State, build
from firmware_configs.stick.root import Signers

CHEAP = Cost(n=16, r=1, p=1)
"""Of a guess: nothing, so that tests are fast."""
PASSPHRASE = "ten green bottles hanging on the wall"
NOW = datetime.datetime(2030, 6, 1, 12, tzinfo=datetime.UTC)
Edit = collections.abc.Callable[[dict[str, typing.Any]], object]


def ask(whose: str) -> list[str]:
    """The passphrase of every key here."""
    return [PASSPHRASE]


def bundle_of(path: pathlib.Path, version: str) -> pathlib.Path:
    """The embedded bundle under another version, so with another hash; made long ago."""
    good = load_bundle(embedded.BUNDLE)
    manifest = dataclasses.replace(good.manifest, version=version, created="2026-01-01")
    write_bundle(path, manifest, {name: good.part(name) for name in good.manifest.parts})
    return path


@dataclasses.dataclass(frozen=True)
class Workshop:
    """Everything that is needed to make good sticks and bad ones."""

    folder: pathlib.Path
    """Where sticks are made, a folder each."""
    now: datetime.datetime
    """The time at which a kit looks at them."""
    ring: Keyring
    """Two root keys, which must both sign a change of keys."""
    root: pathlib.Path
    """``root.json``, version 1, as the kit has it."""
    old: pathlib.Path
    """A good stick, signed 200 days before ``now``: version 1."""
    good: pathlib.Path
    """A good stick, signed 30 days before ``now``: version 2."""
    newer: pathlib.Path
    """A good stick, signed at ``now``: version 3. What the attacks start from."""
    bundles: tuple[Checked, Checked, Checked]
    """On the three sticks, with another hash each."""
    roots: collections.abc.Mapping[int, bytes]
    signers: Signers
    """The secret keys themselves, of all roles."""
    stranger: Signers
    """Keys of somebody else, of all roles."""

    @property
    def bundle(self) -> Checked:
        """On ``newer``."""
        return self.bundles[2]

    @classmethod
    def make(cls, folder: pathlib.Path, now: datetime.datetime = NOW) -> Workshop:
        """In the empty folder ``folder``; takes about half a second."""
        folder.mkdir(parents=True, exist_ok=True)
        ring = create_keys(folder / "keys", ask, now - datetime.timedelta(days=300), root_keys=2, threshold=2, cost=CHEAP)
        opener = Opener(ask)
        daily = ring.daily(ask)
        sticks, bundles = [], []
        for number, days in enumerate((200, 30, 0), 1):
            bundles.append(checked(bundle_of(folder / f"bundle-{number}.affectkit", f"2030.{number}")))
            signed = now - datetime.timedelta(days=days)
            release = ring.repository.publish(bundles[-1:], daily, signed, days=400, sure=True)
            sticks.append(folder / f"stick-{number}")
            sticks[-1].mkdir()
            write_stick(sticks[-1], release)
        signers = {"root": [opener.open(file) for file in ring.root_files()], **daily}
        stranger = {"root": [new_signer(), new_signer()], **{role: [new_signer()] for role in DAILY}}
        roots = dict(ring.repository.roots)
        return cls(folder, now, ring, folder / "keys" / "root.json", *sticks, tuple(bundles), roots, signers, stranger)  # type: ignore[arg-type]

    def copy(self, name: str, of: pathlib.Path | None = None) -> pathlib.Path:
        """A copy of ``newer``, or of another stick, in a new folder."""
        stick = self.folder / name
        shutil.copytree(of or self.newer, stick, symlinks=True)
        return stick

    def write(
        self,
        name: str,
        bundles: collections.abc.Sequence[Checked] | None = None,
        *,
        signers: Signers | None = None,
        versions: int = 2,
        signed: datetime.datetime | None = None,
        expires: datetime.datetime | None = None,
        roots: collections.abc.Mapping[int, bytes] | None = None,
    ) -> pathlib.Path:
        """A stick with every choice free: versions are one above ``versions``; nothing of it is remembered."""
        signed = signed or self.now
        state = State(dict.fromkeys(("timestamp", "snapshot", "targets"), versions), versions, None)
        ends = expires or signed + datetime.timedelta(days=400)
        release = build(roots or self.roots, bundles or [self.bundle], signers or self.signers, state, signed, ends)
        stick = self.folder / name
        stick.mkdir()
        write_stick(stick, release)
        return stick

    def resign(self, stick: pathlib.Path, role: str, edit: Edit, signers: Signers | None = None) -> None:
        """Changes what one role says on a stick, and signs it and all above it as if it had always been so."""
        signers = signers or self.signers
        path = path_of(stick, role)
        signed = json.loads(path.read_bytes())["signed"]
        edit(signed)
        content = signed_bytes(signed, signers[role])
        path.write_bytes(content)
        above = {"targets": "snapshot", "snapshot": "timestamp"}.get(role)
        if above is not None:
            meta = {"version": signed["version"], "length": len(content), "hashes": {"sha256": hashlib.sha256(content).hexdigest()}}
            self.resign(stick, above, lambda said: said["meta"].update({f"{role}.json": meta}), signers)


def signed_bytes(signed: dict[str, typing.Any], signers: collections.abc.Iterable[typing.Any]) -> bytes:
    """Metadata as a file, whatever ``signed`` says: python-tuf's classes would refuse to make the worst of it."""
    from securesystemslib.formats import encode_canonical

    canonical = encode_canonical(signed).encode("utf-8")
    signatures = [signer.sign(canonical).to_dict() for signer in signers]
    return json.dumps({"signatures": signatures, "signed": signed}, sort_keys=True, separators=(",", ":")).encode("utf-8")


def path_of(stick: pathlib.Path, role: str) -> pathlib.Path:
    """The file of one role on a stick: of the root the newest."""
    folder = stick / FOLDER / METADATA
    if role == "timestamp":
        return folder / "timestamp.json"
    return max(folder.glob(f"*.{role}.json"), key=lambda path: int(path.name.partition(".")[0]))


def target_of(stick: pathlib.Path) -> pathlib.Path:
    """The bundle on a stick."""
    return next((stick / FOLDER / TARGETS).iterdir())
