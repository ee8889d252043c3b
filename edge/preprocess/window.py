"""What every preprocessing front has in common: chunks go in, encoder inputs or reasons for having none come out."""

from __future__ import annotations

import typing

from edge.types import Absence, Chunk, Modality, Track, Window


class Front(typing.Protocol):
    """One modality from samples to windows: streaming, pure numpy, deterministic.

    Time comes only from ``Chunk.t_ns`` and ``now_ns``, so a recorded session gives the same windows at any speed. Chunks arrive in
    the order of their ends within a track; a jump in ``t_ns`` is a gap of lost samples, and the front must notice it.
    """

    @property
    def modality(self) -> Modality:
        """What it makes windows of."""
        ...

    @property
    def tracks(self) -> tuple[Track, ...]:
        """What it wants pushed."""
        ...

    def push(self, chunk: Chunk) -> None:
        """Take in a chunk of one of ``tracks``: cheap, each streaming feature is computed once per sample."""
        ...

    def poll(self, now_ns: int) -> Window | Absence | None:
        """A new encoder input; or why there is nothing usable now; or None: nothing new, what was said last still holds."""
        ...
