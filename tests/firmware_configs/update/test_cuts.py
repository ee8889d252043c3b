"""The power goes at every step of an update in turn: the kit then starts with the old or the new bundle, and the stick ends it well.

Here a cut is the end of the process between two calls to the file system; what a disk makes of writes that were under way is for
``tests/power``, on a real kernel.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import typing

import pytest

from firmware_configs.update.service import Led
from firmware_configs.update.store import CURRENT, GOOD, Store
from firmware_configs.update.take import Kit, take
from firmware_configs.update.trial import before_start, settle
from tests.firmware_configs.update import made

CALLS = ("fsync", "replace", "symlink", "unlink", "mkdir", "write")


class CutError(BaseException):
    """Nothing may catch it."""


class Power:
    """Counts calls that change the card, and goes off before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.count, self.until = 0, 1 << 60
        for name in CALLS:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, real: typing.Callable[..., typing.Any]) -> typing.Callable[..., typing.Any]:
        def call(*arguments: typing.Any, **options: typing.Any) -> typing.Any:
            self.count += 1
            if self.count > self.until:
                raise CutError
            return real(*arguments, **options)

        return call


class School:
    """A kit from its card, and the stick for it."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.repository = folder, made.Repository()
        self.kit_folder = folder / "template"
        self.kit_folder.mkdir()
        self.old = made.kit(self.kit_folder, self.repository.roots[1]).store.target(CURRENT)
        self.repository.add(made.bundle(folder / "classroom.affectkit", "9.2.1"), 1)
        self.stick = self.repository.write(folder / "stick")

    def card(self, number: int) -> pathlib.Path:
        card = self.folder / f"card-{number}"
        shutil.copytree(self.kit_folder, card, symlinks=True)
        return card

    def boot(self, card: pathlib.Path, refuses: set[str | None]) -> Kit:
        """What a boot finds, started; the service ends with status 2 on bundles of ``refuses``."""
        store = Store(card / "srv")
        pause = made.FakePause()
        service = made.FakeService(store, pause)
        service.refuses = refuses
        service.start()
        pause.wait(100)
        return Kit(store, made.clock(store.update), service, pause, Led(card / "run"), card / "root.json", card / "none", made.passes)


@pytest.mark.parametrize("fails", [False, True], ids=["good bundle", "bundle that gives no decisions"])
def test_a_cut_at_any_step_leaves_the_old_or_the_new_bundle(tmp_path, monkeypatch, fails):
    school = School(tmp_path)
    power = Power(monkeypatch)
    kit = school.boot(school.card(0), set())
    begun = power.count
    take(kit, school.stick)
    steps, new = power.count - begun, kit.store.target(CURRENT)
    assert steps > 30 and new != school.old
    refuses = {new} if fails else set()
    seen = set()
    # Every third step, for the sake of time; the two ways do not take the same.
    for number in range(2 if fails else 1, steps + 1, 3):
        card = school.card(number)
        kit = school.boot(card, refuses)
        power.until = power.count + number
        with contextlib.suppress(CutError):
            take(kit, school.stick)
        power.until = 1 << 60
        store = Store(card / "srv")
        chosen = before_start(store, lambda *_: (0, ""))
        assert store.sound(chosen) and chosen in (school.old, new), number
        assert store.target(CURRENT) == chosen and store.sound(store.target(GOOD)), number
        seen.add(chosen)
        again = school.boot(card, refuses)
        settle(store, again.service, again.pause)
        take(again, school.stick)
        expected = school.old if fails else new
        assert again.store.target(CURRENT) == again.store.target(GOOD) == expected, number
        assert again.service.starts[-1] == expected and again.store.trial() is None
        shutil.rmtree(card)
    assert seen == {school.old, new}


def test_a_cut_at_any_step_of_the_first_start_leaves_a_whole_bundle(tmp_path, monkeypatch):
    """An empty card, or one whose bundles are gone: recovery itself is cut off."""
    power = Power(monkeypatch)
    Store(tmp_path / "0").recover()
    for number in range(power.count):
        store = Store(tmp_path / f"card-{number}")
        power.until, power.count = number, 0
        with pytest.raises(CutError):
            store.recover()
        power.until = 1 << 60
        assert store.sound(store.recover()) and store.target(CURRENT) == store.target(GOOD)
