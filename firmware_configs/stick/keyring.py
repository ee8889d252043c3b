"""The folder of the keys: made once, kept safe, and opened to sign.

::

    keys/READ-ME.txt            what to keep where, in words
         root.json              goes onto the cards: affectkit kit payload --root
         root-XXXXXXXX.key      to be taken away and locked up: signs changes of keys alone
         targets-, snapshot-, timestamp-XXXXXXXX.key    sign every stick
         repository/            numbers of the last stick, and all roots: goes with the keys
"""

from __future__ import annotations

import collections.abc
import contextlib
import datetime
import os
import pathlib
import shutil
import typing

from edge.errors import InputError
from firmware_configs.stick import DAILY
from firmware_configs.stick.keys import Ask, Cost, KeyFile, Opener, Sealer, file_name, find_keys, new_signer
from firmware_configs.stick.repository import FOLDER_NAME, Repository, create, write_file
from firmware_configs.stick.root import Signers, first_root, full_id, next_root, role_of

if typing.TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

ROOT = "root.json"
README = "READ-ME.txt"
MOST_ROOT_KEYS = 9
ALL_KEYS = "all keys"
DAILY_KEYS = "the daily keys"
_README = """Keys of update sticks for classroom kits
========================================

Kits take only sticks that these keys have signed. Whoever has the keys and the passphrase decides what runs on every kit.

root.json            not secret. Goes onto every card: affectkit kit payload --root root.json
{root}
                     {root_words} Needed only to change keys (affectkit kit stick rotate).
                     Copy {them} to a stick of {their} own, lock {that} away, and delete {them} here.
targets-*, snapshot-*, timestamp-*.key
                     Sign every stick. Stay here, on the computer that writes sticks.
repository/          Numbers of the last stick. Kits refuse smaller ones, so it goes wherever the keys go.

Keep a second copy of this folder in another building. Write the passphrase on paper and keep it apart from both.

If something is lost
  a daily key file             affectkit kit stick rotate --role daily, with the root key. Kits follow with the next stick.
  a daily key, stolen          The same at once, and visit every kit: until then the thief can update it.
  the folder repository/       Take it from your copy of this folder, and write to the stick that was written last first:
                               its numbers are read. An older number would be refused by every kit.
{lost}
  all root keys, or their      No key can be changed any more. Sticks work as long as the daily keys and the root last, then
  passphrases                  the cards must be made anew with new keys.
"""


class Keyring:
    """The keys in ``folder``, and those in ``others``, such as the stick with the root key.

    Raises:
        InputError: there are none.
    """

    def __init__(self, folder: pathlib.Path, others: collections.abc.Sequence[pathlib.Path] = ()):
        self.folder, self.others = folder, tuple(others)
        if not folder.is_dir():
            raise InputError(f"{folder}: is no folder; make the keys with `affectkit kit stick init -o {folder}`")
        self.repository = Repository(folder / FOLDER_NAME)
        self._files = find_keys((folder, *self.others))

    def daily(self, ask: Ask) -> Signers:
        """Those that sign a stick: one for each role, which is all that is needed.

        Raises:
            InputError: a key is not there, or no passphrase fits.
        """
        opener = Opener(ask)
        found = {}
        for role in DAILY:
            wanted = self.repository.root.signed.roles[role].keyids
            file = next((self._files[keyid] for keyid in wanted if keyid in self._files), None)
            if file is None:
                names = " or ".join(file_name(role, keyid) for keyid in wanted)
                raise InputError(
                    f"{self.folder}: {names} is missing; take your copy, or make a new one: `affectkit kit stick rotate --role {role}`"
                )
            found[role] = [opener.open(file)]
        return found

    def root_files(self) -> list[KeyFile]:
        """Root keys that count and are at hand."""
        return [self._files[keyid] for keyid in self.repository.root.signed.roles["root"].keyids if keyid in self._files]

    def replace(
        self,
        keyids: collections.abc.Sequence[str],
        ask: Ask,
        ask_new: Ask,
        now: datetime.datetime,
        *,
        threshold: int | None = None,
        cost: Cost | None = None,
    ) -> list[pathlib.Path]:
        """A new version of the root, with new keys in place of ``keyids``; none only renews it. The new key files.

        The files of the keys that no longer count are left alone: whoever has copies has them still.

        Raises:
            InputError: too few root keys are at hand, an ID is unknown, or no passphrase fits.
        """
        before = self.repository.root
        keyids = list(dict.fromkeys(full_id(before.signed, one) for one in keyids))
        signers = self._agreeing(keyids, ask, threshold)
        fresh, sealed, sealers = {}, {}, {}
        for keyid in keyids:
            role = role_of(before.signed, keyid)
            old = self._files.get(keyid)
            whose = self._whose(role, keyid, keyids)
            if whose not in sealers:
                sealers[whose] = Sealer(whose, _first(ask_new(whose), whose), cost)
            fresh[keyid] = new_signer()
            name = file_name(role, fresh[keyid].public_key.keyid)
            # Beside the key that it replaces: a root key that is kept on a stick of its own stays off this computer.
            sealed[(old.path.parent if old else self.folder) / name] = sealers[whose].seal(fresh[keyid], role)
        root = next_root(before, fresh, signers, now, threshold=threshold)
        # Keys before the root that names them: a root whose keys nobody has would be worse than keys that nothing names.
        for path, content in sealed.items():
            _write_secret(path, content)
        write_file(self.folder / ROOT, self.repository.add_root(root))
        self._files = find_keys((self.folder, *self.others))
        return list(sealed)

    def _whose(self, role: str, keyid: str, keyids: collections.abc.Sequence[str]) -> str:
        """Which passphrase seals the successor of a key: that of the key, unless others stay under it, for then there may be two."""
        roles = self.repository.root.signed.roles
        number = list(roles["root"].keyids).index(keyid) + 1 if role == "root" else 0
        one = len(roles["root"].keyids) == 1
        whose = ALL_KEYS if one else f"root key {number}" if number else DAILY_KEYS
        if (file := self._files.get(keyid)) is not None:
            whose = file.whose
        stay = {
            file.whose for other, file in self._files.items() if other not in keyids and any(other in one.keyids for one in roles.values())
        }
        if whose not in stay:
            return whose
        all_daily = all(other in keyids for daily in DAILY for other in roles[daily].keyids)
        return DAILY_KEYS if role in DAILY and all_daily else f"the {role} key"

    def _agreeing(self, keyids: collections.abc.Sequence[str], ask: Ask, threshold: int | None) -> list[CryptoSigner]:
        """As many root keys as a change needs before it and after it: those that stay first, for one that goes may be lost."""
        root = self.repository.root.signed.roles["root"]
        stay = [file for file in self.root_files() if file.keyid not in keyids]
        go = [file for file in self.root_files() if file.keyid in keyids]
        if len(stay) + len(go) < root.threshold:
            raise InputError(
                f"{self.folder}: a change of keys needs {root.threshold} root keys, and {len(stay) + len(go)} are here; bring the folders "
                "with the others: --root-keys-from FOLDER"
            )
        after = (threshold or root.threshold) - sum(keyid in keyids for keyid in root.keyids)
        first = stay[: max(root.threshold, after)]
        opener = Opener(ask)
        return [opener.open(file) for file in (*first, *go[: max(0, root.threshold - len(first))])]


def create_keys(
    folder: pathlib.Path,
    ask: Ask,
    now: datetime.datetime,
    *,
    root_keys: int = 1,
    threshold: int = 1,
    cost: Cost | None = None,
) -> Keyring:
    """Makes the keys: one for each daily role, and ``root_keys`` for the root, all sealed; the folder is whole or not there.

    Args:
        folder: new, or empty.
        ask: whose passphrase -> what to seal with. With one root key one passphrase opens all; with more, each has its own.
        now: from when the root counts.
        root_keys: 1 to 9.
        threshold: root keys that must sign a change of keys.
        cost: of a guess at the passphrase.

    Raises:
        InputError: something is in ``folder``, a passphrase is too short, or the numbers make no sense.
    """
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise InputError(f"{folder}: exists and is not overwritten, for keys that are lost are lost for all kits; give a new folder")
    if not 1 <= root_keys <= MOST_ROOT_KEYS:
        raise InputError(f"--root-keys {root_keys}: 1 to {MOST_ROOT_KEYS} make sense")
    if not 1 <= threshold <= root_keys:
        raise InputError(f"--threshold {threshold}: with {root_keys} root keys it is 1 to {root_keys}")
    daily = ALL_KEYS if root_keys == 1 else DAILY_KEYS
    whose = [ALL_KEYS] if root_keys == 1 else [f"root key {number}" for number in range(1, root_keys + 1)]
    sealers = {name: Sealer(name, _first(ask(name), name), cost) for name in dict.fromkeys((daily, *whose))}
    signers = {"root": [new_signer() for _ in range(root_keys)], **{role: [new_signer()] for role in DAILY}}
    root = first_root(signers, threshold, now)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        partial.mkdir(mode=0o700)
        names = []
        for role, ones in signers.items():
            for number, signer in enumerate(ones):
                name = file_name(role, signer.public_key.keyid)
                _write_secret(partial / name, sealers[whose[number] if role == "root" else daily].seal(signer, role))
                names += [name] if role == "root" else []
        create(partial / FOLDER_NAME, root)
        write_file(partial / ROOT, root.to_bytes())
        write_file(partial / README, _readme(names, threshold).encode())
        for path in (partial, *partial.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
        partial.rename(folder)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: cannot be made ({error.strerror or error}); give a folder of your own") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Keyring(folder)


def _readme(names: list[str], threshold: int) -> str:
    several = len(names) > 1
    return _README.format(
        root="\n".join(names),
        root_words=f"Secret; {threshold} of {len(names)} must agree." if several else "Secret.",
        them="each" if several else "it",
        their="its",
        that="each" if several else "it",
        lost="  one root key of several      affectkit kit stick revoke ID, with as many of the others as must agree."
        if several
        else "  the root key, stolen         affectkit kit stick rotate --role all, at once, and visit every kit.",
    )


def _first(passphrases: collections.abc.Iterable[str], whose: str) -> str:
    found = next(iter(passphrases), None)
    if found is None:
        raise InputError(f"passphrase of {whose}: none was given")
    return found


def _write_secret(path: pathlib.Path, content: bytes) -> None:
    """A new file that only its owner can read, from its first byte on."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            if not isinstance(error, FileExistsError):
                path.unlink()
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
