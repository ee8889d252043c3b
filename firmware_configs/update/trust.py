"""What a stick may say: its metadata verified against the keys that this kit trusts, by The Update Framework's client workflow.

Specification 1.0.33, section 5.3 to 5.6 (https://theupdateframework.github.io/specification/); the checks themselves are python-tuf's
``TrustedMetadataSet``, fed with files of the stick. Its ``Updater`` is not used: it knows no reference time but the system clock's, and
writes while it goes; here nothing is kept before all four roles are verified.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import datetime
import pathlib
import re
import typing

from edge.bundle import LIMITS
from edge.errors import InputError
from firmware_configs.stick import FOLDER, METADATA, SUFFIX, TARGETS
from firmware_configs.update import media
from firmware_configs.update.clock import KitClock, as_date, from_text
from firmware_configs.update.store import write_file

if typing.TYPE_CHECKING:
    from tuf.api.metadata import TargetFile, Timestamp
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

MOST_ROOTS = 64
"""Changes of keys that a kit follows at once."""
MOST_BYTES = {"root": 128 << 10, "timestamp": 16 << 10, "snapshot": 64 << 10, "targets": 512 << 10}
SLACK = datetime.timedelta(days=1)
"""By which the clock of the computer that made the stick may be ahead."""
_TARGET = re.compile(r"[a-z0-9][a-z0-9._+-]{0,80}" + re.escape(SUFFIX))
_AGAIN = "make the stick again with `affectkit kit stick`"


@dataclasses.dataclass(frozen=True)
class Offer:
    """A bundle that a verified stick has."""

    path: str
    """Of the file on the stick, relative to it."""
    bytes: int
    sha256: str
    """Of the whole file."""
    serial: int
    """Counts up; a kit never goes down."""
    called: str = ""
    """For people: the target's name."""
    name: str = ""
    """Of the bundle, as its manifest says; "" if the stick does not tell."""
    bundle_sha256: str = ""
    """As ``Bundle.sha256``; "" if the stick does not tell."""


@dataclasses.dataclass(frozen=True)
class Verified:
    """What a stick may say."""

    offers: tuple[Offer, ...]
    """The newest first."""
    signed_at: datetime.datetime
    files: collections.abc.Mapping[str, bytes]
    """What to keep, by its name in the folder of trusted metadata."""


def verify(stick: pathlib.Path, anchor: pathlib.Path, trusted: pathlib.Path, clock: KitClock) -> Verified:
    """Verify the metadata of a stick; nothing is written.

    Args:
        stick: where it is mounted.
        anchor: ``/etc/affectkit/root.json``, whose keys this kit trusts first.
        trusted: the folder of what has been verified before.
        clock: what time it is.

    Raises:
        InputError: in one line that says what to do: unsigned, wrongly signed, older than what the kit has seen, expired, mixed, damaged.
    """
    from tuf.api import exceptions

    known, files = _root(stick, anchor, trusted)
    known.reference_time = clock.reference()
    if known.root.is_expired(known.reference_time):
        raise InputError("the keys that this kit trusts have expired; write a new stick with newer keys (`affectkit kit stick rotate`)")
    _load_kept(known.update_timestamp, trusted, "timestamp")
    with _refusing("timestamp", clock):
        data = _read(stick, "timestamp.json", "timestamp")
        try:
            known.update_timestamp(data)
        except exceptions.EqualVersionNumberError:
            # Taken before, or twins of one number: the one that is kept counts (section 5.4.3.1).
            data = _kept(trusted, "timestamp") or data
            if known.timestamp.is_expired(known.reference_time):
                raise exceptions.ExpiredMetadataError("timestamp.json is expired") from None
        files["timestamp.json"] = data
        signed_at = _signed_at(known.timestamp, clock)
    _load_kept(lambda data: known.update_snapshot(data, trusted=True), trusted, "snapshot")
    with _refusing("snapshot", clock):
        about = known.timestamp.snapshot_meta
        files["snapshot.json"] = _read(stick, f"{about.version}.snapshot.json", "snapshot")
        known.update_snapshot(files["snapshot.json"])
    with _refusing("targets", clock):
        version = known.snapshot.meta["targets.json"].version
        files["targets.json"] = _read(stick, f"{version}.targets.json", "targets")
        known.update_targets(files["targets.json"])
    offers = [_offer(path, target) for path, target in known.targets.targets.items()]
    return Verified(tuple(sorted(offers, key=lambda offer: (-offer.serial, offer.path))), signed_at, files)


def keep(verified: Verified, trusted: pathlib.Path, clock: KitClock) -> None:
    """Remember what was verified. Each file is old or new after a power cut; the order is that of the workflow, so that any cut is safe."""
    if not trusted.is_dir():
        trusted.mkdir(mode=0o700, parents=True)
    for name, data in verified.files.items():
        if _content(trusted / name) != data:
            write_file(trusted / name, data)
    clock.raise_to(verified.signed_at)


def _root(stick: pathlib.Path, anchor: pathlib.Path, trusted: pathlib.Path) -> tuple[TrustedMetadataSet, dict[str, bytes]]:
    """Sections 5.2 and 5.3: from the root that came with the kit, over those kept, to the newest on the stick."""
    from tuf.api import exceptions
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
    from tuf.ngclient.config import EnvelopeType

    content = _content(anchor)
    if content is None:
        raise InputError(f"{anchor}: is not there, so this kit takes no sticks; make its card with a payload that has --root")
    try:
        known = TrustedMetadataSet(content, EnvelopeType.METADATA)
    except (exceptions.RepositoryError, ValueError) as error:
        raise InputError(f"{anchor}: cannot be read ({_said(error)}); make the card again") from error
    files: dict[str, bytes] = {}
    for _ in range(MOST_ROOTS):
        name = f"{known.root.version + 1}.root.json"
        if (data := _kept(trusted, name.removesuffix(".json"))) is not None:
            try:
                known.update_root(data)
                continue
            except (exceptions.RepositoryError, ValueError):
                pass  # of other keys than the kit came with, or damaged: the stick's counts
        try:
            data = _read(stick, name, "root")
        except media.Gone:
            return known, files
        with _refusing("root", None):
            known.update_root(data)
        files[name] = data
    return known, files


def _load_kept(load: collections.abc.Callable[[bytes], object], trusted: pathlib.Path, role: str) -> None:
    """Load what has been verified before, against going back: it counts though expired, and a damaged one is as none (section 5.4.3)."""
    from tuf.api import exceptions

    data = _kept(trusted, role)
    with contextlib.suppress(exceptions.RepositoryError, ValueError, KeyError, TypeError, AttributeError):
        if data is not None:
            load(data)


class _refusing:  # noqa: N801 - a context manager, used as a word
    """Turn what python-tuf raises about one role into a line that a teacher can act on."""

    def __init__(self, role: str, clock: KitClock | None):
        self._role, self._clock = role, clock

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from tuf.api import exceptions

        if error is None or isinstance(error, InputError):
            return
        where = f"the stick's {_CALLED.get(self._role, self._role)}"
        if isinstance(error, exceptions.ExpiredMetadataError) and self._clock is not None:
            now = as_date(self._clock.reference())
            sure = "" if self._clock.trusted else ", or later"
            line = f"{where} has expired: for this kit it is {now}{sure}; write a new stick with `affectkit kit stick`"
        elif isinstance(error, exceptions.BadVersionNumberError) and self._role in ("timestamp", "root"):
            line = f"{where} is older than what this kit has seen; ask for a newer stick"
        elif isinstance(error, exceptions.BadVersionNumberError):
            line = f"{where} does not belong to the rest: files of two sticks are mixed; {_AGAIN}"
        elif isinstance(error, exceptions.UnsignedMetadataError):
            line = f"{where} is not signed with the keys that this kit trusts; use a stick from whom the kit came from"
        elif isinstance(error, exceptions.LengthOrHashMismatchError):
            line = f"{where} is not what was signed: cut short, changed or of another stick; {_AGAIN}"
        elif isinstance(error, (exceptions.RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError)):
            line = f"{where} cannot be read ({_said(error)}); {_AGAIN}"
        else:
            return
        raise InputError(line) from error


_CALLED = {"targets": "list of bundles", "root": "list of keys"}


def _signed_at(timestamp: Timestamp, clock: KitClock) -> datetime.datetime:
    """When the stick was signed: it must be before it expires, and not in the future where that can be told."""
    try:
        signed_at = from_text(timestamp.unrecognized_fields.get("signed_at"))
    except ValueError:
        raise InputError(f"the stick's timestamp does not say when it was signed; {_AGAIN}") from None
    if signed_at > timestamp.expires:
        raise InputError(f"the stick's timestamp was signed after it expires; set the clock of the computer that made it, and {_AGAIN}")
    if clock.trusted and signed_at > clock.reference() + SLACK:
        raise InputError(
            f"the stick is signed on {as_date(signed_at)}, in the future; set the clock of the computer that made it, and {_AGAIN}"
        )
    return signed_at


def _offer(path: str, target: TargetFile) -> Offer:
    """A target of ours: its name cannot lead anywhere, and its length and hash are known before it is read."""
    if not _TARGET.fullmatch(path):
        raise InputError(f"the stick's list of bundles names {path!r:.80}, which is no bundle; {_AGAIN}")
    sha256 = target.hashes.get("sha256", "")
    custom = target.custom if isinstance(target.custom, dict) else {}
    serial = custom.get("serial")
    if not re.fullmatch("[0-9a-f]{64}", sha256) or type(serial) is not int or not 1 <= serial < 1 << 53:
        raise InputError(f"the stick's list of bundles gives no SHA-256 or serial of {path}; {_AGAIN}")
    if not 0 < target.length <= LIMITS.total_bytes:
        raise InputError(f"the stick's {path} has {target.length} bytes, at most {LIMITS.total_bytes} are allowed; write a smaller bundle")
    name, inner = (custom.get(key) if isinstance(custom.get(key), str) else "" for key in ("name", "bundle_sha256"))
    return Offer(f"{FOLDER}/{TARGETS}/{sha256}.{path}", target.length, sha256, serial, f"the stick's {path}", name or "", inner or "")


def _read(stick: pathlib.Path, name: str, role: str) -> bytes:
    return media.read(stick, f"{FOLDER}/{METADATA}/{name}", MOST_BYTES[role])


def _kept(trusted: pathlib.Path, role: str) -> bytes | None:
    return _content(trusted / f"{role}.json")


def _content(path: pathlib.Path) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read(max(MOST_BYTES.values()))
    except OSError:
        return None


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
