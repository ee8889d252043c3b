"""A device's root and a small payload on its boot partition; the installer runs on them as it does on a board.

Real are the virtual environment, pip out of its wheel, a wheel, files, links and interruptions. Of commands that would change this
machine (packages, users, units) there are stand-ins on the PATH, which write down how they were called.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import sysconfig
import typing
import zipfile

import pytest

import firmware_configs

HOME = pathlib.Path(firmware_configs.__file__).parent
INSTALLER = HOME / "boot/firmware/affectkit"
CHANGES_THE_MACHINE = (
    "apt-get",
    "dpkg",
    "systemctl",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "udevadm",
    "ssh-keygen",
    "systemd-machine-id-setup",
)
BUNDLE = b"a bundle " * 4096
MODEL = "Raspberry Pi 4 Model B"


@dataclasses.dataclass
class Device:
    """A root folder with a boot partition that holds a payload."""

    root: pathlib.Path
    programs: pathlib.Path
    """The PATH's first folder: stand-ins, and the Python of this test."""

    @property
    def payload(self) -> pathlib.Path:
        return self.root / "boot/firmware/affectkit"

    def at(self, name: str) -> pathlib.Path:
        return self.root / name.lstrip("/")

    def command(self, *arguments: str) -> list[str]:
        return ["sh", str(self.payload / "install.sh"), f"--root={self.root}", *arguments]

    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.programs}:{os.environ['PATH']}", "RIG_CALLS": str(self.root.parent / "calls")}

    def install(self, *arguments: str, status: int = 0, **options: typing.Any) -> str:
        """Runs it to its end; what it said."""
        ran = subprocess.run(
            self.command(*arguments),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
            **options,
        )
        assert ran.returncode == status, ran.stdout
        return ran.stdout

    def take_python_of(self, other: Device) -> None:
        """Takes over the virtual environment that ``other`` has: making one takes seconds."""
        shutil.copytree(other.at("/opt/affectkit/releases"), self.at("/opt/affectkit/releases"), symlinks=True)

    def calls(self) -> list[str]:
        """How the stand-ins were called, in order."""
        path = self.root.parent / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def says(self, **changed: object) -> None:
        """Writes ``payload.json`` for the files that are there, with other values of some keys."""
        write_manifest(self.payload, **changed)

    def is_installed(self) -> bool:
        """Whether all is as it should be at the end, looked at from outside: files, links, and a program that runs."""
        record = json.loads(self.at("/etc/affectkit/installed.json").read_text())
        program = subprocess.run([self.at("/opt/affectkit/venv/bin/affectkit")], capture_output=True, text=True, check=False)
        left = [path for path in self.root.rglob("*affectkit-new*")]
        listed = json.loads((self.payload / "payload.json").read_text())["files"]
        for name in listed:
            if name.startswith("system/"):
                assert self.at(name.removeprefix("system")).read_bytes() == (self.payload / name).read_bytes(), name
        assert self.at("/srv/affectkit/bundles/current.affectkit").read_bytes() == BUNDLE
        assert self.at("/srv/affectkit/bundles/good.affectkit").read_bytes() == BUNDLE
        assert program.stdout == "a kit\n", program.stderr
        assert left == [] and not self.at("/usr/sbin/policy-rc.d").exists()
        assert not self.at("/etc/systemd/system/multi-user.target.wants/affectkit-install.service").is_symlink()
        return record["payload_sha256"] == hashlib.sha256((self.payload / "payload.json").read_bytes()).hexdigest()


def pip_wheel() -> bytes:
    """pip as a wheel: the one that venv carries, or the installed package packed as one."""
    folders = [pathlib.Path(sysconfig.get_path("stdlib")) / "ensurepip/_bundled", pathlib.Path("/usr/share/python-wheels")]
    for folder in folders:
        for path in sorted(folder.glob("pip-*.whl")):
            return path.read_bytes()
    pip = pytest.importorskip("pip", reason="no pip here, and no wheel of it")
    packed = io.BytesIO()
    top = pathlib.Path(pip.__file__).parent
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in top.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                archive.write(path, f"pip/{path.relative_to(top)}")
    return packed.getvalue()


def kit_wheel(name: str = "kit_of_test") -> bytes:
    """A wheel with one module and the program ``affectkit`` (PyPA, "Binary distribution format")."""
    module = "def main():\n    print('a kit')\n"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: rig\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\naffectkit = {name}:main\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            # A fixed date: the same bytes each time.
            archive.writestr(zipfile.ZipInfo(path), text)
    return packed.getvalue()


def write_manifest(payload: pathlib.Path, **changed: object) -> None:
    left_out = {"payload.json", "kit.toml", "first-boot.log", "keep-writable"}
    files = {
        str(path.relative_to(payload)): {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(payload.rglob("*"))
        if path.is_file() and path.name not in left_out
    }
    says: dict[str, object] = {
        "format": 1, "affectkit": "0.1.0", "os": "trixie", "board": "pi-4", "model": MODEL, "machine": platform.machine(),
        "python": f"cp{sys.version_info.major}{sys.version_info.minor}", "debian": ["python3-pyaudio"],
        "bundle_sha256": "0123456789abcdef" * 4, "built": "2026-11-21T00:00:00Z", "proved": None, "files": files,
    }  # fmt: skip
    payload.joinpath("payload.json").write_text(json.dumps(says | changed, indent=1))


def make_payload(payload: pathlib.Path) -> None:
    """A payload as `affectkit kit payload` lays it out, with wheels for the Python that runs this."""
    shutil.copytree(INSTALLER, payload, ignore=shutil.ignore_patterns("__pycache__"))
    for top in ("etc", "usr"):
        shutil.copytree(HOME / top, payload / "system" / top, ignore=shutil.ignore_patterns("kit.toml", "__pycache__"))
    (payload / "wheels").mkdir()
    (payload / "wheels/pip-1-py3-none-any.whl").write_bytes(pip_wheel())
    (payload / "wheels/kit_of_test-1.0-py3-none-any.whl").write_bytes(kit_wheel())
    (payload / "requirements.txt").write_text(f"kit_of_test==1.0 --hash=sha256:{hashlib.sha256(kit_wheel()).hexdigest()}\n")
    (payload / "debs").mkdir()
    (payload / "debs/Packages").write_text("Package: python3-pyaudio\n")
    (payload / "bundle.affectkit").write_bytes(BUNDLE)
    (payload / "board.conf").write_text("[Service]\nMemoryMax=256M\n")
    (payload / "root.json").write_text('{"signed": {}}')
    (payload / "kit.toml").write_text('[bundle]\npath = "/srv/affectkit/bundles/current.affectkit"\n[sources]\nuse = ["max30102:1"]\n')
    write_manifest(payload)


def make_device(folder: pathlib.Path) -> Device:
    """A root as Raspberry Pi OS has it, as far as the installer looks at it."""
    device = Device(folder / "root", folder / "programs")
    device.programs.mkdir(parents=True)
    (device.programs / "python3").symlink_to(sys.executable)
    for name in CHANGES_THE_MACHINE:
        path = device.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"$RIG_CALLS"\n')
        path.chmod(0o755)
    for name, text in {
        "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\n',
        "/etc/group": "root:x:0:\nbluetooth:x:112:\n",
        "/etc/fstab": "proc /proc proc defaults 0 0\nPARTUUID=a-01 /boot/firmware vfat defaults 0 2\n"
        "PARTUUID=a-02 / ext4 defaults,noatime 0 1\n",
        "/proc/device-tree/model": f"{MODEL} Rev 1.4\0",
        "/usr/lib/systemd/system/systemd-timesyncd.service": "[Unit]\n",
    }.items():
        device.at(name).parent.mkdir(parents=True, exist_ok=True)
        device.at(name).write_text(text)
    device.payload.parent.mkdir(parents=True)
    make_payload(device.payload)
    return device
