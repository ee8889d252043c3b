"""Samples to calibrate and to verify on, from whatever the user has: an ``.npz``, a folder of images or audio, or a Python callable.

Images and audio go through the device's own preprocessing, for ranges that were learnt on anything else mean nothing there.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import importlib
import importlib.util
import pathlib
import typing

import numpy as np

from convert.calibration import load_samples
from edge.errors import InputError
from edge.preprocess.image import resize_area
from edge.preprocess.speech import SpeechParameters, clip_windows

LABELS = "labels"
"""Name of an array, beside the inputs, that holds the true classes."""
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm")
SOUNDS = (".wav", ".flac", ".ogg")
AT_MOST = 2000
"""Files of a folder, spread evenly over it; more change no range."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """Rows for every input, and the true classes where they are known."""

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    """int (samples,)"""
    classes: tuple[str, ...] = ()

    def of(self, rows: typing.Any) -> Samples:
        """These rows alone."""
        labels = None if self.labels is None else self.labels[rows]
        return Samples({name: values[rows] for name, values in self.inputs.items()}, labels, self.classes)


def check_told(told: str) -> None:
    """Raise InputError if nothing is where ``--calibration`` points; costs nothing."""
    path = pathlib.Path(told)
    if not path.exists() and ":" not in told:
        raise InputError(f"{path} does not exist: give an .npz with one array for each input of the model, a folder, or MODULE:FUNCTION")


def read_samples(
    told: str,
    shapes: collections.abc.Mapping[str, tuple[int, ...]],
    *,
    image_range: tuple[float, float] | None = None,
    at_most: int = AT_MOST,
) -> Samples:
    """The samples that ``--calibration`` names.

    Args:
        told: a path (``.npz``, or a folder of images or audio; in sub-folders, their names are the classes), or MODULE:FUNCTION or
            FILE.py:FUNCTION, which gives a dict of arrays, or rows as dicts or arrays.
        shapes: public input name -> shape without batch.
        image_range: what black and white are to the model, e.g. (-1, 1) or (0, 255); needed for a folder of images.
        at_most: how many files of a folder.

    Raises:
        InputError: nothing is there, or it cannot be read, or it does not fit the model.
    """
    path = pathlib.Path(told)
    if path.is_dir():
        return _folder(path, shapes, image_range, at_most)
    if ":" in told and not path.exists():
        return _split(_called(told, shapes))
    return _split(load_samples(path))


def _split(arrays: dict[str, np.ndarray]) -> Samples:
    labels = arrays.get(LABELS)
    inputs = {name: values for name, values in arrays.items() if name not in (LABELS, "classes")}
    if labels is None:
        return Samples(inputs)
    counts = {len(values) for values in inputs.values() if np.ndim(values)}
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or counts - {len(labels)}:
        raise InputError(f"array {LABELS!r} is {labels.dtype} {labels.shape}: give one whole number a sample, or leave it out")
    return Samples(inputs, labels.astype(np.int64), tuple(str(c) for c in arrays.get("classes", ())))


def _called(told: str, shapes: collections.abc.Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    where, _, name = told.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location("affectkit_samples", where)
            if spec is None or spec.loader is None or not pathlib.Path(where).is_file():
                raise ImportError(f"{where} does not exist")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        given = getattr(module, name)()
        if isinstance(given, collections.abc.Mapping):
            return {str(key): np.asarray(values) for key, values in given.items()}
        rows = list(given)
    except Exception as error:  # the user's own code raises what it likes
        raise InputError(
            f"calibration function {told} failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    if not rows:
        raise InputError(f"calibration function {told} gave no samples: give a dict of arrays, or yield rows")
    single = next(iter(shapes))
    rows = [row if isinstance(row, collections.abc.Mapping) else {single: row} for row in rows]
    try:
        return {str(key): np.stack([np.asarray(row[key]) for row in rows]) for key in rows[0]}
    except (KeyError, ValueError) as error:
        raise InputError(f"calibration function {told} gave rows that differ: {error}") from error


def _folder(
    path: pathlib.Path, shapes: collections.abc.Mapping[str, tuple[int, ...]], image_range: tuple[float, float] | None, at_most: int
) -> Samples:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in (*IMAGES, *SOUNDS))
    if not files:
        raise InputError(f"{path} holds no images ({', '.join(IMAGES)}) and no audio ({', '.join(SOUNDS)}): give such files or an .npz")
    kinds = {file.suffix.lower() in IMAGES for file in files}
    if len(kinds) > 1:
        raise InputError(f"{path} holds images and audio: give a folder of one kind, or an .npz")
    if len(shapes) != 1:
        raise InputError(f"a folder fits a model with one input, and this one has {', '.join(shapes)}: give an .npz with an array for each")
    name, shape = next(iter(shapes.items()))
    step = max(1, -(-len(files) // at_most))
    files = files[::step]
    parents = [file.parent.relative_to(path).parts[:1] for file in files]
    classes = tuple(sorted({parts[0] for parts in parents if parts})) if all(parents) else ()
    if kinds == {True}:
        if image_range is None:
            raise InputError(f"{path} holds images: say what black and white are to the model, e.g. --image-range=-1,1 or 0,255")
        rows = [[_image(file, shape, image_range)] for file in files]
    else:
        rows = [_sound(file, shape) for file in files]
    labels = [classes.index(parents[i][0]) for i, some in enumerate(rows) for _ in some] if len(classes) > 1 else None
    values = np.stack([row for some in rows for row in some])
    return Samples({name: values}, None if labels is None else np.array(labels), classes if labels is not None else ())


def _image(path: pathlib.Path, shape: tuple[int, ...], limits: tuple[float, float]) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    if len(shape) != 3 or shape[2] not in (1, 3):
        raise InputError(f"{path} is an image, and the model takes {shape}: images fit (height, width, 1 or 3)")
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if shape[2] == 1 else "RGB"))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    resized = np.stack([resize_area(planes[..., i], shape[0], shape[1]) for i in range(shape[2])], axis=-1)
    return (limits[0] + resized * ((limits[1] - limits[0]) / 255)).astype(np.float32)


def _sound(path: pathlib.Path, shape: tuple[int, ...]) -> list[np.ndarray]:
    import soundfile

    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 1):
        raise InputError(f"{path} is audio, and the model takes {shape}: log-mel windows fit (frames, bands)")
    parameters = SpeechParameters(frames=shape[0], mels=shape[1])
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if rate_hz != parameters.rate_hz:
        raise InputError(f"{path} has {rate_hz} Hz, and the speech front takes {parameters.rate_hz} Hz: resample it first")
    return [window.samples.reshape(shape) for window in clip_windows(samples.mean(axis=1), parameters)]
