"""The first boot of Bookworm: all is set, once, whenever the power fails. The system's own tools are rebuilt from their sources."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess

import pytest

from firmware_configs import boot_files
from firmware_configs.boot_files import Target, edited_cmdline, first_boot_files
from firmware_configs.classroom import Kit
from tests.firmware_configs.disk import CMDLINE
from tests.firmware_configs.test_boot_files import FULL, HASH, KEY, PLAIN

# raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/imager_custom; set_hostname is raspi-config's do_hostname.
IMAGER = r"""#!/bin/sh
set -e
printf '[%s]' "$@" >>"$CALLS"; echo >>"$CALLS"
case "$1" in
    set_hostname)
        old="$(cat "$ROOT/etc/hostname")"
        tick && echo "$2" >"$ROOT/etc/hostname"
        tick && sed -i "s/127.0.1.1.*$old/127.0.1.1\t$2/g" "$ROOT/etc/hosts" ;;
    enable_ssh)
        home="$(getent passwd 1000 | cut -d: -f6)"
        tick && mkdir -p "$ROOT$home/.ssh" && tick && echo "$3" >>"$ROOT$home/.ssh/authorized_keys" ;;
    set_wlan) tick && printf 'ssid=%s\npsk=%s\n' "$2" "$3" >"$ROOT/etc/wifi" ;;
esac
"""
# userconf-pi, userconf.
USERCONF = r"""#!/bin/sh
printf '[%s]' "$@" >>"$CALLS"; echo >>"$CALLS"
first="$(getent passwd 1000 | cut -d: -f1)"
group="$(getent group 1000 | cut -d: -f1)"
if [ "$first" != "$1" ]; then
    usermod -l "$1" "$first"
    usermod -m -d "/home/$1" "$1"
    groupmod -n "$1" "$group"
fi
tick && echo "$1:$2" >"$ROOT/etc/shadow"
"""
# raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/regenerate_ssh_host_keys.
HOST_KEYS = """#!/bin/sh -e
rm -f "$ROOT"/etc/ssh/ssh_host_*_key*
tick && echo secret >"$ROOT/etc/ssh/ssh_host_ed25519_key"
"""
# tick counts, and ends everything at the number CUT: the power has failed.
TOOLS = {
    "tick": """#!/bin/sh
echo x >>"$TICKS"
[ "$(wc -l <"$TICKS")" -ne "${CUT:-0}" ] || kill -9 0
""",
    "getent": """#!/bin/sh
case "$2" in
    [0-9]*) grep "^[^:]*:[^:]*:$2:" "$ROOT/etc/$1" ;;
    *) grep "^$2:" "$ROOT/etc/$1" ;;
esac
""",
    "usermod": """#!/bin/sh
tick
case "$1" in
    -l) sed -i "s|^$3:|$2:|" "$ROOT/etc/passwd" ;;
    -m)
        mv "$ROOT$(getent passwd "$4" | cut -d: -f6)" "$ROOT$3"
        sed -i "s|^\\($4:.*:\\)/home/[^:]*|\\1$3|" "$ROOT/etc/passwd" ;;
esac
""",
    "groupmod": """#!/bin/sh
tick && sed -i "s|^$3:|$2:|" "$ROOT/etc/group"
""",
    "sync": """#!/bin/sh
tick && exec /usr/bin/sync "$@"
""",
    "dd": """#!/bin/sh
tick && /usr/bin/dd "$@" && tick
""",
    "mv": """#!/bin/sh
tick && exec /usr/bin/mv "$@"
""",
}  # fmt: skip
INSTALL = """printf 'install %s\n' "$*" >>"$CALLS"; tick; [ -n "$1" ] || echo whole >"$ROOT/etc/installed"; tick
"""


@dataclasses.dataclass(frozen=True)
class Board:
    """A pretended kit with its card."""

    folder: pathlib.Path

    @property
    def boot(self) -> pathlib.Path:
        return self.folder / "boot"

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def log(self) -> str:
        return (self.boot / "affectkit/first-boot.log").read_text()

    def start(self, cut: int = 0) -> int:
        """The boot that runs firstrun.sh; its status, negative if the power failed at tick number ``cut``."""
        (self.folder / "ticks").write_text("")
        names = {"AFFECTKIT_BOOT": "boot", "AFFECTKIT_ROOT": "root", "ROOT": "root", "CALLS": "calls", "TICKS": "ticks"}
        environment = {name: str(self.folder / inside) for name, inside in names.items()}
        environment |= {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "CUT": str(cut)}
        done = subprocess.run(
            ["sh", str(self.boot / "firstrun.sh")], env=environment, capture_output=True, text=True, start_new_session=True
        )
        assert done.stderr == ""
        return done.returncode

    @property
    def ticks(self) -> int:
        return len((self.folder / "ticks").read_text().splitlines())

    @property
    def hooked(self) -> bool:
        return "systemd.run=" in (self.boot / "cmdline.txt").read_text()

    def state(self) -> dict[str, str]:
        """Every file that matters, by its path."""
        ignored = ("first-boot.log", "firstrun.sh", "userconf.txt")
        paths = [path for top in ("boot", "root") for path in sorted((self.folder / top).rglob("*")) if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_text() for path in paths if path.name not in ignored}


def board(folder: pathlib.Path, kit: Kit, *, broken: str = "") -> Board:
    made = Board(folder)
    root = folder / "root"
    for path in (
        made.boot / "affectkit",
        root / "usr/lib/raspberrypi-sys-mods",
        root / "usr/lib/userconf-pi",
        root / "etc/ssh",
        folder / "bin",
    ):
        path.mkdir(parents=True)
    (root / "home/pi").mkdir(parents=True)
    (root / "home/pi/.bashrc").write_text("# pi\n")
    etc = {"hostname": "raspberrypi\n", "hosts": "127.0.0.1\tlocalhost\n127.0.1.1\t\traspberrypi\n", "shadow": "pi:*\n"}
    etc |= {"passwd": "root:x:0:0::/root:/bin/sh\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n", "group": "root:x:0:\npi:x:1000:\n"}
    for name, content in etc.items():
        (root / "etc" / name).write_text(content)
    tools = {"raspberrypi-sys-mods/imager_custom": IMAGER, "userconf-pi/userconf": USERCONF}
    tools |= {"raspberrypi-sys-mods/regenerate_ssh_host_keys": HOST_KEYS}
    scripts = {root / "usr/lib" / name: content for name, content in tools.items()} | {folder / "bin" / n: c for n, c in TOOLS.items()}
    for path, content in scripts.items():
        path.write_text("#!/bin/sh\nexit 7\n" if broken and broken in path.name else content)
        path.chmod(0o755)
    target = Target("bookworm", own_layout=True)
    for name, content in first_boot_files(kit, HASH, target, installs=True).items():
        (made.boot / name).write_bytes(content)
    (made.boot / "cmdline.txt").write_bytes(edited_cmdline(CMDLINE, kit, target))
    (made.boot / "affectkit/install.sh").write_text(INSTALL)
    (folder / "calls").write_text("")
    return made


def test_all_is_set_and_it_does_not_come_again(tmp_path):
    kit = board(tmp_path, FULL)
    length = len((kit.boot / "cmdline.txt").read_bytes())
    assert kit.start() == 0
    assert kit.calls == [
        "install --hook",
        "[set_hostname][kit-02]",
        f"[kit][{HASH}]",
        f"[enable_ssh][-k][{KEY}]",
        f"[set_wlan][{FULL.wifi.name}][{FULL.wifi.key}][KE]",
        "install ",
    ]
    words = [word.line for word in boot_files.words(FULL, Target("trixie"))]
    line = (kit.boot / "cmdline.txt").read_bytes()
    assert line.decode().split() == [*CMDLINE.decode().split(), *words]
    # Written over in place: no byte more or less, so that neither the folder nor the table of the FAT changes.
    assert len(line) == length <= 512
    assert line.count(b"\n") == 1
    assert {path.name for path in kit.boot.iterdir()} == {"affectkit", "cmdline.txt", "ssh"}
    assert "all done" in kit.log
    state = kit.state()
    assert state["root/etc/hosts"] == "127.0.0.1\tlocalhost\n127.0.1.1\tkit-02\n"
    assert state["root/etc/passwd"].endswith("kit:x:1000:1000:,,,:/home/kit:/bin/bash\n")
    assert state["root/home/kit/.ssh/authorized_keys"] == KEY + "\n"
    assert state["root/etc/ssh/ssh_host_ed25519_key"] == "secret\n"


def test_a_power_cut_anywhere_ends_in_the_same_kit(tmp_path):
    whole = board(tmp_path / "whole", FULL)
    assert whole.start() == 0
    wanted, ticks = whole.state(), whole.ticks
    assert ticks > 10
    for cut in range(1, ticks + 1):
        cut_off = board(tmp_path / str(cut), FULL)
        assert cut_off.start(cut) == -9
        again = cut_off.hooked
        if again:
            assert cut_off.start() == 0
        assert cut_off.state() == wanted, f"tick {cut} of {ticks}"
        # Once the words are gone, everything was done before.
        assert again or cut > ticks - 4
        shutil.rmtree(cut_off.folder)


def test_two_power_cuts_are_outlived_too(tmp_path):
    whole = board(tmp_path / "whole", FULL)
    whole.start()
    for first, second in ((5, 3), (7, 2), (9, 9), (12, 4)):
        kit = board(tmp_path / f"{first}-{second}", FULL)
        assert [kit.start(first), kit.start(second), kit.start()] == [-9, -9, 0]
        assert kit.state() == whole.state()


def test_a_kit_without_radio_and_key_calls_for_neither(tmp_path):
    kit = board(tmp_path, PLAIN)
    kit.start()
    assert kit.calls == ["install --hook", "[set_hostname][kit-01]", f"[kit][{HASH}]", "install "]


@pytest.mark.parametrize("broken", ["userconf", "imager_custom", "regenerate_ssh_host_keys"])
def test_a_step_that_fails_is_in_the_log_and_keeps_no_other_from_being_done(tmp_path, broken):
    kit = board(tmp_path, FULL, broken=broken)
    assert kit.start() == 0
    assert kit.calls[-1] == "install "
    assert "failed with status 7" in kit.log
    assert "SOMETHING FAILED" in kit.log
    assert not kit.hooked


def test_words_go_wherever_they_stand_in_the_line(tmp_path):
    kit = board(tmp_path, PLAIN)
    hook = [word.line for word in boot_files.words(PLAIN, Target("bookworm")) if "systemd." in word.line]
    (kit.boot / "cmdline.txt").write_text(f"{hook[0]} root=PARTUUID=57c84f67-02 {hook[2]}  a=* {hook[1]} quiet\n")
    assert kit.start() == 0
    assert (kit.boot / "cmdline.txt").read_text().split() == ["root=PARTUUID=57c84f67-02", "a=*", "quiet"]


def test_a_line_that_cannot_be_written_over_is_written_anew(tmp_path):
    kit = board(tmp_path, PLAIN, broken="dd")
    assert kit.start() == 0
    assert not kit.hooked
    assert (kit.boot / "cmdline.txt").read_text().startswith(CMDLINE.decode().rstrip())
