"""Where passphrases come from: the keyboard, or a file; never the command line, which others on the computer can read."""

from __future__ import annotations

import collections.abc
import getpass
import os
import pathlib
import sys

from edge.errors import InputError
from firmware_configs.stick.keys import Ask

_MOST_BYTES = 4096
Warn = collections.abc.Callable[[str], object]


def typed(whose: str) -> list[str]:
    """Asks for a passphrase that exists. InputError if nobody sits at a keyboard."""
    return [_ask(f"passphrase of {whose}: ", whose)]


def typed_new(whose: str) -> list[str]:
    """Asks for a new passphrase, twice."""
    first = _ask(f"new passphrase of {whose}: ", whose)
    if _ask("the same again: ", whose) != first:
        raise InputError(f"passphrase of {whose}: the two are not the same; nothing was made, try again")
    return [first]


def from_file(path: pathlib.Path, warn: Warn) -> Ask:
    """Passphrases in a file, a line each: all are tried."""
    lines = _lines(path, warn)
    return lambda whose: lines


def new_from_file(path: pathlib.Path, warn: Warn) -> Ask:
    """One line: for all keys; several: one for each that is asked for, in order."""
    lines = _lines(path, warn)
    given: dict[str, str] = {}

    def ask(whose: str) -> list[str]:
        if len(lines) > 1 and whose not in given and len(given) == len(lines):
            raise InputError(f"{path}: has {len(lines)} lines, and more are needed: one for all, or one each (here for {whose})")
        given.setdefault(whose, lines[min(len(given), len(lines) - 1)])
        return [given[whose]]

    return ask


def _lines(path: pathlib.Path, warn: Warn) -> list[str]:
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8")
            open_to = os.fstat(stream.fileno()).st_mode & 0o077
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; write the passphrase into it, and nothing else") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: is empty; write the passphrase into it, and nothing else")
    if open_to and os.name == "posix":
        warn(f"{path}: others on this computer can read the passphrase; chmod 600 it")
    return lines


def _ask(prompt: str, whose: str) -> str:
    if not sys.stdin.isatty():
        raise InputError(f"passphrase of {whose}: nobody is at a keyboard to type it; give --passphrase-file FILE")
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        raise InputError(f"passphrase of {whose}: none was typed; try again") from error
