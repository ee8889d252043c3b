"""Recipe of ``edu_emotionnet`` (Rafiuddin, 2025): face, speech and physiology over two seconds, the four quadrants.

Encoders are the classroom's own, in place of the paper's Wav2Vec2, ResNet and BERT. Alignment (CMAA), confidences (MIE) and feedback
(TFL) learn together, unrolled over several decisions that feed each other, on constructed companions whose modalities come and go and
whose label changes. Loss: cross-entropy + lambda KL(previous, stop-gradient, to current).

*Interpretation*: the paper's classes (confused, curious, bored, frustrated) are re-annotated IEMOCAP and MOSEI, which are not at
hand: the quadrants stand for them. lambda, the steps and the horizon are ours, for the paper's are not known here.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import typing

import keras
import numpy as np

from convert.training import face, physiology, speech
from convert.training.datasets.fer2013 import Faces
from convert.training.datasets.speech import LABELS
from convert.training.fit import Batch, Schedule, fit, weights_digest
from convert.training.material import QUADRANT_OF_FACE
from convert.training.systems import fused
from convert.training.systems.companions import Companions, Takes, draw, require_apart
from convert.training.systems.system import Judged, Paper, Runners, Say, Score, Trained, renamed, scaled, terms
from convert.zoo import edu_emotionnet as zoo
from convert.zoo.blocks import stages
from edge.inference.fusion import softmax
from edge.preprocess.face import FaceParameters
from edge.preprocess.speech import SpeechParameters

NAME = "edu_emotionnet"
STEPS, STEP_MS = 8, 250
HORIZON = 6
"""Decisions that feed each other while training."""
DECISIONS = 8
"""Of each sequence that is scored."""
SEQUENCES = 200
FEEDBACK_WEIGHT = 0.1
"""lambda of KL(previous, stop-gradient, to current)."""
FUSION = Schedule(epochs=5, batch=128, learning_rate=3e-3, weight_decay=3e-2)
FUSION_DRAWS = 8192
SEEDS = 3
PAPER = Paper(
    "Rafiuddin, Edu-EmotionNet: cross-modality attention alignment with temporal feedback loops, arXiv 2510.08802, 2025",
    "accuracy 88 %, macro-F1 86 % (4 classes, audio, video and text)",
    "educational subsets of IEMOCAP and MOSEI, re-annotated; how people were split is not known here",
)


def fusion_stage(whole: keras.Model) -> keras.Model:
    """Windows (8, width) of the encoders' embeddings, ``mask`` (8, n), ``previous`` (labels,) -> ``logits``, ``weights`` (n,)."""
    return renamed(whole, outputs={"logits": "logits", "confidences": "weights"}, name="fusion")


def unrolled(whole: keras.Model, horizon: int) -> keras.Model:
    """``whole`` over ``horizon`` decisions that feed each other, for training: its weights, each embedding adapted once.

    Inputs are longer by ``horizon - 1`` steps; output: probabilities (horizon, labels).
    """
    parts = stages(whole)
    *windows, mask, previous = whole.inputs
    longer = [keras.Input((x.shape[1] + horizon - 1, x.shape[2]), name=x.name) for x in (*windows, mask)]
    state = keras.Input(previous.shape[1:], name=previous.name)
    adapted = [_over_steps(parts[f"{x.name}_encoder"], x) for x in longer[:-1]]
    return keras.Model([*longer, state], zoo.unrolled(parts["fusion"], horizon)([*adapted, longer[-1], state]))


def _over_steps(encoder: keras.Model, x):
    """The encoder's one dense layer at all steps at once, in a model of its own, for the layers of all encoders are called alike."""
    steps = keras.Input(x.shape[1:])
    return keras.Model(steps, encoder.get_layer("embedding")(steps), name=f"{encoder.name}_over_steps")(x)


def feedback_loss(targets, predicted):
    """Cross-entropy at every decision + lambda KL(previous, stop-gradient, to current); both (batch, decisions, labels)."""
    predicted = keras.ops.clip(predicted, 1e-6, 1.0)
    entropy = -keras.ops.mean(keras.ops.sum(targets * keras.ops.log(predicted), axis=-1))
    before, now = keras.ops.stop_gradient(predicted[:, :-1]), predicted[:, 1:]
    if now.shape[1] == 0:
        return entropy
    return entropy + FEEDBACK_WEIGHT * keras.ops.mean(keras.ops.sum(before * (keras.ops.log(before) - keras.ops.log(now)), axis=-1))


def train_fusion(
    takes: collections.abc.Mapping[str, Takes], work: pathlib.Path, *, seed: int, scale: float, horizon: int = HORIZON, name: str = ""
) -> keras.Model:
    """The fusion stage; ``horizon`` 1 has it learn without feedback, the previous prediction always uniform."""
    keras.utils.set_random_seed(seed)
    whole = zoo.edu_emotionnet({modality: one.vectors.shape[1] for modality, one in takes.items()}, steps=STEPS, classes=len(LABELS))
    schedule = dataclasses.replace(FUSION, epochs=scaled(FUSION.epochs, scale))

    def make(rows: np.ndarray, rng: np.random.Generator) -> Batch:
        drawn = draw(
            takes, len(rows), STEPS + horizon - 1, rng, classes=len(LABELS), rate=None, pattern=None, switch_rate=0.4, stale_rate=0.15,
            young_rate=0.3, history=STEPS - 1,
        )  # fmt: skip
        inputs = {modality: (x * rng.normal(1.0, 0.1, x.shape)).astype(np.float32) for modality, x in drawn.inputs.items()}
        inputs |= {"mask": drawn.mask, "previous": np.full((len(rows), len(LABELS)), 1 / len(LABELS), np.float32)}
        return inputs, np.eye(len(LABELS), dtype=np.float32)[drawn.labels[:, STEPS - 1 :]]

    fit(
        unrolled(whole, horizon),
        make,
        rows=FUSION_DRAWS,
        schedule=schedule,
        loss=feedback_loss,
        name=f"{NAME}-fusion{name}-horizon{horizon}-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )
    return fusion_stage(whole)


def walk(runners: Runners, drawn: Companions, *, feedback: bool = True) -> tuple[dict[str, np.ndarray], Judged]:
    """Decide at every step of the sequences that has a whole window behind it, each decision feeding the next.

    Returns:
        all inputs of the fusion, (sequences times decisions, ...) in the order of the decisions, and what it said.
    """
    count, steps = drawn.labels.shape
    previous = np.full((count, len(LABELS)), 1 / len(LABELS), np.float32)
    rows: list[dict[str, np.ndarray]] = []
    logits = []
    for end in range(STEPS, steps + 1):
        window = slice(end - STEPS, end)
        rows.append({name: x[:, window] for name, x in drawn.inputs.items()} | {"mask": drawn.mask[:, window], "previous": previous})
        logits.append(runners["fusion"](rows[-1])["logits"])
        previous = softmax(logits[-1]) if feedback else previous
    inputs = {name: np.concatenate([row[name] for row in rows]).astype(np.float32) for name in rows[0]}
    return inputs, Judged(drawn.labels[:, STEPS - 1 :].T.ravel(), np.concatenate(logits))


def answer(runners: Runners, *, feedback: bool = True) -> fused.Answer:
    """Logits of every decision."""
    return lambda drawn: walk(runners, drawn, feedback=feedback)[1]


def judged_takes(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> dict[str, Takes]:
    """Encoder inputs of everybody who was left out."""
    faces, split = fused.scored_faces(data, seed)
    clips = fused.corpora_of(data)
    wearers = [recording.person for recording in physiology.recordings_of(data)]
    return _takes(
        faces,
        split,
        fused.unknown(clips.people, learnt["speech"], data, "speech"),
        fused.unknown(wearers, learnt["physiology"], data, "physiology"),
        data,
        seed,
    )


def _takes(
    faces: Faces, split: str, speakers: collections.abc.Sequence[str], wearers: collections.abc.Sequence[str], data: pathlib.Path, seed: int
) -> dict[str, Takes]:
    own = fused.corpora_of(data).of(list(speakers))
    return {
        "face": fused.face_takes(faces, split, label_of=QUADRANT_OF_FACE, versions=2, seed=seed),
        "speech": fused.speech_takes(own, own.labels, SpeechParameters()),
        "physiology": fused.physiology_takes(wearers, data),
    }


def judge(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> Score:
    """Read what was left out once; the score can then be asked of any runners."""
    takes = judged_takes(data, learnt=learnt, seed=seed)

    def score(runners: Runners) -> dict[str, Judged]:
        seen = fused.embedded(takes, runners)
        return fused.tasks(seen, answer(runners), classes=len(LABELS), steps=STEPS + DECISIONS - 1, seed=seed, count=SEQUENCES)

    return score


def encoders(data: pathlib.Path, work: pathlib.Path, *, seed: int, say: Say, scale: float) -> dict[str, keras.Model]:
    """The classroom's encoders, from ``work`` where they are trained already."""
    ways: dict[str, collections.abc.Callable[[], keras.Model]] = {
        "face": lambda: face.train(data, work, seed=seed, rounds=face.scaled_rounds(scale)),
        "speech": lambda: speech.train(data, work, seed=seed, schedule=_shorter(speech.SCHEDULE, scale)),
        "physiology": lambda: physiology.train(data, work, seed=seed, schedule=_shorter(physiology.SCHEDULE, scale)),
    }
    made = {}
    for name, train in ways.items():
        say(f"{name} encoder of the classroom")
        taught = train()
        made[name] = keras.Model(taught.input, {"embedding": taught.output["embedding"]}, name=name)
    return made


def _shorter(schedule: Schedule, scale: float) -> Schedule:
    return dataclasses.replace(schedule, epochs=scaled(schedule.epochs, scale))


def recipe(data: pathlib.Path, work: pathlib.Path, *, seed: int, say: Say, epochs_scale: float = 1.0) -> Trained:
    """Train the fusion on the classroom's encoders; about six minutes of one core once ``work`` holds those.

    Raises:
        InputError: a set is missing.
    """
    networks = encoders(data, work, seed=seed, say=say, scale=epochs_scale)
    spoken = speech.split_people(fused.corpora_of(data).people, seed)
    worn = physiology.split_people(seed)
    speakers = fused.lend(spoken.learn, spoken.fusion, lender="fusion")
    wearers = fused.lend(worn.learn, worn.fusion, lender="fusion")
    learnt = {"speech": speakers.all, "physiology": wearers.all}
    say("material for the fusion")
    _, held = face.split_training(data, seed)
    cut = len(held.labels) - min(fused.TEMPER_FACES, len(held.labels) // 2)
    raw = {
        "fusion": _takes(Faces(held.images[:cut], held.labels[:cut]), "held-fusion", speakers.fusion, wearers.fusion, data, seed),
        "temper": _takes(Faces(held.images[cut:], held.labels[cut:]), "held-temper", speakers.temper, wearers.temper, data, seed),
    }
    floats = fused.float_runners(networks)
    pools = fused.embedded(raw["fusion"], floats)
    judges = fused.embedded(judged_takes(data, learnt=learnt, seed=seed), floats)
    require_apart(pools, judges)
    say("fusion with feedback")
    whose = f"-{weights_digest(*networks.values())}"
    every = [train_fusion(pools, work, seed=seed + i, scale=epochs_scale, name=whose) for i in range(SEEDS)]
    networks["fusion"] = every[0]
    say("fusion without feedback, and split at random, for comparison")
    plain = train_fusion(pools, work, seed=seed, scale=epochs_scale, horizon=1, name=f"{whose}-without")
    known, rest = fused.halves(judges, seed)
    leaky = train_fusion(known, work, seed=seed, scale=epochs_scale, name=f"{whose}-random")

    def told(stage: keras.Model, takes: collections.abc.Mapping[str, Takes], feedback: bool, **options) -> Judged:
        rng = np.random.default_rng((seed, 0))
        drawn = draw(takes, SEQUENCES, STEPS + DECISIONS - 1, rng, classes=len(LABELS), **options)
        return answer(fused.float_runners({"fusion": stage}), feedback=feedback)(drawn)

    def inputs_of(group: str, count: int, runners: Runners) -> Companions:
        own = fused.embedded(raw[group], runners)
        rng = np.random.default_rng((seed, len(group), count))
        return draw(
            own, count // DECISIONS, STEPS + DECISIONS - 1, rng, classes=len(LABELS), rate=None, pattern=None, switch_rate=0.3,
            young_rate=0.2, history=STEPS - 1,
        )  # fmt: skip

    def windows_of(group: str, count: int) -> collections.abc.Callable[[Runners], dict[str, np.ndarray]]:
        stage = fused.float_runners({"fusion": every[0]})
        return lambda runners: walk({**runners, **stage}, inputs_of(group, count, runners))[0]

    ways: dict[str, dict[str, typing.Any]] = {
        "everything present": {},
        "one absent at every step": {"rate": 1.0, "pattern": "single"},
        "each absent with chance 0.5": {"rate": 0.5},
        "the label changes on the way": {"switch_rate": 1.0},
    }
    variants = [
        fused.figures(f"{what} feedback (TFL), float, {words}", told(stage, judges, feedback, **options))
        for words, options in ways.items()
        for what, stage, feedback in (("with", every[0], True), ("without", plain, False))
    ]
    return Trained(
        name=NAME,
        labels=LABELS,
        summary="Four affect quadrants from face, speech and physiology over two seconds, aligned with each other; each may be missing.",
        networks=networks,
        calibration={name: fused.rows_of(one, 600, name) for name, one in raw["fusion"].items()} | {"fusion": windows_of("fusion", 1000)},
        verification={name: fused.rows_of(one, 600, name) for name, one in raw["temper"].items()} | {"fusion": windows_of("temper", 1500)},
        preprocess={
            "face": dataclasses.asdict(FaceParameters()),
            "speech": dataclasses.asdict(SpeechParameters()),
            "physiology": dataclasses.asdict(physiology.PARAMETERS),
            "fusion": {"step_ms": STEP_MS, "steps": STEPS},
        },
        learnt_people=learnt,
        terms=terms("FER2013", "RAVDESS", "EmoDB", "Stress-Predict"),
        people=(
            "FER2013 (names no people): Training without duplicates for the encoder, 2 500 of it held back for fusion and temperature; "
            f"scored on {fused.SCORED_FACES} pictures of PublicTest",
            f"RAVDESS and EmoDB by speaker: {len(speakers.learn)} for the encoder, {len(speakers.fusion)} for the fusion, "
            f"{len(speakers.temper)} for the temperature; scored on the others",
            f"Stress-Predict by person: {len(wearers.learn)} for the encoder, {len(wearers.fusion)} for the fusion, {len(wearers.temper)} "
            "for the temperature; scored on the others",
        ),
        paper=PAPER,
        score=judge(data, learnt=learnt, seed=seed),
        temper=lambda runners: answer(runners)(inputs_of("temper", 1500, runners)),
        seed=seed,
        baselines=(
            *fused.linear_rows(pools, judges, classes=len(LABELS), steps=STEPS, seed=seed),
            *variants,
        ),
        other_splits=(
            fused.figures(
                "fusion learnt and scored on other pictures, clips and minutes of the same people, split at random", told(leaky, rest, True)
            ),
        ),
        spread=(
            fused.spread("the fusion over seeds, encoders shared, float, everything present", [told(one, judges, True) for one in every]),
        ),
        notes=(
            "Constructed companions: a picture of FER2013, a clip of RAVDESS or EmoDB, and a minute of Stress-Predict of different people. "
            "calm and low go with rest, tense with stress, positive with either.",
            "The paper's encoders (Wav2Vec2, ResNet, BERT) do not fit the device: the classroom's stand in, and there is no text.",
            "Its classes are not in any set at hand, so its figures and ours are not of the same task.",
        ),
        epochs_scale=epochs_scale,
        lstm_form="fused",
    )
