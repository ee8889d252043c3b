"""Take an update from a stick: verify, copy, probe, try, and say what came of it. Every step can be cut off and gone on with."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import typing

from edge.archive import dump_json, parse_json
from edge.bundle import load_bundle
from edge.errors import EdgeError, InputError
from firmware_configs.stick import FOLDER, REPORTS
from firmware_configs.update import ETC, media, trust
from firmware_configs.update.clock import KitClock, as_text
from firmware_configs.update.probe import Probed, probe
from firmware_configs.update.service import Led, Pause, Service
from firmware_configs.update.store import CURRENT, Store, clear_torn, file_name, sync_folder, write_file
from firmware_configs.update.trial import alone, failed, settle

Outcome = typing.Literal["updated", "nothing newer", "refused", "fell back", "no update"]
LEFT_BYTES = 16 << 20
"""Of the card, that stay free."""
SYNC_BYTES = 4 << 20
"""What a pulled stick or a power cut costs of a copy at most."""
_HEADER_BYTES = 96


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a stick."""

    outcome: Outcome
    line: str
    """In words, for people."""
    at: str
    """By the system clock, which may be wrong."""
    clock_trusted: bool
    bundle: str
    """Name of the file that runs now; "" if none."""
    probed: Probed | None = None

    def as_record(self) -> dict[str, typing.Any]:
        """As JSON takes it."""
        return dataclasses.asdict(self)

    @property
    def exit_status(self) -> int:
        """0: updated, or nothing to do; 1: the kit went back to its bundle; 2: the stick was refused."""
        return {"refused": 2, "fell back": 1}.get(self.outcome, 0)


@dataclasses.dataclass(frozen=True)
class Kit:
    """What taking needs; tests put in their own."""

    store: Store
    clock: KitClock
    service: Service
    pause: Pause
    led: Led
    anchor: pathlib.Path = ETC / "root.json"
    config: pathlib.Path = ETC / "kit.toml"
    probe: collections.abc.Callable[[pathlib.Path, pathlib.Path | None], Probed] = probe


def take(kit: Kit, stick: pathlib.Path, tell: collections.abc.Callable[[Result], object] | None = None) -> Result:
    """Take what the stick has, if it is newer and good; never raises for what the stick holds.

    Until all checks have passed nothing changes but the half copied bundle: neither the one that runs nor what the kit trusts.

    Args:
        kit: what takes it.
        stick: where it is mounted, read-only.
        tell: leaves a report on the stick; called before the LED says that it may be pulled out, and not for a stranger's stick.
    """
    if not media.has_folder(stick, FOLDER):
        if not media.has_folder(stick, REPORTS):
            return _result(kit, "no update", f"this is not an update stick: it has no folder {FOLDER}", keep=False)
        result = _result(kit, "no update", f"the stick has no update (no folder {FOLDER})", keep=False)
    else:
        kit.led.say("updating")
        result = _outcome(kit, stick)
    if tell is not None:
        tell(result)
    kit.led.say({"refused": "update-refused", "fell back": "update-refused"}.get(result.outcome, "updated"))
    return result


def _outcome(kit: Kit, stick: pathlib.Path) -> Result:
    try:
        with alone(kit.store):
            return _take(kit, stick)
    except EdgeError as error:
        return _result(kit, "refused", " ".join(str(error).split()))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return _result(kit, "refused", f"the update could not be written ({why}); is the card full or worn? the kit goes on as before")


def _take(kit: Kit, stick: pathlib.Path) -> Result:
    store = kit.store
    store.recover()
    clear_torn(store.update)
    if store.trial() is not None:
        # The last stick was pulled out before its bundle was settled.
        settle(store, kit.service, kit.pause)
    trusted = store.update / "metadata"
    verified = trust.verify(stick, kit.anchor, trusted, kit.clock)
    offer = _newest(store, verified.offers)
    if isinstance(offer, str):
        trust.keep(verified, trusted, kit.clock)
        return _result(kit, "nothing newer", offer)
    arrived = _copied(store, stick, offer)
    probed = _probed(kit, arrived)
    name = file_name(probed.sha256)
    if name == store.target(CURRENT):
        arrived.unlink()
        _note_serial(store, name, offer.serial)
        trust.keep(verified, trusted, kit.clock)
        return _result(kit, "nothing newer", f"the kit has {probed.name} {probed.version} already", probed)
    _refuse_failed(store, name, arrived)
    decided = kit.service.state().word == "deciding"
    trust.keep(verified, trusted, kit.clock)
    _note_serial(store, name, offer.serial)
    store.begin_trial(arrived, probed.sha256)
    kit.service.restart()
    kit.led.say("updating")
    outcome, why = settle(store, kit.service, kit.pause)
    if outcome == "confirmed":
        return _result(kit, "updated", f"the kit runs {probed.name} {probed.version} now: {why}", probed)
    if not decided:
        _forgive(store, name)
        why += "; it did not decide before the update either: run `affectkit doctor` on the kit, then put the stick in again"
    return _result(kit, "fell back", f"{probed.name} {probed.version} was tried and taken back, the kit runs what it ran: {why}", probed)


def _newest(store: Store, offers: collections.abc.Sequence[trust.Offer]) -> trust.Offer | str:
    """The offer to take, or why none is: of the bundle that the kit has if the stick has several."""
    if not offers:
        return "the stick has no bundle"
    current = store.target(CURRENT)
    if current is None:
        return offers[0]
    serial = serials(store).get(current, 0)
    called = load_bundle(store.bundles / current).manifest.name
    newest = next((offer for offer in offers if offer.name == called), offers[0])
    if file_name(newest.bundle_sha256) == current or _hash(store.bundles / current) == newest.sha256:
        _note_serial(store, current, newest.serial)
        return "the kit has this bundle already"
    if newest.serial < serial:
        raise InputError(
            f"the stick's bundle is older (number {newest.serial}) than the one that the kit has (number {serial}); ask for a newer stick"
        )
    if newest.serial == serial:
        return f"the kit has number {serial} already; ask for a newer stick if something is to change"
    _refuse_failed(store, file_name(newest.bundle_sha256))
    return newest


def _refuse_failed(store: Store, name: str, arrived: pathlib.Path | None = None) -> None:
    if (why := failed(store).get(name)) is not None:
        if arrived is not None:
            arrived.unlink()
        raise InputError(f"the stick's bundle was tried on this kit before, and taken back: {why}; ask for a newer stick")


def _copied(store: Store, stick: pathlib.Path, offer: trust.Offer) -> pathlib.Path:
    """The bundle of ``offer`` on the card, whole, and what its hash says. Goes on with a copy that was cut off."""
    store.prepare()
    path = store.partial / offer.sha256
    for other in store.partial.iterdir():
        if other.name != path.name:
            other.unlink()
    for attempt in ("resumed", "anew"):
        began = _copy(stick, offer, path)
        if _hash(path) == offer.sha256:
            return path
        # What was there before was damaged, or the stick is: only a copy from the beginning tells.
        path.unlink()
        if attempt == "anew" or began == 0:
            break
    raise InputError(f"{offer.called}: is not what was signed: cut short or changed; make the stick again with `affectkit kit stick`")


def _copy(stick: pathlib.Path, offer: trust.Offer, path: pathlib.Path) -> int:
    """Append what is missing; bytes that were there before."""
    with media.opened(stick, offer.path, offer.bytes, offer.called) as (source, size):
        if size != offer.bytes:
            raise InputError(
                f"{offer.called}: has {size} bytes of {offer.bytes}: cut short; make the stick again with `affectkit kit stick`"
            )
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            before = os.fstat(file).st_size
            if before > offer.bytes:
                os.ftruncate(file, 0)
                before = 0
            sync_folder(path.parent)
            _refuse_full(path.parent, offer.bytes - before)
            os.lseek(file, before, os.SEEK_SET)
            os.lseek(source, before, os.SEEK_SET)
            unsynced = 0
            while block := _block(source, offer.called):
                view = memoryview(block)
                while view:
                    view = view[os.write(file, view) :]
                unsynced += len(block)
                if unsynced >= SYNC_BYTES:
                    os.fsync(file)
                    unsynced = 0
                if os.lseek(file, 0, os.SEEK_CUR) > offer.bytes:
                    raise InputError(f"{offer.called}: grows while it is read; make the stick again with `affectkit kit stick`")
            os.fsync(file)
        finally:
            os.close(file)
    return before


def _block(source: int, name: str) -> bytes:
    try:
        return os.read(source, media.BLOCK)
    except OSError as error:
        why = (error.strerror or "error").lower()
        raise InputError(
            f"{name}: cannot be read to its end ({why}); was the stick pulled out? put it in again: the copy goes on where it was"
        ) from error


def _refuse_full(folder: pathlib.Path, needed: int) -> None:
    there = os.statvfs(folder)
    free = there.f_bavail * there.f_frsize
    if free < needed + LEFT_BYTES:
        missing = (needed + LEFT_BYTES - free + (1 << 20) - 1) >> 20
        raise InputError(f"the kit's card is too full for the update by {missing} MiB; have the kit's earlier recordings removed")


def _probed(kit: Kit, arrived: pathlib.Path) -> Probed:
    """What the bundle shows here; it is refused, and its copy thrown away, if it would do less than the one that runs."""
    try:
        probed = kit.probe(arrived, kit.config)
        if file_header(arrived) != probed.sha256:
            raise InputError("the new bundle changed while it was looked at; put the stick in again")
        if probed.dropped:
            current = kit.store.target(CURRENT)
            before = kit.probe(kit.store.bundles / current, kit.config) if current else None
            if before is None or not set(probed.dropped) <= set(before.dropped):
                raise InputError(
                    f"{probed.name} {probed.version} is too slow for this board: {', '.join(probed.dropped)} would be left out "
                    f"({probed.longest_ms:.0f} ms when all fall due, the budget is {probed.budget_ms} ms); use a smaller bundle"
                )
    except InputError:
        arrived.unlink(missing_ok=True)
        raise
    return probed


def file_header(path: pathlib.Path) -> str:
    """SHA-256 that the first line of a bundle names."""
    with open(path, "rb") as stream:
        return stream.readline(_HEADER_BYTES).decode("ascii", "replace").strip().rpartition(" ")[2]


def _hash(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(media.BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


# --- what is remembered ---------------------------------------------------------------------------------------------------


def serials(store: Store) -> dict[str, int]:
    """The number that each bundle had on its stick, by its name; that which came with the card has none."""
    path = store.update / "serials.json"
    try:
        fields = parse_json(path.read_bytes()[: 1 << 20], where=str(path), kind=InputError)
        return {name: fields.whole(name) for name in fields.names()}
    except (OSError, InputError):
        return {}


def _note_serial(store: Store, name: str, serial: int) -> None:
    known = serials(store)
    if known.get(name) != serial:
        there = {path.name for path in store.bundles.iterdir()}
        kept = {each: number for each, number in known.items() if each in there}
        write_file(store.update / "serials.json", dump_json({**kept, name: serial}))


def _forgive(store: Store, name: str) -> None:
    """It failed where nothing could have succeeded: it may be tried again."""
    left = {each: why for each, why in failed(store).items() if each != name}
    write_file(store.update / "failed.json", dump_json(left))


def settled(store: Store, clock: KitClock, outcome: str, why: str) -> None:
    """Note what became of a trial that went on without its stick."""
    name = store.target(CURRENT)
    called = load_bundle(store.bundles / name).manifest if name else None
    runs = f"{called.name} {called.version}" if called else "nothing"
    if outcome == "confirmed":
        result = Result("updated", f"the kit runs {runs} now: {why}", as_text(clock.system()), clock.trusted, name or "")
    else:
        result = Result(
            "fell back", f"the new bundle was taken back, the kit runs {runs}: {why}", as_text(clock.system()), clock.trusted, name or ""
        )
    _keep(store, result)


def measured(kit: Kit, result: Result) -> Probed | None:
    """What the bundle that runs takes on this board: as it was measured just now, or measured for this; None if it cannot be."""
    current = kit.store.target(CURRENT)
    if current is None:
        return None
    if result.probed is not None and file_name(result.probed.sha256) == current:
        return result.probed
    try:
        return kit.probe(kit.store.bundles / current, kit.config)
    except InputError:
        return None


def _keep(store: Store, result: Result) -> None:
    # On a full card the word on the stick and the LED say it all the same.
    with contextlib.suppress(OSError):
        write_file(store.update / "last.json", dump_json(result.as_record()))


def _result(kit: Kit, outcome: Outcome, line: str, probed: Probed | None = None, *, keep: bool = True) -> Result:
    # What a stick says may be part of the line.
    safe = "".join(one if one.isprintable() else "?" for one in line)
    result = Result(outcome, safe, as_text(kit.clock.system()), kit.clock.trusted, kit.store.target(CURRENT) or "", probed)
    if keep:
        _keep(kit.store, result)
    return result
