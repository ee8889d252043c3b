"""Faces over time for systems that look at frames, from stills: FER2013 has no video.

A pseudo-sequence shows views of one picture, moved and partly degraded as a detector and a cheap camera would give them. It has no true
dynamics: what a recurrent head learns on it is to sum up noisy views, and to bear steps at which no face was seen.
"""

from __future__ import annotations

import collections.abc
import pathlib

import keras
import numpy as np

from convert.evaluation import baselines
from convert.training import face
from convert.training.datasets.fer2013 import Faces, fer2013
from convert.training.fit import Schedule, fit
from convert.training.material import faces as material
from convert.training.systems.system import Figures, Judged, Runner, Runners, Samples, Say, Score
from edge.errors import InputError

TESTS = ("PublicTest", "PrivateTest")
"""The first one that there is gets scored; recipes that look at PublicTest while they train are judged more strictly by PrivateTest."""
MOVING = 1000
"""Faces of the task with moved views: each is seen T times."""
BATCH = 256
PEOPLE = (
    "FER2013: learnt from Training without pictures of two labels and without those that are in another split too; scored on {split} "
    "without duplicates. The set names no people, so that nobody can say whether a person is in both."
)
TEACHERS = (
    "Half of each training target is the opinion of two mini-XCEPTION networks (Arriaga et al., 2017, MIT licence), which are not shipped."
)
STAYS = 0.5
"""Chance that a step shows the view of the step before."""
EMPTY_START = 0.3
"""Share of the training sequences whose first steps have seen nothing yet."""


def teachers_note(data: pathlib.Path) -> tuple[str, ...]:
    """What the card says of the teachers; nothing if there are none."""
    return (TEACHERS,) if any((data / "models" / "mini_xception").glob("*.hdf5")) else ()


def views(encode: Runner, images: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Embeddings of ``count`` views of each face: uint8 (n, 48, 48) -> float16 (n, count, width)."""
    made = []
    for first in range(0, len(images), BATCH):
        some = np.repeat(images[first : first + BATCH], count, axis=0)
        vectors = encode({"face": face.augment(some, rng)})["embedding"]
        made.append(vectors.reshape(-1, count, vectors.shape[-1]).astype(np.float16))
    return np.concatenate(made)


def sequences(seen: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Walks over the views of each face: (n, count, width) -> float32 (n, steps, width), some of them with nothing in the first steps."""
    n, count, _ = seen.shape
    place = np.asarray(rng.integers(0, count, n))
    empty = np.where(rng.random(n) < EMPTY_START, rng.integers(0, steps, n), 0)
    made = np.zeros((n, steps, seen.shape[2]), np.float32)
    for step in range(steps):
        place = np.asarray(np.where(rng.random(n) < STAYS, place, rng.integers(0, count, n)))
        here = np.flatnonzero(step >= empty)
        made[here, step] = seen[here, place[here]]
    return made


def train_head(
    head: keras.Model,
    seen: np.ndarray,
    targets: np.ndarray,
    *,
    steps: int,
    schedule: Schedule,
    loss: keras.losses.Loss,
    name: str,
    work: pathlib.Path,
    seed: int,
) -> keras.Model:
    """Train a network with the input (steps, width) and the output ``probabilities`` on walks over views; returns it.

    Args:
        head: the network.
        seen: (n, count, width), from ``views``.
        targets: float32 (n, classes).
        steps, schedule, loss, name, work, seed: as ``fit`` takes them.
    """

    def make(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return sequences(seen[rows], steps, rng), targets[rows]

    answering = keras.Model(head.input, head.output["probabilities"])
    fit(answering, make, rows=len(targets), schedule=schedule, loss=loss, metrics=["accuracy"], name=name, work=work, seed=seed)
    return head


def held_still(faces: Faces, runners: Runners, steps: int) -> Judged:
    """Each picture seen at every step, as a face that does not move."""
    logits = []
    for first in range(0, len(faces.labels), BATCH):
        images = face.normalize(faces.images[first : first + BATCH])
        vectors = runners["face"]({"face": images})["embedding"]
        logits.append(runners["fusion"]({"face": np.repeat(vectors[:, None], steps, axis=1)})["logits"])
    return Judged(faces.labels, np.concatenate(logits))


def moving(faces: Faces, runners: Runners, steps: int, seed: int) -> Judged:
    """``steps`` views of each of ``MOVING`` pictures, evenly taken; the views are drawn from ``seed``."""
    some = thin(faces, MOVING)
    rng = np.random.default_rng(seed)
    logits = []
    for first in range(0, len(some.labels), BATCH):
        seen = views(runners["face"], some.images[first : first + BATCH], steps, rng).astype(np.float32)
        logits.append(runners["fusion"]({"face": seen})["logits"])
    return Judged(some.labels, np.concatenate(logits))


def thin(faces: Faces, most: int) -> Faces:
    """At most so many, evenly taken."""
    rows = np.linspace(0, len(faces.labels) - 1, min(most, len(faces.labels))).astype(int)
    return Faces(faces.images[rows], faces.labels[rows])


def scored_faces(data: pathlib.Path) -> tuple[str, Faces]:
    """Name and pictures of the split that is scored, duplicates of other splits dropped."""
    failures = []
    for split in TESTS:
        try:
            return split, fer2013(data, split)
        except InputError as error:
            failures.append(error)
    raise failures[0]


def judge_faces(data: pathlib.Path, *, seed: int, steps: int) -> Score:
    """The two tasks of a system that sees faces alone, seven expressions."""
    split, faces = scored_faces(data)

    def score(runners: Runners) -> dict[str, Judged]:
        return {
            f"FER2013 {split}, a still face for {steps} steps": held_still(faces, runners, steps),
            f"FER2013 {split}, {steps} moved, partly degraded views": moving(faces, runners, steps, seed),
        }

    return score


def fusion_samples(images: np.ndarray, count: int, steps: int, seed: int) -> collections.abc.Callable[[Runners], Samples]:
    """``count`` sequences of the first pictures, as the encoder at hand sees them: for calibration and comparison."""

    def draw(runners: Runners) -> Samples:
        rng = np.random.default_rng(seed)
        return {"face": sequences(views(runners["face"], images[:count], 4, rng), steps, rng)}

    return draw


def random_split(runners: Runners, held: Faces, steps: int) -> Figures:
    """How the same network does on training pictures that were held out at random, picture by picture."""
    judged = held_still(held, runners, steps)
    return figures("2 500 Training pictures held out at random by picture: what a random split measures", judged)


def figures(what: str, judged: Judged) -> Figures:
    """Accuracy and unweighted average recall of ``judged``."""
    from convert.evaluation import metrics

    table = metrics.confusion(judged.labels, judged.logits.argmax(axis=1), judged.logits.shape[1])
    return Figures(what, float(np.mean(judged.logits.argmax(axis=1) == judged.labels)), metrics.uar(table), len(judged.labels))


def linear(learn: Faces, scored: Faces) -> Figures:
    """The linear baseline on the scored pictures."""
    judged = Judged(scored.labels, baselines.linear(material(learn), material(scored)))
    return figures("linear discriminant analysis on 24x24 pixels", judged)


def announce(say: Say, what: str, shown: Figures) -> None:
    """One line of progress with figures."""
    say(f"{what}: accuracy {shown.accuracy:.3f}, UAR {shown.uar:.3f}")
