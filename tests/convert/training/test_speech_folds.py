"""Folds by speaker: who is left out, how figures are put together, and that a finished fold is not made again."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the convert extra")
from convert.training.datasets.speech import EMODB_EMOTIONS, RAVDESS_EMOTIONS, Clips
from convert.training.speech_folds import Fold, Score, fold_of, groups, labels_of, main, summarize, table

pytestmark = pytest.mark.convert
NAMES = [f"emodb-{i:02d}" for i in (3, 8, 9, 10, 11, 12, 13, 14)] + [f"ravdess-{i:02d}" for i in range(1, 21)]


def score(task: str, confusion: list[list[int]]) -> Score:
    counts = np.array(confusion)
    recalls = np.diag(counts) / counts.sum(axis=1)
    return Score(
        task=task,
        clips=int(counts.sum()),
        uar=float(recalls.mean()),
        accuracy=float(np.trace(counts) / counts.sum()),
        float_uar=0.5,
        float_accuracy=0.5,
        agreement=0.99,
        linear_uar=0.4,
        majority=0.25,
        confusion=confusion,
        accuracy_by_person={"ravdess-01": 0.5},
    )


def fold(seed: int, number: int, *scores: Score) -> Fold:
    return Fold(seed, number, ("emodb-03", "ravdess-01"), 90_000, 70_000, 4_000_000, scores)


@pytest.mark.parametrize("seed", range(4))
def test_each_speaker_is_left_out_once_and_four_actors_are_two_women_and_two_men(seed: int):
    made = groups(NAMES * 2, folds=5, seed=seed)
    assert sorted(name for group in made for name in group) == sorted(NAMES)
    assert len(made) == 8
    for group in made:
        assert sum(name.startswith("emodb") for name in group) == 1
    for group in made[:5]:
        actors = [int(name[-2:]) for name in group if name.startswith("ravdess")]
        assert len(actors) == 4 and sum(actor % 2 for actor in actors) == 2
    assert made == groups(reversed(NAMES), folds=5, seed=seed)
    assert made != groups(NAMES, folds=5, seed=seed + 1)


def test_a_task_names_its_classes():
    clips = Clips((np.zeros(1, np.float32),) * 2, np.array([3, 0]), np.array(["emodb-03"] * 2), np.array(["angry", "happy"]))
    labels, classes = labels_of(clips, "emodb")
    assert classes == EMODB_EMOTIONS and [classes[i] for i in labels] == ["angry", "happy"]
    assert labels_of(clips, "ravdess")[1] == RAVDESS_EMOTIONS
    np.testing.assert_array_equal(labels_of(clips, "emodb quadrants")[0], clips.labels)


def test_recalls_are_of_all_clips_of_a_seed_together_and_the_spread_is_over_seeds():
    found = [
        fold(0, 0, score("emodb", [[1, 1], [0, 1]])),
        fold(0, 1, score("emodb", [[2, 0], [1, 0]])),
        fold(1, 0, score("emodb", [[4, 0], [0, 2]])),
    ]
    row = summarize(found)["emodb"]
    assert row["uar"] == pytest.approx(((0.75 + 0.5) / 2 + 1.0) / 2)
    assert row["uar_std_over_seeds"] == pytest.approx((1.0 - 0.625) / 2)
    assert row["worst_fold_uar"] == pytest.approx(0.5)
    assert row["accuracy_mean"] == pytest.approx((2 / 3 * 3 + 2 / 3 * 3 + 6) / 12)


def test_a_fold_comes_back_from_json_as_it_was():
    made = fold(3, 1, score("ravdess", [[1, 0], [1, 1]]), score("ravdess quadrants", [[2, 0], [0, 1]]))
    assert fold_of(json.loads(json.dumps(dataclasses.asdict(made)))) == made


def test_the_table_has_a_row_for_each_task_and_each_fold():
    found, crossed = [fold(0, 0, score("ravdess", [[1, 0], [1, 1]]))], [fold(0, 0, score("emodb quadrants", [[1, 0], [0, 1]]))]
    text = table(
        {
            "seeds": [0],
            "folds": [dataclasses.asdict(one) for one in found],
            "cross_corpus_runs": [dataclasses.asdict(one) for one in crossed],
            "summary": summarize(found),
            "cross_corpus": summarize(crossed),
        }
    )
    assert "| ravdess | 75.0 % |" in text and "| from the other corpus: emodb quadrants | 100.0 % |" in text
    assert "| 0 | emodb-03, ravdess-01 | 90 | ravdess | 75.0 % | 50.0 % | 99.0 % | 40.0 % |" in text


def test_a_result_that_exists_is_not_overwritten_unasked(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "speech.json").write_text("mine")
    assert main(["--data", str(tmp_path), "--work", str(tmp_path), "-o", str(tmp_path / "speech.json")]) == 2
    assert "exists; name another file or say --overwrite" in capsys.readouterr().err
    assert (tmp_path / "speech.json").read_text() == "mine"
