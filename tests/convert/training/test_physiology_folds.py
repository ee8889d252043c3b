from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from convert.training import physiology, physiology_folds
from convert.training.datasets.stress_predict import Recording
from convert.training.fit import Schedule
from convert.training.physiology import Windows, balanced_accuracy
from convert.training.physiology_folds import Fold, cross_validate, elapsed_baseline, main, page, summary

pytestmark = pytest.mark.convert


def recording(person: int, seconds: int = 700) -> Recording:
    rng = np.random.default_rng(person)
    labels = (np.arange(seconds) // 100 % 2).astype(np.int8)
    beats = np.cumsum(np.repeat(1.1 + 0.5 * labels, 64)) / 64
    ppg = (np.sin(2 * np.pi * beats) + rng.normal(0.0, 0.05, len(beats))).astype(np.float32)
    eda = np.exp(np.repeat(0.5 * labels, 4) + np.cumsum(rng.normal(0.0, 0.003, seconds * 4))).astype(np.float32)
    return Recording(person, 1000, 64.0, ppg, 4.0, eda, labels)


def fold(seed: int, number: int, start: str, int8: float) -> Fold:
    people = {str(2 * number + i): int8 for i in range(2)}
    return Fold(seed, number, start, int8 + 0.01, int8, 0.99, 0.6, 0.5, 0.86, 100, 7000, 2000, people)


def test_a_tree_that_knows_the_time_alone_finds_what_the_order_of_tasks_gives_away():
    elapsed_s = np.tile(np.arange(0, 3000, 5), 4)
    labels = (elapsed_s // 600 % 2).astype(int)
    windows = Windows(np.zeros((len(labels), 60, 1), np.float32), labels, np.repeat(np.arange(4), 600), elapsed_s)
    assert balanced_accuracy(labels, elapsed_baseline(windows, windows)) > 0.98


def test_the_summary_tells_seeds_from_groups_and_the_page_says_whether_the_target_is_met():
    starts = physiology_folds.STARTS
    folds = [fold(seed, number, start, 0.7 + 0.02 * number) for seed in (0, 1) for number in (0, 1) for start in starts]
    told = summary(folds)
    assert told[starts[0]]["int8"] == pytest.approx({"mean": 0.71, "sd_seeds": 0.0, "sd_folds": 0.01})
    assert told[starts[0]]["people"] == pytest.approx({"0": 0.7, "1": 0.7, "2": 0.72, "3": 0.72})
    assert "**not met**" in page(folds)
    better = [dataclasses.replace(one, int8=0.8) for one in folds]
    assert "**met**" in page(better)
    assert "| elapsed time only | 86.0% " in page(folds)


def test_people_are_left_out_in_turn_in_float_and_int8_and_finished_folds_are_read(tmp_path: pathlib.Path, monkeypatch):
    made = tuple(recording(person) for person in (2, 3, 4, 5))
    monkeypatch.setattr(physiology, "recordings_of", lambda data: made)
    monkeypatch.setattr(physiology, "DRAWS_PER_EPOCH", 512)
    monkeypatch.setattr(physiology_folds, "CALIBRATION", 200)
    options = {"folds": 2, "schedule": Schedule(epochs=3, batch=32, learning_rate=1e-2, ema_momentum=None)}
    folds = cross_validate(tmp_path, tmp_path, **options)
    assert [(one.fold, one.start) for one in folds] == [(i, start) for i in (0, 1) for start in physiology_folds.STARTS]
    assert sorted(person for one in folds[::2] for person in one.people) == ["2", "3", "4", "5"]
    assert all(one.int8 > 0.7 and one.agreement > 0.95 and one.bytes < 100_000 for one in folds)
    monkeypatch.setattr(physiology, "train_on", None)
    assert cross_validate(tmp_path, tmp_path, **options) == folds


def test_figures_are_not_replaced_unasked(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "figures.json"
    out.write_text(json.dumps({}))
    assert main(["--data", str(tmp_path), "--work", str(tmp_path), "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
