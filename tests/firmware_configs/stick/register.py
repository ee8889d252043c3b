"""The list of bad sticks; ``attacks.py`` tells what it is for."""

from __future__ import annotations

import collections.abc
import datetime
import json
import pathlib
import typing

from tests.firmware_configs.stick.workshop import Workshop

Builder = collections.abc.Callable[[Workshop], pathlib.Path]
Said = dict[str, typing.Any]
Change = collections.abc.Callable[[Said], object]
ATTACKS: dict[str, Builder] = {}
FRESH: set[str] = set()
HARMLESS: set[str] = set()
DAY = datetime.timedelta(days=1)


def attack(*, fresh: bool = True, harmless: bool = False) -> collections.abc.Callable[[Builder], Builder]:
    """Registers a builder under its name with ``-`` for ``_``."""

    def keep(builder: Builder) -> Builder:
        register(builder.__name__.replace("_", "-"), builder, fresh=fresh, harmless=harmless)
        return builder

    return keep


def register(name: str, builder: Builder, *, fresh: bool = True, harmless: bool = False) -> None:
    """Adds a builder under ``name``."""
    assert name not in ATTACKS
    ATTACKS[name] = builder
    if harmless:
        HARMLESS.add(name)
    elif fresh:
        FRESH.add(name)


def edit_file(path: pathlib.Path, change: Change) -> None:
    """Changes a metadata file and leaves its signatures as they are."""
    table = json.loads(path.read_bytes())
    change(table)
    path.write_bytes(json.dumps(table, sort_keys=True, separators=(",", ":")).encode())


def iso(time: datetime.datetime) -> str:
    """As metadata have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
