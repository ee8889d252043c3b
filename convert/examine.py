"""All that a report tells beyond the comparison of outputs: layers, latency, other interpreters, gates."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from convert import runtimes
from convert.gates import Gates
from convert.latency import measure
from convert.layers import layer_errors
from convert.pipeline import Converted
from convert.recipe import FLOAT32
from convert.report import RuntimeCheck
from convert.worker import Progress
from edge.inference.golden import golden

GOLDEN = 8
"""Samples whose answers are kept, to tell whether the stage computes the same elsewhere."""


@dataclasses.dataclass(frozen=True)
class Examined:
    """A converted stage with its whole report and golden vectors."""

    stage: Converted
    vectors: dict[str, np.ndarray]


def examine(
    stage: Converted,
    samples: collections.abc.Mapping[str, np.ndarray],
    *,
    gates: Gates,
    source: collections.abc.Mapping[str, typing.Any],
    interpreters: collections.abc.Sequence[runtimes.Interpreter] | None = None,
    progress: Progress | None = None,
) -> Examined:
    """Measure the rest on held-back samples.

    Args:
        stage: as the pipeline gives it.
        samples: public input name -> (samples, *shape), real numbers.
        gates: limits to report on; nothing is raised here.
        source: what to say of the file that the model came from.
        interpreters: where to try the file; ``runtimes.known()`` if None.
        progress: called with a few words at every stage.
    """
    say = progress or (lambda words: None)
    converted, report = stage.model(), stage.report
    vectors = golden(converted, {name: np.asarray(values[:GOLDEN], np.float32) for name, values in samples.items()})
    say("comparing layer by layer")
    by_tensor = {stage.inputs[name]: values for name, values in samples.items()}
    layers = () if report.recipe == FLOAT32.name else layer_errors(stage.made.float_named, stage.made.named, by_tensor)
    say("measuring latency")
    times = measure({"float": stage.float_model(), "converted": converted}, samples)
    checks = []
    for interpreter in runtimes.known() if interpreters is None else interpreters:
        say(f"trying the file in {interpreter.runtime}")
        checks.append(RuntimeCheck(**runtimes.check(interpreter, stage.content, stage.inputs, stage.outputs, vectors)))
    report = dataclasses.replace(
        report,
        source={**report.source, **source},
        layers=layers,
        latency=times["converted"],
        float_latency=times["float"],
        runtimes=tuple(checks),
        gates=gates.measured(report),
    )
    return Examined(dataclasses.replace(stage, report=report), vectors)
