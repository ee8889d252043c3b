"""``kit stick check`` says of each stick what a kit would: the good ones are taken, every attack is refused in one line."""

from __future__ import annotations

import datetime

import pytest

from edge.errors import EdgeError, InputError
from firmware_configs.stick.check import check
from tests.firmware_configs.stick.attacks import ATTACKS, FRESH, HARMLESS
from tests.firmware_configs.stick.workshop import Workshop, path_of


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop.make(tmp_path_factory.mktemp("workshop") / "workshop")


def test_a_good_stick_is_taken(workshop):
    answer = check(workshop.newer, workshop.root, workshop.now, after=workshop.good)
    ((serial, one),) = answer.bundles
    assert (serial, one.title, one.sha256) == (3, "classroom 2030.3", workshop.bundle.sha256)
    assert answer.signed_at == workshop.now and (answer.expires - workshop.now).days == 400
    assert answer.warnings == ()


def test_an_end_that_is_near_is_told(workshop):
    (warning,) = check(workshop.newer, workshop.root, workshop.now + datetime.timedelta(days=370)).warnings
    assert "the stick ends on 6 July 2031, in 30 days: write it again soon" in warning


def test_nothing_on_the_stick_or_beside_the_root_changes(workshop):
    before = {path: path.stat().st_mtime_ns for folder in (workshop.newer, workshop.root.parent) for path in folder.rglob("*")}
    check(workshop.newer, workshop.root, workshop.now)
    assert before == {path: path.stat().st_mtime_ns for folder in (workshop.newer, workshop.root.parent) for path in folder.rglob("*")}


def test_several_bundles_are_shown_the_newest_first(workshop, tmp_path):
    import dataclasses

    from edge.bundle import load_bundle, write_bundle
    from firmware_configs.stick.bundles import checked

    good = load_bundle(workshop.bundle.bundle.path)
    manifest = dataclasses.replace(good.manifest, name="corridor")
    write_bundle(tmp_path / "c.affectkit", manifest, {name: good.part(name) for name in good.manifest.parts})
    stick = workshop.write("several", [workshop.bundle, checked(tmp_path / "c.affectkit")])
    answer = check(stick, workshop.root, workshop.now)
    assert [(serial, one.bundle.manifest.name) for serial, one in answer.bundles] == [(4, "corridor"), (3, "classroom")]


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - HARMLESS))
def test_an_attack_is_refused_in_one_line(workshop, name):
    stick = ATTACKS[name](workshop)
    with pytest.raises(EdgeError) as refused:
        check(stick, workshop.root, workshop.now, after=workshop.good)
    line = str(refused.value)
    assert line.isprintable() and len(line) < 500, line
    if name in FRESH:
        with pytest.raises(EdgeError):
            check(stick, workshop.root, workshop.now)


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_clutter_does_no_harm(workshop, name):
    assert check(ATTACKS[name](workshop), workshop.root, workshop.now, after=workshop.good).bundles[0][0] == 3


def test_the_attacks_are_of_a_good_stick(workshop):
    """If this fails, the attacks are refused for another reason than theirs."""
    assert check(workshop.copy("untouched"), workshop.root, workshop.now, after=workshop.good).bundles
    assert check(workshop.write("anew"), workshop.root, workshop.now, after=workshop.good).bundles
    resigned = workshop.copy("resigned")
    workshop.resign(resigned, "targets", lambda said: None)
    assert check(resigned, workshop.root, workshop.now, after=workshop.good).bundles


def test_without_an_update_or_a_root_it_is_said(workshop, tmp_path):
    with pytest.raises(InputError, match="has no affectkit-update: a kit would take nothing from it"):
        check(tmp_path, workshop.root, workshop.now)
    with pytest.raises(InputError, match=r"give the root.json that went onto the kit's card"):
        check(workshop.newer, tmp_path / "root.json", workshop.now)
    with pytest.raises(InputError):
        check(workshop.newer, path_of(workshop.newer, "snapshot"), workshop.now)
