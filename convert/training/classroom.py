"""``affectkit train classroom``: encoders, detector, conversion, fusion, measurement, card, bundle; every step resumable.

The encoders learn from one group of people, the fusion from a second one (on the int8 embeddings of people whom the encoders never
saw), and all figures are of a third.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import pathlib
import shutil
import sys
import typing

import keras
import numpy as np

from convert.evaluation import metrics
from convert.evaluation.evaluate import Options, absent_at_random, evaluate, fused_logits
from convert.pipeline import Converted, convert_model
from convert.training import card, detector, face, fusion, physiology, speech, spread
from convert.training.datasets.fer2013 import fer2013
from convert.training.datasets.speech import LABELS
from convert.training.fit import weights_digest
from convert.training.material import QUADRANT_OF_FACE, Material, answer, faces, pool
from convert.training.material import physiology as physiology_material
from convert.training.material import speech as speech_material
from convert.worker import Worker
from edge.bundle import CARD, QUALITY, Bundle, Manifest, StageSpec, load_bundle, pack_golden, write_bundle
from edge.errors import InputError
from edge.inference.fusion import softmax
from edge.inference.golden import golden
from edge.preprocess.detection import DetectorParameters
from edge.preprocess.face import FaceParameters
from edge.preprocess.speech import SpeechParameters
from edge.types import MODALITIES

CALIBRATION = 1200
GOLDEN = 8
MIN_AGREEMENT = 0.98
BUDGET_MS = {"detector": 40.0, "face": 20.0, "speech": 60.0, "physiology": 30.0, "fusion": 5.0}
"""What one run of a stage may take; together they fit the decision's 200 ms on one core."""
MAX_AGE_MS = {"face": 700, "speech": 1200, "physiology": 2500}
ABSTAIN_BELOW = 0.4
SWITCH_MARGIN = 0.1
SETTLE_MS = 2000.0
"""Steadies decisions: a face that moves a little every quarter of a second turned them 5 times a minute without, 0.02 times with."""


@dataclasses.dataclass(frozen=True)
class Made:
    """One stage as it goes into the bundle."""

    spec: StageSpec
    content: bytes
    golden: bytes
    float_content: bytes | None
    """The same graph in float32; None for a stage that another bundle brought."""
    agreement: collections.abc.Mapping[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class Group:
    """Material of all encoders for one group of people."""

    materials: collections.abc.Mapping[str, Material]


def say(what: str) -> None:
    """Progress goes to stderr, a line a step."""
    print(f"classroom: {what}", file=sys.stderr, flush=True)


def train(
    data: pathlib.Path,
    work: pathlib.Path,
    out: pathlib.Path,
    *,
    seed: int,
    version: str,
    created: str,
    seeds: int = 1,
    detector_from: pathlib.Path | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Train what ``work`` does not hold yet, then convert, fuse, measure and write the bundle.

    Args:
        data: folder of the public sets.
        work: folder for checkpoints; a second call goes on where the first was cut.
        out: the ``.affectkit`` to write.
        seed: of splits, first weights and augmentation.
        version, created: of the bundle; an ISO date, for no clock is read.
        seeds: over how many, from ``seed`` on, the card tells mean and spread; 1 tells none.
        detector_from: a bundle whose face detector is taken as it is; None trains one.
        overwrite: replace ``out`` and the folder beside it, NAME.float, that has every stage in float32.

    Raises:
        InputError: a set is missing.
        ConversionError: a stage lost too much in int8.
    """
    floats = float_folder(out)
    if floats.exists() and not overwrite:
        raise InputError(f"{floats}: exists; name another bundle or say --overwrite")
    source = None if detector_from is None else load_bundle(detector_from)
    kept = None if source is None else taken(source, "detector")
    say("face encoder (the longest part)")
    networks: dict[str, keras.Model] = {"face": face.train(data, work, seed=seed)}
    say("speech encoder")
    networks["speech"] = speech.train(data, work, seed=seed)
    say("physiology encoder")
    networks["physiology"] = physiology.train(data, work, seed=seed)
    if kept is None:
        say("face detector")
        networks["detector"] = detector.train(data, work, seed=seed)

    say("material of three groups of people")
    parameters = SpeechParameters(), physiology.PARAMETERS
    learn, held, validation = groups(data, seed, *parameters)
    rng = np.random.default_rng(seed)
    with Worker() as worker:
        stages: dict[str, Converted] = {}
        for name in MODALITIES:
            say(f"converting {name}")
            key = networks[name].inputs[0].name
            some = learn.materials[name].inputs[rng.permutation(len(learn.materials[name].labels))[:CALIBRATION]]
            check = {key: _thin(validation.materials[name].inputs, 1000)}
            stages[name] = convert_model(
                networks[name], {key: some}, name=name, verification=check, min_agreement=MIN_AGREEMENT, worker=worker
            )
        scenes = np.zeros(0)
        if kept is None:
            say("converting detector")
            scenes = _scenes(data, work, seed)
            stages["detector"] = convert_model(
                networks["detector"], {networks["detector"].inputs[0].name: scenes}, name="detector", worker=worker
            )

        say("fusion, on int8 embeddings of people the encoders never saw")
        pools = _pools(stages, held)
        alone = fusion.first_evidence(pools, networks, {"face": QUADRANT_OF_FACE})
        run = f"fusion-seed{seed}-epochs{fusion.SCHEDULE.epochs}-{weights_digest(*(networks[name] for name in MODALITIES))}"
        networks["fusion"] = fusion.train(pools, work, seed=seed, evidence=alone, name=run)
        inputs = _fusion_inputs(pools, networks["fusion"], CALIBRATION, seed)
        judged = _pools(stages, validation)
        check = _fusion_inputs(judged, networks["fusion"], 1500, seed + 1)
        stages["fusion"] = convert_model(
            networks["fusion"], inputs, name="fusion", verification=check, min_agreement=MIN_AGREEMENT, worker=worker
        )

    logits, labels = fused_logits(stages["fusion"].model(), judged, absent_at_random(2000, len(judged), 0.3, seed), seed=seed + 2)
    temperature = metrics.fit_temperature(labels, logits)
    samples: dict[str, dict[str, np.ndarray]] = {
        name: {next(iter(stages[name].inputs)): _thin(validation.materials[name].inputs, GOLDEN)} for name in MODALITIES
    }
    if kept is None:
        samples["detector"] = {next(iter(stages["detector"].inputs)): scenes[:GOLDEN]}
    samples["fusion"] = {name: values[:GOLDEN] for name, values in check.items()}
    made = {name: _made(stage, samples[name]) for name, stage in stages.items()}
    if kept is not None:
        made["detector"] = kept
    manifest = Manifest(
        name="classroom",
        version=version,
        created=created,
        labels=LABELS,
        stages={name: made[name].spec for name in (*MODALITIES, "detector", "fusion")},
        preprocess={
            "detector": dataclasses.asdict(DetectorParameters()) if source is None else source.manifest.preprocess["detector"],
            "face": dataclasses.asdict(FaceParameters()),
            "speech": dataclasses.asdict(parameters[0]),
            "physiology": dataclasses.asdict(parameters[1]),
        },
        max_age_ms=MAX_AGE_MS,
        temperature=temperature,
        abstain_below=ABSTAIN_BELOW,
        switch_margin=SWITCH_MARGIN,
        settle_ms=SETTLE_MS,
        data_terms=card.TERMS,
    )
    parts = {stage.spec.file: stage.content for stage in made.values()}
    parts |= {f"golden/{name}.npz": stage.golden for name, stage in made.items()}
    quality: dict[str, typing.Any] = {
        "seed": seed,
        "learnt_people": {
            "speech": sorted(set(learn.materials["speech"].people) | set(held.materials["speech"].people)),
            "physiology": sorted(set(learn.materials["physiology"].people) | set(held.materials["physiology"].people)),
        },
        "agreement": {name: dict(stage.agreement) for name, stage in made.items()},
        "taken_from": {} if source is None else {"detector": source.sha256},
    }
    say("measuring")
    draft = work / "draft.affectkit"
    write_bundle(draft, manifest, {**parts, CARD: b"draft", QUALITY: _packed(quality)}, overwrite=True)
    inner = work / "float"
    inner.mkdir(parents=True, exist_ok=True)
    for each, converted in stages.items():
        (inner / f"{each}.tflite").write_bytes(converted.float_content)
    options = Options(curves="quick", floats=inner)
    quality["results"] = evaluate(load_bundle(draft), data, options=options, progress=say)
    quality["spread"] = {name: {"runs": 1} for name in MODALITIES}
    if seeds > 1:
        say(f"spread over {seeds} seeds")
        quality["spread"] = spread.measure(data, work, seeds=range(seed, seed + seeds))
    text = card.render(
        name=manifest.name,
        version=version,
        results=quality["results"],
        agreement=quality["agreement"],
        spread=quality["spread"],
        temperature=temperature,
    )
    write_bundle(out, manifest, {**parts, CARD: text.encode(), QUALITY: _packed(quality)}, overwrite=overwrite)
    shutil.copytree(inner, floats, dirs_exist_ok=overwrite)
    say(f"{out}: {out.stat().st_size / 1e3:.0f} kB")
    return out


def float_folder(bundle: pathlib.Path) -> pathlib.Path:
    """Where the float32 stages of a bundle lie: NAME.float beside NAME.affectkit; ``affectkit evaluate`` looks there."""
    return bundle.with_name(f"{bundle.name.removesuffix('.affectkit')}.float")


def taken(bundle: Bundle, name: str) -> Made:
    """A stage of another bundle as it is there, byte for byte.

    Raises:
        InputError: the bundle has no such stage.
    """
    if name not in bundle.manifest.stages:
        raise InputError(f"{bundle.path}: no stage {name}; it has {', '.join(bundle.manifest.stages)}")
    agreement = (bundle.quality or {}).get("agreement", {}).get(name, {"samples": 0, "top1": None, "max_error": None, "mean_error": None})
    return Made(bundle.manifest.stages[name], bundle.stage(name), pack_golden(bundle.golden(name)), None, agreement)


def _made(stage: Converted, samples: collections.abc.Mapping[str, np.ndarray]) -> Made:
    return Made(_spec(stage), stage.content, pack_golden(golden(stage.model(), samples)), stage.float_content, _agreement(stage))


def groups(data: pathlib.Path, seed: int, sound: SpeechParameters, body: physiology.PhysiologyParameters) -> tuple[Group, Group, Group]:
    """The encoders', the fusion's and the validation people, as encoder inputs; of each clip the later half of its windows, for a
    learner who speaks for long fills them as those do."""
    clips = speech.corpora(data)
    speakers = speech.split_people(clips.people, seed)
    recordings = physiology.recordings_of(data)
    wearers = physiology.split_people(seed)
    learn_faces, held_faces = face.split_training(data, seed)
    made = []
    for pictures, speaking, wearing in (
        (learn_faces, speakers.learn, wearers.learn),
        (held_faces, speakers.fusion, wearers.fusion),
        (fer2013(data, "PublicTest"), speakers.validation, wearers.validation),
    ):
        own = clips.of(speaking)
        heard = [speech.clip_features(samples, sound) for samples in own.samples]
        worn = [r for r in recordings if r.person in wearing]
        walks = physiology.walks_from_start(worn, body) + physiology.walks_restarted(worn, body)
        made.append(
            Group(
                {
                    "face": faces(pictures),
                    "speech": speech_material(own, [windows[len(windows) // 2 :] for windows in heard]),
                    "physiology": physiology_material(walks, body),
                }
            )
        )
    return made[0], made[1], made[2]


def _thin(samples: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, evenly taken."""
    return samples[np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int)]


def _scenes(data: pathlib.Path, work: pathlib.Path, seed: int) -> np.ndarray:
    images = detector.composed(data, work, split="PublicTest", count=1000, seed=seed).images[:CALIBRATION]
    return images[..., None].astype(np.float32) / 127.5 - 1.0


def _pools(stages: collections.abc.Mapping[str, Converted], group: Group) -> dict[str, fusion.Pool]:
    pools: dict[str, fusion.Pool] = {}
    for name in MODALITIES:
        model = stages[name].model()
        pools[name] = pool(group.materials[name], answer(model, next(iter(stages[name].inputs)), group.materials[name].inputs))
    return pools


def _fusion_inputs(pools: collections.abc.Mapping[str, fusion.Pool], model: keras.Model, count: int, seed: int) -> dict[str, np.ndarray]:
    """Inputs of the fusion as they come along sequences, the previous soft prediction being the model's own."""
    inputs, _ = fusion.sequences(pools, count // fusion.STEPS, fusion.STEPS, np.random.default_rng(seed), absent_rate=None)
    previous = np.full((len(inputs["mask"]), len(LABELS)), 1 / len(LABELS), np.float32)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (*inputs, "previous")}
    for step in range(fusion.STEPS):
        for name, values in inputs.items():
            rows[name].append(values[:, step])
        rows["previous"].append(previous)
        answered = model.predict([*(inputs[name][:, step] for name in pools), inputs["mask"][:, step], previous], verbose=0)
        previous = softmax(answered["logits"]).astype(np.float32)
    return {name: np.concatenate(values).astype(np.float32) for name, values in rows.items()}


def _spec(stage: Converted) -> StageSpec:
    return StageSpec(
        name=stage.name,
        file=f"stages/{stage.name}.tflite",
        inputs=stage.inputs,
        outputs=stage.outputs,
        budget_ms=BUDGET_MS[stage.name],
        weights=stage.weights,
        macs=stage.macs,
    )


def _agreement(stage: Converted) -> dict[str, typing.Any]:
    checked = stage.report.verification
    assert checked is not None  # samples are always given above
    worst = max(checked.outputs.values(), key=lambda output: output.max_error)
    return {"samples": checked.samples, "top1": checked.agreement, "max_error": worst.max_error, "mean_error": worst.mean_error}


def _packed(quality: collections.abc.Mapping[str, typing.Any]) -> bytes:
    return json.dumps(quality, indent=1, sort_keys=True).encode()
