"""Samples from which activation ranges are taken: read from ``.npz`` and checked before anything slow starts."""

from __future__ import annotations

import collections.abc
import pathlib
import zipfile

import numpy as np

from edge.errors import InputError

MINIMUM_SAMPLES = 100


def load_samples(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz``, by name.

    Raises:
        InputError: it is missing or damaged, or holds no arrays of numbers.
    """
    try:
        # Opened here, for numpy leaves the file open when the archive is damaged.
        with open(path, "rb") as file:
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise InputError(f"{path} holds one bare array: save it as .npz under the name of the model's input")
            return {name: stored[name] for name in stored.files}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give an .npz with one array for each input of the model") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not a readable .npz of plain numbers: {why}") from None


def check_samples(
    samples: collections.abc.Mapping[str, np.ndarray],
    shapes: collections.abc.Mapping[str, tuple[int | None, ...]],
    *,
    minimum: int = MINIMUM_SAMPLES,
    varied: bool = True,
) -> dict[str, np.ndarray]:
    """The samples as float32, in the order of ``shapes``.

    Args:
        samples: input name -> (samples, *shape); a single array may have any name if the model has a single input.
        shapes: input name -> shape without the batch axis; None fits any size.
        minimum: how many samples are needed.
        varied: refuse samples that are all the same, from which no range can be learnt.

    Raises:
        InputError: names, shapes, numbers of samples or values do not fit: missing, too few, NaN or infinite, or all the same.
    """
    if len(samples) == len(shapes) == 1:
        samples = dict(zip(shapes, samples.values(), strict=True))
    missing, unknown = [n for n in shapes if n not in samples], [n for n in samples if n not in shapes]
    if missing or unknown:
        raise InputError(f"calibration data has arrays {_list(samples)}, and the model has inputs {_list(shapes)}: name them alike")
    checked = {}
    counts = {name: len(samples[name]) if np.ndim(samples[name]) else 0 for name in shapes}
    if len(set(counts.values())) > 1:
        lengths = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"calibration arrays differ in length: {lengths}; give one row each per sample")
    for name, shape in shapes.items():
        values = np.asarray(samples[name])
        if values.dtype.kind not in "fiub":
            raise InputError(f"calibration array {name!r} is of type {values.dtype}: give numbers")
        fits = len(values.shape) == len(shape) + 1 and all(want in (None, got) for want, got in zip(shape, values.shape[1:], strict=True))
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise InputError(f"calibration array {name!r} has shape {values.shape}: the model takes (samples, {wanted})")
        if len(values) < minimum:
            raise InputError(f"{len(values)} calibration samples are too few: give {minimum} or more, as varied as the device's")
        values = np.ascontiguousarray(values, np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.argwhere(~finite)[0][0])
            raise InputError(f"calibration array {name!r} has NaN or infinity, first in sample {row}: leave such samples out")
        checked[name] = values
    if not varied:
        return checked
    if all((values == values[:1]).all() for values in checked.values()):
        raise InputError(f"all {min(counts.values())} calibration samples are the same: give varied ones, or the ranges mean nothing")
    for name, values in checked.items():
        if values.size and values.min() == values.max():
            raise InputError(f"calibration array {name!r} is {values.flat[0]:g} everywhere: give varied samples")
    return checked


def _list(names: collections.abc.Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
