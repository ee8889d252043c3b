"""Every bad stick that the other side can make, against a kit: refused in one line, nothing changed, and the next good stick is taken."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import re
import shutil
import time

import pytest

from edge.bundle import load_bundle
from firmware_configs.update.probe import Probed, examine
from firmware_configs.update.service import Led
from firmware_configs.update.store import CURRENT, GOOD, Store
from firmware_configs.update.take import Kit, Result, take
from tests.firmware_configs.stick.attacks import ATTACKS, FRESH, HARMLESS
from tests.firmware_configs.stick.workshop import Workshop
from tests.firmware_configs.update import made

LONGEST_S = 20.0
"""Of the processor; most take a tenth of a second."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.make(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def kits(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> collections.abc.Callable[[pathlib.Path, str], Kit]:
    """Makes kits: "fresh" from its card, or "used", which has taken the good stick."""
    good = {one.sha256 for one in (load_bundle(bundle.bundle.path) for bundle in workshop.bundles)}

    def probe(path: pathlib.Path, config: pathlib.Path | None) -> Probed:
        # The real one for all that is not known to be good; in this process, for the sake of time.
        try:
            known = load_bundle(path).sha256 in good
        except ValueError:
            known = False
        return made.passes(path) if known else examine(path, None)

    def kit(folder: pathlib.Path) -> Kit:
        store = Store(folder / "srv")
        store.recover()
        pause = made.FakePause()
        service = made.FakeService(store, pause)
        service.start()
        pause.wait(100)
        at = made.clock(store.update, workshop.now, synchronized=False, built=(workshop.now).date())
        return Kit(store, at, service, pause, Led(folder), workshop.root, folder / "kit.toml", probe)

    templates = {name: tmp_path_factory.mktemp(name) for name in ("fresh", "used")}
    kit(templates["fresh"])
    assert take(kit(templates["used"]), workshop.good).outcome == "updated"

    def make(folder: pathlib.Path, of: str) -> Kit:
        shutil.copytree(templates[of], folder, symlinks=True)
        return kit(folder)

    return make


@pytest.fixture(autouse=True)
def without_cryptography(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the device, Ed25519 in pure Python: for attacks on signatures, as it takes a hundred times as long."""
    if re.search("sign|stranger|key|root", request.node.name.partition("[")[2]):
        monkeypatch.setattr("securesystemslib.signer._key.CRYPTO_IMPORT_ERROR", "not on a kit")


def state(kit: Kit) -> dict[str, bytes | str]:
    """Everything that an update must not change unless it is taken: bundles, links, trusted metadata, clock, serials."""
    found: dict[str, bytes | str] = {}
    for path in sorted(kit.store.folder.rglob("*")):
        name = str(path.relative_to(kit.store.folder))
        if name == "update/last.json" or name.startswith("update/partial/"):
            continue
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


def refused(kit: Kit, stick: pathlib.Path) -> Result:
    before = state(kit)
    began_s = time.process_time()
    result = take(kit, stick)
    assert result.outcome in ("refused", "no update"), result.line
    assert time.process_time() - began_s < LONGEST_S
    assert "\n" not in result.line and result.line.isprintable() and len(result.line) < 600
    assert state(kit) == before
    assert kit.store.sound(kit.store.target(CURRENT)) and kit.service.state().word == "deciding"
    return result


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - HARMLESS))
def test_an_attack_changes_nothing_and_the_next_good_stick_is_taken(name, workshop, kits, tmp_path):
    kit = kits(tmp_path / "kit", "used")
    running = kit.store.target(CURRENT)
    stick = ATTACKS[name](dataclasses.replace(workshop, folder=tmp_path))
    result = refused(kit, stick)
    assert kit.store.target(CURRENT) == kit.store.target(GOOD) == running
    if result.outcome == "refused":
        assert ";" in result.line, "it says what to do"
        assert kit.led.word() == "update-refused"
    if name in FRESH:
        refused(kits(tmp_path / "fresh", "fresh"), stick)
    assert take(kit, workshop.newer).outcome == "updated"
    assert kit.store.target(CURRENT) == f"{workshop.bundle.bundle.sha256[:32]}.affectkit"


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_clutter_is_not_looked_at(name, workshop, kits, tmp_path):
    kit = kits(tmp_path / "kit", "used")
    stick = ATTACKS[name](dataclasses.replace(workshop, folder=tmp_path))
    began_s = time.process_time()
    assert take(kit, stick).outcome == "updated"
    assert time.process_time() - began_s < LONGEST_S
