"""Mean and spread over bundles that were made alike but for the seed, each scored on its own left-out people."""

from __future__ import annotations

import collections.abc
import typing

import numpy as np

from edge.errors import InputError

Results = collections.abc.Mapping[str, typing.Any]

KEYS = ("accuracy", "uar", "macro_f1", "ece", "brier", "aurc")
FUSED_KEYS = ("gain_with_all_present", "least_gain", "ece_with_all_present")


def require_alike(names: collections.abc.Sequence[str], seeds: collections.abc.Sequence[int], shas: collections.abc.Sequence[str]) -> None:
    """Several bundles are one system made several times.

    Raises:
        InputError: they have different names, or one is given twice.
    """
    if len(set(names)) > 1:
        raise InputError(f"{names[0]} and {next(n for n in names if n != names[0])} are different systems; evaluate them one by one")
    if len(set(shas)) < len(shas) or len(set(seeds)) < len(seeds):
        raise InputError(
            f"seeds {', '.join(map(str, seeds))}: a bundle is given twice, or two have one seed; the spread would be too small"
        )


def spread(values: collections.abc.Sequence[float]) -> dict[str, typing.Any]:
    """Mean, standard deviation (n - 1 in the denominator; None of one value) and all of the values."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "runs": len(values), "each": [float(value) for value in values]}


def over(runs: collections.abc.Sequence[Results]) -> dict[str, typing.Any]:
    """Stage -> measure -> ``spread``, of the stages that every run has; the fusion with everything present is ``fusion``."""
    made: dict[str, typing.Any] = {}
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    for name in shared:
        if name == "fusion":
            everything = [list(run[name]["by_presence"].values())[-1] for run in runs]
            made[name] = {key: spread([got[key] for got in everything]) for key in KEYS if all(key in got for got in everything)}
            made[name] |= {key: spread([run[name][key] for run in runs]) for key in FUSED_KEYS}
        else:
            scores = [run[name]["int8"] for run in runs]
            made[name] = {key: spread([got[key] for got in scores]) for key in KEYS if all(key in got for got in scores)}
    return made


def recorded(quality: collections.abc.Mapping[str, typing.Any] | None) -> dict[str, typing.Any]:
    """What the bundle's maker measured over several seeds: stage -> {"runs", "uar_mean", "uar_std", "what"}; empty if nothing."""
    told = (quality or {}).get("spread")
    if isinstance(told, list):  # the published systems: a row for each thing that was run several times
        return {
            row["what"]: {"runs": row["runs"], "uar_mean": row["uar"], "uar_std": row["uar_std"], "what": row["what"]}
            for row in told
            if row.get("runs", 1) > 1
        }
    if not isinstance(told, dict):
        return {}
    return {stage: got for stage, got in told.items() if isinstance(got, dict) and got.get("runs", 1) > 1}
