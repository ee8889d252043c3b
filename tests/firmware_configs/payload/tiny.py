"""Small wheels, packages and archives, made as the real ones are, for tests without a network."""

from __future__ import annotations

import base64
import collections.abc
import hashlib
import pathlib
import shutil
import subprocess
import zipfile

ANY = "py3-none-any"
ARM = "manylinux_2_17_aarch64.manylinux2014_aarch64"


def make_wheel(
    folder: pathlib.Path,
    name: str,
    version: str,
    tags: str = ANY,
    requires: collections.abc.Sequence[str] = (),
    extras: collections.abc.Sequence[str] = (),
    content: bytes = b"VALUE = 1\n",
) -> pathlib.Path:
    """A wheel with one module (PEP 427)."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {line}" for line in requires]
    python, abi, platforms = tags.split("-")
    wheel = ["Wheel-Version: 1.0", "Root-Is-Purelib: true", *(f"Tag: {python}-{abi}-{platform}" for platform in platforms.split("."))]
    parts = {
        f"{module}/__init__.py": content,
        f"{info}/METADATA": ("\n".join(metadata) + "\n").encode(),
        f"{info}/WHEEL": ("\n".join(wheel) + "\n").encode(),
    }
    hashes = {part: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode() for part, data in parts.items()}
    record = [f"{part},sha256={digest},{len(parts[part])}" for part, digest in hashes.items()]
    parts[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-{tags}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    return path


def make_index(folder: pathlib.Path) -> pathlib.Path:
    """A folder of wheels for ``pip --find-links``; affectkit's own wheel in it, whose path is given."""
    on_linux = "; sys_platform == 'linux' and platform_machine == 'aarch64'"
    make_wheel(folder, "numpy", "1.26.4", f"cp311-cp311-{ARM}")
    make_wheel(folder, "numpy", "2.4.0", f"cp311-cp311-{ARM}")
    make_wheel(folder, "numpy", "2.4.0", "cp313-cp313-manylinux_2_28_aarch64", content=b"# for Trixie\n" * 1000)
    make_wheel(folder, "numpy", "2.5.0", "cp313-cp313-manylinux_2_42_aarch64")
    make_wheel(folder, "numpy", "2.6.0", "cp313-cp313-manylinux_2_17_x86_64")
    make_wheel(folder, "smbus2", "0.6", requires=[f"only-there{on_linux}", "not-there; sys_platform == 'win32'"])
    make_wheel(folder, "only-there", "1.0", requires=["newer; python_version >= '3.12'", "older; python_full_version < '3.11.3'"])
    make_wheel(folder, "newer", "1.0")
    make_wheel(folder, "older", "1.0")
    make_wheel(folder, "tuf", "7.0")
    make_wheel(folder, "pip", "99.0")
    requires = ["numpy>=1.26", 'smbus2; extra == "sensors"', 'tuf; extra == "update"', 'tensorflow; extra == "convert"']
    return make_wheel(folder, "affectkit", "0.1.0", requires=requires, extras=["sensors", "update", "convert"])


def make_deb(folder: pathlib.Path, name: str, version: str, fields: str = "", architecture: str = "arm64") -> pathlib.Path:
    """A package of Debian's, by dpkg-deb."""
    tree = folder / f"tree-{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nInstalled-Size: 12\nMaintainer: nobody\n{fields}"
    (tree / "DEBIAN/control").write_text(f"{control}Description: a test\n of affectkit\n")
    (tree / f"usr/share/{name}").mkdir(parents=True)
    (tree / f"usr/share/{name}/what").write_text(name)
    # Without the epoch, as Debian's pool has it.
    file = f"{name}_{version.rpartition(':')[2]}_{architecture}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, folder / file], check=True, capture_output=True)
    shutil.rmtree(tree)
    return folder / file


def make_archive(folder: pathlib.Path, keys: pathlib.Path) -> pathlib.Path:
    """A flat archive, signed with a new key; the public key is in ``keys/key.gpg``, whose path is given."""
    folder.mkdir()
    make_deb(folder, "python3-pyaudio", "1:0.2.14-1", "Depends: libportaudio2 (>= 19), libc6\n")
    make_deb(folder, "libportaudio2", "19.7~dfsg-1", "Depends: libc6\n")
    for name in ("apt", "python3", "systemd-sysv", "udev"):
        make_deb(folder, name, "1.0", "Depends: libc6\n")
    make_deb(folder, "libc6", "2.41", "Essential: yes\n")
    index(folder)
    keys.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(keys), "--batch", "--quiet"]
    subprocess.run([*gpg, "--passphrase", "", "--quick-gen-key", "nobody", "ed25519", "sign", "never"], check=True, capture_output=True)
    subprocess.run([*gpg, "--output", keys / "key.gpg", "--export"], check=True, capture_output=True)
    sign(folder, keys)
    return keys / "key.gpg"


def index(folder: pathlib.Path) -> None:
    """Writes ``Packages`` of a flat archive (Debian Policy 5.3, and "DebianRepository/Format")."""
    entries = []
    for path in sorted(folder.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "-f", path], check=True, capture_output=True, text=True).stdout
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append(f"{control}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {sha256}\n\n")
    (folder / "Packages").write_text("".join(entries))


def sign(folder: pathlib.Path, keys: pathlib.Path) -> None:
    """Writes ``Release`` and ``InRelease``."""
    packages = (folder / "Packages").read_bytes()
    text = "Suite: test\nCodename: test\nArchitectures: arm64\nComponents: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
    text += f" {hashlib.sha256(packages).hexdigest()} {len(packages)} Packages\n"
    (folder / "Release").write_text(text)
    (folder / "InRelease").unlink(missing_ok=True)
    gpg = ["gpg", "--homedir", str(keys), "--batch", "--quiet"]
    subprocess.run([*gpg, "--output", folder / "InRelease", "--clearsign", folder / "Release"], check=True, capture_output=True)
