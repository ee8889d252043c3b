"""Calibration data from arrays, folders and functions, through the device's own preprocessing."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import soundfile

from convert.samples import read_samples
from edge.errors import InputError
from edge.preprocess.image import resize_area
from edge.preprocess.speech import SpeechParameters, clip_windows

FACE = {"face": (6, 6, 1)}


@pytest.fixture
def pictures(tmp_path):
    random = np.random.default_rng(0)
    for name in ("happy", "sad"):
        (tmp_path / name).mkdir()
        for i in range(3):
            PIL.Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_images_are_resized_as_on_the_device_and_scaled_as_told(pictures):
    found = read_samples(str(pictures), FACE, image_range=(-1, 1))
    assert found.inputs["face"].shape == (6, 6, 6, 1)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.classes == ("happy", "sad")
    grey = np.asarray(PIL.Image.open(pictures / "happy" / "0.png").convert("L"))
    np.testing.assert_allclose(found.inputs["face"][0, ..., 0], resize_area(grey, 6, 6) / 127.5 - 1, atol=1e-5)
    assert read_samples(str(pictures), {"x": (6, 6, 3)}, image_range=(0, 255)).inputs["x"].shape == (6, 6, 6, 3)
    assert len(read_samples(str(pictures), FACE, image_range=(0, 1), at_most=3).inputs["face"]) == 3


def test_images_without_a_range_or_for_another_shape_are_refused(pictures):
    with pytest.raises(InputError, match="say what black and white are to the model"):
        read_samples(str(pictures), FACE)
    with pytest.raises(InputError, match=r"images fit \(height, width, 1 or 3\)"):
        read_samples(str(pictures), {"x": (60, 40)}, image_range=(0, 1))
    with pytest.raises(InputError, match="a folder fits a model with one input"):
        read_samples(str(pictures), {**FACE, "mask": (3,)}, image_range=(0, 1))
    (pictures / "sad" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png cannot be read"):
        read_samples(str(pictures), FACE, image_range=(0, 1))


def test_sounds_become_the_windows_that_the_speech_front_gives(tmp_path):
    rate_hz, seconds = 16000, 4
    t = np.arange(rate_hz * seconds) / rate_hz
    voice = (0.3 * np.sin(2 * np.pi * 180 * t) * (np.sin(2 * np.pi * 3 * t) > 0)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", voice, rate_hz, subtype="FLOAT")
    found = read_samples(str(tmp_path), {"log_mel": (100, 40)})
    expected = [window.samples for window in clip_windows(voice, SpeechParameters(frames=100))]
    assert len(expected) > 0
    np.testing.assert_array_equal(found.inputs["log_mel"], np.stack(expected))
    soundfile.write(tmp_path / "b.wav", voice, 8000)
    with pytest.raises(InputError, match="has 8000 Hz, and the speech front takes 16000 Hz"):
        read_samples(str(tmp_path), {"log_mel": (100, 40)})


def test_a_function_gives_arrays_or_rows(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\n"
        "def arrays():\n    return {'x': np.ones((4, 3)), 'labels': np.arange(4)}\n"
        "def rows():\n    return (np.full(3, i) for i in range(5))\n"
        "def named():\n    return [{'x': np.zeros(3)}]\n"
        "def nothing():\n    return []\n"
        "def broken():\n    raise KeyError('no such column')\n"
    )
    found = read_samples(f"{file}:arrays", {"x": (3,)})
    assert (found.inputs["x"].shape, found.labels.tolist()) == ((4, 3), [0, 1, 2, 3])
    assert read_samples(f"{file}:rows", {"x": (3,)}).inputs["x"].shape == (5, 3)
    assert read_samples(f"{file}:named", {"x": (3,)}).inputs["x"].shape == (1, 3)
    for name, words in (
        ("nothing", "gave no samples"),
        ("broken", "failed: KeyError: 'no such column'"),
        ("none", "failed: AttributeError"),
    ):
        with pytest.raises(InputError, match=words):
            read_samples(f"{file}:{name}", {"x": (3,)})
    with pytest.raises(InputError, match="no_such_module_at_all"):
        read_samples("no_such_module_at_all:f", {"x": (3,)})


def test_labels_must_be_whole_numbers_one_a_sample(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((4, 3)), labels=np.array([0, 1, 1, 0]), classes=np.array(["no", "yes"]))
    found = read_samples(str(tmp_path / "a.npz"), {"x": (3,)})
    assert (sorted(found.inputs), found.labels.tolist(), found.classes) == (["x"], [0, 1, 1, 0], ("no", "yes"))
    assert found.of([1, 3]).labels.tolist() == [1, 0]
    np.savez(tmp_path / "b.npz", x=np.ones((4, 3)), labels=np.array([0.0, 1, 1, 0]))
    np.savez(tmp_path / "c.npz", x=np.ones((4, 3)), labels=np.array([0, 1]))
    for name in ("b.npz", "c.npz"):
        with pytest.raises(InputError, match="give one whole number a sample"):
            read_samples(str(tmp_path / name), {"x": (3,)})


def test_an_empty_folder_says_what_would_fit(tmp_path):
    with pytest.raises(InputError, match=r"holds no images \(\.png, .*give such files or an \.npz"):
        read_samples(str(tmp_path), FACE)
