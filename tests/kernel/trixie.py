"""Boots Debian 13 (trixie) under emulation and runs the CSI camera's driver on the real picamera2 and the real libcamera.

The virtual camera of libcamera needs a kernel with ``/dev/udmabuf`` and a libcamera that Debian 12 does not have. So this rig makes a
root directory of Debian 13 and unpacks its kernel, once, in ``$XDG_CACHE_HOME/affectkit/trixie`` (``~/.cache`` by default; 0.5 GB), and
runs ``inside/check_csi.py`` there with that system's Python. What is replaced beneath picamera2 stands in ``inside/virtual_camera.py``.
The machine sees the root directory and this repository without writing to them. KVM stays off: no check measures speed.

Options: ``--limit`` seconds for everything in the machine; anything behind ``--`` goes to pytest.

Exit status: pytest's own; 1 when the machine does not come to an end, 2 when the rig cannot be set up here.
"""

from __future__ import annotations

import argparse
import collections.abc
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys

import prepare
from prepare import CannotError

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE, MIRROR = "trixie", "http://deb.debian.org/debian"
COMMANDS = {"debootstrap": "debootstrap", "qemu-system-x86_64": "qemu-system-x86", "depmod": "kmod"}
"""What is run -> the package that has it."""
PACKAGES = (
    *("python3-libcamera", "libcamera-ipa", "python3-numpy", "python3-pil", "python3-prctl", "python3-pytest"),
    *("ca-certificates", "iproute2", "kmod", "udev"),
)
WHEELS = ("picamera2==0.3.38", "piexif==1.1.3", "simplejpeg==1.9.0", "videodev2==0.0.4")
"""picamera2 and, of what it depends on, what it cannot be imported without and Debian does not have."""
PYTHON = "3.13"
"""Debian 13's."""
CHECKS = "tests/kernel/inside/check_csi.py"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The CSI camera's driver on the real picamera2 and libcamera, emulated.")
    parser.add_argument(
        "--limit", type=float, default=420.0, help="seconds for everything in the machine; it needs 120 on two idle cores (420)"
    )
    parser.add_argument("--mirror", default=MIRROR, help=f"of Debian ({MIRROR})")
    parser.add_argument("pytest", nargs="*", help="options of pytest, behind --")
    options = parser.parse_args(argv)
    folder = prepare.cache_folder().with_name("trixie")
    try:
        virtme = set_up(folder, options.mirror)
    except CannotError as error:
        print(f"trixie: {error}", file=sys.stderr)
        return 2
    log = folder / "log"
    shutil.rmtree(log, ignore_errors=True)
    log.mkdir()
    print(f"booting Debian 13 under emulation, at most {options.limit:.0f} s; log: {log}", flush=True)
    status = boot(folder, virtme, options.pytest, log, options.limit)
    printed = (log / "checks.txt").read_text(errors="replace") if (log / "checks.txt").exists() else ""
    if status is None:
        print(printed[-4000:])
        print(f"trixie: the machine did not come to its end within {options.limit:.0f} s; see {log}", file=sys.stderr)
        return 1
    told = [line for line in printed.splitlines() if line.startswith("SKIPPED")] + printed.splitlines()[-1:]
    print(printed if status or options.pytest else "\n".join(told))
    return status


def set_up(folder: pathlib.Path, mirror: str) -> pathlib.Path:
    """Everything in ``folder``, from the network where it is not there yet; the folder of virtme-ng's commands. Raises CannotError."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotError(f"this rig runs on x86-64 Linux, this is {platform.system()} on {platform.machine()}: use such a machine")
    if os.geteuid() != 0:
        raise CannotError(f"making a root directory of Debian {RELEASE} needs root: run it with sudo")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin"])
    missing = sorted({package for command, package in COMMANDS.items() if shutil.which(command) is None})
    if missing:
        print(f"installing {', '.join(missing)} (once)", flush=True)
        _run(["apt-get", "install", "--yes", "--no-install-recommends", *missing], "is this Debian? Run apt-get update first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prepare.cache_folder().mkdir(exist_ok=True)
    except OSError as error:
        raise CannotError(f"{folder}: cannot be made: {error.strerror}; set XDG_CACHE_HOME to a folder of yours") from error
    virtme = prepare.virtme(prepare.cache_folder())
    _once(folder / "root", lambda: _debian(folder / "root", mirror, virtme))
    _once(folder / "kernel", lambda: _kernel(folder / "root", folder / "kernel"))
    return virtme


def _once(place: pathlib.Path, make: collections.abc.Callable[[], None]) -> None:
    """Make the folder ``place`` unless it has been made wholly."""
    ready = place.with_name(f".{place.name}-ready")
    if ready.exists():
        return
    for mounted in ("proc", "sys"):  # left by a debootstrap that was killed
        subprocess.run(["umount", "--lazy", str(place / mounted)], capture_output=True, check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", str(place)], check=False)
    make()
    ready.touch()


def _debian(root: pathlib.Path, mirror: str, virtme: pathlib.Path) -> None:
    """A root directory with libcamera, and picamera2 from PyPI without what it needs for screens, films and raw pictures."""
    print(f"making a root directory of Debian {RELEASE} (once, 2 minutes)", flush=True)
    packages = ",".join(PACKAGES)
    _run(["debootstrap", "--variant=minbase", f"--include={packages}", RELEASE, str(root), mirror], "is there a network?")
    _run(["chroot", str(root), "apt-get", "clean"], "is the disk full?")
    target = root / "usr" / "local" / "lib" / f"python{PYTHON}" / "dist-packages"
    command = [str(virtme / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--no-compile", "--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp", f"--target={target}"]
    command += [f"--abi={abi}" for abi in ("cp" + PYTHON.replace(".", ""), "abi3", "none")]
    command += [f"--platform={name}" for name in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")]
    _run([*command, *WHEELS], "is PyPI in reach?")
    # The machine could do it too, but keeps nothing, and takes ten times as long.
    compiled = ["chroot", str(root), "python3", "-m", "compileall", "-q", f"/{target.relative_to(root)}"]
    _run(compiled, "is the disk full?")
    for name in ("code", "log"):
        (root / "mnt" / name).mkdir()


def _kernel(root: pathlib.Path, place: pathlib.Path) -> None:
    """The release's kernel, fetched by its own apt, unpacked and not installed."""
    print("fetching its kernel (once, 110 MB)", flush=True)
    inside = ["chroot", str(root)]
    apt = [*inside, "apt-get", "-o", "APT::Sandbox::User=root"]
    _run([*apt, "update"], "is there a network?")
    depends = subprocess.run([*inside, "apt-cache", "depends", prepare.IMAGE], capture_output=True, text=True, check=False).stdout
    names = [word for word in depends.split() if word.startswith("linux-image-") and word != prepare.IMAGE]
    if not names:
        raise CannotError(f"Debian {RELEASE} has no {prepare.IMAGE}: choose another --mirror")
    _run([*inside, "sh", "-c", 'cd /tmp && exec "$@"', "sh", *apt[2:], "download", names[0]], "is there a network?")
    package = next((root / "tmp").glob(f"{names[0]}_*.deb"))
    _run(["dpkg-deb", "-x", str(package), str(place)], "is the disk full?")
    package.unlink()
    if not (place / "lib").exists():
        (place / "lib").symlink_to("usr/lib")
    for modules in (place / "lib" / "modules").iterdir():
        _run(["depmod", "-b", str(place), modules.name], "apt-get install --reinstall kmod")


def _run(command: list[str], remedy: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise CannotError(f"{command[0]} failed, saying {said!r}: {remedy}")


def boot(folder: pathlib.Path, virtme: pathlib.Path, options: list[str], log: pathlib.Path, limit_s: float) -> int | None:
    """Run the checks in the machine, their output in ``log/checks.txt``; pytest's exit status, or None if there was none in time."""
    checks = ["python3", "-u", "-m", "pytest", "-p", "no:cacheprovider", "--confcutdir=tests/kernel/inside"]
    checks += ["-o", "python_files=check_*.py", "-rs", "--durations=8", *options, CHECKS]
    settings = "AFFECTKIT_VIRTUAL_CAMERA=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp"
    inside = f"cd /mnt/code && {settings} {shlex.join(checks)} > /mnt/log/checks.txt 2>&1; echo $? > /mnt/log/status; sync"
    kernel = next((folder / "kernel" / "boot").glob("vmlinuz-*"))
    command = [
        *(str(virtme / "vng"), "--verbose", "--disable-kvm", "--disable-microvm", "--force-9p", "--run", str(kernel)),
        *("--root", str(folder / "root"), "--cwd", str(folder / "root"), "--user", "root", "--memory", "1G", "--cpus", "2"),
        *(f"--rodir=/mnt/code={ROOT}", f"--rwdir=/mnt/log={log}", "--", inside),
    ]
    return prepare.run_machine(command, virtme, log, folder, limit_s)


if __name__ == "__main__":
    sys.exit(main())
