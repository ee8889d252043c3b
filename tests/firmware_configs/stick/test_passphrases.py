"""Passphrases come from a keyboard or a file, and what is wrong with them is one line."""

from __future__ import annotations

import io

import pytest

from edge.errors import InputError
from firmware_configs.stick import passphrases


@pytest.fixture
def written(tmp_path):
    def write(content, mode=0o600):
        path = tmp_path / "words.txt"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def told():
    return []


def test_all_lines_of_a_file_are_tried(written, told):
    assert passphrases.from_file(written(b"one line\n\nanother line\r\n"), told.append)("all keys") == ["one line", "another line"]
    assert told == []


def test_one_line_seals_all_new_keys(written, told):
    ask = passphrases.new_from_file(written(b"one line\n"), told.append)
    assert [ask(whose) for whose in ("the daily keys", "root key 1", "root key 2")] == [["one line"]] * 3


def test_several_lines_seal_one_each(written, told):
    ask = passphrases.new_from_file(written(b"one\ntwo\nthree\n"), told.append)
    asked = ("the daily keys", "root key 1", "root key 2", "root key 1")
    assert [ask(whose) for whose in asked] == [["one"], ["two"], ["three"], ["two"]]
    with pytest.raises(InputError, match=r"has 3 lines, and more are needed: [^\n]* root key 3"):
        ask("root key 3")


def test_a_file_that_others_can_read_is_told(written, told):
    passphrases.from_file(written(b"one line\n", 0o644), told.append)
    assert len(told) == 1 and "others on this computer can read the passphrase; chmod 600" in told[0]


@pytest.mark.parametrize(("content", "why"), [(b"", "is empty"), (b"\n \n", "is empty"), (b"\xff\xfe", "is not UTF-8 text")])
def test_a_file_without_words_is_refused(written, told, content, why):
    with pytest.raises(InputError, match=why):
        passphrases.from_file(written(content), told.append)


def test_a_file_that_is_not_there_is_said(tmp_path, told):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        passphrases.from_file(tmp_path / "none", told.append)


def test_without_a_keyboard_nothing_is_asked(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a passphrase from a pipe\n"))
    for ask in (passphrases.typed, passphrases.typed_new):
        with pytest.raises(InputError, match="nobody is at a keyboard to type it; give --passphrase-file FILE"):
            ask("all keys")
