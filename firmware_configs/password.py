"""A password for each kit, and what goes onto the card in its place."""

from __future__ import annotations

import re
import secrets
import typing

from edge.errors import InputError

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Nothing that looks like something else in print: no l and 1, no o and 0, no i."""
GROUPS, GROUP_LETTERS = 4, 4
"""16 characters of 31: 79 bits."""
ROUNDS = 5000
"""The usual count of SHA-512 crypt; more would slow the log-in on a small board and guard nothing, as no list has such passwords."""
PATTERN = re.compile(r"\$6\$(?:rounds=\d+\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{86}")


def new_password() -> str:
    """A random password, such as ``k7rm-p2hw-x9da-4tcz``."""
    return "-".join("".join(secrets.choice(LETTERS) for _ in range(GROUP_LETTERS)) for _ in range(GROUPS))


def hashed(password: str) -> str:
    """``password`` as SHA-512 crypt (``$6$``) with a random salt: what ``/etc/shadow`` holds on every Raspberry Pi OS."""
    return _crypt().using(rounds=ROUNDS).hash(password)


def fits(password: str, hash_: str) -> bool:
    """Whether ``hash_`` was made of ``password``."""
    return bool(PATTERN.fullmatch(hash_)) and _crypt().verify(password, hash_)


def _crypt() -> typing.Any:
    try:
        from passlib.hash import sha512_crypt
    except ImportError as error:
        raise InputError("kit card: needs libpass, which is not installed; pip install 'affectkit[kit]'") from error
    return sha512_crypt
