"""The shipped bundle through ``affectkit evaluate``, on people it has not learnt from: slow, and only where the public sets are."""

from __future__ import annotations

import csv
import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs the convert extra")
from convert.evaluation import apart, evaluate, sets
from convert.evaluation.cli import as_lines
from edge.bundle import load_bundle
from edge.errors import BundleError, InputError

pytestmark = pytest.mark.convert


@pytest.fixture(scope="module")
def bundle(embedded_bundle):
    return load_bundle(embedded_bundle)


@pytest.fixture(scope="module")
def read(data, bundle) -> sets.Sets:
    return sets.read(bundle, data, evaluate.learnt_from(bundle))


@pytest.fixture(scope="module")
def results(read, bundle):
    return evaluate.Run(bundle, read, evaluate.learnt_from(bundle), evaluate.Options(), lambda what: None).run().results


@pytest.mark.slow
class TestShippedBundle:
    def test_faces_of_seven_expressions_in_at_most_300_kb(self, results, embedded_bundle):
        assert results["face"]["int8"]["accuracy"] >= 0.66
        assert len(load_bundle(embedded_bundle).stage("face")) <= 300_000

    def test_voices_nobody_trained_on_are_told_far_better_than_by_a_linear_model(self, results):
        one = results["speech"]
        assert one["int8"]["uar"] >= one["majority"]["uar"] + 0.35
        assert one["int8"]["uar"] >= one["linear"]["uar"] + 0.10

    def test_stress_of_people_nobody_trained_on_is_told_from_rest(self, results):
        # Over all people the network and a linear model are equals (the card says so), and four people are too few to rank them.
        assert results["physiology"]["int8"]["uar"] >= 0.70
        assert results["physiology, restarted"]["int8"]["uar"] >= 0.60

    def test_all_modalities_together_beat_the_best_single_one(self, results):
        got = results["fusion"]["by_presence"]
        single = max(got[name]["accuracy"] for name in ("face", "speech", "physiology"))
        assert got["face + speech + physiology"]["accuracy"] >= single + 0.03

    def test_the_card_says_what_is_measured_again(self, results, embedded_bundle):
        told = load_bundle(embedded_bundle).quality["results"]
        for stage in ("face", "speech", "physiology"):
            assert told[stage]["int8"]["uar"] == pytest.approx(results[stage]["int8"]["uar"], abs=0.01)
            assert told[stage]["linear"]["uar"] == pytest.approx(results[stage]["linear"]["uar"], abs=0.02)

    def test_the_table_names_every_stage(self, results):
        table = "\n".join(as_lines(results))
        assert all(word in table for word in ("face", "speech", "physiology", "majority", "linear"))
        json.dumps(results)


@pytest.mark.slow
def test_nobody_the_bundle_has_learnt_from_is_scored(read, bundle):
    learnt = evaluate.learnt_from(bundle)
    for stage in ("speech", "physiology"):
        assert not set(read.scored[stage].people) & set(learnt.people[stage])
        assert not set(read.scored[stage].people) & set(read.learn[stage].people)
    assert not apart.digests(read.scored["face"].inputs) & apart.digests(read.learn["face"].inputs)


def test_int8_agrees_with_float_on_98_percent_for_every_stage_that_decides(bundle):
    agreement = bundle.quality["agreement"]
    for stage in ("face", "speech", "physiology", "fusion"):
        assert agreement[stage]["top1"] >= 0.98
        assert agreement[stage]["samples"] >= 200


def test_a_bundle_that_hides_its_people_is_not_scored(embedded_bundle, monkeypatch):
    bundle = load_bundle(embedded_bundle)
    monkeypatch.setattr(type(bundle), "quality", None)
    with pytest.raises(BundleError, match="does not say whom it learnt from"):
        evaluate.learnt_from(bundle)


def few_clips(data: pathlib.Path, out: pathlib.Path, people: dict[str, int]) -> pathlib.Path:
    """A folder with EmoDB alone: so many clips of each of these speakers, the first ones listed."""
    source, left = data / "emodb", dict(people)
    if not source.is_dir():
        pytest.skip(f"{source}: not there")
    with (source / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    (out / "emodb" / "speech").mkdir(parents=True)
    kept = []
    for row in rows:
        name = f"emodb-{int(row['speaker']):02d}"
        if left.get(name, 0) > 0:
            left[name] -= 1
            kept.append(row)
            (out / "emodb" / "speech" / row["path"]).symlink_to((source / "speech" / row["path"]).resolve())
    with (out / "emodb" / "labels.csv").open("w", newline="", encoding="utf-8") as lines:
        table = csv.DictWriter(lines, list(rows[0]))
        table.writeheader()
        table.writerows(kept)
    return out


@pytest.fixture(scope="module")
def speakers(data, bundle) -> tuple[list[str], list[str]]:
    """EmoDB's: who taught the bundle, who did not."""
    with (data / "emodb" / "labels.csv").open(newline="", encoding="utf-8") as lines:
        names = sorted({f"emodb-{int(row['speaker']):02d}" for row in csv.DictReader(lines)})
    taught = set(evaluate.learnt_from(bundle).people["speech"])
    return [name for name in names if name in taught], [name for name in names if name not in taught]


def test_what_is_there_is_scored_and_what_is_not_is_named(data, bundle, speakers, tmp_path):
    taught, new = speakers
    folder = few_clips(data, tmp_path, {taught[0]: 12, new[0]: 8})
    floats = tmp_path / "float"
    floats.mkdir()
    (floats / "speech.tflite").write_bytes(bundle.stage("speech"))  # int8 against itself agrees on all
    found = evaluate.examine(bundle, folder, options=evaluate.Options(floats=floats))
    assert set(found.results) == {"speech"}
    assert set(found.missing) == {"face", "physiology", "fusion"}
    assert found.missing["fusion"] == "needs face, physiology too"
    one = found.results["speech"]
    assert one["int8"]["samples"] == 8 and one["people"] == 1 and set(one["by_person"]) == {new[0]}
    assert one["agreement"] == 1.0 and one["float"]["uar"] == one["int8"]["uar"]
    assert one["linear"]["uar"] is not None
    json.dumps(found.results)
    with pytest.raises(InputError, match="bring all sets"):
        evaluate.evaluate(bundle, folder)
    with pytest.raises(InputError, match=r"speech\.tflite: no such file; --float names a folder"):
        evaluate.examine(bundle, folder, options=evaluate.Options(floats=tmp_path))


def test_a_set_whose_every_person_taught_the_bundle_is_refused(data, bundle, speakers, tmp_path):
    folder = few_clips(data, tmp_path, {speakers[0][0]: 4})
    with pytest.raises(InputError, match="nobody in this set was left out of training") as caught:
        evaluate.examine(bundle, folder)
    assert "\n" not in str(caught.value)


def test_a_split_decides_who_is_scored_but_not_against_the_bundle(data, bundle, speakers, tmp_path):
    taught, new = speakers
    folder = few_clips(data, tmp_path, {taught[0]: 6, taught[1]: 6, new[0]: 4})
    split = {"speech": apart.Side((taught[0],), (new[0],))}
    own = sets.read(bundle, folder, evaluate.learnt_from(bundle), split)
    assert set(own.scored["speech"].people) == {new[0]} and set(own.learn["speech"].people) == {taught[0]}
    with pytest.raises(InputError, match=f"speech: {taught[1]} taught this bundle"):
        sets.read(bundle, folder, evaluate.learnt_from(bundle), {"speech": apart.Side((taught[0],), (taught[1], new[0]))})
    with pytest.raises(InputError, match="nobody-9 is not in"):
        sets.read(bundle, folder, evaluate.learnt_from(bundle), {"speech": apart.Side((), ("nobody-9",))})
    with pytest.raises(InputError, match="face names no people"):
        sets.read(bundle, folder, evaluate.learnt_from(bundle), {"face": apart.Side((), ("1",))})


def test_one_recording_under_two_names_is_refused(data, bundle, speakers, tmp_path):
    taught, new = speakers
    folder = few_clips(data, tmp_path, {taught[0]: 3, new[0]: 3})
    files = sorted((folder / "emodb" / "speech").iterdir())
    target = files[0].resolve()
    for file in files:  # every file is the same recording now
        file.unlink()
        file.symlink_to(target)
    with pytest.raises(InputError, match="3 of 3 test samples are in training too"):
        sets.read(bundle, folder, evaluate.learnt_from(bundle))


def mosaic(folder: pathlib.Path, split: str, images: np.ndarray) -> None:
    """FER2013's layout: 64 faces to a row."""
    from PIL import Image

    rows = len(images) // 64
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(images.reshape(rows, 64, 48, 48).swapaxes(1, 2).reshape(rows * 48, 64 * 48)).save(folder / f"{split}.png")
    no = np.zeros(len(images), bool)
    np.savez(folder / f"{split}_labels.npz", labels=np.arange(len(images)) % 7, dup_in_other_split=no, label_conflict=no)


def test_a_few_faces_that_are_in_training_too_are_left_out_and_many_are_refused(bundle, tmp_path):
    rng = np.random.default_rng(0)
    training, test = (rng.integers(0, 256, (count, 48, 48), dtype=np.uint8) for count in (64, 128))
    test[5] = training[7]
    mosaic(tmp_path / "fer2013", "Training", training)
    mosaic(tmp_path / "fer2013", "PublicTest", test)
    found = evaluate.examine(bundle, tmp_path)
    assert set(found.results) == {"face"}
    assert found.results["face"]["left_out"] == 1 and found.results["face"]["int8"]["samples"] == 127
    assert found.results["face"]["linear"]["uar"] is not None
    test[9] = training[9]
    mosaic(tmp_path / "fer2013", "PublicTest", test)
    with pytest.raises(InputError, match="2 of 128 test pictures are in training too"):
        evaluate.examine(bundle, tmp_path)
