"""Bundles of a kit: whatever is missing, damaged or cut off, afterwards a whole bundle runs."""

from __future__ import annotations

import os
import pathlib

import pytest

from edge import embedded
from edge.bundle import load_bundle
from firmware_configs.update.store import CURRENT, GOOD, TRIAL, Store, Trial, file_name
from tests.firmware_configs.update import made

EMBEDDED = file_name(load_bundle(embedded.BUNDLE).sha256)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    made_here = Store(tmp_path / "srv")
    made_here.recover()
    return made_here


def arrived(store: Store, version: str) -> tuple[pathlib.Path, str]:
    path = made.bundle(store.partial / f"arrived-{version}.affectkit", version)
    return path, load_bundle(path).sha256


def names(store: Store) -> set[str]:
    return {path.name for path in store.bundles.iterdir() if not path.is_symlink() and path.suffix == ".affectkit"}


def damage(path: pathlib.Path) -> None:
    """One bit, as a worn card does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_empty_kit_gets_the_bundle_that_affectkit_brings(store):
    assert store.target(CURRENT) == store.target(GOOD) == EMBEDDED
    assert os.readlink(store.bundles / CURRENT) == EMBEDDED, "relative, so that it holds wherever the card is mounted"
    assert (store.bundles / EMBEDDED).stat().st_mode & 0o777 == 0o644


def test_a_trial_switches_and_its_end_keeps_the_one_before_alone(store):
    kept = []
    for version in ("9.2.1", "9.3.0", "9.4.0"):
        name = store.begin_trial(*arrived(store, version))
        assert store.target(CURRENT) == name != store.target(GOOD)
        assert store.trial() == Trial(name, 0)
        store.confirm()
        assert store.target(CURRENT) == store.target(GOOD) == name and store.trial() is None
        assert not (store.bundles / TRIAL).exists()
        kept.append(name)
    assert names(store) == set(kept[-2:])
    assert list(store.partial.iterdir()) == []


def test_a_failed_trial_goes_back(store):
    name = store.begin_trial(*arrived(store, "9.2.1"))
    assert store.fall_back() == EMBEDDED
    assert store.target(CURRENT) == store.target(GOOD) == EMBEDDED and store.trial() is None
    assert name in names(store), "it is whole, and may be wanted again"


def test_who_comes_second_changes_nothing(store):
    """The fourth start of the kit and whoever waits for the trial may both want to settle it."""
    name = store.begin_trial(*arrived(store, "9.2.1"))
    assert store.confirm() is True
    assert store.confirm() is False
    assert store.fall_back() == name == store.target(CURRENT) == store.target(GOOD)
    store.begin_trial(*arrived(store, "9.3.0"))
    assert store.fall_back() == store.fall_back() == name
    assert store.confirm() is False and store.target(GOOD) == name


def test_starts_are_counted_only_on_trial(store):
    assert store.count_start() is None
    store.begin_trial(*arrived(store, "9.2.1"))
    assert [store.count_start().starts for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("content", ["", "{", '{"bundle": 3, "starts": 1}', '{"bundle": "x.affectkit"}', '{"starts": 1}', "[]", "\0" * 400])
def test_a_damaged_trial_file_is_no_trial(store, content):
    store.begin_trial(*arrived(store, "9.2.1"))
    (store.bundles / TRIAL).write_text(content)
    assert store.trial() is None


def test_a_trial_file_that_names_another_bundle_was_cut_off_and_goes(store):
    (store.bundles / TRIAL).write_text(f'{{"bundle": "{"0" * 32}.affectkit", "starts": 1}}')
    assert store.trial() is None
    assert store.recover() == EMBEDDED
    assert not (store.bundles / TRIAL).exists()


def test_a_trial_that_was_confirmed_but_for_its_file_is_over(store):
    name = store.begin_trial(*arrived(store, "9.2.1"))
    trial = (store.bundles / TRIAL).read_text()
    store.confirm()
    (store.bundles / TRIAL).write_text(trial)
    assert store.trial() is None
    assert store.recover() == name
    assert not (store.bundles / TRIAL).exists()


@pytest.mark.parametrize("harm", ["missing", "damaged", "empty", "link away", "no link", "link to nothing", "a file in its place"])
def test_a_bad_current_bundle_is_replaced_by_the_good_one(store, harm, tmp_path):
    store.begin_trial(*arrived(store, "9.2.1"))
    store.confirm()
    name = store.begin_trial(*arrived(store, "9.3.0"))
    good = store.target(GOOD)
    path, link = store.bundles / name, store.bundles / CURRENT
    if harm == "missing":
        path.unlink()
    elif harm == "damaged":
        damage(path)
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        link.unlink()
    if harm == "link away":
        link.symlink_to(embedded.BUNDLE)
    elif harm == "link to nothing":
        link.symlink_to(f"{'0' * 32}.affectkit")
    elif harm == "a file in its place":
        link.write_bytes(b"text")
    assert store.recover() == good
    assert store.target(CURRENT) == store.target(GOOD) == good and store.trial() is None
    if harm in ("damaged", "empty"):
        assert name not in names(store), "what is damaged only takes space"


def test_without_a_good_one_any_whole_one_and_without_any_the_embedded_one(store):
    for version in ("9.2.1", "9.3.0"):
        store.begin_trial(*arrived(store, version))
        store.confirm()
    current = store.target(CURRENT)
    assert current is not None
    (other,) = names(store) - {current}
    damage(store.bundles / current)
    assert store.recover() == other == store.target(GOOD)
    damage(store.bundles / other)
    assert store.recover() == EMBEDDED == store.target(GOOD)
    assert names(store) == {EMBEDDED}


def test_a_failed_trial_with_a_damaged_good_one_still_ends_with_a_whole_one(store):
    name = store.begin_trial(*arrived(store, "9.2.1"))
    damage(store.bundles / EMBEDDED)
    assert store.fall_back() == EMBEDDED, "copied in anew"
    assert store.sound(EMBEDDED) and store.target(CURRENT) != name


def test_a_whole_current_bundle_stands_in_for_a_damaged_good_one(store):
    store.begin_trial(*arrived(store, "9.2.1"))
    store.confirm()
    good = store.target(GOOD)
    (store.bundles / GOOD).unlink()
    assert store.recover() == good == store.target(GOOD)


def test_what_a_killed_process_left_half_written_goes(store):
    (store.bundles / f".{EMBEDDED}.writing-4194304").write_bytes(b"torn")
    (store.bundles / ".current.affectkit.new").symlink_to("nowhere")
    store.begin_trial(*arrived(store, "9.2.1"))
    store.confirm()
    assert [path.name for path in store.bundles.iterdir() if path.name.startswith(".")] == []


def test_a_bundle_under_another_ones_name_is_not_sound(store):
    path, sha256 = arrived(store, "9.2.1")
    os.replace(path, store.bundles / f"{'1' * 32}.affectkit")
    assert not store.sound(f"{'1' * 32}.affectkit")
    assert not store.sound(file_name(sha256))


def test_all_changes_are_on_the_card_before_the_next_begins(store, monkeypatch):
    """The order of writes, renames and syncs of a switch: nothing is renamed before it is synced, nor followed up before its folder is."""
    happened: list[str] = []
    real = {"fsync": os.fsync, "replace": os.replace}

    def fsync(handle: int) -> None:
        happened.append(f"sync {pathlib.Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        real["fsync"](handle)

    def replace(source: object, target: object) -> None:
        happened.append(f"name {pathlib.Path(str(target)).name}")
        real["replace"](source, target)  # type: ignore[operator]

    path, sha256 = arrived(store, "9.2.1")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    name = store.begin_trial(path, sha256)
    steps = [each if "writing" not in each else "sync trial" for each in happened]
    assert steps == [f"sync {path.name}", f"name {name}", "sync bundles", "sync partial", "sync trial", f"name {TRIAL}", "sync bundles",
                     f"name {CURRENT}", "sync bundles"]  # fmt: skip
