"""How far long work has come: a share, shown to people who look."""

from __future__ import annotations

import collections.abc
import sys
import time

Progress = collections.abc.Callable[[float], None]
"""Called with the share that is done, 0 to 1."""
_WAIT_S = 0.2


def silent(share: float) -> None:
    """A progress that tells nobody."""


def bar(what: str) -> Progress:
    """Shows a share on stderr, if people look at it."""
    if not sys.stderr.isatty():
        return silent
    shown_at = 0.0

    def show(share: float) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if share < 1 and now - shown_at < _WAIT_S:
            return
        shown_at = now
        print(f"\r{what}: {share:4.0%} ", end="\n" if share >= 1 else "", file=sys.stderr, flush=True)

    return show
