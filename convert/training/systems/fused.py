"""What the recipes of the fused systems share: groups of people, takes of every modality, the tasks that are scored, baselines.

Four groups share nobody: the encoders learn from the first, the fusion from the second (on embeddings of people whom the encoders
never saw), the temperature comes from the third, and figures are of everybody else.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import pathlib
import typing

import keras
import numpy as np

from convert.evaluation import metrics
from convert.training import physiology, speech
from convert.training.datasets.fer2013 import Faces, fer2013
from convert.training.datasets.speech import Clips
from convert.training.degrade import face as degrade
from convert.training.face import normalize
from convert.training.fusion import STRESS_GIVEN_LABEL
from convert.training.systems.companions import Companions, Takes, draw
from convert.training.systems.system import Figures, Judged, Runners, Samples, keras_runner
from edge.errors import InputError
from edge.preprocess.speech import SpeechParameters

INPUTS = {"face": "face", "speech": "log_mel", "physiology": "physiology"}
"""What the encoder of each modality calls its input."""
STRESS_CHANCES = np.stack([1.0 - STRESS_GIVEN_LABEL, STRESS_GIVEN_LABEL], axis=1)
"""(quadrants, rest and stress): which physiology accompanies each quadrant."""
FER_TESTS = ("PublicTest", "PrivateTest")
TEMPER_FACES = 700
"""Of the training faces that no encoder sees, so many are for the temperature, the others for the fusion."""
SCORED_FACES = 1500
COMPANIONS = 1000
MISSING_RATES = (0.1, 0.3, 0.5, 0.7)
WINDOWS_A_MINUTE = 60 // physiology.EVERY_S
EVERYTHING = "constructed companions, everything present"


@dataclasses.dataclass(frozen=True)
class Groups:
    """People who share no one; who is in none of them is scored."""

    learn: tuple[str, ...]
    fusion: tuple[str, ...]
    temper: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Nobody of these may be scored."""
        return tuple(sorted({*self.learn, *self.fusion, *self.temper}))


def lend(
    learn: collections.abc.Iterable[object],
    fusion: collections.abc.Iterable[object],
    *,
    lender: typing.Literal["learn", "fusion"],
    count: int = 1,
) -> Groups:
    """``count`` people of every corpus that has more in the lending group leave it, for the temperature.

    Args:
        learn, fusion: as ``convert.training.speech.split_people`` or that of physiology make them; a name is "corpus-number" or a number.
        lender: ``fusion`` where the encoders are given and have learnt from all of ``learn``.
    """
    groups = {"learn": sorted(map(str, learn)), "fusion": sorted(map(str, fusion))}
    corpora: dict[str, list[str]] = {}
    for name in groups[lender]:
        corpora.setdefault(name.rpartition("-")[0], []).append(name)
    temper = tuple(name for own in corpora.values() if len(own) > count for name in own[:count])
    if not temper:
        raise InputError(f"{len(groups[lender])} people are too few to leave one out for the temperature; bring more")
    groups[lender] = [name for name in groups[lender] if name not in temper]
    return Groups(tuple(groups["learn"]), tuple(groups["fusion"]), temper)


def face_takes(
    faces: Faces,
    name: str,
    *,
    label_of: np.ndarray | None = None,
    versions: int = 1,
    seed: int = 0,
    spoil: collections.abc.Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
) -> Takes:
    """Pictures, each an item of ``versions``: as it is, and moved by a little as from frame to frame.

    Args:
        name: of the split; FER2013 names no people, so each picture stands for itself, "Training-17".
        label_of: class of the set -> label; the set's own classes if None.
        spoil: (uint8 face, generator) -> uint8 face, applied to every version.
    """
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(len(faces.labels)), versions)
    made = faces.images[rows]
    for i in range(len(rows)):
        if i % versions:
            turn, right, down = rng.normal(0.0, (4.0, 1.0, 1.0))
            scale = float(np.exp(rng.normal(0.0, 0.04)))
            made[i] = degrade.move(made[i], turn_deg=turn, scale=scale, right_px=right, down_px=down, mirror=False)
        if spoil is not None:
            made[i] = spoil(made[i], rng)
    labels = faces.labels if label_of is None else label_of[faces.labels]
    return Takes(normalize(made), labels[rows], np.array([f"{name}-{row}" for row in rows]), rows)


def speech_takes(clips: Clips, labels: np.ndarray, parameters: SpeechParameters) -> Takes:
    """The later half of the windows of every clip, an item each; clips with a negative label are left out."""
    heard = [(row, speech.clip_features(clips.samples[row], parameters)) for row in np.flatnonzero(labels >= 0)]
    windows = [given[len(given) // 2 :] for _, given in heard]
    rows = np.repeat([row for row, _ in heard], [len(own) for own in windows])
    return Takes(np.concatenate(windows), labels[rows], clips.people[rows], rows)


def physiology_takes(people: collections.abc.Collection[str], data: pathlib.Path) -> Takes:
    """Windows of 60 s, an item for those of about a minute with one label; worn from the beginning of the recording, and put on anew."""
    mine = [recording for recording in physiology.recordings_of(data) if str(recording.person) in people]
    if not mine:
        raise InputError(f"{data}: nobody of Stress-Predict is left for this part; bring more people")
    windows = _windows(tuple(recording.person for recording in mine), data)
    items = minutes(windows.people * 2 + windows.labels)
    return Takes(windows.samples.astype(np.float32), windows.labels, windows.people.astype(str), items, STRESS_CHANCES)


def minutes(keys: np.ndarray, size: int = WINDOWS_A_MINUTE) -> np.ndarray:
    """Item numbers (n,): at most ``size`` rows that follow each other with one key (n,)."""
    run = np.cumsum(np.diff(keys, prepend=keys[:1]) != 0)
    place = np.arange(len(keys)) - np.flatnonzero(np.diff(run, prepend=-1))[run]
    return np.unique(np.stack([run, place // size]), axis=1, return_inverse=True)[1].ravel()


@functools.lru_cache(maxsize=8)
def _windows(people: tuple[int, ...], data: pathlib.Path) -> physiology.Windows:
    parameters = physiology.PARAMETERS
    mine = [recording for recording in physiology.recordings_of(data) if recording.person in people]
    walks = physiology.walks_from_start(mine, parameters) + physiology.walks_restarted(mine, parameters)
    return physiology.windows_of(walks, parameters)


@functools.lru_cache(maxsize=1)
def corpora_of(data: pathlib.Path) -> Clips:
    """EmoDB and RAVDESS, read once."""
    return speech.corpora(data)


def unknown(people: collections.abc.Iterable, learnt: collections.abc.Collection[str], data: pathlib.Path, what: str) -> list[str]:
    """Those who are not in ``learnt``; an InputError if that is nobody."""
    left = sorted({str(person) for person in people} - set(map(str, learnt)))
    if not left:
        raise InputError(f"{data}: {what}: nobody in this set was left out of training; bring people the bundle has not seen")
    return left


def scored_faces(data: pathlib.Path, seed: int) -> tuple[Faces, str]:
    """At most ``SCORED_FACES`` of the test pictures, and the split's name; the same for every run with this seed."""
    split = next((name for name in FER_TESTS if (data / "fer2013" / f"{name}.png").exists()), FER_TESTS[0])
    faces = fer2013(data, split)
    rows = np.sort(np.random.default_rng(seed).permutation(len(faces.labels))[:SCORED_FACES])
    return Faces(faces.images[rows], faces.labels[rows]), split


def spoilt_faces(faces: Faces, name: str, *, label_of: np.ndarray | None = None, seed: int = 0) -> dict[str, Takes]:
    """The same pictures as bad video shows them, by what is wrong in words."""
    troubles: dict[str, collections.abc.Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
        "40 % of the face covered": lambda face, rng: degrade.cover(face, 0.4, rng),
        "faces of 16 px": lambda face, rng: degrade.shrink(face, 16),
    }
    return {words: face_takes(faces, name, label_of=label_of, seed=seed, spoil=spoil) for words, spoil in troubles.items()}


def embedded(takes: collections.abc.Mapping[str, Takes], runners: Runners) -> dict[str, Takes]:
    """The same with embeddings in place of inputs."""
    return {
        name: dataclasses.replace(one, vectors=runners[name]({INPUTS[name]: one.vectors})["embedding"].astype(np.float32))
        for name, one in takes.items()
    }


Answer = collections.abc.Callable[[Companions], Judged]
"""Companions -> what was said of the decisions that count."""


def tasks(
    takes: collections.abc.Mapping[str, Takes], answer: Answer, *, classes: int, steps: int, seed: int, count: int = COMPANIONS
) -> dict[str, Judged]:
    """What a system says of constructed companions: everything present, each modality alone, and in every way of absence.

    Args:
        takes: embeddings by modality, in the order of the mask.
        steps: length of a sequence.
        count: sequences a task.
    """
    names = list(takes)
    wanted: dict[str, dict[str, typing.Any]] = {EVERYTHING: {}}
    wanted |= {f"{name} alone": {"only": (name,)} for name in names}
    wanted |= {f"each absent with chance {rate}": {"rate": rate} for rate in MISSING_RATES}
    wanted["one absent at every step"] = {"rate": 1.0, "pattern": "single"}
    if steps > 1:
        wanted["absent in bursts, chance 0.5"] = {"rate": 0.5, "pattern": "bursty"}
        wanted["everything lags by up to 3 steps"] = {"stale_rate": 1.0}
        wanted["the label changes on the way"] = {"switch_rate": 1.0}
    wanted["one absent much more often, chance 0.5 in the mean"] = {"rate": 0.5, "pattern": "imbalanced"}
    judged = {}
    for number, (words, options) in enumerate(wanted.items()):
        drawn = draw(takes, count, steps, np.random.default_rng((seed, number)), classes=classes, **options)
        judged[words] = answer(drawn)
    return judged


def figures(what: str, judged: Judged) -> Figures:
    """One scored task as a row."""
    said = judged.logits.argmax(axis=1)
    table = metrics.confusion(judged.labels, said, judged.logits.shape[1])
    return Figures(what, float(np.mean(said == judged.labels)), metrics.uar(table), len(judged.labels))


def spread(what: str, runs: collections.abc.Sequence[Judged]) -> Figures:
    """Mean and deviation over runs."""
    rows = [figures(what, one) for one in runs]
    uar = [row.uar for row in rows]
    return Figures(
        what, float(np.mean([row.accuracy for row in rows])), float(np.mean(uar)), rows[0].samples, len(rows), float(np.std(uar))
    )


def linear_rows(
    learn: collections.abc.Mapping[str, Takes], judge: collections.abc.Mapping[str, Takes], *, classes: int, steps: int, seed: int
) -> tuple[Figures, ...]:
    """Logistic regression on the mean embeddings of constructed companions: all modalities side by side, then each alone.

    Learnt on the people whom the fusion learns from, scored on the companions of ``EVERYTHING``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    given = draw(learn, 4000, steps, np.random.default_rng((seed, 1000)), classes=classes)
    asked = draw(judge, COMPANIONS, steps, np.random.default_rng((seed, 0)), classes=classes)
    rows = []
    for what, names in [("all", tuple(learn)), *((name, (name,)) for name in learn)]:
        x, y = (np.concatenate([one.inputs[name].mean(axis=1) for name in names], axis=1) for one in (given, asked))
        line = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=400)).fit(x, given.labels[:, -1])
        scores = np.log(np.maximum(line.predict_proba(y), 1e-9))
        words = "linear: logistic regression on the embeddings, " + ("all side by side" if what == "all" else f"{what} alone")
        rows.append(figures(words, Judged(asked.labels[:, -1], scores)))
    return tuple(rows)


def halves(takes: collections.abc.Mapping[str, Takes], seed: int) -> tuple[dict[str, Takes], dict[str, Takes]]:
    """Items of everybody split at random into two, class by class: the way in which people end up on both sides."""
    first, second = {}, {}
    for name, one in takes.items():
        rng = np.random.default_rng(seed)
        kinds, rows = np.unique(one.items, return_index=True)
        chosen: list[int] = []
        for label in np.unique(one.labels):
            own = rng.permutation(kinds[one.labels[rows] == label])
            chosen.extend(own[: (len(own) + 1) // 2])
        here = np.isin(one.items, chosen)
        first[name], second[name] = one.of(np.flatnonzero(here)), one.of(np.flatnonzero(~here))
    return first, second


def thin(samples: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, evenly taken."""
    return samples[np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int)]


def rows_of(takes: Takes, most: int, name: str) -> Samples:
    """Encoder inputs to calibrate or to verify on."""
    return {INPUTS[name]: thin(takes.vectors, most)}


def float_runners(networks: collections.abc.Mapping[str, keras.Model]) -> dict[str, typing.Any]:
    """The networks as runners."""
    return {name: keras_runner(network) for name, network in networks.items()}
