"""What a kit would make of a stick: the kit's own verification, run on the workstation."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import pathlib
import tempfile

from edge.errors import InputError
from firmware_configs.stick.bundles import Checked, checked
from firmware_configs.stick.repository import read_metadata
from firmware_configs.stick.times import root_warning, stick_warning


@dataclasses.dataclass(frozen=True)
class Answer:
    """A stick that a kit takes."""

    bundles: tuple[tuple[int, Checked], ...]
    """Serial and bundle, the newest first."""
    signed_at: datetime.datetime
    expires: datetime.datetime
    warnings: tuple[str, ...]
    """Of ends that are near."""


def check(
    stick: pathlib.Path, root: pathlib.Path, now: datetime.datetime, *, after: pathlib.Path | None = None, within: float = 0.0
) -> Answer:
    """Verifies a stick as a kit does that knows ``root`` and the time.

    Args:
        stick: where it is mounted.
        root: ``root.json`` as it went onto the kit's card.
        now: what the kit's clock says.
        after: a stick that the kit has taken before; none by default.
        within: steps by which golden vectors may differ here.

    Raises:
        InputError: the kit would refuse it, and why.
    """
    from firmware_configs.stick.keys import needed
    from firmware_configs.update import media, trust
    from firmware_configs.update.clock import KitClock

    needed()
    if not hasattr(os, "O_DIRECTORY"):
        raise InputError("kit stick check: the kit's verification runs on Linux and macOS alone; check the stick on such a computer")
    if not root.is_file():
        raise InputError(f"{root}: is no file; give the root.json that went onto the kit's card")
    if not media.has_folder(stick, trust.FOLDER):
        raise InputError(f"{stick}: has no {trust.FOLDER}: a kit would take nothing from it; write one with `affectkit kit stick write`")
    with tempfile.TemporaryDirectory(prefix="affectkit-check-") as folder:
        inside = pathlib.Path(folder)
        known, trusted = inside / "clock.json", inside / "metadata"
        clock = KitClock(known, built_in=(), now=lambda: now, synchronized=lambda: True)
        if after is not None:
            trust.keep(trust.verify(after, root, trusted, clock), trusted, clock)
        verified = trust.verify(stick, root, trusted, clock)
        bundles = []
        for offer in verified.offers:
            copy = inside / pathlib.PurePosixPath(offer.path).name
            with media.opened(stick, offer.path, offer.bytes) as (file, _), copy.open("wb") as out:
                digest = hashlib.sha256()
                while data := os.read(file, media.BLOCK):
                    digest.update(data)
                    out.write(data)
                if (out.tell(), digest.hexdigest()) != (offer.bytes, offer.sha256):
                    raise InputError(f"{offer.path}: is not what was signed: cut short or changed; write the stick again")
            bundles.append((offer.serial, checked(copy, within=within)))
            copy.unlink()
    timestamp = read_metadata(verified.files["timestamp.json"], "timestamp", "timestamp.json").signed
    ends = [read_metadata(verified.files[f"{role}.json"], role, f"{role}.json").signed.expires for role in ("snapshot", "targets")]
    roots = [name for name in verified.files if name.endswith(".root.json")]
    newest = max(roots, key=lambda name: int(name.partition(".")[0]), default=None)
    last = read_metadata(verified.files[newest] if newest else root.read_bytes(), "root", newest or str(root)).signed
    expires = min(timestamp.expires, *ends)
    warnings = (stick_warning(expires, now), root_warning(last.expires, now))
    return Answer(tuple(bundles), verified.signed_at, expires, tuple(one for one in warnings if one))
