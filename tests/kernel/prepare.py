"""What the kernel rig needs, made once and kept in a folder: a stock Debian kernel, unpacked and not installed, and virtme-ng.

The folder is ``$XDG_CACHE_HOME/affectkit/kernel`` (``~/.cache`` by default). Nothing outside it changes, but for Debian packages
that are missing: root gets them installed, anybody else the line to type.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

IMAGE = "linux-image-amd64"
"""Depends on the package of the kernel that the release now ships."""
VIRTME = "virtme-ng==1.42"
COMMANDS = {"qemu-system-x86_64": "qemu-system-x86", "modprobe": "kmod", "aplay": "alsa-utils"}
"""What is run -> the package that has it."""
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotError(Exception):
    """The rig cannot be set up here; the message says in one line why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a boot needs."""

    virtme: pathlib.Path
    """The folder with the commands of virtme-ng."""
    kernel: pathlib.Path
    """A kernel image, with its modules in ``lib/modules`` two folders up."""

    @property
    def release(self) -> str:
        return self.kernel.name.removeprefix("vmlinuz-")


def cache_folder() -> pathlib.Path:
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "affectkit" / "kernel"


def prepare(folder: pathlib.Path) -> Machine:
    """Everything in ``folder``, from the network where it is not there yet. Raises CannotError."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotError(f"the kernel rig runs on x86-64 Linux, this is {platform.system()} on {platform.machine()}: use such a machine")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotError(f"{folder}: cannot be made: {error.strerror}; set XDG_CACHE_HOME to a folder of yours") from error
    _have_commands()
    return Machine(virtme(folder), _kernel(folder))


def _have_commands() -> None:
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), _SYSTEM_PATH])  # modprobe is not on everybody's path
    missing = sorted({package for command, package in COMMANDS.items() if shutil.which(command) is None})
    if not missing:
        return
    line = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotError(f"{', '.join(missing)} missing, and installing needs root on Debian: sudo {line}")
    print(f"installing {', '.join(missing)} (once)", flush=True)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if not _succeeds(command) and not (_succeeds(["apt-get", "update"]) and _succeeds(command)):
        raise CannotError(f"{', '.join(missing)} cannot be had: see what this says: {line}")


def virtme(folder: pathlib.Path) -> pathlib.Path:
    """virtme-ng in an environment of its own."""
    place = folder / "venv"
    ready = place / f".{VIRTME}"
    if not ready.exists():
        print(f"setting up {VIRTME} (once)", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", VIRTME]
        if not _succeeds([sys.executable, "-m", "venv", str(place)]) or not _succeeds(pip):
            raise CannotError(f"{VIRTME} cannot be had from PyPI: see what this says: {' '.join(pip)}")
        ready.touch()
    return place / "bin"


def _kernel(folder: pathlib.Path) -> pathlib.Path:
    """The newest kernel that is unpacked in ``folder``; a first one is fetched."""
    ready = sorted(folder.glob("linux-image-*/boot/vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    if ready:
        return ready[-1]
    if shutil.which("apt-get") is None:
        raise CannotError("no apt-get: the kernel is Debian's, and so is this rig; use Debian 12 or newer")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        name = _download(pathlib.Path(scratch))
        print(f"unpacking {name} (once)", flush=True)
        tree = pathlib.Path(scratch) / "tree"
        package = next(pathlib.Path(scratch).glob("*.deb"))
        if not _succeeds(["dpkg-deb", "-x", str(package), str(tree)]):
            raise CannotError(f"{package.name} does not unpack: is {folder} full? It takes half a gigabyte")
        if not (tree / "lib").exists():  # trixie's packages have /usr/lib alone
            (tree / "lib").symlink_to("usr/lib")
        for modules in (tree / "lib" / "modules").iterdir():
            if not _succeeds(["depmod", "-b", str(tree), modules.name]):
                raise CannotError(f"depmod fails on {modules.name}: apt-get install --reinstall kmod")
        tree.rename(folder / name)
    return next((folder / name).glob("boot/vmlinuz-*"))


def _download(folder: pathlib.Path) -> str:
    """Fetch the package of the kernel into ``folder``; its name."""
    for attempt in range(2):
        if attempt and not (os.geteuid() == 0 and _succeeds(["apt-get", "update"])):
            break
        depends = subprocess.run(["apt-cache", "depends", IMAGE], capture_output=True, text=True, check=False).stdout.split()
        names = [word for word in depends if word.startswith("linux-image-") and word != IMAGE]
        if not names:
            continue
        print(f"fetching {names[0]} (once, 70 MB)", flush=True)
        if _succeeds(["apt-get", "-o", "APT::Sandbox::User=root", "download", names[0]], folder):
            return names[0]
    raise CannotError(f"{IMAGE} cannot be had from Debian: is there a network? As root: apt-get update && apt-get download {IMAGE}")


def _succeeds(command: list[str], folder: pathlib.Path | None = None) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, env=environment).returncode == 0


def run_machine(
    command: collections.abc.Sequence[str], commands: pathlib.Path, log: pathlib.Path, cwd: pathlib.Path, limit_s: float
) -> int | None:
    """Run an emulator to its end, its console in ``log/console.txt``; what the guest wrote to ``log/status``, None if nothing in time.

    Args:
        commands: the folder of virtme-ng's commands, which call each other by name.
    """
    # Through a pipe: QEMU opens its streams anew, and two of them in one file would overwrite each other.
    with (log / "console.txt").open("wb") as console:
        process = subprocess.Popen(
            ["sh", "-c", '"$@" 2>&1 | cat', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=console,
            start_new_session=True,
            env={**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
            cwd=cwd,
        )
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    try:
        return int((log / "status").read_text())
    except (OSError, ValueError):
        return None
