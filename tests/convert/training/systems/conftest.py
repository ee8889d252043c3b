"""A tiny system, trained by nobody, packed as the published ones are; and a tiny FER2013."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

CLASSES = 7


def write_fer(folder: pathlib.Path, split: str, count: int, seed: int) -> None:
    """Mosaic and labels as the set at hand has them: bright faces are of late classes."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    faces = np.clip(labels[:, None, None] * 32 + rng.integers(0, 30, (count, 48, 48)), 0, 255).astype(np.uint8)
    rows = -(-count // 64)
    tiles = np.zeros((rows * 64, 48, 48), np.uint8)
    tiles[:count] = faces
    mosaic = tiles.reshape(rows, 64, 48, 48).swapaxes(1, 2).reshape(rows * 48, 64 * 48)
    (folder / "fer2013").mkdir(parents=True, exist_ok=True)
    Image.fromarray(mosaic).save(folder / "fer2013" / f"{split}.png")
    nothing = np.zeros(count, bool)
    np.savez(folder / "fer2013" / f"{split}_labels.npz", labels=labels, dup_in_other_split=nothing, label_conflict=nothing)


@pytest.fixture(scope="session")
def fer(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with ``fer2013/`` of 150 and 40 faces."""
    folder = tmp_path_factory.mktemp("data")
    write_fer(folder, "Training", 150, 0)
    write_fer(folder, "PublicTest", 40, 1)
    return folder


@pytest.fixture(scope="session")
def packed(fer: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A bundle that calls itself ``cnn_lstm``: brightness for an embedding, the last step for a decision."""
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    from convert.training.systems import cnn_lstm, frames
    from convert.training.systems.system import Paper, Trained, pack, terms

    image = keras.Input((48, 48, 1), name="face")
    embedding = keras.layers.Flatten(name="embedding")(keras.layers.AveragePooling2D(24)(image))
    encoder = keras.Model(image, {"embedding": embedding}, name="face")
    steps = keras.Input((cnn_lstm.STEPS, 4), name="face")
    keras.utils.set_random_seed(0)
    last = keras.layers.Flatten()(keras.layers.Cropping1D((cnn_lstm.STEPS - 1, 0))(steps))
    fusion = keras.Model(steps, {"logits": keras.layers.Dense(CLASSES)(last)}, name="fusion")
    images = np.random.default_rng(0).uniform(-1, 1, (120, 48, 48, 1)).astype(np.float32) * np.linspace(0, 1, 120)[:, None, None, None]
    dark = (np.random.default_rng(1).random((120, 48, 48)) * np.linspace(20, 255, 120)[:, None, None]).astype(np.uint8)
    called: list[str] = []

    def temper(runners):
        called.append("temper")
        return frames.held_still(frames.Faces(dark, np.arange(120) % CLASSES), runners, cnn_lstm.STEPS)

    trained = Trained(
        name="cnn_lstm",
        labels=cnn_lstm.FER_CLASSES,
        summary="A tiny one.",
        networks={"fusion": fusion, "face": encoder},
        calibration={"face": {"face": images.astype(np.float32)}, "fusion": frames.fusion_samples(dark, 120, cnn_lstm.STEPS, 0)},
        verification={"face": {"face": images[:8].astype(np.float32)}, "fusion": frames.fusion_samples(dark, 20, cnn_lstm.STEPS, 1)},
        preprocess={"fusion": {"step_ms": 250, "steps": cnn_lstm.STEPS}},
        learnt_people={"speech": ["emodb-03"]},
        terms=terms("FER2013"),
        people=("made up",),
        paper=Paper("Nobody, 2025", "not known here", "not known here"),
        score=cnn_lstm.judge(fer, learnt={}, seed=3),
        temper=temper,
        seed=3,
        baselines=(frames.Figures("linear on nothing", 0.25, 0.2, 40),),
        spread=(frames.Figures("three of them", 0.3, 0.31, 120, 3, 0.02),),
        notes=("Made for a test.",),
        epochs_scale=0.5,
    )
    out = tmp_path_factory.mktemp("bundles") / "cnn_lstm.affectkit"
    pack(trained, out, version="9", created="2026-01-01", say=called.append)
    assert called.count("temper") == 2  # once a form: the temperature is that of the int8 stages
    return out
