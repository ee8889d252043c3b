"""What the aarch64 rig needs, made once: QEMU's user emulation at work, and root directories of Debian arm64 with the device's wheels.

Everything lies in ``$XDG_CACHE_HOME/affectkit/arm64`` (``~/.cache`` by default): ``trixie-base`` and ``bookworm-base``, as debootstrap
leaves them and never changed (0.25 GB each), and ``trixie-tests`` and ``bookworm-tests`` made from them (0.9 GB each). Nothing outside
changes, but for Debian packages that are missing on this machine and its registration of aarch64 programs.
"""

from __future__ import annotations

import collections.abc
import configparser
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIRROR = "http://deb.debian.org/debian"
OLDEST_QEMU = 10
"""7.2, which Debian 12 has, crashes inside the int8 kernels of both interpreters."""
COMMANDS = {
    "debootstrap": ("debootstrap", "debian-archive-keyring"),
    "qemu-aarch64": ("qemu-user", "qemu-user-binfmt"),
    "unshare": ("util-linux",),
}
"""What is run -> the packages that have it."""
BINFMT = pathlib.Path("/proc/sys/fs/binfmt_misc")
DEBIAN_PACKAGES = ("python3", "openssl")
"""A kit has more; what the tests can do without is left to Raspberry Pi OS."""
LIKE_HERE = ("numpy", "ai-edge-litert", "pillow", "soundfile", "soxr")
"""Of these the version of this Python's is taken, where it has them: only the processor is to differ."""
NOT_ON_A_DEVICE = ("ruff", "mypy")
PLACE, INSTALLED = "opt/tests", "opt/installed.json"
"""The virtual environment, in the root directory; what was installed there."""


class CannotError(Exception):
    """The rig cannot be set up here; the message says in one line why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Release:
    """One Debian, and what is installed there for the tests."""

    name: str
    python: str
    glibc: tuple[int, int]
    requirements: tuple[str, ...] | None = None
    """None: what setup.cfg says that the device and its tests need."""


TRIXIE = Release("trixie", "3.13", (2, 41))
# The older interpreter ends at Python 3.11 and numpy 1; Raspberry Pi OS bookworm is where a kit could have it.
BOOKWORM = Release("bookworm", "3.11", (2, 36), ("tflite-runtime==2.14.0", "numpy<2", "pillow>=11", "soundfile>=0.12.1", "rich>=13.7"))
RELEASES = {release.name: release for release in (TRIXIE, BOOKWORM)}


def cache_folder() -> pathlib.Path:
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "affectkit" / "arm64"


def have_emulator() -> str:
    """See to it that aarch64 programs run here; QEMU's version. Raises CannotError."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotError(f"this rig runs on x86-64 Linux, this is {platform.system()} on {platform.machine()}: on a Pi, make test-device")
    if os.geteuid() != 0:
        raise CannotError("root directories of another architecture need root: run it with sudo")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin"])
    missing = sorted({package for command, packages in COMMANDS.items() if shutil.which(command) is None for package in packages})
    if missing:
        line = f"apt-get install --no-install-recommends {' '.join(missing)}"
        print(f"installing {', '.join(missing)} (once)", flush=True)
        run(["apt-get", "install", "--yes", "--no-install-recommends", *missing], f"is this Debian or Ubuntu? See what this says: {line}")
    said = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=False).stdout
    version = qemu_version(said)
    if version[0] < OLDEST_QEMU:
        raise CannotError(
            f"qemu-aarch64 is {'.'.join(map(str, version))}, which crashes in the int8 kernels; it takes {OLDEST_QEMU} or newer: "
            "Debian 13 has it, Debian 12 in bookworm-backports (apt-get install -t bookworm-backports qemu-user qemu-user-binfmt)"
        )
    _register()
    return ".".join(map(str, version))


def qemu_version(said: str) -> tuple[int, ...]:
    """(10, 0, 2) from what ``qemu-aarch64 --version`` prints; (0,) if that cannot be told."""
    found = re.search(r"version (\d+(?:\.\d+)*)", said)
    return tuple(int(number) for number in found[1].split(".")) if found else (0,)


def _register() -> None:
    """The kernel hands aarch64 programs to QEMU, kept open by it (flag F): a chroot has no QEMU of its own."""
    if not (BINFMT / "register").exists():
        run(
            ["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)],
            "this kernel has no binfmt_misc, or a container may not mount it",
        )
    name = "qemu-aarch64"
    if not (BINFMT / name).exists():
        tools = (["update-binfmts", "--enable", name], ["/usr/lib/systemd/systemd-binfmt"])
        for tool in (tool for tool in tools if shutil.which(tool[0])):
            subprocess.run(tool, capture_output=True, check=False)
    if not (BINFMT / name).exists():
        raise CannotError("the kernel does not know aarch64 programs: apt-get install qemu-user-binfmt binfmt-support")
    registered = (BINFMT / name).read_text()
    if not registered.startswith("enabled") or "F" not in _flags(registered):
        raise CannotError(f"{BINFMT / name} is not enabled with flag F: update-binfmts --disable {name}; update-binfmts --enable {name}")


def _flags(registered: str) -> str:
    return next((line.removeprefix("flags:").strip() for line in registered.splitlines() if line.startswith("flags:")), "")


def root(release: Release, mirror: str = MIRROR) -> pathlib.Path:
    """The root directory of ``release`` with what the tests need; made where it is not there, or for other wheels. Raises CannotError."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotError(f"{folder}: cannot be made: {error.strerror}; set XDG_CACHE_HOME to a folder of yours") from error
    base, place = folder / f"{release.name}-base", folder / f"{release.name}-tests"
    wanted = requirements(release)
    installed = place / INSTALLED
    if not installed.exists() or json.loads(installed.read_text())["debian"] != list(DEBIAN_PACKAGES):
        if not base.exists():
            _whole(base, lambda half: _bootstrap(release, half, mirror))
        if (base / "debootstrap").exists():
            raise CannotError(f"{base} is being made, or its making broke off: wait for it, or remove it")
        run(["rm", "-rf", "--one-file-system", str(place)], "who else uses it?")
        _whole(place, lambda half: _derive(base, half, release))
    if json.loads(installed.read_text())["wheels"] != wanted:
        _environment(place, release, wanted)
        installed.write_text(json.dumps({"debian": list(DEBIAN_PACKAGES), "wheels": wanted}))
    return place


def _whole(place: pathlib.Path, make: collections.abc.Callable[[pathlib.Path], None]) -> None:
    """Make the folder ``place`` beside itself, and rename it when it is whole."""
    half = place.with_name(f".{place.name}.half")
    for mounted in ("proc", "sys"):  # left by a debootstrap that was killed
        subprocess.run(["umount", "--lazy", str(half / mounted)], capture_output=True, check=False)
    if half.exists():
        run(["rm", "-rf", "--one-file-system", str(half)], "who else uses it?")
    make(half)
    half.rename(place)


def _bootstrap(release: Release, place: pathlib.Path, mirror: str) -> None:
    print(f"making a root directory of Debian {release.name} arm64 (once, 7 minutes)", flush=True)
    run(["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", release.name, str(place), mirror], "is there a network?")
    run(["chroot", str(place), "/debootstrap/debootstrap", "--second-stage"], f"see {place}/debootstrap/debootstrap.log")


def _derive(base: pathlib.Path, place: pathlib.Path, release: Release) -> None:
    print(f"installing Python {release.python} in Debian {release.name} arm64 (once, 2 minutes)", flush=True)
    run(["cp", "-a", "--reflink=auto", str(base), str(place)], "is the disk full? It takes a gigabyte")
    shutil.copyfile("/etc/resolv.conf", place / "etc" / "resolv.conf")
    apt = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "chroot", str(place), "apt-get", "-o", "APT::Sandbox::User=root"]
    run([*apt, "update"], "is there a network?")
    run([*apt, "install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES], "is there a network?")
    run([*apt, "clean"], "is the disk full?")
    with (place / "etc" / "passwd").open("a") as accounts:
        accounts.write("kit:x:1000:1000:kit:/tmp:/bin/sh\n")
    with (place / "etc" / "group").open("a") as groups:
        groups.write("kit:x:1000:\n")
    for name in ("code", "given", "out"):
        (place / "mnt" / name).mkdir()
    (place / INSTALLED).write_text(json.dumps({"debian": list(DEBIAN_PACKAGES), "wheels": []}))


def _environment(place: pathlib.Path, release: Release, wanted: list[str]) -> None:
    """A virtual environment of the root's own Python with the wheels, and affectkit."""
    print(f"installing the aarch64 wheels for Python {release.python} (once, 1 minute)", flush=True)
    run(["rm", "-rf", "--one-file-system", str(place / PLACE)], "who else uses it?")
    run(["chroot", str(place), "python3", "-m", "venv", "--without-pip", f"/{PLACE}"], "is the disk full?")
    site = place / PLACE / "lib" / f"python{release.python}" / "site-packages"
    _wheels(release, wanted, site)
    _as_installed(site)


def _wheels(release: Release, names: list[str], site: pathlib.Path) -> None:
    """aarch64 wheels, chosen by the pip of this machine: an emulated one takes ten times as long."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
    command += ["--only-binary=:all:", f"--python-version={release.python}", "--implementation=cp", f"--target={site}", "--upgrade"]
    command += [f"--abi={abi}" for abi in ("cp" + release.python.replace(".", ""), "abi3", "none")]
    command += [f"--platform={name}" for name in platforms(release.glibc)]
    run([*command, *names], "is PyPI in reach?")


def platforms(glibc: tuple[int, int]) -> list[str]:
    """Platform tags of aarch64 wheels that a Debian with this ``glibc`` takes, the newest first."""
    return [
        *(f"manylinux_{glibc[0]}_{minor}_aarch64" for minor in range(glibc[1], 16, -1)),
        "manylinux2014_aarch64",
        "linux_aarch64",
        "any",
    ]


def _as_installed(site: pathlib.Path) -> None:
    """affectkit as an editable installation of the folder that a run mounts: its commands are known, its code is what stands there."""
    settings = _settings()
    name, version = settings["metadata"]["name"], settings["metadata"]["version"]
    (site / f"{name}.pth").write_text("/mnt/code\n")
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = settings["options.entry_points"]
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{points[group].strip()}\n" for group in points))
    (info / "RECORD").write_text("")


def _settings() -> configparser.ConfigParser:
    settings = configparser.ConfigParser(inline_comment_prefixes=("#",))
    settings.read(ROOT / "setup.cfg")
    return settings


def requirements(release: Release) -> list[str]:
    """What pip installs: the device's, the sensors' and the tests', and pip itself, which a test of the boards asks."""
    if release.requirements is not None:
        return list(release.requirements)
    settings = _settings()
    extras = settings["options.extras_require"]
    lines = "\n".join([settings["options"]["install_requires"], extras["sensors"], extras["test"], "pip"]).split("\n")
    names = dict.fromkeys(line.strip() for line in lines if line.strip())
    wanted = [name for name in names if distribution(name) not in NOT_ON_A_DEVICE]
    return [*wanted, *(f"{name}=={version}" for name in LIKE_HERE if (version := version_here(name)))]


def distribution(requirement: str) -> str:
    """ "ai-edge-litert" of "ai-edge-litert>=2.1,<3"."""
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower()


def version_here(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def run(command: list[str], remedy: str) -> None:
    """Run a command of the setting up. Raises CannotError with its last line, and ``remedy``."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, errors="replace", cwd="/")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise CannotError(f"{pathlib.Path(command[0]).name} failed, saying {said!r}: {remedy}")
