"""How long one inference takes here: several models in turn, in one process, so that they meet the same machine."""

from __future__ import annotations

import collections.abc
import time

import numpy as np

from convert.report import Latency
from edge.inference.model import Model

ROUNDS = 60
BUDGET_S = 2.0
"""For one model; a slow one gets fewer rounds, but never under 5."""
LEAST_ROUNDS = 5
BURST_S = 0.001
"""A model runs at least this long before the next has its turn: alternating single inferences would measure cold caches."""


def measure(
    models: collections.abc.Mapping[str, Model],
    samples: collections.abc.Mapping[str, np.ndarray],
    *,
    clock: collections.abc.Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Median and 90th percentile of ``Model.run``, quantizing and dequantizing included.

    Args:
        models: by name; all take the same inputs.
        samples: public input name -> (samples, *shape), real numbers.
        clock: seconds, for tests.
    """
    count = min(len(values) for values in samples.values())
    rows = [{name: np.asarray(values[i], np.float32) for name, values in samples.items()} for i in range(min(count, 16))]
    times: dict[str, list[float]] = {name: [] for name in models}
    burst = {}
    for name, model in models.items():
        for i in range(3):
            model.run(**rows[i % len(rows)])
        began = clock()
        model.run(**rows[0])
        burst[name] = max(1, min(16, int(BURST_S / max(clock() - began, 1e-6))))
    for turn in range(ROUNDS):
        for name, model in models.items():
            if turn >= LEAST_ROUNDS and sum(times[name]) * burst[name] > BUDGET_S:
                continue
            row = rows[turn % len(rows)]
            model.run(**row)  # not timed: the others have had the caches
            began = clock()
            for _ in range(burst[name]):
                model.run(**row)
            times[name].append((clock() - began) / burst[name])
    return {name: Latency(1e3 * float(np.median(t)), 1e3 * float(np.percentile(t, 90)), len(t)) for name, t in times.items()}
