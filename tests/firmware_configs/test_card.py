"""Cards of a classroom: made whole or not at all, each with its own secrets, and known again."""

from __future__ import annotations

import errno
import html.parser
import json
import lzma
import pathlib
import re
import resource
import shutil
import stat
import sys

import pytest

pytest.importorskip("passlib", reason="libpass is not installed (the extra kit)")
pytest.importorskip("segno", reason="segno is not installed (the extra kit)")

import edge.cli
from edge.errors import InputError
from firmware_configs import card
from firmware_configs.batch import Batch, read_passwords
from firmware_configs.boot_files import Target
from firmware_configs.classroom import Kit, read_classroom
from firmware_configs.fat import FatVolume
from firmware_configs.image import open_boot
from firmware_configs.load import load
from firmware_configs.password import fits
from tests.firmware_configs.disk import MIB, START, by_mtools, checked, dos_table, make_disk
from tests.firmware_configs.payloads import make_payload

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KITS = "hostname,wifi,wifi_password,wifi_country,bluetooth,note\nkit-01,School,longenough,KE,yes,left\nkit-02,,,,,right\nkit-03,,,,,\n"


@pytest.fixture
def stock(tmp_path) -> pathlib.Path:
    return make_disk(tmp_path / "raspios-trixie.img", wide=False, boot_mib=8, root_mib=1)


@pytest.fixture
def kits(tmp_path) -> pathlib.Path:
    path = tmp_path / "classroom.csv"
    path.write_text(KITS)
    return path


@pytest.fixture
def payload(tmp_path) -> pathlib.Path:
    return make_payload(tmp_path / "payload")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs ``affectkit kit ...``; status, standard output and the lines on standard error."""
    monkeypatch.setattr(edge.cli, "commands", lambda: {"kit": "firmware_configs.cli:add_commands"})

    def run(*arguments):
        status = edge.cli.main(["kit", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return run


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


ALL = {"kit-01.img", "kit-02.img", "kit-03.img", "passwords.csv", "sheet.html"}


ROOM = ("--root-room", 2, "--data-partition", 192)
"""Small, as these images are read whole."""


def test_every_line_becomes_a_card_that_is_what_it_should_be(run, stock, kits, payload, tmp_path):
    out = tmp_path / "cards"
    before = stock.read_bytes()
    status, said, err = run("card", "--image", stock, "--kits", kits, "--payload", payload, "-o", out, *ROOM)
    assert (status, err) == (0, [])
    assert "3 cards for Raspberry Pi OS trixie" in said
    assert names(out) == ALL
    assert stock.read_bytes() == before
    end = START + 8 * MIB
    hashes = set()
    for kit, password in read_passwords(out / "passwords.csv").items():
        image = out / f"{kit}.img"
        after = image.read_bytes()
        # Beyond the boot partition, the partition table alone has changed.
        assert (after[:446], after[510:START], after[end : len(before)]) == (before[:446], before[510:START], before[end:])
        assert not after[len(before) :].strip(b"\0")
        assert checked(image) in ("", "absent")
        assert run("verify-image", image, "--kits", kits) == (0, f"{image}: is what it should be\n", [])
        assert password.encode() not in after[: len(before)]
        assert b"longenough" not in after[: len(before)]
        with open_boot(image) as volume:
            assert volume.read("affectkit/install.sh") == b"#!/bin/sh\n"
            hashes.add(hash_ := card.hash_on(volume))
            assert fits(password, hash_)
    assert len(hashes) == 3


@pytest.mark.skipif(not shutil.which("mtype"), reason="mtools is not installed (apt install mtools)")
def test_mtools_sees_what_was_written(run, stock, kits, payload, tmp_path):
    run("card", "--image", stock, "--kits", kits, "--payload", payload, "-o", tmp_path / "cards")
    image = tmp_path / "cards/kit-01.img"
    manifest = json.loads(by_mtools(image, "affectkit/card.json"))
    for path in (path for path in payload.rglob("*") if path.is_file()):
        assert by_mtools(image, f"affectkit/{path.relative_to(payload)}") == path.read_bytes()
    assert set(manifest["files"]) >= {"config.txt", "cmdline.txt", "user-data", "affectkit/kit.toml", "affectkit/install.sh"}


def test_bookworm_gets_its_own_files_and_none_of_cloud_init(run, tmp_path, kits):
    stock = make_disk(tmp_path / "a.img", wide=False, boot_mib=8, trixie=False)
    assert run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards")[0] == 0
    with open_boot(tmp_path / "cards/kit-02.img") as volume:
        found = set(volume.walk())
    assert {"firstrun.sh", "userconf.txt"} <= found
    assert not {"user-data", "meta-data", "network-config", "ssh"} & found


@pytest.mark.parametrize(("says", "other"), [("trixie", "bookworm"), ("bookworm", "trixie")])
def test_an_image_of_the_other_system_is_refused(run, tmp_path, kits, says, other):
    stock = make_disk(tmp_path / "a.img", wide=False, boot_mib=8, trixie=other == "trixie")
    status, _, err = run("card", "--image", stock, "--os", says, "--kits", kits, "-o", tmp_path / "cards")
    assert (status, len(err)) == (2, 1)
    assert f"looks like {other}" in err[0]
    assert names(tmp_path / "cards") == set()


def test_a_packed_image_gives_the_same_cards(run, stock, kits, tmp_path):
    packed = tmp_path / "raspios-trixie-lite.img.xz"
    packed.write_bytes(lzma.compress(stock.read_bytes(), preset=0))
    assert run("card", "--image", packed, "--kits", kits, "-o", tmp_path / "cards")[0] == 0
    assert names(tmp_path / "cards") == ALL
    assert run("verify-image", tmp_path / "cards/kit-03.img", "--kits", kits)[0] == 0


def test_system_and_board_are_the_payloads_where_nobody_says(run, stock, kits, payload, tmp_path):
    packed = tmp_path / "school.img.xz"
    packed.write_bytes(lzma.compress(stock.read_bytes(), preset=0))
    where = ("--image", packed, "--kits", kits, "-o", tmp_path / "cards")
    status, _, err = run("card", *where)
    assert (status, len(err)) == (2, 1)
    assert "say --os trixie or --os bookworm" in err[0]
    assert run("card", *where, "--payload", payload, "--kit", "kit-01")[0] == 0
    with open_boot(tmp_path / "cards/kit-01.img") as volume:
        manifest = card.manifest_of(volume)
    assert (manifest["os"], manifest["board"], manifest["room"]) == ("trixie", "pi-4", {"root_mib": 1024, "data_mib": 512})


def test_a_card_without_a_data_partition_is_as_large_as_its_image(run, stock, kits, tmp_path):
    assert run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards", "--kit", "kit-01", "--no-data-partition")[0] == 0
    assert (tmp_path / "cards/kit-01.img").stat().st_size == stock.stat().st_size
    assert run("verify-image", tmp_path / "cards/kit-01.img", "--kits", kits)[0] == 0


def test_secrets_are_for_their_owner_and_the_sheet_has_all(run, stock, kits, tmp_path):
    run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards")
    for name in ("passwords.csv", "sheet.html"):
        assert stat.S_IMODE((tmp_path / "cards" / name).stat().st_mode) == 0o600
    page = (tmp_path / "cards/sheet.html").read_text()
    for host, password in read_passwords(tmp_path / "cards/passwords.csv").items():
        assert f"<h2>{host}</h2>" in page
        assert f"<code>{password}</code>" in page
    assert page.count("<svg") == 3
    assert "longenough" not in page
    seen: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.extend(value or "" for name, value in attrs if name in ("src", "href"))

    Reader().feed(page)
    assert seen == []
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)


def test_what_changed_on_a_card_is_told_line_by_line(run, stock, kits, tmp_path):
    run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards")
    image = tmp_path / "cards/kit-01.img"
    with open_boot(image, write=True) as volume:
        volume.write("config.txt", volume.read("config.txt").replace(b"400000", b"100000"))
        volume.delete("meta-data")
        volume.write("affectkit/ABOUT.txt", b"short")
    status, said, _ = run("verify-image", image)
    assert status == 1
    assert "config.txt: has changed since the card was made" in said
    assert "meta-data: is missing" in said
    assert "affectkit/ABOUT.txt: has 5 bytes instead of" in said
    assert said.endswith("NOT what it should be\n")


def test_a_card_of_another_list_is_told(run, stock, kits, tmp_path):
    run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards")
    other = tmp_path / "other.csv"
    other.write_text(KITS.replace(",KE,", ",NO,").replace("kit-02", "kit-09"))
    assert "network-config: is not what the list says" in run("verify-image", tmp_path / "cards/kit-01.img", "--kits", other)[1]
    assert "no line of the list has it" in run("verify-image", tmp_path / "cards/kit-02.img", "--kits", other)[1]
    assert "no card that `affectkit kit card` has made" in run("verify-image", stock)[1]


def test_resume_keeps_what_is_complete_and_makes_the_rest(run, stock, kits, tmp_path):
    out = tmp_path / "cards"
    run("card", "--image", stock, "--kits", kits, "-o", out, *ROOM)
    before = (out / "passwords.csv").read_text()
    kept, inode = (out / "kit-01.img").read_bytes(), (out / "kit-01.img").stat().st_ino
    (out / "kit-02.img").unlink()
    with open_boot(out / "kit-03.img", write=True) as volume:
        volume.delete("user-data")
    assert run("card", "--image", stock, "--kits", kits, "-o", out, "--resume", *ROOM)[0] == 0
    assert (out / "passwords.csv").read_text() == before
    assert (out / "kit-01.img").stat().st_ino == inode
    assert (out / "kit-01.img").read_bytes() == kept
    assert all(run("verify-image", out / f"kit-0{n}.img", "--kits", kits)[0] == 0 for n in (1, 2, 3))


def test_one_line_of_the_list_can_be_asked_for(run, stock, kits, tmp_path):
    assert run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards", "--kit", "kit-02")[0] == 0
    assert names(tmp_path / "cards") == {"kit-02.img", "passwords.csv", "sheet.html"}
    assert run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "x", "--kit", "kit-9")[0] == 2


def no_image(tmp_path, stock, payload):
    stock.write_bytes(b"hello" * 1000)


def no_fat(tmp_path, stock, payload):
    dos_table(stock, [(0x83, START, 8 * MIB)])


def truncated(tmp_path, stock, payload):
    with stock.open("r+b") as file:
        file.truncate(START + 4 * MIB)


def too_full(tmp_path, stock, payload):
    shutil.rmtree(payload)
    make_payload(payload, files={"big": bytes(9 * MIB)})


def no_pi(tmp_path, stock, payload):
    with open_boot(stock, write=True) as volume:
        volume.delete("config.txt")


def other_system(tmp_path, stock, payload):
    shutil.rmtree(payload)
    make_payload(payload, os_name="bookworm")


def bad_settings(tmp_path, stock, payload):
    (payload / "kit.toml").write_text("[sourcs]\n")


def strap(tmp_path, stock, payload):
    (payload / "kit.toml").write_text('[sources]\nuse = ["strap:Polar"]\n')


def linked(tmp_path, stock, payload):
    (payload / "passwd").symlink_to("/etc/passwd")


def bad_name(tmp_path, stock, payload):
    shutil.rmtree(payload)
    make_payload(payload, files={"a:b": b"x"})


def existing(tmp_path, stock, payload):
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards/kit-02.img").write_text("mine")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (no_image, "is not the image of a disk"),
        (no_fat, "no FAT partition to boot from"),
        (truncated, "bytes before partition"),
        (too_full, r"the boot partition is too full, \d+ bytes are missing"),
        (no_pi, "no file config.txt on the boot partition"),
        (other_system, "is for the os bookworm, the card for trixie"),
        (bad_settings, "unknown key 'sourcs'"),
        (strap, "kit-02: kit.toml has a strap: source, and Bluetooth is off"),
        (linked, "is a link"),
        (bad_name, "':' cannot be in a name"),
        (existing, "exists and is not overwritten"),
    ],
)
def test_bad_input_is_one_line_status_2_and_no_card(run, stock, kits, payload, tmp_path, harm, says):
    harm(tmp_path, stock, payload)
    before = names(tmp_path / "cards")
    status, _, err = run("card", "--os", "trixie", "--image", stock, "--kits", kits, "--payload", payload, "-o", tmp_path / "cards")
    assert status == 2
    assert len(err) == 1
    assert re.search(says, err[0])
    assert names(tmp_path / "cards") == before


@pytest.mark.parametrize("limit_mib", [5, 20])
def test_a_full_disk_is_one_line_and_no_card(run, stock, kits, tmp_path, limit_mib):
    # Too little for a copy of the image; for the copy, and not for the room that it gets.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_mib * MIB, before[1]))
    try:
        status, _, err = run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, len(err)) == (2, 1)
    assert "the disk is full" in err[0]
    assert names(tmp_path / "cards") == set()


def test_a_disk_that_fills_up_while_a_card_is_edited_is_one_line_and_no_card(run, monkeypatch, stock, kits, tmp_path):
    def write(self, name, source, size_bytes=None):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FatVolume, "write", write)
    status, _, err = run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards")
    assert (status, len(err)) == (2, 1)
    assert "kit-01.img.partial: the disk is full" in err[0]
    assert names(tmp_path / "cards") == set()


@pytest.mark.parametrize("packed", [False, True])
def test_an_interruption_leaves_whole_cards_only_and_can_be_resumed(stock, kits, tmp_path, packed):
    if packed:
        (tmp_path / "a.img.xz").write_bytes(lzma.compress(stock.read_bytes(), preset=0))
        stock = tmp_path / "a.img.xz"
    begun: list[str] = []

    def tell(what: str):
        begun.append(what)
        if what.startswith("kit-02"):
            raise KeyboardInterrupt
        return lambda share: None

    listed = read_classroom(kits)
    what = load(Target("trixie"))
    with pytest.raises(KeyboardInterrupt):
        Batch(stock, listed, what, tmp_path / "cards").make(tell)
    assert names(tmp_path / "cards") == {"kit-01.img", "passwords.csv", "sheet.html"}
    Batch(stock, listed, what, tmp_path / "cards", resume=True).make()
    assert names(tmp_path / "cards") == ALL


def test_cards_that_were_made_twice_differ_in_their_passwords_alone(stock, tmp_path):
    kit = Kit("kit-01")
    what = load(Target("trixie"))
    images = []
    for name in ("a", "b"):
        Batch(stock, [kit], what, tmp_path / name).make()
        images.append(tmp_path / name / "kit-01.img")
    with open_boot(images[0]) as one, open_boot(images[1]) as two:
        differing = {path for path in one.walk() if one.read(path) != two.read(path)}
    assert differing == {"user-data", "meta-data", "affectkit/card.json"}


def test_an_image_that_is_a_card_already_becomes_another_kits(stock, tmp_path):
    what = load(Target("trixie"))
    Batch(stock, [Kit("kit-01")], what, tmp_path / "a").make()
    Batch(tmp_path / "a/kit-01.img", [Kit("kit-02")], what, tmp_path / "b").make()
    assert card.check(tmp_path / "b/kit-02.img", [Kit("kit-02")]) == []


def test_a_damaged_manifest_is_told(stock, tmp_path):
    Batch(stock, [Kit("kit-01")], load(Target("trixie")), tmp_path / "a").make()
    for nonsense in (b"{", b"[]", b'{"format": 2}', b'{"format": 1, "os": "trixie", "board": "any", "hostname": "x", "files": {"a": 1}}'):
        with open_boot(tmp_path / "a/kit-01.img", write=True) as volume:
            volume.write(card.MANIFEST, nonsense)
        assert len(card.check(tmp_path / "a/kit-01.img")) == 1


def test_without_segno_nothing_is_written(run, monkeypatch, stock, kits, tmp_path):
    monkeypatch.setitem(sys.modules, "segno", None)
    status, _, err = run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards")
    assert (status, len(err)) == (2, 1)
    assert "pip install 'affectkit[kit]'" in err[0]
    assert names(tmp_path / "cards") == set()


def test_kits_that_are_added_later_are_on_the_sheet_with_the_others(run, stock, kits, tmp_path):
    run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards", "--kit", "kit-01")
    before = read_passwords(tmp_path / "cards/passwords.csv")["kit-01"]
    assert run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards", "--kit", "kit-02", "--resume")[0] == 0
    assert read_passwords(tmp_path / "cards/passwords.csv")["kit-01"] == before
    assert re.findall("<h2>(.*?)</h2>", (tmp_path / "cards/sheet.html").read_text()) == ["kit-01", "kit-02"]


def test_a_device_that_is_no_disk_is_refused_before_anything_is_made(run, stock, kits, tmp_path):
    status, _, err = run("card", "--image", stock, "--kits", kits, "-o", tmp_path / "cards", "--to", "/dev/null")
    assert (status, len(err)) == (2, 1)
    assert names(tmp_path / "cards") == set()
    with pytest.raises(InputError):
        Batch(tmp_path / "none.img", [Kit("a")], load(Target("trixie")), tmp_path)
