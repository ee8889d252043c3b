"""Score a bundle, stage by stage and fused, through the device's interpreter, on people it has not learnt from."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import typing

import numpy as np

from convert.evaluation import baselines, metrics
from convert.training import physiology as physiology_recipe
from convert.training import speech as speech_recipe
from convert.training.datasets.fer2013 import fer2013
from convert.training.datasets.speech import LABELS
from convert.training.fusion import Pool, sequences
from convert.training.material import Answers, Material, answer, faces, physiology, pool, require_people, speech
from edge.bundle import Bundle
from edge.errors import BundleError
from edge.inference.fusion import softmax
from edge.inference.model import Model
from edge.preprocess.physiology import PhysiologyParameters
from edge.preprocess.speech import SpeechParameters

RESTARTED = "physiology, restarted"
FER_TESTS = ("PublicTest", "PrivateTest")
"""The first one there is scored; the recipe looks at PublicTest while it trains, so PrivateTest is the stricter judge."""
MISSING_RATES = (0.0, 0.1, 0.3, 0.5, 0.7)
COMPANIONS = 2000
STEADY = 20
"""Decisions on the same input before one is scored: five seconds, after which the feedback has settled."""

Progress = collections.abc.Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Learnt:
    """Whom a bundle learnt from: nobody of these may be scored."""

    seed: int
    people: collections.abc.Mapping[str, tuple[str, ...]]
    """Stage -> names."""


def learnt_from(bundle: Bundle) -> Learnt:
    """What the bundle says of its training people.

    Raises:
        BundleError: it says nothing, so that no honest score can be made.
    """
    said = bundle.quality
    if said is None:
        raise BundleError(f"{bundle.path}: does not say whom it learnt from; make it with affectkit train")
    return Learnt(int(said["seed"]), {stage: tuple(names) for stage, names in said["learnt_people"].items()})


def model_of(bundle: Bundle, stage: str) -> Model:
    """One stage in the interpreter that works here."""
    spec = bundle.manifest.stages[stage]
    return Model(bundle.stage(stage), name=stage, inputs=spec.inputs, outputs=spec.outputs)


def materials(bundle: Bundle, data: pathlib.Path, learnt: Learnt) -> tuple[dict[str, Material], dict[str, Material]]:
    """(what the bundle is scored on, what the linear baselines learn on), by stage: never a person in both.

    ``physiology`` wears the kit from the beginning of the recording, ``physiology, restarted`` has it switched on anew every 8
    minutes. A clip of speech is judged by the last window that the front gives for it. A stage whose training people are not in
    ``data`` has no linear baseline.
    """
    p = SpeechParameters(**bundle.manifest.preprocess["speech"])
    clips = speech_recipe.corpora(data)
    told = np.isin(clips.people, learnt.people["speech"])
    body = PhysiologyParameters(**bundle.manifest.preprocess["physiology"])
    recordings = physiology_recipe.recordings_of(data)
    worn = np.isin([str(r.person) for r in recordings], learnt.people["physiology"])

    def heard(rows: np.ndarray) -> Material:
        own = clips.of(np.unique(clips.people[rows]).tolist())
        return speech(own, [speech_recipe.clip_features(samples, p)[-1:] for samples in own.samples])

    def measured(rows: np.ndarray, walks) -> Material:
        return physiology(walks([r for r, here in zip(recordings, rows, strict=True) if here], body), body)

    test = next((split for split in FER_TESTS if (data / "fer2013" / f"{split}.png").exists()), FER_TESTS[0])
    scored, learn = {"face": faces(fer2013(data, test))}, {}
    if (data / "fer2013" / "Training.png").exists():
        learn["face"] = faces(fer2013(data, "Training"))
    scored["speech"] = heard(~told)
    if told.any():
        learn["speech"] = heard(told)
    starts = {"physiology": physiology_recipe.walks_from_start, RESTARTED: physiology_recipe.walks_restarted}
    for name, walks in starts.items():
        scored[name] = measured(~worn, walks)
        if worn.any():
            learn[name] = measured(worn, walks)
    return {stage: require_people(material, data) for stage, material in scored.items()}, learn


def evaluate(bundle: Bundle, data: pathlib.Path, *, progress: Progress = lambda what: None) -> dict[str, typing.Any]:
    """All measures as one JSON-able dict: ``face``, ``speech``, ``physiology``, ``fusion``.

    Args:
        bundle: as ``load_bundle`` gives it.
        data: folder of the public sets.
        progress: called with a few words before each part.

    Raises:
        InputError: a set is missing, or nobody in it is unknown to the bundle.
    """
    learnt = learnt_from(bundle)
    progress("reading the sets")
    scored, learn = materials(bundle, data, learnt)
    results: dict[str, typing.Any] = {}
    pools: dict[str, Pool] = {}
    for name, material in scored.items():
        progress(f"{name}: {len(material.labels)} samples")
        stage = material.stage
        answers = answer(model_of(bundle, stage), next(iter(bundle.manifest.stages[stage].inputs)), material.inputs)
        pools.setdefault(stage, pool(material, answers))
        linear = baselines.linear(learn[name], material) if name in learn else None
        results[name] = _score(material, answers, linear)
    progress("fusion")
    results["fusion"] = fused(model_of(bundle, "fusion"), pools, temperature=bundle.manifest.temperature, seed=learnt.seed)
    return results


def _score(material: Material, answers: Answers, linear: np.ndarray | None) -> dict[str, typing.Any]:
    named = material.stage != "face"
    return {
        "task": material.task,
        "classes": list(material.classes),
        "people": len(np.unique(material.people)) if named else "not named",
        "int8": metrics.summary(material.labels, answers.probabilities),
        "majority": metrics.majority(material.labels, len(material.classes)),
        "linear": {key: None if linear is None else metrics.summary(material.labels, linear)[key] for key in ("accuracy", "uar")},
        "by_person": metrics.by_person(material.labels, answers.probabilities, material.people) if named else {},
    }


def fused_logits(
    model: Model, pools: collections.abc.Mapping[str, Pool], mask: np.ndarray, *, seed: int, steps: int = STEADY
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (count, labels) and labels (count,) after ``steps`` decisions on the same constructed companions.

    Args:
        mask: (count, modalities) of 0 or 1, the same at every step.
        steps: 1 for a decision without history; the feedback is uniform before the first.
    """
    count = len(mask)
    inputs, labels = sequences(pools, count, 1, np.random.default_rng(seed), absent_rate=0.0, switch_rate=0.0)
    rows = []
    for i in range(count):
        streams = {name: inputs[name][i, 0] * mask[i, m] for m, name in enumerate(pools)}
        previous = np.full(len(LABELS), 1 / len(LABELS), np.float32)
        for _ in range(steps):
            logits = model.run(**streams, mask=mask[i], previous=previous)["logits"]
            previous = softmax(logits).astype(np.float32)
        rows.append(logits)
    return np.stack(rows), labels[:, 0]


def fused(model: Model, pools: collections.abc.Mapping[str, Pool], *, temperature: float, seed: int) -> dict[str, typing.Any]:
    """Scores of the fusion: by what is present, and by the chance that a modality is absent (at least one always is present)."""
    names = list(pools)
    by_presence: dict[str, typing.Any] = {}
    by_rate: dict[str, typing.Any] = {}
    first: dict[str, typing.Any] = {}
    for code in range(1, 2 ** len(names)):
        here = np.array([(code >> m) & 1 for m in range(len(names))], np.float32)
        mask = np.tile(here, (COMPANIONS, 1))
        present = " + ".join(name for m, name in enumerate(names) if here[m])
        for scores, steps in ((by_presence, STEADY), (first, 1)):
            logits, labels = fused_logits(model, pools, mask, seed=seed, steps=steps)
            scores[present] = metrics.summary(labels, softmax(logits, temperature))
    for rate in MISSING_RATES:
        mask = absent_at_random(COMPANIONS, len(names), rate, seed + 1)
        logits, labels = fused_logits(model, pools, mask, seed=seed)
        by_rate[str(rate)] = metrics.summary(labels, softmax(logits, temperature))
    return {"companions": COMPANIONS, "by_presence": by_presence, "without_history": first, "by_missing_rate": by_rate}


def absent_at_random(count: int, modalities: int, rate: float, seed: int) -> np.ndarray:
    """Masks float32 (count, modalities): each modality absent with chance ``rate``, never all."""
    rng = np.random.default_rng(seed)
    mask = (rng.random((count, modalities)) >= rate).astype(np.float32)
    empty = mask.sum(axis=1) == 0
    mask[empty, rng.integers(0, modalities, empty.sum())] = 1.0
    return mask
