"""A bundle on trial: confirmed by a minute of decisions, taken back without; also across power cuts and pulled sticks."""

from __future__ import annotations

import pathlib
import threading

import pytest

from edge.bundle import load_bundle
from firmware_configs.update import SETTLE
from firmware_configs.update.store import CURRENT, GOOD, Store
from firmware_configs.update.trial import LONGEST_S, alone, before_start, failed, settle
from tests.firmware_configs.update import made


class Case:
    """A kit with a bundle on trial, not yet started with it."""

    def __init__(self, folder: pathlib.Path):
        self.store = Store(folder / "srv")
        self.store.recover()
        self.good = self.store.target(GOOD)
        path = made.bundle(self.store.partial / "arrived.affectkit", "9.2.1")
        self.new = self.store.begin_trial(path, load_bundle(path).sha256)
        self.pause = made.FakePause()
        self.service = made.FakeService(self.store, self.pause)

    def settle(self):
        return settle(self.store, self.service, self.pause)

    def runs(self) -> str | None:
        return self.store.target(CURRENT)


@pytest.fixture
def case(tmp_path: pathlib.Path) -> Case:
    return Case(tmp_path)


def test_a_minute_of_decisions_confirms(case):
    case.service.start()
    began_s = case.pause.now_s()
    assert case.settle()[0] == "confirmed"
    assert 60 <= case.pause.now_s() - began_s <= 64
    assert case.runs() == case.store.target(GOOD) == case.new and case.store.trial() is None


def test_status_2_takes_it_back_at_once(case):
    """A bundle that is refused is not tried again by systemd (RestartPreventExitStatus=2)."""
    case.service.refuses = {case.new}
    case.service.start()
    assert case.settle() == ("fell back", "its settings or the bundle were refused")
    assert case.runs() == case.good and case.service.starts == [case.new, case.good]
    assert case.service.state().word == "deciding"


def test_one_that_dies_at_each_start_is_taken_back_by_the_fourth(case):
    case.service.dies = {case.new}
    case.service.start()
    outcome, why = case.settle()
    assert (outcome, why) == ("fell back", "it was started 3 times without a minute of decisions")
    assert case.service.starts == [case.new] * 3 + [case.good]
    assert list(failed(case.store)) == [case.new]


def test_one_that_decides_for_less_than_a_minute_each_time_is_taken_back(case):
    case.service.hangs = {case.new}
    case.service.start()
    assert case.settle()[0] == "fell back"
    assert case.service.starts == [case.new] * 3 + [case.good] and case.runs() == case.good


def test_one_that_starts_for_ever_is_taken_back_in_the_end(case):
    case.service.start()
    case.service.active, case.service.result = "activating", "success"
    case.service.pass_time = lambda: None
    case.pause.told.clear()
    began_s = case.pause.now_s()
    assert case.settle()[0] == "fell back"
    assert case.pause.now_s() - began_s < LONGEST_S + 10


def test_systemd_that_cannot_be_asked_settles_nothing_early(case):
    case.service.active = ""
    case.pause.told.clear()
    outcome, why = case.settle()
    assert outcome == "fell back" and "30 min" in why


def test_a_power_cut_during_the_trial_goes_on_with_it(case):
    """A boot: nothing is left but the card."""
    case.service.start()
    case.pause.wait(20)
    again = made.FakeService(case.store, case.pause)
    again.start()
    assert case.runs() == case.new
    assert ("systemctl", "start", "--no-block", SETTLE) in again.asked
    assert settle(case.store, again, case.pause)[0] == "confirmed"
    assert case.runs() == case.store.target(GOOD) == case.new


def test_power_cuts_at_each_start_end_with_the_good_bundle(case):
    for _ in range(3):
        made.FakeService(case.store, case.pause).start()
    last = made.FakeService(case.store, case.pause)
    last.start()
    assert last.starts == [case.good]
    assert case.store.trial() is None


def test_without_a_trial_nobody_is_asked_to_watch(tmp_path):
    store = Store(tmp_path / "srv")
    asked: list[object] = []
    name = before_start(store, lambda command, _: (asked.append(command) or 0, ""))
    assert name == store.target(CURRENT) == store.target(GOOD) and asked == []


def test_a_bundle_that_rots_on_trial_is_replaced_before_the_start(case):
    path = case.store.bundles / case.new
    path.write_bytes(path.read_bytes()[:-1])
    case.service.start()
    assert case.service.starts == [case.good] and case.store.trial() is None


def test_a_trial_that_cannot_be_counted_is_taken_back(case, monkeypatch):
    """A card that is full: new files have no room, but a link lies in its folder's own entry."""

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "_write_trial", full)
    case.service.start()
    assert case.service.starts == [case.good] and case.store.trial() is None


def test_settling_nothing_heals_what_is_damaged(tmp_path):
    store = Store(tmp_path / "srv")
    pause = made.FakePause()
    assert settle(store, made.FakeService(store, pause), pause)[0] == "no trial"
    assert store.sound(store.target(CURRENT))


def test_only_one_takes_or_settles_at_a_time(tmp_path):
    store = Store(tmp_path / "srv")
    with alone(store) as mine:
        assert mine
        with alone(store, wait=False) as second:
            assert not second
        waited = threading.Thread(target=lambda: alone(store).__enter__())
        waited.start()
        waited.join(0.05)
        assert waited.is_alive()
        # The bundles themselves are not locked meanwhile: the kit's start must not wait for a trial.
        store.recover()
    waited.join(5)
    assert not waited.is_alive()
