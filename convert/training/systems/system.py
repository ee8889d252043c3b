"""What a recipe of a published system hands over, and how that becomes a bundle with measured figures.

A recipe is a module with two functions::

    def recipe(data: Path, work: Path, *, seed: int, say: Say, epochs_scale: float = 1.0) -> Trained
    def judge(data: Path, *, learnt: Mapping[str, Sequence[str]], seed: int) -> Score

``recipe`` trains what ``work`` does not hold yet (``convert.training.fit.fit`` resumes by itself) and returns ``Trained``.
``epochs_scale`` multiplies the epochs of every part (``scaled``), for quick trials; it goes into the name of each checkpoint, and the
card says when it was not 1. ``judge`` reads the sets once and returns a function that runs the system over everybody in ``data`` who is
not in ``learnt``, with whatever computes its stages. It is called with float networks, with int8 stages, and again by ``affectkit
evaluate`` on other data. So it trains nothing and draws all that is random from ``seed``. ``Trained.score`` is what it returned.

**Stages.** ``Trained.networks`` has an encoder a modality (``face``, ``speech``, ``physiology``) and ``fusion``; perhaps ``detector``. An
encoder has one input of any name, what the front in edge gives, and the output ``embedding`` (width,). ``fusion`` has an input for each
modality that it uses, named so, (width,) or (T, width), oldest step first, zeros where a step has none; perhaps ``mask`` (n,) or (T, n)
and ``previous`` (labels,). It gives ``logits`` (labels,) and, with several modalities, ``weights`` (n,). ``renamed`` brings a network of
the zoo into that form, and fills inputs that the kit has no front for.

**Runners.** A runner computes one stage for a batch: ``runners["face"]({"face": images})["embedding"]`` is (n, width). Nothing tells
whether the stage is a Keras network or an int8 one in the device's interpreter, so one code scores both. An int8 runner takes the
samples one by one: ten thousand runs of an encoder are fine, a million are not.

**Calibration.** ``calibration[stage]`` is what int8 ranges come from (300 to 1200 rows), ``verification[stage]`` what int8 and float are
compared on (at least 8 rows, at most 1500): {input name: (rows, *shape)}. Either may be a function of the runners in place of that; it is
called with the int8 runners of the stages before, for the fusion is to be calibrated on the embeddings that it will get.

**People.** ``learnt_people[modality]`` names all whom the networks were fitted on, or the temperature was: nobody of them is scored.
FER2013 names no people, so ``face`` is not in it, and its PublicTest without duplicates is scored. ``temper`` judges people whom the
networks were *not* fitted on and who are *not* scored (for FER2013 the held-out part of ``convert.training.face.split_training``): on
them the temperature is refitted after quantization.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import pathlib
import typing

import keras
import numpy as np

from convert import lowering
from convert.evaluation import metrics
from convert.pipeline import Converted, convert_model
from convert.recipe import LstmForm
from convert.training import card as classroom_card
from convert.training.classroom import ABSTAIN_BELOW, GOLDEN, MAX_AGE_MS, SWITCH_MARGIN
from convert.training.systems import RECIPES, find_recipe
from convert.training.systems.card import render
from convert.verify import outputs_of
from convert.worker import Worker
from edge.bundle import CARD, QUALITY, Bundle, Manifest, StageSpec, pack_golden, write_bundle
from edge.errors import BundleError, InputError
from edge.inference.fusion import softmax
from edge.inference.golden import golden
from edge.inference.model import Model

Say = collections.abc.Callable[[str], None]
Samples = collections.abc.Mapping[str, np.ndarray]
"""Input name -> float32 (rows, *shape)."""
Runner = collections.abc.Callable[[Samples], dict[str, np.ndarray]]
"""Inputs of one stage, (rows, *shape) each, -> its outputs, (rows, *shape) each."""
Runners = collections.abc.Mapping[str, Runner]
Given = Samples | collections.abc.Callable[[Runners], Samples]

CHUNK = 256
"""Rows that a Keras network computes at a time."""
BUDGET_MS = {"detector": 40.0, "face": 30.0, "speech": 60.0, "physiology": 30.0, "fusion": 30.0}


@dataclasses.dataclass(frozen=True)
class Paper:
    """What the authors measured. What is not known to us is said to be so, never guessed."""

    citation: str
    figure: str
    """In words: "accuracy 95 % (3 classes)", or "not known here"."""
    protocol: str
    """How it was measured, in words: which data, split how, or "not known here"."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a system said of some samples: ``labels`` int (n,), ``logits`` float (n, classes), ``people`` (n,) or None if not named."""

    labels: np.ndarray
    logits: np.ndarray
    people: np.ndarray | None = None


Score = collections.abc.Callable[[Runners], dict[str, Judged]]
"""Task in words -> what was said; the task whose figures go into the table comes first."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """A row to compare with: a baseline, a variant, or the same network under another split. Shares, 0 to 1."""

    what: str
    """In words: "linear discriminant analysis on 24x24 pixels", "CNN only, by speaker", "split at random by clip"."""
    accuracy: float
    uar: float
    samples: int
    runs: int = 1
    """Seeds (or folds) that the two are the mean of."""
    uar_std: float | None = None
    """Their standard deviation, where runs > 1."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A system after training, ready to be converted; the module's docstring says what each part must be like."""

    name: str
    """Of ``RECIPES``."""
    labels: tuple[str, ...]
    summary: str
    """A sentence or two for the head of the card: what goes in, what comes out."""
    networks: collections.abc.Mapping[str, keras.Model]
    """Stage -> float32 network; ``fusion`` is converted last."""
    calibration: collections.abc.Mapping[str, Given]
    verification: collections.abc.Mapping[str, Given]
    preprocess: collections.abc.Mapping[str, collections.abc.Mapping[str, typing.Any]]
    """As ``Manifest.preprocess``: parameters of the fronts, and {"fusion": {"step_ms", "steps"}} for a fusion over steps."""
    learnt_people: collections.abc.Mapping[str, collections.abc.Sequence[str]]
    terms: tuple[str, ...]
    """From ``terms``."""
    people: tuple[str, ...]
    """A sentence a set: who was learnt from, who is scored, how they were split."""
    paper: Paper
    score: Score
    temper: collections.abc.Callable[[Runners], Judged]
    seed: int
    baselines: tuple[Figures, ...] = ()
    """Linear and other rows on the scored people; the first one named "linear..." goes into the table."""
    other_splits: tuple[Figures, ...] = ()
    """The same network under a split at random: by clip or by window."""
    spread: tuple[Figures, ...] = ()
    """Mean and deviation over seeds, where more than one was run."""
    notes: tuple[str, ...] = ()
    """Interpretation and limits, a sentence or two each."""
    epochs_scale: float = 1.0
    lstm_form: LstmForm | None = None
    """None leaves it to the converter; "fused" is the smaller file."""
    max_age_ms: collections.abc.Mapping[str, int] = dataclasses.field(default_factory=lambda: dict(MAX_AGE_MS))
    budget_ms: collections.abc.Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(BUDGET_MS))


def terms(*sets: str) -> tuple[str, ...]:
    """The terms of these sets, "FER2013", "RAVDESS", "EmoDB", "Stress-Predict", as every card words them."""
    return tuple(next(line for line in classroom_card.TERMS if line.startswith(name)) for name in sets)


def scaled(epochs: int, scale: float) -> int:
    """At least one epoch."""
    return max(1, round(epochs * scale))


def renamed(
    model: keras.Model,
    inputs: collections.abc.Mapping[str, str] | None = None,
    outputs: collections.abc.Mapping[str, str] | collections.abc.Sequence[str] | None = None,
    *,
    constants: collections.abc.Mapping[str, np.ndarray] | None = None,
    name: str | None = None,
) -> keras.Model:
    """The same layers and weights behind other names.

    Args:
        model: any functional network.
        inputs: its input name -> the new name, where they differ.
        outputs: its output name -> the new name; or the names of those to keep. All are kept if None. A network whose only output
            has no name of its own calls it after its last layer.
        constants: its input name -> value without a batch axis: such inputs are gone, for the kit has no front for them.
        name: of the new network; that of ``model`` if None.
    """
    told, fixed = dict(inputs or {}), dict(constants or {})
    if outputs is None:
        outputs = lowering.output_names(model)
    kept = dict(outputs) if isinstance(outputs, collections.abc.Mapping) else {key: key for key in outputs}
    names = lowering.input_names(model)
    fresh = {
        key: keras.Input(tensor.shape[1:], name=told.get(key, key))
        for key, tensor in zip(names, model.inputs, strict=True)
        if key not in fixed
    }
    first = next(iter(fresh.values()))
    flat = [fresh[key] if key in fresh else _Constant(fixed[key])(first) for key in names]
    answer = lowering.call(model, flat)
    return keras.Model(list(fresh.values()), {new: answer[key] for key, new in kept.items()}, name=name or model.name)


class _Constant(keras.layers.Layer):
    """The same value for every row of the batch."""

    def __init__(self, value: np.ndarray):
        super().__init__()
        self.value = np.asarray(value, np.float32)

    def call(self, x):
        """(batch, ...) -> (batch, *value)."""
        rows = keras.ops.shape(x)[0]
        return keras.ops.broadcast_to(keras.ops.convert_to_tensor(self.value)[None], (rows, *self.value.shape))

    def compute_output_shape(self, shape):
        """(batch, *value)."""
        return (shape[0], *self.value.shape)


def keras_runner(model: keras.Model) -> Runner:
    """A float network as a runner."""

    def run(inputs: Samples) -> dict[str, np.ndarray]:
        count = len(next(iter(inputs.values())))
        parts = [
            lowering.predict(model, {name: np.asarray(values[i : i + CHUNK], np.float32) for name, values in inputs.items()})
            for i in range(0, count, CHUNK)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run


def int8_runner(model: Model) -> Runner:
    """A stage in the device's interpreter as a runner, one sample at a time."""
    return lambda inputs: outputs_of(model, inputs)


def bundle_runners(bundle: Bundle) -> dict[str, Runner]:
    """All stages of a bundle in the interpreter that works here."""
    made = {}
    for name, spec in bundle.manifest.stages.items():
        made[name] = int8_runner(Model(bundle.stage(name), name=name, inputs=spec.inputs, outputs=spec.outputs))
    return made


def pack(
    trained: Trained,
    out: pathlib.Path,
    *,
    version: str,
    created: str,
    say: Say,
    overwrite: bool = False,
) -> pathlib.Path:
    """Convert every stage, refit the temperature, score int8 beside float, write card and bundle.

    Args:
        trained: from a recipe.
        out: the ``.affectkit`` to write.
        version, created: of the bundle; an ISO date, for no clock is read.
        say: called with a few words before each part.
        overwrite: replace ``out``.

    Raises:
        InputError: the recipe gave a stage without samples.
        ConversionError: a stage computes something else than its network.
    """
    runners: dict[str, Runner] = {}
    stages: dict[str, Converted] = {}
    checks: dict[str, Samples] = {}
    with Worker() as worker:
        for name in sorted(trained.networks, key=lambda stage: stage == "fusion"):
            say(f"converting {name}")
            if name not in trained.calibration or name not in trained.verification:
                raise InputError(f"{trained.name}: stage {name} has no samples to calibrate or to verify on; the recipe must give both")
            checks[name] = _given(trained.verification[name], runners)
            stages[name] = convert_model(
                trained.networks[name], _given(trained.calibration[name], runners), name=name, verification=checks[name],
                lstm_form=trained.lstm_form, worker=worker,
            )  # fmt: skip
            runners[name] = int8_runner(stages[name].model())
    floats = {name: keras_runner(network) for name, network in trained.networks.items()}
    temperatures = {}
    for form, some in (("int8", runners), ("float", floats)):
        say(f"temperature, {form}")
        held = trained.temper(some)
        temperatures[form] = metrics.fit_temperature(held.labels, held.logits)
    say("scoring int8")
    judged = trained.score(runners)
    say("scoring float")
    reference = trained.score(floats)
    quality = _quality(trained, stages, temperatures, judged, reference)
    manifest = Manifest(
        name=trained.name,
        version=version,
        created=created,
        labels=trained.labels,
        stages={name: _spec(stage, trained) for name, stage in stages.items()},
        preprocess=trained.preprocess,
        max_age_ms={name: age for name, age in trained.max_age_ms.items() if name in stages},
        temperature=temperatures["int8"],
        abstain_below=ABSTAIN_BELOW,
        switch_margin=SWITCH_MARGIN,
        data_terms=trained.terms,
    )
    parts = {f"stages/{name}.tflite": stage.content for name, stage in stages.items()}
    for name, stage in stages.items():
        few = {key: np.asarray(values[:GOLDEN], np.float32) for key, values in checks[name].items()}
        parts[f"golden/{name}.npz"] = pack_golden(golden(stage.model(), few))
    parts[QUALITY] = json.dumps(quality, indent=1, sort_keys=True).encode()
    parts[CARD] = render(trained.name, version, quality, trained.terms).encode()
    write_bundle(out, manifest, parts, overwrite=overwrite)
    say(f"{out}: {out.stat().st_size / 1e3:.0f} kB")
    return out


def evaluate(bundle: Bundle, data: pathlib.Path, *, progress: Say = lambda what: None) -> dict[str, typing.Any]:
    """Score the bundle of a system on everybody in ``data`` whom it has not learnt from: task -> measures, JSON-able.

    Raises:
        BundleError: it is none of ``RECIPES``, or does not say whom it learnt from.
        InputError: a set is missing, or nobody in it is unknown to the bundle.
    """
    said = bundle.quality
    if bundle.manifest.name not in RECIPES:
        raise BundleError(f"{bundle.path}: {bundle.manifest.name} is none of {', '.join(RECIPES)}")
    if said is None or "learnt_people" not in said:
        raise BundleError(f"{bundle.path}: does not say whom it learnt from; make it with affectkit train")
    progress("reading the sets")
    score = find_recipe(bundle.manifest.name).judge(data, learnt=said["learnt_people"], seed=int(said["seed"]))
    progress("scoring")
    judged = score(bundle_runners(bundle))
    return {task: measures(one, bundle.manifest.labels, bundle.manifest.temperature) for task, one in judged.items()}


def measures(judged: Judged, labels: collections.abc.Sequence[str], temperature: float) -> dict[str, typing.Any]:
    """``metrics.summary`` after calibration, with majority and UAR by person; as ``convert.evaluation.evaluate`` words it."""
    if not len(judged.labels):
        raise InputError("nobody in these sets was left out of training; bring people the bundle has not seen")
    probabilities = softmax(judged.logits, temperature)
    people = judged.people
    return {
        "classes": list(labels),
        "people": "not named" if people is None else len(np.unique(people)),
        "int8": metrics.summary(judged.labels, probabilities),
        "majority": metrics.majority(judged.labels, len(labels)),
        "by_person": {} if people is None else metrics.by_person(judged.labels, probabilities, people),
    }


def _given(told: Given, runners: Runners) -> Samples:
    return told(runners) if callable(told) else told


def _spec(stage: Converted, trained: Trained) -> StageSpec:
    budget_ms = trained.budget_ms.get(stage.name, BUDGET_MS["fusion"])
    return StageSpec(stage.name, f"stages/{stage.name}.tflite", stage.inputs, stage.outputs, budget_ms, stage.weights, stage.macs)


def _quality(
    trained: Trained,
    stages: collections.abc.Mapping[str, Converted],
    temperatures: collections.abc.Mapping[str, float],
    judged: collections.abc.Mapping[str, Judged],
    reference: collections.abc.Mapping[str, Judged],
) -> dict[str, typing.Any]:
    """All that was measured, JSON-able: what card and table are written from."""
    results: dict[str, typing.Any] = {}
    for task, one in judged.items():
        other = reference[task]
        results[task] = measures(one, trained.labels, temperatures["int8"])
        results[task]["float"] = metrics.summary(other.labels, softmax(other.logits, temperatures["float"]))
        results[task]["agreement"] = float(np.mean(one.logits.argmax(axis=1) == other.logits.argmax(axis=1)))
    plain = {key: [dataclasses.asdict(row) for row in getattr(trained, key)] for key in ("baselines", "other_splits", "spread")}
    return {
        "system": trained.name,
        "summary": trained.summary,
        "seed": trained.seed,
        "epochs_scale": trained.epochs_scale,
        "labels": list(trained.labels),
        "learnt_people": {name: sorted(map(str, people)) for name, people in trained.learnt_people.items()},
        "people": list(trained.people),
        "paper": dataclasses.asdict(trained.paper),
        "notes": list(trained.notes),
        "temperature": dict(temperatures),
        "main": next(iter(results)),
        "results": results,
        **plain,
        "stages": {
            name: {
                "bytes": len(stage.content),
                "float_bytes": len(stage.float_content),
                "weights": stage.weights,
                "macs": stage.macs,
                "recipe": stage.report.recipe,
                "lstm_form": stage.report.lstm_form,
                "verification": stage.report.verification.as_dict() if stage.report.verification else None,
            }
            for name, stage in stages.items()
        },
    }
