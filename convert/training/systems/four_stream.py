"""Recipe of ``four_stream`` (Zhang & Leong, EJMSTE 2025): face and body signals, the four quadrants.

Of the paper's four streams two have data at hand and a front in the kit: the face, and heart rate with skin conductance response.
Behaviour and interface are absent: masked while the fusion learns, and left out of the bundle's network, which computes the same.
Loss as printed: cross-entropy + L2.

*Interpretation*: the face comes in at 48 px, not 256. FER2013's pictures have 48 px, so a larger input would hold nothing new at 45
times the work; the compact branch pools over space, so its weights are the same 0.29 M at either size. The branch as printed is built
to tell its size, not trained: its first dense layer alone outweighs the pictures. The quadrants stand for the classes of
DAiSEE, which is not at hand.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib

import keras
import numpy as np
from keras import layers

from convert.training import face, physiology
from convert.training.datasets.fer2013 import Faces
from convert.training.datasets.speech import LABELS
from convert.training.fit import Batch, Schedule, fit, fit_in_bfloat16, weights_digest
from convert.training.material import QUADRANT_OF_FACE
from convert.training.systems import fused
from convert.training.systems.companions import Companions, Takes, draw, require_apart
from convert.training.systems.system import Judged, Paper, Runners, Say, Score, Trained, renamed, scaled, terms
from convert.zoo import blocks
from convert.zoo import four_stream as zoo
from edge.preprocess.face import FaceParameters
from edge.preprocess.physiology import CHANNELS

NAME = "four_stream"
PRESENT = ("face", "physiology")
"""Streams that have data and a front; the first of ``zoo.STREAMS``."""
SIZE_PX = 48
USED = ("heart_rate", "phasic")
"""Channels of the front's window that the paper's branch takes: heart rate and skin conductance response."""
FACE_WIDTH, BODY_WIDTH = 256, 128
FRAMES = Schedule(epochs=12, batch=128, learning_rate=2e-3, weight_decay=1e-4)
BODY = Schedule(epochs=6, batch=64, learning_rate=1e-3, weight_decay=1e-3, ema_momentum=0.99)
FUSION = Schedule(epochs=8, batch=128, learning_rate=2e-3, weight_decay=2e-2)
BODY_DRAWS, FUSION_DRAWS = 4096, 8192
SEEDS = 3
PAPER = Paper(
    "Zhang & Leong, Intelligent emotional computing with deep convolutional neural networks, EJMSTE 21 (8), em2680, 2025",
    "accuracy 85.3 % (its own classes, all four streams)",
    "DAiSEE, Affective MOOC and classroom trials; how people were split is not known here",
)


def body_stage(encoder: keras.Model, channels: int) -> keras.Model:
    """``physiology`` (60, channels) as the front gives it -> what ``encoder`` makes of ``USED``."""
    whole = keras.Input((encoder.input_shape[1], channels), name="physiology")
    by_channel = layers.Permute((2, 1))(whole)
    rows = [layers.Cropping1D((i, channels - 1 - i))(by_channel) for i in map(CHANNELS.index, USED)]
    return keras.Model(whole, encoder(layers.Permute((2, 1))(layers.Concatenate(axis=1)(rows))), name="physiology")


def fusion_stage(four: keras.Model) -> keras.Model:
    """The trained fusion of four streams with ``PRESENT`` alone: ``mask`` (2,), no input for what has no front.

    An absent stream adds its weight, at most e^-8 of the least, times 0: to leave it out changes nothing more than that.
    """
    widths = dict(zip(PRESENT, (FACE_WIDTH, BODY_WIDTH), strict=True))
    width = four.get_layer(f"project_{PRESENT[0]}").units
    two = blocks.attention_fusion(widths, four.get_layer("logits").units, width=width, dropout=0.0)
    for name in (*(f"{part}_{stream}" for stream in PRESENT for part in ("project", "score")), "logits"):
        two.get_layer(name).set_weights(four.get_layer(name).get_weights())
    return renamed(two, outputs=["logits", "weights"], name="fusion")


def fusion_inputs(drawn: Companions) -> dict[str, np.ndarray]:
    """One step of ``PRESENT`` and its mask."""
    return {name: values[:, -1] for name, values in drawn.inputs.items()} | {"mask": drawn.mask[:, -1]}


def answer(runners: Runners) -> fused.Answer:
    """Logits of the only step."""
    return lambda drawn: Judged(drawn.labels[:, -1], runners["fusion"](fusion_inputs(drawn))["logits"])


def _headed(encoder: keras.Model, classes: int) -> keras.Model:
    # In float32 even where the rest is trained in bfloat16: probabilities near 0 and 1 need the digits.
    answer = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(encoder.output)
    return keras.Model(encoder.input, {"probabilities": answer, "embedding": encoder.output})


def _face() -> keras.Model:
    return _headed(zoo.face_encoder(image=(SIZE_PX, SIZE_PX, 1), compact=True), len(LABELS))


def train_frames(learn: Faces, check: Faces, work: pathlib.Path, *, seed: int, scale: float) -> keras.Model:
    """The compact face branch, taught on quadrants."""
    schedule = dataclasses.replace(FRAMES, epochs=scaled(FRAMES.epochs, scale))
    targets = np.eye(len(LABELS), dtype=np.float32)
    model = fit_in_bfloat16(
        _face,
        lambda rows, rng: (face.augment(learn.images[rows], rng), targets[QUADRANT_OF_FACE[learn.labels[rows]]]),
        rows=len(learn.labels),
        schedule=schedule,
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy"],
        validation=(face.normalize(check.images), targets[QUADRANT_OF_FACE[check.labels]]),
        name=f"{NAME}-face-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )
    return renamed(model, outputs=["embedding"], name="face")


def train_body(takes: Takes, work: pathlib.Path, *, seed: int, scale: float, name: str = "") -> keras.Model:
    """The physiology branch, taught on rest and stress, evenly over people."""
    keras.utils.set_random_seed(seed)
    schedule = dataclasses.replace(BODY, epochs=scaled(BODY.epochs, scale))
    _, steps, channels = takes.vectors.shape
    stage = body_stage(zoo.physiology_encoder(steps=steps, channels=len(USED)), channels)
    windows = physiology.Windows(takes.vectors, takes.labels, takes.people)
    targets = np.eye(2, dtype=np.float32)

    def make(rows: np.ndarray, rng: np.random.Generator) -> Batch:
        chosen = physiology.even_rows(windows, rng, len(rows))
        return physiology.augment(windows.samples[chosen], rng), targets[windows.labels[chosen]]

    fit(
        keras.Model(stage.input, layers.Dense(2, activation="softmax")(layers.Dropout(0.5)(stage.output))),
        make,
        rows=BODY_DRAWS,
        schedule=schedule,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
        name=f"{NAME}-physiology{name}-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )
    return _named(stage)


def _named(stage: keras.Model) -> keras.Model:
    return keras.Model(stage.input, {"embedding": stage.output}, name="physiology")


def train_fusion(takes: collections.abc.Mapping[str, Takes], work: pathlib.Path, *, seed: int, scale: float, name: str = "") -> keras.Model:
    """The fusion of four streams, two of them always masked, taught on companions with modalities missing; see ``fusion_stage``."""
    keras.utils.set_random_seed(seed)
    four = zoo.fusion(widths=(FACE_WIDTH, BODY_WIDTH, 128, 128), classes=len(LABELS))
    schedule = dataclasses.replace(FUSION, epochs=scaled(FUSION.epochs, scale))
    targets = np.eye(len(LABELS), dtype=np.float32)

    def make(rows: np.ndarray, rng: np.random.Generator) -> Batch:
        drawn = draw(takes, len(rows), 1, rng, classes=len(LABELS), rate=None, pattern=None)
        given = fusion_inputs(drawn)
        inputs = {stream: np.zeros((len(rows), 128), np.float32) for stream in zoo.STREAMS}
        for stream in PRESENT:
            inputs[stream] = (given[stream] * rng.normal(1.0, 0.1, given[stream].shape)).astype(np.float32)
        inputs["mask"] = np.pad(given["mask"], ((0, 0), (0, len(zoo.STREAMS) - len(PRESENT))))
        return inputs, targets[drawn.labels[:, -1]]

    fit(
        keras.Model(four.input, four.output["probabilities"]),
        make,
        rows=FUSION_DRAWS,
        schedule=schedule,
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy"],
        name=f"{NAME}-fusion{name}-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )
    return fusion_stage(four)


def judged_takes(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> dict[str, Takes]:
    """Encoder inputs of everybody who was left out."""
    faces, split = fused.scored_faces(data, seed)
    wearers = [recording.person for recording in physiology.recordings_of(data)]
    left = fused.unknown(wearers, learnt["physiology"], data, "physiology")
    return {
        "face": fused.face_takes(faces, split, label_of=QUADRANT_OF_FACE, seed=seed),
        "physiology": fused.physiology_takes(left, data),
    }


def judge(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> Score:
    """Read what was left out once; the score can then be asked of any runners."""
    takes = judged_takes(data, learnt=learnt, seed=seed)
    faces, split = fused.scored_faces(data, seed)
    worse = fused.spoilt_faces(faces, split, label_of=QUADRANT_OF_FACE, seed=seed)

    def score(runners: Runners) -> dict[str, Judged]:
        seen = fused.embedded(takes, runners)
        judged = fused.tasks(seen, answer(runners), classes=len(LABELS), steps=1, seed=seed)
        for words, one in worse.items():
            bad = fused.embedded({"face": one}, runners)
            drawn = draw(seen | bad, fused.COMPANIONS, 1, np.random.default_rng((seed, 99)), classes=len(LABELS))
            judged[f"{words}, everything present"] = answer(runners)(drawn)
        return judged

    return score


def printed_size() -> tuple[int, int]:
    """Weights of the face branch as the paper prints it and of the compact one at the paper's 256 px; one byte each in int8."""
    return zoo.face_encoder().count_params(), zoo.face_encoder(compact=True).count_params()


def recipe(data: pathlib.Path, work: pathlib.Path, *, seed: int, say: Say, epochs_scale: float = 1.0) -> Trained:
    """Train encoders and fusion; about eight minutes of one core.

    Raises:
        InputError: a set is missing.
    """
    split = physiology.split_people(seed)
    people = fused.lend(split.learn, split.fusion, lender="learn", count=2)
    learn_faces, held = face.split_training(data, seed)
    cut = len(held.labels) - min(fused.TEMPER_FACES, len(held.labels) // 2)
    pictures = {
        "fusion": Faces(held.images[:cut], held.labels[:cut]),
        "temper": Faces(held.images[cut:], held.labels[cut:]),
    }
    say("face branch")
    networks = {"face": train_frames(learn_faces, pictures["temper"], work, seed=seed, scale=epochs_scale)}
    say("windows of body signals")
    taught = fused.physiology_takes(people.learn, data)
    say("physiology branch")
    networks["physiology"] = train_body(taught, work, seed=seed, scale=epochs_scale)
    say("material for the fusion")
    raw = {
        group: {
            "face": fused.face_takes(pictures[group], f"held-{group}", label_of=QUADRANT_OF_FACE),
            "physiology": fused.physiology_takes(wearers, data),
        }
        for group, wearers in (("fusion", people.fusion), ("temper", people.temper))
    }
    learnt = {"physiology": people.all}
    floats = fused.float_runners(networks)
    unseen = judged_takes(data, learnt=learnt, seed=seed)
    pools, judges = fused.embedded(raw["fusion"], floats), fused.embedded(unseen, floats)
    require_apart(pools, judges)
    say("fusion")
    told = f"-{weights_digest(*networks.values())}"
    every = [train_fusion(pools, work, seed=seed + i, scale=epochs_scale, name=told) for i in range(SEEDS)]
    networks["fusion"] = every[0]
    asked = draw(judges, fused.COMPANIONS, 1, np.random.default_rng((seed, 0)), classes=len(LABELS))
    runs = [answer(fused.float_runners({"fusion": one}))(asked) for one in every]
    say("the same split at random, for comparison")
    random = _split_at_random(taught, unseen["physiology"], pools, judges, networks["face"], work, seed=seed, scale=epochs_scale)

    def inputs_of(group: str, count: int, runners: Runners) -> Companions:
        own = fused.embedded(raw[group], runners)
        rng = np.random.default_rng((seed, len(group), count))
        return draw(own, count, 1, rng, classes=len(LABELS), rate=None, pattern=None)

    as_printed, compact = printed_size()
    return Trained(
        name=NAME,
        labels=LABELS,
        summary="Four affect quadrants from a face and from heart rate with skin conductance response, either of which may be missing.",
        networks=networks,
        calibration={name: fused.rows_of(one, 600, name) for name, one in raw["fusion"].items()}
        | {"fusion": lambda runners: fusion_inputs(inputs_of("fusion", 1000, runners))},
        verification={name: fused.rows_of(one, 600, name) for name, one in raw["temper"].items()}
        | {"fusion": lambda runners: fusion_inputs(inputs_of("temper", 1500, runners))},
        preprocess={"face": dataclasses.asdict(FaceParameters()), "physiology": dataclasses.asdict(physiology.PARAMETERS)},
        learnt_people=learnt,
        terms=terms("FER2013", "Stress-Predict"),
        people=(
            "FER2013 (names no people): Training without duplicates for the encoder, 2 500 of it held back for fusion and temperature; "
            f"scored on {fused.SCORED_FACES} pictures of PublicTest",
            f"Stress-Predict by person: {len(people.learn)} for the encoder, {len(people.fusion)} for the fusion, {len(people.temper)} for "
            "the temperature; scored on the others",
        ),
        paper=PAPER,
        score=judge(data, learnt=learnt, seed=seed),
        temper=lambda runners: answer(runners)(inputs_of("temper", 1500, runners)),
        seed=seed,
        baselines=fused.linear_rows(pools, judges, classes=len(LABELS), steps=1, seed=seed),
        other_splits=(fused.figures("windows of body signals split at random, so that everybody both teaches and is scored", random),),
        spread=(fused.spread("the fusion over seeds, encoders shared, float, everything present", runs),),
        notes=(
            "Constructed companions: a picture of FER2013 and a window of Stress-Predict of different people. calm and low go with rest, "
            "tense with stress, positive with either, so that body signals alone could at best name half of all.",
            "Behaviour and interface, two of the paper's four streams, have no data at hand: masked in training, left out of the bundle.",
            f"The face branch as the paper prints it, for 256 x 256, has {as_printed / 1e6:.1f} M weights, {as_printed / 1e6:.0f} MB in "
            f"int8: built, not trained. The compact one, trained at {SIZE_PX} x {SIZE_PX} for that is what FER2013 holds, has "
            f"{compact / 1e6:.2f} M at either size.",
        ),
        epochs_scale=epochs_scale,
        lstm_form="fused",
    )


def _split_at_random(
    taught: Takes,
    unseen: Takes,
    pools: collections.abc.Mapping[str, Takes],
    judges: collections.abc.Mapping[str, Takes],
    face_encoder: keras.Model,
    work: pathlib.Path,
    *,
    seed: int,
    scale: float,
) -> Judged:
    """What the way of splitting is worth: encoder, fusion and score get windows of the same people, overlapping as they come."""
    every = Takes(
        np.concatenate([taught.vectors, unseen.vectors]),
        np.concatenate([taught.labels, unseen.labels]),
        np.concatenate([taught.people, unseen.people]),
        np.arange(len(taught.labels) + len(unseen.labels)),
        unseen.chances,
    )
    order = np.random.default_rng(seed).permutation(len(every.labels))
    learn, held, scored = (every.of(rows) for rows in np.split(order, [len(order) * 7 // 10, len(order) * 17 // 20]))
    body = train_body(learn, work, seed=seed, scale=scale, name="-random")
    floats = fused.float_runners({"physiology": body})
    known, rest = (fused.embedded({"physiology": one}, floats) for one in (held, scored))
    told = f"-{weights_digest(face_encoder, body)}-random"
    fusion = train_fusion({"face": pools["face"]} | known, work, seed=seed, scale=scale, name=told)
    asked = draw({"face": judges["face"]} | rest, fused.COMPANIONS, 1, np.random.default_rng((seed, 0)), classes=len(LABELS))
    return answer(fused.float_runners({"fusion": fusion}))(asked)
