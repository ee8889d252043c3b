"""The networks that converters are compared on: third-party files, and four kinds built in Keras and taught made-up classes.

``python -m benchmarks.peer_networks FOLDER`` builds and teaches the four in a process of its own, for TensorFlow is large.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import pathlib
import subprocess
import sys

import numpy as np

from edge.errors import ConversionError

CALIBRATION, VERIFICATION, LEARNING = 300, 1000, 2000
CLASSES = 7
EPOCHS = 5
TIME_LIMIT_S = 600

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Network:
    """One trained network in a file, with inputs like those it was trained on."""

    name: str
    model: pathlib.Path
    calibration: Arrays
    """Input name -> float32 (samples, *shape), images NHWC; a single input may have any name."""
    verification: Arrays
    labels: np.ndarray | None = None
    """int (verification samples,), where they are known."""
    sequence: bool = False
    """Recurrent, or of attention: guides recommend dynamic ranges for such."""


@dataclasses.dataclass(frozen=True)
class Made:
    """A kind of network that is built here."""

    name: str
    file: str
    shapes: dict[str, tuple[int, ...]]
    """Input name -> shape without batch."""
    sequence: bool
    recurrent: bool
    """Written as ONNX too, with ONNX's own recurrent operators."""
    strength: float
    """Deviation of the prototypes, against noise of deviation 1: weak enough for some answers to be close calls."""


MADE = (
    Made("CNN 48x48", "cnn", {"image": (48, 48, 1)}, False, False, 0.1),
    Made("BiLSTM 2x64, 60x40", "bilstm", {"frames": (60, 40)}, True, True, 0.11),
    Made("GRU 64, 60x40", "gru", {"frames": (60, 40)}, True, True, 0.14),
    Made("cross-attention", "attention", {"face": (10, 64), "speech": (30, 40)}, True, False, 0.13),
)


def draw(made: Made, count: int, seed: int) -> tuple[Arrays, np.ndarray]:
    """Prototype of the class plus noise: inputs of deviation about 1, and the classes, int (count,).

    Prototypes are smooth over time and space, as signals are; their seed is fixed, so that every draw has the same classes.
    """
    random, fixed = np.random.default_rng(seed), np.random.default_rng(12)
    labels = random.integers(0, CLASSES, count)
    inputs = {}
    for name, shape in made.shapes.items():
        coarse = fixed.normal(size=(CLASSES, *(max(1, n // 8) if n > 8 else n for n in shape)))
        for axis, size in enumerate(shape, start=1):
            coarse = np.repeat(coarse, -(-size // coarse.shape[axis]), axis=axis).take(range(size), axis=axis)
        inputs[name] = (made.strength * coarse[labels] + random.normal(size=(count, *shape))).astype(np.float32)
    return inputs, labels


def build(made: Made):
    """The untaught network; plain Keras layers, as a user would write them."""
    import keras
    from keras import layers

    inputs = {name: keras.Input(shape, name=name) for name, shape in made.shapes.items()}
    if made.file == "cnn":
        x = inputs["image"]
        for filters in (32, 64, 128):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
            x = layers.MaxPooling2D()(x)
        x = layers.Flatten()(x)
    elif made.file == "bilstm":
        x = layers.Bidirectional(layers.LSTM(64, return_sequences=True))(inputs["frames"])
        x = layers.Bidirectional(layers.LSTM(64))(x)
    elif made.file == "gru":
        x = layers.GRU(64)(inputs["frames"])
    else:
        streams = {name: layers.LayerNormalization()(layers.Dense(64)(x)) for name, x in inputs.items()}
        fused = []
        for name, other in (("face", "speech"), ("speech", "face")):
            attended = layers.MultiHeadAttention(4, 16)(streams[name], streams[other])
            x = layers.LayerNormalization()(layers.Add()([streams[name], attended]))
            x = layers.LayerNormalization()(layers.Add()([x, layers.Dense(64)(layers.Dense(128, activation="relu")(x))]))
            fused.append(layers.GlobalAveragePooling1D()(x))
        x = layers.Concatenate()(fused)
    return keras.Model(list(inputs.values()), layers.Dense(CLASSES, activation="softmax")(x), name=made.file)


def teach(made: Made, path: pathlib.Path) -> None:
    """Write the taught network to ``path``, a recurrent one to ``path``.onnx as well."""
    import keras

    from benchmarks import peer_rnn_onnx

    keras.utils.set_random_seed(7)
    model = build(made)
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    inputs, labels = draw(made, LEARNING, seed=1)
    model.fit(list(inputs.values()), labels, batch_size=32, epochs=EPOCHS, verbose=0)
    if made.recurrent:
        peer_rnn_onnx.write(model, path.with_suffix(".onnx"))
    model.save(path)


def made_networks(folder: pathlib.Path) -> list[tuple[str, collections.abc.Callable[[], Network]]]:
    """Names, and what teaches and gives the network; it is not taught anew where ``folder`` has it."""
    found: list[tuple[str, collections.abc.Callable[[], Network]]] = []
    for made in MADE:
        found.append((made.name, functools.partial(_made_network, made, folder, ".keras")))
        if made.recurrent:
            found.append((f"{made.name}, ONNX", functools.partial(_made_network, made, folder, ".onnx")))
    return found


def _made_network(made: Made, folder: pathlib.Path, suffix: str) -> Network:
    path = folder / f"{made.file}.keras"
    if not path.exists():
        command = [sys.executable, "-m", "benchmarks.peer_networks", made.file, str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise ConversionError(f"{made.name} was not taught within {TIME_LIMIT_S} s") from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip().splitlines() or ["no message"]
            raise ConversionError(f"{made.name} could not be taught: {said[-1][:200]}") from error
    inputs, labels = draw(made, VERIFICATION, seed=3)
    name = made.name if suffix == ".keras" else f"{made.name}, ONNX"
    return Network(name, path.with_suffix(suffix), draw(made, CALIBRATION, seed=2)[0], inputs, labels, made.sequence)


def third_party(data: pathlib.Path) -> collections.abc.Iterator[Network]:
    """The models of others in ``data``, as ``material.third_party`` gives them."""
    from benchmarks import material

    for case in material.third_party(data):
        yield Network(case.name, case.model, {"input": case.calibration}, {"input": case.verification}, case.labels)


if __name__ == "__main__":
    teach(next(made for made in MADE if made.file == sys.argv[1]), pathlib.Path(sys.argv[2]))
