from __future__ import annotations

import gzip
import pathlib

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from convert.training.datasets.stress_predict import LABELLED_PEOPLE, Recording, stress_predict  # noqa: E402
from convert.training.fit import Schedule  # noqa: E402
from convert.training.physiology import (  # noqa: E402
    PARAMETERS as REMEMBERING,
)
from convert.training.physiology import (  # noqa: E402
    Windows,
    augment,
    balanced_accuracy,
    even_rows,
    linear_baseline,
    split_people,
    train_on,
    walk,
    walks_for_training,
    windows_of,
)
from convert.zoo.physiology import physiology_encoder  # noqa: E402
from edge.errors import InputError  # noqa: E402
from edge.preprocess.physiology import CHANNELS, PULSE_VALID, SKIN_VALID, PhysiologyFront, PhysiologyParameters  # noqa: E402
from edge.types import Chunk, Window  # noqa: E402

pytestmark = pytest.mark.convert
PARAMETERS = PhysiologyParameters()


def recording(seconds: int = 150) -> Recording:
    rng = np.random.default_rng(2)
    t_s = np.arange(seconds * 64) / 64
    ppg = (np.sin(2 * np.pi * 1.3 * t_s) + rng.normal(0.0, 0.1, len(t_s))).astype(np.float32)
    eda = np.exp(np.cumsum(rng.normal(0.0, 0.02, seconds * 4))).astype(np.float32)
    eda[70 * 4 : 85 * 4 + 3] = 0.0
    labels = np.where(np.arange(seconds) < seconds // 2, 0, 1).astype(np.int8)
    return Recording(7, 1000, 64.0, ppg, 4.0, eda, labels)


def blobs(n: int, people: int, apart: float = 0.8) -> Windows:
    rng = np.random.default_rng(3)
    labels = np.arange(n) % 2
    samples = rng.normal(0.0, 0.5, (n, 60, len(CHANNELS))).astype(np.float32)
    samples[..., 0] += apart * (2 * labels[:, None] - 1)
    samples[..., [PULSE_VALID, SKIN_VALID]] = 1.0
    return Windows(samples, labels, np.arange(n) // 2 % people)


def test_a_walk_gives_the_windows_that_the_front_gives():
    one = recording()
    made = walk(one, PARAMETERS)
    windows = windows_of([made], PARAMETERS, every_s=1)
    front, given = PhysiologyFront(PARAMETERS), {}
    for ms in range(0, 150_000, 250):
        at = ms / 1000
        front.push(Chunk("ppg", ms * 1_000_000, 64.0, one.ppg[round(at * 64) : round(at * 64) + 16]))
        front.push(Chunk("eda", ms * 1_000_000, 4.0, one.eda[round(at * 4) : round(at * 4) + 1]))
        news = front.poll((ms + 250) * 1_000_000)
        if isinstance(news, Window):
            given[news.end_ns // 1_000_000_000] = news.samples
    seconds = [int(row) + 1 for row in np.flatnonzero(made.given)]
    assert len(windows.samples) == len(seconds) > 100
    assert set(seconds) - set(given) <= {70}  # there the sample that ends the second tells that the electrodes came off
    for t_s, samples in zip(seconds, windows.samples, strict=True):
        if t_s in given:
            assert np.array_equal(given[t_s], samples)


def test_labels_belong_to_the_second_that_the_step_ends():
    one = recording(60)
    made = walk(one, PARAMETERS, 10, 50)
    assert np.array_equal(made.labels, one.labels[10 : 10 + len(made.steps)])
    assert len(made.steps) == 39  # the 40th second ends with the sample after it


def test_training_walks_start_anywhere_and_are_close_to_fronts_that_were_truly_started_there():
    one = recording(700)
    first, *others = walks_for_training([one], REMEMBERING, 0)
    assert first.first_s == 0
    assert np.array_equal(first.steps, walk(one, REMEMBERING).steps)
    assert len(others) > 3
    for late in others:
        true = walk(one, REMEMBERING, late.first_s, late.first_s + len(late.steps) + 1)
        assert np.array_equal(late.labels, true.labels[: len(late.labels)])
        assert np.mean(late.given == true.given) > 0.9
        valid = late.steps[60:, PULSE_VALID] == true.steps[60:, PULSE_VALID]
        assert valid.mean() > 0.95


def test_windows_say_when_their_front_was_started_and_rows_are_drawn_by_it():
    one = recording(700)
    windows = windows_of([walk(one, REMEMBERING), walk(one, REMEMBERING, 300, 650)], REMEMBERING)
    assert windows.samples.shape[1:] == (60, REMEMBERING.channels)
    assert set(windows.first_s) == {0, 300}
    assert windows.elapsed_s[windows.first_s == 300].max() < 350
    rows = even_rows(windows, np.random.default_rng(0), 2000, from_start=0.25)
    late_too = windows.labels[rows] == 1
    assert np.mean(windows.first_s[rows][late_too] == 0) == pytest.approx(0.25, abs=0.05)
    part = windows.of(windows.first_s == 300)
    assert set(part.first_s) == {300}
    assert len(part.elapsed_s) == len(part.labels)


def test_the_front_of_new_bundles_gives_what_the_encoder_takes():
    model = physiology_encoder(channels=REMEMBERING.channels)
    assert model.input_shape == (None, REMEMBERING.window_s, 12)
    augmented = augment(np.full((8, 60, 12), 0.5, np.float32), np.random.default_rng(0))
    assert (augmented[..., 7:] != 0.5).all()  # averages are augmented as well


def test_people_are_split_without_overlap_and_by_seed_alone():
    split = split_people(0)
    assert sorted(split.learn + split.fusion + split.validation) == list(LABELLED_PEOPLE)
    assert (len(split.learn), len(split.fusion), len(split.validation)) == (21, 4, 4)
    assert split == split_people(0) != split_people(1)


def test_augmentation_keeps_the_range_the_padding_and_the_input():
    windows = blobs(64, 4)
    windows.samples[:, :20] = 0.0
    before = windows.samples.copy()
    changed = augment(windows.samples, np.random.default_rng(0))
    assert np.array_equal(windows.samples, before)
    assert np.abs(changed).max() <= 3.0
    assert not changed[:, :20].any()
    assert set(np.unique(changed[..., PULSE_VALID])) == {0.0, 1.0}
    assert (changed[:, -1, SKIN_VALID] == 1.0).all()
    for row in changed:  # what is marked as not measured is held
        for step in range(21, 60):
            if row[step, SKIN_VALID] == 0.0 and row[step - 1].any():
                assert np.array_equal(row[step, 2:5], row[step - 1, 2:5])


def test_rows_are_drawn_evenly_over_people_and_labels():
    windows = blobs(100, 2)
    rare = Windows(windows.samples, np.where(np.arange(100) < 4, windows.labels, 0), windows.people)
    rows = even_rows(rare, np.random.default_rng(0), 4000)
    assert np.mean(rare.labels[rows]) == pytest.approx(0.5, abs=0.05)
    assert np.mean(rare.people[rows]) == pytest.approx(0.5, abs=0.05)


def test_balanced_accuracy_of_the_majority_is_one_half():
    labels = np.array([0, 0, 0, 1])
    assert balanced_accuracy(labels, np.zeros(4, int)) == 0.5
    assert balanced_accuracy(labels, labels) == 1.0


def test_the_linear_baseline_learns_what_is_linear():
    learn, score = blobs(200, 5), blobs(60, 3)
    assert balanced_accuracy(score.labels, linear_baseline(learn, [score])[0]) > 0.95


def test_the_encoder_is_small_and_names_its_ends():
    model = physiology_encoder()
    assert model.count_params() <= 40_000
    assert model.input_shape == (None, 60, len(CHANNELS))
    assert [tensor.name for tensor in model.inputs] == ["physiology"]
    assert {name: tuple(out.shape) for name, out in model.output.items()} == {"embedding": (None, 32), "probabilities": (None, 2)}


def test_the_encoder_learns(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("convert.training.physiology.DRAWS_PER_EPOCH", 256)
    schedule = Schedule(epochs=3, batch=32, learning_rate=1e-2, ema_momentum=None)
    model = train_on(blobs(128, 4), tmp_path, seed=0, name="test", schedule=schedule)
    score = blobs(64, 4)
    guesses = model.predict(score.samples, verbose=0)["probabilities"].argmax(axis=1)
    assert balanced_accuracy(score.labels, guesses) > 0.9
    assert [path.name for path in tmp_path.iterdir()] == ["physiology-test-seed0-epochs3.done.weights.h5"]


def test_recordings_are_aligned_by_unix_second(data: pathlib.Path):
    (one,) = stress_predict(data, (5,))
    assert one.start_s == 1644829925
    assert (one.ppg_rate_hz, one.eda_rate_hz) == (64.0, 4.0)
    assert list(np.unique(one.labels)) == [-1, 0, 1]
    # the first stress task begins at Unix 1644830599, as the person's button says
    assert np.flatnonzero(one.labels == 1)[0] + one.start_s == pytest.approx(1644830599, abs=1)
    assert np.mean(one.labels == 1) == pytest.approx(0.34, abs=0.02)


def test_people_without_labels_are_named(data: pathlib.Path):
    with pytest.raises(InputError, match="no labels for S01, S99"):
        stress_predict(data, (1, 2, 99))


def small_set(folder: pathlib.Path, *, eda_start: int = 1000, label_start: int = 1000) -> pathlib.Path:
    place = folder / "stress_predict" / "Raw_data" / "S02"
    place.mkdir(parents=True)
    for name, start, rate, n in (("BVP", 1000, 64, 64 * 20), ("EDA", eda_start, 4, 80)):
        with gzip.open(place / f"{name}.csv.gz", "wt") as out:
            out.write(f"{start}\n{rate}\n" + "0.5\n" * n)
    with gzip.open(folder / "stress_predict" / "labels_hr_resp_1hz.csv.gz", "wt") as out:
        out.write("Participant,HR,respr,Time(sec),Label\n" + "".join(f"2,80,,{label_start + i},1\n" for i in range(20)))
    return folder


def test_labels_outside_the_signals_are_refused(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="50% of its labels"):
        stress_predict(small_set(tmp_path, label_start=1010), (2,))


def test_signals_that_start_apart_are_refused(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="expected one start"):
        stress_predict(small_set(tmp_path, eda_start=1060), (2,))


def test_a_missing_or_damaged_signal_is_named(tmp_path: pathlib.Path):
    small_set(tmp_path)
    bvp = tmp_path / "stress_predict" / "Raw_data" / "S02" / "BVP.csv.gz"
    with gzip.open(bvp, "wt") as out:
        out.write("1000\n64\nnot a number\n")
    with pytest.raises(InputError, match=r"BVP\.csv\.gz: not a column of numbers"):
        stress_predict(tmp_path, (2,))
    bvp.unlink()
    with pytest.raises(InputError, match=r"BVP\.csv\.gz: a signal of Stress-Predict is missing"):
        stress_predict(tmp_path, (2,))


def test_everybody_with_a_folder_and_labels_is_read_whatever_the_number(data: pathlib.Path, tmp_path: pathlib.Path):
    here, there = data / "stress_predict", tmp_path / "stress_predict"
    (there / "Raw_data").mkdir(parents=True)
    (there / "labels_hr_resp_1hz.csv.gz").symlink_to(here / "labels_hr_resp_1hz.csv.gz")
    with pytest.raises(InputError, match="nobody has both"):
        stress_predict(tmp_path)
    (there / "Raw_data" / "S12").symlink_to(here / "Raw_data" / "S12")
    assert [one.person for one in stress_predict(tmp_path)] == [12]
