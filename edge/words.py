"""Help with a mistyped word."""

from __future__ import annotations

import collections.abc
import difflib


def nearest(word: str, known: collections.abc.Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the known word most like ``word``, or ``; known: a, b`` if none is like it."""
    words = sorted(known)
    like = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {like[0]!r}?" if like else f"; known: {', '.join(words)}"
