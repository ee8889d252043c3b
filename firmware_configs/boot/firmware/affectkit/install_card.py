"""The card: root as large as its partition, the data partition, and what makes the rest read-only from the next boot on."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil

from install_files import InstallError, Root, made, ran
from install_steps import UNITS, WANTED, Kit, first_bundle, has_unit

DATA = "/srv/affectkit"
LABEL = "AFFECTKIT"
KEEP_WRITABLE = "keep-writable"
"""An empty file of this name beside the payload leaves everything writable."""
BEGIN, END = "# >>> affectkit: what is changed between these marks is lost", "# <<< affectkit"
FORMATTING = "/etc/affectkit/formatting"
"""Says which partition is being formatted: what is half done may be done again, though it is no longer empty."""
_MIB = 1 << 20
_LINUX = 0x83
MOVED = ("systemd", "NetworkManager", "bluetooth", "dhcpcd")
"""Folders of /var/lib in which the system keeps what must outlive a power cut: clock, random seed, leases, pairings."""
USELESS = (
    "dphys-swapfile.service", "resize2fs_once.service",
    "rpi-resize.service", "regenerate_ssh_host_keys.service", "fake-hwclock-save.service",
    "fake-hwclock-save.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer",
    "logrotate.timer", "e2scrub_all.timer", "e2scrub_reap.service",
)  # fmt: skip
"""Units that can do nothing on a root that is read-only, and would only fail."""


@dataclasses.dataclass(frozen=True)
class Partition:
    """A partition of the disk that this system runs from."""

    device: pathlib.Path
    disk: pathlib.Path
    number: int


def of_root(root: Root, number: int | None = None) -> Partition | None:
    """The partition that holds "/", or the one ``number`` of the same disk; None if there is none."""
    if not root.is_device:
        return None
    status = os.stat("/")
    here = pathlib.Path(f"/sys/dev/block/{os.major(status.st_dev)}:{os.minor(status.st_dev)}").resolve()
    if not (here / "partition").exists():
        return None
    for path in (here, *here.parent.iterdir()):
        if (path / "partition").exists():
            found = int((path / "partition").read_text())
            if found == number or (number is None and path == here):
                return Partition(pathlib.Path("/dev") / path.name, pathlib.Path("/dev") / here.parent.name, found)
    return None


def grow_root(kit: Kit) -> str:
    """The file system of "/" as large as its partition; nothing if it is already."""
    partition = of_root(kit.root)
    if partition is None:
        return "nothing to grow: / is no partition of a card"
    said = ran("resize2fs", partition.device, may_fail=True)
    return next((line for line in said.splitlines() if "blocks long" in line), said.replace("\n", " ") or "resize2fs is missing")


def is_ours(table: bytes, number: int) -> bool:
    """Whether entry ``number`` of a disk's first sector ``table`` is a Linux partition, behind the second one."""
    if len(table) < 512 or table[510:512] != b"\x55\xaa":
        return False
    entries = [table[446 + 16 * index : 462 + 16 * index] for index in range(4)]
    first = [int.from_bytes(entry[8:12], "little") for entry in entries]
    sectors = [int.from_bytes(entry[12:16], "little") for entry in entries]
    before, here = number - 2, number - 1
    return entries[here][4] == _LINUX and sectors[here] > 0 and first[here] >= first[before] + sectors[before]


def kind_of(device: pathlib.Path) -> str:
    """What a partition holds: "ours", "empty" or "other"."""
    with device.open("rb") as file:
        head = file.read(_MIB)
    superblock = head[1024:2048]
    if superblock[0x38:0x3A] == b"\x53\xef" and superblock[0x78:0x88].rstrip(b"\0") == LABEL.encode():
        return "ours"
    return "empty" if head.count(0) == len(head) else "other"


def uuid_of(device: pathlib.Path) -> str:
    """UUID of the ext4 in ``device``."""
    with device.open("rb") as file:
        found = file.read(2048)[1024 + 0x68 : 1024 + 0x78].hex()
    return "-".join((found[:8], found[8:12], found[12:16], found[16:20], found[20:]))


def prepare(root: Root, device: pathlib.Path, name: str) -> str:
    """A file system in ``device`` unless ours is there already; its UUID. InstallError if something else is there, which stays."""
    note = root.at(FORMATTING)
    begun = note.exists() and note.read_text() == name
    kind = kind_of(device)
    # A half-made one may look whole: the note goes only when all of it is on the card.
    if kind != "ours" or begun:
        if kind == "other" and not begun:
            raise InstallError(f"{device}: holds something that is not the kit's, and is left as it is; write the card anew")
        root.write(FORMATTING, name.encode())
        # Blocks of 4096 bytes whatever the size: "mend" knows where these have a copy of the super block.
        ran("mkfs.ext4", "-q", "-F", "-b", "4096", "-L", LABEL, "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", device)
        os.sync()
        root.remove(FORMATTING)
    return uuid_of(device)


def data_partition(kit: Kit) -> str:
    """The third partition, where the card has one: formatted, mounted at ``/srv/affectkit``, with the first bundle on it too."""
    partition = of_root(kit.root, 3)
    if partition is None:
        return "the card has none, so all stays on /"
    with partition.disk.open("rb") as file:
        if not is_ours(file.read(512), 3):
            return f"{partition.device} is not the kit's, so all stays on /"
    if not os.path.ismount(kit.root.at(DATA)):
        try:
            _mount(kit.root, partition.device)
        except InstallError as error:
            # A kit without it decides too, and takes sticks.
            return f"DATA PARTITION NOT USED, all stays on /: {error}"
    first_bundle(kit)
    _make_state(kit.root)
    # Also where everything stays writable: at the next boot the kit's folders are in their place before it looks at them.
    _state_at_boot(kit.root)
    os.sync()
    return f"{partition.device} is mounted at {DATA}"


def _mount(root: Root, device: pathlib.Path) -> None:
    uuid = prepare(root, device, str(device))
    # "nofail": a card whose data partition is damaged boots all the same, with the first bundle that lies below the mount.
    line = f"UUID={uuid} {DATA} ext4 defaults,noatime,data=ordered,nofail 0 2"
    ran("mount", "-o", "noatime", device, root.at(DATA))
    _fstab(root, [line], read_only=False)


def _make_state(root: Root) -> None:
    """The kit's state folder on the data partition."""
    state, before = root.at(f"{DATA}/state"), root.at("/var/lib/affectkit")
    made(state, 0o700)
    if before.exists():
        shutil.chown(state, before.stat().st_uid, before.stat().st_gid)


def _state_at_boot(root: Root) -> None:
    for unit in ("affectkit-mend.service", "affectkit-state.service"):
        root.link(f"{UNITS}/local-fs.target.wants/{unit}", f"../{unit}")


def _copy_state(root: Root) -> None:
    """Copies of what the system keeps in ``/var/lib``; at boot, usr/lib/affectkit/state puts them in its place."""
    for name in MOVED:
        source, target = root.at(f"/var/lib/{name}"), root.at(f"{DATA}/system/{name}")
        # Mounted there: the service was faster, and what is seen is the copy.
        if source.is_dir() and not os.path.ismount(source):
            made(target.parent)
            new = target.with_name(f".{name}.new")
            shutil.rmtree(new, ignore_errors=True)
            ran("cp", "-a", source, new)
            os.sync()
            shutil.rmtree(target, ignore_errors=True)
            new.rename(target)


def _fstab(root: Root, lines: collections.abc.Sequence[str], *, read_only: bool) -> None:
    """``/etc/fstab`` with ``lines`` between our marks; ``read_only``: "/" and the boot partition too. One rename."""
    path = root.at("/etc/fstab")
    text = re.sub(rf"(?ms)^{re.escape(BEGIN)}.*?^{re.escape(END)}\n", "", path.read_text() if path.exists() else "")
    kept = [line for line in text.splitlines(keepends=True) if line.split()[1:2] != [DATA]]
    text = "".join(map(_read_only, kept) if read_only else kept)
    if text and not text.endswith("\n"):
        text += "\n"
    root.write("/etc/fstab", "\n".join([text + BEGIN, *lines, END, ""]).encode())


def _read_only(line: str) -> str:
    fields = line.split()
    if len(fields) < 4 or line.startswith("#") or fields[1] not in ("/", "/boot/firmware", "/boot"):
        # What is written here anyway is in memory from now on.
        return "" if len(fields) > 2 and fields[1] in ("/tmp", "/var/tmp", "/var/log") and fields[2] == "tmpfs" else line
    kept = [word for word in fields[3].split(",") if word not in ("rw", "ro")]
    fields[3] = ",".join([*kept, "ro"])
    return " ".join(fields) + "\n"


def protect(kit: Kit) -> str:
    """Root and boot partition read-only from the next boot on, where a data partition takes what is written. Last of all.

    Says why not, or nothing if it is so already.
    """
    root, fstab = kit.root, kit.root.at("/etc/fstab")
    if (kit.payload.folder / KEEP_WRITABLE).exists():
        return f"the file {KEEP_WRITABLE} is there: everything stays writable"
    text = fstab.read_text() if fstab.exists() else ""
    data = re.search(rf"(?m)^\S+ {DATA} .*$", text)
    if data is None:
        return "no data partition: everything stays writable"
    if not re.search(r"(?m)^[^#\s]\S*\s+/\s", text):
        return "fstab says nothing of /: everything stays writable"
    if re.search(r"(?m)^\S+\s+/\s+\S+\s+(\S+,)?ro(,|\s)", text):
        return ""
    if root.is_device and not os.path.ismount(DATA):
        return "the data partition is not mounted: everything stays writable"
    _copy_state(root)
    # Made at the second boot otherwise, which can write no longer.
    ran("ssh-keygen", "-A", may_fail=True)
    ran("systemd-machine-id-setup", *([] if root.is_device else [f"--root={root.path}"]), "--commit", may_fail=True)
    useless = [unit for unit in USELESS if has_unit(root, unit)]
    if useless:
        # In one call, and systemd need not read everything anew: the kit is about to make its first decision.
        ran("systemctl", "--no-reload", "disable", *useless, may_fail=True)
    for unit in useless:
        # Some are made out of files of init.d: a unit that is a link to nothing hides both.
        if not root.at(f"{UNITS}/{unit}").exists():
            root.link(f"{UNITS}/{unit}", "/dev/null")
    if root.at("/etc/rpi/swap.conf").exists():
        root.write("/etc/rpi/swap.conf.d/affectkit.conf", b"# No file to swap to on a read-only root.\n[Main]\nMechanism=zram\n")
    if root.at("/usr/lib/systemd/system/NetworkManager.service").exists() and not root.at("/etc/resolv.conf").is_symlink():
        root.link("/etc/resolv.conf", "/run/NetworkManager/resolv.conf")
    _state_at_boot(root)
    for name in ("affectkit-rw", "affectkit-ro"):
        root.link(f"/usr/local/sbin/{name}", f"/usr/lib/affectkit/{name}")
    if root.at("/etc/cloud").is_dir():
        root.write("/etc/cloud/cloud-init.disabled", b"The kit is installed: nothing is left to do, and nothing can be written.\n")
    os.sync()
    memory = [
        f"tmpfs {folder} tmpfs nosuid,nodev,size={size},mode={mode} 0 0"
        for folder, size, mode in (("/tmp", "25%", "1777"), ("/var/tmp", "10%", "1777"), ("/var/log", "16M", "0755"))
    ]
    _fstab(root, [data.group(), *memory], read_only=True)
    os.sync()
    return "from the next boot on, root and the boot partition are read-only (to change something: sudo affectkit-rw)"


def done(kit: Kit) -> None:
    """The installation is not called at the next boot any more."""
    with contextlib.suppress(OSError):
        # Read-only already: it is called, finds itself done, and ends within a second.
        kit.root.remove(WANTED)


@contextlib.contextmanager
def blinking(root: Root) -> collections.abc.Iterator[None]:
    """The board's LED: briefly on, once in two seconds, while the kit is installed."""
    led = next((root.at(f"/sys/class/leds/{name}") for name in ("ACT", "led0") if root.at(f"/sys/class/leds/{name}").is_dir()), None)
    _blink(led, (("trigger", "timer"), ("delay_on", "200"), ("delay_off", "1800")))
    try:
        yield
    finally:
        _blink(led, (("trigger", "none"), ("brightness", "0")))


def _blink(led: pathlib.Path | None, values: collections.abc.Iterable[tuple[str, str]]) -> None:
    for name, value in values if led else ():
        with contextlib.suppress(OSError):
            (led / name).write_text(value) if led else None
