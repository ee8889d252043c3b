"""Recipe of ``cnn_rnn`` for speech: a MobileNetV2-style backbone over log-mel, a GRU with temporal attention over its steps. EmoDB.

*Interpretation*: the source is a review, so the sizes are ours: MobileNetV2's table with one block a row. The loss is focal (Lin et al.,
2017, gamma = 2), the classes are drawn evenly. The RNN looks at steps within one window of three seconds, so it lies in the encoder,
and what is left for ``fusion`` is the last layer. A CNN alone (mean over time) and an RNN alone (a GRU over log-mel, ten frames a step)
are trained beside it, and all of it again under a split at random by clip.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import hashlib
import pathlib
import typing

import keras
import numpy as np
from keras import layers

from convert.evaluation import baselines
from convert.training.datasets.speech import EMODB_EMOTIONS, Clips, emodb
from convert.training.fit import Schedule, fit
from convert.training.material import Material
from convert.training.speech import colour, mask
from convert.training.speech_forms import Heard, kept_forms, kept_last_windows, last_windows
from convert.training.systems import frames
from convert.training.systems.cnn_rnn import PAPER, focal
from convert.training.systems.system import Figures, Judged, Runners, Say, Score, Trained, keras_runner, scaled, terms
from convert.zoo import blocks, cnn_rnn
from convert.zoo.cnn_rnn import Recurrent, Row
from edge.errors import InputError
from edge.preprocess.speech import SpeechParameters, window_samples

TABLE = (Row(1, 16, 1, 1), Row(6, 24, 1, 2), Row(6, 32, 1, 2), Row(6, 64, 1, 2), Row(6, 96, 1, 1))
WIDTH = 0.5
LAST = 48
UNITS = 48
SCHEDULE = Schedule(epochs=40, batch=32, learning_rate=3e-3, weight_decay=2e-2, warmup_epochs=2)
DRAWS_PER_CLIP = 3
"""Training windows an epoch, for each clip: with one, weights hardly left where they began, and rounding them to int8 changed answers."""
SETTLING = 16
"""Batches that the statistics of batch normalization are measured on after training."""
CHUNK = 10
"""Log-mel frames that make one step of the RNN alone."""
CLASSES = EMODB_EMOTIONS
Kind = typing.Literal["cnn_rnn", "cnn", "rnn"]
RUNS: dict[Kind, int] = {"cnn_rnn": 3, "cnn": 1, "rnn": 3}
"""How many seeds, each with another split by speaker; a trial of fewer epochs takes one of each."""
KINDS: dict[Kind, str] = {
    "cnn_rnn": "CNN, GRU and temporal attention",
    "cnn": "CNN only: mean over time",
    "rnn": "RNN only: GRU over log-mel",
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of the clips: fitted on, for the temperature, scored."""

    learn: np.ndarray
    temper: np.ndarray
    score: np.ndarray


def by_speaker(clips: Clips, seed: int) -> Split:
    """A quarter of the speakers scored (at least one), an eighth for the temperature (at least one), the others learnt from."""
    names = sorted(set(map(str, clips.people)))
    if len(names) < 3:
        raise InputError(f"EmoDB: {len(names)} speakers, and a split by speaker needs at least 3")
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    scored, temper = max(1, round(len(names) / 4)), max(1, round(len(names) / 8))
    parts = order[scored + temper :], order[scored : scored + temper], order[:scored]
    return Split(*(np.flatnonzero(np.isin(clips.people, part)) for part in parts))


def by_clip(clips: Clips, like: Split, seed: int) -> Split:
    """As many clips in each part as in ``like``, but drawn at random: a speaker is in all of them."""
    order = np.random.default_rng((seed, 1)).permutation(len(clips))
    first, second = len(like.learn), len(like.learn) + len(like.temper)
    return Split(np.sort(order[:first]), np.sort(order[first:second]), np.sort(order[second:]))


def network(kind: Kind = "cnn_rnn") -> keras.Model:
    """``log_mel`` (300, 40) -> ``logits``, ``probabilities`` (7,); its stage ``sequence_head`` has the RNN."""
    if kind != "rnn":
        recurrent: Recurrent = "gru" if kind == "cnn_rnn" else "none"
        return cnn_rnn.cnn_rnn_speech(
            table=TABLE, width=WIDTH, last=LAST, units=UNITS, recurrent=recurrent, attention=kind == "cnn_rnn", classes=len(CLASSES)
        )
    log_mel = keras.Input((300, 40), name="log_mel")
    chunks = layers.Reshape((300 // CHUNK, CHUNK * 40))(log_mel)
    head = cnn_rnn.sequence_head(steps=300 // CHUNK, features=CHUNK * 40, units=UNITS, attention=False, classes=len(CLASSES))
    return keras.Model(log_mel, head(chunks), name="rnn_only")


def train(
    kind: Kind, clips: Clips, forms: collections.abc.Sequence[collections.abc.Sequence[Heard]], rows: np.ndarray, *,
    schedule: Schedule, work: pathlib.Path, seed: int,
) -> keras.Model:  # fmt: skip
    """A network of ``kind``, fitted on windows of these clips that are drawn evenly over the classes."""
    parameters = SpeechParameters()
    labels = _labels(clips)
    usable = [row for row in rows if forms[row]]
    pools = [np.array([row for row in usable if labels[row] == label]) for label in sorted(set(labels[usable]))]

    def draw(row: int, rng: np.random.Generator) -> np.ndarray:
        heard = forms[row][int(rng.integers(len(forms[row])))]
        ends = heard.ends(parameters)
        end = int(ends[np.max(rng.integers(len(ends), size=3))])
        first = max(int(heard.starts[end]), end + 1 - parameters.frames)
        return mask(window_samples(colour(heard.log_mel[first : end + 1].astype(np.float32), rng), parameters), rng)

    def make(batch: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = [int(rng.choice(pools[pool])) for pool in rng.integers(len(pools), size=len(batch))]
        return np.stack([draw(row, rng) for row in chosen]), keras.utils.to_categorical(labels[chosen], len(CLASSES))

    told = repr((kind, [str(clips.people[row]) for row in rows], list(map(int, rows)), DRAWS_PER_CLIP, dataclasses.asdict(schedule)))
    keras.utils.set_random_seed(seed)
    model = network(kind)
    answering = keras.Model(model.input, model.output["probabilities"])
    name = f"cnn_rnn_speech-{kind}-seed{seed}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    fit(answering, make, rows=DRAWS_PER_CLIP * len(rows), schedule=schedule, loss=focal(), name=name, work=work, seed=seed)
    rng = np.random.default_rng((seed, len(rows)))
    settle(model, (make(rows[: schedule.batch], rng)[0] for _ in range(SETTLING)))
    return model


def settle(model: keras.Model, batches: collections.abc.Iterable[np.ndarray]) -> None:
    """Measure the statistics of batch normalization anew, as their mean over ``batches``.

    A set so small gives too few steps for the running averages: after 160 steps a fifth of them is still what they began with.
    """
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]
    if not norms:
        return
    for count, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = count / (count + 1)
        model(batch, training=True)


def staged(model: keras.Model) -> dict[str, keras.Model]:
    """The trained network as the stages of a bundle: ``speech`` up to what the last layer sees, and the last layer as ``fusion``."""
    inner = blocks.stages(model)
    head = inner["sequence_head"]
    last = head.get_layer("logits")
    upto = keras.Model(head.input, last.input)
    log_mel = keras.Input(model.input_shape[1:], name="log_mel")
    encoder = keras.Model(log_mel, {"embedding": upto(inner["speech_encoder"](log_mel))}, name="speech")
    embedding = keras.Input(last.input.shape[1:], name="speech")
    return {"speech": encoder, "fusion": keras.Model(embedding, {"logits": last(embedding)}, name="fusion")}


def judge(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> Score:
    """As ``convert.training.systems.system`` says: speakers of EmoDB, a clip judged by the last window that the front gives for it."""
    clips = emodb(data)
    unknown = clips.rows(np.flatnonzero(~np.isin(clips.people, list(learnt.get("speech", ())))))
    if not len(unknown):
        raise InputError("EmoDB: nobody in it was left out of training; bring people the bundle has not seen")
    return functools.partial(_score, last_windows(unknown, SpeechParameters()), _labels(unknown), unknown.people)


def _labels(clips: Clips) -> np.ndarray:
    return np.array([CLASSES.index(str(emotion)) for emotion in clips.emotions])


def _judged(windows: np.ndarray, labels: np.ndarray, people: np.ndarray, runners: Runners) -> Judged:
    embedding = runners["speech"]({"log_mel": windows})["embedding"]
    return Judged(labels, runners["fusion"]({"speech": embedding})["logits"], people)


def _score(windows: np.ndarray, labels: np.ndarray, people: np.ndarray, runners: Runners) -> dict[str, Judged]:
    return {"EmoDB, seven classes, by speaker": _judged(windows, labels, people, runners)}


def recipe(data: pathlib.Path, work: pathlib.Path, *, seed: int, say: Say, epochs_scale: float = 1.0) -> Trained:
    """Train what ``work`` does not hold yet; on one core about twenty minutes."""
    clips = emodb(data)
    forms = kept_forms(clips, SpeechParameters(), work, say=say)
    schedule = dataclasses.replace(SCHEDULE, epochs=scaled(SCHEDULE.epochs, epochs_scale))
    windows, labels, people = kept_last_windows(clips, SpeechParameters(), work), _labels(clips), clips.people

    def measured(kind: Kind, split: Split, run: int, what: str) -> tuple[keras.Model, Figures]:
        say(f"{KINDS[kind]}, {what}, seed {run}, {schedule.epochs} epochs")
        model = train(kind, clips, forms, split.learn, schedule=schedule, work=work, seed=run)
        logits = keras_runner(model)({"log_mel": windows[split.score]})["logits"]
        row = frames.figures(f"{KINDS[kind]}, {what}", Judged(labels[split.score], logits))
        frames.announce(say, row.what, row)
        return model, row

    main, first = measured("cnn_rnn", by_speaker(clips, seed), seed, "by speaker")
    rows: dict[Kind, list[Figures]] = {
        kind: [
            first if (kind, run) == ("cnn_rnn", seed) else measured(kind, by_speaker(clips, run), run, "by speaker")[1]
            for run in range(seed, seed + (runs if epochs_scale >= 1.0 else 1))
        ]
        for kind, runs in RUNS.items()
    }
    split = by_speaker(clips, seed)
    _, random = measured("cnn_rnn", by_clip(clips, split, seed), seed, "at random by clip")
    learnt = sorted({str(name) for name in people[np.concatenate([split.learn, split.temper])]})
    held = windows[split.temper], labels[split.temper], people[split.temper]
    rng = np.random.default_rng(seed)
    parameters = SpeechParameters()
    calibration = np.concatenate([windows[split.learn], _drawn(forms, split.learn, parameters, rng)])
    return Trained(
        name="cnn_rnn_speech",
        labels=CLASSES,
        summary="Seven emotions of acted German speech from three seconds of log-mel: a MobileNetV2-style CNN, a GRU with temporal "
        "attention over its steps.",
        networks=staged(main),
        calibration={
            "speech": {"log_mel": calibration},
            "fusion": functools.partial(_embedded, calibration),
        },
        verification={
            "speech": {"log_mel": windows[split.score]},
            "fusion": functools.partial(_embedded, windows[split.score]),
        },
        preprocess={"speech": dataclasses.asdict(parameters)},
        learnt_people={"speech": learnt},
        terms=terms("EmoDB"),
        people=(
            f"EmoDB, {len(set(map(str, people)))} speakers at hand: split by speaker, {len(set(people[split.learn]))} to learn from, "
            f"{len(set(people[split.temper]))} for the temperature, {len(set(people[split.score]))} scored. A clip is judged by the "
            "last window that the device's front gives for it.",
        ),
        paper=PAPER,
        score=functools.partial(_score, windows[split.score], labels[split.score], people[split.score]),
        temper=functools.partial(_judged, *held),
        seed=seed,
        baselines=(_linear(windows, labels, people, split), *(_mean(rows[kind]) for kind in ("cnn", "rnn"))),
        other_splits=(_mean([random]),),
        spread=(_mean(rows["cnn_rnn"]),) if len(rows["cnn_rnn"]) > 1 else (),
        notes=(
            "The source is a review: all sizes are ours, one block a row of MobileNetV2's table, focal loss, classes drawn evenly.",
            "The recurrent steps lie within one window of three seconds; nothing is remembered from one window to the next.",
            "Ten actors of one language, of whom eight are at hand, speaking ten fixed sentences: other languages, ages and real talk "
            "are not measured.",
        ),
        epochs_scale=epochs_scale,
    )


def _embedded(windows: np.ndarray, runners: Runners) -> dict[str, np.ndarray]:
    return {"speech": runners["speech"]({"log_mel": windows})["embedding"]}


def _drawn(
    forms: collections.abc.Sequence[collections.abc.Sequence[Heard]],
    rows: np.ndarray,
    parameters: SpeechParameters,
    rng: np.random.Generator,
) -> np.ndarray:
    """A window of each clip in some form, ended anywhere: what calibration sees beside the last windows."""
    made = []
    for row in rows:
        if not forms[row]:
            continue
        heard = forms[row][int(rng.integers(len(forms[row])))]
        end = int(rng.choice(heard.ends(parameters)))
        first = max(int(heard.starts[end]), end + 1 - parameters.frames)
        made.append(window_samples(heard.log_mel[first : end + 1].astype(np.float32), parameters))
    return np.stack(made)


def _linear(windows: np.ndarray, labels: np.ndarray, people: np.ndarray, split: Split) -> Figures:
    learn, score = (
        Material("speech", "seven emotions", CLASSES, windows[rows], labels[rows], people[rows]) for rows in (split.learn, split.score)
    )
    judged = Judged(score.labels, baselines.linear(learn, score))
    return frames.figures("linear discriminant analysis on mean, deviation and slope of each band, by speaker", judged)


def _mean(rows: collections.abc.Sequence[Figures]) -> Figures:
    """Mean over runs; the deviation is that of the UAR."""
    uars = [row.uar for row in rows]
    accuracy = float(np.mean([row.accuracy for row in rows]))
    spread = float(np.std(uars)) if len(rows) > 1 else None
    samples = int(np.sum([row.samples for row in rows]))
    return Figures(f"{rows[0].what}, float", accuracy, float(np.mean(uars)), samples, len(rows), spread)
