"""What the fused systems share: groups that share nobody, takes of every modality, tasks and baselines."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")

from convert.training.datasets.fer2013 import Faces  # noqa: E402
from convert.training.datasets.speech import Clips  # noqa: E402
from convert.training.systems import fused  # noqa: E402
from convert.training.systems.companions import Companions, Takes  # noqa: E402
from convert.training.systems.system import Judged  # noqa: E402
from edge.errors import InputError  # noqa: E402
from edge.preprocess.speech import SpeechParameters  # noqa: E402


def pool(rng: np.random.Generator, person: str, *, clear: float, classes: int = 3, items: int = 20) -> Takes:
    """Embeddings (4,) with the label's own direction, ``clear`` long, in noise."""
    labels = np.repeat(np.arange(classes), items)
    vectors = rng.normal(0.0, 1.0, (len(labels), 4)) + clear * np.eye(classes, 4)[labels]
    return Takes(vectors.astype(np.float32), labels, np.full(len(labels), person), np.arange(len(labels)))


def test_lending_leaves_groups_that_share_nobody_and_takes_from_every_corpus_that_can_spare_one():
    learn, fusion = ["emodb-03", "emodb-08", "ravdess-01", "ravdess-02", "ravdess-03"], ["emodb-09", "ravdess-04", "ravdess-05"]
    groups = fused.lend(learn, fusion, lender="learn")
    assert groups == fused.Groups(("emodb-08", "ravdess-02", "ravdess-03"), tuple(fusion), ("emodb-03", "ravdess-01"))
    assert set(groups.all) == {*learn, *fusion}
    given = fused.lend(learn, fusion, lender="fusion")
    assert given == fused.Groups(tuple(learn), ("emodb-09", "ravdess-05"), ("ravdess-04",))
    assert len(fused.lend(range(9), range(20, 24), lender="learn", count=2).temper) == 2


def test_nobody_to_spare_is_said():
    with pytest.raises(InputError, match="1 people are too few to leave one out"):
        fused.lend(["ravdess-01", "ravdess-02"], ["ravdess-03"], lender="fusion")


def test_nobody_left_to_score_is_said(tmp_path):
    assert fused.unknown([3, 4, 4], ["3"], tmp_path, "physiology") == ["4"]
    with pytest.raises(InputError, match="physiology: nobody in this set was left out"):
        fused.unknown([3], ["3"], tmp_path, "physiology")


def test_a_picture_is_an_item_of_versions_of_which_the_first_is_as_it_is():
    rng = np.random.default_rng(0)
    faces = Faces(rng.integers(0, 256, (5, 48, 48), dtype=np.uint8), np.array([0, 1, 2, 3, 6]))
    takes = fused.face_takes(faces, "Training", versions=3, label_of=np.array([9, 8, 7, 6, 5, 4, 3]))
    assert takes.vectors.shape == (15, 48, 48, 1)
    np.testing.assert_allclose(takes.vectors[::3, ..., 0], faces.images / 127.5 - 1.0, atol=1e-6)
    assert (np.abs(takes.vectors[1::3] - takes.vectors[::3]).max(axis=(1, 2, 3)) > 0.1).all()
    np.testing.assert_array_equal(takes.labels, np.repeat([9, 8, 7, 6, 3], 3))
    np.testing.assert_array_equal(takes.items, np.repeat(np.arange(5), 3))
    assert takes.people[4] == "Training-1"


def test_bad_video_changes_the_picture_as_told():
    faces = Faces(np.random.default_rng(1).integers(0, 256, (3, 48, 48), dtype=np.uint8), np.array([0, 1, 2]))
    plain = fused.face_takes(faces, "PublicTest").vectors
    worse = fused.spoilt_faces(faces, "PublicTest")
    covered, small = (worse[words].vectors for words in ("40 % of the face covered", "faces of 16 px"))
    np.testing.assert_allclose((covered != plain).mean(axis=(1, 2, 3)), 0.4, atol=0.04)
    assert small.std() < 0.6 * plain.std()


def test_a_clip_is_an_item_of_its_later_windows_and_one_without_label_is_left_out():
    t = np.arange(48000) / 16000
    loud = 10 ** (-1.5 * (0.5 + 0.5 * np.cos(2 * np.pi * 4 * t)) ** 2)
    samples = (loud * np.random.default_rng(2).standard_normal(len(t)) * 0.05).astype(np.float32)
    clips = Clips((samples, samples[:30000], samples), np.zeros(3, int), np.array(["a-1", "a-2", "a-3"]), np.array(["x"] * 3))
    takes = fused.speech_takes(clips, np.array([2, -1, 5]), SpeechParameters())
    assert set(takes.items) == {0, 2}
    assert set(zip(takes.labels.tolist(), takes.people.tolist(), strict=True)) == {(2, "a-1"), (5, "a-3")}
    every = fused.speech.clip_features(samples, SpeechParameters())
    np.testing.assert_array_equal(takes.vectors[takes.items == 0], every[len(every) // 2 :])


def test_minutes_never_join_two_people_or_two_labels_and_are_of_at_most_twelve_windows():
    keys = np.repeat([4, 5, 4], [30, 5, 12])
    items = fused.minutes(keys)
    assert [len(np.unique(keys[items == item])) for item in np.unique(items)] == [1] * 5
    assert np.bincount(items).tolist() == [12, 12, 6, 5, 12]


def test_tasks_ask_for_everything_first_then_for_each_alone_and_for_every_way_of_absence():
    rng = np.random.default_rng(3)
    takes = {"face": pool(rng, "a", clear=3.0), "speech": pool(rng, "b", clear=3.0)}
    present = []

    def answer(drawn: Companions) -> Judged:
        present.append(drawn.mask.mean(axis=(0, 1)))
        summed = sum(values[:, -1, :3] for values in drawn.inputs.values())
        return Judged(drawn.labels[:, -1], summed)

    judged = fused.tasks(takes, answer, classes=3, steps=4, seed=0, count=300)
    by_task = dict(zip(judged, present, strict=True))
    assert next(iter(judged)) == fused.EVERYTHING
    np.testing.assert_array_equal(by_task[fused.EVERYTHING], [1, 1])
    np.testing.assert_array_equal(by_task["speech alone"], [0, 1])
    np.testing.assert_array_equal(by_task["one absent at every step"].sum(), 1)
    rates = [1 - by_task[f"each absent with chance {rate}"].mean() for rate in fused.MISSING_RATES]
    assert rates == sorted(rates)
    score = {task: fused.figures(task, one).accuracy for task, one in judged.items()}
    assert score[fused.EVERYTHING] > score["face alone"] > 0.7
    assert "absent in bursts, chance 0.5" in judged
    assert "absent in bursts, chance 0.5" not in fused.tasks(takes, answer, classes=3, steps=1, seed=0, count=20)


def test_linear_rows_join_what_each_alone_says_less_well():
    rng = np.random.default_rng(4)
    learn = {"face": pool(rng, "a", clear=1.5), "speech": pool(rng, "b", clear=1.5)}
    judge = {"face": pool(rng, "c", clear=1.5), "speech": pool(rng, "d", clear=1.5)}
    rows = fused.linear_rows(learn, judge, classes=3, steps=1, seed=0)
    assert [row.what.startswith("linear") for row in rows] == [True] * 3
    assert rows[0].accuracy > max(row.accuracy for row in rows[1:])
    assert min(row.accuracy for row in rows) > 0.45


def test_halves_hold_every_item_once():
    takes = {"face": pool(np.random.default_rng(5), "a", clear=1.0)}
    first, second = fused.halves(takes, 0)
    assert not set(first["face"].items) & set(second["face"].items)
    assert len(first["face"].labels) + len(second["face"].labels) == len(takes["face"].labels)


def test_spread_is_over_runs():
    labels = np.array([0, 0, 1, 1])
    runs = [Judged(labels, np.eye(2)[labels]), Judged(labels, np.eye(2)[[0, 1, 1, 1]])]
    row = fused.spread("two", runs)
    assert (row.runs, row.accuracy, row.uar_std) == (2, pytest.approx(0.875), pytest.approx(0.125))
