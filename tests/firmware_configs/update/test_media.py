"""Files of a stick: plain ones are read, everything else is refused without touching it."""

from __future__ import annotations

import os
import pathlib

import pytest

from edge.errors import InputError
from firmware_configs.update import media


def test_a_plain_file_is_read(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c.json").write_bytes(b"content")
    assert media.read(tmp_path, "a/b/c.json", 7) == b"content"
    with media.opened(tmp_path, "a/b/c.json", 7) as (file, size):
        assert (os.read(file, 100), size) == (b"content", 7)


def test_a_file_that_is_not_there_is_told_from_all_else(tmp_path):
    with pytest.raises(media.Gone, match="is not on the stick"):
        media.read(tmp_path, "a/b", 7)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../b", "", ".", "a//b", "a\0b", "a/"])
def test_no_name_leads_out_of_the_stick(tmp_path, name):
    with pytest.raises(InputError, match="not a name"):
        media.read(tmp_path, name, 7)


def test_a_file_beyond_its_length_is_not_read(tmp_path):
    with open(tmp_path / "large", "wb") as stream:
        stream.truncate(8 << 30)
    with pytest.raises(InputError, match="at most 100 are allowed"):
        media.read(tmp_path, "large", 100)


@pytest.mark.parametrize(("make", "said"), [
    (lambda path: path.symlink_to("/etc/passwd"), "a link"),
    (lambda path: path.symlink_to(path.name), "a link"),
    (os.mkfifo, "a pipe"),
    (lambda path: path.mkdir(), "a folder"),
])  # fmt: skip
def test_what_is_no_plain_file_is_named_and_not_opened(tmp_path, make, said):
    make(tmp_path / "odd")
    with pytest.raises(InputError, match=f"odd: is {said}, not a plain file"):
        media.read(tmp_path, "odd", 100)


def test_a_device_is_not_opened(tmp_path):
    try:
        os.mknod(tmp_path / "zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("device files need root")
    with pytest.raises(InputError, match="is a device"):
        media.read(tmp_path, "zero", 100)


@pytest.mark.parametrize("middle", ["link", "file"])
def test_a_folder_that_is_a_link_or_a_file_is_not_entered(tmp_path, middle):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_bytes(b"x")
    if middle == "link":
        (tmp_path / "folder").symlink_to("real")
    else:
        (tmp_path / "folder").write_bytes(b"x")
    with pytest.raises(InputError, match="is a link or not a folder"):
        media.read(tmp_path, "folder/file", 100)
    assert not media.has_folder(tmp_path, "folder")
    assert media.has_folder(tmp_path, "real")


def test_a_stick_that_is_pulled_out_says_to_put_it_in_again(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")

    def pulled(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", pulled)
    with pytest.raises(InputError, match=r"cannot be read \(input/output error\).*put it in again"):
        media.read(tmp_path, "file", 100)


def test_no_folder_is_listed(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(os, "scandir", None)
    monkeypatch.setattr(os, "listdir", None)
    assert media.read(pathlib.Path(tmp_path), "file", 100) == b"x"
