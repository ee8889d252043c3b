"""What a card's boot partition holds for one kit: edits of ``config.txt`` and ``cmdline.txt``, and files for the first boot.

Trixie is told by cloud-init (user-data, meta-data, network-config), Bookworm by ``firstrun.sh``, as Raspberry Pi Imager does it.
Sources: Raspberry Pi documentation, "config.txt" and "Kernel command line"; cloud-init 25, "NoCloud"; netplan, "YAML configuration".
"""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import json
import pathlib
import shlex
import typing

from edge.errors import InputError
from firmware_configs import boards
from firmware_configs.classroom import Kit

USER = "kit"
"""Who logs in; the service runs as ``affectkit``, which cannot."""
GROUPS = "users,adm,dialout,audio,netdev,video,plugdev,input,gpio,spi,i2c,render,sudo"
FOLDER = "affectkit"
"""Folder of the boot partition for all that is the kit's own; the payload lies here."""
INSTALLER = f"{FOLDER}/install.sh"
"""Script of a payload that installs it; run once, as root, at the first boot."""
MANIFEST = f"{FOLDER}/card.json"
ABOUT = f"{FOLDER}/ABOUT.txt"
MOUNTED_AT = "/boot/firmware"
ANY_BOARD = "any"
BEGIN = "# >>> affectkit: made by `affectkit kit card`; what is changed between these marks is lost when a card is made again"
END = "# <<< affectkit"


class Line(typing.NamedTuple):
    """A line of ``config.txt``, or a word of ``cmdline.txt``."""

    line: str
    why: str
    """One sentence, for the comment above it."""


_FIRSTRUN = pathlib.Path(__file__).resolve().parent / "boot" / "firmware" / "firstrun.sh"
_HOOK = (
    Line(f"systemd.run={MOUNTED_AT}/firstrun.sh", "First boot: this script sets the kit up, and takes these three words away."),
    Line("systemd.run_success_action=reboot", "First boot: the board restarts when the script has ended."),
    Line("systemd.unit=kernel-command-line.target", "First boot: nothing else is started meanwhile."),
)
_OURS = ("systemd.run=", "systemd.run_success_action=", "systemd.unit=kernel-command-line.target", "cfg80211.ieee80211_regdom=")
"""Words of the kernel command line that go before new ones come."""
STOCK_RESIZING = (
    Line("init=/usr/lib/raspberrypi-sys-mods/firstboot", "Bookworm: would make the root partition as large as the card."),
    Line("init=/usr/lib/raspi-config/init_resize.sh", "Older systems: would make the root partition as large as the card."),
    Line("resize", "Trixie: would make the root partition as large as the card."),
)
"""Words that go where the card has a layout of its own.

What they do: raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/firstboot and, in initramfs-tools/scripts, local-premount/firstboot (if
"firstboot" is in the command line), local-premount/resize_early and local-bottom/resize_late or set_partuuid (if " resize" is). Those in
the initramfs move the end of partition 2 to that of the card and do not look what lies behind; parted then refuses, and its status ends
the script. The rest of what they do is done otherwise: a new disk id is not needed (nobody puts two cards into one kit); SSH host keys
are made by ``firstrun.sh`` on Bookworm and on Trixie by regenerate_ssh_host_keys.service, which the image has enabled (pi-gen,
stage2/01-sys-tweaks/01-run.sh); ``custom.toml`` is not used by these cards. The root's file system grows into its partition by
rpi-resize.service (Trixie; systemd-growfs, which moves no partition), cloud-init's resizefs, or the installer.
"""


@dataclasses.dataclass(frozen=True)
class Target:
    """What cards are made for."""

    os: boards.OsName
    board: str = ANY_BOARD
    """A name of ``boards.board_names()``, or "any": the lines of all of them, which none of them minds."""
    own_layout: bool = False
    """Whether the card has a partition behind the root, so that the root partition must not grow at the first boot."""

    def config_lines(self) -> tuple[Line, ...]:
        return self._lines("config_txt")

    def cmdline_words(self) -> tuple[Line, ...]:
        return self._lines("cmdline")

    def _lines(self, which: str) -> tuple[Line, ...]:
        names = boards.board_names() if self.board == ANY_BOARD else (self.board,)
        found: dict[str, Line] = {}
        for name in names:
            for each in getattr(boards.named(name), which):
                found.setdefault(each.line, Line(each.line, each.why))
        return tuple(found.values())


def radio_lines(kit: Kit) -> tuple[Line, ...]:
    """Lines of ``config.txt`` for the radios: what a kit does not use is off."""
    lines = []
    if kit.wifi is None:
        lines.append(Line("dtoverlay=disable-wifi", "This kit joins no network: its Wi-Fi radio is off, and cannot be heard or reached."))
    if not kit.bluetooth:
        lines.append(Line("dtoverlay=disable-bt", "This kit has no heart rate strap: its Bluetooth radio is off."))
    return tuple(lines)


def words(kit: Kit, target: Target) -> tuple[Line, ...]:
    """Words of ``cmdline.txt``."""
    found = [*target.cmdline_words(), Line("modules_load=i2c-dev", "Gives the I2C bus its device node, /dev/i2c-1.")]
    if kit.wifi:
        found.append(Line(f"cfg80211.ieee80211_regdom={kit.wifi.country}", "The country's rules for Wi-Fi, from the start."))
    return (*found, *(_HOOK if target.os == "bookworm" else ()))


def edited_config(before: bytes, kit: Kit, target: Target) -> bytes:
    """``config.txt`` with the kit's block at its end, in place of an earlier one; the rest stays to the byte."""
    text = before.decode("utf-8", "surrogateescape")
    if (begin := text.find(BEGIN)) >= 0:
        end = text.find(END, begin)
        if end < 0:
            raise InputError(f"config.txt: has the line {BEGIN[:15]!r} and no {END!r} after it; take the image as it was downloaded")
        text = text[:begin] + text[end + len(END) :].lstrip("\r\n")
    if text and not text.endswith("\n"):
        text += "\n"
    lines = [BEGIN, "# For every board and model, whatever section stands above.", "[all]"]
    for line in (*target.config_lines(), *radio_lines(kit)):
        lines += [f"# {line.why}", line.line]
    return (text + "\n".join([*lines, END]) + "\n").encode("utf-8", "surrogateescape")


def edited_cmdline(before: bytes, kit: Kit, target: Target) -> bytes:
    """``cmdline.txt``, one line, with the kit's words at its end; what ``affectkit/ABOUT.txt`` says of each is why."""
    lines = [line for line in before.decode("utf-8", "surrogateescape").splitlines() if line.strip()]
    if len(lines) != 1 or "root=" not in lines[0]:
        raise InputError(
            f"cmdline.txt: is not one line with root=, as Raspberry Pi OS has it ({len(lines)} lines); download the image again"
        )
    new = [line.line for line in words(kit, target)]
    gone = {line.line for line in STOCK_RESIZING} if target.own_layout else set()
    kept = [word for word in lines[0].split() if not word.startswith(_OURS) and word not in new and word not in gone]
    return (" ".join([*kept, *new]) + "\n").encode("utf-8", "surrogateescape")


def first_boot_files(kit: Kit, password_hash: str, target: Target, *, installs: bool) -> dict[str, bytes]:
    """Path on the boot partition -> content, of what sets the kit up at its first boot; ``installs`` says there is an installer."""
    if target.os == "trixie":
        texts = {
            "user-data": _user_data(kit, password_hash, target, installs),
            "meta-data": _meta_data(kit, password_hash),
            "network-config": _network_config(kit),
        }
    else:
        texts = {"firstrun.sh": _firstrun(kit, password_hash), "userconf.txt": f"{USER}:{password_hash}\n"}
        if kit.ssh_key:
            texts["ssh"] = ""
    texts[ABOUT] = _about(kit, target)
    return {path: text.encode("utf-8") for path, text in texts.items()}


def _quoted(text: str) -> str:
    """A YAML scalar: in JSON's quotes, which are YAML's too."""
    return json.dumps(text, ensure_ascii=False)


def _meta_data(kit: Kit, password_hash: str) -> str:
    # A card that is made again has another password, so another identity, and is set up anew.
    identity = hashlib.sha256(f"{kit.hostname} {password_hash}".encode()).hexdigest()[:12]
    return (
        "# cloud-init: who this is. It sets up a kit once for each instance-id.\n"
        f"instance-id: {kit.hostname}-{identity}\n"
        "# All is on this card: it waits for no network.\n"
        "dsmode: local\n"
    )


def _user_data(kit: Kit, password_hash: str, target: Target, installs: bool) -> str:
    lines = [
        "#cloud-config",
        "# Sets the kit up at its first boot; made by `affectkit kit card`. Needs no network.",
        f"hostname: {kit.hostname}",
        "# The name resolves on the kit itself.",
        "manage_etc_hosts: true",
        "# The only user. Of the password, the hash alone is here; the sheet has the password.",
        "users:",
        f"  - name: {USER}",
        f"    groups: {GROUPS}",
        "    shell: /bin/bash",
        "    lock_passwd: false",
        "    # Also where the user is there already, after a power cut.",
        f"    hashed_passwd: {_quoted(password_hash)}",
    ]
    if kit.ssh_key:
        lines += ["    ssh_authorized_keys:", f"      - {_quoted(kit.ssh_key)}"]
    lines += ["# Nobody can try passwords over the network.", "ssh_pwauth: false"]
    lines += ["# No packages are looked for: there is no network.", "package_update: false", "package_upgrade: false"]
    if target.own_layout:
        # cloud-init, "Module reference": growpart, resizefs.
        lines += ["# The kit's own partition lies behind the root: that does not grow into it.", "growpart:", '  mode: "off"']
        lines += ["# Its file system takes what its partition has.", "resize_rootfs: true"]
    if installs:
        lines += [
            "# At every boot until the kit is installed, and early: what a power cut interrupted is done again.",
            "bootcmd:",
            f"  - [sh, {MOUNTED_AT}/{INSTALLER}, --hook]",
        ]
    commands = []
    if kit.ssh_key:
        commands.append(("SSH, for the key above.", "[systemctl, enable, --now, ssh]"))
    if kit.wifi:
        commands.append(
            ("Raspberry Pi OS keeps the radio blocked until a country is known; it is, in network-config.", "[rfkill, unblock, wifi]")
        )
    if installs:
        run = f"sh {MOUNTED_AT}/{INSTALLER} >>{MOUNTED_AT}/{FOLDER}/first-boot.log 2>&1"
        commands.append(("Installs the kit from this card; what happened is in first-boot.log beside it.", f"[sh, -c, {_quoted(run)}]"))
    if commands:
        lines.append("runcmd:")
        for why, command in commands:
            lines += [f"  # {why}", f"  - {command}"]
    return "\n".join(lines) + "\n"


def _network_config(kit: Kit) -> str:
    lines = [
        "# Networks, for netplan; made by `affectkit kit card`.",
        "network:",
        "  version: 2",
        "  ethernets:",
        "    eth0:",
        "      dhcp4: true",
        "      # The boot does not wait for a cable.",
        "      optional: true",
    ]
    if kit.wifi:
        lines += [
            "  wifis:",
            "    wlan0:",
            "      dhcp4: true",
            "      # Nor for the network to be in reach.",
            "      optional: true",
            "      # Channels and power that the country allows.",
            f"      regulatory-domain: {_quoted(kit.wifi.country)}",
            "      access-points:",
            f"        {_quoted(kit.wifi.name)}:",
        ]
        if kit.wifi.key:
            lines += [
                "          # Derived from the network's password, which is not on this card.",
                f"          password: {_quoted(kit.wifi.key)}",
            ]
        else:
            lines += ["          # An open network.", "          auth: {key-management: none}"]
    return "\n".join(lines) + "\n"


def _firstrun(kit: Kit, password_hash: str) -> str:
    values = {
        "HOSTNAME_": kit.hostname,
        "USER_": USER,
        "PASSWORD_HASH": password_hash,
        "SSH_KEY": kit.ssh_key,
        "WIFI_NAME": kit.wifi.name if kit.wifi else "",
        "WIFI_KEY": kit.wifi.key if kit.wifi else "",
        "WIFI_COUNTRY": kit.wifi.country if kit.wifi else "",
    }
    lines = "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
    return _FIRSTRUN.read_text(encoding="utf-8").replace("# @VALUES@", lines, 1)


def _about(kit: Kit, target: Target) -> str:
    """What a person finds who puts the card into a computer."""
    wifi = f"joins the Wi-Fi {kit.wifi.name!r}" if kit.wifi else "has its Wi-Fi radio switched off"
    lines = [
        f"This card belongs to the affectkit kit {kit.hostname} (Raspberry Pi OS {target.os}, board: {target.board}).",
        f"It {wifi}; Bluetooth is {'on' if kit.bluetooth else 'off'}; SSH is {'on, with a key only' if kit.ssh_key else 'off'}.",
        f"User {USER}; the password is on the sheet that was printed with the card.",
        "",
        "config.txt says above every line between the marks why it is there. Words that were added to cmdline.txt:",
        *(f"  {word.line}: {word.why}" for word in words(kit, target)),
        *_about_layout(target),
        "",
        f"Settings: {FOLDER}/kit.toml. After the first boot {FOLDER}/first-boot.log says what happened.",
    ]
    return "\n".join(lines) + "\n"


def _about_layout(target: Target) -> tuple[str, ...]:
    if not target.own_layout:
        return ()
    why = "Words that are taken away, for partition 3 is the kit's own (bundles, decisions, reports) and the root ends before it:"
    return ("", why, *(f"  {word.line}: {word.why}" for word in STOCK_RESIZING))


def removed_files(target: Target) -> collections.abc.Sequence[str]:
    """What an earlier card for the other system may have left, and would be obeyed."""
    if target.os == "trixie":
        return ("firstrun.sh", "userconf.txt", "ssh", "ssh.txt", "custom.toml")
    return ("user-data", "meta-data", "network-config", "ssh", "ssh.txt", "custom.toml")
