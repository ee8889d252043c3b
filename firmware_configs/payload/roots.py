"""Root folders of Debian for arm64, to install a payload in; and commands in them, with a network or without."""

from __future__ import annotations

import collections.abc
import contextlib
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import time
import typing

from edge.errors import EdgeError
from firmware_configs import boards
from firmware_configs.payload.archives import DEBIAN
from firmware_configs.payload.cache import cache_folder, folder_for
from firmware_configs.payload.present import LITE, STATUS, debugfs, second_partition

LEAST_QEMU = 10
"""Version 7.2 crashes in the int8 kernels of the interpreter."""
NATIVE = "this processor"
_BINFMT = pathlib.Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
_MOST_S = 3600
_POLICY = "#!/bin/sh\n# No package starts its services in here.\nexit 101\n"


class CannotProveError(EdgeError):
    """This workstation cannot run a device's programs; the reason, in one line."""


def emulator() -> str:
    """What runs arm64 programs here: "qemu-aarch64 10.0.2", or ``NATIVE``.

    Raises:
        CannotProveError: nothing does; or this is not Linux, not root, or without unshare.
    """
    if platform.system() != "Linux":
        raise CannotProveError("needs Linux")
    if os.geteuid() != 0:
        raise CannotProveError("needs root, to change into the root folder of another system")
    if not shutil.which("unshare") or not shutil.which("chroot"):
        raise CannotProveError("needs unshare and chroot (util-linux, coreutils)")
    if platform.machine() == "aarch64":
        return NATIVE
    found = _BINFMT.read_text() if _BINFMT.is_file() else ""
    path = match[1] if (match := re.search(r"(?m)^interpreter (.+)$", found)) else ""
    if not found.startswith("enabled") or not path:
        raise CannotProveError(f"needs QEMU {LEAST_QEMU} or later for arm64 programs; apt-get install qemu-user-binfmt")
    if not re.search(r"(?m)^flags: \w*F", found):
        raise CannotProveError(f"{path} is not found inside another root folder (no flag F in {_BINFMT}); install qemu-user-binfmt again")
    # Under the name that the kernel uses it answers no questions.
    program = os.path.realpath(path)
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        said = ""
    version = match[1] if (match := re.search(r"version (\d+[.\d]*)", said)) else "0 or unknown"
    if int(re.split(r"\D", version)[0]) < LEAST_QEMU:
        raise CannotProveError(f"{program} is version {version}; {LEAST_QEMU} or later is needed, earlier ones crash in int8 kernels")
    return f"qemu-aarch64 {version}"


class Ran(typing.NamedTuple):
    """What a command did."""

    status: int
    output: str
    errors: str
    seconds: float

    @property
    def why(self) -> str:
        """The line that says why it failed: the installer's own, else the last one with words."""
        lines = [line.strip() for line in f"{self.output}\n{self.errors}".splitlines() if line.strip()]
        return next((line for line in lines if "NOT INSTALLED: " in line), lines[-1] if lines else "it said nothing")


def run_in(
    root: pathlib.Path,
    command: collections.abc.Sequence[str],
    *,
    network: bool = False,
    environment: collections.abc.Mapping[str, str] | None = None,
) -> Ran:
    """Runs ``command`` in ``root`` as its root user, in name spaces of its own: nothing is mounted or left running outside."""
    inside = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
    inside |= dict(environment or {})
    words = [*(f"{key}={value}" for key, value in inside.items()), *command]
    script = "\n".join(
        [
            "set -e",
            "mount -t proc proc proc",
            # XNNPACK looks there for processors, and without it other kernels answer, which round otherwise.
            "mount -t sysfs -o ro sysfs sys",
            "mount -t tmpfs -o mode=755 dev dev",
            "mkdir -m 1777 dev/shm",
            *(f"mknod -m 666 dev/{name} c 1 {number}" for name, number in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9))),
            f"exec chroot . /usr/bin/env -i {shlex.join(words)}",
        ]
    )
    spaces = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", *(() if network else ("--net",))]
    began = time.monotonic()
    try:
        ran = subprocess.run(
            ["unshare", *spaces, "/bin/sh", "-c", script],
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MOST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EdgeError(f"{root}: {shlex.join(command[:3])} had not ended after {_MOST_S} s") from error
    output, errors = (said.decode("utf-8", "replace") for said in (ran.stdout, ran.stderr))
    return Ran(ran.returncode, output, errors, round(time.monotonic() - began, 1))


@contextlib.contextmanager
def copied(base: pathlib.Path) -> typing.Iterator[pathlib.Path]:
    """A copy of a root folder to work in; ``base`` stays as it is. The copy is gone at the end."""
    with folder_for(cache_folder("arm64"), "proof") as work:
        _run(["cp", "-a", "--reflink=auto", str(base), str(work / "root")], f"{base}: cannot be copied")
        yield work / "root"


@contextlib.contextmanager
def of_image(image: pathlib.Path) -> typing.Iterator[pathlib.Path]:
    """The root folder of an image of Raspberry Pi OS, taken out of it to work in; gone at the end. Takes as much of the disk."""
    with folder_for(cache_folder("arm64"), "proof") as work:
        (root := work / "root").mkdir()
        # debugfs knows no error status, and tells on stderr of what it does not write, such as device nodes.
        subprocess.run([debugfs(image), "-R", f'rdump / "{root}"', second_partition(image)], capture_output=True, check=False)
        if not (root / STATUS).is_file():
            raise EdgeError(f"{image}: could not be unpacked to {root}; is the disk full?")
        root.chmod(0o755)
        yield root


def lite(os_name: boards.OsName, mirror: str = DEBIAN, tell: collections.abc.Callable[[str], object] = print) -> pathlib.Path:
    """A root folder with what any Raspberry Pi OS has (``LITE``), made once and kept in the cache; needs a network then.

    Raises:
        CannotProveError: there is no base in the cache, and no debootstrap to make one.
        EdgeError: it could not be made.
    """
    cache = cache_folder("arm64")
    made = cache / f"{os_name}-lite"
    if made.is_dir():
        return made
    base = cache / f"{os_name}-base"
    with folder_for(cache, f"{os_name}-lite") as work:
        root = work / "root"
        if base.is_dir():
            _run(["cp", "-a", "--reflink=auto", str(base), str(root)], f"{base}: cannot be copied")
        elif shutil.which("debootstrap"):
            tell(f"making a base of {os_name} for the proof, once (some minutes)")
            _run(["debootstrap", "--arch=arm64", "--variant=minbase", os_name, str(root), mirror], f"debootstrap {os_name}")
        else:
            raise CannotProveError(f"needs a base of {os_name}: apt-get install debootstrap, or give a root folder with --prove DIR")
        tell(f"installing {', '.join(LITE)} in the base of {os_name}, once (some minutes)")
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text(_POLICY)
        policy.chmod(0o755)
        if (names := pathlib.Path("/etc/resolv.conf")).is_file():
            shutil.copyfile(names, root / "etc/resolv.conf")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "-q", "update"], ["apt-get", "-qy", "--no-install-recommends", "install", *LITE]):
            ran = run_in(root, command, network=True, environment=quiet)
            if ran.status:
                raise EdgeError(f"{base}: {shlex.join(command[:2])} failed in a copy of it: {ran.why}")
        policy.unlink()
        shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
        root.rename(made)
    return made


def _run(command: collections.abc.Sequence[str], what: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip().splitlines()
        raise EdgeError(f"{what}: {said[-1] if said else 'it said nothing'}")


def used_bytes(root: pathlib.Path, without: collections.abc.Container[str] = ()) -> int:
    """What the files in ``root`` take on its disk; each once, however many names it has. Not the folders named ``without``."""
    total, seen = 0, set()
    for folder, names, files in os.walk(root):
        inside = pathlib.Path(folder).relative_to(root)
        names[:] = [name for name in names if (inside / name).as_posix() not in without]
        for name in files:
            found = os.lstat(os.path.join(folder, name))
            if found.st_ino not in seen:
                seen.add(found.st_ino)
                total += found.st_blocks * 512
    return total
