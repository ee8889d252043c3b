"""Passwords of kits, and their hashes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

pytest.importorskip("passlib", reason="libpass is not installed (the extra kit)")

from firmware_configs.password import LETTERS, PATTERN, _crypt, fits, hashed, new_password


def test_a_password_is_readable_and_never_twice_the_same():
    found = {new_password() for _ in range(500)}
    assert len(found) == 500
    assert all(len(p) == 19 and set(p) <= set(LETTERS + "-") for p in found)
    assert not set("l1o0i") & set(LETTERS)


def test_the_hash_is_that_of_the_specification():
    # Drepper, "Unix crypt using SHA-256 and SHA-512", first test of SHA-512.
    expected = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
    assert _crypt().using(rounds=5000, salt="saltstring").hash("Hello world!") == expected
    assert PATTERN.fullmatch(expected)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_openssl_makes_the_same_hash():
    password = new_password()
    hash_ = hashed(password)
    found = subprocess.run(["openssl", "passwd", "-6", "-salt", hash_.split("$")[2], password], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == hash_


def test_a_hash_fits_its_password_only():
    hash_ = hashed("k7rm-p2hw")
    assert fits("k7rm-p2hw", hash_)
    assert not fits("k7rm-p2hx", hash_)
    assert not fits("x", "")
    assert hashed("k7rm-p2hw") != hash_
