"""One TFLite model behind one class: named float32 arrays in, named float32 arrays out.

The interpreter is found by building one and running it (``probe``): an import that succeeds proves nothing, for tflite-runtime
imports under numpy 2 and fails only when constructed.
"""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import functools
import importlib
import importlib.metadata
import typing

import numpy as np

from edge.errors import InferenceError
from edge.stderr import without_lines

# Distribution and module, best first.
_RUNTIMES = (("ai-edge-litert", "ai_edge_litert.interpreter"), ("tflite-runtime", "tflite_runtime.interpreter"))

# y = x + x in float32 (1, 4): the smallest model that also makes XNNPACK start.
_TINY = base64.b64decode(
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAYAAAA6AAAAAMAAAABAAAABAAAACD///8BAAAAEAAAAAwAFAAQAAwACAAEAAwAAAAQAAAAUAAAAFQA"
    "AABYAAAAAQAAABQAAAAAAA4AFAAAABAADAALAAQADgAAABAAAAAAAAALDAAAABAAAAB4////AQAAAAEAAAACAAAAAAAAAAAAAAABAAAAAQAAAAEAAAAAAAAA"
    "AgAAADQAAAAEAAAA4P///wgAAAAMAAAAAQAAAHkAAAACAAAAAQAAAAQAAAAMAAwACAAAAAAABAAMAAAACAAAAAwAAAABAAAAeAAAAAIAAAABAAAABAAAAAEA"
    "AAAIAAAABAAEAAQAAAA="
)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """An interpreter that works here."""

    name: str
    """Distribution: "ai-edge-litert" or "tflite-runtime"."""
    version: str
    interpreter: collections.abc.Callable[..., typing.Any] = dataclasses.field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One input or output."""

    name: str
    """In the flatbuffer."""
    shape: tuple[int, ...]
    """Without the batch axis."""
    dtype: str
    scale: float
    """Real value of one step; 0 for float tensors. real = (stored - zero_point) * scale."""
    zero_point: int


@dataclasses.dataclass(frozen=True)
class Details:
    """Inputs and outputs by public name."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@functools.cache
def probe() -> Runtime:
    """The first interpreter that can run a model here: ai-edge-litert, else tflite-runtime.

    Raises:
        InferenceError: neither works; says why, of each.
    """
    failures = []
    for name, module in _RUNTIMES:
        try:
            with without_lines(lambda line: line.startswith(b"INFO")):  # LiteRT announces XNNPACK, with no setting against it
                interpreter = importlib.import_module(module).Interpreter
                _try(interpreter)
            return Runtime(name, importlib.metadata.version(name), interpreter)
        except ModuleNotFoundError:
            failures.append(f"{name} is not installed")
        except Exception as error:  # whatever a broken wheel raises is the reason to tell
            failures.append(f"{name} fails: {_one_line(error)}")
    raise InferenceError(f"no interpreter works here: {'; '.join(failures)}; install ai-edge-litert")


def _try(make: collections.abc.Callable[..., typing.Any]) -> None:
    interpreter = make(model_content=_TINY, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array([[0, 1, 2, 3]], np.float32))
    interpreter.invoke()
    result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    if result.tolist() != [[0.0, 2.0, 4.0, 6.0]]:
        raise InferenceError(f"adds 0, 1, 2, 3 to itself and gets {result.tolist()}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class Model:
    """One stage, loaded once and run many times; not for two threads at once.

    Args:
        content: the ``.tflite``, with a batch of one and static shapes.
        name: how errors call it.
        inputs: public name -> tensor name in the flatbuffer.
        outputs: public name -> tensor name in the flatbuffer.
        threads: that one inference may use.

    Raises:
        InferenceError: no interpreter works here, or it cannot load this model, or a tensor has no such name.
    """

    def __init__(
        self,
        content: bytes,
        *,
        name: str,
        inputs: collections.abc.Mapping[str, str],
        outputs: collections.abc.Mapping[str, str],
        threads: int = 1,
    ):
        runtime = probe()
        self.name = name
        self.runtime = str(runtime)
        try:
            interpreter = runtime.interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        except Exception as error:  # which types it raises differs between runtimes
            raise InferenceError(f"stage {name!r} cannot be loaded by {runtime}: {_one_line(error)}") from error
        self._interpreter = interpreter
        self._inputs = self._slots("input", inputs, interpreter.get_input_details())
        self._outputs = self._slots("output", outputs, interpreter.get_output_details())
        if len(self._inputs) != len(interpreter.get_input_details()):
            raise InferenceError(f"stage {name!r} has {len(interpreter.get_input_details())} inputs, and {len(self._inputs)} are named")
        # Bound once: attribute look-ups count at this scale.
        self._invoke, self._reset = interpreter.invoke, interpreter.reset_all_variables

    def _slots(self, kind: str, names: collections.abc.Mapping[str, str], details: list[dict[str, typing.Any]]) -> tuple[_Slot, ...]:
        found = {detail["name"]: detail for detail in details}
        slots = []
        for public, tensor in names.items():
            if tensor not in found:
                known = ", ".join(sorted(found))
                raise InferenceError(f"stage {self.name!r} has no {kind} tensor {tensor!r} for {public!r}: it has {known}")
            shape = tuple(int(size) for size in found[tensor]["shape"])
            if len(shape) < 2 or shape[0] != 1:
                raise InferenceError(f"stage {self.name!r}: {kind} {public!r} has shape {shape}, and needs (1, ...)")
            slots.append(_Slot(public, found[tensor], self._interpreter.tensor(found[tensor]["index"])))
        return tuple(slots)

    def details(self) -> Details:
        """Shapes, types and scales."""
        return Details({slot.name: slot.tensor for slot in self._inputs}, {slot.name: slot.tensor for slot in self._outputs})

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """One inference, from a clean state.

        Args:
            **arrays: every input by its public name, real numbers without a batch axis; what lies outside an input's range is
                clipped to it. An array of a quantized input's own type is taken as it is stored.

        Returns:
            Every output by its public name: float32 without a batch axis, the caller's to keep.

        Raises:
            InferenceError: an input is missing, unknown, of the wrong shape or NaN, or the interpreter failed.
        """
        if len(arrays) != len(self._inputs):
            raise self._misnamed(arrays)
        for slot in self._inputs:
            array = arrays.get(slot.name)
            if array is None:
                raise self._misnamed(arrays)
            if array.shape != slot.shape:
                raise self._misshapen(slot, array.shape)
            if slot.quantized and array.dtype == slot.dtype:
                slot.view()[0] = array
                continue
            # One call a step into memory kept for it: allocating would cost more than the arithmetic.
            real, flat = slot.real, slot.flat
            np.divide(array, slot.scale, real)
            energy = flat.dot(flat)
            if energy != energy:
                raise InferenceError(f"stage {self.name!r}: input {slot.name!r} holds NaN")
            if slot.quantized:
                np.rint(real, real)
                np.add(real, slot.zero, real)
                np.maximum(real, slot.lowest, out=real)
                np.minimum(real, slot.highest, out=real)
            slot.view()[0] = real
        self._start()
        results = {}
        for slot in self._outputs:
            result = slot.view()[0].astype(np.float32)
            if slot.quantized:
                np.subtract(result, slot.zero, result)
                np.multiply(result, slot.scale, result)
            results[slot.name] = result
        return results

    def run_quantized(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """One inference on numbers as the tensors store them (int8 for an int8 model), without a batch axis.

        Raises:
            InferenceError: an input is missing, unknown, or of the wrong shape or type, or the interpreter failed.
        """
        if len(arrays) != len(self._inputs) or any(slot.name not in arrays for slot in self._inputs):
            raise self._misnamed(arrays)
        for slot in self._inputs:
            array = arrays[slot.name]
            if array.shape != slot.shape:
                raise self._misshapen(slot, array.shape)
            if array.dtype != slot.dtype:
                raise InferenceError(f"stage {self.name!r}: input {slot.name!r} is stored as {slot.dtype}, and got {array.dtype}")
            slot.view()[0] = array
        self._start()
        return {slot.name: slot.view()[0].copy() for slot in self._outputs}

    def quantize(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs as ``run`` would store them, for ``run_quantized``; any shapes, so that whole sets fit."""
        stored = {}
        for slot in self._inputs:
            real = np.divide(arrays[slot.name], slot.scale, dtype=np.float32)
            if slot.quantized:
                real = np.clip(np.rint(real) + slot.zero, slot.lowest, slot.highest)
            stored[slot.name] = real.astype(slot.dtype)
        return stored

    def _start(self) -> None:
        try:
            # An LSTM keeps its state from one inference to the next, and each window must start afresh. 0.2 us without one.
            self._reset()
            self._invoke()
        except (RuntimeError, ValueError) as error:
            raise InferenceError(f"stage {self.name!r} failed in {self.runtime}: {_one_line(error)}") from error

    def _misnamed(self, arrays: collections.abc.Mapping[str, object]) -> InferenceError:
        wanted = ", ".join(slot.name for slot in self._inputs)
        return InferenceError(f"stage {self.name!r} takes {wanted}, and got {', '.join(arrays) or 'nothing'}")

    def _misshapen(self, slot: _Slot, shape: tuple[int, ...]) -> InferenceError:
        return InferenceError(f"stage {self.name!r}: input {slot.name!r} takes shape {slot.shape}, and got {shape}")


class _Slot:
    """What one call needs to know of one tensor, worked out beforehand."""

    __slots__ = ("dtype", "flat", "highest", "lowest", "name", "quantized", "real", "scale", "shape", "tensor", "view", "zero")

    def __init__(self, name: str, detail: dict[str, typing.Any], view: collections.abc.Callable[[], np.ndarray]):
        scale, zero_point = detail["quantization"]
        self.name = name
        # A fresh view each time: while one is held the interpreter refuses to run, for it might move the memory.
        self.view = view
        self.shape = tuple(int(size) for size in detail["shape"][1:])
        self.dtype = np.dtype(detail["dtype"])
        self.quantized = self.dtype.kind in "iu" and scale != 0
        self.tensor = Tensor(detail["name"], self.shape, self.dtype.name, float(scale) if self.quantized else 0.0, int(zero_point))
        self.scale = np.float32(scale if self.quantized else 1.0)
        self.zero = np.float32(zero_point)
        self.real = np.empty(self.shape, np.float32)
        self.flat = self.real.reshape(-1)
        self.lowest = self.highest = np.float32(0)
        if self.quantized:
            limits = np.iinfo(self.dtype)
            self.lowest, self.highest = np.float32(limits.min), np.float32(limits.max)
