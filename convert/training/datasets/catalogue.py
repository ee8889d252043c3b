"""All sets that can be read: where they are looked for, their terms, and whether they are there."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib

from convert.training.datasets import Found, set_folder
from convert.training.datasets.crema_d import CREMA_D_FOLDERS, survey_crema_d
from convert.training.datasets.daisee import DAISEE_FOLDERS, survey_daisee
from convert.training.datasets.fer2013 import FER_FOLDERS, survey_fer2013
from convert.training.datasets.ferplus import FERPLUS_FOLDERS, survey_ferplus
from convert.training.datasets.own import OWN_FOLDERS, survey_own_faces, survey_own_physiology, survey_own_speech
from convert.training.datasets.speech import EMODB_FOLDERS, RAVDESS_FOLDERS, list_emodb, list_ravdess, survey_speech
from convert.training.datasets.stress_predict import STRESS_PREDICT_FOLDERS, survey_stress_predict
from convert.training.datasets.wesad import WESAD_FOLDERS, survey_wesad
from edge.errors import InputError


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A set by name; ``places`` are files or folders under --data any of which means that it is there."""

    name: str
    modality: str
    places: tuple[str, ...]
    layout: str
    """What it looks like, for who has it not yet."""
    terms: str
    survey: collections.abc.Callable[[pathlib.Path], Found]

    def is_there(self, data: pathlib.Path) -> bool:
        """Whether any of its places exists."""
        return any((data / place).exists() for place in self.places) or set_folder(data, self.places).is_dir()


@dataclasses.dataclass(frozen=True)
class State:
    """What was found of a set: ``found``, or ``missing`` in one line; neither if it is not there at all."""

    found: Found | None = None
    missing: str = ""


def state_of(one: DataSet, data: pathlib.Path) -> State:
    """Look for a set in ``data``."""
    if not one.is_there(data):
        return State()
    try:
        return State(one.survey(data))
    except InputError as error:
        return State(missing=" ".join(str(error).split()))


CATALOGUE = (
    DataSet(
        "FER2013", "face", FER_FOLDERS, "fer2013/fer2013.csv, or train/angry/*.jpg and test/ in it",
        "web images, copyright of third parties: local research only", survey_fer2013,
    ),
    DataSet(
        "FERPlus", "face", (*FERPLUS_FOLDERS, "fer2013/fer2013new.csv"), "ferplus/fer2013new.csv beside fer2013/fer2013.csv",
        "votes MIT; pictures as FER2013", survey_ferplus,
    ),
    DataSet(
        "DAiSEE", "face", DAISEE_FOLDERS, "daisee/DataSet/Train/USER/CLIP/CLIP.avi and daisee/Labels/TrainLabels.csv",
        "on request, research only, not to be passed on", survey_daisee,
    ),
    DataSet(
        "EmoDB", "speech", EMODB_FOLDERS, "emodb/wav/03a01Fa.wav",
        "CC0", lambda data: survey_speech(list_emodb(data), 10, 535),
    ),
    DataSet(
        "RAVDESS", "speech", RAVDESS_FOLDERS, "ravdess/Actor_12/03-01-06-01-02-01-12.wav",
        "CC BY-NC-SA 4.0: research, non-commercial", lambda data: survey_speech(list_ravdess(data), 24, 1440),
    ),
    DataSet(
        "CREMA-D", "speech", CREMA_D_FOLDERS, "crema-d/AudioWAV/1001_DFA_ANG_XX.wav",
        "Open Database License", survey_crema_d,
    ),
    DataSet(
        "Stress-Predict", "physiology", STRESS_PREDICT_FOLDERS,
        "stress_predict/Raw_data/S02/BVP.csv and Processed_data/Improved_All_Combined_hr_rsp_binary.csv",
        "MIT", survey_stress_predict,
    ),
    DataSet(
        "WESAD", "physiology", WESAD_FOLDERS, "wesad/S2/S2.pkl",
        "scientific, non-commercial, with credit", survey_wesad,
    ),
    DataSet("own faces", "face", (OWN_FOLDERS["faces"],), "own/faces/PERSON/LABEL/*.png", "yours", survey_own_faces),
    DataSet("own speech", "speech", (OWN_FOLDERS["speech"],), "own/speech/PERSON/LABEL/*.wav", "yours", survey_own_speech),
    DataSet(
        "own physiology", "physiology", (OWN_FOLDERS["physiology"],), "own/physiology/PERSON.csv with t_s, ppg, eda_us, label",
        "yours", survey_own_physiology,
    ),
)  # fmt: skip
