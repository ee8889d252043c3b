"""What a bundle is scored on, read from a folder of public sets: what is there is used, what is not is named."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib

import numpy as np

from convert.evaluation.apart import Learnt, Side, Split, require_apart, require_unknown, shared_rows
from convert.training import physiology as physiology_recipe
from convert.training import speech as speech_recipe
from convert.training.datasets import set_folder
from convert.training.datasets.fer2013 import FER_FOLDERS, Faces, fer2013
from convert.training.datasets.speech import EMODB_FOLDERS, RAVDESS_FOLDERS, Clips, emodb, ravdess
from convert.training.datasets.stress_predict import STRESS_PREDICT_FOLDERS, Recording
from convert.training.material import Material, faces, physiology, require_people, speech
from edge.bundle import Bundle
from edge.errors import InputError
from edge.preprocess.physiology import PhysiologyParameters
from edge.preprocess.speech import SpeechParameters

FEW = 0.01
"""Share of test pictures that may turn out to be in training, and are left out; more is a bad split."""
RESTARTED = "physiology, restarted"
FER_TESTS = ("PublicTest", "PrivateTest", "test")
"""The first one there is scored; the recipe looks at PublicTest while it trains, so PrivateTest is the stricter judge. ``test`` is both
of them, in a layout that does not tell them apart."""
SPEECH_SETS = ((EMODB_FOLDERS, emodb), (RAVDESS_FOLDERS, ravdess))


@dataclasses.dataclass(frozen=True)
class Sets:
    """Materials by name (``physiology, restarted`` is of the stage ``physiology``), never a person in both sides of one."""

    scored: collections.abc.Mapping[str, Material]
    learn: collections.abc.Mapping[str, Material]
    """For baselines; without those whose training people are not in the data."""
    missing: collections.abc.Mapping[str, str]
    """Name -> why it is not scored."""
    dropped: collections.abc.Mapping[str, int]
    """Name -> samples that were left out, for they are in training too, to the byte."""
    faces: Faces | None
    """What ``face`` was made of, as pictures."""
    clips: Clips | None
    """What ``speech`` was made of, as sound: row i of the one is clip i of the other."""
    recordings: tuple[Recording, ...]
    """What ``physiology`` was made of."""


def read(bundle: Bundle, data: pathlib.Path, learnt: Learnt, split: Split | None = None) -> Sets:
    """All sets in ``data`` that the bundle has a stage for.

    ``physiology`` wears the kit from the beginning of the recording, ``physiology, restarted`` has it switched on anew every 8
    minutes. A clip of speech is judged by the last window that the front gives for it.

    Args:
        bundle: of a classroom.
        data: folder of the public sets.
        learnt: whom the bundle learnt from.
        split: who teaches the baselines and who is scored; None takes the bundle's own people and all others.

    Raises:
        InputError: there is no set at all, or nobody to score in one, or somebody is on both sides.
    """
    reader = _Reader(bundle, data, learnt, split or {})
    reader.read_faces()
    reader.read_speech()
    reader.read_physiology()
    if not reader.scored:
        raise InputError(f"{data}: none of fer2013, emodb, ravdess and stress_predict is there; --data names the folder that holds them")
    for name, material in reader.scored.items():
        require_people(material, data)
        if name in reader.learn:
            require_apart(material, reader.learn[name], data)
    return Sets(reader.scored, reader.learn, reader.missing, reader.dropped, reader.faces, reader.clips, reader.recordings)


class _Reader:
    def __init__(self, bundle: Bundle, data: pathlib.Path, learnt: Learnt, split: Split):
        self._preprocess, self._stages = bundle.manifest.preprocess, bundle.manifest.stages
        self._data, self._learnt, self._split = data, learnt, split
        self.scored: dict[str, Material] = {}
        self.learn: dict[str, Material] = {}
        self.missing: dict[str, str] = {}
        self.dropped: dict[str, int] = {}
        self.faces: Faces | None = None
        self.clips: Clips | None = None
        self.recordings: tuple[Recording, ...] = ()
        if unknown := sorted(set(split) - {"speech", "physiology"}):
            raise InputError(f"split: {unknown[0]} names no people; only speech and physiology can be split by person")

    def read_faces(self) -> None:
        if not self._has("face", FER_FOLDERS):
            return
        found, why = {}, ""
        for part in (*FER_TESTS, "Training"):
            try:
                found[part] = fer2013(self._data, part)
            except InputError as error:
                why = why or str(error)
        test = next((found[part] for part in FER_TESTS if part in found), None)
        if test is None:
            self.missing["face"] = why
            return
        if "Training" in found:
            test = self._without_training_pictures(test, found["Training"])
            self.learn["face"] = faces(found["Training"])
        self.faces, self.scored["face"] = test, faces(test)

    def _without_training_pictures(self, test: Faces, training: Faces) -> Faces:
        """The web gave some pictures twice, and the set's own marks miss a few: those are not scored. Many are no accident."""
        twice = shared_rows(test.images, training.images)
        if len(twice) > FEW * len(test.labels):
            raise InputError(f"{self._data}: face: {len(twice)} of {len(test.labels)} test pictures are in training too; split them anew")
        rows = np.setdiff1d(np.arange(len(test.labels)), twice)
        self.dropped["face"] = len(twice)
        people = None if test.people is None else test.people[rows]
        return dataclasses.replace(test, images=test.images[rows], labels=test.labels[rows], people=people)

    def read_speech(self) -> None:
        if not self._has("speech", *(folders for folders, _ in SPEECH_SETS)):
            return
        here = [load for folders, load in SPEECH_SETS if set_folder(self._data, folders).is_dir()]
        parameters = SpeechParameters(**self._preprocess["speech"])
        clips = speech_recipe.corpora(self._data) if len(here) == len(SPEECH_SETS) else here[0](self._data)
        sides = self._sides("speech", clips.people)

        def heard(people: tuple[str, ...]) -> tuple[Clips, Material]:
            own = clips.of(people)
            windows = [speech_recipe.clip_features(samples, parameters)[-1:] for samples in own.samples]
            return own, speech(own, windows or [np.zeros((0, parameters.frames, parameters.mels), np.float32)])

        self.clips, self.scored["speech"] = heard(sides.test)
        if sides.train:
            self.learn["speech"] = heard(sides.train)[1]

    def read_physiology(self) -> None:
        if not self._has("physiology", STRESS_PREDICT_FOLDERS):
            return
        parameters = PhysiologyParameters(**self._preprocess["physiology"])
        recordings = physiology_recipe.recordings_of(self._data)
        sides = self._sides("physiology", np.array([str(r.person) for r in recordings]))

        def of(people: tuple[str, ...]) -> tuple[Recording, ...]:
            return tuple(r for r in recordings if str(r.person) in people)

        self.recordings = of(sides.test)
        starts = {"physiology": physiology_recipe.walks_from_start, RESTARTED: physiology_recipe.walks_restarted}
        for name, walks in starts.items():
            self.scored[name] = physiology(walks(self.recordings, parameters), parameters)
            if sides.train:
                self.learn[name] = physiology(walks(of(sides.train), parameters), parameters)

    def _has(self, stage: str, *sets: tuple[str, ...]) -> bool:
        """Whether the bundle has the stage and the data one of ``sets``, by the names that their folders go by."""
        if stage not in self._stages:
            self.missing[stage] = "the bundle has no such stage"
        elif not any(set_folder(self._data, names).is_dir() for names in sets):
            self.missing[stage] = f"{' and '.join(names[0] for names in sets)}: not in the data"
        else:
            return True
        return False

    def _sides(self, stage: str, people: np.ndarray) -> Side:
        """Who teaches the baselines, who is scored: checked against those who taught the bundle."""
        there, taught = {str(name) for name in people}, set(self._learnt.of(stage))
        if stage in self._split:
            side = self._split[stage]
            if unknown := sorted({*side.train, *side.test} - there):
                raise InputError(f"split: {stage}: {unknown[0]} is not in {self._data}; name people as the set does")
        else:
            side = Side(tuple(sorted(there & taught)), tuple(sorted(there - taught)))
        require_unknown(side.test, stage, taught, "split")
        return side
