"""Units, rule and scripts of sticks and trials: systemd and udev take them, they allow what is done, and the shell does what it says."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import firmware_configs
from firmware_configs.update.store import CURRENT, Store
from tests.firmware_configs.update import made

ROOT = pathlib.Path(firmware_configs.__file__).parent
REFUSED_WITHOUT_HARM = {"mbind"}
"""OpenBLAS asks for memory near the processor, and does not look at the answer."""
UNITS = ROOT / "etc/systemd/system"
SCRIPTS = ROOT / "usr/lib/affectkit"
RULES = ROOT / "etc/udev/rules.d/71-affectkit-stick.rules"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("sh"), reason="the kit's shell is Linux's")


def tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def ran(*command: str | pathlib.Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload]


def settings(name: str) -> list[tuple[str, str]]:
    return re.findall(r"(?m)^(\w+)=(.*)$", (UNITS / name).read_text())


# --- units ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "most"), [("affectkit-stick@.service", 2.6), ("affectkit-settle.service", 1.3)])
def test_a_service_is_exposed_to_little(name, most):
    """To mount needs CAP_SYS_ADMIN and root: that is what is left of the one, beside setuid for the look at the bundle."""
    found = ran(tool("systemd-analyze"), "security", "--offline=true", UNITS / name)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", found.stdout)
    assert level is not None and float(level[1]) <= most, found.stdout[-2000:]


def test_a_refused_stick_leaves_the_service_running_until_it_is_pulled_out():
    """Else ExecStopPost= would put the LED back at once, and nobody would see that the stick was refused."""
    unit = dict(settings("affectkit-stick@.service"))
    assert unit["RemainAfterExit"] == "yes" and unit["SuccessExitStatus"] == "1 2"
    assert unit["BindsTo"] == "dev-%i.device" and "kit settle --after" in unit["ExecStopPost"]


def test_a_shutdown_is_no_failure_of_a_bundle_on_trial():
    """systemd stops what is ordered After= first: whoever watches the kit is gone before the kit is stopped."""
    for name in ("affectkit-stick@.service", "affectkit-settle.service"):
        assert "affectkit.service" in " ".join(value for key, value in settings(name) if key == "After").split()


@pytest.mark.parametrize("name", ["affectkit-stick@.service", "affectkit-settle.service"])
def test_the_clock_may_be_asked_and_not_set(name):
    """ProtectClock=yes refuses the whole of @clock, and adjtimex(2) with it, whatever SystemCallFilter= says (systemd.exec(5))."""
    unit = settings(name)
    words = " ".join(value for key, value in unit if key == "SystemCallFilter").split()
    assert {"adjtimex", "clock_adjtime"} <= set(words) and dict(unit)["ProtectClock"] == "no"
    assert "CAP_SYS_TIME" not in dict(unit)["CapabilityBoundingSet"]


def test_the_trial_is_started_by_what_starts_the_kit():
    lines = [value for key, value in settings("affectkit.service") if key == "ExecStartPre"]
    choose = next(line for line in lines if "choose-bundle" in line)
    assert choose.startswith("+-"), "as root, and no reason not to start"
    assert dict(settings("affectkit.service"))["RestartPreventExitStatus"] == "2", "which is why settle looks for a failed service"


def test_the_sandbox_lets_through_what_taking_a_stick_does(tmp_path):
    """The system calls of a real `kit take`, against the unit's filter and the folders that it may write to."""
    strace, analyze = tool("strace"), tool("systemd-analyze")
    repository = made.Repository()
    (tmp_path / "root.json").write_bytes(repository.roots[1])
    repository.add(made.bundle(tmp_path / "classroom.affectkit", "9.2.1"), 1)
    stick = repository.write(tmp_path / "stick")
    for name in ("run", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin/systemctl").write_text(
        "#!/bin/sh\necho ActiveState=active; echo ActiveEnterTimestampMonotonic=1000000; echo WatchdogTimestampMonotonic=71000000\n"
    )
    (tmp_path / "bin/systemctl").chmod(0o755)
    code = (
        "import argparse, sys; from firmware_configs.update.cli import add_take; p = argparse.ArgumentParser(); "
        "add_take(p.add_subparsers()); a = p.parse_args(); sys.exit(a.run(a))"
    )
    trace = tmp_path / "trace"
    said = ran(strace, "-f", "-qq", "-o", trace, sys.executable, "-c", code, "take", stick, "--store", tmp_path / "srv", "--root",
               tmp_path / "root.json", "--config", tmp_path / "none", "--run-folder", tmp_path / "run", cwd=made.ROOT,
               env={**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
    if not trace.exists() or "Operation not permitted" in said.stderr:
        pytest.skip(f"strace may not trace here: {said.stderr.strip()[:80]}")
    assert said.returncode == 0, said.stderr
    calls = set(re.findall(r"(?m)^\d+ +(\w+)\(", trace.read_text()))

    def expanded(name: str) -> set[str]:
        found: set[str] = set()
        for line in ran(analyze, "syscall-filter", name).stdout.splitlines()[1:]:
            word = line.strip()
            if word and not word.startswith("#"):
                found |= expanded(word) if word.startswith("@") else {word}
        return found

    words = dict(settings("affectkit-stick@.service"))["SystemCallFilter"].split()
    allowed = set().union(*(expanded(word) if word.startswith("@") else {word} for word in words))
    assert calls - allowed - REFUSED_WITHOUT_HARM - {"execve", "exit", "exit_group"} == set()
    assert {"mount", "umount2"} <= allowed and calls & {"adjtimex", "clock_adjtime"}
    families = set(re.findall(r"socket\((AF_\w+)", trace.read_text()))
    # urllib3, which python-tuf imports and nothing here uses, asks once whether there is IPv6, and takes a refusal for a no.
    assert families <= {"AF_UNIX", "AF_INET6"}
    written = set(re.findall(r'openat\([^,]+, "(/[^"]+)", [^)]*(?:O_WRONLY|O_RDWR|O_CREAT)', trace.read_text()))
    ours = (str(tmp_path / "srv"), str(tmp_path / "run"), str(stick), "/dev/null", "/dev/shm/", "/proc/self/")
    # PrivateTmp= gives a /tmp of its own; this test's folders lie deeper in this machine's.
    assert [path for path in written if not path.startswith(ours) and not re.fullmatch(r"/tmp(/[^/]+)?", path)] == []


# --- the rule -------------------------------------------------------------------------------------------------------------


def test_the_rule_wants_the_service_for_usb_sticks_with_a_stick_s_file_system():
    (line,) = [line for line in RULES.read_text().splitlines() if line and not line.startswith("#")]
    pairs = re.findall(r'([A-Z_]+)(\{\w+\})?(==|\+=)"([^"]*)"(?:, |$)', line)
    assert "".join(f'{key}{of}{operator}"{value}", ' for key, of, operator, value in pairs).removesuffix(", ") == line
    assert {(key + of, value) for key, of, operator, value in pairs if operator == "=="} == {
        ("ACTION", "add"), ("SUBSYSTEM", "block"), ("SUBSYSTEMS", "usb"), ("ENV{ID_FS_TYPE}", "vfat|exfat"),
    }  # fmt: skip
    assert pairs[-1] == ("ENV", "{SYSTEMD_WANTS}", "+=", "affectkit-stick@%k.service")
    assert (UNITS / "affectkit-stick@.service").exists()
    if shutil.which("udevadm") and "verify" in ran("udevadm", "--help").stdout:  # systemd 254 and later
        assert ran("udevadm", "verify", "--no-style", RULES).returncode == 0


# --- before a start -------------------------------------------------------------------------------------------------------


class Choice:
    """choose-bundle on a store, with an affectkit that writes down how it was called and does it in earnest if told so."""

    def __init__(self, folder: pathlib.Path, *, real: bool = False):
        self.folder, self.store = folder, Store(folder / "srv")
        self.store.recover()
        program = folder / "affectkit"
        code = (
            "import pathlib, sys; from firmware_configs.update import trial; from firmware_configs.update.store import Store; "
            "print(trial.before_start(Store(pathlib.Path(sys.argv[1])), lambda *_: (0, '')))"
        )
        earnest = f'cd "{made.ROOT}" && "{sys.executable}" -c "{code}" "$5"' if real else "exit ${AFFECTKIT_STATUS:-0}"
        program.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/called"\n{earnest}\n')
        program.chmod(0o755)

    def run(self, **variables: str) -> list[str]:
        """The calls of affectkit that it made."""
        environment = {**os.environ, "AFFECTKIT": f"{self.folder}/affectkit", "AFFECTKIT_STORE": str(self.store.folder), **variables}
        self.said = ran("sh", SCRIPTS / "choose-bundle", env=environment)
        called = self.folder / "called"
        lines = called.read_text().splitlines() if called.exists() else []
        called.unlink(missing_ok=True)
        return lines


def test_a_whole_bundle_without_a_trial_costs_no_start_of_python(tmp_path):
    choice = Choice(tmp_path)
    assert choice.run() == [] and choice.said.returncode == 0 and choice.said.stderr == ""


@pytest.mark.parametrize("harm", ["bit", "cut", "empty", "no link", "another", "header", "trial", "no store"])
def test_anything_else_is_for_settle(tmp_path, harm):
    choice = Choice(tmp_path)
    link = choice.store.bundles / CURRENT
    path = choice.store.bundles / str(choice.store.target(CURRENT))
    content = bytearray(path.read_bytes())
    if harm == "bit":
        content[5000] ^= 1
    elif harm == "header":
        content[30] = ord("0") if content[30] != ord("0") else ord("1")
    elif harm in ("cut", "empty"):
        content = content[: -1 if harm == "cut" else 0]
    path.write_bytes(content)
    if harm == "no link":
        link.unlink()
    elif harm == "another":
        # Whole, but not what its name says.
        made.bundle(path, "9.9.9")
    elif harm == "trial":
        (choice.store.bundles / "trial.json").write_text("{}")
    elif harm == "no store":
        shutil.rmtree(choice.store.folder)
    assert choice.run() == [f"kit settle --before --store {choice.store.folder}"]
    assert choice.said.returncode == 0


def test_a_damaged_bundle_is_replaced_in_earnest(tmp_path):
    choice = Choice(tmp_path, real=True)
    path = choice.store.bundles / str(choice.store.target(CURRENT))
    path.write_bytes(path.read_bytes()[:-1])
    choice.run()
    assert choice.said.returncode == 0, choice.said.stderr
    assert choice.store.sound(choice.store.target(CURRENT))
    assert choice.run() == []


def test_a_card_that_can_be_neither_read_nor_written_is_covered_by_memory(tmp_path):
    choice = Choice(tmp_path)
    (choice.store.bundles / CURRENT).unlink()
    mount = tmp_path / "mount"
    mount.write_text(f'#!/bin/sh\necho "$@" >"{tmp_path}/mounted"\n')
    mount.chmod(0o755)
    assert len(choice.run(AFFECTKIT_STATUS="1", AFFECTKIT_MOUNT=str(mount))) == 2
    assert (tmp_path / "mounted").read_text().split()[:2] == ["-t", "tmpfs"]
    assert (tmp_path / "mounted").read_text().split()[-1] == str(choice.store.folder)


def test_boots_are_counted_once_each(tmp_path):
    choice = Choice(tmp_path)
    boot = tmp_path / "boot_id"
    for number, name in enumerate(("a1", "a1", "b2", "c3"), 1):
        boot.write_text(f"{name}\n")
        choice.run(AFFECTKIT_BOOT_ID=str(boot))
        assert (choice.store.update / "boots").read_text() == f"{min(number, max(1, number - 1))} {name}\n"
    (choice.store.update / "boots").write_text("")
    choice.run(AFFECTKIT_BOOT_ID=str(boot))
    assert (choice.store.update / "boots").read_text() == "1 c3\n"


def test_shell_and_python_agree_on_what_a_whole_bundle_is(tmp_path):
    choice = Choice(tmp_path)
    path = choice.store.bundles / str(choice.store.target(CURRENT))
    line, _, rest = path.read_bytes().partition(b"\n")
    assert line == b"AFFECTKIT-BUNDLE 1 " + hashlib.sha256(rest).hexdigest().encode()


# --- the stick ------------------------------------------------------------------------------------------------------------


def taken(folder: pathlib.Path, *, status: int = 0, mount: int = 0, mounts: str = "") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """take-stick on /dev/sda1, with stand-ins that write down how they were called."""
    for name, ends in (("mount", mount), ("umount", 0), ("affectkit", status)):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $@" >>"{folder}/called"\nexit {ends}\n')
        (folder / name).chmod(0o755)
    (folder / "mounts").write_text(mounts)
    environment = {"PATH": os.environ["PATH"], "RUNTIME_DIRECTORY": "/run/affectkit-stick/sda1", "AFFECTKIT_MOUNTS": f"{folder}/mounts"}
    environment |= {"AFFECTKIT": f"{folder}/affectkit", "AFFECTKIT_MOUNT": f"{folder}/mount", "AFFECTKIT_UMOUNT": f"{folder}/umount"}
    said = ran("sh", SCRIPTS / "take-stick", "/dev/sda1", env=environment)
    called = folder / "called"
    return said, called.read_text().splitlines() if called.exists() else []


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_stick_is_mounted_read_only_taken_and_unmounted_whatever_comes_of_it(tmp_path, status):
    said, called = taken(tmp_path, status=status)
    assert said.returncode == status
    assert called == [
        "mount -t vfat,exfat -o ro,nosuid,nodev,noexec,noatime /dev/sda1 /run/affectkit-stick/sda1",
        "affectkit kit take /run/affectkit-stick/sda1 --remount",
        "umount /run/affectkit-stick/sda1",
    ]


def test_what_is_mounted_already_is_let_alone(tmp_path):
    assert taken(tmp_path, mounts="/dev/sda1 /boot/firmware vfat rw 0 0\n")[1] == []
    assert len(taken(tmp_path, mounts="/dev/sda11 /x vfat rw 0 0\n/dev/sdb1 /y vfat rw 0 0\n")[1]) == 3


def test_a_stick_that_cannot_be_mounted_is_a_line(tmp_path):
    said, called = taken(tmp_path, mount=32)
    assert said.returncode == 0 and len(called) == 1
    assert said.stderr == "affectkit: the stick /dev/sda1 cannot be mounted; try another stick, formatted with FAT32 or exFAT\n"
