"""Recipe of the physiology encoder: Stress-Predict, rest and stress, split by person.

Every recording begins with ten minutes of rest, so a network could learn the time since the start. Fronts are therefore
started anywhere in the hour, in training and in scoring, and scores from the start and from restarts are kept apart.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import pathlib

import keras
import numpy as np

from convert.training.datasets.stress_predict import LABELLED_PEOPLE, Recording, stress_predict
from convert.training.fit import Schedule, fit
from convert.zoo.physiology import PHYSIOLOGY_CLASSES, physiology_encoder
from edge.preprocess.eda import SkinTracker
from edge.preprocess.physiology import (
    CHANNELS,
    PULSE_CHANNELS,
    PULSE_VALID,
    SKIN_CHANNELS,
    SKIN_VALID,
    PhysiologyParameters,
    Readiness,
    StepMaker,
)
from edge.preprocess.ppg import PulseTracker

SCHEDULE = Schedule(epochs=8, batch=64, learning_rate=2e-3, weight_decay=2e-2, ema_momentum=0.99)
DRAWS_PER_EPOCH = 4096
"""Training windows an epoch, drawn evenly over people and over rest and stress."""
STARTS = 5
"""Random starts per person in training, beside the start of the recording."""
RESTART_S = 480
"""Scoring restarts the front so often; a baseline is then seldom learnt in rest alone."""
EVERY_S = 5
"""Seconds between the windows taken from a walk."""


@dataclasses.dataclass(frozen=True)
class People:
    """People who share no one: the encoder's, the fusion's, and those all numbers are measured on."""

    learn: tuple[int, ...]
    fusion: tuple[int, ...]
    validation: tuple[int, ...]


def split_people(seed: int, people: tuple[int, ...] = LABELLED_PEOPLE) -> People:
    """About 70, 15 and 15 % of ``people``, by ``seed`` alone."""
    order = [people[i] for i in np.random.default_rng(seed).permutation(len(people))]
    held = max(1, round(0.15 * len(people)))
    return People(*(tuple(sorted(part)) for part in (order[2 * held :], order[:held], order[held : 2 * held])))


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """What a front that was started once makes of a person, a row a second."""

    person: int
    steps: np.ndarray
    """float32 (seconds, channels)."""
    labels: np.ndarray
    """int8 (seconds,): 1 stress, 0 rest, -1 unknown."""
    given: np.ndarray
    """bool (seconds,): whether the front gives a window here."""


def walk(recording: Recording, parameters: PhysiologyParameters, first_s: int = 0, last_s: int | None = None) -> Walk:
    """Start a front ``first_s`` into the recording; ``PhysiologyFront`` fed with chunks makes the same steps."""
    last_s = len(recording.labels) if last_s is None else min(last_s, len(recording.labels))
    pulse, skin = PulseTracker(parameters.pulse), SkinTracker(parameters.skin)
    for tracker, rate_hz, samples in ((pulse, recording.ppg_rate_hz, recording.ppg), (skin, recording.eda_rate_hz, recording.eda)):
        tracker.push(0, rate_hz, samples[round(first_s * rate_hz) : round(last_s * rate_hz)])
    maker, readiness = StepMaker(parameters), Readiness(parameters)
    pulse_at, skin_at = {at.t_s: at for at in pulse.seconds}, {at.t_s: at for at in skin.seconds}
    steps, given = [], []
    for t_s in range(1, min(pulse.passed_s, skin.passed_s) + 1):
        step = maker.step(pulse_at.get(t_s), skin_at.get(t_s))
        readiness.learn(step, pulse_at.get(t_s))
        steps.append(step)
        given.append(bool(step[SKIN_VALID]) and readiness.absence() is None)
    return Walk(recording.person, np.stack(steps), recording.labels[first_s : first_s + len(steps)], np.array(given))


def walks_from_start(recordings: collections.abc.Sequence[Recording], parameters: PhysiologyParameters) -> list[Walk]:
    """One walk through each whole recording."""
    return [walk(recording, parameters) for recording in recordings]


def walks_restarted(recordings: collections.abc.Sequence[Recording], parameters: PhysiologyParameters) -> list[Walk]:
    """A front started anew every ``RESTART_S``: all seconds of every recording, none with a long past."""
    return [
        walk(recording, parameters, first_s, first_s + RESTART_S)
        for recording in recordings
        for first_s in range(0, len(recording.labels) - RESTART_S // 4, RESTART_S)
    ]


def walks_for_training(recordings: collections.abc.Sequence[Recording], parameters: PhysiologyParameters, seed: int) -> list[Walk]:
    """From the start, and from ``STARTS`` random seconds on, to the end or for some minutes."""
    walks = walks_from_start(recordings, parameters)
    for recording in recordings:
        rng = np.random.default_rng((seed, recording.person))
        for first_s in rng.integers(0, len(recording.labels) - 300, STARTS):
            walks.append(walk(recording, parameters, int(first_s), int(first_s + rng.integers(300, 1800))))
    return walks


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Encoder inputs float32 (n, 60, channels), ``labels`` (n,) 0 rest and 1 stress, ``people`` (n,)."""

    samples: np.ndarray
    labels: np.ndarray
    people: np.ndarray


def windows_of(walks: collections.abc.Sequence[Walk], parameters: PhysiologyParameters, *, every_s: int = EVERY_S) -> Windows:
    """The windows that the fronts gave, every ``every_s`` seconds, where a label is known."""
    samples, labels, people = [], [], []
    for one in walks:
        padded = np.concatenate([np.zeros((parameters.window_s - 1, len(CHANNELS)), np.float32), one.steps])
        for end in np.flatnonzero(one.given & (one.labels >= 0)):
            if end % every_s == 0:
                samples.append(padded[end : end + parameters.window_s])
                labels.append(int(one.labels[end]))
                people.append(one.person)
    return Windows(np.stack(samples), np.array(labels), np.array(people))


def _hold(samples: np.ndarray, row: int, channels: slice, valid: int, first: int, last: int) -> None:
    """What a front makes of a gap: the last values stay, marked as not valid."""
    samples[row, first:last, channels] = samples[row, first - 1, channels] if first else 0.0
    samples[row, first:last, valid] = 0.0


def augment(samples: np.ndarray, rng: np.random.Generator, limit: float = 3.0) -> np.ndarray:
    """Other people, worse contact and shorter pasts: gain, offset and noise per channel, gaps, missing beginnings.

    Args:
        samples: float32 (n, steps, channels); not changed.
        rng: source of every random choice.
        limit: as ``PhysiologyParameters.limit``.
    """
    n, steps, _ = samples.shape
    samples = samples.copy()
    measured = samples[..., : SKIN_CHANNELS.stop]
    seen = np.any(samples != 0.0, axis=-1, keepdims=True)
    shape = (n, 1, measured.shape[-1])
    changed = measured * np.exp(rng.normal(0.0, 0.2, shape)) + rng.normal(0.0, 0.25, shape) + rng.normal(0.0, 0.1, measured.shape)
    samples[..., : SKIN_CHANNELS.stop] = np.clip(changed, -limit, limit) * seen
    for row in range(n):
        if rng.random() < 0.2:
            samples[row, : rng.integers(1, steps - 15)] = 0.0
        for channels, valid in ((PULSE_CHANNELS, PULSE_VALID), (SKIN_CHANNELS, SKIN_VALID)):
            if rng.random() < 0.25:
                first = int(rng.integers(0, steps - 1))
                last = min(first + int(rng.integers(1, 25)), steps - (valid == SKIN_VALID))  # no window without skin contact now
                _hold(samples, row, channels, valid, first, last)
    return samples


def even_rows(windows: Windows, rng: np.random.Generator, draws: int) -> np.ndarray:
    """Row numbers (draws,) drawn evenly over people, and within each over rest and stress."""
    kinds = [(windows.people == person) & (windows.labels == label) for person in np.unique(windows.people) for label in (0, 1)]
    groups = [np.flatnonzero(kind) for kind in kinds if kind.any()]
    return np.array([rng.choice(groups[i]) for i in rng.integers(0, len(groups), draws)])


def train_on(windows: Windows, work: pathlib.Path, *, seed: int, name: str, schedule: Schedule = SCHEDULE, validation=None) -> keras.Model:
    """The encoder taught on ``windows``; ``name`` tells this run from others in ``work``."""
    keras.utils.set_random_seed(seed)
    targets = keras.utils.to_categorical(windows.labels, len(PHYSIOLOGY_CLASSES))

    def make(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = even_rows(windows, rng, len(rows))
        return augment(windows.samples[chosen], rng), targets[chosen]

    model = physiology_encoder(steps=windows.samples.shape[1], channels=windows.samples.shape[2])
    head = keras.Model(model.input, model.output["probabilities"])
    fit(
        head,
        make,
        rows=DRAWS_PER_EPOCH,
        schedule=schedule,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
        validation=validation,
        name=f"physiology-{name}-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )
    return model


@functools.lru_cache(maxsize=2)
def recordings_of(data: pathlib.Path) -> tuple[Recording, ...]:
    """All labelled recordings, read once."""
    return tuple(stress_predict(data))


def train(
    data: pathlib.Path,
    work: pathlib.Path,
    *,
    seed: int,
    people: collections.abc.Collection[int] | None = None,
    parameters: PhysiologyParameters | None = None,
    schedule: Schedule = SCHEDULE,
) -> keras.Model:
    """The trained physiology encoder; about three minutes on two CPU cores.

    Args:
        data: folder with ``stress_predict/``.
        work: folder for checkpoints and the finished weights.
        seed: of the split, the first weights, the random starts and all augmentation.
        people: who teaches; by default ``split_people(seed).learn``.
        parameters: the front's.
        schedule: length and speed.
    """
    p = parameters or PhysiologyParameters()
    chosen = split_people(seed).learn if people is None else people
    mine = [recording for recording in recordings_of(data) if recording.person in chosen]
    name = "encoder" if people is None else f"people{'-'.join(map(str, sorted(people)))}"
    return train_on(windows_of(walks_for_training(mine, p, seed), p), work, seed=seed, name=name, schedule=schedule)


def balanced_accuracy(labels: np.ndarray, guesses: np.ndarray) -> float:
    """Mean recall over the classes that occur: sum_k P(guess = k | label = k) / K."""
    return float(np.mean([np.mean(guesses[labels == k] == k) for k in np.unique(labels)]))


def summary_features(samples: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and slope of every channel: (n, steps, channels) -> (n, 3 channels)."""
    time = np.linspace(-1.0, 1.0, samples.shape[1])
    slope = np.einsum("nsc,s->nc", samples, time) / np.sum(time**2)
    return np.concatenate([samples.mean(axis=1), samples.std(axis=1), slope], axis=1)


def linear_baseline(learn: Windows, score: collections.abc.Sequence[Windows]) -> list[np.ndarray]:
    """What the encoder has to beat: logistic regression on ``summary_features``, both classes weighted alike.

    Returns:
        guesses 0 or 1, one array for each of ``score``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
    line.fit(summary_features(learn.samples), learn.labels)
    return [line.predict(summary_features(windows.samples)) for windows in score]


@dataclasses.dataclass(frozen=True)
class Fold:
    """Balanced accuracy of people left out: of the encoder, the linear baseline and the majority class, by kind of start."""

    seed: int
    fold: int
    start: str
    """``from the start`` or ``restarted``."""
    encoder: float
    linear: float
    majority: float
    people: collections.abc.Mapping[int, float]
    """The encoder's, by person."""


def cross_validate(
    data: pathlib.Path,
    work: pathlib.Path,
    *,
    seeds: collections.abc.Sequence[int] = (0,),
    folds: int = 5,
    schedule: Schedule = SCHEDULE,
    parameters: PhysiologyParameters | None = None,
) -> list[Fold]:
    """Leave people out, ``folds`` groups per seed, every person scored once by networks that never met them."""
    p = parameters or PhysiologyParameters()
    recordings = recordings_of(data)
    kinds = {
        "from the start": windows_of(walks_from_start(recordings, p), p),
        "restarted": windows_of(walks_restarted(recordings, p), p),
    }
    results = []
    for seed in seeds:
        learn_all = windows_of(walks_for_training(recordings, p, seed), p)
        order = np.random.default_rng((seed, folds)).permutation([recording.person for recording in recordings])
        for number, left_out in enumerate(np.array_split(order, folds)):
            learn = _of(learn_all, left_out, keep=False)
            model = train_on(learn, work, seed=seed, name=f"fold{number}of{folds}", schedule=schedule)
            scored = {kind: _of(windows, left_out, keep=True) for kind, windows in kinds.items()}
            for (kind, windows), linear in zip(scored.items(), linear_baseline(learn, list(scored.values())), strict=True):
                guesses = model.predict(windows.samples, batch_size=512, verbose=0)["probabilities"].argmax(axis=1)
                rows = {int(person): windows.people == person for person in left_out}
                own = {person: balanced_accuracy(windows.labels[row], guesses[row]) for person, row in rows.items()}
                majority = balanced_accuracy(windows.labels, np.full(len(windows.labels), np.argmax(np.bincount(learn.labels))))
                results.append(
                    Fold(
                        seed,
                        number,
                        kind,
                        balanced_accuracy(windows.labels, guesses),
                        balanced_accuracy(windows.labels, linear),
                        majority,
                        own,
                    )
                )
    return results


def _of(windows: Windows, people: np.ndarray, *, keep: bool) -> Windows:
    rows = np.isin(windows.people, people) == keep
    return Windows(windows.samples[rows], windows.labels[rows], windows.people[rows])
