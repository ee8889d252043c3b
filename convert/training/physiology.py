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
from convert.training.degrade.physiology import hold
from convert.training.fit import Schedule, fit
from convert.zoo.physiology import PHYSIOLOGY_CLASSES, physiology_encoder
from edge.preprocess.beats import PulseSecond
from edge.preprocess.eda import SkinSecond, SkinTracker
from edge.preprocess.physiology import CHANNELS, SKIN_CHANNELS, SKIN_VALID, PhysiologyParameters, Readiness, StepMaker
from edge.preprocess.ppg import PulseTracker

PARAMETERS = PhysiologyParameters(memories_s=(60.0,))
"""Of the front of new bundles: beside the channels of old ones, what the last minute was like less the baseline as it is now."""
SCHEDULE = Schedule(epochs=8, batch=256, learning_rate=4e-3, weight_decay=2e-2, ema_momentum=0.98)
DRAWS_PER_EPOCH = 4096
"""Training windows an epoch, drawn evenly over people and over rest and stress."""
FROM_START = 0.6
"""Share of training windows from fronts that ran from the start. With a linear model on the same people, left out in turn, 0.1 to 0.7
gained 2.6 points there and lost none after restarts; from 0.8 on restarts lose."""
STARTS = 5
"""Random starts per person in training, beside the start of the recording."""
SETTLE_S = 12
"""Seconds after a start in which no heart rate is known: three intervals and the filter's delay."""
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
    first_s: int = 0
    """Second of the recording at which the front was started."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tracked:
    """What the trackers say of a recording, by second since they were started."""

    pulse: collections.abc.Mapping[int, PulseSecond]
    skin: collections.abc.Mapping[int, SkinSecond]
    passed_s: int


def track(recording: Recording, parameters: PhysiologyParameters, first_s: int, last_s: int) -> Tracked:
    """Trackers started ``first_s`` into the recording."""
    pulse, skin = PulseTracker(parameters.pulse), SkinTracker(parameters.skin)
    for tracker, rate_hz, samples in ((pulse, recording.ppg_rate_hz, recording.ppg), (skin, recording.eda_rate_hz, recording.eda)):
        tracker.push(0, rate_hz, samples[round(first_s * rate_hz) : round(last_s * rate_hz)])
    return Tracked({at.t_s: at for at in pulse.seconds}, {at.t_s: at for at in skin.seconds}, min(pulse.passed_s, skin.passed_s))


def _walk(recording: Recording, tracked: Tracked, parameters: PhysiologyParameters, first_s: int, begin_s: int, end_s: int) -> Walk:
    """Steps of the seconds (``begin_s``, ``end_s``] of ``tracked``, which began ``first_s`` into the recording."""
    maker, readiness = StepMaker(parameters), Readiness(parameters)
    steps, given = [], []
    for t_s in range(begin_s + 1, end_s + 1):
        settled = begin_s == 0 or t_s > begin_s + SETTLE_S
        pulse = tracked.pulse.get(t_s) if settled else None
        step = maker.step(pulse, tracked.skin.get(t_s))
        readiness.learn(step, pulse)
        steps.append(step)
        given.append(bool(step[SKIN_VALID]) and readiness.absence() is None)
    labels = recording.labels[first_s + begin_s : first_s + begin_s + len(steps)]
    return Walk(recording.person, np.stack(steps), labels, np.array(given), first_s + begin_s)


def walk(recording: Recording, parameters: PhysiologyParameters, first_s: int = 0, last_s: int | None = None) -> Walk:
    """Start a front ``first_s`` into the recording; ``PhysiologyFront`` fed with chunks makes the same steps."""
    last_s = len(recording.labels) if last_s is None else min(last_s, len(recording.labels))
    if first_s == 0 and last_s == len(recording.labels):
        return _whole(recording, parameters)[1]
    tracked = track(recording, parameters, first_s, last_s)
    return _walk(recording, tracked, parameters, first_s, 0, tracked.passed_s)


@functools.lru_cache(maxsize=64)
def _whole(recording: Recording, parameters: PhysiologyParameters) -> tuple[Tracked, Walk]:
    tracked = track(recording, parameters, 0, len(recording.labels))
    return tracked, _walk(recording, tracked, parameters, 0, 0, tracked.passed_s)


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
    """From the start, and from ``STARTS`` random seconds on, for 5 to 40 minutes or to the end.

    The trackers run once for a recording; after a random start what they say is not used for ``SETTLE_S``, which differs from a true
    start by a few seconds of pulse.
    """
    walks = []
    for recording in recordings:
        rng = np.random.default_rng((seed, recording.person))
        tracked, whole = _whole(recording, parameters)
        walks.append(whole)
        for first_s in rng.integers(0, tracked.passed_s - 300, STARTS) if tracked.passed_s > 300 else ():
            last_s = min(int(first_s + rng.integers(300, 2400)), tracked.passed_s)
            walks.append(_walk(recording, tracked, parameters, 0, int(first_s), last_s))
    return walks


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Encoder inputs float32 (n, 60, channels), ``labels`` (n,) 0 rest and 1 stress, ``people`` (n,)."""

    samples: np.ndarray
    labels: np.ndarray
    people: np.ndarray
    elapsed_s: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
    """(n,) seconds since the front was started: for a baseline, never for a network."""
    first_s: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
    """(n,) second of the recording at which the front was started; empty where nobody asks."""

    @functools.cached_property
    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each person and label: row numbers (from the start of the recording, from later on)."""
        begun = self.first_s == 0 if len(self.first_s) else np.ones(len(self.labels), bool)
        kinds = [(self.people == person) & (self.labels == label) for person in np.unique(self.people) for label in (0, 1)]
        return [(np.flatnonzero(own & begun), np.flatnonzero(own & ~begun)) for own in kinds if own.any()]

    def of(self, rows: np.ndarray) -> Windows:
        """These rows alone."""
        told = (self.elapsed_s, self.first_s)
        return Windows(self.samples[rows], self.labels[rows], self.people[rows], *(x[rows] if len(x) else x for x in told))


def windows_of(walks: collections.abc.Sequence[Walk], parameters: PhysiologyParameters, *, every_s: int = EVERY_S) -> Windows:
    """The windows that the fronts gave, every ``every_s`` seconds, where a label is known."""
    samples, labels, people, elapsed_s, first_s = [], [], [], [], []
    for one in walks:
        padded = np.concatenate([np.zeros((parameters.window_s - 1, one.steps.shape[1]), np.float32), one.steps])
        for end in np.flatnonzero(one.given & (one.labels >= 0)):
            if end % every_s == 0:
                samples.append(padded[end : end + parameters.window_s])
                labels.append(int(one.labels[end]))
                people.append(one.person)
                elapsed_s.append(int(end))
                first_s.append(one.first_s)
    return Windows(np.stack(samples), np.array(labels), np.array(people), np.array(elapsed_s), np.array(first_s))


def augment(samples: np.ndarray, rng: np.random.Generator, limit: float = 3.0) -> np.ndarray:
    """Other people, worse contact and shorter pasts: gain, offset and noise per channel, gaps, missing beginnings.

    Args:
        samples: float32 (n, steps, channels); not changed.
        rng: source of every random choice.
        limit: as ``PhysiologyParameters.limit``.
    """
    n, steps, width = samples.shape
    samples = samples.copy()
    seen = np.any(samples != 0.0, axis=-1, keepdims=True)
    # Averages over a minute vary less than seconds do: the same disturbance would drown what they say.
    for channels, gain, offset, noise in ((slice(0, SKIN_CHANNELS.stop), 0.2, 0.25, 0.1), (slice(len(CHANNELS), width), 0.1, 0.05, 0.0)):
        clean = samples[..., channels]
        shape = (n, 1, clean.shape[-1])
        changed = clean * np.exp(rng.normal(0.0, gain, shape)) + rng.normal(0.0, offset, shape) + rng.normal(0.0, noise, clean.shape)
        samples[..., channels] = np.clip(changed, -limit, limit) * seen
    for row in np.flatnonzero(rng.random(n) < 0.2):
        samples[row, : rng.integers(1, steps - 15)] = 0.0
    return hold(samples, rng, 0.25)


def even_rows(windows: Windows, rng: np.random.Generator, draws: int, from_start: float = FROM_START) -> np.ndarray:
    """Row numbers (draws,) drawn evenly over people, and within each over rest and stress.

    Of those ``from_start`` (0 to 1) are of fronts that ran from the start of the recording, where ``windows`` tells of both kinds.
    """
    rows, pairs = np.zeros(draws, int), windows.pairs
    chosen, early = rng.integers(0, len(pairs), draws), rng.random(draws) < from_start
    for i, (early_rows, late_rows) in enumerate(pairs):
        for wanted, first, second in ((early, early_rows, late_rows), (~early, late_rows, early_rows)):
            mine = np.flatnonzero((chosen == i) & wanted)
            rows[mine] = rng.choice(first if len(first) else second, len(mine))
    return rows


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
    """The trained physiology encoder; about a minute on a CPU core.

    Args:
        data: folder with ``stress_predict/``.
        work: folder for checkpoints and the finished weights.
        seed: of the split, the first weights, the random starts and all augmentation.
        people: who teaches; by default ``split_people(seed).learn``.
        parameters: the front's; ``PARAMETERS`` if None.
        schedule: length and speed.
    """
    p = parameters or PARAMETERS
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


def cross_validate(data: pathlib.Path, work: pathlib.Path, *, seeds: collections.abc.Sequence[int] = (0,), **options) -> list:
    """``physiology_folds.cross_validate``: leave people out in groups, in float and int8."""
    from convert.training import physiology_folds

    return physiology_folds.cross_validate(data, work, seeds=seeds, **options)
