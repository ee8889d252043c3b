"""Real inputs for third-party models, from the public sets: what conversions are compared on.

Nothing of it is stored in the project; ``DATA`` holds the sets and the models, as the README says.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import typing

import numpy as np

from edge.errors import InputError

CALIBRATION, VERIFICATION = 300, 1000


@dataclasses.dataclass(frozen=True)
class Case:
    """One third-party model with inputs like those it was trained on."""

    name: str
    model: pathlib.Path
    calibration: np.ndarray
    """float32 (samples, *shape)"""
    verification: np.ndarray
    labels: np.ndarray | None = None
    """int (verification samples,), where they are known."""
    reference: pathlib.Path | None = None
    """An int8 ``.tflite`` of the same network by its own makers."""


def faces(data: pathlib.Path, size_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FER2013: calibration faces, verification faces (all of PublicTest without duplicates), labels; in [-1, 1]."""
    from convert.training.datasets.fer2013 import fer2013
    from edge.preprocess.image import resize_area

    def sized(images: np.ndarray) -> np.ndarray:
        grey = images.reshape(len(images), 48, 48)
        if size_px != 48:
            grey = np.stack([resize_area(image, size_px, size_px) for image in grey])
        return (grey[..., None] / 127.5 - 1).astype(np.float32)

    learn, check = fer2013(data, "Training"), fer2013(data, "PublicTest")
    some = np.random.default_rng(0).permutation(len(learn.images))[:CALIBRATION]
    return sized(learn.images[some]), sized(check.images), np.asarray(check.labels)


def frames(data: pathlib.Path) -> list[np.ndarray]:
    """Every picture of the replay clips, uint8 (h, w, 3) RGB; of a film every third."""
    import cv2

    found = []
    for path in sorted((data / "replay").iterdir()):
        if path.suffix.lower() in (".jpg", ".png"):
            found.append(cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB))
            continue
        film, number = cv2.VideoCapture(str(path)), 0
        while True:
            good, frame = film.read()
            if not good:
                break
            if number % 3 == 0:
                found.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            number += 1
    if not found:
        raise InputError(f"{data / 'replay'} holds no clips: give the folder of the public sets")
    return found


def pictures(data: pathlib.Path, height: int, width: int) -> np.ndarray:
    """``frames`` at one size, float32 (n, height, width, 3), 0..255."""
    import cv2

    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames(data)]).astype(np.float32)


def patches(data: pathlib.Path, size_px: int, count: int) -> np.ndarray:
    """Parts of the replay clips, float32 (count, size, size, 3), 0..255: photographs of many things at CIFAR's size."""
    import cv2

    random, whole = np.random.default_rng(1), frames(data)
    made = []
    for _ in range(count):
        frame = whole[random.integers(len(whole))]
        side = int(random.integers(size_px * 2, min(frame.shape[:2])))
        top, left = (int(random.integers(0, limit - side + 1)) for limit in frame.shape[:2])
        made.append(cv2.resize(frame[top : top + side, left : left + side], (size_px, size_px), interpolation=cv2.INTER_AREA))
    return np.stack(made).astype(np.float32)


def spectrograms(data: pathlib.Path, steps: int, bands: int, low: float, high: float, count: int) -> np.ndarray:
    """Log-mel of real speech, float32 (count, steps, bands), spread over [low, high] as the model's input is."""
    import soundfile

    from edge.preprocess.speech import SpeechParameters, clip_windows

    parameters = SpeechParameters(frames=steps, mels=bands, encode_hop_ms=100.0)
    made: list[np.ndarray] = []
    for path in sorted((data / "ravdess").rglob("*.flac"))[::3]:
        samples, _ = soundfile.read(path, dtype="float32")
        made += [window.samples for window in clip_windows(samples, parameters)][:4]
        if len(made) >= count:
            break
    values = np.stack(made[:count])
    return (low + (high - low) * values / values.max()).astype(np.float32)


def cepstra(data: pathlib.Path, count: int) -> np.ndarray:
    """MFCCs of real speech, float32 (count, 49, 10), as MLPerf Tiny's keyword spotter was trained on.

    Seconds of 16 kHz sound scaled to their peak; 30 ms windows every 20 ms, 40 mel bands from 20 to 4000 Hz, log, the first 10
    (mlcommons/tiny, benchmark/training/keyword_spotting/get_dataset.py).
    """
    import soundfile
    import tensorflow as tf

    bands = tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 20.0, 4000.0)
    made: list[np.ndarray] = []
    for path in sorted((data / "ravdess").rglob("*.flac")):
        samples, _ = soundfile.read(path, dtype="float32")
        loudest = int(np.argmax(np.convolve(samples**2, np.ones(1600), "same")))
        start = int(np.clip(loudest - 8000, 0, max(0, len(samples) - 16000)))
        second = np.pad(samples[start : start + 16000], (0, max(0, 16000 - len(samples))))
        spectrum = tf.abs(tf.signal.stft(second / (np.abs(second).max() + 1e-6), 480, 320, 512))
        log_mel = tf.math.log(tf.tensordot(spectrum, bands, 1) + 1e-6)
        made.append(tf.signal.mfccs_from_log_mel_spectrograms(log_mel)[..., :10].numpy())
        if len(made) >= count:
            break
    return np.stack(made)


def third_party(data: pathlib.Path) -> collections.abc.Iterator[Case]:
    """Every model in ``data``/models that is given in float, one after the other."""
    models = data / "models"
    for name, file, size_px in (
        ("mini-XCEPTION 48x48", "mini_xception/fer2013_mini_XCEPTION.119-0.65.hdf5", 48),
        ("mini-XCEPTION 64x64", "mini_xception/fer2013_mini_XCEPTION.102-0.66.hdf5", 64),
        ("fer", "fer/emotion_model.hdf5", 64),
    ):
        yield Case(name, models / file, *faces(data, size_px))
    tiny = models / "mlperf_tiny"
    parts = patches(data, 32, CALIBRATION + VERIFICATION)
    yield Case(
        "MLPerf Tiny ResNet",
        tiny / "pretrainedResnet.h5",
        parts[:CALIBRATION],
        parts[CALIBRATION:],
        None,
        tiny / "pretrainedResnet_quant.tflite",
    )
    low, high = _input_range(tiny / "str_ww_ref_model.tflite")
    heard = np.random.default_rng(2).permutation(spectrograms(data, 30, 40, low, high, CALIBRATION + VERIFICATION))[:, :, None]
    yield Case(
        "MLPerf Tiny wake word",
        tiny / "str_ww_ref_model.h5",
        heard[:CALIBRATION],
        heard[CALIBRATION:],
        None,
        tiny / "str_ww_ref_model.tflite",
    )
    heard = np.random.default_rng(2).permutation(cepstra(data, CALIBRATION + VERIFICATION))[..., None]
    file, reference = "kws_ref_model_float32.tflite", "kws_ref_model.tflite"
    yield Case("MLPerf Tiny keywords", tiny / file, heard[:CALIBRATION], heard[CALIBRATION:], None, tiny / reference)
    for name in ("version-RFB-320", "version-RFB-320_simplified", "version-RFB-320_without_postprocessing"):
        seen = (pictures(data, 240, 320) - 127) / 128
        yield Case(
            f"RFB-320 {name.removeprefix('version-RFB-320').strip('_') or 'plain'}", models / "face_detector" / f"{name}.onnx", seen, seen
        )


def _input_range(path: pathlib.Path) -> tuple[float, float]:
    """What an int8 model's input can hold: where its makers had their data."""
    from convert import flatbuffer

    model = flatbuffer.unpack(path.read_bytes())
    tensor: typing.Any = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    scale, zero = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    return (-128 - zero) * scale, (127 - zero) * scale


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Share of samples whose largest element is the same."""
    return float((first.reshape(len(first), -1).argmax(axis=1) == second.reshape(len(second), -1).argmax(axis=1)).mean())
