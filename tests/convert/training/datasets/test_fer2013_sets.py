"""FER2013 in its three layouts, and FERPlus's votes on it."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from PIL import Image

from convert.training.datasets.fer2013 import FER_CLASSES, FER_SPLITS, Faces, fer2013, read_tiles, survey_fer2013
from convert.training.datasets.ferplus import FERPLUS_CLASSES, ferplus, judge, survey_ferplus
from edge.errors import InputError

VOTES = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), np.uint8)


def write_table(path: pathlib.Path, images: np.ndarray, labels: list[int], usage: list[str]) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{y},{' '.join(map(str, x.ravel()))},{u}" for x, y, u in zip(images, labels, usage, strict=True)]
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n", encoding="utf-8")
    return path


def write_tree(folder: pathlib.Path, images: np.ndarray, names: list[str]) -> None:
    for image, name in zip(images, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)


# --- the official table


def test_the_table_is_split_by_usage_in_the_order_of_its_rows(tmp_path: pathlib.Path):
    images = pictures(5)
    write_table(
        tmp_path / "fer2013" / "fer2013.csv", images, [0, 6, 3, 2, 5], ["Training", "PublicTest", "Training", "PrivateTest", "Training"]
    )
    found = fer2013(tmp_path, "Training")
    assert np.array_equal(found.images, images[[0, 2, 4]])
    assert found.images.dtype == np.uint8
    assert found.labels.tolist() == [0, 3, 5]
    assert found.people is None
    assert found.classes == FER_CLASSES
    assert fer2013(tmp_path, "PublicTest").labels.tolist() == [6]
    assert fer2013(tmp_path, "PrivateTest").labels.tolist() == [2]


def test_kaggles_other_table_has_its_columns_elsewhere_and_blanks_in_the_header(tmp_path: pathlib.Path):
    image = pictures(1)
    (tmp_path / "FER2013").mkdir()
    row = f"4,PrivateTest,{' '.join(map(str, image.ravel()))}"
    (tmp_path / "FER2013" / "icml_face_data.csv").write_text(f"emotion, Usage, pixels\n{row}\n", encoding="utf-8")
    found = fer2013(tmp_path, "PrivateTest")
    assert np.array_equal(found.images, image)
    assert found.labels.tolist() == [4]


def test_duplicates_across_splits_and_doubtful_training_pictures_are_dropped(tmp_path: pathlib.Path):
    a, b, c, d = pictures(4)
    write_table(
        tmp_path / "fer2013" / "fer2013.csv",
        np.stack([a, b, b, c, c, a, d]),
        [0, 1, 2, 3, 3, 0, 4],
        ["Training"] * 5 + ["PublicTest"] * 2,
    )
    training = fer2013(tmp_path, "Training")  # a is in PublicTest too, b has two labels, c is there twice with one
    assert np.array_equal(training.images, np.stack([c, c]))
    assert np.array_equal(fer2013(tmp_path, "PublicTest").images, d[None])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("emotion,pixels", "mood,pixels", "needs rows with the columns Usage, emotion, pixels"),
        ("\n0,", "\n7,", "line 2: emotion 7"),
        ("\n0,", "\nzero,", "line 2 holds no numbers"),
        (",Training", ",Practice", "line 2: emotion 0, Usage 'Practice'"),
        (" 17,Training", " 256,Training", "line 2 holds no numbers from 0 to 255"),
        (" 17,Training", ",Training", "line 2 has 2303 pixels, needs 2304"),
        (" 17,Training", "", "line 2 has 2 of 3 values"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(tmp_path: pathlib.Path, old: str, new: str, said: str):
    image = pictures(1)
    image[0, -1, -1] = 17
    table = write_table(tmp_path / "fer2013" / "fer2013.csv", image, [0], ["Training"])
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"fer2013\.csv") as error:
        fer2013(tmp_path, "Training")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


# --- folders


def test_folders_are_split_by_their_names_and_the_files_names(tmp_path: pathlib.Path):
    images = pictures(5)
    names = ["train/angry/Training_1.png", "train/surprised/Training_2.png", "test/sad/PublicTest_3.png", "test/sad/PrivateTest_4.png"]
    write_tree(tmp_path / "fer2013", images, [*names, "train/angry/._Training_1.png"])
    training = fer2013(tmp_path, "Training")
    assert [FER_CLASSES[label] for label in training.labels] == ["angry", "surprise"]
    assert np.array_equal(training.images, images[:2])
    assert np.array_equal(fer2013(tmp_path, "PublicTest").images, images[2:3])
    assert np.array_equal(fer2013(tmp_path, "PrivateTest").images, images[3:4])


def test_a_test_folder_that_does_not_tell_its_halves_apart_is_one_split(tmp_path: pathlib.Path):
    write_tree(tmp_path / "fer2013", pictures(2), ["train/happy/im0.png", "test/happy/im0.png"])
    assert fer2013(tmp_path, "test").labels.tolist() == [3]
    with pytest.raises(InputError, match="do not tell PublicTest from PrivateTest: ask for 'test'"):
        fer2013(tmp_path, "PublicTest")


def test_folders_of_other_things_are_refused(tmp_path: pathlib.Path):
    folder = tmp_path / "fer2013"
    write_tree(folder, pictures(1), ["train/contempt/1.png"])
    with pytest.raises(InputError, match="'contempt' is no expression of FER2013"):
        fer2013(tmp_path, "Training")
    (folder / "train" / "contempt").rename(folder / "train" / "fear")
    (folder / "train" / "fear" / "2.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"2\.jpg: cannot be read as a picture"):
        fer2013(tmp_path, "Training")
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(folder / "train" / "fear" / "2.jpg")
    with pytest.raises(InputError, match=r"2\.jpg: 48x40 pixels, needs 48x48"):
        fer2013(tmp_path, "Training")


def test_what_is_not_there_is_said(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="fer2013: the FER2013 set is missing"):
        fer2013(tmp_path, "Training")
    (tmp_path / "fer2013").mkdir()
    with pytest.raises(InputError, match=r"no Training in it: needs Training\.png and Training_labels\.npz, fer2013\.csv"):
        fer2013(tmp_path, "Training")
    write_table(tmp_path / "fer2013" / "fer2013.csv", pictures(1), [0], ["Training"])
    with pytest.raises(InputError, match="no PublicTest in it, only Training"):
        fer2013(tmp_path, "PublicTest")
    (tmp_path / "fer2013" / "Training.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"Training_labels\.npz: the label file is missing"):
        fer2013(tmp_path, "Training")


def test_a_survey_counts_and_names_missing_classes(tmp_path: pathlib.Path):
    write_tree(tmp_path / "fer2013", pictures(7), [f"train/{name}/1.png" for name in FER_CLASSES])
    with pytest.raises(InputError, match="test/ not there"):
        survey_fer2013(tmp_path)
    write_tree(tmp_path / "fer2013", pictures(7, 1), [f"test/{name}/1.png" for name in FER_CLASSES])
    found = survey_fer2013(tmp_path)
    assert (found.samples, found.classes, found.people) == (14, 7, None)
    assert "test 7 of 7178" in found.note


def write_mosaic(folder: pathlib.Path, images: np.ndarray, labels: list[int], drop: list[bool], conflict: list[bool]) -> None:
    """64 to a row, as many rows as are needed."""
    folder.mkdir(exist_ok=True)
    rows = -(-len(images) // 64)
    tiles = np.zeros((rows * 64, 48, 48), np.uint8)
    tiles[: len(images)] = images
    Image.fromarray(tiles.reshape(rows, 64, 48, 48).swapaxes(1, 2).reshape(rows * 48, -1)).save(folder / "Training.png")
    np.savez(folder / "Training_labels.npz", labels=np.array(labels, np.uint8), dup_in_other_split=drop, label_conflict=conflict)


def test_mosaics_are_cut_and_their_flags_kept_to(tmp_path: pathlib.Path):
    images = pictures(66)
    drop, conflict = [i == 3 for i in range(66)], [i == 65 for i in range(66)]
    write_mosaic(tmp_path / "fer2013", images, [i % 7 for i in range(66)], drop, conflict)
    found = fer2013(tmp_path, "Training")
    kept = [i for i in range(65) if i != 3]
    assert np.array_equal(found.images, images[kept])
    assert found.labels.tolist() == [i % 7 for i in kept]
    assert survey_fer2013(tmp_path).samples == 66


def test_damaged_mosaics_are_named_in_one_line(tmp_path: pathlib.Path):
    folder = tmp_path / "fer2013"
    write_mosaic(folder, pictures(2), [0, 9], [False] * 2, [False] * 2)
    with pytest.raises(InputError, match=r"Training_labels\.npz: 2 labels, 2 flags; needs as many, and labels from 0 to 6"):
        fer2013(tmp_path, "Training")
    write_mosaic(folder, pictures(2), [0] * 65, [False] * 65, [False] * 65)
    with pytest.raises(InputError, match=r"Training\.png: 64 faces for 65 labels"):
        fer2013(tmp_path, "Training")
    (folder / "Training.png").write_bytes((folder / "Training.png").read_bytes()[:500])
    with pytest.raises(InputError, match=r"Training\.png: cannot be read as a picture"):
        fer2013(tmp_path, "Training")
    whole = (folder / "Training_labels.npz").read_bytes()
    for raw in (whole[:100], b"", b"no archive"):
        (folder / "Training_labels.npz").write_bytes(raw)
        with pytest.raises(InputError, match=r"Training_labels\.npz: not a whole table of labels") as error:
            fer2013(tmp_path, "Training")
        assert "\n" not in str(error.value)
    np.savez(folder / "Training_labels.npz", labels=np.zeros(2))
    with pytest.raises(InputError, match=r"Training_labels\.npz: not a whole table of labels .*dup_in_other_split"):
        fer2013(tmp_path, "Training")


def test_the_real_mosaics_have_the_counts_they_had(data: pathlib.Path):
    if not (data / "fer2013" / "PublicTest.png").exists():
        pytest.skip(f"no FER2013 at {data}")
    found = fer2013(data, "PublicTest")
    assert np.bincount(found.labels).tolist() == [444, 46, 460, 868, 624, 291, 588]
    assert found.images.shape == (3321, 48, 48)
    assert survey_fer2013(data).samples == 28709 + 3589


# --- FERPlus


def plus_set(folder: pathlib.Path, votes: list[str], usage: list[str] | None = None) -> np.ndarray:
    """Both tables; ``votes`` as "4,0,0,1,3,2,0,0,0,0", a row each."""
    images = pictures(len(votes))
    usage = usage or ["Training"] * len(votes)
    write_table(folder / "fer2013" / "fer2013.csv", images, [0] * len(votes), usage)
    (folder / "ferplus").mkdir()
    rows = [f"{u},{'' if v.endswith(',10') else f'fer{i:07d}.png'},{v}" for i, (u, v) in enumerate(zip(usage, votes, strict=True))]
    (folder / "ferplus" / "fer2013new.csv").write_text("\n".join([VOTES, *rows]) + "\n")
    return images


def test_votes_become_shares_and_majorities():
    votes = np.array(
        [
            [4, 0, 0, 1, 3, 2, 0, 0, 0, 0],  # the single vote is a slip; 4 of 9 is no majority
            [6, 0, 1, 1, 0, 0, 0, 0, 2, 0],
            [0, 3, 0, 0, 0, 0, 0, 0, 7, 0],  # unknown
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],  # no face
            [3, 0, 0, 0, 0, 0, 0, 0, 2, 5],
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],  # nothing is left
            [0, 0, 0, 0, 5, 0, 0, 5, 0, 0],
        ]
    )
    keep, shares, majority = judge(votes)
    assert keep.tolist() == [True, True, False, False, False, False, True]
    assert majority.tolist() == [-1, 0, -1, -1, -1, -1, -1]
    np.testing.assert_allclose(shares[0], [4 / 9, 0, 0, 0, 3 / 9, 2 / 9, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(shares[1], [1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(shares[6], [0, 0, 0, 0, 0.5, 0, 0, 0.5])


def test_votes_join_pictures_by_the_order_of_rows(tmp_path: pathlib.Path):
    images = plus_set(
        tmp_path,
        ["0,10,0,0,0,0,0,0,0,0", "0,0,0,0,0,0,0,0,0,10", "0,0,0,0,0,0,0,10,0,0", "0,0,0,8,0,0,0,0,2,0", "4,0,0,4,0,2,0,0,0,0"],
        ["Training", "Training", "Training", "PublicTest", "Training"],
    )
    found = ferplus(tmp_path, "Training")
    assert np.array_equal(found.images, images[[0, 2, 4]])
    assert [FERPLUS_CLASSES[i] for i in found.majority[:2]] == ["happy", "contempt"]
    assert found.majority[2] == -1
    np.testing.assert_allclose(found.shares.sum(axis=1), 1.0)
    assert found.shares.shape == (3, 8)
    hard = found.faces()
    assert isinstance(hard, Faces)
    assert hard.labels.tolist() == [1, 7]
    assert hard.classes == FERPLUS_CLASSES
    assert ferplus(tmp_path, "PublicTest").majority.tolist() == [3]
    assert survey_ferplus(tmp_path).samples == 4


def test_the_authors_folders_are_read(tmp_path: pathlib.Path):
    place = tmp_path / "FERPlus" / "data"
    images = pictures(3)
    write_tree(place, images, ["FER2013Train/fer0000000.png", "FER2013Train/fer0000001.png", "FER2013Valid/fer0028638.png"])
    box = '"(0, 0, 48, 48)"'
    (place / "FER2013Train" / "label.csv").write_text(
        f"fer0000000.png,{box},0,10,0,0,0,0,0,0,0,0\nfer0000001.png,{box},0,0,0,0,0,0,9,0,1,0\n"
    )
    (place / "FER2013Valid" / "label.csv").write_text(f"fer0028638.png,{box},0,0,0,0,6,4,0,0,0,0\n")
    assert np.array_equal(ferplus(tmp_path, "Training").images, images[:2])
    assert ferplus(tmp_path, "Training").majority.tolist() == [1, 6]
    assert ferplus(tmp_path, "PublicTest").majority.tolist() == [4]
    with pytest.raises(InputError, match="no PrivateTest in it"):
        ferplus(tmp_path, "PrivateTest")
    (place / "FER2013Train" / "fer0000001.png").unlink()
    with pytest.raises(InputError, match=r"fer0000001\.png: a picture is missing"):
        ferplus(tmp_path, "Training")


def test_what_ferplus_lacks_is_said(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="ferplus: the FERPlus set is missing"):
        ferplus(tmp_path, "Training")
    plus_set(tmp_path, ["0,10,0,0,0,0,0,0,0,0"])
    with pytest.raises(InputError, match="no split 'Train'; there are Training, PublicTest, PrivateTest"):
        ferplus(tmp_path, "Train")
    votes = tmp_path / "ferplus" / "fer2013new.csv"
    good = votes.read_text()
    votes.write_text(good.replace("Training", "PublicTest"))
    with pytest.raises(InputError, match=r"line 2 is of PublicTest, that of .* of Training; they are not of one order"):
        ferplus(tmp_path, "Training")
    votes.write_text(good + good.splitlines()[1] + "\n")
    with pytest.raises(InputError, match="2 rows for 1 pictures"):
        ferplus(tmp_path, "Training")
    votes.write_text(good.replace(",10,", ",ten,"))
    with pytest.raises(InputError, match="line 2 has no 10 counts of votes"):
        ferplus(tmp_path, "Training")
    (tmp_path / "fer2013" / "fer2013.csv").unlink()
    with pytest.raises(InputError, match=r"fer2013\.csv: missing; the votes belong to its rows by order"):
        ferplus(tmp_path, "Training")
    votes.unlink()
    with pytest.raises(InputError, match="the table of votes is missing"):
        ferplus(tmp_path, "Training")


def test_tiles_keep_every_row(tmp_path: pathlib.Path):
    images = pictures(3)
    tiles = read_tiles(write_table(tmp_path / "t.csv", images, [1, 2, 3], list(FER_SPLITS)))
    assert np.array_equal(tiles.images, images)
    assert tiles.usage.tolist() == list(FER_SPLITS)
