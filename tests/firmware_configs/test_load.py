"""Which payloads go onto a card: whole ones, for this system and board, and nothing that nobody vouches for."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

import firmware_configs
from edge.errors import InputError
from firmware_configs.boot_files import Target
from firmware_configs.load import CURRENT, DEFAULT_SETTINGS, load, notes
from firmware_configs.update import STORE, store
from tests.firmware_configs.payloads import FILES, make_payload

PI_4 = Target("trixie", "pi-4")
KIT_TOML = "affectkit/kit.toml"


@pytest.fixture
def payload(tmp_path) -> pathlib.Path:
    return make_payload(tmp_path / "payload")


def refused(payload: pathlib.Path, target: Target = PI_4) -> str:
    with pytest.raises(InputError) as caught:
        load(target, payload)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_payload_is_taken_with_its_listing(payload):
    what = load(Target("trixie", "pi-4"), payload)
    assert set(what.files) == {f"affectkit/{name}" for name in FILES} | {"affectkit/payload.json", KIT_TOML}
    assert what.installs
    assert what.sums["affectkit/install.sh"][0] == len(FILES["install.sh"])


def test_what_cards_lack_without_being_wrong_is_told(payload, tmp_path):
    settings = tmp_path / "kit.toml"
    settings.write_text('[bundle]\npath = "/srv/affectkit/bundles/current.affectkit"\n[sources]\nuse = ["replay:lesson.session.zip"]\n')
    assert notes(load(PI_4, payload, settings), {"proved": {"decisions": 20}}) == []
    settings.write_text('[sources]\nuse = ["picamera2:0"]\n')
    bundle, purpose, proof = notes(load(PI_4, payload, settings), {"proved": None})
    assert "will not use the bundles of update sticks" in bundle
    assert "sense nobody" in purpose and "jurisdiction" in purpose
    assert "not proved" in proof
    assert all("\n" not in line for line in (bundle, purpose, proof))


def test_the_bundle_that_sticks_change_has_one_name_everywhere():
    assert str(STORE / "bundles" / store.CURRENT) == CURRENT == install_steps_current()


def install_steps_current() -> str:
    """What the installer calls it; it runs on its own, so it cannot ask."""
    text = (pathlib.Path(firmware_configs.__file__).parent / "boot/firmware/affectkit/install_steps.py").read_text()
    return re.search(r'(?m)^CURRENT = "([^"]+)"$', text)[1]


def test_settings_are_the_given_or_the_payloads_or_the_default(payload, tmp_path):
    assert load(Target("trixie"), payload).files[KIT_TOML] == DEFAULT_SETTINGS
    (payload / "kit.toml").write_text("[outputs]\nconsole = false\n")
    assert load(Target("trixie"), payload).files[KIT_TOML] == payload / "kit.toml"
    (tmp_path / "mine.toml").write_text("[outputs]\nconsole = true\n")
    assert load(Target("trixie"), payload, tmp_path / "mine.toml").files[KIT_TOML] == tmp_path / "mine.toml"


def test_what_file_managers_leave_behind_and_old_logs_stay_at_home(payload):
    for name in (".DS_Store", "wheels/._numpy", "wheels/Thumbs.db", "install.log", "first-boot.log"):
        (payload / name).write_bytes(b"x")
    assert set(load(Target("trixie"), payload).files) == set(load(Target("trixie"), make_payload(payload)).files)
    assert not [name for name in load(Target("trixie"), payload).files if "._" in name or "log" in name]


@pytest.mark.parametrize("name", FILES)
def test_one_byte_that_has_changed_is_found(payload, name):
    content = bytearray(FILES[name])
    content[len(content) // 2] ^= 1
    (payload / name).write_bytes(content)
    assert refused(payload).startswith(f"{payload / name}: has changed since the payload was made")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_short_or_missing_is_found(payload, name):
    (payload / name).write_bytes(FILES[name][:-1])
    assert f"has {len(FILES[name]) - 1} bytes instead of {len(FILES[name])}" in refused(payload)
    (payload / name).unlink()
    assert "is missing" in refused(payload)


def test_a_file_that_is_not_listed_is_refused(payload):
    (payload / "wheels/evil-1.0-py3-none-any.whl").write_bytes(b"x")
    assert "is not listed in payload.json" in refused(payload)


def test_a_name_that_leads_out_of_the_folder_is_never_followed(tmp_path):
    (tmp_path / "outside").write_bytes(b"x")
    payload = make_payload(tmp_path / "payload", files={})
    listing = json.loads((payload / "payload.json").read_text())
    for name in ("../outside", str(tmp_path / "outside")):
        (payload / "payload.json").write_text(json.dumps(listing | {"files": {name: {"bytes": 1, "sha256": "0"}}}))
        assert "is missing" in refused(payload)


def test_a_folder_without_a_listing_is_refused(payload, tmp_path):
    (payload / "payload.json").unlink()
    assert "has no payload.json" in refused(payload)
    assert "is no folder" in refused(tmp_path / "none")


def test_a_payload_for_another_system_or_board_is_refused(payload, tmp_path):
    assert "is for the os trixie, the card for bookworm" in refused(payload, Target("bookworm", "pi-4"))
    assert "is for the board pi-4, the card for pi-5" in refused(payload, Target("trixie", "pi-5"))
    assert load(Target("trixie", "any"), payload).installs


def change(**keys):
    return lambda says: says | keys


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (change(python="cp311"), "its wheels are for cp311, and trixie has cp313"),
        (change(format=2), "is of format 2"),
        (change(files=[]), "is damaged"),
        (change(files={"a": {"bytes": "1", "sha256": ""}}), "is damaged"),
        (change(files={"../../etc/passwd": {"bytes": 1, "sha256": "0"}}), "is not listed"),
        (change(board=None), "is damaged"),
        (change(board="pi-9"), "pi-9"),
        (lambda says: [], "is damaged"),
        (lambda says: {"format": 1}, "is damaged"),
    ],
)
def test_a_listing_that_is_nonsense_is_one_line(payload, changed, says):
    listing = payload / "payload.json"
    listing.write_text(json.dumps(changed(json.loads(listing.read_text()))))
    assert says in refused(payload, Target("trixie"))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_listing_that_is_no_json_is_one_line(payload, content):
    (payload / "payload.json").write_bytes(content)
    assert "payload.json" in refused(payload)


def test_a_link_is_refused(payload):
    (payload / "passwd").symlink_to("/etc/passwd")
    assert "is a link" in refused(payload)


def test_a_name_that_the_card_needs_is_refused(tmp_path):
    for name in ("card.json", "ABOUT.txt"):
        assert "the card itself needs" in refused(make_payload(tmp_path / name, files={name: b"x"}))
