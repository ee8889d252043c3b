"""The folder of the keys: whole or not there, for its owner alone, and its keys can be changed as long as enough people agree."""

from __future__ import annotations

import datetime
import stat

import pytest

from edge.errors import InputError
from firmware_configs.stick.keyring import Keyring, create_keys
from tests.firmware_configs.stick.workshop import CHEAP, NOW, PASSPHRASE, ask

LATER = NOW + datetime.timedelta(days=100)


def make(folder, root_keys=1, threshold=1, asking=ask):
    return create_keys(folder, asking, NOW, root_keys=root_keys, threshold=threshold, cost=CHEAP)


def each(whose):
    """Everybody has a passphrase of their own."""
    return [f"{PASSPHRASE}, says {whose}"]


def chain(ring):
    """The newest root, as python-tuf's client reaches it from version 1."""
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
    from tuf.ngclient.config import EnvelopeType

    known = TrustedMetadataSet(ring.repository.roots[1], EnvelopeType.METADATA)
    for version in range(2, max(ring.repository.roots) + 1):
        known.update_root(ring.repository.roots[version])
    return known.root


def ids(root, role):
    return list(root.roles[role].keyids)


def test_the_folder_is_for_its_owner_alone(tmp_path):
    make(tmp_path / "keys")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys", *(tmp_path / "keys").rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_it_holds_a_key_for_each_role_the_root_and_words(tmp_path):
    ring = make(tmp_path / "keys")
    names = sorted(path.name for path in (tmp_path / "keys").iterdir())
    kinds = sorted(name.partition("-")[0] for name in names if name.endswith(".key"))
    assert kinds == ["root", "snapshot", "targets", "timestamp"]
    assert (tmp_path / "keys" / "root.json").read_bytes() == ring.repository.roots[1]
    words = (tmp_path / "keys" / "READ-ME.txt").read_text()
    assert next(name for name in names if name.startswith("root-")) in words and "lock it away" in words
    assert list(tmp_path.iterdir()) == [tmp_path / "keys"]


def test_the_root_counts_for_ten_years_and_asks_for_consistent_snapshots(tmp_path):
    root = make(tmp_path / "keys").repository.root.signed
    assert root.expires.year == NOW.year + 10 and root.consistent_snapshot
    assert {name: role.threshold for name, role in root.roles.items()} == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}
    assert len(root.keys) == 4


def test_what_is_there_is_not_overwritten(tmp_path):
    make(tmp_path / "keys")
    before = {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="exists and is not overwritten"):
        make(tmp_path / "keys")
    assert before == {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file()}


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "keys").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="exists"):
        make(tmp_path / "keys")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupted(whose):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "keys", asking=interrupted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("root_keys", "threshold"), [(0, 1), (10, 1), (1, 2), (2, 0), (2, 3)])
def test_numbers_that_make_no_sense_are_refused(tmp_path, root_keys, threshold):
    with pytest.raises(InputError, match=r"--(root-keys|threshold)"):
        make(tmp_path / "keys", root_keys, threshold)
    assert not list(tmp_path.iterdir())


def test_with_several_root_keys_each_has_its_passphrase(tmp_path):
    asked = []

    def counting(whose):
        asked.append(whose)
        return each(whose)

    ring = make(tmp_path / "keys", 2, 2, counting)
    assert asked == ["the daily keys", "root key 1", "root key 2"]
    assert sorted(ring.daily(each)) == ["snapshot", "targets", "timestamp"]
    with pytest.raises(InputError, match="the passphrase of the daily keys does not open it"):
        ring.daily(lambda whose: each("root key 1"))


def test_without_the_root_key_sticks_can_still_be_signed(tmp_path):
    ring = make(tmp_path / "keys")
    (tmp_path / "keys" / ring.root_files()[0].path.name).unlink()
    assert sorted(Keyring(tmp_path / "keys").daily(ask)) == ["snapshot", "targets", "timestamp"]


def test_a_daily_key_that_is_gone_is_named_with_what_to_do(tmp_path):
    make(tmp_path / "keys")
    path = next((tmp_path / "keys").glob("snapshot-*.key"))
    path.unlink()
    with pytest.raises(InputError, match=rf"{path.name} is missing; take your copy, or [^\n]*rotate --role snapshot"):
        Keyring(tmp_path / "keys").daily(ask)


def test_a_new_root_key_is_one_that_kits_follow_to(tmp_path):
    ring = make(tmp_path / "keys")
    old = ids(ring.repository.root.signed, "root")
    (made,) = ring.replace(old, ask, ask, LATER, cost=CHEAP)
    root = chain(ring)
    assert root.version == 2 and ids(root, "root") != old and old[0] not in root.keys
    assert made.name == f"root-{ids(root, 'root')[0][:8]}.key" and made.parent == tmp_path / "keys"
    assert (tmp_path / "keys" / "root.json").read_bytes() == ring.repository.roots[2]
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_keys_can_be_changed_again_and_again(tmp_path):
    ring = make(tmp_path / "keys")
    for _ in range(3):
        known = ring.repository.root.signed
        ring.replace([keyid for role in known.roles for keyid in known.roles[role].keyids], ask, ask, LATER, cost=CHEAP)
    assert chain(Keyring(tmp_path / "keys")).version == 4
    assert sorted(Keyring(tmp_path / "keys").daily(ask)) == ["snapshot", "targets", "timestamp"]


def test_new_daily_keys_leave_the_root_keys_as_they_are(tmp_path):
    ring = make(tmp_path / "keys")
    before = ring.repository.root.signed
    ring.replace([*ids(before, "targets"), *ids(before, "timestamp")], ask, ask, LATER, cost=CHEAP)
    root = chain(ring)
    assert ids(root, "root") == ids(before, "root") and ids(root, "snapshot") == ids(before, "snapshot")
    assert ids(root, "targets") != ids(before, "targets") and ids(root, "timestamp") != ids(before, "timestamp")


def test_a_key_with_a_passphrase_of_its_own_is_asked_for_by_its_name(tmp_path):
    ring = make(tmp_path / "keys")
    asked = []

    def asking(whose):
        asked.append(whose)
        return each(whose)

    ring.replace(ids(ring.repository.root.signed, "targets"), ask, asking, LATER, cost=CHEAP)
    assert asked == ["the targets key"]
    ring.daily(lambda whose: asking(whose) if whose == "the targets key" else ask(whose))
    with pytest.raises(InputError, match="the passphrase of the targets key does not open it"):
        ring.daily(ask)


def test_new_daily_keys_share_a_passphrase(tmp_path):
    ring = make(tmp_path / "keys")
    known, asked = ring.repository.root.signed, []

    def asking(whose):
        asked.append(whose)
        return each(whose)

    ring.replace([keyid for role in ("targets", "snapshot", "timestamp") for keyid in ids(known, role)], ask, asking, LATER, cost=CHEAP)
    ring.daily(asking)
    assert asked == ["the daily keys", "the daily keys"]


def test_renewing_changes_the_end_alone(tmp_path):
    ring = make(tmp_path / "keys")
    before = ring.repository.root.signed
    assert ring.replace([], ask, ask, LATER) == []
    root = chain(ring)
    assert root.expires == before.expires + datetime.timedelta(days=100) and root.keys == before.keys


def test_two_people_must_both_be_there(tmp_path):
    ring = make(tmp_path / "keys", 2, 2, each)
    (tmp_path / "stick").mkdir()
    second = ring.root_files()[1].path
    second.rename(tmp_path / "stick" / second.name)
    alone = Keyring(tmp_path / "keys")
    with pytest.raises(InputError, match="needs 2 root keys, and 1 are here; bring the folders with the others: --root-keys-from"):
        alone.replace(ids(alone.repository.root.signed, "targets"), each, each, LATER, cost=CHEAP)
    assert max(Keyring(tmp_path / "keys").repository.roots) == 1
    both = Keyring(tmp_path / "keys", [tmp_path / "stick"])
    both.replace(ids(both.repository.root.signed, "targets"), each, each, LATER, cost=CHEAP)
    assert chain(both).version == 2


def test_a_key_on_a_stick_of_its_own_is_replaced_there(tmp_path):
    ring = make(tmp_path / "keys")
    (tmp_path / "stick").mkdir()
    path = ring.root_files()[0].path
    path.rename(tmp_path / "stick" / path.name)
    ring = Keyring(tmp_path / "keys", [tmp_path / "stick"])
    (made,) = ring.replace(ids(ring.repository.root.signed, "root"), ask, ask, LATER, cost=CHEAP)
    assert made.parent == tmp_path / "stick"
    assert not list((tmp_path / "keys").glob("root-*.key"))


def test_a_lost_root_key_is_revoked_by_the_others(tmp_path):
    ring = make(tmp_path / "keys", 3, 2, each)
    lost = ring.root_files()[0]
    lost.path.unlink()
    ring = Keyring(tmp_path / "keys")
    ring.replace([lost.keyid[:8]], each, each, LATER, cost=CHEAP)
    root = chain(ring)
    assert lost.keyid not in root.keys and len(ids(root, "root")) == 3
    assert [file.whose for file in ring.root_files()] == ["root key 1", "root key 2", "root key 3"]


def test_a_root_key_whose_passphrase_is_forgotten_is_not_asked_for_its_own_end(tmp_path):
    ring = make(tmp_path / "keys", 3, 2, each)

    def forgetful(whose):
        assert whose != "root key 2"
        return each(whose)

    ring.replace([ring.root_files()[1].keyid], forgetful, each, LATER, cost=CHEAP)
    assert chain(ring).version == 2


def test_an_unknown_key_id_is_said(tmp_path):
    ring = make(tmp_path / "keys")
    for wrong in ("beef", "", "zz"):
        with pytest.raises(InputError, match=r"no key of this ID|several keys begin so"):
            ring.replace([wrong], ask, ask, LATER, cost=CHEAP)


def test_a_threshold_can_be_raised_if_as_many_agree(tmp_path):
    ring = make(tmp_path / "keys", 2, 1, each)
    ring.replace([], each, each, LATER, threshold=2)
    assert chain(ring).roles["root"].threshold == 2
    with pytest.raises(InputError, match="--threshold 3"):
        ring.replace([], each, each, LATER, threshold=3)


def test_a_folder_without_keys_is_told_what_it_lacks(tmp_path):
    with pytest.raises(InputError, match="is no folder; make the keys with `affectkit kit stick init"):
        Keyring(tmp_path / "none")
    with pytest.raises(InputError, match="give the folder that `affectkit kit stick init` made"):
        Keyring(tmp_path)


def test_a_missing_root_in_the_chain_is_said(tmp_path):
    ring = make(tmp_path / "keys")
    ring.replace([], ask, ask, LATER)
    ring.replace([], ask, ask, LATER)
    (tmp_path / "keys" / "repository" / "metadata" / "2.root.json").unlink()
    with pytest.raises(InputError, match=r"roots are missing, it has \[1, 3\]; copy the folder back"):
        Keyring(tmp_path / "keys")
