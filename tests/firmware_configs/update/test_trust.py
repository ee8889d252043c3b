"""What a kit believes of a stick: by keys, versions and time. Attacks of all kinds are in test_attacks.py."""

from __future__ import annotations

import datetime
import json
import pathlib
import subprocess
import sys

import pytest

from edge.errors import InputError
from firmware_configs.update import trust
from firmware_configs.update.clock import KitClock
from tests.firmware_configs.update import made

DAY = datetime.timedelta(days=1)


class Side:
    """A kit's trust: its first root, what it keeps, and its clock."""

    def __init__(self, folder: pathlib.Path, repository: made.Repository, clock: KitClock | None = None):
        self.anchor, self.trusted, self.clock = folder / "root.json", folder / "metadata", clock or made.clock(folder)
        self.anchor.write_bytes(repository.roots[1])

    def verify(self, stick: pathlib.Path) -> trust.Verified:
        return trust.verify(stick, self.anchor, self.trusted, self.clock)

    def accept(self, stick: pathlib.Path) -> trust.Verified:
        verified = self.verify(stick)
        trust.keep(verified, self.trusted, self.clock)
        return verified

    def refused(self, stick: pathlib.Path) -> str:
        before = {path.name: path.read_bytes() for path in self.trusted.glob("*")}
        with pytest.raises(InputError) as caught:
            self.accept(stick)
        assert {path.name: path.read_bytes() for path in self.trusted.glob("*")} == before
        return str(caught.value)


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> made.Repository:
    made_here = made.Repository()
    content = tmp_path / "classroom.affectkit"
    content.write_bytes(b"a bundle, as far as trust is concerned")
    made_here.add(content, 7)
    return made_here


@pytest.fixture
def side(tmp_path: pathlib.Path, repository: made.Repository) -> Side:
    return Side(tmp_path, repository)


def test_a_good_stick_offers_what_was_signed(side, repository, tmp_path):
    verified = side.accept(repository.write(tmp_path / "stick"))
    (offer,) = verified.offers
    assert (offer.serial, offer.bytes) == (7, len(b"a bundle, as far as trust is concerned"))
    assert (tmp_path / "stick" / offer.path).read_bytes().startswith(b"a bundle")
    assert verified.signed_at == made.NOW
    assert sorted(path.name for path in side.trusted.iterdir()) == ["snapshot.json", "targets.json", "timestamp.json"]
    assert side.trusted.stat().st_mode & 0o777 == 0o700
    assert json.loads((tmp_path / "clock.json").read_text()) == {"least": "2026-11-21T12:00:00Z"}


def test_looking_alone_keeps_nothing(side, repository, tmp_path):
    side.verify(repository.write(tmp_path / "stick"))
    assert not side.trusted.exists() and not (tmp_path / "clock.json").exists()


def test_the_same_stick_may_come_again_and_an_older_one_not(side, repository, tmp_path):
    old = repository.write(tmp_path / "old")
    new = repository.write(tmp_path / "new")
    side.accept(new)
    assert side.accept(new).offers[0].serial == 7
    assert side.refused(old) == "the stick's timestamp is older than what this kit has seen; ask for a newer stick"


def test_the_newest_of_several_comes_first(side, repository, tmp_path):
    other = tmp_path / "lecture.affectkit"
    other.write_bytes(b"other")
    targets, files = repository.targets, repository.files
    repository.add(other, 9)
    repository.targets, repository.files = {**targets, **repository.targets}, {**files, **repository.files}
    assert [offer.serial for offer in side.accept(repository.write(tmp_path / "stick")).offers] == [9, 7]


# --- keys -----------------------------------------------------------------------------------------------------------------


def test_new_keys_are_followed_step_by_step_and_remembered(side, repository, tmp_path):
    for keys in ("second", "third"):
        repository.rotate(keys)
    side.accept(repository.write(tmp_path / "stick"))
    assert {"2.root.json", "3.root.json"} <= {path.name for path in side.trusted.iterdir()}
    # Next time the stick need not bring them.
    stick = repository.write(tmp_path / "later")
    for number in (2, 3):
        (stick / f"affectkit-update/metadata/{number}.root.json").unlink()
    side.accept(stick)


def test_a_stolen_key_is_of_no_use_after_the_change(side, repository, tmp_path):
    stolen = made.Repository()
    stolen.targets, stolen.files, stolen.version = repository.targets, repository.files, 90
    repository.rotate("second")
    side.accept(repository.write(tmp_path / "stick"))
    assert "not signed with the keys that this kit trusts" in side.refused(stolen.write(tmp_path / "stolen"))


def test_after_a_change_of_keys_a_number_that_a_thief_ran_up_does_not_count(side, repository, tmp_path):
    """Recovery from a fast-forward attack (specification, section 5.3.11)."""
    repository.version = 1_000_000
    side.accept(repository.write(tmp_path / "thief"))
    repository.rotate("second")
    repository.version = 5
    side.accept(repository.write(tmp_path / "stick"))


def test_a_card_made_anew_with_other_keys_trusts_these_alone(side, repository, tmp_path):
    repository.rotate("second")
    old = repository.write(tmp_path / "old")
    side.accept(old)
    other = made.Repository(keys="other")
    other.targets, other.files = repository.targets, repository.files
    side.anchor.write_bytes(other.roots[1])
    assert "not signed" in side.refused(old)
    side.accept(other.write(tmp_path / "new"))


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\0" * 100])
def test_a_kit_without_a_root_takes_no_stick(side, repository, tmp_path, content):
    side.anchor.unlink()
    if content is not None:
        side.anchor.write_bytes(content)
    assert "root.json" in side.refused(repository.write(tmp_path / "stick"))


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json", "2.root.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 999, b'{"signatures": [], "signed": {}}'])
def test_what_is_kept_may_be_damaged(side, repository, tmp_path, name, content):
    repository.rotate("second")
    side.accept(repository.write(tmp_path / "stick"))
    (side.trusted / name).write_bytes(content)
    side.accept(repository.write(tmp_path / "next"))
    assert (side.trusted / name).read_bytes() != content


# --- time -----------------------------------------------------------------------------------------------------------------


def test_an_expired_stick_is_refused_by_a_kit_that_knows_the_time(repository, tmp_path):
    side = Side(tmp_path, repository, made.clock(tmp_path, made.NOW + 401 * DAY))
    assert side.refused(repository.write(tmp_path / "stick")) == (
        "the stick's timestamp has expired: for this kit it is 27 December 2027; write a new stick with `affectkit kit stick`"
    )


@pytest.mark.parametrize("year", [1970, 2199])
def test_a_kit_with_a_wrong_clock_takes_a_good_stick(repository, tmp_path, year):
    wrong = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
    side = Side(tmp_path, repository, made.clock(tmp_path, wrong, synchronized=False))
    side.accept(repository.write(tmp_path / "stick"))


def test_a_kit_without_a_clock_tells_an_expired_stick_by_one_that_it_took(repository, tmp_path):
    """Freeze: newer versions signed with an old end, after a stick that was signed later."""
    side = Side(tmp_path, repository, made.clock(tmp_path, made.NOW, synchronized=False))
    repository.signed_at = made.NOW + 300 * DAY
    repository.expires = made.NOW + 700 * DAY
    side.accept(repository.write(tmp_path / "stick"))
    repository.signed_at, repository.expires = made.NOW, made.NOW + 200 * DAY
    assert "has expired: for this kit it is 17 September 2027, or later" in side.refused(repository.write(tmp_path / "frozen"))


def test_the_same_stick_again_after_its_end_is_refused(repository, tmp_path):
    side = Side(tmp_path, repository)
    stick = repository.write(tmp_path / "stick")
    side.accept(stick)
    side.clock = made.clock(tmp_path, made.NOW + 500 * DAY)
    assert "has expired" in side.refused(stick)


def test_a_stick_from_the_future_is_refused_where_that_can_be_told(repository, tmp_path):
    repository.signed_at = made.NOW + 30 * DAY
    stick = repository.write(tmp_path / "stick")
    assert "in the future" in Side(tmp_path, repository).refused(stick)
    Side(tmp_path, repository, made.clock(tmp_path, made.NOW, synchronized=False)).accept(stick)


def test_a_root_that_has_ended_says_what_to_do(repository, tmp_path):
    side = Side(tmp_path, repository, made.clock(tmp_path, made.NOW + 4000 * DAY))
    assert "keys that this kit trusts have expired" in side.refused(repository.write(tmp_path / "stick"))


# --- on the device --------------------------------------------------------------------------------------------------------


def test_it_verifies_without_the_package_cryptography(repository, tmp_path):
    """The device has none: Ed25519 is then securesystemslib's own, in pure Python."""
    stick = repository.write(tmp_path / "stick")
    (tmp_path / "root.json").write_bytes(repository.roots[1])
    code = """
import pathlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("cryptography", "nacl", "requests"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
import datetime
from firmware_configs.update import trust
from firmware_configs.update.clock import KitClock
folder, stick = map(pathlib.Path, sys.argv[1:])
now = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
clock = KitClock(folder / "clock.json", built_in=(), now=lambda: now, synchronized=lambda: True)
print(trust.verify(stick, folder / "root.json", folder / "metadata", clock).offers[0].serial)
path = stick / "affectkit-update/metadata/timestamp.json"
good = path.read_text()
for bad in ("00", "ff" * 64, "zz", ""):
    before, mark, after = good.partition('"sig":"')
    assert mark
    path.write_text(before + mark + bad + (after[2:] if bad == "00" else after[128:]))
    try:
        trust.verify(stick, folder / "root.json", folder / "metadata", clock)
    except ValueError as error:
        print(error)
assert not {"cryptography", "nacl"} & set(sys.modules)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(stick)], capture_output=True, text=True, check=False, cwd=made.ROOT
    )
    assert ran.stdout.splitlines()[0] == "7", ran.stderr
    said = ran.stdout.splitlines()[1:]
    assert len(said) == 4 and all("not signed with the keys that this kit trusts" in line for line in said), ran.stdout


def test_each_kept_file_is_old_or_new_and_in_an_order_that_any_cut_leaves_safe(side, repository, tmp_path, monkeypatch):
    """Cut after each file: the next look at old, same and newer sticks is as it must be."""
    old, new = (repository.write(tmp_path / name) for name in ("old", "new"))
    newer = repository.write(tmp_path / "newer")
    verified = {stick: None for stick in (old, new, newer)}
    side.accept(old)
    before = {path.name: path.read_bytes() for path in side.trusted.iterdir()}
    verified_new = side.verify(new)
    for count in range(len(verified_new.files) + 1):
        for name, content in {**before, **dict(list(verified_new.files.items())[:count])}.items():
            (side.trusted / name).write_bytes(content)
        for stick in verified:
            if stick != old or count == 0:
                side.verify(stick)
        if count:
            assert "older than what this kit has seen" in side.refused(old)
