"""The steps of an installation, each of which may be cut off and done again: packages, Python, files, users, bundle, services."""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import pathlib
import re
import shutil
import tomllib

from install_files import InstallError, Root, made, ran, sync_folder
from install_payload import NOT_LISTED, Payload

UNITS = "/etc/systemd/system"
RESUME = "affectkit-install.service"
WANTED = f"{UNITS}/multi-user.target.wants/{RESUME}"
CURRENT = "/srv/affectkit/bundles/current.affectkit"
POLICY = "/usr/sbin/policy-rc.d"
_POLICY = b"#!/bin/sh\n# affectkit: no package starts its services while the kit is installed.\nexit 101\n"


@dataclasses.dataclass(frozen=True)
class Kit:
    """What is installed, and where."""

    payload: Payload
    root: Root

    @property
    def release(self) -> str:
        """Folder of this payload's virtual environment."""
        return f"/opt/affectkit/releases/{self.payload.files['requirements.txt']['sha256'][:16]}"


def resume(kit: Kit) -> None:
    """Has this installation called at each boot until it is done: whoever called it first does so only once."""
    kit.root.write(f"{UNITS}/{RESUME}", kit.payload.read(f"system{UNITS}/{RESUME}"))
    kit.root.link(WANTED, f"../{RESUME}")


def packages(kit: Kit) -> None:
    """Debian packages, from the payload alone; none of them starts a service."""
    wanted = kit.payload.says["debian"]
    if not wanted:
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true"}
    policy = kit.root.at(POLICY)
    ours = not policy.exists() or policy.read_bytes() == _POLICY
    if ours:
        kit.root.write(POLICY, _POLICY, 0o755)
    try:
        _packages(kit, wanted, quiet)
    finally:
        if ours:
            kit.root.remove(POLICY)


def _packages(kit: Kit, wanted: collections.abc.Sequence[str], quiet: collections.abc.Mapping[str, str]) -> None:
    # What an interruption left half unpacked; nothing at all otherwise.
    elsewhere = [] if kit.root.is_device else [f"--root={kit.root.path}"]
    ran("dpkg", *elsewhere, "--force-confold", "--configure", "-a", environment=quiet, may_fail=True)
    # A view of its own, in memory: this system's own sources and lists stay as they are, and no network is asked.
    private = kit.root.at("/run/affectkit-install/apt")
    made(private / "lists/partial")
    source = private / "sources.list"
    source.write_text(f"deb [trusted=yes] file:{kit.payload.folder}/debs ./\n")
    options = {
        "Dir::Etc::sourcelist": source,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": private / "lists",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "APT::Get::List-Cleanup": "false",
        "Dpkg::Use-Pty": "false",
        "Dpkg::Options::": "--force-confold",
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{key}={value}" for key, value in options.items())]
    if elsewhere:
        apt += [f"-oDir::State::status={kit.root.at('/var/lib/dpkg/status')}", f"-oDpkg::Options::={elsewhere[0]}"]
    ran(*apt, "update", environment=quiet)
    ran(*apt, "--no-remove", "install", *wanted, environment=quiet)


def python(kit: Kit) -> None:
    """A virtual environment for this payload, made in its own folder; ``venv`` points at it when it is whole."""
    folder = kit.root.at(kit.release)
    whole = folder / ".whole"
    if not whole.exists():
        # Half-made: there is no telling what is missing.
        shutil.rmtree(folder, ignore_errors=True)
        made(folder.parent)
        # The system's packages (libcamera, PyAudio) are seen; pip runs out of its wheel and stays out of the kit.
        ran("python3", "-m", "venv", "--system-site-packages", "--without-pip", folder)
        wheels = kit.payload.folder / "wheels"
        pip = sorted(wheels.glob("pip-*.whl"))
        if not pip:
            raise InstallError(f"{wheels}: has no wheel of pip; make the payload again")
        own = folder / "bin/python3"
        ran(
            own, "-m", "pip", "--isolated", "install", "--no-index", "--find-links", wheels, "--no-deps", "--require-hashes",
            "--ignore-installed", "--no-compile", "--no-cache-dir", "--no-input", "--disable-pip-version-check",
            "--no-warn-script-location", "--root-user-action=ignore", "-r", kit.payload.folder / "requirements.txt",
            environment={"PYTHONPATH": str(pip[0]), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        # The service may not write there: without this Python would compile everything at every start. Tests and what a workstation
        # needs are not imported here. What cannot be compiled is written for another Python, and of no use to this one.
        ran(own, "-m", "compileall", "-q", "-j", "0", "-x", "/(tests?|convert|benchmarks)/", folder / "lib", may_fail=True)
        # Everything in it is on the card before it says so.
        os.sync()
        whole.touch()
        sync_folder(folder)
        os.sync()
    kit.root.link("/opt/affectkit/venv", kit.release.removeprefix("/opt/affectkit/"))
    kit.root.link("/usr/local/bin/affectkit", "/opt/affectkit/venv/bin/affectkit")
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def system_files(kit: Kit) -> None:
    """Units, rules, scripts and settings: root's, readable by all. ``kit.toml`` stays as it is where there is one."""
    for name in kit.payload.files:
        if name.startswith("system/") and name != "system/etc/affectkit/kit.toml":
            content = kit.payload.read(name)
            kit.root.write(name.removeprefix("system"), content, 0o755 if content.startswith(b"#!") else 0o644)
    drop_ins = f"{UNITS}/affectkit.service.d"
    if kit.payload.has("board.conf"):
        kit.root.write(f"{drop_ins}/board.conf", kit.payload.read("board.conf"))
    if kit.payload.has("root.json"):
        kit.root.write("/etc/affectkit/root.json", kit.payload.read("root.json"))
    settings = kit.root.at("/etc/affectkit/kit.toml")
    if not settings.exists():
        given = kit.payload.folder / "kit.toml"
        try:
            kit.root.write("/etc/affectkit/kit.toml", given.read_bytes())
        except OSError as error:
            raise InstallError(f"{given}: cannot be read ({error.strerror}); make the card again") from error
    # A unit with an unknown group does not start, and the group is there only with BlueZ.
    if _uses_strap(settings) and re.search(r"(?m)^bluetooth:", kit.root.at("/etc/group").read_text()):
        kit.root.write(f"{drop_ins}/strap.conf", kit.payload.read("system/usr/lib/affectkit/drop-ins/strap.conf"))
    else:
        kit.root.remove(f"{drop_ins}/strap.conf")


def _uses_strap(settings: pathlib.Path) -> bool:
    try:
        use = tomllib.loads(settings.read_text(encoding="utf-8")).get("sources", {}).get("use", [])
    except (ValueError, AttributeError) as error:
        raise InstallError(f"{settings}: is no TOML ({error}); mend it there, or on the card that is written next") from error
    return any(str(source).startswith("strap:") for source in use)


def users(kit: Kit) -> None:
    """The service's user and the groups of its devices, and their folders."""
    elsewhere = [] if kit.root.is_device else [f"--root={kit.root.path}"]
    ran("systemd-sysusers", *elsewhere, kit.root.at("/etc/sysusers.d/affectkit.conf"))
    # It complains of folders that a container does not let it make; the service makes what it needs once more.
    ran("systemd-tmpfiles", "--create", *elsewhere, kit.root.at("/etc/tmpfiles.d/affectkit.conf"), may_fail=True)


def first_bundle(kit: Kit) -> None:
    """The bundle of the payload under ``/srv/affectkit``, and the links to it unless there are others already."""
    bundles = "/srv/affectkit/bundles"
    for folder in (bundles, "/srv/affectkit/update/partial"):
        made(kit.root.at(folder))
    if kit.payload.has("bundle.affectkit"):
        name = f"{kit.payload.says['bundle_sha256'][:32]}.affectkit"
        kit.root.write(f"{bundles}/{name}", kit.payload.read("bundle.affectkit"))
        for link in (CURRENT, f"{bundles}/good.affectkit"):
            # An update from a stick is newer than what is on this card.
            if not kit.root.at(link).exists():
                kit.root.link(link, name)


def units(kit: Kit) -> list[str]:
    """What the preset switches on: the kit's own units, and those of the system's that are there."""
    name = "system/etc/systemd/system-preset/80-affectkit.preset"
    listed = re.findall(r"(?m)^enable (\S+)$", kit.payload.read(name).decode()) if kit.payload.has(name) else []
    return [unit for unit in listed if unit.startswith("affectkit") or has_unit(kit.root, unit)]


def has_unit(root: Root, unit: str) -> bool:
    """Whether the system has the ``unit``."""
    return any(root.at(f"{folder}/{unit}").exists() for folder in (UNITS, "/usr/lib/systemd/system", "/lib/systemd/system"))


def services(kit: Kit) -> None:
    """Units switched on for the next boot, rules for devices that are there already; nothing is started."""
    elsewhere = [] if kit.root.is_device else [f"--root={kit.root.path}"]
    ran("systemctl", *elsewhere, "preset", *units(kit))
    if kit.root.is_device:
        ran("systemctl", "daemon-reload", may_fail=True)
        ran("udevadm", "control", "--reload", may_fail=True)
        ran("udevadm", "trigger", may_fail=True)


def start(kit: Kit) -> None:
    """The kit, at once and without waiting; not where the board restarts anyway, as Bookworm does after its first boot."""
    line = kit.root.at("/proc/cmdline")
    restarts = line.exists() and "systemd.run=" in line.read_text()
    if kit.root.is_device and pathlib.Path("/run/systemd/system").is_dir() and not restarts:
        ran("systemctl", "start", "--no-block", *units(kit), may_fail=True)


def advice(kit: Kit) -> list[str]:
    """What is no failure, and should be known."""
    settings = tomllib.loads(kit.root.at("/etc/affectkit/kit.toml").read_text(encoding="utf-8"))
    found = []
    if settings.get("bundle", {}).get("path", "") != CURRENT:
        found.append(f'kit.toml: path in [bundle] is not "{CURRENT}": bundles of update sticks will not be used')
    if unknown := sorted(
        path.name for path in kit.payload.folder.iterdir() if path.is_dir() and path.name not in {"wheels", "debs", "system"}
    ):
        found.append(f"{kit.payload.folder}: {', '.join(unknown)} is not of the payload and was left alone")
    missing = [name for name in NOT_LISTED[:2] if not (kit.payload.folder / name).exists()]
    return found + [f"{kit.payload.folder}: has no {name}" for name in missing]
