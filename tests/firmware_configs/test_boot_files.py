"""What a card tells the firmware, the kernel and the first boot."""

from __future__ import annotations

import re
import shutil
import subprocess

import hypothesis
import hypothesis.strategies as st
import pytest

from edge.errors import InputError
from firmware_configs import boards, boot_files
from firmware_configs.boot_files import Target, edited_cmdline, edited_config, first_boot_files
from firmware_configs.classroom import Kit, Wifi
from tests.firmware_configs.disk import CMDLINE, CONFIG

HASH = "$6$3BLQuSnBN2TNJINe$" + "a" * 86
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f it's mine"
PLAIN = Kit("kit-01")
FULL = Kit("kit-02", Wifi("School 'Öl' \"x\" $(reboot) \\", "it's `secret` $x", "KE"), True, KEY, "note")
TARGETS = [Target("bookworm"), Target("trixie"), Target("trixie", "pi-4")]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kit", [PLAIN, FULL])
def test_every_line_of_config_txt_says_why_and_what_was_there_stays(kit, target):
    text = edited_config(CONFIG, kit, target).decode()
    assert text.startswith(CONFIG.decode())
    block = text[len(CONFIG) :].splitlines()
    assert (block[0], block[-1]) == (boot_files.BEGIN, boot_files.END)
    settings = [i for i, line in enumerate(block) if not line.startswith("#")]
    assert all(block[i - 1].startswith("# ") and i - 1 not in settings for i in settings)
    assert {"dtparam=i2c_arm=on", "dtparam=i2c_arm_baudrate=400000", "camera_auto_detect=1", "dtparam=watchdog=on"} <= set(block)
    assert ("dtoverlay=disable-wifi" in block) == (kit.wifi is None)
    assert ("dtoverlay=disable-bt" in block) == (not kit.bluetooth)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kit", [PLAIN, FULL])
@pytest.mark.parametrize("before", [CONFIG, b"", b"no end of line", b"caf\xe9 of an old editor\r\n"])
def test_edits_may_be_repeated(kit, target, before):
    once = edited_config(before, FULL if kit is PLAIN else PLAIN, target)
    twice = edited_config(once, kit, target)
    assert twice == edited_config(twice, kit, target) == edited_config(before, kit, target)
    line = edited_cmdline(edited_cmdline(CMDLINE, FULL, Target("bookworm")), kit, target)
    assert line == edited_cmdline(line, kit, target) == edited_cmdline(CMDLINE, kit, target)


def test_a_block_without_an_end_is_refused():
    with pytest.raises(InputError, match="no '# <<< affectkit' after it"):
        edited_config((boot_files.BEGIN + "\nx\n").encode(), PLAIN, TARGETS[0])


@pytest.mark.parametrize("bad", [b"", b"root=a\nroot=b\n", b"console=tty1\n"])
def test_what_is_no_kernel_command_line_is_refused(bad):
    with pytest.raises(InputError, match="is not one line with root="):
        edited_cmdline(bad, PLAIN, TARGETS[0])


def test_the_command_line_stays_one_line_and_about_says_why_of_each_word():
    for target in TARGETS:
        line = edited_cmdline(CMDLINE, FULL, target)
        assert line.count(b"\n") == 1
        assert line.startswith(CMDLINE.rstrip())
        about = first_boot_files(FULL, HASH, target, installs=False)["affectkit/ABOUT.txt"].decode()
        for word in line.decode().split()[len(CMDLINE.split()) :]:
            assert re.search(rf"^  {re.escape(word)}: .+\.$", about, re.MULTILINE)
        assert (b"systemd.run=/boot/firmware/firstrun.sh" in line) == (target.os == "bookworm")
        assert b"cfg80211.ieee80211_regdom=KE" in line


STOCK_WORDS = ["init=/usr/lib/raspberrypi-sys-mods/firstboot", "init=/usr/lib/raspi-config/init_resize.sh", "resize"]


@pytest.mark.parametrize("word", STOCK_WORDS)
def test_words_that_make_the_root_as_large_as_the_card_go_where_something_lies_behind_it(word):
    before = CMDLINE.rstrip() + f" {word} splash\n".encode()
    assert word in edited_cmdline(before, PLAIN, Target("trixie")).decode().split()
    line = edited_cmdline(before, PLAIN, Target("trixie", own_layout=True)).decode()
    assert line.startswith(CMDLINE.decode().rstrip() + " splash ")
    assert not {word} & set(line.split())
    # The initramfs greps for these in the whole line.
    assert "firstboot" not in line
    assert " resize" not in line
    about = first_boot_files(PLAIN, HASH, Target("trixie", own_layout=True), installs=False)["affectkit/ABOUT.txt"].decode()
    assert re.search(rf"^  {re.escape(word)}: .+\.$", about, re.MULTILINE)


@pytest.mark.parametrize("target", TARGETS)
def test_no_password_is_on_the_card(target):
    for path, content in first_boot_files(FULL, HASH, target, installs=True).items():
        assert FULL.wifi.password.encode() not in content, path
        assert b"secret" not in content, path


def test_any_board_gets_the_lines_of_all():
    lines = {line.line for line in Target("trixie").config_lines()}
    assert lines >= {line.line for name in boards.board_names() for line in boards.named(name).config_txt}


@pytest.mark.skipif(not shutil.which("cloud-init"), reason="cloud-init is not installed (apt install cloud-init)")
@pytest.mark.parametrize("kit", [PLAIN, FULL])
def test_cloud_init_takes_the_user_data(tmp_path, kit):
    (tmp_path / "user-data").write_bytes(first_boot_files(kit, HASH, Target("trixie", own_layout=True), installs=True)["user-data"])
    found = subprocess.run(["cloud-init", "schema", "-c", str(tmp_path / "user-data")], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


SSID = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp")), min_size=1).filter(
    lambda t: len(t.encode()) <= 32
)


@hypothesis.given(SSID, st.sampled_from(["", "password"]))
def test_yaml_means_what_the_list_says(name, password):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    kit = Kit("kit-01", Wifi(name, password, "NO"), ssh_key=KEY)
    files = first_boot_files(kit, HASH, Target("trixie"), installs=True)
    network = yaml.safe_load(files["network-config"])["network"]["wifis"]["wlan0"]
    assert network["regulatory-domain"] == "NO"
    wanted = {"password": kit.wifi.key} if password else {"auth": {"key-management": "none"}}
    assert network["access-points"] == {name: wanted}
    user = yaml.safe_load(files["user-data"])
    assert user["users"][0]["hashed_passwd"] == HASH
    assert user["users"][0]["ssh_authorized_keys"] == [KEY]
    assert user["hostname"] == "kit-01"
    assert user["bootcmd"] == [["sh", "/boot/firmware/affectkit/install.sh", "--hook"]]
    assert "growpart" not in user
    own = yaml.safe_load(first_boot_files(kit, HASH, Target("trixie", own_layout=True), installs=False)["user-data"])
    assert (own["growpart"], own["resize_rootfs"], "bootcmd" in own) == ({"mode": "off"}, True, False)
    assert yaml.safe_load(files["meta-data"])["instance-id"].startswith("kit-01-")
