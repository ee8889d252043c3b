"""The files as they land on a device: each is what its tool takes, a copy with a mistake is refused, and what the kit does is allowed."""

from __future__ import annotations

import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import firmware_configs
from firmware_configs.boards import board_names, named

ROOT = pathlib.Path(firmware_configs.__file__).parent
UNITS = ROOT / "etc/systemd/system"
SERVICES = ("affectkit.service", "affectkit-doctor.service", "affectkit-led.service")
PLAIN = sorted(path for top in ("etc", "usr") for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix != ".toml")
MOST_EXPOSED = 2.0
PROGRAMS = ("opt/affectkit/venv/bin/affectkit", "bin/sh")


def tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def ran(*command: str | pathlib.Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )


def settings(unit: pathlib.Path) -> list[tuple[str, str]]:
    """Its keys and values, in order; sections are left out, for no key here is of two."""
    return re.findall(r"(?m)^(\w+)=(.*)$", unit.read_text())


# --- all of them ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_comment_above_every_line_says_why(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    if lines[0] == "#!/bin/sh":
        assert lines[1].startswith("# ")
        return
    for above, line in itertools.pairwise(lines):
        if line and not line.startswith(("#", "[")):
            assert above.startswith("# ") and len(above) > 6, f"nothing says why: {line}"


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_can_lie_on_any_card(path):
    content = path.read_bytes()
    assert content.isascii() and b"\r" not in content and content.endswith(b"\n")
    assert len(max(content.splitlines(), key=len)) <= 140


# --- units ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: pathlib.Path) -> pathlib.Path:
    """A root with the kit's units, the drop-ins of a board and of a strap, and what they call."""
    shutil.copytree(ROOT / "etc", tmp_path / "etc")
    shutil.copytree(ROOT / "usr", tmp_path / "usr")
    for name in PROGRAMS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    for path in pathlib.Path("/usr/lib/systemd/system").glob("*.target"):
        there = tmp_path / str(path).lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, there)
    drop_ins = tmp_path / "etc/systemd/system/affectkit.service.d"
    drop_ins.mkdir()
    (drop_ins / "board.conf").write_text(named("pi-zero-2-w").drop_in())
    shutil.copy(ROOT / "usr/lib/affectkit/drop-ins/strap.conf", drop_ins)
    return tmp_path


def complaints(root: pathlib.Path) -> list[str]:
    """What systemd-analyze says of the kit's own units; of others in this bare root it misses much."""
    units = sorted(unit.name for unit in (root / "etc/systemd/system").iterdir() if unit.is_file())
    said = ran(tool("systemd-analyze"), "verify", f"--root={root}", "--man=no", *units)
    return [line for line in said.stderr.splitlines() if "affectkit" in line or "board.conf" in line or "strap.conf" in line]


def test_systemd_takes_all_units(device):
    assert complaints(device) == []


@pytest.mark.parametrize("board", board_names())
def test_systemd_takes_every_boards_limits(device, board):
    (device / "etc/systemd/system/affectkit.service.d/board.conf").write_text(named(board).drop_in())
    assert complaints(device) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("affectkit.service", "WatchdogSec=30s", "WatchdogSec=soon"),
        ("affectkit.service", "ProtectSystem=strict", "ProtectSystem=stric"),
        ("affectkit.service", "NoNewPrivileges=yes", "NoNewPriviliges=yes"),
        ("affectkit.service", "ExecStart=/opt/affectkit/venv/bin/affectkit", "ExecStart=/opt/affectkit/bin/affectkit"),
        ("affectkit.service", "SystemCallFilter=@system-service", "SystemCallFilter=@system-servic"),
        ("affectkit.service", "MemoryMax=256M", "MemoryMax=256MM"),
        ("affectkit-doctor.service", "Type=oneshot", "Type=once"),
        ("affectkit-led.service", "RestrictAddressFamilies=none", "RestrictAddressFamilies=AF_NONE"),
        ("affectkit-led.path", "Unit=affectkit-led.service", "Unit=affectkit-led"),
        ("affectkit-led.path", "PathChanged=/run", "PathChanged=run"),
        ("affectkit.service.d/board.conf", "CPUQuota=350%", "CPUQuota=350"),
        ("affectkit.service.d/strap.conf", "SupplementaryGroups=bluetooth", "SuplementaryGroups=bluetooth"),
    ],
)
def test_systemd_refuses_a_mistake(device, file, old, new):
    path = device / "etc/systemd/system" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert complaints(device)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_to_little(name):
    found = ran(tool("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", UNITS / name)
    assert found.returncode == 0, found.stdout[-400:]
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", found.stdout)
    assert level is not None and float(level[1]) <= MOST_EXPOSED


def test_an_open_service_is_told_from_a_hardened_one(tmp_path):
    path = tmp_path / "affectkit.service"
    kept = [line for line in (UNITS / path.name).read_text().splitlines() if not re.match(r"(Protect|Private|Restrict|Capab|System)", line)]
    path.write_text("\n".join(kept))
    assert ran(tool("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", path).returncode != 0


def test_it_uses_nothing_that_only_the_newer_systemd_has():
    """Bookworm's 252 would leave such a line out with a warning: keys that came with 253 to 257 (systemd's NEWS)."""
    newer = {"OpenFile", "RestartMode", "RestartSteps", "RestartMaxDelaySec", "MemoryPressureWatch", "DelegateSubgroup", "CoredumpReceive"}
    newer |= {"SurviveFinalKillSignal", "MemoryZSwapWriteback", "BindLogSockets", "PrivatePIDs", "ManagedOOMMemoryPressureDurationSec"}
    assert not newer & {key for unit in UNITS.iterdir() for key, _ in settings(unit)}


# --- what the other tools take --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "good"),
    [
        ("", "", True),
        ("u affectkit -", "u affect/kit -", False),
        ("g i2c -", "q i2c -", False),
        ("/usr/sbin/nologin", "/usr/sbin/nologin more", False),
    ],
)
def test_sysusers_takes_the_user_and_refuses_a_mistake(tmp_path, old, new, good):
    path = tmp_path / "affectkit.conf"
    path.write_text((ROOT / "etc/sysusers.d/affectkit.conf").read_text().replace(old, new, 1))
    (tmp_path / "etc").mkdir()
    said = ran(tool("systemd-sysusers"), "--dry-run", f"--root={tmp_path}", path)
    assert (said.returncode == 0) == good, said.stderr
    if good:
        assert {"affectkit", "i2c", "video", "audio"} <= set(re.findall(r"Creating (?:group|user) '([\w-]+)'", said.stdout + said.stderr))


@pytest.mark.parametrize(
    ("old", "new", "good"),
    [("", "", True), ("0700", "0x700", False), ("d /var", "dd /var", False), ("d /run/affectkit", "d run/affectkit", False)],
)
def test_tmpfiles_makes_the_folders_and_refuses_a_mistake(tmp_path, old, new, good):
    """Made in a root of its own, for the user that this test is: with --dry-run only systemd 256 and later could say."""
    path = tmp_path / "affectkit.conf"
    text = (ROOT / "etc/tmpfiles.d/affectkit.conf").read_text().replace("affectkit affectkit -", "- - -")
    path.write_text(text.replace(old, new, 1))
    root = tmp_path / "root"
    root.mkdir()
    said = ran(tool("systemd-tmpfiles"), "--create", f"--root={root}", path)
    if good:
        assert said.returncode == 0, said.stderr
        assert (root / "var/lib/affectkit").stat().st_mode & 0o777 == 0o700
        assert sorted(each.name for each in (root / "var/lib/affectkit").iterdir()) == ["earlier", "health", "now"]
        assert (root / "run/affectkit").is_dir()
    else:
        assert said.returncode != 0 or "ignoring" in said.stderr


RULE = re.compile(r'(?:[A-Z_]+(?:\{\w+\})?(?:==|!=|=|\+=|:=)"[^"]*")(?:, [A-Z_]+(?:\{\w+\})?(?:==|!=|=|\+=|:=)"[^"]*")*')
MATCHES, SETS = {"SUBSYSTEM", "KERNEL", "ACTION", "ATTR"}, {"GROUP", "MODE", "OWNER", "TAG", "SYMLINK"}


def wrong_rules(text: str) -> list[str]:
    """Lines that are no udev rule as used here: keys that match have "==", keys that set have "=" (udev(7))."""
    wrong = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        pairs = re.findall(r'([A-Z_]+)(?:\{\w+\})?(==|!=|=|\+=|:=)"', line)
        misused = [key for key, operator in pairs if (key in MATCHES) != (operator in ("==", "!=")) or key not in MATCHES | SETS]
        modes = re.findall(r'MODE="([^"]*)"', line)
        if not RULE.fullmatch(line) or misused or not all(re.fullmatch("0[0-7]{3}", mode) for mode in modes):
            wrong.append(line)
    return wrong


@pytest.mark.parametrize(
    ("old", "new", "good"),
    [
        ("", "", True),
        ('SUBSYSTEM=="i2c-dev"', 'SUBSYSTEM="i2c-dev"', False),
        ('GROUP="video"', 'GRUOP="video"', False),
        ('MODE="0660"', 'MODE="0999"', False),
        ('MODE="0660"', 'MODE="0660', False),
        ('", GROUP', '" GROUP', False),
    ],
)
def test_udev_takes_the_rules_and_refuses_a_mistake(tmp_path, old, new, good):
    path = tmp_path / "70-affectkit.rules"
    path.write_text((ROOT / "etc/udev/rules.d/70-affectkit.rules").read_text().replace(old, new, 1))
    assert (wrong_rules(path.read_text()) == []) == good
    if shutil.which("udevadm") and "verify" in ran("udevadm", "--help").stdout:  # systemd 254 and later
        assert (ran("udevadm", "verify", "--no-style", path).returncode == 0) == good or "GRUOP" not in new


def test_the_rules_open_what_the_service_is_allowed():
    """A node that udev gives to a group is of no use to a service whose DeviceAllow lacks it, nor the other way round."""
    subsystems = {"i2c-dev": "char-i2c", "sound": "char-alsa"}
    rules = re.findall(r'SUBSYSTEM=="([\w-]+)", GROUP="(\w+)"', (ROOT / "etc/udev/rules.d/70-affectkit.rules").read_text())
    for name in ("affectkit.service", "affectkit-doctor.service"):
        unit = settings(UNITS / name)
        allowed = {value.partition(" ")[0] for key, value in unit if key == "DeviceAllow"}
        assert {subsystems.get(one, f"char-{one}") for one, _ in rules} == allowed
        groups = {group for key, value in unit if key == "SupplementaryGroups" for group in value.split()}
        assert {group for _, group in rules} == groups
    made = set(re.findall(r"(?m)^[gu] (\w+) ", (ROOT / "etc/sysusers.d/affectkit.conf").read_text()))
    assert made == groups | {"affectkit"}


CONF_KEYS = {
    "journald.conf.d": {"Storage", "RuntimeMaxUse", "RateLimitIntervalSec", "RateLimitBurst", "ForwardToSyslog"},
    "timesyncd.conf.d": {"NTP", "FallbackNTP", "SaveIntervalSec"},
    "system.conf.d": {"RuntimeWatchdogSec"},
}


@pytest.mark.parametrize("folder", CONF_KEYS)
def test_drop_ins_of_systemds_own_have_keys_that_their_manuals_know(folder):
    """No tool checks them before they run: journald.conf(5), timesyncd.conf(5), systemd-system.conf(5)."""
    assert {key for key, _ in settings(ROOT / f"etc/systemd/{folder}/affectkit.conf")} == CONF_KEYS[folder]


def test_the_preset_enables_all_that_can_be_enabled():
    preset = (ROOT / "etc/systemd/system-preset/80-affectkit.preset").read_text()
    enabled = set(re.findall(r"(?m)^enable (affectkit\S*)$", preset))
    assert enabled == {unit.name for unit in UNITS.iterdir() if "\n[Install]\n" in unit.read_text()}


# --- what the kit does is allowed -----------------------------------------------------------------------------------------


def expanded(name: str) -> set[str]:
    """System calls in a group such as @system-service."""
    calls: set[str] = set()
    for line in ran("systemd-analyze", "syscall-filter", name).stdout.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            calls |= expanded(word) if word.startswith("@") else {word}
    return calls


def allowed_calls(unit: list[tuple[str, str]]) -> set[str]:
    """Of its SystemCallFilter= lines, in order: what is listed, less what follows a tilde."""
    calls: set[str] = set()
    for key, value in unit:
        if key == "SystemCallFilter":
            words = value.removeprefix("~").split()
            named_here = set().union(*(expanded(word) if word.startswith("@") else {word} for word in words))
            calls = calls - named_here if value.startswith("~") else calls | named_here
    return calls


REFUSED_WITHOUT_HARM = {"mbind"}
"""OpenBLAS asks for memory near the processor, and does not look at the answer."""


def trespasses(trace: str, unit: list[tuple[str, str]], state: pathlib.Path) -> list[str]:
    """Lines of strace that ``unit`` would not let through; ``state`` stands for its StateDirectory=."""
    one = dict(unit)
    calls = allowed_calls(unit) | {"execve", "exit", "exit_group"} | REFUSED_WITHOUT_HARM
    families = set(one["RestrictAddressFamilies"].split())
    # PrivateTmp= gives a /tmp of its own; this test's folders lie deeper in this machine's.
    writable = re.compile(rf"{re.escape(str(state))}/|(/var)?/tmp(/[^/]+)?$|/dev/(shm/.*|null)$|/proc/self/")
    hidden = ("/home/", "/root/", "/run/user/") if one["ProtectHome"] == "yes" else ()
    # What this machine's interpreter and checkout need lies elsewhere on a device.
    ours = tuple({sys.prefix, sys.base_prefix, str(ROOT.parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))})
    found = []
    for line in trace.splitlines():
        call = re.match(r"\d+ +(\w+)\(", line)
        if call is None or "resumed>" in line:
            continue
        if call[1] not in calls:
            found.append(line)
        if call[1] == "socket" and not any(f"socket({family}," in line for family in families):
            found.append(line)
        if path := re.search(r'open(?:at)?\((?:AT_FDCWD, )?"([^"]+)", (\S+)', line):
            writes = re.search(r"O_WRONLY|O_RDWR|O_CREAT", path[2]) is not None
            if writes and not writable.match(path[1]):
                found.append(line)
            if path[1].startswith(hidden) and not path[1].startswith(ours) and "ENOENT" not in line:
                found.append(line)
        executable = "PROT_EXEC" in line and (call[1] == "mprotect" or "PROT_WRITE" in line)
        if executable and one["MemoryDenyWriteExecute"] == "yes":
            found.append(line)
    return found


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def trace(state: pathlib.Path) -> str:
    """The system calls of a run of the embedded session, with the unit's environment."""
    tool("strace"), tool("systemd-analyze")
    config = state / "kit.toml"
    config.write_text(f'[outputs]\nconsole = false\njsonl = "{state}/decisions.jsonl"\nreport = "{state}/report.json"\n')
    environment = dict(value.split("=", 1) for key, value in settings(UNITS / "affectkit.service") if key == "Environment")
    environment = {**os.environ, **environment, "HOME": str(state)}
    out = state / "trace"
    said = ran("strace", "-f", "-qq", "-s", "200", "-o", out, sys.executable, "-m", "edge", "run", "--config", config, "--duration", "2",
               env=environment, cwd=ROOT.parent)  # fmt: skip
    if not out.exists() or "Operation not permitted" in said.stderr:
        pytest.skip(f"strace may not trace here: {said.stderr.strip()[:80]}")
    assert said.returncode == 0, said.stderr
    assert (state / "decisions.jsonl").read_text().count("\n") >= 6
    return out.read_text()


def test_all_that_a_run_does_is_allowed_by_the_unit(trace, state):
    assert trespasses(trace, settings(UNITS / "affectkit.service"), state)[:5] == []


def test_what_a_unit_denies_is_noticed(trace, state):
    """The same run against stricter units: each denial shows, so the test above is not blind."""
    unit = settings(UNITS / "affectkit.service")
    assert trespasses(trace, unit, state / "elsewhere")
    assert trespasses(trace, [*unit, ("SystemCallFilter", "~openat")], state)
    page = "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f"
    assert any("PROT_EXEC" in line for line in trespasses(page, unit, state))
    line = '7 socket(AF_INET, SOCK_STREAM, 0) = -1 EAFNOSUPPORT\n7 openat(AT_FDCWD, "/root/.netrc", O_RDONLY) = 3'
    assert len(trespasses(line, unit, state)) == 2


def test_the_settings_write_where_the_service_may():
    kit = (ROOT / "etc/affectkit/kit.toml").read_text()
    folder = dict(settings(UNITS / "affectkit.service"))["StateDirectory"]
    written = re.findall(r'(?m)^(?:jsonl|report) = "([^"]+)"', kit)
    assert len(written) == 2
    assert all(path.startswith(f"/var/lib/{folder}/now/") for path in written)


def test_doctor_is_confined_as_the_kit_is():
    """It opens what the kit opens: what it finds closed must be closed for the kit too."""
    # ProtectClock would keep it from asking whether the clock is synchronized.
    hardening = re.compile(
        r"Protect(?!Clock)|Private|Restrict[A-Z]|Capab|Ambient|NoNew|Lock|Device|IPAddr|Remove|Keyring|Supplementary|User|UMask"
    )
    kit, doctor = (
        sorted(pair for pair in settings(UNITS / name) if hardening.match(pair[0]))
        for name in ("affectkit.service", "affectkit-doctor.service")
    )
    assert kit == doctor


def test_room_is_made_as_the_kits_own_user_before_a_folder_in_memory_is_mounted_as_root():
    starts = [value for key, value in settings(UNITS / "affectkit.service") if key == "ExecStartPre"]
    assert starts[0] == "/bin/sh /usr/lib/affectkit/before-run"
    assert starts[-1] == "+-/bin/sh /usr/lib/affectkit/state", "whatever it ends with, the kit is started"


def test_folders_of_the_data_partition_are_in_place_before_anybody_writes_to_them():
    unit = settings(UNITS / "affectkit-state.service")
    before, after = ({name for key, value in unit if key == which for name in value.split()} for which in ("Before", "After"))
    assert {"local-fs.target", "systemd-timesyncd.service", "systemd-random-seed.service", "systemd-tmpfiles-setup.service"} <= before
    assert "srv-affectkit.mount" in after
    assert not {"Requires", "RequiresMountsFor"} & dict(unit).keys(), "it has work to do where the partition did not come up"
