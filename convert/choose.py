"""``--recipe auto``: write a network in every way there is, measure all of them in one run, keep the fastest that is good enough.

No form is assumed to be faster: which is depends on the network, the interpreter and the processor.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools

import numpy as np

from convert import gates as limits
from convert.latency import measure
from convert.pipeline import Converted, as_source, convert_model
from convert.recipe import DYNAMIC_WI8_AFP32, FLOAT32, STATIC_WI8_AI8, STATIC_WI8_AI16, Recipe
from convert.report import Candidate
from convert.source import Samples, Source
from convert.worker import Progress, Worker
from edge.errors import ConversionError

PREFERRED_SHARE = 0.35
"""Of the size of the smallest float form. A candidate within it goes before a faster one that is larger: an unrolled LSTM can be as
large as the float model that it came from."""
NOISE = 0.05
"""Two latencies closer than this are the same: the smaller file is taken."""
RECIPES = (STATIC_WI8_AI8, STATIC_WI8_AI16, DYNAMIC_WI8_AFP32, FLOAT32)


def effective(gates: limits.Gates) -> limits.Gates:
    """The gates that candidates are held to: where none is asked for quality, 98 % agreement and a point of accuracy."""
    if gates.min_agreement is not None or gates.max_drop is not None:
        return gates
    return dataclasses.replace(gates, min_agreement=limits.MIN_AGREEMENT, max_drop=limits.MAX_DROP)


def convert_best(
    model: Source,
    calibration: Samples,
    *,
    name: str | None = None,
    verification: Samples,
    labels: np.ndarray | None = None,
    classes: collections.abc.Sequence[str] = (),
    gates: limits.Gates | None = None,
    worker: Worker,
    progress: Progress | None = None,
) -> Converted:
    """Convert in every recipe and form; the report names all candidates and says why one was taken.

    If none passes the gates, the one that agrees best with float is given, with its gates missed.

    Args:
        gates: see ``effective``.

    Raises:
        InputError: the samples cannot be used.
        ConversionError: not a single quantized candidate could be made.
    """
    source = as_source(model)
    asked = effective(gates or limits.Gates())
    made: dict[tuple[str, str], Converted] = {}
    failures: dict[tuple[str, str], str] = {}
    wanted = [dataclasses.replace(recipe, lstm_form=form) for recipe in RECIPES for form in source.forms]
    for number, recipe in enumerate(wanted, 1):
        words = f"candidate {number} of {len(wanted)}: {_title(recipe, source)}"
        saying = functools.partial(_saying, progress, words) if progress is not None else None
        try:
            made[recipe.name, recipe.lstm_form] = convert_model(
                source, calibration, name=name, recipe=recipe, verification=verification, labels=labels, classes=classes, worker=worker,
                progress=saying,
            )  # fmt: skip
        except ConversionError as error:
            failures[recipe.name, recipe.lstm_form] = str(error)
    if progress is not None:
        progress("measuring all candidates in turn")
    times = measure({"/".join(key): one.model() for key, one in made.items()}, verification)
    smallest = min((one.report.bytes for key, one in made.items() if key[0] == FLOAT32.name), default=0)
    open_to = {key: one for key, one in made.items() if key[0] != FLOAT32.name}
    if not open_to:
        raise ConversionError(next(iter(failures.values()), f"{source.name!r}: no candidate could be made"))
    missed = {key: limits.missed(asked.measured(one.report)) for key, one in open_to.items()}
    best, why = _pick(open_to, missed, {key: times["/".join(key)].median_ms for key in made}, smallest)
    candidates = []
    for recipe in wanted:
        key = (recipe.name, recipe.lstm_form)
        form = recipe.lstm_form if len(source.forms) > 1 else None
        if key not in made:
            candidates.append(Candidate(recipe.name, form, 0, None, None, None, failures[key]))
            continue
        checked = made[key].report.verification
        mean_error = _mean_error(made[key])
        candidates.append(
            Candidate(
                recipe.name, form, made[key].report.bytes, times["/".join(key)], checked.agreement if checked else None, mean_error,
                missed.get(key, "" if key in open_to else "the float model, for comparison"), chosen=key == best,
            )
        )  # fmt: skip
    candidates += _steps(source, calibration, verification, worker, progress)
    one = made[best]
    report = dataclasses.replace(one.report, candidates=tuple(candidates), why=why)
    return dataclasses.replace(one, report=report)


def _steps(source: Source, calibration: Samples, verification: Samples, worker: Worker, progress: Progress | None) -> list[Candidate]:
    """The step form, where there is one: measured, but not open to choose, for it is run in another way."""
    from convert.readers.keras import KerasSource
    from convert.streaming import convert_steps, stepwise

    if not isinstance(source, KerasSource) or len(source.forms) < 2:
        return []
    found = []
    try:
        steps = stepwise(source.model).steps
        for recipe in (STATIC_WI8_AI8, DYNAMIC_WI8_AFP32):
            if progress is not None:
                progress(f"one step with explicit states: {recipe.name}")
            stage, some = convert_steps(source, calibration, verification=verification, recipe=recipe, worker=worker)
            times = measure({"step": stage.model()}, some)
            checked = stage.report.verification
            mean_error = _mean_error(stage)
            words = f"one step of {steps}, another interface: --streaming"
            agreement = checked.agreement if checked is not None else None
            found.append(Candidate(recipe.name, "step", stage.report.bytes, times["step"], agreement, mean_error, words))
    except ConversionError as error:
        found.append(Candidate(STATIC_WI8_AI8.name, "step", 0, None, None, None, str(error)))
    return found


def _saying(progress: Progress, words: str, stage: str) -> None:
    progress(f"{words}, {stage}")


def _mean_error(one: Converted) -> float | None:
    checked = one.report.verification
    return max((output.mean_error for output in checked.outputs.values()), default=None) if checked is not None else None


def _title(recipe: Recipe, source: Source) -> str:
    return f"{recipe.name} {recipe.lstm_form}" if len(source.forms) > 1 else recipe.name


def _pick(
    made: dict[tuple[str, str], Converted], missed: dict[tuple[str, str], str], median_ms: dict[tuple[str, str], float], float_bytes: int
) -> tuple[tuple[str, str], str]:
    """The candidate to keep, and why."""
    passing = [key for key in made if not missed[key]]
    if not passing:
        best = max(made, key=lambda key: _faithfulness(made[key]))
        return best, f"none passes the gates ({missed[best]}); this one is nearest to float"
    small = [key for key in passing if made[key].report.bytes <= PREFERRED_SHARE * float_bytes]
    fastest = min(median_ms[key] for key in small or passing)
    level = [key for key in small or passing if median_ms[key] <= fastest * (1 + NOISE)]
    best = min(level, key=lambda key: made[key].report.bytes)
    size = f"within {PREFERRED_SHARE:.0%} of the float model's size" if small else f"(none is within {PREFERRED_SHARE:.0%} of float's size)"
    floats = {key: time for key, time in median_ms.items() if key[0] == FLOAT32.name}
    against = ""
    if floats:
        key = min(floats, key=floats.__getitem__)
        against = f"; {median_ms[best]:.3f} ms, the fastest float form ({key[1]}) {floats[key]:.3f} ms"
    return best, f"the fastest of those that pass the gates {size}{against}"


def _faithfulness(one: Converted) -> tuple[float, float]:
    checked = one.report.verification
    if checked is None:
        return 0.0, 0.0
    return checked.agreement or 0.0, -max(o.mean_error for o in checked.outputs.values())
