"""The root: which keys sign what, and the chain of its versions (The Update Framework, section 4.3; rotation: 6.1)."""

from __future__ import annotations

import collections.abc
import copy
import datetime
import typing

from edge.errors import InputError
from firmware_configs.stick import ROLES, SPEC_VERSION
from firmware_configs.stick.times import ROOT_DAYS, whole

if typing.TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata, Root

Signers = collections.abc.Mapping[str, collections.abc.Sequence["CryptoSigner"]]
"""Role -> its keys."""


def first_root(signers: Signers, threshold: int, now: datetime.datetime) -> Metadata[Root]:
    """Version 1, signed by every root key.

    Args:
        signers: of all four roles.
        threshold: root keys that must sign a change of keys; one key is enough for the other roles.
        now: from when it counts.
    """
    from tuf.api.metadata import Metadata, Root

    if not 1 <= threshold <= len(signers["root"]):
        raise InputError(f"--threshold {threshold}: with {len(signers['root'])} root keys it is 1 to {len(signers['root'])}")
    root = Root(version=1, spec_version=SPEC_VERSION, expires=_end(now), consistent_snapshot=True)
    for role in ROLES:
        for signer in signers[role]:
            root.add_key(signer.public_key, role)
    root.roles["root"].threshold = threshold
    metadata = Metadata(root)
    sign(metadata, signers["root"])
    return metadata


def next_root(
    before: Metadata[Root],
    replaced: collections.abc.Mapping[str, CryptoSigner],
    root_signers: collections.abc.Sequence[CryptoSigner],
    now: datetime.datetime,
    *,
    threshold: int | None = None,
) -> Metadata[Root]:
    """The version after ``before``: with new keys for some, a new end, and the signatures of old and new root keys.

    Args:
        before: the newest root.
        replaced: ID of a key that no longer counts -> the key in its place.
        root_signers: the root keys of ``before`` that are at hand.
        now: from when it counts.
        threshold: root keys that must sign the change after this; default: as before.

    Raises:
        InputError: too few root keys are at hand: the message says how many are missing.
    """
    from tuf.api.metadata import Metadata

    root = copy.deepcopy(before.signed)
    root.version += 1
    root.expires = _end(now)
    fresh = []
    for keyid, signer in replaced.items():
        role = role_of(root, keyid)
        # In its place, so that what lists the keys keeps its order.
        ids = [signer.public_key.keyid if one == keyid else one for one in root.roles[role].keyids]
        root.revoke_key(keyid, role)
        root.add_key(signer.public_key, role)
        root.roles[role].keyids = ids
        if role == "root":
            fresh.append(signer)
    if threshold is not None:
        root.roles["root"].threshold = threshold
    if not 1 <= root.roles["root"].threshold <= len(root.roles["root"].keyids):
        raise InputError(f"--threshold {threshold}: there are {len(root.roles['root'].keyids)} root keys")
    metadata = Metadata(root)
    sign(metadata, [*root_signers, *fresh])
    for wanted, which in ((before.signed, "before"), (root, "after it")):
        result = wanted.get_verification_result("root", metadata.signed_bytes, metadata.signatures)
        if not result.verified:
            raise InputError(
                f"a change of keys needs {result.threshold} root keys of those that count {which}, and {len(result.signed)} are at hand: "
                "bring the folders with the others (--root-keys-from FOLDER)"
            )
    return metadata


def role_of(root: Root, keyid: str) -> str:
    """The role of a key. InputError if the root has none of that ID."""
    for name, role in root.roles.items():
        if keyid in role.keyids:
            return name
    known = ", ".join(one[:8] for role in root.roles.values() for one in role.keyids)
    raise InputError(f"{keyid[:64]}: no key of this ID counts; those that do begin with {known}")


def full_id(root: Root, beginning: str) -> str:
    """The one key ID that begins so. InputError if there is none, or several."""
    found = [one for role in root.roles.values() for one in role.keyids if one.startswith(beginning.lower())]
    if len(set(found)) != 1 or len(beginning) < 4:
        return role_of(root, beginning) if not found else _ambiguous(beginning)
    return found[0]


def sign(metadata: Metadata[typing.Any], signers: collections.abc.Iterable[CryptoSigner]) -> None:
    """Signs with each of ``signers``, in place of whatever signatures there were."""
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)


def _ambiguous(beginning: str) -> typing.NoReturn:
    raise InputError(f"{beginning}: several keys begin so, or fewer than 4 letters were given; give more of the ID")


def _end(now: datetime.datetime) -> datetime.datetime:
    return whole(now) + datetime.timedelta(days=ROOT_DAYS)
