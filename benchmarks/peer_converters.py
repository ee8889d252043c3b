"""Every converter on one network: the same file, the same samples, each by its own guide and in processes of its own."""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import pathlib
import shutil
import sys
import typing

import numpy as np

from benchmarks import peer_child
from benchmarks.peer_environments import ONNX, QUANTIZER, Environment
from benchmarks.peer_networks import Network
from convert import flatbuffer
from edge.errors import ConversionError

HERE = pathlib.Path(__file__).resolve().parent
DEFAULT, AUTO = "affectkit", "affectkit, --recipe auto"
OURS = (DEFAULT, AUTO)
TFLITE, TFLITE_DYNAMIC = "TFLiteConverter", "TFLiteConverter, dynamic range"
QUANTIZED = "ai-edge-quantizer"
STATIC, DYNAMIC = "ONNX Runtime, static", "ONNX Runtime, dynamic"


@dataclasses.dataclass(frozen=True)
class Made:
    """What one converter made of one network."""

    converter: str
    path: pathlib.Path | None
    """The converted file; None if there is none."""
    why: str = ""
    """In one line, where there is none."""
    seconds: float = 0.0
    """All attempts together, starting included."""
    tool: str = ""
    """Name and version."""
    route: str = ""
    """Which of its documented ways led to the file."""
    note: str = ""
    """What it says of its choice."""


class Workshop:
    """One network with a folder, and what several converters start from.

    Args:
        network: the trained network.
        folder: empty.
        onnx2tf: the environments of that converter; one row each.
        limit_s: for one attempt of one converter.

    Raises:
        ConversionError: the network itself cannot be read or computed.
    """

    def __init__(self, network: Network, folder: pathlib.Path, *, onnx2tf: collections.abc.Sequence[Environment], limit_s: float):
        self.network, self.folder, self._onnx2tf, self._limit_s = network, folder, onnx2tf, limit_s
        self.calibration, self.verification, self.reference = (folder / f"{n}.npz" for n in ("calibration", "verification", "reference"))
        self.float_file = folder / "float.tflite"
        self._float_tflite: tuple[pathlib.Path, str] | None = None
        self._onnx: Made | None = None
        given = folder / "given"
        given.mkdir(parents=True)
        for name, arrays in (("calibration", network.calibration), ("verification", network.verification)):
            np.savez(given / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        self.labels: pathlib.Path | None = None
        if network.labels is not None:
            self.labels = folder / "labels.npy"
            np.save(self.labels, network.labels)
        job = {"model": str(network.model), "folder": str(folder)}
        job |= {name: str(given / f"{name}.npz") for name in ("calibration", "verification")}
        answer = self._child("-m", "benchmarks.peer_affectkit", "reference", job=job)
        if answer.said is None:
            raise ConversionError(f"{network.name} cannot be computed in float: {answer.why}")
        self.facts = answer.said

    def make_all(self) -> collections.abc.Iterator[Made]:
        """Every converter in turn; a failure is an answer."""
        yield self._ours(DEFAULT, "static_wi8_ai8", float_out=str(self.float_file))
        yield self._ours(AUTO, "auto")
        yield self._tensorflow()
        if self.network.sequence:
            yield self._tensorflow_dynamic()
        for environment in self._onnx2tf:
            yield self._from_onnx(environment.name.replace("-", " "), environment, self._onnx2tf_file)
        yield self._quantizer()
        yield self._from_onnx(STATIC, ONNX, self._onnxruntime_file)
        if self.network.sequence:
            yield self._from_onnx(DYNAMIC, ONNX, self._onnxruntime_file)

    def _child(self, *arguments: str, job: dict[str, typing.Any], python: str = sys.executable) -> peer_child.Answer:
        return peer_child.run([python, *arguments], job, limit_s=self._limit_s)

    def _made(self, converter: str, out: pathlib.Path, answer: peer_child.Answer, earlier_s: float = 0.0) -> Made:
        seconds = answer.seconds + earlier_s
        if answer.said is None:
            return Made(converter, None, answer.why, seconds)
        return Made(converter, out, "", seconds, *(answer.said.get(key, "") for key in ("tool", "route", "why")))

    def _ours(self, converter: str, recipe: str, **more: str) -> Made:
        out = self.folder / f"ours-{recipe}.tflite"
        job = {"model": str(self.network.model), "calibration": str(self.calibration), "recipe": recipe, "out": str(out), **more}
        return self._made(converter, out, self._child("-m", "benchmarks.peer_affectkit", "convert", job=job))

    def _tensorflow(self) -> Made:
        """The better of the guide's two ways: a SavedModel with a batch of one, which its runtimes run faster, else the Keras model."""
        if self.network.model.suffix == ".tflite" and _signed(self.network.model):
            self._float_tflite = (self.network.model, "the given file")
        refused = self._refused()
        if refused:
            return Made(TFLITE, None, refused)
        spent_s, why = 0.0, ""
        for route in ("saved_model", "keras_model"):
            out, plain = self.folder / f"tensorflow-{route}.tflite", self.folder / f"tensorflow-{route}-float.tflite"
            job = {"model": str(self.network.model), "calibration": str(self.calibration), "route": route, "recipe": "static"}
            answer = self._child(str(HERE / "peer_tflite.py"), job={**job, "out": str(out), "float_out": str(plain)})
            if plain.exists() and self._float_tflite is None:
                self._float_tflite = (plain, "TFLiteConverter's float file")
            made = self._made(TFLITE, out, answer, spent_s)
            if made.path is not None:
                return made
            spent_s, why = made.seconds, why or made.why
        return Made(TFLITE, None, f"from a SavedModel {why}; from the Keras model {made.why}" if made.why != why else why, spent_s)

    def _tensorflow_dynamic(self) -> Made:
        refused = self._refused()
        if refused:
            return Made(TFLITE_DYNAMIC, None, refused)
        out = self.folder / "tensorflow-dynamic.tflite"
        job = {"model": str(self.network.model), "calibration": str(self.calibration), "route": "saved_model", "recipe": "dynamic"}
        return self._made(TFLITE_DYNAMIC, out, self._child(str(HERE / "peer_tflite.py"), job={**job, "out": str(out)}))

    def _refused(self) -> str:
        suffix = self.network.model.suffix
        return f"reads no {suffix} file" if suffix in (".onnx", ".tflite") else ""

    def _quantizer(self) -> Made:
        """ai-edge-quantizer takes a float ``.tflite`` with a signature: TensorFlow's, or of other networks onnx2tf's."""
        if not QUANTIZER.python:
            return Made(QUANTIZED, None, QUANTIZER.why)
        if self._float_tflite is None and self.network.model.suffix in (".onnx", ".tflite"):
            self._float_tflite = self._onnx2tf_float()
        if self._float_tflite is None:
            return Made(QUANTIZED, None, "no float .tflite: neither TFLiteConverter nor onnx2tf made one")
        path, words = self._float_tflite
        out = self.folder / "ai-edge-quantizer.tflite"
        job = {"model": str(path), "calibration": str(self.calibration), "out": str(out)}
        made = self._made(QUANTIZED, out, self._child(str(HERE / "peer_quantizer.py"), job=job, python=QUANTIZER.python))
        return dataclasses.replace(made, route=words)

    def _from_onnx(self, converter: str, environment: Environment, make: collections.abc.Callable[[str, Environment, Made], Made]) -> Made:
        """A converter that reads ONNX: the file given, or tf2onnx's."""
        if not environment.python:
            return Made(converter, None, environment.why)
        given = self._exported()
        if given.path is None:
            return Made(converter, None, f"no ONNX: {given.why}")
        return make(converter, environment, given)

    def _exported(self) -> Made:
        """The network as ONNX."""
        if self._onnx is None:
            self._onnx = self._export()
        return self._onnx

    def _export(self) -> Made:
        if self.network.model.suffix == ".onnx":
            return Made("ONNX", self.network.model, route="the given file")
        if not ONNX.python:
            return Made("ONNX", None, f"tf2onnx is {ONNX.why}")
        out = self.folder / "exported.onnx"
        shapes = self.facts["shapes"]
        job = {"model": str(self.network.model), "names": list(shapes), "shapes": shapes, "out": str(out)}
        return self._made("ONNX", out, self._child(str(HERE / "peer_onnx.py"), job=job, python=ONNX.python))

    def _onnxruntime_file(self, converter: str, environment: Environment, given: Made) -> Made:
        recipe = "static" if converter == STATIC else "dynamic"
        out = self.folder / f"onnxruntime-{recipe}.onnx"
        job = {"model": str(given.path), "calibration": str(self.calibration), "recipe": recipe, "out": str(out)}
        made = self._made(converter, out, self._child(str(HERE / "peer_onnxruntime.py"), job=job, python=environment.python))
        return dataclasses.replace(made, route="; ".join(filter(None, (given.tool or given.route, made.route))))

    def _onnx2tf_file(self, converter: str, environment: Environment, given: Made) -> Made:
        """``-oiqt`` as its README has it; where that fails, with recurrent layers unrolled (``-eru``)."""
        assert given.path is not None
        spent_s, why = 0.0, ""
        for number, options in enumerate(([], ["-eru"])):
            folder = self.folder / f"{environment.name}-{number}"
            command = [*self._onnx2tf_inputs(given.path), "-oiqt", "-qt", "per-channel", "-iqd", "int8", "-oqd", "int8", *options]
            answer = self._onnx2tf_run(environment, given.path, folder, command)
            whole = next(folder.glob("*_full_integer_quant.tflite"), None)
            spent_s += answer.seconds
            if whole is not None:
                kept = self.folder / f"{environment.name}.tflite"
                shutil.copyfile(whole, kept)
                route = " ".join(["-oiqt", *options]) + (f", before it failed ({answer.why})" if answer.said is None else "")
                return Made(converter, kept, "", spent_s, environment.name.replace("-", " "), f"{given.tool or given.route}; {route}")
            why = why or answer.why or "gave no integer file"
            if not self.network.sequence:
                break
        return Made(converter, None, why, spent_s)

    def _test_pictures(self) -> None:
        """What onnx2tf downloads to check its layouts on, unless it lies where it runs: without, it needs a network."""
        with np.load(self.calibration) as stored:
            values = next((stored[name] for name in stored.files if stored[name].ndim == 4 and stored[name].shape[3] == 3), None)
        if values is None:
            return
        rows, columns = (np.linspace(0, size - 1, 128).astype(int) for size in values.shape[1:3])
        pictures = values[np.arange(20) % len(values)][:, rows][:, :, columns]
        unit = (pictures - pictures.min()) / max(float(np.ptp(pictures)), 1e-6)
        np.save(self.folder / "calibration_image_sample_data_20x128x128x3_float32.npy", unit.astype(np.float32))

    def _onnx2tf_float(self) -> tuple[pathlib.Path, str] | None:
        """A float file with a signature (``-osd``), which ai-edge-quantizer asks for: of the first onnx2tf that makes one."""
        given = self._exported().path
        for environment in self._onnx2tf:
            folder = self.folder / f"{environment.name}-float"
            if environment.python and given is not None:
                self._onnx2tf_run(environment, given, folder, [*self._onnx2tf_inputs(given), "-osd"])
            plain = next(folder.glob("*_float32.tflite"), None)
            if plain is not None and _signed(plain):
                return plain, f"{environment.name.replace('-', ' ')}'s float file"
        return None

    def _onnx2tf_run(self, environment: Environment, model: pathlib.Path, folder: pathlib.Path, options: list[str]) -> peer_child.Answer:
        programs = environment.folder / "bin"
        # It starts its helpers by name.
        path = os.pathsep.join((str(programs), os.environ.get("PATH", "")))
        command = [str(programs / "onnx2tf"), "-i", str(model), "-o", str(folder), *options]
        return peer_child.run(command, limit_s=self._limit_s, folder=self.folder, environment={"PATH": path})

    def _onnx2tf_inputs(self, model: pathlib.Path) -> list[str]:
        """Options that name the calibration samples, and the inputs that are sequences."""
        options, kept = [], []
        self._test_pictures()
        with np.load(self.calibration) as stored:
            for name in stored.files:
                values = stored[name]
                path = self.folder / f"calibration-{name}.npy"
                np.save(path, values)
                # Mean 0 and deviation 1, with as many axes as the samples: they are as the network takes them.
                mean, deviation = ("[" * values.ndim + number + "]" * values.ndim for number in ("0.0", "1.0"))
                options += ["-cind", self._onnx_name(model, name), str(path), mean, deviation]
                if values.ndim == 3:
                    kept.append(self._onnx_name(model, name))
        # Without, it takes a sequence for an image line and turns its axes.
        return options + (["-kat", *kept] if kept else [])

    def _onnx_name(self, model: pathlib.Path, name: str) -> str:
        import onnx

        graph = onnx.load(model, load_external_data=False).graph
        weights = {weight.name for weight in graph.initializer}
        names = [value.name for value in graph.input if value.name not in weights]
        return names[0] if len(names) == 1 else name


def _signed(path: pathlib.Path) -> bool:
    """Whether a ``.tflite`` names its inputs and outputs in a signature."""
    return bool(flatbuffer.unpack(path.read_bytes()).signatureDefs)
