from __future__ import annotations

import dataclasses
import gzip
import json
import math
import pathlib
import sys

import numpy as np
import pytest

from benchmarks import heart_rate
from benchmarks.heart_rate import Compared, Person, Said, compare, ours, quality_for, read_people, report, score
from benchmarks.pulse_rig import START_S, chip_wave, joined
from edge.errors import InputError
from edge.types import Chunk


def wave(heart_rate_bpm: float, seconds: float, rate_hz: float = 64.0) -> np.ndarray:
    phase = 2 * np.pi * heart_rate_bpm / 60 * np.arange(round(seconds * rate_hz)) / rate_hz
    return 40.0 * (np.sin(phase) + 0.3 * np.sin(2 * phase + 1.0))


def test_a_recorded_wave_comes_through_chip_and_driver_at_its_time():
    recorded = wave(72.0, 25.0)
    first_ns, rate_hz, given = joined(chip_wave(recorded, 64.0))
    t_s = first_ns / 1e9 - START_S + np.arange(len(given)) / rate_hz
    assert rate_hz == 100.0 and t_s[-1] > 23.5
    assert np.corrcoef(given, np.interp(t_s, np.arange(len(recorded)) / 64.0, recorded))[0, 1] > 0.99


def test_the_heart_rate_of_a_recorded_wave_is_found():
    seconds = np.arange(12, 24)
    said = ours(chip_wave(wave(84.0, 25.0), 64.0), seconds)
    assert said.heart_rate_bpm == pytest.approx(84.0, abs=0.5)
    assert (said.quality > 0.5).all()


def test_gaps_are_filled_with_straight_lines():
    pieces = [
        Chunk("ppg", 5_000_000_000, 10.0, np.array([0.0, 1.0], np.float32)),
        Chunk("ppg", 5_400_000_000, 10.0, np.array([4.0], np.float32)),
    ]
    assert joined(pieces)[2].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def compared(lag_s: int, error_bpm: float, quality: np.ndarray) -> Compared:
    """A method that is ``error_bpm`` off, and sees the reference ``lag_s`` early."""
    rng = np.random.default_rng(0)
    reference_bpm = 70.0 + np.cumsum(rng.normal(0.0, 1.0, 400))
    person = Person("S01", np.zeros(0), 64.0, reference_bpm, 10)
    seconds = np.arange(10, 10 + 5 * len(quality), 5)
    said = Said(reference_bpm[seconds - 10 + lag_s] + error_bpm, quality, 1.0)
    return compare(said, person, seconds, [*heart_rate.LAGS_S, *heart_rate.WIDE_LAGS_S])


def test_each_method_gets_the_lag_that_suits_it():
    best = score({"S01": compared(7, 0.5, np.ones(60))}, [*heart_rate.LAGS_S])
    assert best.lag_s == 7
    assert best.mean_error_bpm == pytest.approx(0.5)
    assert best.coverage == 1.0


def test_coverage_is_the_share_of_seconds_kept_and_the_best_are_kept_first():
    one = {"S01": compared(0, 1.0, np.arange(60) / 60)}
    for share in (0.1, 0.5, 1.0):
        assert score(one, [*heart_rate.LAGS_S], quality_for(one, share)).coverage == pytest.approx(share, abs=1 / 60)


def test_a_second_without_an_answer_is_not_covered():
    row = compared(0, math.nan, np.ones(60))
    result = score({"S01": row, "S02": compared(0, 2.0, np.ones(60))}, [*heart_rate.LAGS_S])
    assert result.coverage == 0.5
    assert result.people["S01"] == (None, 0.0)
    assert result.mean_error_bpm == pytest.approx(2.0)


def test_the_report_says_whether_the_target_is_met():
    for error_bpm, verdict in ((2.9, "**met**"), (3.1, "**not met**")):
        exact = dataclasses.replace(compared(3, 0.0, np.ones(60)), errors_bpm=np.full((24, 60), error_bpm))
        text = heart_rate.as_markdown(report({m: {"S01": exact} for m in heart_rate.METHODS}))
        assert verdict in text
        assert f"| S01 | {error_bpm:.2f}, 100% |" in text


def test_a_missing_set_and_a_missing_package_are_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="Stress-Predict"):
        read_people(tmp_path)
    monkeypatch.setitem(sys.modules, "heartpy", None)
    with pytest.raises(InputError, match="pip install neurokit2 heartpy"):
        heart_rate.main(["--data", str(tmp_path)])


def test_the_whole_comparison_runs_on_a_made_up_person(tmp_path: pathlib.Path):
    pytest.importorskip("heartpy", reason="pip install heartpy")
    pytest.importorskip("neurokit2", reason="pip install neurokit2")
    pytest.importorskip("convert.training.datasets.stress_predict")
    folder = tmp_path / "stress_predict" / "Raw_data" / "S01"
    folder.mkdir(parents=True)
    for name, lines in (("BVP", [1000.0, 64.0, *wave(66.0, 120.0)]), ("HR", [1010.0, 1.0, *np.full(110, 66.0)])):
        with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
            file.writelines(f"{line:.4f}\n" for line in lines)
    assert heart_rate.main(["--data", str(tmp_path), "-o", str(tmp_path / "out"), "--waves", str(tmp_path / "waves")]) == 0
    told = json.loads((tmp_path / "out" / "heart-rate.json").read_text())["tables"]["as they come"]
    for method in heart_rate.METHODS:
        assert told[method]["mean_error_bpm"] < 1.5, method
    assert "**met**" in (tmp_path / "out" / "heart-rate.md").read_text()
    assert (tmp_path / "waves" / "S01.npz").exists()
