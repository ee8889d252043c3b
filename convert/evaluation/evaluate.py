"""Score a bundle, stage by stage and fused, through the device's interpreter, on people it has not learnt from."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import typing

import numpy as np

from convert.evaluation import baselines, body, classical, coverage, curves, flips, metrics, moments
from convert.evaluation.apart import Learnt, Split, learnt_from
from convert.evaluation.fused import Form, absent_at_random, fused, fused_logits, own_answers
from convert.evaluation.sets import Sets, read
from convert.training.fusion import Pool
from convert.training.material import Answers, Material, answer, pool
from edge.bundle import Bundle
from edge.errors import InputError
from edge.inference.model import Model
from edge.preprocess.physiology import PhysiologyParameters
from edge.preprocess.speech import SpeechParameters
from edge.types import MODALITIES

__all__ = ["Examined", "Options", "Run", "absent_at_random", "evaluate", "examine", "fused_logits", "learnt_from", "model_of"]

Progress = collections.abc.Callable[[str], None]
Effort = typing.Literal["none", "quick", "full"]


@dataclasses.dataclass(frozen=True)
class Options:
    """How much is measured beyond accuracy and calibration."""

    curves: Effort = "none"
    """Robustness curves, late inputs, and flips on a steady input; ``quick`` thins the samples."""
    baselines: Effort = "none"
    """Classical rows."""
    floats: pathlib.Path | None = None
    """Folder with a float32 ``STAGE.tflite`` for every stage; None measures int8 alone."""
    split: Split | None = None
    """Who teaches the baselines and who is scored."""


@dataclasses.dataclass(frozen=True)
class Examined:
    """``results`` by name, as ``evaluate`` gives them, and why others are missing: name -> words."""

    results: dict[str, typing.Any]
    missing: dict[str, str]


def model_of(bundle: Bundle, stage: str) -> Model:
    """One stage in the interpreter that works here."""
    spec = bundle.manifest.stages[stage]
    return Model(bundle.stage(stage), name=stage, inputs=spec.inputs, outputs=spec.outputs)


def float_model_of(bundle: Bundle, stage: str, folder: pathlib.Path | None) -> Model | None:
    """The same stage in float32 from ``folder``/STAGE.tflite, with the names of the manifest; None without a folder.

    Raises:
        InputError: the folder has no such file.
    """
    if folder is None:
        return None
    spec, path = bundle.manifest.stages[stage], folder / f"{stage}.tflite"
    if not path.is_file():
        raise InputError(f"{path}: no such file; --float names a folder with a float32 .tflite for every stage of the bundle")
    return Model(path.read_bytes(), name=f"{stage} (float)", inputs=spec.inputs, outputs=spec.outputs)


def evaluate(
    bundle: Bundle, data: pathlib.Path, *, options: Options | None = None, progress: Progress = lambda what: None
) -> dict[str, typing.Any]:
    """All measures as one JSON-able dict: ``face``, ``speech``, ``physiology``, ``physiology, restarted``, ``fusion``.

    Args:
        bundle: as ``load_bundle`` gives it.
        data: folder of the public sets.
        options: what else is measured.
        progress: called with a few words before each part.

    Raises:
        InputError: a set is missing, nobody in it is unknown to the bundle, or a person is on both sides.
    """
    examined = examine(bundle, data, options=options, progress=progress)
    if examined.missing:
        name, why = next(iter(examined.missing.items()))
        raise InputError(f"{data}: {name}: {why}; bring all sets")
    return examined.results


def examine(bundle: Bundle, data: pathlib.Path, *, options: Options | None = None, progress: Progress = lambda what: None) -> Examined:
    """As ``evaluate``, yet of whatever is there; the rest is named in ``missing``."""
    learnt = learnt_from(bundle)
    progress("reading the sets")
    return Run(bundle, read(bundle, data, learnt, (options or Options()).split), learnt, options or Options(), progress).run()


@dataclasses.dataclass(frozen=True)
class Scored:
    """A stage's own material, with what both number formats make of it."""

    material: Material
    int8: Answers
    float32: Answers | None


class Run:
    """One evaluation of one bundle on sets that were read."""

    def __init__(self, bundle: Bundle, sets: Sets, learnt: Learnt, options: Options, progress: Progress):
        self._bundle, self._sets, self._learnt, self._options, self._progress = bundle, sets, learnt, options, progress
        self._models = {stage: model_of(bundle, stage) for stage in {m.stage for m in sets.scored.values()}}

    def run(self) -> Examined:
        """Score everything."""
        results: dict[str, typing.Any] = {}
        stages: dict[str, Scored] = {}
        missing = dict(self._sets.missing)
        for name, material in self._sets.scored.items():
            self._progress(f"{name}: {len(material.labels)} samples")
            scored = self._answered(material)
            stages.setdefault(material.stage, scored)
            results[name] = self._single(name, scored)
        for stage in stages if self._options.curves != "none" else ():
            self._progress(f"{stage}: robustness curves")
            results[stage]["curves"] = self._curves(stage)
        absent = [m for m in MODALITIES if m in self._bundle.manifest.stages and m not in stages]
        if "fusion" not in self._bundle.manifest.stages:
            missing["fusion"] = "the bundle has no such stage"
        elif absent:
            missing["fusion"] = f"needs {', '.join(absent)} too"
        else:
            try:
                results["fusion"] = self._fusion(stages)
            except InputError as error:
                missing["fusion"] = str(error)
        return Examined(results, missing)

    def _input(self, stage: str) -> str:
        return next(iter(self._bundle.manifest.stages[stage].inputs))

    def _answered(self, material: Material) -> Scored:
        stage, other = material.stage, float_model_of(self._bundle, material.stage, self._options.floats)
        exact = None if other is None else answer(other, self._input(stage), material.inputs)
        return Scored(material, answer(self._models[stage], self._input(stage), material.inputs), exact)

    def _single(self, name: str, scored: Scored) -> dict[str, typing.Any]:
        material, learn = scored.material, self._sets.learn.get(name)
        linear = None if learn is None else baselines.linear(learn, material)
        result = _score(material, scored.int8, linear)
        if self._sets.dropped.get(name):
            result["left_out"] = self._sets.dropped[name]
        if scored.float32 is not None:
            result["float"] = metrics.summary(material.labels, scored.float32.probabilities)
            result["agreement"] = _same(scored.int8.probabilities, scored.float32.probabilities)
        if learn is not None and self._options.baselines != "none" and name == material.stage:
            self._progress(f"{name}: classical baselines")
            result["baselines"] = classical.rows(learn, material, effort=self._options.baselines, seed=self._learnt.seed)
        return result

    def _curves(self, stage: str) -> dict[str, typing.Any]:
        most = curves.QUICK if self._options.curves == "quick" else curves.FULL

        def predict(inputs: np.ndarray) -> np.ndarray:
            return answer(self._models[stage], self._input(stage), inputs).probabilities

        preprocess = self._bundle.manifest.preprocess
        if stage == "face" and self._sets.faces is not None:
            return curves.of_faces(self._sets.faces, predict, most=most["face"])
        if stage == "speech" and self._sets.clips is not None:
            return curves.of_speech(self._sets.clips, SpeechParameters(**preprocess[stage]), predict, most=most["speech"])
        quick = self._options.curves == "quick"
        return body.of_physiology(self._sets.recordings, PhysiologyParameters(**preprocess[stage]), predict, quick=quick)

    def _fusion(self, stages: collections.abc.Mapping[str, Scored]) -> dict[str, typing.Any]:
        self._progress("fusion: by what is present")
        bundle, options, seed = self._bundle, self._options, self._learnt.seed
        used: dict[str, Scored] = {name: stages[name] for name in MODALITIES if name in stages}
        pools: dict[str, Pool] = {name: pool(one.material, one.int8) for name, one in used.items()}
        form, exact = Form(model_of(bundle, "fusion"), pools), None
        if (model := float_model_of(bundle, "fusion", options.floats)) is not None:
            floats: dict[str, Pool] = {name: pool(one.material, one.float32) for name, one in used.items() if one.float32 is not None}
            exact = Form(model, floats)
        heads = {name: own_answers(name, one.int8.probabilities) for name, one in used.items()}
        result = fused(form, heads, temperature=bundle.manifest.temperature, seed=seed, float_form=exact)
        if options.curves == "none":
            return result
        thin = 4 if options.curves == "quick" else 1
        self._progress("fusion: late inputs")
        count = moments.SEQUENCES // thin
        result["curves"] = moments.curves(form.model, pools, seed=seed, cadence_ms=bundle.manifest.cadence_ms, count=count)
        self._progress("fusion: flips on a steady input")
        encoders = {name: self._encoder(name) for name in used}
        inputs = {name: one.material.inputs for name, one in used.items()}
        result["flips"] = flips.measure(bundle, form.model, pools, inputs, encoders, seed=seed, count=flips.COMPANIONS // thin)
        return result

    def _encoder(self, stage: str) -> flips.Encode:
        return lambda inputs: answer(self._models[stage], self._input(stage), inputs).embedding


def _same(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean(one.argmax(axis=1) == other.argmax(axis=1)))


def _score(material: Material, answers: Answers, linear: np.ndarray | None) -> dict[str, typing.Any]:
    named = material.stage != "face"
    labels, probabilities = material.labels, answers.probabilities
    return {
        "task": material.task,
        "classes": list(material.classes),
        "people": len(np.unique(material.people)) if named else "not named",
        "int8": metrics.summary(labels, probabilities) | coverage.summary(labels, probabilities),
        "majority": metrics.majority(labels, len(material.classes)),
        "linear": {key: None if linear is None else metrics.summary(labels, linear)[key] for key in ("accuracy", "uar")},
        "by_person": metrics.by_person(labels, probabilities, material.people) if named else {},
    }
