"""Keys of archives: known by their fingerprints, and no other is taken."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest

from edge.errors import EdgeError, InputError
from firmware_configs.payload import archives
from firmware_configs.payload.openpgp import dearmored, fingerprints

# Made by gpg --quick-gen-key for this test; nobody has its secret part.
KEY = b"""-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawHaWhYJKwYBBAHaRw8BAQdAfLULbWwrgrD01bZjmJsphSBU9aB7qdZrTzST
JZ7Q/Bm0KEEgdGVzdCBvZiBhZmZlY3RraXQgPG5vYm9keUBleGFtcGxlLm9yZz6I
kAQTFggAOBYhBKSPr8Heso8dqDg8xuJc+q5iP6hIBQJrAdpaAhsDBQsJCAcCBhUK
CQgLAgQWAgMBAh4BAheAAAoJEOJc+q5iP6hI+ikA/2Lw0IZX1me/6cgAjKsnZfmF
zTVoHr5+atA6k8NByHkEAP96ejakaPzXiVrUeCyQyytkmWjhkMvYSGITq6nHDgxv
Cw==
=Yq2R
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "A48FAFC1DEB28F1DA8383CC6E25CFAAE623FA848"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_key_has_the_fingerprint_that_gpg_gives_it():
    assert fingerprints(KEY, "key") == [FINGERPRINT]
    assert fingerprints(dearmored(KEY, "key"), "key") == [FINGERPRINT]
    assert fingerprints(dearmored(KEY, "key") * 2, "key") == [FINGERPRINT] * 2


@pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed")
@pytest.mark.parametrize("end", ["gpg", "pgp"])
def test_debians_keys_have_the_fingerprints_that_gpg_gives_them(tmp_path, end):
    path = archives._KEYRINGS / f"debian-archive-keyring.{end}"
    if not path.is_file():
        pytest.skip(f"{path} is not installed (debian-archive-keyring)")
    gpg = ["gpg", "--homedir", str(tmp_path), "--batch", "--show-keys", "--with-colons", str(path)]
    said = subprocess.run(gpg, check=True, capture_output=True, text=True).stdout.splitlines()
    # Of each key the first one; those of its subkeys follow.
    keys = [line.split(":") for line in said if line.startswith(("pub:", "fpr:"))]
    primary = [after[9] for line, after in itertools.pairwise(keys) if line[0] == "pub"]
    assert sorted(fingerprints(path.read_bytes(), str(path))) == sorted(primary)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", dearmored(KEY, "")[:40], KEY[:300], KEY.replace(b"mDME", b"!!!!"), b"\xb4\x05hello"],
    ids=["nothing", "text", "cut short", "armor cut short", "no base64", "no key"],
)
def test_what_is_no_key_is_one_line(content):
    with pytest.raises(InputError, match=r"^key: (is a damaged|holds no) OpenPGP key") as caught:
        fingerprints(content, "key")
    assert "\n" not in str(caught.value)


def test_a_fetched_key_is_taken_only_if_it_is_the_known_one(monkeypatch):
    with pytest.raises(InputError, match=rf"gave the key {FINGERPRINT}, not CF8A1AF5"):
        archives.checked_key(KEY, "https://example.org/key")
    monkeypatch.setattr(archives, "RASPBERRY_KEY", FINGERPRINT)
    assert archives.checked_key(KEY, "here") == dearmored(KEY, "here")
    with pytest.raises(InputError, match=r"holds no OpenPGP key|damaged"):
        archives.checked_key(b"<html>log in to this network</html>", "here")


def test_keys_of_the_image_are_those_that_count(tmp_path):
    there = {"usr/share/keyrings/raspberrypi-archive-keyring.pgp": KEY}
    found = archives.raspberry("trixie", there.get)
    assert found.keyring.read_bytes() == dearmored(KEY, "")
    assert "URIs: https://archive.raspberrypi.com/debian\nSuites: trixie\nComponents: main\n" in found.source
    assert f"Signed-By: {found.keyring}\n" in found.source


def test_an_archive_out_of_reach_says_how_to_go_on_without(tmp_path, monkeypatch):
    if any((archives.pathlib.Path("/") / name).is_file() for name in archives._RASPBERRY_KEYRINGS):
        pytest.skip("this machine has Raspberry Pi's keys already")
    nowhere = (tmp_path / "none").as_uri()
    with pytest.raises(EdgeError, match=r"cannot be fetched \(.*--no-camera$") as caught:
        archives.raspberry("trixie", url=nowhere)
    assert caught.value.exit_status == 1, "no network is a failure, no bad input"


def test_a_key_is_fetched_where_the_archive_says(tmp_path, monkeypatch):
    if any((archives.pathlib.Path("/") / name).is_file() for name in archives._RASPBERRY_KEYRINGS):
        pytest.skip("this machine has Raspberry Pi's keys already")
    (tmp_path / "raspberrypi.gpg.key").write_bytes(KEY)
    with pytest.raises(InputError, match="do not trust this network"):
        archives.raspberry("trixie", url=tmp_path.as_uri())
    monkeypatch.setattr(archives, "RASPBERRY_KEY", FINGERPRINT)
    assert archives.raspberry("trixie", url=tmp_path.as_uri()).keyring.read_bytes() == dearmored(KEY, "")


def test_debians_archive_comes_with_its_updates(tmp_path, monkeypatch):
    (tmp_path / "debian-archive-keyring.gpg").write_bytes(b"")
    monkeypatch.setattr(archives, "_KEYRINGS", tmp_path)
    main, security = archives.debian("bookworm", "http://mirror.example.org/debian")
    assert (main.url, main.suites) == ("http://mirror.example.org/debian", ("bookworm", "bookworm-updates"))
    assert security.suites == ("bookworm-security",)
    (tmp_path / "debian-archive-keyring.gpg").unlink()
    with pytest.raises(InputError, match="apt-get install debian-archive-keyring"):
        archives.debian("bookworm")
