"""Recipe of the speech encoder: EmoDB and RAVDESS, four quadrants, split by speaker."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import hashlib
import pathlib

import keras
import numpy as np

from convert.training.datasets.speech import EMOTIONS, LABELS, Clips, emodb, join, ravdess
from convert.training.fit import Batch, Schedule, fit
from convert.zoo.speech import speech_encoder
from edge.preprocess.speech import SpeechParameters, StreamingLogMel, VoiceGate, clip_windows, window_samples

SCHEDULE = Schedule(epochs=80, batch=64, learning_rate=3e-3, weight_decay=1e-2)
DRAWS_PER_EPOCH = 2560
"""Training windows an epoch, drawn evenly over the quadrants."""
VARIANTS = 5
"""How many forms of a clip are prepared: as it is, and others in speed, pitch and room."""


@dataclasses.dataclass(frozen=True)
class People:
    """Speakers who share no one: the encoder's, the fusion's, and those all numbers are measured on."""

    learn: tuple[str, ...]
    fusion: tuple[str, ...]
    validation: tuple[str, ...]


def corpora(data: pathlib.Path) -> Clips:
    """EmoDB and RAVDESS together."""
    return join(emodb(data), ravdess(data))


def split_people(people: collections.abc.Iterable[str], seed: int) -> People:
    """About 70, 15 and 15 % of each corpus's speakers (at least one each), by ``seed`` and the names alone.

    Args:
        people: names as ``Clips.people`` has them, "corpus-number"; repeats do not matter.
        seed: another seed, another split.
    """
    rng = np.random.default_rng(seed)
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    names = sorted(set(map(str, people)))
    for corpus in sorted({name.split("-")[0] for name in names}):
        own = [name for name in names if name.split("-")[0] == corpus]
        order = [own[i] for i in rng.permutation(len(own))]
        held = max(1, round(0.15 * len(own)))
        parts[1].extend(order[:held])
        parts[2].extend(order[held : 2 * held])
        parts[0].extend(order[2 * held :])
    return People(*(tuple(sorted(part)) for part in parts))


@dataclasses.dataclass(frozen=True)
class Heard:
    """One form of one clip as the front hears it: log-mel (n, mels) in dB, and per frame where its voice began, -1 for none."""

    log_mel: np.ndarray
    starts: np.ndarray

    def ends(self, parameters: SpeechParameters) -> np.ndarray:
        """Frames at which enough has been heard for a window; the front waits a little longer where there is much silence in it."""
        heard = np.arange(1, len(self.starts) + 1) - self.starts
        return np.flatnonzero((self.starts >= 0) & (heard >= parameters.hops(parameters.min_heard_ms)))


def listen(samples: np.ndarray, parameters: SpeechParameters) -> Heard:
    """The front's frames and gate over a whole recording at once, for training; ``SpeechFront`` gives the same piecemeal."""
    log_mel, power = StreamingLogMel(parameters).push(samples)
    return Heard(log_mel, VoiceGate(parameters).push(power))


def window_at(heard: Heard, end: int, parameters: SpeechParameters) -> np.ndarray:
    """The encoder input (frames, mels) that the front would give at frame ``end``."""
    first = max(int(heard.starts[end]), end + 1 - parameters.frames)
    return window_samples(heard.log_mel[first : end + 1], parameters)


def vary(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another voice and room: speed and pitch by up to 15 % (resampling), in half of all cases a small room.

    The room is exponentially decaying noise after the direct sound (Polack's model), reverberation time 0.15 to 0.6 s.
    """
    import scipy.signal

    up = int(rng.integers(17, 24))
    samples = scipy.signal.resample_poly(samples, up, 20).astype(np.float32)
    if rng.random() < 0.5:
        seconds = rng.uniform(0.15, 0.6)
        t = np.arange(round(16000 * seconds)) / 16000
        tail = rng.standard_normal(len(t)) * 10.0 ** (-3.0 * t / seconds)
        tail *= 10.0 ** (rng.uniform(-12.0, 0.0) / 20.0) / np.sqrt(np.sum(tail**2))
        tail[0] += 1.0
        samples = scipy.signal.fftconvolve(samples, tail)[: len(samples)].astype(np.float32)
    return samples


def prepare(clips: Clips, parameters: SpeechParameters, *, variants: int, seed: int) -> list[list[Heard]]:
    """For each clip its ``variants`` forms, the first as recorded; forms in which the gate never opens are left out."""
    made = []
    for row, samples in enumerate(clips.samples):
        rng = np.random.default_rng((seed, row))
        forms = [listen(x, parameters) for x in [samples, *(vary(samples, rng) for _ in range(variants - 1))]]
        made.append([form for form in forms if len(form.ends(parameters))])
    return made


def disturb(log_mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise and a microphone's colour on log-mel (n, mels) in dB: power adds, for noise and voice are not correlated.

    The noise, in half of all cases, is stationary, with a random slope over the bands, 10 to 50 dB under the voice; the colour
    is a smooth curve of a few dB.
    """
    n, mels = log_mel.shape
    band = np.linspace(-1.0, 1.0, mels)
    slope, bow, wave = rng.normal(0.0, (3.0, 2.0, 1.5))
    colour = slope * band + bow * (band**2 - 1 / 3) + wave * np.sin(1.5 * np.pi * band + rng.uniform(0.0, 2.0 * np.pi))
    x = log_mel + colour.astype(np.float32)
    if rng.random() < 0.5:
        level = np.quantile(x.max(axis=1), 0.8) - rng.uniform(10.0, 50.0)
        noise = level + rng.normal(-6.0, 6.0) * band + 10.0 * np.log10(rng.gamma(4.0, 0.25, (n, mels)) + 1e-6)
        x = np.logaddexp(x * 0.23025851, noise * 0.23025851) / 0.23025851
    return x.astype(np.float32)


def mask(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment (Park et al., 2019) without warping: up to two bands of mels and two spans of time set to 0."""
    window = window.copy()
    for _ in range(rng.integers(0, 3)):
        width = int(rng.integers(1, 7))
        first = int(rng.integers(0, window.shape[1] - width))
        window[:, first : first + width] = 0.0
    for _ in range(rng.integers(0, 3)):
        width = int(rng.integers(1, 25))
        first = int(rng.integers(0, window.shape[0] - width))
        window[first : first + width] = 0.0
    return window


def _batches(
    clips: Clips, forms: list[list[Heard]], parameters: SpeechParameters
) -> collections.abc.Callable[[np.ndarray, np.random.Generator], Batch]:
    """(rows, generator) -> (windows, targets): quadrants evenly drawn, and within one, clips by root of their corpus's size."""
    usable = np.array([bool(choices) for choices in forms])
    corpus = np.array([str(name).split("-")[0] for name in clips.people])
    pools = []
    for label in range(len(LABELS)):
        rows = np.flatnonzero(usable & (clips.labels == label))
        weight = np.array([np.sum(corpus[rows] == corpus[row]) ** -0.5 for row in rows])
        pools.append((rows, weight / weight.sum()))

    def draw(row: int, rng: np.random.Generator) -> np.ndarray:
        heard = forms[row][rng.integers(len(forms[row]))]
        ends = heard.ends(parameters)
        end = int(ends[np.max(rng.integers(len(ends), size=2))])  # long windows oftener, as they are in use
        first = max(int(heard.starts[end]), end + 1 - parameters.frames)
        first = max(0, end + 1 - parameters.frames, min(first + int(rng.integers(-15, 16)), end - 60))
        return mask(window_samples(disturb(heard.log_mel[first : end + 1], rng), parameters), rng)

    def make(rows: np.ndarray, rng: np.random.Generator) -> Batch:
        chosen = [rng.choice(pools[row % len(LABELS)][0], p=pools[row % len(LABELS)][1]) for row in rows]
        return np.stack([draw(row, rng) for row in chosen]), _targets(clips, np.array(chosen))

    return make


@functools.lru_cache(maxsize=1)
def _prepared(data: pathlib.Path, parameters: SpeechParameters) -> tuple[Clips, list[list[Heard]]]:
    """All clips in all forms, made once a process: which of them are learnt from is up to each run."""
    clips = corpora(data)
    return clips, prepare(clips, parameters, variants=VARIANTS, seed=0)


def _targets(clips: Clips, rows: np.ndarray) -> dict[str, np.ndarray]:
    """One-hot quadrants, and one-hot emotions for the second head, which is for training alone."""
    emotions = np.array([EMOTIONS.index(clips.emotions[row]) for row in rows])
    return {
        "probabilities": keras.utils.to_categorical(clips.labels[rows], len(LABELS)),
        "emotions": keras.utils.to_categorical(emotions, len(EMOTIONS)),
    }


def train(
    data: pathlib.Path,
    work: pathlib.Path,
    *,
    seed: int,
    people: collections.abc.Collection[str] | None = None,
    parameters: SpeechParameters | None = None,
    schedule: Schedule = SCHEDULE,
) -> keras.Model:
    """The trained speech encoder; about 4 s of one CPU core an epoch, and two minutes before the first.

    A second head names the emotion itself: "tense" holds three that sound nothing alike, and the embedding is to tell them.

    Args:
        data: folder with ``emodb/`` and ``ravdess/``; not read if ``work`` has the finished weights.
        work: folder for checkpoints and the finished weights.
        seed: of the split, the first weights and all augmentation.
        people: speakers to learn from; by default ``split_people(..., seed).learn``, and each epoch is scored on the validation people.
        parameters: the front's.
        schedule: length and speed.
    """
    p = parameters or SpeechParameters()
    keras.utils.set_random_seed(seed)
    model = speech_encoder(p.frames, p.mels)
    embedding, probabilities = model.output["embedding"], model.output["probabilities"]
    emotions = keras.layers.Dense(len(EMOTIONS), activation="softmax", name="emotions")(embedding)
    whom = "" if people is None else "-people" + hashlib.sha256("\n".join(sorted(people)).encode()).hexdigest()[:8]
    name = f"speech-seed{seed}-epochs{schedule.epochs}{whom}"
    make, validation = None, None
    if not (work / f"{name}.done.weights.h5").exists():
        clips, forms = _prepared(data, p)
        split = split_people(clips.people, seed)
        learn = np.flatnonzero(np.isin(clips.people, sorted(split.learn if people is None else people)))
        make = _batches(clips.rows(learn), [forms[i] for i in learn], p)
        judges = np.array([i for i in np.flatnonzero(np.isin(clips.people, split.validation)) if forms[i] and people is None])
        if len(judges):
            last = [window_at(forms[i][0], int(forms[i][0].ends(p)[-1]), p) for i in judges]
            validation = (np.stack(last), _targets(clips, judges))
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    fit(
        keras.Model(model.input, {"probabilities": probabilities, "emotions": emotions}),
        make or (lambda rows, rng: ((), ())),
        rows=DRAWS_PER_EPOCH,
        schedule=schedule,
        loss={"probabilities": loss, "emotions": loss},
        metrics={"probabilities": "accuracy"},
        validation=validation,
        name=name,
        work=work,
        seed=seed,
    )
    return model


@dataclasses.dataclass(frozen=True)
class ClipScores:
    """Quality over clips: ``probabilities`` (clips, labels), ``labels`` and ``people`` (clips,)."""

    probabilities: np.ndarray
    labels: np.ndarray
    people: np.ndarray

    def recalls(self, people: collections.abc.Collection[str] | None = None) -> np.ndarray:
        """Recall of each label, (labels,), on these people or all; NaN for a label that they do not show."""
        chosen = np.ones(len(self.labels), bool) if people is None else np.isin(self.people, sorted(people))
        hit = self.probabilities.argmax(axis=1) == self.labels
        rows = [hit[chosen & (self.labels == label)] for label in range(len(LABELS))]
        return np.array([row.mean() if len(row) else np.nan for row in rows])

    def uar(self, people: collections.abc.Collection[str] | None = None) -> float:
        """Unweighted average recall: the mean of ``recalls``."""
        return float(np.nanmean(self.recalls(people)))

    def uar_by_person(self) -> dict[str, float]:
        """UAR of each speaker."""
        return {str(name): self.uar([str(name)]) for name in np.unique(self.people)}


def clip_features(samples: np.ndarray, parameters: SpeechParameters) -> np.ndarray:
    """All windows (n, frames, mels) that ``SpeechFront`` gives for one clip, oldest first; one of zeros if it gives none."""
    windows = [window.samples for window in clip_windows(samples, parameters)]
    return np.stack(windows or [np.zeros((parameters.frames, parameters.mels), np.float32)])


def last_windows(clips: Clips, parameters: SpeechParameters) -> np.ndarray:
    """Of each clip the last window that the front gives, which holds the most of it: (clips, frames, mels)."""
    return np.stack([clip_features(samples, parameters)[-1] for samples in clips.samples])


def score_clips(predict: collections.abc.Callable[[np.ndarray], np.ndarray], clips: Clips, parameters: SpeechParameters) -> ClipScores:
    """Score ``predict`` (windows (n, frames, mels) -> probabilities (n, labels)) on clips heard through ``SpeechFront``.

    The rule for a clip: what is said of the last window that the front gives for it (``last_windows``).
    """
    return ClipScores(predict(last_windows(clips, parameters)), clips.labels, clips.people)


def predictor(model: keras.Model) -> collections.abc.Callable[[np.ndarray], np.ndarray]:
    """``model`` as ``score_clips`` takes it."""
    return lambda windows: model.predict(windows, batch_size=128, verbose=0)["probabilities"]


def majority(clips: Clips, learn: collections.abc.Collection[str]) -> collections.abc.Callable[[np.ndarray], np.ndarray]:
    """Predicts the commonest quadrant of ``learn`` for everything."""
    commonest = np.argmax(np.bincount(clips.of(list(learn)).labels, minlength=len(LABELS)))
    return lambda windows: np.tile(np.eye(len(LABELS))[commonest], (len(windows), 1))


def linear_baseline(
    clips: Clips, learn: collections.abc.Collection[str], parameters: SpeechParameters
) -> collections.abc.Callable[[np.ndarray], np.ndarray]:
    """Logistic regression on mean, deviation and mean step over time of each band, of the same windows; learnt on ``learn``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def summary(windows: np.ndarray) -> np.ndarray:
        rows = []
        for window in windows:
            heard = window[np.argmax(window.any(axis=1)) :]
            rows.append(np.concatenate([heard.mean(axis=0), heard.std(axis=0), np.abs(np.diff(heard, axis=0)).mean(axis=0)]))
        return np.array(rows)

    own = clips.of(list(learn))
    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    line.fit(summary(last_windows(own, parameters)), own.labels)
    return lambda windows: line.predict_proba(summary(windows))
