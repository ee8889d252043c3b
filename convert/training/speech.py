"""Recipe of the speech encoder: EmoDB and RAVDESS, learnt together, split by speaker."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import hashlib
import pathlib
import sys

import keras
import numpy as np
from keras import layers

from convert.training.datasets.speech import EMODB_EMOTIONS, EMOTIONS, LABELS, QUADRANT_OF, RAVDESS_EMOTIONS, Clips, emodb, join, ravdess
from convert.training.fit import Batch, Schedule, fit
from convert.training.speech_forms import Heard, kept_forms, stretch, warp
from convert.training.speech_forms import clip_features as clip_features  # others take these from here
from convert.training.speech_forms import last_windows as last_windows
from convert.zoo.speech import VOICES, mean_head, speech_encoder, voice
from edge.preprocess.speech import SpeechParameters, window_samples

SCHEDULE = Schedule(epochs=80, batch=32, learning_rate=5e-3, weight_decay=2e-2, warmup_epochs=2)
DRAWS_PER_CLIP = 1.0
"""Training windows an epoch, for each clip learnt from."""
SHOWN = {"emodb": EMODB_EMOTIONS, "ravdess": RAVDESS_EMOTIONS}
"""The emotions that each corpus has, and so the ones that may be mistaken for each other in it."""
NAME = "speech-tcn2"
"""Begins the names of what lies in the work folder; another recipe, another name."""
CLEAN = 0.35
"""Share of the windows that are of the clip as recorded; the others are of any form."""
OTHER_VOICE = 0.7
"""Share of the windows that are made slower or faster, and share that get another vocal tract, beside what the forms do."""
MASKED = 0.5
"""Share of the windows that are masked. With all masked and a third mixed (mixup), 45 epochs were far too few."""
QUADRANT_WEIGHT = 0.5
"""Of the quadrants' cross-entropy, beside 1 for the emotions'."""


@dataclasses.dataclass(frozen=True)
class People:
    """Speakers who share no one: the encoder's, the fusion's, and those all numbers are measured on."""

    learn: tuple[str, ...]
    fusion: tuple[str, ...]
    validation: tuple[str, ...]


def corpora(data: pathlib.Path) -> Clips:
    """EmoDB and RAVDESS together."""
    return join(emodb(data), ravdess(data))


def corpus_of(people: np.ndarray) -> np.ndarray:
    """The corpus of each speaker: "emodb" of "emodb-03"."""
    return np.array([str(name).split("-")[0] for name in people])


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


def colour(log_mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another microphone and effort of the voice: a smooth curve of a few dB over the bands of log-mel (n, mels)."""
    band = np.linspace(-1.0, 1.0, log_mel.shape[1])
    slope, bow, wave = rng.normal(0.0, (3.0, 2.0, 1.5))
    curve = slope * band + bow * (band**2 - 1 / 3) + wave * np.sin(1.5 * np.pi * band + rng.uniform(0.0, 2.0 * np.pi))
    return log_mel + curve.astype(np.float32)


def mask(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment (Park et al., 2019) without warping: up to two bands of mels and two spans of time set to 0."""
    window = window.copy()
    for _ in range(rng.integers(0, 3)):
        width = int(rng.integers(1, 7))
        first = int(rng.integers(0, window.shape[1] - width))
        window[:, first : first + width] = 0.0
    for _ in range(rng.integers(0, 3)):
        width = int(rng.integers(1, 31))
        first = int(rng.integers(0, window.shape[0] - width))
        window[first : first + width] = 0.0
    return window


def targets(clips: Clips, rows: np.ndarray) -> np.ndarray:
    """What ``loss`` learns from, float32 (rows, 22): emotion one-hot (9), which emotions the corpus has (9), weighted quadrant (4).

    A quadrant weighs by how rare it is where every emotion of a corpus is drawn equally often.
    """
    made = np.zeros((len(rows), 2 * len(EMOTIONS) + len(LABELS)), np.float32)
    for place, (row, corpus) in enumerate(zip(rows, corpus_of(clips.people[rows]), strict=True)):
        shown = SHOWN[corpus]
        made[place, EMOTIONS.index(str(clips.emotions[row]))] = 1.0
        made[place, [len(EMOTIONS) + EMOTIONS.index(name) for name in shown]] = 1.0
        alike = sum(QUADRANT_OF[name] == LABELS[clips.labels[row]] for name in shown)
        made[place, 2 * len(EMOTIONS) + clips.labels[row]] = len(shown) / (len({QUADRANT_OF[name] for name in shown}) * alike)
    return made


def loss(wanted, logits, *, smoothing: float = 0.1):
    """Cross-entropy of emotions, among those the corpus has, plus ``QUADRANT_WEIGHT`` times that of quadrants; labels smoothed.

    Args:
        wanted: (batch, 22) as ``targets`` makes them.
        logits: (batch, 13): nine emotions, four quadrants.
        smoothing: share of each target that is spread over the classes.
    """
    ops, n = keras.ops, len(EMOTIONS)
    emotion, shown, quadrant = wanted[:, :n], wanted[:, n : 2 * n], wanted[:, 2 * n :]
    emotion = (1.0 - smoothing) * emotion + smoothing * shown / ops.sum(shown, axis=-1, keepdims=True)
    total = -ops.sum(emotion * ops.log_softmax(logits[:, :n] - 30.0 * (1.0 - shown)), axis=-1)
    weight = ops.sum(quadrant, axis=-1, keepdims=True)
    quadrant = (1.0 - smoothing) * quadrant + smoothing * weight / len(LABELS)
    return total - QUADRANT_WEIGHT * ops.sum(quadrant * ops.log_softmax(logits[:, n:]), axis=-1)


def batches(
    clips: Clips, forms: collections.abc.Sequence[collections.abc.Sequence[Heard]], parameters: SpeechParameters
) -> collections.abc.Callable[[np.ndarray, np.random.Generator], Batch]:
    """(rows, generator) -> (windows, targets): corpora by root of their size, within one its emotions evenly.

    A window ends anywhere from where the front would give the first one, late ends oftener, as they are in use.
    """
    usable = np.array([bool(choices) for choices in forms])
    corpus = corpus_of(clips.people)
    pools: list[np.ndarray] = []
    shares: list[float] = []
    for name in sorted(set(corpus)):
        own = [np.flatnonzero(usable & (corpus == name) & (clips.emotions == emotion)) for emotion in SHOWN[name]]
        own = [rows for rows in own if len(rows)]
        pools.extend(own)
        shares.extend([np.sum(corpus == name) ** 0.5 / len(own)] * len(own))
    weights = np.array(shares) / np.sum(shares)
    wanted = targets(clips, np.arange(len(clips)))

    def draw(row: int, rng: np.random.Generator) -> np.ndarray:
        heard = forms[row][0 if rng.random() < CLEAN else int(rng.integers(len(forms[row])))]
        ends = heard.ends(parameters)
        end = int(ends[np.max(rng.integers(len(ends), size=4))])
        first = max(int(heard.starts[end]), end + 1 - parameters.frames)
        first = max(0, end + 1 - parameters.frames, min(first + int(rng.integers(-15, 16)), end - 60))
        log_mel = heard.log_mel[first : end + 1].astype(np.float32)
        if rng.random() < OTHER_VOICE:
            log_mel = stretch(log_mel, rng.uniform(0.85, 1.18))[-parameters.frames :]
        if rng.random() < OTHER_VOICE:
            log_mel = warp(log_mel, float(rng.integers(90, 111)) / 100.0, parameters)
        window = window_samples(colour(log_mel, rng), parameters)
        return mask(window, rng) if rng.random() < MASKED else window

    def make(rows: np.ndarray, rng: np.random.Generator) -> Batch:
        chosen = np.array([rng.choice(pools[pool]) for pool in rng.choice(len(pools), size=len(rows), p=weights)])
        return np.stack([draw(row, rng) for row in chosen]), wanted[chosen]

    return make


@functools.lru_cache(maxsize=1)
def _prepared(data: pathlib.Path, work: pathlib.Path, parameters: SpeechParameters) -> tuple[Clips, list[list[Heard]]]:
    """All clips in all forms, loaded once a process: which of them are learnt from is up to each run."""
    clips = corpora(data)
    return clips, kept_forms(clips, parameters, work, say=lambda line: print(line, file=sys.stderr, flush=True))


@dataclasses.dataclass(frozen=True)
class Learnt:
    """A trained encoder, and beside its quadrants the head that names the emotion itself, (9,) logits from the embedding."""

    encoder: keras.Model
    emotions: layers.Dense

    def whole(self) -> keras.Model:
        """``log_mel`` -> ``quadrants`` (4,), ``ravdess`` (8,) and ``emodb`` (7,): what each of the tasks is answered with."""
        outputs = {"quadrants": self.encoder.output["probabilities"]}
        kernel, bias = self.emotions.get_weights()
        for corpus, shown in SHOWN.items():
            columns = [EMOTIONS.index(name) for name in shown]
            head = layers.Dense(len(columns), name=f"{corpus}_logits")
            outputs[corpus] = layers.Softmax(name=corpus)(head(self.encoder.output["embedding"]))
            head.set_weights([kernel[:, columns], bias[columns]])
        return keras.Model(self.encoder.input, outputs, name="speech_tasks")


def learn(
    data: pathlib.Path,
    work: pathlib.Path,
    *,
    seed: int,
    people: collections.abc.Collection[str] | None = None,
    parameters: SpeechParameters | None = None,
    schedule: Schedule = SCHEDULE,
) -> Learnt:
    """Train an encoder on both corpora at once; arguments as of ``train``.

    The emotions are learnt beside the quadrants: "tense" holds three that sound nothing alike, and the embedding is to tell them.
    """
    p = parameters or SpeechParameters()
    voices = [
        _learn_voice(data, work, seed=seed, number=number, people=people, parameters=p, schedule=schedule) for number in range(VOICES)
    ]
    encoder = speech_encoder(p.frames, p.mels, voices=[one for one, _ in voices])
    head = layers.Dense(len(EMOTIONS), name="emotions")
    head(encoder.output["embedding"])
    head.set_weights(mean_head([emotions for _, emotions in voices]))
    return Learnt(encoder, head)


def _learn_voice(
    data: pathlib.Path,
    work: pathlib.Path,
    *,
    seed: int,
    number: int,
    people: collections.abc.Collection[str] | None,
    parameters: SpeechParameters,
    schedule: Schedule,
) -> tuple[keras.Model, layers.Dense]:
    """Network ``number`` and its head for emotions; all numbers learn from the same people, each from its own start."""
    start = seed + 1000 * number
    keras.utils.set_random_seed(start)
    encoder = voice(parameters.frames, parameters.mels)
    head = layers.Dense(len(EMOTIONS), name="emotions")
    both = layers.Concatenate()([head(encoder.output["embedding"]), encoder.get_layer("logits").output])
    whom = "" if people is None else "-people" + hashlib.sha256("\n".join(sorted(people)).encode()).hexdigest()[:8]
    name = f"{NAME}-seed{seed}{f'-voice{number}' if number else ''}-epochs{schedule.epochs}{whom}"
    make, rows = None, 0
    if not (work / f"{name}.done.weights.h5").exists():
        clips, forms = _prepared(data, work, parameters)
        chosen = np.flatnonzero(np.isin(clips.people, sorted(split_people(clips.people, seed).learn if people is None else people)))
        make, rows = batches(clips.rows(chosen), [forms[i] for i in chosen], parameters), round(DRAWS_PER_CLIP * len(chosen))
    fit(
        keras.Model(encoder.input, both),
        make or (lambda rows, rng: ((), ())),
        rows=rows,
        schedule=schedule,
        loss=loss,
        name=name,
        work=work,
        seed=start,
    )
    return encoder, head


def train(
    data: pathlib.Path,
    work: pathlib.Path,
    *,
    seed: int,
    people: collections.abc.Collection[str] | None = None,
    parameters: SpeechParameters | None = None,
    schedule: Schedule = SCHEDULE,
) -> keras.Model:
    """The trained speech encoder; about 2 s of one CPU core an epoch, twice 80 of them, and a minute before the first.

    Args:
        data: folder with ``emodb/`` and ``ravdess/``; not read if ``work`` has the finished weights.
        work: folder for checkpoints, the finished weights, and the clips in all forms (340 MB).
        seed: of the split, the first weights and all augmentation.
        people: speakers to learn from; by default ``split_people(..., seed).learn``.
        parameters: the front's.
        schedule: length and speed.
    """
    return learn(data, work, seed=seed, people=people, parameters=parameters, schedule=schedule).encoder


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


def summary(windows: np.ndarray) -> np.ndarray:
    """Mean, deviation and mean step over time of each band of windows (n, frames, mels), without the padding: (n, 3 mels)."""
    rows = []
    for window in windows:
        heard = window[np.argmax(window.any(axis=1)) :]
        rows.append(np.concatenate([heard.mean(axis=0), heard.std(axis=0), np.abs(np.diff(heard, axis=0)).mean(axis=0)]))
    return np.array(rows)


def fit_linear(windows: np.ndarray, labels: np.ndarray) -> collections.abc.Callable[[np.ndarray], np.ndarray]:
    """Logistic regression on the ``summary`` of windows (n, frames, mels) with classes (n,); predicts (n, classes)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    line.fit(summary(windows), labels)
    return lambda windows: line.predict_proba(summary(windows))


def linear_baseline(
    clips: Clips, learn: collections.abc.Collection[str], parameters: SpeechParameters
) -> collections.abc.Callable[[np.ndarray], np.ndarray]:
    """``fit_linear`` on the quadrants and last windows of ``learn``."""
    own = clips.of(list(learn))
    return fit_linear(last_windows(own, parameters), own.labels)
