"""Every release has numbers above the last, says what the kit needs, and is one that python-tuf's own client takes."""

from __future__ import annotations

import collections.abc
import contextlib
import datetime
import json
import pathlib
import shutil
import urllib.parse

import pytest

from edge.errors import InputError
from firmware_configs.stick import FOLDER, METADATA, TARGETS
from firmware_configs.stick.bundles import checked
from firmware_configs.stick.keyring import Keyring, create_keys
from firmware_configs.stick.media import write_stick
from firmware_configs.stick.repository import Repository, State, highest, state_on
from tests.firmware_configs.stick.workshop import CHEAP, NOW, Workshop, ask, bundle_of, path_of, target_of

DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return [checked(bundle_of(folder / f"{number}.affectkit", f"2030.{number}")) for number in (1, 2)]


@pytest.fixture
def ring(tmp_path):
    return create_keys(tmp_path / "keys", ask, NOW, cost=CHEAP)


@pytest.fixture
def daily(ring):
    return ring.daily(ask)


def said(release, name):
    return json.loads(release.files[f"{FOLDER}/{METADATA}/{name}"].content)["signed"]


def test_the_first_release_holds_what_the_kit_needs(ring, daily, bundles):
    release = ring.repository.publish(bundles[:1], daily, NOW, days=400)
    (target,) = said(release, "1.targets.json")["targets"].values()
    one = bundles[0]
    assert target["length"] == one.bytes and target["hashes"] == {"sha256": one.sha256}
    assert target["custom"] == {
        "kind": "bundle",
        "name": "classroom",
        "version": "2030.1",
        "created": one.bundle.manifest.created,
        "bundle_sha256": one.bundle.sha256,
        "cadence_ms": 250,
        "budget_ms": 200,
        "serial": 1,
    }
    timestamp = said(release, "timestamp.json")
    assert timestamp["signed_at"] == "2030-06-01T12:00:00Z" and timestamp["expires"] == "2031-07-06T12:00:00Z"
    assert list(release.files)[-1].endswith("timestamp.json")
    assert set(release.files) == {
        f"{FOLDER}/{METADATA}/{name}" for name in ("1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json")
    } | {f"{FOLDER}/{TARGETS}/{one.sha256}.classroom.affectkit"}


def test_numbers_rise_across_processes(tmp_path, ring, daily, bundles):
    versions = []
    for day in range(3):
        release = Repository(tmp_path / "keys" / "repository").publish(bundles[:1], daily, NOW + day * DAY, days=400)
        versions.append((release.version, release.serials["classroom.affectkit"]))
    assert versions == [(1, 1), (2, 2), (3, 3)]
    assert ring.repository.state() == State(dict.fromkeys(("timestamp", "snapshot", "targets"), 3), 3, NOW + 2 * DAY)
    assert sorted(path.name for path in (tmp_path / "keys" / "repository" / METADATA).iterdir()) == [
        "1.root.json",
        "3.snapshot.json",
        "3.targets.json",
        "timestamp.json",
    ]


def test_a_release_that_was_cut_off_while_it_was_kept_gives_no_number_twice(tmp_path, ring, daily, bundles):
    folder = tmp_path / "keys" / "repository" / METADATA
    ring.repository.publish(bundles[:1], daily, NOW, days=400)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ring.repository.publish(bundles[1:], daily, NOW, days=400)
    (folder / "timestamp.json").write_bytes(before["timestamp.json"])
    (folder / "1.snapshot.json").write_bytes(before["1.snapshot.json"])
    state = ring.repository.state()
    assert dict(state.versions) == {"timestamp": 1, "snapshot": 2, "targets": 2} and state.serial == 2
    release = ring.repository.publish(bundles[:1], daily, NOW, days=400)
    assert release.serials == {"classroom.affectkit": 3} and f"{FOLDER}/{METADATA}/3.targets.json" in release.files


def test_every_root_is_on_the_stick(ring, bundles):
    ring.replace([], ask, ask, NOW)
    release = ring.repository.publish(bundles[:1], ring.daily(ask), NOW, days=400)
    assert {f"{FOLDER}/{METADATA}/{version}.root.json" for version in (1, 2)} <= set(release.files)


@pytest.mark.parametrize("days", [0, -3, 100_000])
def test_an_end_that_makes_no_sense_is_refused(ring, daily, bundles, days):
    with pytest.raises(InputError, match=f"--expires-days {days}"):
        ring.repository.publish(bundles[:1], daily, NOW, days=days)


def test_two_bundles_of_one_name_are_refused(ring, daily, bundles):
    with pytest.raises(InputError, match="both are named classroom; give one of them"):
        ring.repository.publish(bundles, daily, NOW, days=400)


def test_a_clock_before_the_bundle_was_made_is_refused(ring, daily, bundles):
    with pytest.raises(InputError, match="set the clock"):
        ring.repository.publish(bundles[:1], daily, datetime.datetime(1970, 1, 1, 1, tzinfo=datetime.UTC), days=400)
    assert ring.repository.state().serial == 0


def test_a_clock_before_the_last_stick_is_refused(ring, daily, bundles):
    ring.repository.publish(bundles[:1], daily, NOW, days=400)
    with pytest.raises(InputError, match=r"clock says 2 May 2030, and the last was signed or made on 1 June 2030"):
        ring.repository.publish(bundles[:1], daily, NOW - 30 * DAY, days=400)


def test_a_root_that_has_ended_signs_nothing_until_it_is_renewed(ring, daily, bundles):
    late = NOW + 3700 * DAY
    with pytest.raises(InputError, match=r"the root ended on [^\n]* rotate --only-renew` first"):
        ring.repository.publish(bundles[:1], daily, late, days=400)
    ring.replace([], ask, ask, late)
    assert ring.repository.publish(bundles[:1], daily, late, days=400).version == 1


def test_damaged_state_is_one_line(tmp_path, ring, daily, bundles):
    ring.repository.publish(bundles[:1], daily, NOW, days=400)
    (tmp_path / "keys" / "repository" / METADATA / "1.targets.json").write_bytes(b'{"signed":' + b"[" * 5000)
    with pytest.raises(InputError, match=r"^[^\n]*1.targets.json: is damaged[^\n]*$"):
        ring.repository.publish(bundles[:1], daily, NOW, days=400)


def test_numbers_go_on_from_the_stick_where_the_folder_is_an_old_copy(tmp_path, ring, daily, bundles):
    shutil.copytree(tmp_path / "keys", tmp_path / "copy")
    (tmp_path / "stick").mkdir()
    for _ in range(2):
        write_stick(tmp_path / "stick", ring.repository.publish(bundles[:1], daily, NOW, days=400))
    old = Keyring(tmp_path / "copy").repository
    assert old.state().serial == 0
    above = state_on(tmp_path / "stick", old.root.signed)
    release = old.publish(bundles[1:], daily, NOW, days=400, above=above)
    assert release.version == 3 and release.serials == {"classroom.affectkit": 3}


def test_numbers_of_a_stick_that_others_signed_count_for_nothing(tmp_path, ring):
    workshop = Workshop.make(tmp_path / "workshop")
    assert state_on(workshop.newer, ring.repository.root.signed) is None
    assert state_on(workshop.newer, workshop.ring.repository.root.signed).serial == 3
    path_of(workshop.newer, "targets").write_text("[]")
    assert state_on(workshop.newer, workshop.ring.repository.root.signed) is None
    assert state_on(tmp_path, ring.repository.root.signed) is None


def test_the_higher_of_two_states_is_taken_number_by_number():
    first = State({"timestamp": 5, "snapshot": 1, "targets": 2}, 9, NOW)
    second = State({"timestamp": 1, "snapshot": 4, "targets": 2}, 3, NOW + DAY)
    assert highest(first, second) == State({"timestamp": 5, "snapshot": 4, "targets": 2}, 9, NOW + DAY)
    assert highest(first, None) is first


# --- python-tuf's client, which knows nothing of this code -----------------------------------------------------------------


def updater(stick: pathlib.Path, folder: pathlib.Path, root: bytes):
    from tuf.api.exceptions import DownloadHTTPError
    from tuf.ngclient import FetcherInterface, Updater

    class FromStick(FetcherInterface):
        def _fetch(self, url: str) -> collections.abc.Iterator[bytes]:
            path = stick / FOLDER / urllib.parse.unquote(url).removeprefix("stick://")
            if not path.is_file():
                raise DownloadHTTPError("not there", 404)
            with contextlib.closing(path.open("rb")) as stream:
                yield stream.read()

    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    (folder / "targets").mkdir(exist_ok=True)
    return Updater(
        str(folder / "metadata"),
        f"stick://{METADATA}/",
        str(folder / "targets"),
        f"stick://{TARGETS}/",
        fetcher=FromStick(),
        bootstrap=root,
    )


@pytest.fixture(scope="module")
def today(tmp_path_factory):
    """Sticks of today: the client knows no time but the computer's."""
    return Workshop.make(tmp_path_factory.mktemp("today") / "workshop", datetime.datetime.now(datetime.UTC).replace(microsecond=0))


def test_the_client_takes_one_stick_after_the_other(today, tmp_path):
    for stick, one in zip((today.old, today.good, today.newer), today.bundles, strict=True):
        client = updater(stick, tmp_path, today.roots[1])
        client.refresh()
        target = client.get_targetinfo("classroom.affectkit")
        assert target is not None and target.custom["version"] == one.bundle.manifest.version
        assert pathlib.Path(client.download_target(target)).read_bytes() == target_of(stick).read_bytes()


def test_the_client_refuses_the_older_stick_after_the_newer(today, tmp_path):
    from tuf.api.exceptions import BadVersionNumberError

    updater(today.newer, tmp_path, today.roots[1]).refresh()
    with pytest.raises(BadVersionNumberError):
        updater(today.good, tmp_path, today.roots[1]).refresh()


def test_the_client_follows_a_change_of_all_keys(tmp_path, bundles):
    now = datetime.datetime.now(datetime.UTC)
    ring = create_keys(tmp_path / "keys", ask, now, root_keys=2, threshold=2, cost=CHEAP)
    (tmp_path / "stick").mkdir()
    for number in range(2):
        made = [datetime.date.fromisoformat(one.bundle.manifest.created) for one in bundles]
        assert max(made) <= now.date()
        write_stick(tmp_path / "stick", ring.repository.publish(bundles[number:][:1], ring.daily(ask), now, days=400))
        client = updater(tmp_path / "stick", tmp_path / "client", ring.repository.roots[1])
        client.refresh()
        assert client.get_targetinfo("classroom.affectkit").custom["serial"] == number + 1
        known = ring.repository.root.signed
        ring.replace([keyid for role in known.roles.values() for keyid in role.keyids], ask, ask, now, cost=CHEAP)
