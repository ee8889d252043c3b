"""Debian packages: what the device has not got, signed, whole, and an archive that apt takes there."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

from edge.errors import InputError
from firmware_configs.payload import debs
from firmware_configs.payload.archives import Archive
from firmware_configs.payload.debs import Apt
from tests.firmware_configs.payload.tiny import index, make_archive, make_deb

MISSING = [name for name in ("apt-get", "apt-cache", "dpkg-deb", "gpg") if not shutil.which(name)]
needs_apt = pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A flat archive and its key."""
    folder = tmp_path_factory.mktemp("archive")
    # gpg-agent's socket takes no long paths.
    keys = pathlib.Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip()) / "keys"
    yield folder / "debian", make_archive(folder / "debian", keys)
    subprocess.run(["gpgconf", "--homedir", keys, "--kill", "all"], check=False, capture_output=True)
    shutil.rmtree(keys.parent)


def apt_for(folder: pathlib.Path, archive: pathlib.Path, key: pathlib.Path) -> Apt:
    # "copy:" fetches as a network would.
    return Apt(folder / "apt", [Archive(f"copy:{archive}", ("./",), key, "say --no-debian")])


@needs_apt
def test_only_what_the_device_lacks_is_fetched_and_apt_takes_it_there(signed, tmp_path):
    apt = apt_for(tmp_path, *signed)
    apt.update()
    apt.assume_least()
    packages = apt.needed([debs.MICROPHONE])
    assert {package.name for package in packages} == {"libportaudio2", "python3-pyaudio"}
    assert all(package.unpacked_bytes == 12 * 1024 for package in packages)
    (to := tmp_path / "debs").mkdir()
    apt.fetch([debs.MICROPHONE], packages, to)
    # FAT holds no colon, and the name on the card is in the index.
    assert {path.name for path in to.iterdir()} == {"Packages", "libportaudio2_19.7~dfsg-1_arm64.deb", "python3-pyaudio_0.2.14-1_arm64.deb"}
    assert installed_offline(tmp_path / "device", to, packages_there="libc6") == {"libportaudio2", "python3-pyaudio"}


def installed_offline(folder: pathlib.Path, archive: pathlib.Path, packages_there: str) -> set[str]:
    """What apt would install on a device, given the folder as the installer gives it."""
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "archives/partial").mkdir(parents=True)
    status = f"Package: {packages_there}\nStatus: install ok installed\nVersion: 2.41\nArchitecture: arm64\n"
    (folder / "status").write_text(status)
    (folder / "sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "/dev/null", "Dir::State": folder,
        "Dir::State::lists": folder / "lists", "Dir::State::status": folder / "status", "Dir::Cache": folder,
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "root",
    }  # fmt: skip
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    environment = {**os.environ, "APT_CONFIG": "/dev/null", "LC_ALL": "C"}
    subprocess.run([*apt, "update"], check=True, capture_output=True, env=environment)
    said = subprocess.run([*apt, "-s", "install", debs.MICROPHONE], check=True, capture_output=True, text=True, env=environment).stdout
    return {line.split()[1] for line in said.splitlines() if line.startswith("Inst ")}


@needs_apt
def test_what_the_image_has_is_not_fetched(signed, tmp_path):
    apt = apt_for(tmp_path, *signed)
    apt.update()
    there = "".join(
        f"Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: arm64\n\n"
        for name, version in (("libc6", "2.41"), ("libportaudio2", "19.7"))
    )
    apt.assume(there.encode())
    assert [package.name for package in apt.needed([debs.MICROPHONE])] == ["python3-pyaudio"]
    apt.assume(there.replace("19.7", "18").encode())
    assert {package.name for package in apt.needed([debs.MICROPHONE])} == {"libportaudio2", "python3-pyaudio"}


@needs_apt
def test_what_was_fetched_is_not_fetched_again(signed, tmp_path):
    archive, key = signed
    shutil.copytree(archive, tmp_path / "debian")
    apt = apt_for(tmp_path, tmp_path / "debian", key)
    apt.update()
    apt.assume_least()
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        packages = apt.needed([debs.MICROPHONE])
        assert len(packages) == 2
        apt.fetch([debs.MICROPHONE], packages, tmp_path / name)
        for path in (tmp_path / "debian").glob("*.deb"):
            path.unlink()
    assert {path.name for path in (tmp_path / "once").iterdir()} == {path.name for path in (tmp_path / "again").iterdir()}


def unsigned(archive: pathlib.Path) -> None:
    """Somebody has put another package in, and cannot sign."""
    make_deb(archive, "libportaudio2", "20", "Depends: libc6\n")
    index(archive)


def without_signature(archive: pathlib.Path) -> None:
    (archive / "InRelease").unlink()


def gone(archive: pathlib.Path) -> None:
    shutil.rmtree(archive)


@needs_apt
@pytest.mark.parametrize("change", [unsigned, without_signature, gone])
def test_an_archive_that_cannot_be_trusted_or_reached_is_one_line(signed, tmp_path, change):
    archive, key = signed
    shutil.copytree(archive, tmp_path / "debian")
    change(tmp_path / "debian")
    with pytest.raises(InputError, match=r"^copy:.*; say --no-debian$") as caught:
        apt_for(tmp_path, tmp_path / "debian", key).update()
    assert "\n" not in str(caught.value)


@needs_apt
def test_a_signature_of_others_is_refused(signed, tmp_path):
    (tmp_path / "other.gpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"^copy:.*; say --no-debian$"):
        apt_for(tmp_path, signed[0], tmp_path / "other.gpg").update()


@needs_apt
def test_a_package_that_is_not_what_the_index_says_is_refused(signed, tmp_path):
    archive, key = signed
    shutil.copytree(archive, tmp_path / "debian")
    apt = apt_for(tmp_path, tmp_path / "debian", key)
    apt.update()
    apt.assume_least()
    packages = apt.needed([debs.MICROPHONE])
    path = next((tmp_path / "debian").glob("libportaudio2*"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (to := tmp_path / "debs").mkdir()
    with pytest.raises(InputError, match=r"^Debian packages: apt-get failed: .*libportaudio2") as caught:
        apt.fetch([debs.MICROPHONE], packages, to)
    assert "\n" not in str(caught.value)
    assert list(to.iterdir()) == []


@needs_apt
def test_a_package_that_nobody_has_is_one_line(signed, tmp_path):
    apt = apt_for(tmp_path, *signed)
    apt.update()
    with pytest.raises(InputError, match=r"^Debian packages: apt-get failed: Unable to locate package python3-picamera2$"):
        apt.needed([debs.CAMERA])


def test_without_apt_get_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"need apt-get.*--no-debian"):
        Apt(tmp_path, [])
