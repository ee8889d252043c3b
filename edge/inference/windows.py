"""What modalities said lately, for a fusion that looks back: a ring a modality, read at steps that end now. Pure numpy."""

from __future__ import annotations

import collections
import collections.abc

import numpy as np

from edge.types import Embedding, Modality


class Windows:
    """Embeddings of the last steps, counted back from each tick: the newest step is the tick itself.

    What a modality says holds until it says something else, turns absent or grows stale; a step at which it had nothing to say is
    zeros. A step of the past takes what had been captured by then, so that it does not matter when it was encoded.

    Args:
        widths: length of the embedding of each modality.
        steps: that are looked at.
        step_ns: from one to the next.
        max_age_ns: of each modality, age at which an embedding is stale; for ever where nothing is said.
    """

    def __init__(
        self,
        widths: collections.abc.Mapping[Modality, int],
        *,
        steps: int,
        step_ns: int,
        max_age_ns: collections.abc.Mapping[Modality, int],
    ):
        self._back_ns = tuple(step_ns * back for back in range(steps))
        self._zeros = {modality: np.zeros((steps, width), np.float32) for modality, width in widths.items()}
        self._max_age_ns = max_age_ns
        # (from when it holds, what was said); None is absence.
        self._said: dict[Modality, collections.deque[tuple[int, Embedding | None]]] = {m: collections.deque() for m in widths}

    def note(self, t_ns: int, modality: Modality, said: Embedding | None) -> None:
        """At ``t_ns`` the modality says this, or is absent. Told in the order of time; the same again costs next to nothing."""
        ring = self._said[modality]
        last_ns, last = ring[-1] if ring else (t_ns, None)
        if said is last:
            return
        from_ns = max(t_ns, last_ns)
        if said is not None and (last is not None or not ring or said.end_ns > last_ns):
            # From its capture on; but one that comes back after an absence, from now.
            from_ns = said.end_ns if not ring else max(said.end_ns, last_ns)
        ring.append((from_ns, said))
        oldest_ns = t_ns - self._back_ns[-1]
        while len(ring) > 1 and ring[1][0] <= oldest_ns:
            ring.popleft()

    def forget(self, until_ns: int | None = None) -> None:
        """Forget what was said up to ``until_ns``, or everything."""
        for ring in self._said.values():
            while ring and (until_ns is None or ring[0][0] <= until_ns):
                ring.popleft()

    def at(self, tick_ns: int, modality: Modality) -> tuple[np.ndarray, np.ndarray]:
        """The steps that end at ``tick_ns``, oldest first: float32 (steps, width), and whether there was something, bool (steps,)."""
        steps = len(self._back_ns)
        window, here = self._zeros[modality].copy(), np.zeros(steps, bool)
        max_age_ns = self._max_age_ns.get(modality)
        entries = reversed(self._said[modality])
        entry = next(entries, None)
        for place, back_ns in zip(range(steps - 1, -1, -1), self._back_ns, strict=True):
            step_ns = tick_ns - back_ns
            # What was captured after the tick, and came before it was decided on, belongs to it.
            while entry is not None and back_ns and entry[0] > step_ns:
                entry = next(entries, None)
            if entry is None:
                break
            said = entry[1]
            if said is not None and (max_age_ns is None or step_ns - said.end_ns <= max_age_ns):
                window[place], here[place] = said.vector, True
        return window, here
